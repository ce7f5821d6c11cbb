//! Durable facts: what must survive a crash so that nothing is left behind.
//!
//! An intent is recorded before its effect is asked for. Each thing we ask the daemon to make
//! carries an instant of our choice (an allocation's time-out, a demand's expiration) that no other
//! of ours has: by this *mark* it is found again when the reply was lost.
//!
//! There is one journal for what is common, and one for each cluster. They do not depend on each
//! other, so that each can be folded alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    cluster::{
        plan::ClusterName,
        record::{AgreementFact, ClusterRecord, NodeFact},
        state::ClusterState,
    },
    ids::{AgreementNo, ClusterId, NodeId},
};
use crate::{
    units::Timestamp,
    yagna::{AllocationId, SubscriptionId},
};

/// Which journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JournalId {
    /// What is common to all clusters.
    Common,
    /// What belongs to one cluster.
    Cluster(ClusterId),
}

/// A durable fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// Of all clusters.
    Common(CommonRecord),
    /// Of one cluster.
    Cluster(ClusterId, Box<ClusterRecord>),
}

/// A durable fact of all clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommonRecord {
    /// An allocation of a survey with this time-out is about to be asked for.
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
    /// A cluster has a journal from here on.
    ClusterOpened {
        /// Which one.
        cluster: ClusterId,
        /// Its name.
        name: ClusterName,
    },
    /// Nothing of a cluster is left; its journal may go.
    ClusterClosed {
        /// Which one.
        cluster: ClusterId,
        /// Its name.
        name: ClusterName,
        /// The first node id that it did not have.
        next_node: NodeId,
    },
}

/// The fold of all records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    common: CommonState,
    clusters: BTreeMap<ClusterId, ClusterState>,
}

/// The fold of what is common to all clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommonState {
    allocations: BTreeMap<Timestamp, Option<AllocationId>>,
    demands: BTreeMap<Timestamp, Option<SubscriptionId>>,
    /// No mark is used twice, also after its thing has ended.
    last_allocation: Option<Timestamp>,
    /// As for allocations.
    last_demand: Option<Timestamp>,
    /// The clusters that have a journal.
    clusters: BTreeMap<ClusterId, ClusterName>,
    next_cluster: u32,
    /// The first node id that no cluster of this name had.
    next_nodes: BTreeMap<ClusterName, NodeId>,
}

/// The fold of one journal, to begin a shorter one with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Snapshot {
    /// Of the common journal.
    Common(Box<CommonState>),
    /// Of a cluster's journal.
    Cluster(ClusterId, Box<ClusterState>),
}

impl Record {
    /// The journal that it belongs to.
    #[must_use]
    pub const fn journal(&self) -> JournalId {
        match self {
            Self::Common(_) => JournalId::Common,
            Self::Cluster(cluster, _) => JournalId::Cluster(*cluster),
        }
    }

    /// Whether it is the first one of a cluster's journal.
    #[must_use]
    pub fn begins_journal(&self) -> bool {
        match self {
            Self::Common(_) => false,
            Self::Cluster(_, record) => matches!(**record, ClusterRecord::Opened { .. }),
        }
    }

    pub(crate) fn node(cluster: ClusterId, node: NodeId, fact: NodeFact) -> Self {
        Self::Cluster(cluster, Box::new(ClusterRecord::Node { node, fact }))
    }

    pub(crate) fn agreement(cluster: ClusterId, number: AgreementNo, fact: AgreementFact) -> Self {
        Self::Cluster(cluster, Box::new(ClusterRecord::Agreement { number, fact }))
    }
}

