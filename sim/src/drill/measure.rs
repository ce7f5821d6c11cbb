//! What the machine's records say to the meter.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{
        Record,
        cluster::record::{AgreementFact, ClusterRecord, NodeFact},
        ids::{AgreementNo, ClusterId, NodeId},
    },
    units::Timestamp,
    yagna::AgreementId,
};

use crate::{
    meter::{Measures, Meter, NodeKey},
    yagna::SimYagna,
};

/// Follows a run of the machine.
#[derive(Debug, Default)]
pub(super) struct Follower {
    meter: Meter,
    /// Which node an agreement is for. A node may have several; it runs under the one that it asks an
    /// activity of.
    signings: BTreeMap<(ClusterId, AgreementNo), (NodeId, AgreementId)>,
}

impl Follower {
    /// Takes up what is durable from now on.
    pub(super) fn on_records(&mut self, now: Timestamp, records: &[Record]) {
        for record in records {
            if let Record::Cluster(cluster, record) = record {
                self.on_record(now, *cluster, record);
            }
        }
    }

    /// What the run came to, now that it is over.
    pub(super) fn read(&self, now: Timestamp, daemon: &SimYagna) -> Measures {
        self.meter.read(now, daemon)
    }

    fn on_record(&mut self, now: Timestamp, cluster: ClusterId, record: &ClusterRecord) {
        match record {
            ClusterRecord::NodesRequested { nodes, .. } => {
                for node in nodes {
                    self.meter.requested(now, key(cluster, *node));
                }
            }
            ClusterRecord::Node { node, fact } => match fact {
                NodeFact::Running => self.meter.up(now, key(cluster, *node)),
                NodeFact::Ending | NodeFact::Ended => self.meter.down(now, key(cluster, *node)),
                NodeFact::Tagged(_) | NodeFact::Logged(_) => {}
            },
            ClusterRecord::Agreement { number, fact } => {
                if let AgreementFact::Signing { agreement, node, .. } = fact {
                    self.meter.signing();
                    self.signings.insert((cluster, *number), (*node, agreement.clone()));
                }
                if let AgreementFact::ActivityIntended { .. } = fact
                    && let Some((node, agreement)) = self.signings.get(&(cluster, *number))
                {
                    self.meter.placed(key(cluster, *node), agreement);
                }
            }
            ClusterRecord::Opened { .. }
            | ClusterRecord::Funds(_)
            | ClusterRecord::Network(_)
            | ClusterRecord::BillsRead { .. }
            | ClusterRecord::Warned { .. }
            | ClusterRecord::BudgetSet { .. }
            | ClusterRecord::LawSet { .. }
            | ClusterRecord::Ending { .. } => {}
        }
    }
}

fn key(cluster: ClusterId, node: NodeId) -> NodeKey {
    NodeKey { cluster: cluster.0.into(), node: node.0.into() }
}
