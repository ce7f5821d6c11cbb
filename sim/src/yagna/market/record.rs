//! What demands and offers say to each other.

use std::{
    collections::VecDeque,
    ops::{Index, IndexMut},
    sync::Arc,
};

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

/// All proposals by their numbers. The first ones may be forgotten; the others keep their numbers.
#[derive(Debug, Default)]
pub(super) struct Records {
    forgotten: usize,
    kept: VecDeque<Record>,
}

impl Records {
    pub(super) fn push(&mut self, record: Record) -> usize {
        let number = self.next();
        self.kept.push_back(record);
        number
    }

    /// The number that the next one has.
    pub(super) fn next(&self) -> usize {
        self.forgotten + self.kept.len()
    }

    pub(super) fn get(&self, number: usize) -> Option<&Record> {
        self.kept.get(number.checked_sub(self.forgotten)?)
    }

    /// Every one that is kept.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.kept.iter()
    }

    /// Forgets the first ones, as long as nobody needs them.
    pub(super) fn forget(&mut self, is_needed: impl Fn(&Record) -> bool) {
        while self.kept.front().is_some_and(|record| !is_needed(record)) {
            self.kept.pop_front();
            self.forgotten += 1;
        }
    }
}

impl Index<usize> for Records {
    type Output = Record;

    fn index(&self, number: usize) -> &Record {
        &self.kept[number - self.forgotten]
    }
}

impl IndexMut<usize> for Records {
    fn index_mut(&mut self, number: usize) -> &mut Record {
        &mut self.kept[number - self.forgotten]
    }
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

#[cfg(test)]
mod tests {
    use ray_on_golem::units::Timestamp;

    use super::{Kind, Record, Records};

    #[test]
    fn what_is_kept_keeps_its_number() {
        let mut records = Records::default();
        for demand in [0, 0, 1, 0, 2] {
            records.push(Record::new(Timestamp::EPOCH, demand, 7, Kind::Initial));
        }

        records.forget(|record| record.demand > 0);

        assert!(records.get(1).is_none());
        assert_eq!(records[2].demand, 1);
        assert_eq!(records.get(3).map(|record| record.demand), Some(0), "it is behind one in use");
        assert!(records.get(5).is_none());
        assert_eq!(records.push(Record::new(Timestamp::EPOCH, 3, 7, Kind::Initial)), 5);
        assert_eq!(records.iter().len(), 4);
    }
}
