//! One published demand: what waits for it, and who waits for that.

use std::{collections::VecDeque, sync::Arc};

use ray_on_golem::{
    units::Timestamp,
    yagna::{DemandBody, SubscriptionId},
};

use crate::yagna::{RequestNo, constraint::Constraint};

/// One demand there ever was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandBook {
    /// Its id.
    pub id: SubscriptionId,
    /// What it says.
    pub body: Arc<DemandBody>,
    /// When it was published.
    pub since: Timestamp,
    /// When and how it ended.
    pub end: Option<(Timestamp, DemandEnd)>,
}

/// How a demand ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemandEnd {
    /// We withdrew it.
    Withdrawn,
    /// Its hour was over.
    Expired,
    /// The daemon restarted.
    Forgotten,
}

/// A demand while it is published; events are numbers of records.
#[derive(Debug)]
pub(super) struct Demand {
    pub(super) filter: Arc<Constraint>,
    /// Rejections wait in front of proposals.
    pub(super) rejections: Vec<usize>,
    pub(super) proposals: Vec<usize>,
    pub(super) polls: VecDeque<Waiting>,
    delivered: u64,
}

/// A request for events that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) request: RequestNo,
    pub(super) max_events: u8,
}

impl Demand {
    pub(super) fn new(filter: Arc<Constraint>) -> Self {
        Self {
            filter,
            rejections: Vec::new(),
            proposals: Vec::new(),
            polls: VecDeque::new(),
            delivered: 0,
        }
    }

    /// Takes up to `max` events, for good: rejections in front, then proposals as `draw` picks them
    /// by how many there are and how many were picked before.
    pub(super) fn take(&mut self, max: usize, draw: impl Fn(u64, u64) -> u64) -> Vec<usize> {
        let mut taken: Vec<usize> =
            self.rejections.drain(..self.rejections.len().min(max)).collect();
        while taken.len() < max && !self.proposals.is_empty() {
            let drawn = draw(self.proposals.len() as u64, self.delivered);
            self.delivered += 1;
            taken.push(self.proposals.swap_remove(drawn as usize));
        }
        taken
    }

    /// Who has waited longest, if there is something to give.
    pub(super) fn next_poll_with_events(&mut self) -> Option<Waiting> {
        let is_empty = self.rejections.is_empty() && self.proposals.is_empty();
        if is_empty { None } else { self.polls.pop_front() }
    }

    /// Ends the waiting of a request.
    pub(super) fn take_poll(&mut self, request: RequestNo) -> Option<Waiting> {
        let place = self.polls.iter().position(|waiting| waiting.request == request)?;
        self.polls.remove(place)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Demand, Waiting};
    use crate::yagna::{RequestNo, constraint::Constraint};

    fn demand() -> Demand {
        Demand::new(Arc::new(Constraint::parse("()")))
    }

    #[test]
    fn events_are_taken_once_and_rejections_first() {
        let mut demand = demand();
        demand.proposals = vec![1, 2, 3, 4];
        demand.rejections = vec![9, 8];
        let last = |length: u64, _| length - 1;

        assert_eq!(demand.take(3, last), [9, 8, 4]);
        assert_eq!(demand.take(100, last), [3, 2, 1]);
        assert_eq!(demand.take(100, last), [0_usize; 0]);
    }

    #[test]
    fn polls_are_served_in_order_and_only_if_there_is_something() {
        let mut demand = demand();
        let waiting = |number| Waiting { request: RequestNo(number), max_events: 1 };
        demand.polls.extend([waiting(1), waiting(2), waiting(3)]);

        assert_eq!(demand.next_poll_with_events(), None);
        demand.proposals.push(7);
        assert_eq!(demand.take_poll(RequestNo(1)), Some(waiting(1)));
        assert_eq!(demand.take_poll(RequestNo(1)), None);
        assert_eq!(demand.next_poll_with_events(), Some(waiting(2)));
    }
}
