//! What will happen in the daemon and behind it, in one order.

use std::collections::BTreeMap;

use ray_on_golem::units::Timestamp;

use super::{Reply, RequestNo, activity, agreement, market, payment, scan};

/// What will happen, in order; ties in the order in which they were entered.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    due: BTreeMap<(Timestamp, u64), Due>,
    next: u64,
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Due {
    Market(market::Due),
    Agreement(agreement::Due),
    Activity(activity::Due),
    Payment(payment::Due),
    Scan(scan::Due),
    /// An answer is on its way back to whoever waits for it.
    Answer(RequestNo, Box<Reply>),
}

impl Due {
    /// Whether it happens on the network, whatever becomes of our daemon.
    pub(crate) const fn outlives_the_daemon(&self) -> bool {
        match self {
            Self::Market(due) => due.outlives_the_daemon(),
            Self::Agreement(due) => due.outlives_the_daemon(),
            Self::Activity(due) => due.outlives_the_daemon(),
            Self::Payment(due) => due.outlives_the_daemon(),
            Self::Scan(_) | Self::Answer(..) => false,
        }
    }
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Timestamp, due: impl Into<Due>) {
        self.due.insert((at, self.next), due.into());
        self.next += 1;
    }

    /// Takes out the first that is due at `now`.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<(Timestamp, Due)> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), due) = entry.remove_entry();
        Some((at, due))
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// The daemon ends: what only it would have done is not done.
    pub(super) fn forget(&mut self) {
        self.due.retain(|_, due| due.outlives_the_daemon());
    }
}

impl From<market::Due> for Due {
    fn from(due: market::Due) -> Self {
        Self::Market(due)
    }
}

impl From<agreement::Due> for Due {
    fn from(due: agreement::Due) -> Self {
        Self::Agreement(due)
    }
}

impl From<activity::Due> for Due {
    fn from(due: activity::Due) -> Self {
        Self::Activity(due)
    }
}

impl From<scan::Due> for Due {
    fn from(due: scan::Due) -> Self {
        Self::Scan(due)
    }
}

impl From<payment::Due> for Due {
    fn from(due: payment::Due) -> Self {
        Self::Payment(due)
    }
}
