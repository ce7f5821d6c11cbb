//! The only place that opens HTTP connections: one request gets one response, or the class of its
//! failure. No retries.
//!
//! Doubt is the default: only what certainly was not written is reported as not sent. A request
//! that a dying pooled connection gave back unwritten is written again by `hyper`, which is safe. Where one process
//! must answer everything there is no pool, but a `Line`.

mod line;

use std::{error::Error, sync::Arc, time::Duration};

use hyper_util::client::proxy::matcher::Matcher;
use jiff::fmt::rfc2822;
use reqwest::{
    Client, ClientBuilder,
    header::{AUTHORIZATION, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use thiserror::Error as ThisError;
use url::{Host, Url};

pub(crate) use line::{Line, Question};

use crate::{
    units::{Span, Timestamp},
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
    /// The proxy that requests go through, if any.
    proxy: Option<String>,
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
        Self::build(builder(tls)?.no_proxy().redirect(redirect::Policy::none()), None)
    }

    /// Connections to the public service at `base`, through the proxy that the environment names for it. A service of
    /// this machine is never asked through a proxy, whatever the environment says.
    pub(crate) fn public(base: &Url) -> Result<Self, TransportError> {
        let builder = builder(base.scheme() == "https")?;
        let builder = builder.redirect(redirect::Policy::limited(REDIRECTS_MAX));
        match is_loopback(base) {
            true => Self::build(builder.no_proxy(), None),
            false => Self::build(builder, proxy_for(base)),
        }
    }

    /// Sends a request and reads the response, all of it within `patience`.
    pub(crate) async fn send(
        &self,
        outgoing: Outgoing<'_>,
        patience: Span,
    ) -> Result<HttpResponse, CallError> {
        self.exchange(outgoing, patience).await.map(|(response, _)| response)
    }

    /// As [`Self::send`], with the instant at which the other side says that it answered.
    pub(crate) async fn send_dated(
        &self,
        outgoing: Outgoing<'_>,
        patience: Span,
    ) -> Result<(HttpResponse, Option<Timestamp>), CallError> {
        let (response, headers) = self.exchange(outgoing, patience).await?;
        Ok((response, date(&headers)))
    }

    /// As [`Self::send`], with what the response can be recognised by.
    pub(crate) async fn send_validated(
        &self,
        outgoing: Outgoing<'_>,
        patience: Span,
    ) -> Result<(HttpResponse, Validators), CallError> {
        let (response, headers) = self.exchange(outgoing, patience).await?;
        Ok((response, validators(&headers)))
    }

    async fn exchange(
        &self,
        outgoing: Outgoing<'_>,
        patience: Span,
    ) -> Result<(HttpResponse, HeaderMap), CallError> {
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
            Ok(mut response) => {
                let headers = std::mem::take(response.headers_mut());
                let content_type = headers.get(CONTENT_TYPE);
                let content_type = content_type.and_then(|value| value.to_str().ok());
                let content_type = content_type.map(str::to_owned);
                Ok((read(response, content_type).await?, headers))
            }
            Err(error) => Err(self.blamed(classify(&error))),
        }
    }

    /// Names the proxy in a failure of the connection: the address that failed may be the proxy's.
    fn blamed(&self, error: CallError) -> CallError {
        let Some(proxy) = &self.proxy else { return error };
        let through = |why: String| format!("{why} (asked through the proxy {proxy})");
        match error {
            CallError::NotSent { why } => CallError::NotSent { why: through(why) },
            CallError::Unknown(Doubt::Closed { why }) => {
                CallError::Unknown(Doubt::Closed { why: through(why) })
            }
            CallError::Rejected { .. } | CallError::Unknown(_) => error,
        }
    }

    fn build(builder: ClientBuilder, proxy: Option<String>) -> Result<Self, TransportError> {
        let client = builder.build().map_err(|error| TransportError(error.into()))?;
        Ok(Self { client, proxy })
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

/// Whether an address is one of this machine alone.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The proxy that the environment names for an address, without the password that may be in its own.
#[must_use]
pub fn proxy_for(url: &Url) -> Option<String> {
    let address = url.as_str().parse().ok()?;
    let proxy = Matcher::from_env().intercept(&address)?;
    let proxy = proxy.uri();
    let port = proxy.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    let scheme = proxy.scheme_str().unwrap_or("http");
    Some(format!("{scheme}://{}{port}", proxy.host().unwrap_or_default()))
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let micros = rfc2822::parse(text).ok()?.timestamp().as_microsecond();
    u64::try_from(micros).ok().map(Timestamp::from_unix_micros)
}

fn validators(headers: &HeaderMap) -> Validators {
    let text = |name| {
        let value = headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    Validators { etag: text(ETAG), modified: text(LAST_MODIFIED) }
}

async fn read(
    mut response: reqwest::Response,
    content_type: Option<String>,
) -> Result<HttpResponse, CallError> {
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
    Ok(HttpResponse { status: Status(response.status().as_u16()), content_type, body })
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
