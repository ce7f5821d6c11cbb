//! L13: a cluster keeps to the way by which its nodes were reached.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{
        Output, Record,
        cluster::record::{ClusterRecord, NetworkFact, NodeFact},
        ids::ClusterId,
    },
    yagna::NetworkPath,
};

use super::{Family, Findings, Look};

/// Follows by which ways clusters want to reach their nodes.
#[derive(Default)]
pub(super) struct Ways(BTreeMap<ClusterId, Way>);

#[derive(Default)]
struct Way {
    /// What carries the frames of its latest network.
    latest: NetworkPath,
    /// By which way a node was reached last.
    proven: Option<NetworkPath>,
    /// Whether it has begun again without the bus.
    is_second: bool,
}

impl Family for Ways {
    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        let Output::Persist { records, .. } = output else { return };
        for record in records {
            let Record::Cluster(id, record) = record else { continue };
            let asked = look.facts.clusters.get(id).and_then(|it| it.plan.network_path);
            let what = self.0.entry(*id).or_default().follow(record, asked);
            if let Some(what) = what {
                findings.violate("L13", look.now(), what);
            }
        }
    }
}

impl Way {
    /// Takes up a record of a cluster whose user has asked for this path, if for any; says what is wrong
    /// with it.
    fn follow(&mut self, record: &ClusterRecord, asked: Option<NetworkPath>) -> Option<String> {
        match record {
            ClusterRecord::Network(NetworkFact::Intended { path, .. }) => {
                self.latest = *path;
                if asked.is_some_and(|asked| asked != *path) {
                    return Some(format!(
                        "a network by the {path:?}, which the user does not want"
                    ));
                }
                let settled = self.proven.or_else(|| self.is_second.then_some(NetworkPath::Daemon));
                settled.filter(|settled| settled != path).map(|settled| {
                    format!("a network by the {path:?} after {settled:?} was settled")
                })
            }
            ClusterRecord::Network(NetworkFact::Settled(path)) if *path != self.latest => {
                let is_open = self.latest == NetworkPath::Bus && asked.is_none();
                let is_first = self.proven.is_none() && !self.is_second;
                self.is_second = true;
                (!is_open || !is_first).then(|| "a cluster begins again for no reason".to_owned())
            }
            ClusterRecord::Node { fact: NodeFact::Running, .. } => {
                self.proven = Some(self.latest);
                None
            }
            ClusterRecord::Opened { .. }
            | ClusterRecord::NodesRequested { .. }
            | ClusterRecord::Node { .. }
            | ClusterRecord::Agreement { .. }
            | ClusterRecord::Funds(_)
            | ClusterRecord::Network(
                NetworkFact::Made(_)
                | NetworkFact::Settled(_)
                | NetworkFact::Left(_)
                | NetworkFact::Lost
                | NetworkFact::Ended,
            )
            | ClusterRecord::BillsRead { .. }
            | ClusterRecord::Warned { .. }
            | ClusterRecord::BudgetSet { .. }
            | ClusterRecord::LawSet { .. }
            | ClusterRecord::Ending { .. } => None,
        }
    }
}
