//! The only place that opens HTTP connections: one request gets one response, or the class of its
//! failure. No retries.
//!
//! Doubt is the default: only what certainly was not written is reported as not sent. A request
//! that a dying pooled connection gave back unwritten is written again by `hyper`, which is safe.

use std::{error::Error, sync::Arc, time::Duration};

use reqwest::{
    Client, ClientBuilder,
    header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use thiserror::Error as ThisError;
use url::Url;

use crate::{
    units::Span,
    yagna::{
        CallError, Doubt, Status,
        wire::{HttpResponse, Method},
    },
};

/// How long a connection may take to be made. A shorter patience with the whole call ends earlier,
/// and then leaves the outcome in doubt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The daemon drops idle connections after a minute. To drop them well before it does keeps
/// requests from being written into connections that are closing.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

const REDIRECTS_MAX: usize = 5;

/// The most that is read of the body of a success; a longer one cannot be used.
const BODY_LENGTH_MAX: usize = 64 << 20;

/// The most that is read of any other body; the rest of a longer one is left.
const ERROR_BODY_LENGTH_MAX: usize = 64 << 10;

/// Why no HTTP client could be made.
#[derive(Debug, ThisError)]
#[error("cannot set up HTTP connections")]
pub struct TransportError(#[source] Box<dyn Error + Send + Sync>);

/// A pool of connections.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    client: Client,
}

/// A request on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// The token to authenticate with.
    pub(crate) bearer: Option<&'a str>,
    /// Headers that only this request has.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// A JSON body.
    pub(crate) body: Option<Vec<u8>>,
}

/// What an answer can be recognised by, so that the same one is not sent twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The header `ETag`.
    pub etag: Option<String>,
    /// The header `Last-Modified`.
    pub modified: Option<String>,
}

impl Transport {
    /// Connections to a daemon of ours: no proxies, no redirects.
    pub(crate) fn direct(tls: bool) -> Result<Self, TransportError> {
        Self::build(builder(tls)?.no_proxy().redirect(redirect::Policy::none()))
    }

    /// Connections to a public service.
    pub(crate) fn public(tls: bool) -> Result<Self, TransportError> {
        Self::build(builder(tls)?.redirect(redirect::Policy::limited(REDIRECTS_MAX)))
    }

    /// Sends a request and reads the response, all of it within `patience`.
    pub(crate) async fn send(
        &self,
        outgoing: Outgoing<'_>,
        patience: Span,
    ) -> Result<HttpResponse, CallError> {
        self.send_validated(outgoing, patience).await.map(|(response, _)| response)
    }

    /// As [`Self::send`], with what the response can be recognised by.
    pub(crate) async fn send_validated(
        &self,
        outgoing: Outgoing<'_>,
        patience: Span,
    ) -> Result<(HttpResponse, Validators), CallError> {
        let method = match outgoing.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut request = self
            .client
            .request(method, outgoing.url)
            .timeout(Duration::from_micros(patience.as_micros()));
        if let Some(token) = outgoing.bearer {
            let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|error| CallError::NotSent { why: error.to_string() })?;
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        for (name, value) in outgoing.headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = outgoing.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        match request.send().await {
            Ok(response) => {
                let validators = validators(&response);
                Ok((read(response).await?, validators))
            }
            Err(error) => Err(classify(&error)),
        }
    }

    fn build(builder: ClientBuilder) -> Result<Self, TransportError> {
        let client = builder.build().map_err(|error| TransportError(error.into()))?;
        Ok(Self { client })
    }
}

fn builder(tls: bool) -> Result<ClientBuilder, TransportError> {
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .retry(reqwest::retry::never())
        .user_agent(concat!("ray-on-golem/", env!("CARGO_PKG_VERSION")));
    if tls {
        // Fails if there is a provider already, which is as good.
        drop(ring::default_provider().install_default());
        return Ok(builder);
    }
    // Without a configuration of ours the client would look for the certificates of the system,
    // and fail where there are none. One that trusts nobody is enough for plain HTTP.
    let trusts_nobody = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportError(error.into()))?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(builder.tls_backend_preconfigured(trusts_nobody))
}

fn validators(response: &reqwest::Response) -> Validators {
    let text = |name| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    Validators { etag: text(ETAG), modified: text(LAST_MODIFIED) }
}

async fn read(mut response: reqwest::Response) -> Result<HttpResponse, CallError> {
    let done = response.status().is_success();
    let length_max = if done { BODY_LENGTH_MAX } else { ERROR_BODY_LENGTH_MAX };
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) if done => return Err(classify(&error)),
            // The status has said what happened; the rest of the explanation is not worth a doubt.
            Err(_) => break,
        }
        if body.len() > length_max {
            if done {
                let why = format!("a body of more than {length_max} bytes");
                return Err(CallError::Unknown(Doubt::Garbled { why }));
            }
            body.truncate(length_max);
            break;
        }
    }
    let content_type = response.headers().get(CONTENT_TYPE);
    Ok(HttpResponse {
        status: Status(response.status().as_u16()),
        content_type: content_type.and_then(|value| value.to_str().ok()).map(str::to_owned),
        body,
    })
}

fn classify(error: &reqwest::Error) -> CallError {
    if error.is_connect() || error.is_builder() {
        CallError::NotSent { why: root_cause(error) }
    } else if error.is_timeout() {
        CallError::Unknown(Doubt::TimedOut)
    } else {
        CallError::Unknown(Doubt::Closed { why: root_cause(error) })
    }
}

/// The innermost error: those around it only say that a request failed.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
