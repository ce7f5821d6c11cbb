//! What the daemon says that it has paid.

use url::Url;

use crate::{
    http::{Outgoing, Transport},
    units::{Span, Timestamp},
    yagna::{
        AppKey, Payment,
        wire::{Method, instant, read_payments},
    },
};

const PATIENCE: Span = Span::secs(15);

/// Asks the daemon for its payments.
#[derive(Clone, Debug)]
pub struct Payments {
    transport: Transport,
    url: Url,
    key: AppKey,
}

impl Payments {
    /// Of the daemon whose list of payments is at `url`.
    pub(super) const fn new(transport: Transport, url: Url, key: AppKey) -> Self {
        Self { transport, url, key }
    }

    /// The payments that were made after an instant, by the daemon's clock; `None` while the daemon does not say.
    pub async fn since(&self, after: Timestamp) -> Option<Vec<Payment>> {
        let mut url = self.url.clone();
        let after = instant(after);
        url.query_pairs_mut()
            .append_pair("timeout", "0")
            .append_pair("afterTimestamp", after.as_str()?);
        let outgoing = Outgoing {
            method: Method::Get,
            url,
            bearer: Some(self.key.as_str()),
            headers: &[],
            body: None,
        };
        let response = self.transport.send(outgoing, PATIENCE).await.ok()?;
        read_payments(&response.body)
    }
}
