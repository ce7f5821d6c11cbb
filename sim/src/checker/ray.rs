//! K8: while Ray does not start on workers, they are hired ever more seldom, and then not at all.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{
        cluster::{
            plan::{NodeKind, Tags},
            state::NodeState,
        },
        ids::NodeId,
    },
    units::{Span, Timestamp},
};

use super::{
    Findings, Look,
    clusters::{ClusterFacts, NodeFacts},
};

/// After so many failures in a row workers wait for a minute, and twice as long after each further one.
const SLOWED_AFTER: u32 = 3;
/// After so many no worker is hired.
const STOPPED_AFTER: u32 = 10;

/// How Ray fares on the nodes of a cluster, as its tags say.
#[derive(Default)]
pub(super) struct RayFacts {
    status: BTreeMap<NodeId, String>,
    failures: u32,
    last: Option<Timestamp>,
}

impl RayFacts {
    /// New tags are stuck on a node; says whether Ray did not start on a worker.
    pub(super) fn on_tags(
        &mut self,
        now: Timestamp,
        id: NodeId,
        node: &NodeFacts,
        tags: &Tags,
    ) -> bool {
        let Some(status) = tags.get("ray-node-status") else { return false };
        let is_new = self.status.insert(id, status.clone()).as_ref() != Some(status);
        let is_up = node.kind == NodeKind::Worker && node.state == NodeState::Running;
        match status.as_str() {
            "up-to-date" if is_new => self.failures = 0,
            "update-failed" if is_new && is_up => {
                self.failures += 1;
                self.last = Some(now);
                return true;
            }
            _ => {}
        }
        false
    }

    /// Whether there are so many failures in a row that workers may have to wait.
    pub(super) fn is_failing(&self) -> bool {
        self.failures >= SLOWED_AFTER
    }

    /// Whether no worker may be hired.
    fn is_at_rest(&self, now: Timestamp) -> bool {
        let pause = Span::mins(1 << self.failures.saturating_sub(SLOWED_AFTER).min(STOPPED_AFTER));
        let is_soon = self.last.is_some_and(|last| now.since(last) < pause);
        self.failures >= STOPPED_AFTER || self.is_failing() && is_soon
    }
}

/// An agreement is about to be signed for a node.
pub(super) fn check_signing(
    look: &Look<'_>,
    cluster: &ClusterFacts,
    node: NodeId,
    findings: &mut Findings,
) {
    let is_worker = cluster.nodes.get(&node).is_some_and(|node| node.kind == NodeKind::Worker);
    if is_worker && cluster.ray.is_at_rest(look.now()) {
        let failures = cluster.ray.failures;
        let what = format!("{node} is hired after {failures} workers on which Ray did not start");
        findings.violate("K8", look.now(), what);
    }
    if is_worker && cluster.ray.is_failing() {
        findings.reach("worker hired after ray did not start");
    }
}
