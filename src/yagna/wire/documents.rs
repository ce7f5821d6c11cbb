//! The JSON documents of the daemon, apart from the calls that carry them.
//!
//! Reading forgives what does no harm: fields that are missing on older daemons, absurd times and
//! amounts of other applications, which saturate. It never forgives a missing identifier, nor
//! one of another form.

use jiff::Timestamp as Calendar;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::{
    units::{Glm, ParseGlmError, Rounding, Timestamp},
    yagna::{
        ids::{AllocationId, PlatformId, ProviderId, SubscriptionId, checked},
        model::{Allocation, Decorations, DemandBody, Identity, Properties, Subscription},
    },
};

/// The longest text of the daemon that is kept in an error or an unreadable event.
const TEXT_LENGTH_MAX: usize = 4096;

/// Writes a document as JSON.
pub(super) fn write(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents have text keys and write without failing")
}

/// The first 4 KiB of `text`, cut between characters.
pub(super) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_LENGTH_MAX));
    text
}

/// An amount of GLM: text or a number when read, text when written.
///
/// The daemon lets other applications allocate amounts below zero, which read as nothing, and keeps
/// any number of decimals, of which the nineteenth and later are dropped: spent and remaining funds
/// then never sum to more than the total.
#[derive(Default)]
pub(super) struct Amount(pub(super) Glm);

/// An instant: RFC 3339 text. Years that the calendar does not have read as the nearest instant.
pub(super) struct Instant(pub(super) Timestamp);

/// The document of an [`Identity`].
#[derive(Serialize, Deserialize)]
pub(super) struct IdentityDocument {
    /// Whoever it is, nothing is asked for by this one.
    identity: ProviderId,
    #[serde(default)]
    name: String,
    #[serde(default)]
    role: String,
}

/// The document of an [`Allocation`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AllocationDocument {
    #[serde(deserialize_with = "checked")]
    allocation_id: AllocationId,
    #[serde(default)]
    address: String,
    #[serde(deserialize_with = "checked")]
    payment_platform: PlatformId,
    total_amount: Amount,
    spent_amount: Amount,
    remaining_amount: Amount,
    /// Demanded by the readers of other clients. Ours has no use for it: it never changes.
    #[serde(skip_deserializing)]
    timestamp: Epoch,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Instant>,
    #[serde(default)]
    make_deposit: bool,
}

/// The document of [`Decorations`].
#[derive(Serialize, Deserialize)]
pub(super) struct DecorationsDocument {
    #[serde(default)]
    properties: Vec<DecorationDocument>,
    #[serde(default)]
    constraints: Vec<String>,
}

/// The document of a [`Subscription`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SubscriptionDocument {
    properties: Properties,
    constraints: String,
    #[serde(deserialize_with = "checked")]
    demand_id: SubscriptionId,
    /// As the time, demanded by other readers only.
    #[serde(skip_deserializing)]
    requestor_id: &'static str,
    #[serde(skip_deserializing)]
    timestamp: Epoch,
}

#[derive(Serialize, Deserialize)]
struct DecorationDocument {
    key: String,
    value: String,
}

/// Some instant, where readers demand one and the vocabulary has none.
#[derive(Default)]
pub(super) struct Epoch;

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = match Value::deserialize(deserializer)? {
            Value::String(text) => Glm::parse(&text, Rounding::Down),
            Value::Number(number) => Glm::parse(number.as_str(), Rounding::Down),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(ParseGlmError::NotANumber)
            }
        };
        match amount {
            Ok(amount) => Ok(Self(amount)),
            Err(ParseGlmError::Negative) => Ok(Self(Glm::ZERO)),
            Err(ParseGlmError::TooLarge) => Ok(Self(Glm::MAX)),
            Err(error @ (ParseGlmError::NotANumber | ParseGlmError::TooPrecise)) => {
                Err(de::Error::custom(format_args!("an amount: {error}")))
            }
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.parse::<Calendar>(), text.as_bytes().first()) {
            (Ok(calendar), _) => {
                let micros = u64::try_from(calendar.as_microsecond()).unwrap_or(0);
                Ok(Self(Timestamp::from_unix_micros(micros)))
            }
            // Only years beyond the fourth digit carry a sign.
            (Err(_), Some(b'+')) => Ok(Self(Timestamp::NEVER)),
            (Err(_), Some(b'-')) => Ok(Self(Timestamp::EPOCH)),
            (Err(error), _) => Err(de::Error::custom(format_args!("a time: {error}"))),
        }
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let calendar = i64::try_from(self.0.as_unix_micros())
            .ok()
            .and_then(|micros| Calendar::from_microsecond(micros).ok())
            .unwrap_or(Calendar::MAX);
        serializer.collect_str(&calendar)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Instant(Timestamp::EPOCH).serialize(serializer)
    }
}

impl From<IdentityDocument> for Identity {
    fn from(document: IdentityDocument) -> Self {
        let IdentityDocument { identity, name, role } = document;
        Self { id: identity, name, role }
    }
}

impl From<&Identity> for IdentityDocument {
    fn from(identity: &Identity) -> Self {
        let Identity { id, name, role } = identity.clone();
        Self { identity: id, name, role }
    }
}

impl From<AllocationDocument> for Allocation {
    fn from(document: AllocationDocument) -> Self {
        Self {
            id: document.allocation_id,
            address: document.address,
            platform: document.payment_platform,
            total: document.total_amount.0,
            spent: document.spent_amount.0,
            remaining: document.remaining_amount.0,
            timeout: document.timeout.map(|timeout| timeout.0),
        }
    }
}

impl From<&Allocation> for AllocationDocument {
    fn from(allocation: &Allocation) -> Self {
        let Allocation { id, address, platform, total, spent, remaining, timeout } = allocation;
        Self {
            allocation_id: id.clone(),
            address: address.clone(),
            payment_platform: platform.clone(),
            total_amount: Amount(*total),
            spent_amount: Amount(*spent),
            remaining_amount: Amount(*remaining),
            timestamp: Epoch,
            timeout: timeout.map(Instant),
            make_deposit: false,
        }
    }
}

impl From<DecorationsDocument> for Decorations {
    fn from(document: DecorationsDocument) -> Self {
        let properties = document.properties.into_iter().map(|it| (it.key, it.value)).collect();
        Self { properties, constraints: document.constraints }
    }
}

impl From<&Decorations> for DecorationsDocument {
    fn from(decorations: &Decorations) -> Self {
        let Decorations { properties, constraints } = decorations.clone();
        let properties =
            properties.into_iter().map(|(key, value)| DecorationDocument { key, value }).collect();
        Self { properties, constraints }
    }
}

impl From<SubscriptionDocument> for Subscription {
    fn from(document: SubscriptionDocument) -> Self {
        let SubscriptionDocument { properties, constraints, demand_id, .. } = document;
        Self { id: demand_id, body: DemandBody { properties, constraints } }
    }
}

impl From<&Subscription> for SubscriptionDocument {
    fn from(subscription: &Subscription) -> Self {
        let Subscription { id, body: DemandBody { properties, constraints } } =
            subscription.clone();
        Self { properties, constraints, demand_id: id, requestor_id: "", timestamp: Epoch }
    }
}
