//! The wire form of the daemon's vocabulary: HTTP parts in, HTTP parts out, no socket.
//!
//! [`encode_request`] and [`decode_response`] are the requestor's side, [`decode_request`] and
//! [`encode_response`] the daemon's. Bytes of any shape are safe to pass. Decimals are read from
//! their text and never through floats.

mod activities;
mod agreements;
mod bills;
mod client_side;
mod documents;
mod events;
mod payments;
mod scans;
mod server_side;
mod target;

pub use client_side::{decode_response, encode_request};
pub use payments::read_payments;
pub use server_side::{
    Malformed, decode_request, encode_malformed, encode_refusal, encode_response,
};
pub(crate) use target::escape;

use serde::Deserialize as _;
use serde_json::Value;

use super::{
    error::Status,
    model::{AgreementEvent, Deployment, ExeCommand, Network, Proposal, PublishedOffer},
};
use crate::units::Timestamp;

/// Where the market API begins on a daemon that serves all of them under one address.
pub const MARKET_PREFIX: &str = "/market-api/v1";
/// Where the activity API begins on a daemon that serves all of them under one address.
pub const ACTIVITY_PREFIX: &str = "/activity-api/v1";
/// Where the API of private networks begins on a daemon that serves all of them under one address.
pub const NET_PREFIX: &str = "/net-api/v2/vpn";
/// Where the payment API begins on a daemon that serves all of them under one address.
pub const PAYMENT_PREFIX: &str = "/payment-api/v1";

const JSON: &str = "application/json";

/// The segments of a path, and the pairs of a query.
pub type Parts = (Vec<String>, Vec<(String, String)>);

/// Takes a path with its query apart; `None` if its escapes do not spell text.
#[must_use]
pub fn take_apart(path: &str) -> Option<Parts> {
    let target = target::Target::read(path)?;
    Some((target.segments, target.query))
}

/// An instant as the daemon writes it.
#[must_use]
pub fn instant(at: Timestamp) -> Value {
    serde_json::json!(documents::Instant(at))
}

/// A document of a proposal, as the daemon writes it outside of events.
#[must_use]
pub fn proposal(proposal: &Proposal) -> Value {
    events::write_proposal(proposal)
}

/// The instant that a text of the daemon's form means.
#[must_use]
pub fn read_instant(text: &str) -> Option<Timestamp> {
    let instant = documents::Instant::deserialize(Value::String(text.to_owned())).ok()?;
    Some(instant.0)
}

/// A document of an event about an agreement.
#[must_use]
pub fn agreement_event(event: &AgreementEvent) -> Value {
    agreements::write_event(event)
}

/// A document of an offer that a scan shows.
#[must_use]
pub fn published_offer(offer: &PublishedOffer) -> Value {
    serde_json::json!(scans::OfferDocument::from(offer))
}

/// A command of a script, as it is written.
#[must_use]
pub fn command(command: &ExeCommand) -> Value {
    activities::write_command(command)
}

/// The private networks in a command of others; nothing is none of them.
#[must_use]
pub fn deployments(networks: &Value) -> Option<Vec<Deployment>> {
    activities::deployments(networks)
}

/// A document of a private network.
#[must_use]
pub fn network(network: &Network) -> Value {
    serde_json::json!(activities::NetworkDocument::from(network))
}

/// The methods that the daemon's calls use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
}

/// A request as it goes over the wire, without the parts that are the same for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The path from the root of the daemon, with the query.
    pub path: String,
    /// Headers that only this call has.
    pub headers: &'static [(&'static str, &'static str)],
    /// The JSON body, if the call has one.
    pub body: Option<Vec<u8>>,
}

/// A response as it comes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: Status,
    /// What the body claims to be.
    pub content_type: Option<String>,
    /// The body, empty if there is none.
    pub body: Vec<u8>,
}

impl Method {
    /// The method as HTTP writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// The method that HTTP writes as `name`, if any call uses it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Delete]
            .into_iter()
            .find(|method| method.name() == name)
    }
}