impl Durable {
    /// The only way durable state changes, live and in recovery.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Common(record) => {
                self.common.apply(record);
                if let CommonRecord::ClusterClosed { cluster, .. } = record {
                    self.clusters.remove(cluster);
                }
            }
            Record::Cluster(id, record) => match self.clusters.get_mut(id) {
                Some(cluster) => cluster.apply(record),
                None => {
                    if let Some(cluster) = ClusterState::open(record) {
                        self.clusters.insert(*id, cluster);
                    }
                }
            },
        }
    }

    /// Takes the fold of one journal's beginning.
    pub fn restore(&mut self, snapshot: Snapshot) {
        match snapshot {
            Snapshot::Common(common) => self.common = *common,
            Snapshot::Cluster(id, cluster) => {
                self.clusters.insert(id, *cluster);
            }
        }
    }

    /// The fold of one journal; `None` for a cluster that there is not.
    #[must_use]
    pub fn snapshot(&self, journal: JournalId) -> Option<Snapshot> {
        match journal {
            JournalId::Common => Some(Snapshot::Common(Box::new(self.common.clone()))),
            JournalId::Cluster(id) => {
                let cluster = self.clusters.get(&id)?.clone();
                Some(Snapshot::Cluster(id, Box::new(cluster)))
            }
        }
    }

    /// The journals that are in use.
    pub fn journals(&self) -> impl Iterator<Item = JournalId> {
        let clusters = self.common.clusters.keys().map(|id| JournalId::Cluster(*id));
        std::iter::once(JournalId::Common).chain(clusters)
    }

    /// Drops clusters whose end is recorded; their journals may still have been there.
    pub fn forget_closed(&mut self) {
        self.clusters.retain(|id, _| self.common.clusters.contains_key(id));
    }

    /// Clusters that were begun, and of which nothing else was ever written: the process died then.
    pub fn stillborn(&self) -> impl Iterator<Item = (ClusterId, &ClusterName)> {
        let begun = self.common.clusters.iter().map(|(id, name)| (*id, name));
        begun.filter(|(id, _)| !self.clusters.contains_key(id))
    }

    /// All clusters.
    #[must_use]
    pub fn clusters(&self) -> &BTreeMap<ClusterId, ClusterState> {
        &self.clusters
    }

    /// One cluster.
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> Option<&ClusterState> {
        self.clusters.get(&id)
    }

    /// The allocations of surveys that may exist by mark; without an id while that is in doubt.
    #[must_use]
    pub fn allocations(&self) -> &BTreeMap<Timestamp, Option<AllocationId>> {
        &self.common.allocations
    }

    /// The demands that may be published by mark; without an id while that is in doubt.
    #[must_use]
    pub fn demands(&self) -> &BTreeMap<Timestamp, Option<SubscriptionId>> {
        &self.common.demands
    }

    /// Whether nothing of ours is left at the daemon.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let common = &self.common;
        common.allocations.is_empty() && common.demands.is_empty() && common.clusters.is_empty()
    }

    /// The id of the next cluster.
    #[must_use]
    pub fn next_cluster(&self) -> ClusterId {
        ClusterId(self.common.next_cluster)
    }

    /// The first node id that no closed cluster of this name had.
    #[must_use]
    pub fn next_node(&self, name: &ClusterName) -> NodeId {
        let open = self.clusters.values().filter(|cluster| cluster.name == *name);
        let open = open.map(|cluster| cluster.next_node).max();
        let closed = self.common.next_nodes.get(name).copied();
        open.max(closed).unwrap_or(NodeId(0))
    }

    /// The first instant at or after `wanted` that is no mark of an allocation yet.
    #[must_use]
    pub fn fresh_allocation_mark(&self, wanted: Timestamp) -> Timestamp {
        let clusters = self.clusters.values().map(|cluster| cluster.funds.mark());
        let last = clusters.max().flatten().max(self.common.last_allocation);
        fresh_mark(last, wanted)
    }

    /// The first instant at or after `wanted` that is no mark of a demand yet.
    #[must_use]
    pub fn fresh_demand_mark(&self, wanted: Timestamp) -> Timestamp {
        fresh_mark(self.common.last_demand, wanted)
    }
}

/// In whole milliseconds, as the daemon keeps a demand's expiration.
fn fresh_mark(last: Option<Timestamp>, wanted: Timestamp) -> Timestamp {
    let millis = wanted.as_unix_millis();
    let free = match last {
        Some(last) => millis.max(last.as_unix_millis().saturating_add(1)),
        None => millis,
    };
    Timestamp::from_unix_micros(free.saturating_mul(1_000))
}

impl CommonState {
    fn apply(&mut self, record: &CommonRecord) {
        match record {
            CommonRecord::AllocationIntended { mark } => {
                self.allocations.insert(*mark, None);
                self.last_allocation = self.last_allocation.max(Some(*mark));
            }
            CommonRecord::AllocationCreated { mark, allocation } => {
                self.allocations.insert(*mark, Some(allocation.clone()));
            }
            CommonRecord::AllocationEnded { mark } => {
                self.allocations.remove(mark);
            }
            CommonRecord::DemandIntended { mark } => {
                self.demands.insert(*mark, None);
                self.last_demand = self.last_demand.max(Some(*mark));
            }
            CommonRecord::DemandPublished { mark, subscription } => {
                self.demands.insert(*mark, Some(subscription.clone()));
            }
            CommonRecord::DemandEnded { mark } => {
                self.demands.remove(mark);
            }
            CommonRecord::ClusterOpened { cluster, name } => {
                self.clusters.insert(*cluster, name.clone());
                self.next_cluster = self.next_cluster.max(cluster.0.saturating_add(1));
            }
            CommonRecord::ClusterClosed { cluster, name, next_node } => {
                self.clusters.remove(cluster);
                let next = self.next_nodes.entry(name.clone()).or_insert(*next_node);
                *next = (*next).max(*next_node);
            }
        }
    }
}
