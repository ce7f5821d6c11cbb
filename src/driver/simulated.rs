//! What a simulated network tells beyond the daemon's API: what its nodes lack, and where private networks must be.
//!
//! Where the host forbids namespaces, its nodes are plain processes with loopback addresses; a private network of theirs
//! has the addresses that the simulator keeps for it.

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;
use url::Url;

use crate::{
    core::cluster::plan::Subnet,
    http::{Outgoing, Transport, TransportError},
    units::Span,
    yagna::{AppKey, CallError, wire::Method},
};

const PATIENCE: Span = Span::secs(10);

/// A simulated network in the daemon's place.
#[derive(Debug)]
pub struct Simulated {
    transport: Transport,
    base: Url,
    key: AppKey,
    caveat: Option<String>,
}

/// Why the simulator told nothing.
#[derive(Debug, Error)]
pub enum SimulatedError {
    /// No connections can be made.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It did not answer.
    #[error("the simulated network does not answer")]
    Call(#[from] CallError),
    /// It answered something else.
    #[error("the simulated network answers {0} to `{1}`")]
    Strange(u16, &'static str),
}

/// The answer of `GET /sim/nodes`.
#[derive(Debug, Deserialize)]
struct Nodes {
    caveat: Option<String>,
}

impl Simulated {
    /// Asks the simulated network at `base`, which lets this key in, what its nodes are.
    ///
    /// # Errors
    ///
    /// If it does not answer, or is none.
    pub async fn at(base: Url, key: AppKey) -> Result<Self, SimulatedError> {
        let mut found = Self { transport: Transport::direct(false)?, base, key, caveat: None };
        found.caveat = found.ask::<Nodes>(Method::Get, "/sim/nodes").await?.caveat;
        Ok(found)
    }

    /// What is less true about its nodes than it could be, as one line, if anything is.
    #[must_use]
    pub fn caveat(&self) -> Option<&str> {
        self.caveat.as_deref()
    }

    /// Where the next private network must be, if not at the usual place.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn subnet(&self) -> Result<Option<Subnet>, SimulatedError> {
        self.ask(Method::Post, "/sim/networks").await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &'static str,
    ) -> Result<T, SimulatedError> {
        let mut url = self.base.clone();
        url.set_path(path);
        let bearer = Some(self.key.as_str());
        let outgoing = Outgoing { method, url, bearer, headers: &[], body: None };
        let response = self.transport.send(outgoing, PATIENCE).await?;
        serde_json::from_slice(&response.body)
            .map_err(|_| SimulatedError::Strange(response.status.0, path))
    }
}
