//! The reputation service: who benchmarks providers and publishes what came of it.

use thiserror::Error;
use url::Url;

use super::Scores;
use crate::{
    http::{Outgoing, Transport, TransportError, Validators},
    units::Span,
    yagna::{CallError, Status, wire::Method},
};

/// The public service.
pub const DEFAULT_URL: &str = "https://reputation.golem.network";

const PATIENCE: Span = Span::mins(2);

/// A connection to a reputation service.
#[derive(Clone, Debug)]
pub struct Service {
    base: Url,
    transport: Transport,
}

/// An answer of the service.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// Nothing has changed since the answer that the validators are of.
    Unchanged,
    /// The scores of all providers, and what they can be recognised by.
    Scores(Scores, Validators),
}

/// Why there are no scores.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The service does not answer, or too late.
    #[error("cannot reach the reputation service at {url}: {source}")]
    Unreachable {
        /// Where it was asked.
        url: String,
        /// What went wrong.
        source: CallError,
    },
    /// The service refuses.
    #[error("Error {} while updating reputation from {url}", .status.0)]
    Refused {
        /// Where it was asked.
        url: String,
        /// With which status.
        status: Status,
    },
    /// The service's answer cannot be used.
    #[error("the answer of {url} is no list of scores: {source}")]
    Malformed {
        /// Where it was asked.
        url: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Service {
    /// The service at `base`.
    ///
    /// # Errors
    ///
    /// Fails if the address is `https` and the system has no certificates to trust.
    pub fn new(base: Url) -> Result<Self, TransportError> {
        let transport = Transport::public(&base)?;
        Ok(Self { base, transport })
    }

    /// Where the scores of a network are.
    #[must_use]
    pub fn url(&self, network: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v1/providers/scores", self.base.path().trim_end_matches('/')));
        url.query_pairs_mut().clear().append_pair("network", network);
        url
    }

    /// Fetches the scores of a network, unless nothing has changed.
    ///
    /// # Errors
    ///
    /// If the service is of no help.
    pub async fn fetch(&self, network: &str, known: &Validators) -> Result<Fetched, ServiceError> {
        let url = self.url(network);
        let conditions = [
            ("If-None-Match", known.etag.as_deref()),
            ("If-Modified-Since", known.modified.as_deref()),
        ];
        let headers: Vec<(&str, &str)> =
            conditions.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
        let outgoing = Outgoing {
            method: Method::Get,
            url: url.clone(),
            bearer: None,
            headers: &headers,
            body: None,
        };
        let answer = self.transport.send_validated(outgoing, PATIENCE).await;
        let url = String::from(url);
        let (response, validators) =
            answer.map_err(|source| ServiceError::Unreachable { url: url.clone(), source })?;
        match response.status {
            Status::NOT_MODIFIED => Ok(Fetched::Unchanged),
            Status(200) => match Scores::read(&response.body) {
                Ok(scores) => Ok(Fetched::Scores(scores, validators)),
                Err(source) => Err(ServiceError::Malformed { url, source }),
            },
            status => Err(ServiceError::Refused { url, status }),
        }
    }
}
