//! The documents that requests and responses carry.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{AllocationId, PlatformId, ProposalId, ProviderId, SubscriptionId};
use crate::units::{Glm, Timestamp};

/// Flat, dotted property keys and their JSON values, in key order.
///
/// Numbers keep the text they were written with, so that no price ever passes through a float.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Properties(pub Map<String, Value>);

impl Properties {
    /// The value of `key`, if it is there.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The text of `key`, if it is there and is text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The number of `key` as it was written, if it is there and is a number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Number(number) => Some(number.as_str()),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// Sets `key`, replacing an earlier value.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(key.into(), value.into());
    }
}

/// What a demand, an offer, or a proposal says: properties of its own, constraints on the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemandBody {
    /// What the issuer states.
    pub properties: Properties,
    /// What the issuer asks of the other side, in the market's filter language.
    pub constraints: String,
}

/// One of our published demands, as the daemon lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// What it says.
    pub body: DemandBody,
}

/// Where a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProposalState {
    /// An offer that the daemon has matched with our demand.
    Initial,
    /// A provider's answer to our counter-proposal.
    Draft,
    /// Refused by either side.
    Rejected,
    /// Turned into an agreement.
    Accepted,
    /// Too old.
    Expired,
}

/// An offer, or a provider's answer in a negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its id.
    pub id: ProposalId,
    /// Who made it.
    pub issuer: ProviderId,
    /// Where it stands.
    pub state: ProposalState,
    /// When it was made, by the daemon's clock.
    pub timestamp: Timestamp,
    /// The proposal it answers: for a draft, our counter-proposal.
    pub previous: Option<ProposalId>,
    /// What it says.
    pub body: DemandBody,
}

/// Why a proposal was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// The reason in words, as given.
    pub message: Option<String>,
    /// Whether asking again is pointless (`golem.proposal.rejection.is-final`).
    pub is_final: Option<bool>,
}

/// What happened to a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DemandEvent {
    /// An offer matched, or a provider answered.
    Proposal(Box<Proposal>),
    /// A provider refused our counter-proposal.
    Rejected {
        /// Our counter-proposal.
        proposal: ProposalId,
        /// Why; the daemon may leave it out.
        reason: Option<Rejection>,
    },
    /// An event that could not be read, or of a kind that is not known; it says which.
    Unreadable(String),
}

/// Who the daemon says we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our identity on the network.
    pub id: ProviderId,
    /// The name of the app-key that was used.
    pub name: String,
    /// The role of the app-key.
    pub role: String,
}

/// Funds that the daemon has set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Its id.
    pub id: AllocationId,
    /// The wallet it draws on.
    pub address: String,
    /// Where it pays.
    pub platform: PlatformId,
    /// All of it.
    pub total: Glm,
    /// What was accepted out of it.
    pub spent: Glm,
    /// What is left of it.
    pub remaining: Glm,
    /// When the daemon releases it by itself.
    pub timeout: Option<Timestamp>,
}

/// What a demand must say so that it can be paid from an allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decorations {
    /// Properties to add, in the daemon's order.
    pub properties: Vec<(String, String)>,
    /// Constraints to add, in the daemon's order.
    pub constraints: Vec<String>,
}
