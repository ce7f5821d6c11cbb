//! Scans: looks at the offers that the daemon knows, without a demand.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::documents::Instant;
use crate::{
    units::Span,
    yagna::{
        ids::{ProviderId, SubscriptionId, checked},
        model::{DemandBody, Properties, PublishedOffer},
    },
};

/// A scan that names no time lasts this long after it was last used.
pub(super) const LASTS: Span = Span::mins(5);
/// The most that is handed out at once to a client that names no number.
pub(super) const OFFERS_MAX: u16 = 500;

/// The body of `POST /scan`.
#[derive(Serialize, Deserialize)]
pub(super) struct NewScan {
    #[serde(rename = "type")]
    pub(super) kind: ScanKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) constraints: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ScanKind {
    Offer,
    Demand,
}

/// The document of a [`PublishedOffer`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfferDocument {
    properties: Properties,
    constraints: String,
    #[serde(deserialize_with = "checked")]
    offer_id: SubscriptionId,
    #[serde(deserialize_with = "checked")]
    provider_id: ProviderId,
    timestamp: Instant,
}

/// Reads the offers one by one: what one provider wrote must not hide the offers of the others. Offers
/// that cannot be read are left out, since no demand could be matched with them either.
pub(super) fn read_offers(text: &str) -> Result<Vec<PublishedOffer>, serde_json::Error> {
    let offers: Vec<&RawValue> = serde_json::from_str(text)?;
    let read = |offer: &RawValue| serde_json::from_str::<OfferDocument>(offer.get()).ok();
    Ok(offers.into_iter().filter_map(read).map(PublishedOffer::from).collect())
}

impl From<OfferDocument> for PublishedOffer {
    fn from(document: OfferDocument) -> Self {
        let OfferDocument { properties, constraints, offer_id, provider_id, timestamp } = document;
        Self {
            id: offer_id,
            provider: provider_id,
            timestamp: timestamp.0,
            body: DemandBody { properties, constraints },
        }
    }
}

impl From<&PublishedOffer> for OfferDocument {
    fn from(offer: &PublishedOffer) -> Self {
        let PublishedOffer { id, provider, timestamp, body } = offer.clone();
        Self {
            properties: body.properties,
            constraints: body.constraints,
            offer_id: id,
            provider_id: provider,
            timestamp: Instant(timestamp),
        }
    }
}
