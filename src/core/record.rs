//! Durable facts: what must survive a crash so that nothing is left behind.
//!
//! An intent is recorded before its effect is asked for. Each thing we ask the daemon to make
//! carries an instant of our choice (an allocation's time-out, a demand's expiration) that no other
//! of ours has: by this *mark* it is found again when the reply was lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    units::Timestamp,
    yagna::{AllocationId, SubscriptionId},
};

/// A durable fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// An allocation with this time-out is about to be asked for.
    AllocationIntended {
        /// Its time-out, which is its mark.
        mark: Timestamp,
    },
    /// The allocation exists.
    AllocationCreated {
        /// Its mark.
        mark: Timestamp,
        /// Its id.
        allocation: AllocationId,
    },
    /// The allocation was released, or certainly never existed.
    AllocationEnded {
        /// Its mark.
        mark: Timestamp,
    },
    /// A demand with this expiration is about to be published.
    DemandIntended {
        /// Its expiration, which is its mark.
        mark: Timestamp,
    },
    /// The demand is published.
    DemandPublished {
        /// Its mark.
        mark: Timestamp,
        /// Its id.
        subscription: SubscriptionId,
    },
    /// The demand was withdrawn, or certainly never existed.
    DemandEnded {
        /// Its mark.
        mark: Timestamp,
    },
}

/// The fold of all records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    allocations: BTreeMap<Timestamp, Option<AllocationId>>,
    demands: BTreeMap<Timestamp, Option<SubscriptionId>>,
    /// No mark is used twice, also after its thing has ended.
    last_mark: Option<Timestamp>,
}

impl Durable {
    /// The only way durable state changes, live and in recovery.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::AllocationIntended { mark } => {
                self.allocations.insert(*mark, None);
                self.last_mark = self.last_mark.max(Some(*mark));
            }
            Record::AllocationCreated { mark, allocation } => {
                self.allocations.insert(*mark, Some(allocation.clone()));
            }
            Record::AllocationEnded { mark } => {
                self.allocations.remove(mark);
            }
            Record::DemandIntended { mark } => {
                self.demands.insert(*mark, None);
                self.last_mark = self.last_mark.max(Some(*mark));
            }
            Record::DemandPublished { mark, subscription } => {
                self.demands.insert(*mark, Some(subscription.clone()));
            }
            Record::DemandEnded { mark } => {
                self.demands.remove(mark);
            }
        }
    }

    /// The allocations that may exist by mark; without an id while that is in doubt.
    #[must_use]
    pub fn allocations(&self) -> &BTreeMap<Timestamp, Option<AllocationId>> {
        &self.allocations
    }

    /// The demands that may be published by mark; without an id while that is in doubt.
    #[must_use]
    pub fn demands(&self) -> &BTreeMap<Timestamp, Option<SubscriptionId>> {
        &self.demands
    }

    /// Whether nothing of ours is left at the daemon.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.allocations.is_empty() && self.demands.is_empty()
    }

    /// The first instant at or after `wanted`, in whole milliseconds, that is no mark yet.
    ///
    /// The daemon keeps a demand's expiration in milliseconds.
    #[must_use]
    pub fn fresh_mark(&self, wanted: Timestamp) -> Timestamp {
        let millis = wanted.as_unix_millis();
        let free = match self.last_mark {
            Some(last) => millis.max(last.as_unix_millis().saturating_add(1)),
            None => millis,
        };
        Timestamp::from_unix_micros(free.saturating_mul(1_000))
    }
}
