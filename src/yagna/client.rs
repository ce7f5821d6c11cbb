//! The daemon as it runs: requests go out over HTTP, one at a time and once.

use std::fmt;

use thiserror::Error;
use url::{Host, Url};

use super::{
    error::{CallError, Doubt, Status},
    model::NetworkPath,
    request::Request,
    response::Response,
    wire::{
        self, ACTIVITY_PREFIX, HttpResponse, MARKET_PREFIX, Method, NET_PREFIX, PAYMENT_PREFIX,
    },
};
use crate::{
    http::{Outgoing, Transport, TransportError},
    units::{Span, Timestamp},
};

/// Something that answers as the daemon does. One request, one reply: no retries, no caching, no
/// policy.
pub trait Yagna {
    /// Sends `request` and waits for the reply as it comes over the wire, but no longer than
    /// `patience`.
    fn exchange(
        &self,
        request: &Request,
        patience: Span,
    ) -> impl Future<Output = Result<HttpResponse, CallError>> + Send;

    /// Sends `request`, and reads the reply.
    fn call(
        &self,
        request: Request,
        patience: Span,
    ) -> impl Future<Output = Result<Response, CallError>> + Send
    where
        Self: Sync,
    {
        async move {
            let reply = self.exchange(&request, patience).await?;
            wire::decode_response(&request, &reply)
        }
    }
}

/// A connection to a running daemon.
#[derive(Clone, Debug)]
pub struct Client {
    endpoints: Endpoints,
    app_key: AppKey,
    transport: Transport,
}

/// Where the daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Where everything is that has no address of its own; a path in it is kept (`YAGNA_API_URL`).
    pub base: Url,
    /// Stands for the base and the prefix of the market API (`YAGNA_MARKET_URL`).
    pub market: Option<Url>,
    /// Stands for the base and the prefix of the payment API (`YAGNA_PAYMENT_URL`).
    pub payment: Option<Url>,
    /// Stands for the base and the prefix of the activity API (`YAGNA_ACTIVITY_URL`).
    pub activity: Option<Url>,
    /// Stands for the base and the prefix of the API of private networks (`YAGNA_NET_URL`).
    pub net: Option<Url>,
}

/// A key to the daemon: it selects one of its identities. Debug output never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct AppKey(String);

/// Text that is no app-key: it is empty, or has characters that no header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an app-key is a word of visible ASCII characters")]
pub struct BadAppKey;

impl Client {
    /// The version that the daemon says it has, and the instant at which it says that. No key is asked for.
    ///
    /// # Errors
    ///
    /// If there is no answer, or none that is understood.
    pub async fn version(
        endpoints: &Endpoints,
        patience: Span,
    ) -> Result<(String, Option<Timestamp>), CallError> {
        let not_sent =
            |error: &dyn std::error::Error| CallError::NotSent { why: error.to_string() };
        let transport =
            Transport::direct(endpoints.any_https()).map_err(|error| not_sent(&error))?;
        let url = endpoints.url("/version/get").map_err(|error| not_sent(&error))?;
        let outgoing =
            Outgoing { method: Method::Get, url, bearer: None, headers: &[], body: None };
        let (response, date) = transport.send_dated(outgoing, patience).await?;
        let document: Option<serde_json::Value> = serde_json::from_slice(&response.body).ok();
        let version = document.as_ref().and_then(|it| it["current"]["version"].as_str());
        let garbled = || Doubt::Garbled { why: format!("`/version/get`: {}", response.status) };
        let version = version.ok_or_else(|| CallError::Unknown(garbled()))?;
        Ok((version.to_owned(), date))
    }

    /// A client of the daemon at `endpoints`, a single address or a set of them.
    ///
    /// # Errors
    ///
    /// Fails if an address is `https` and the system has no certificates to trust.
    pub fn new(endpoints: impl Into<Endpoints>, app_key: AppKey) -> Result<Self, TransportError> {
        let endpoints = endpoints.into();
        let transport = Transport::direct(endpoints.any_https())?;
        Ok(Self { endpoints, app_key, transport })
    }
}

