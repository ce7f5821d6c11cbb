//! An offer as the rest of the market sees it: typed, priced, small.

use serde_json::Value;
use thiserror::Error;

use super::{
    negotiate::Terms,
    price::{Price, PriceError},
    spec::Gib,
};
use crate::{
    core::rng::fingerprint,
    units::{money, money::Rounding},
    yagna::{
        DemandBody, PlatformId, Properties, Proposal, ProviderId, PublishedOffer, words::plain,
    },
};

pub(super) const NOTE_INTERVAL: &str = "golem.com.scheme.payu.debit-note.interval-sec?";
pub(super) const PAYMENT_TIMEOUT: &str = "golem.com.scheme.payu.payment-timeout-sec?";
const NAME_LENGTH_MAX: usize = 64;

/// What a provider offers, from an initial proposal or a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who offers.
    pub provider: ProviderId,
    /// The provider's name for itself, cut to a sensible length.
    pub name: String,
    /// What it costs.
    pub price: Price,
    /// CPU threads; at least one.
    pub threads: u32,
    /// Memory.
    pub mem: Gib,
    /// Storage.
    pub storage: Gib,
    /// The wallet that it is paid to on our platform; none if it cannot be.
    pub wallet: Option<String>,
    /// What it says about payments while the node runs; both or nothing.
    pub terms: Option<Terms>,
    /// Equal for equal content of the same provider.
    pub fingerprint: u64,
}

/// Why a proposal is no offer that we can use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OfferError {
    /// It has no price that we can hold it to.
    #[error("{0}")]
    Price(#[from] PriceError),
    /// The number of threads is missing, zero, or no whole number.
    #[error("number of cpu threads is missing")]
    Threads,
}

impl Offer {
    /// Reads a proposal; `platform` is where we pay.
    ///
    /// # Errors
    ///
    /// Says why the offer cannot be used.
    pub fn read(proposal: &Proposal, platform: &PlatformId) -> Result<Self, OfferError> {
        Self::of(&proposal.issuer, &proposal.body, platform)
    }

    /// Reads an offer that a scan shows; `platform` is where we pay.
    ///
    /// # Errors
    ///
    /// Says why the offer cannot be used.
    pub fn read_published(
        offer: &PublishedOffer,
        platform: &PlatformId,
    ) -> Result<Self, OfferError> {
        Self::of(&offer.provider, &offer.body, platform)
    }

    fn of(
        provider: &ProviderId,
        body: &DemandBody,
        platform: &PlatformId,
    ) -> Result<Self, OfferError> {
        let properties = &body.properties;
        let price = Price::read(properties)?;
        let threads = Self::threads_of(properties).ok_or(OfferError::Threads)?;
        let terms = whole(properties, NOTE_INTERVAL)
            .zip(whole(properties, PAYMENT_TIMEOUT))
            .map(|(note_interval, payment_timeout)| Terms { note_interval, payment_timeout });
        Ok(Self {
            provider: provider.clone(),
            name: name(properties),
            price,
            threads,
            mem: Self::mem_of(properties),
            storage: Self::storage_of(properties),
            wallet: properties
                .get(&format!("golem.com.payment.platform.{platform}.address"))
                .map(|address| address.as_str().unwrap_or_default().to_owned()),
            terms,
            fingerprint: fingerprint_of(provider, body),
        })
    }

    /// CPU threads; none if their number is missing, zero, or no whole number.
    pub(super) fn threads_of(properties: &Properties) -> Option<u32> {
        let threads = whole(properties, "golem.inf.cpu.threads")?;
        u32::try_from(threads).ok().filter(|threads| *threads > 0)
    }

    /// Memory.
    pub(super) fn mem_of(properties: &Properties) -> Gib {
        gib(properties, "golem.inf.mem.gib")
    }

    /// Storage.
    pub(super) fn storage_of(properties: &Properties) -> Gib {
        gib(properties, "golem.inf.storage.gib")
    }

    /// A plain offer, for examples and tests.
    #[must_use]
    pub fn example() -> Self {
        Self {
            provider: ProviderId::from("0x0000000000000000000000000000000000000001"),
            name: "example".to_owned(),
            price: Price::default(),
            threads: 4,
            mem: Gib::from_millionths(8_000_000),
            storage: Gib::from_millionths(20_000_000),
            wallet: Some("0x0000000000000000000000000000000000000002".to_owned()),
            terms: Some(Terms { note_interval: 120, payment_timeout: 120 }),
            fingerprint: 1,
        }
    }
}

/// A whole number, however it is written (`120`, `120.0`).
fn whole(properties: &Properties, key: &str) -> Option<u64> {
    let value = money::parse_scaled(properties.number(key)?, 0, Rounding::Exact).ok()?;
    u64::try_from(value).ok()
}

fn gib(properties: &Properties, key: &str) -> Gib {
    let millionths = properties
        .number(key)
        .and_then(|text| money::parse_scaled(text, 6, Rounding::Down).ok())
        .and_then(|millionths| u64::try_from(millionths).ok());
    Gib::from_millionths(millionths.unwrap_or(0))
}

fn name(properties: &Properties) -> String {
    let name = properties.get("golem.node.id.name").and_then(Value::as_str).unwrap_or_default();
    plain(name, NAME_LENGTH_MAX)
}

/// Names the content: the same offer matched again, with another id, is recognised by it.
pub(super) fn content(proposal: &Proposal) -> u64 {
    fingerprint_of(&proposal.issuer, &proposal.body)
}

fn fingerprint_of(provider: &ProviderId, body: &DemandBody) -> u64 {
    let text = serde_json::to_vec(body).unwrap_or_default();
    fingerprint(&text) ^ fingerprint(provider.as_str().as_bytes()).rotate_left(1)
}
