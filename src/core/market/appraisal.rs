//! What became of each offer, one by one, for those who want to know why.

use std::collections::BTreeMap;

use super::{offer::Offer, score::Parts};
use crate::{core::ids::OfferNo, yagna::ProviderId};

/// One distinct offer as the market saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraisal {
    /// Who offers.
    pub provider: ProviderId,
    /// What; none if it cannot be used.
    pub offer: Option<Offer>,
    /// How good it is; none if it cannot be used.
    pub score: Option<Parts>,
    /// Whether its provider is known to be good.
    pub is_proven: bool,
    /// What became of it.
    pub fate: Fate,
}

/// What became of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its provider is blacklisted.
    Blacklisted,
    /// The lists of the cluster file keep its provider out.
    Barred,
    /// It cannot be used, for this reason.
    Unusable(String),
    /// It exceeds the limit of this place in the list of limits.
    TooDear(usize),
    /// So many better ones are remembered that there was no room for it.
    NoRoom,
    /// It waited for a negotiation.
    Waiting,
    /// Its negotiation was not finished.
    Negotiating,
    /// Its negotiation failed, for this reason.
    Failed(String),
    /// It could be hired.
    Agreed,
}

/// The appraisals of a market.
#[derive(Debug, Default)]
pub(super) struct Appraisals {
    all: Vec<Appraisal>,
    places: BTreeMap<OfferNo, usize>,
}

impl Appraisals {
    pub(super) fn add(&mut self, appraisal: Appraisal, number: Option<OfferNo>) {
        if let Some(number) = number {
            self.places.insert(number, self.all.len());
        }
        self.all.push(appraisal);
    }

    /// Something else became of an offer.
    pub(super) fn set(&mut self, number: OfferNo, fate: Fate) {
        let place = self.places.get(&number).copied();
        if let Some(appraisal) = place.and_then(|place| self.all.get_mut(place)) {
            appraisal.fate = fate;
        }
    }

    pub(super) fn into_vec(self) -> Vec<Appraisal> {
        self.all
    }
}