impl Yagna for Client {
    async fn exchange(&self, request: &Request, patience: Span) -> Result<HttpResponse, CallError> {
        if let Request::CreateNetwork { path: NetworkPath::Bus, .. } = request {
            // The daemon would make one of its own.
            let body = "the daemon's API has no networks over its bus".to_owned();
            return Err(CallError::Rejected { status: Status::NOT_FOUND, body });
        }
        let encoded = wire::encode_request(request);
        let url = self
            .endpoints
            .url(&encoded.path)
            .map_err(|error| CallError::NotSent { why: error.to_string() })?;
        let outgoing = Outgoing {
            method: encoded.method,
            url,
            bearer: Some(self.app_key.as_str()),
            headers: encoded.headers,
            body: encoded.body,
        };
        self.transport.send(outgoing, patience).await
    }
}

impl Endpoints {
    fn any_https(&self) -> bool {
        [Some(&self.base), self.market.as_ref(), self.payment.as_ref()]
            .into_iter()
            .chain([self.activity.as_ref(), self.net.as_ref()])
            .flatten()
            .any(|url| url.scheme() == "https")
    }

    /// Where the payment API is.
    #[must_use]
    pub fn payment_api(&self) -> Url {
        self.url(PAYMENT_PREFIX).expect("an address with a path added is an address")
    }

    /// Where the API of private networks is.
    #[must_use]
    pub fn net_api(&self) -> Url {
        self.url(NET_PREFIX).expect("an address with a path added is an address")
    }

    /// Whether the daemon runs on this machine.
    #[must_use]
    pub fn is_on_this_machine(&self) -> bool {
        match self.net_api().host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// The address of `path`, which begins with the prefix of its API.
    fn url(&self, path: &str) -> Result<Url, url::ParseError> {
        let prefixes = [
            (MARKET_PREFIX, &self.market),
            (PAYMENT_PREFIX, &self.payment),
            (ACTIVITY_PREFIX, &self.activity),
            (NET_PREFIX, &self.net),
        ];
        let replaced = prefixes
            .into_iter()
            .find_map(|(prefix, url)| Some((url.as_ref()?, path.strip_prefix(prefix)?)));
        let (base, rest) = replaced.unwrap_or((&self.base, path));
        let mut base = base.clone();
        base.set_query(None);
        base.set_fragment(None);
        Url::parse(&format!("{}{rest}", base.as_str().trim_end_matches('/')))
    }
}

impl From<Url> for Endpoints {
    fn from(base: Url) -> Self {
        Self { base, market: None, payment: None, activity: None, net: None }
    }
}

impl AppKey {
    /// Takes `text`, without the white space around it, as an app-key.
    ///
    /// # Errors
    ///
    /// Refuses text that cannot be one.
    pub fn new(text: &str) -> Result<Self, BadAppKey> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadAppKey);
        }
        Ok(Self(text.to_owned()))
    }

    /// The key itself; it must not be printed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::{AppKey, BadAppKey, Endpoints};

    #[test]
    fn a_path_in_the_base_address_is_kept() {
        let endpoints = Endpoints::from(url("http://host:1/x/y/"));

        assert_eq!(address(&endpoints, "/me"), "http://host:1/x/y/me");
        assert_eq!(
            address(&endpoints, "/market-api/v1/demands/a%2Fb/events?timeout=0.5"),
            "http://host:1/x/y/market-api/v1/demands/a%2Fb/events?timeout=0.5"
        );
    }

    #[test]
    fn an_address_of_an_api_stands_for_base_and_prefix() {
        let endpoints = Endpoints {
            base: url("http://host:1"),
            market: Some(url("https://market/")),
            ..Endpoints::from(url("http://host:1"))
        };

        assert!(endpoints.any_https());
        assert_eq!(address(&endpoints, "/market-api/v1/demands"), "https://market/demands");
        assert_eq!(
            address(&endpoints, "/payment-api/v1/allocations"),
            "http://host:1/payment-api/v1/allocations"
        );
    }

    #[test]
    fn an_app_key_is_checked_and_never_shown() {
        assert_eq!(AppKey::new(" "), Err(BadAppKey));
        assert_eq!(AppKey::new("a\nb"), Err(BadAppKey));
        let key = AppKey::new("secret\n").expect("a word");

        assert_eq!(key.as_str(), "secret");
        assert_eq!(format!("{key:?}"), "AppKey(…)");
    }

    fn address(endpoints: &Endpoints, path: &str) -> String {
        endpoints.url(path).expect("a base and a path").to_string()
    }

    fn url(text: &str) -> Url {
        text.parse().expect("a literal")
    }
}
