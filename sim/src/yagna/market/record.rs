//! What demands and offers say to each other, and under which ids.

use std::sync::Arc;

use ray_on_golem::{
    core::rng::Seed,
    units::Timestamp,
    yagna::{
        DemandBody, DemandEvent, Proposal, ProposalId, ProposalState, Rejection, SubscriptionId,
    },
};

use crate::provider::{Draft, Offer};

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

/// The daemon's ids: 64 hexadecimal digits that end with a number, and the forms that use them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids(pub(super) Seed);

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

impl Ids {
    pub(super) fn proposal(self, number: usize) -> ProposalId {
        ProposalId::from(format!("R-{}", self.hex("proposal", number as u64)))
    }

    pub(super) fn subscription(self, number: usize) -> SubscriptionId {
        let (head, tail) =
            (self.hex("subscription", number as u64), self.hex("demand", number as u64));
        SubscriptionId::from(format!("{}-{tail}", &head[..32]))
    }

    /// The subscription of a provider's offer.
    pub(super) fn offer(self, number: usize) -> SubscriptionId {
        let hex = self.hex("offer", number as u64);
        SubscriptionId::from(format!("{}-{hex}", &hex[..32]))
    }

    /// The number in an id, if it is exactly one of ours.
    pub(super) fn number_of(self, id: &ProposalId) -> Option<usize> {
        let text = id.as_str();
        let tail = text.get(text.len().checked_sub(16)?..)?;
        let number = usize::from_str_radix(tail, 16).ok()?;
        (self.proposal(number) == *id).then_some(number)
    }

    fn hex(self, label: &str, number: u64) -> String {
        let (first, second) = (self.0.draw(label, number, 0), self.0.draw(label, number, 1));
        format!("{first:016x}{second:016x}{:016x}{number:016x}", first ^ second.rotate_left(7))
    }
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{core::rng::Seed, yagna::ProposalId};

    use super::Ids;

    #[test]
    fn ids_have_the_daemons_form_and_lead_back_to_their_number() {
        let ids = Ids(Seed::new(1));
        let proposal = ids.proposal(77);

        assert_eq!(proposal.as_str().len(), 66);
        assert_eq!(ids.number_of(&proposal), Some(77));
        assert_eq!(ids.subscription(0).as_str().find('-'), Some(32));
        assert_eq!(ids.subscription(0).as_str().len(), 97);
        assert_eq!(Ids(Seed::new(2)).number_of(&proposal), None, "another network's");
        for text in ["", "R-", "R-00", "é€é€é€é€é€", &"f".repeat(66)] {
            assert_eq!(ids.number_of(&ProposalId::from(text)), None, "{text}");
        }
    }
}
