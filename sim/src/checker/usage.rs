//! L14 and V9: a cluster ends by itself when it was not used for so long, and not sooner.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{
        Command, Input, Output, Record,
        cluster::{
            plan::{ClusterName, NodeKind},
            record::{ClusterRecord, EndReason, NodeFact},
            state::NodeState,
        },
        ids::ClusterId,
    },
    units::{Span, Timestamp},
};

use super::{Family, Findings, Look, facts::ClusterFacts};

/// What an autoscaler said holds for so long.
const HEARD_FOR: Span = Span::mins(10);
/// A timer of the machine is due at its instant; a round of the checkers comes a little later.
const LATE: Span = Span::mins(1);

/// What is heard of the use of each cluster.
#[derive(Default)]
pub(super) struct Usage {
    clusters: BTreeMap<ClusterId, Use>,
}

struct Use {
    looked: Option<Timestamp>,
    has_load: Option<bool>,
    connections: u32,
    had_worker: bool,
    /// Until when use is entered.
    settled: Timestamp,
    /// The last instant of which use is known, or at which there was nothing yet to use.
    last: Timestamp,
}

impl Default for Use {
    fn default() -> Self {
        let [settled, last] = [Timestamp::EPOCH; 2];
        Self { looked: None, has_load: None, connections: 0, had_worker: false, settled, last }
    }
}

impl Use {
    /// Enters the use since the last event. What was heard may have ceased to hold before that.
    fn settle(&mut self, now: Timestamp) {
        let since = std::mem::replace(&mut self.settled, now);
        if self.connections > 0 {
            self.last = now;
        } else if let Some(until) = self.looked.map(|looked| looked.plus(HEARD_FOR))
            && until >= since
            && self.has_load.unwrap_or(self.had_worker)
        {
            self.last = self.last.max(now.min(until));
        }
    }
}

impl Family for Usage {
    fn on_input(&mut self, look: &Look<'_>, input: &Input, _findings: &mut Findings) {
        let Input::Requested { command, .. } = input else { return };
        match command {
            Command::HeadLooked { cluster, has_load } => {
                if let Some(it) = self.current(look, cluster) {
                    it.looked = Some(look.now());
                    it.has_load = *has_load;
                    it.settle(look.now());
                }
            }
            Command::Connected { cluster, connections } => {
                if let Some(it) = self.current(look, cluster) {
                    it.connections = *connections;
                }
            }
            Command::Survey(_)
            | Command::EndSurvey
            | Command::RequestNodes(_)
            | Command::TerminateNode { .. }
            | Command::SetTags { .. }
            | Command::EndCluster { .. }
            | Command::SetBudget { .. }
            | Command::SetLaw { .. }
            | Command::Inform { .. }
            | Command::ClockSetBack
            | Command::Shutdown => {}
        }
    }

    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        let Output::Persist { records, .. } = output else { return };
        for record in records {
            let Record::Cluster(id, record) = record else { continue };
            let Some(cluster) = look.facts.clusters.get(id) else { continue };
            let it = self.clusters.entry(*id).or_default();
            it.settle(look.now());
            match record.as_ref() {
                ClusterRecord::Node { node, fact: NodeFact::Running } => {
                    let kind = cluster.nodes.get(node).map(|node| node.kind);
                    if kind == Some(NodeKind::Head) {
                        it.last = look.now();
                    }
                }
                ClusterRecord::Ending { reason: EndReason::Autostop, .. } => {
                    check_end(look, cluster, it, findings);
                }
                ClusterRecord::Node { .. }
                | ClusterRecord::Ending { .. }
                | ClusterRecord::Opened { .. }
                | ClusterRecord::NodesRequested { .. }
                | ClusterRecord::Agreement { .. }
                | ClusterRecord::Funds(_)
                | ClusterRecord::Network(_)
                | ClusterRecord::BillsRead { .. }
                | ClusterRecord::Warned { .. }
                | ClusterRecord::BudgetSet { .. }
                | ClusterRecord::LawSet { .. } => {}
            }
            it.had_worker = cluster.live(NodeKind::Worker) > 0;
        }
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        for (id, it) in &mut self.clusters {
            let Some(cluster) = look.facts.clusters.get(id) else { continue };
            it.settle(look.now());
            let is_idle = cluster.ending.is_none() && !cluster.is_closed && has_head(cluster);
            let Some(idle) = idle_time(cluster).filter(|_| is_idle && has_true_clock(look)) else {
                continue;
            };
            if look.facts.awake_for(it.last) > idle.plus(LATE) {
                let what = format!("{} is not used, and does not end", cluster.name);
                findings.violate("V9", look.now(), what);
            }
        }
    }

    /// What was heard is not durable.
    fn on_recovery(&mut self, look: &Look<'_>, _findings: &mut Findings) {
        for (id, it) in &mut self.clusters {
            let had_worker =
                look.facts.clusters.get(id).is_some_and(|it| it.live(NodeKind::Worker) > 0);
            *it = Use { had_worker, settled: look.now(), last: look.now(), ..Use::default() };
        }
    }
}

impl Usage {
    /// The cluster of a name that does not end, with its use until now.
    fn current(&mut self, look: &Look<'_>, name: &ClusterName) -> Option<&mut Use> {
        let mut clusters = look.facts.clusters.iter().rev();
        let is_current =
            |it: &ClusterFacts| it.name == *name && it.ending.is_none() && !it.is_closed;
        let (id, _) = clusters.find(|(_, it)| is_current(it))?;
        let it = self.clusters.entry(*id).or_default();
        it.settle(look.now());
        Some(it)
    }
}

/// L14: the cluster has had its time without use.
fn check_end(look: &Look<'_>, cluster: &ClusterFacts, it: &Use, findings: &mut Findings) {
    let Some(idle) = idle_time(cluster) else {
        let what = format!("{} ends by itself, which it was not told to", cluster.name);
        findings.violate("L14", look.now(), what);
        return;
    };
    if has_true_clock(look) && look.now().since(it.last) < idle {
        let what = format!(
            "{} ends by itself, though it was used {} ago",
            cluster.name,
            look.now().since(it.last)
        );
        findings.violate("L14", look.now(), what);
    }
    if it.had_worker {
        findings.reach("idle cluster with a worker ended");
    }
}

fn idle_time(cluster: &ClusterFacts) -> Option<Span> {
    cluster.plan.autostop.and_then(|autostop| autostop.idle)
}

fn has_head(cluster: &ClusterFacts) -> bool {
    let mut nodes = cluster.nodes.values();
    nodes.any(|node| node.kind == NodeKind::Head && node.state == NodeState::Running)
}

/// Whether the manager's clock shows how much time has passed.
const fn has_true_clock(look: &Look<'_>) -> bool {
    look.scene.has_one_clock
}
