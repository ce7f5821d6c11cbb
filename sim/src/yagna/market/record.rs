//! What demands and offers say to each other.

use std::sync::Arc;

use ray_on_golem::{
    units::Timestamp,
    yagna::{DemandBody, DemandEvent, Proposal, ProposalState, Rejection},
};

use crate::{
    provider::{Draft, Offer},
    yagna::ids::Ids,
};

/// One proposal of either side; its number is part of its id.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) demand: usize,
    pub(super) offer: usize,
    pub(super) previous: Option<usize>,
    /// Counter-proposals of ours so far.
    pub(super) round: u64,
    pub(super) made: Timestamp,
    pub(super) kind: Kind,
    pub(super) is_countered: bool,
    pub(super) is_rejected: bool,
    /// Whether an agreement was made of it.
    pub(super) is_promoted: bool,
}

/// What a proposal says.
#[derive(Debug)]
pub(super) enum Kind {
    /// The offer, as it is.
    Initial,
    /// A provider's answer.
    Draft(Draft),
    /// Ours.
    Ours(Arc<DemandBody>),
    /// Ours, and what the provider said to it.
    Refused(Option<Rejection>),
}

impl Record {
    pub(super) const fn new(made: Timestamp, demand: usize, offer: usize, kind: Kind) -> Self {
        Self {
            demand,
            offer,
            previous: None,
            round: 0,
            made,
            kind,
            is_countered: false,
            is_rejected: false,
            is_promoted: false,
        }
    }

    /// Whether we made it.
    pub(super) const fn is_ours(&self) -> bool {
        match self.kind {
            Kind::Ours(_) | Kind::Refused(_) => true,
            Kind::Initial | Kind::Draft(_) => false,
        }
    }

    /// It as an event, with everything spelled out.
    pub(super) fn event(&self, number: usize, offer: &Offer, ids: Ids) -> DemandEvent {
        let id = ids.proposal(number);
        let (state, properties) = match &self.kind {
            Kind::Initial => (ProposalState::Initial, offer.properties(&Draft::default())),
            Kind::Draft(draft) => (ProposalState::Draft, offer.properties(draft)),
            Kind::Ours(body) => (ProposalState::Draft, body.properties.clone()),
            Kind::Refused(reason) => {
                return DemandEvent::Rejected { proposal: id, reason: reason.clone() };
            }
        };
        DemandEvent::Proposal(Box::new(Proposal {
            id,
            issuer: offer.provider.clone(),
            state,
            timestamp: self.made,
            previous: self.previous.map(|previous| ids.proposal(previous)),
            body: DemandBody { properties, constraints: offer.constraints() },
        }))
    }
}
