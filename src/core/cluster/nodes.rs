//! Nodes from the request to their end: who waits, who is given up, what a head means.

use super::{
    Cluster, ClusterTimer,
    command::START_DEADLINE,
    end_without, is_live,
    plan::NodeKind,
    record::NodeFact,
    state::{ClusterState, NodeState},
};
use crate::{
    core::{
        effects::Effects,
        ids::{AgreementNo, NodeId},
        planted::Bug,
    },
    units::Span,
};

/// A node counts as ended after this time, whatever its provider does; its agreement is ended in the
/// background, however long that takes.
const NODE_END_PATIENCE: Span = Span::secs(60);

const NO_RECOMMENDED: &str = "No recommended providers were found. We are extending the search to \
    all public providers, which might be less stable. Restart the cluster to try finding \
    recommended providers again. If the problem persists please let us know at `#Ray on Golem` \
    discord channel (https://chat.golem.network/)";

impl Cluster {
    /// Ends a node, in whatever phase it is; harmless if it ends already.
    pub(super) fn end_node(&mut self, fx: &mut Effects, id: NodeId, reason: &str) {
        let Some(node) = fx.cluster(self.id).nodes.get(&id) else { return };
        if !is_live(node.state) {
            return;
        }
        let (agreements, kind): (Vec<AgreementNo>, _) = (node.agreements().collect(), node.kind);
        self.note_node(fx, id, NodeFact::Ending);
        self.rest(fx, ClusterTimer::Node(id));
        self.rest(fx, ClusterTimer::Priority(id));
        self.rest(fx, ClusterTimer::Hedge(id));
        self.waiting.remove(&id);
        if agreements.is_empty() {
            self.node_ended(fx, id);
        } else {
            self.wake(fx, ClusterTimer::NodeEnd(id), fx.now.plus(NODE_END_PATIENCE));
        }
        for number in agreements {
            self.close(fx, number, reason);
        }
        let has_others = fx.cluster(self.id).nodes.values().any(|node| is_live(node.state));
        let is_head = kind == NodeKind::Head && !fx.planted(Bug::HeadLossIgnored);
        if let Some(reason) = end_without(is_head, has_others) {
            self.end(fx, reason);
        }
        self.review_usage(fx);
        self.is_dirty = true;
    }

    /// Nothing of a node is left that matters to Ray.
    pub(super) fn node_ended(&mut self, fx: &mut Effects, id: NodeId) {
        let state = fx.cluster(self.id).nodes.get(&id).map(|node| node.state);
        if state == Some(NodeState::Terminating) && !fx.planted(Bug::EndUnrecorded) {
            self.note_node(fx, id, NodeFact::Ended);
            self.rest(fx, ClusterTimer::NodeEnd(id));
            self.is_dirty = true;
        }
    }

    /// A node that could not be brought up in time is given up, with what is known about why.
    pub(super) fn on_node_waited(&mut self, fx: &mut Effects, id: NodeId) {
        let Some(node) = fx.cluster(self.id).nodes.get(&id) else { return };
        if node.state != NodeState::Pending || fx.planted(Bug::StartEndless) {
            return;
        }
        let minutes = START_DEADLINE.as_secs() / 60;
        let step = node.log.iter().rev().find(|line| line.starts_with('['));
        let why = match step.filter(|_| node.agreement.is_some()) {
            Some(step) => format!("the last step was {step}"),
            None => self.why(fx, id, node).to_string(),
        };
        self.log(
            fx,
            id,
            format!("Failed to create activity: not ready within {minutes} minutes; {why}"),
        );
        self.end_node(fx, id, "It took too long to start");
    }

    pub(super) fn on_priority_over(&mut self, fx: &mut Effects, id: NodeId) {
        if self.waiting.contains(&id) {
            self.log(fx, id, NO_RECOMMENDED.to_owned());
            self.is_dirty = true;
        }
    }

    /// A node lost its agreement before it was up: it looks for another one.
    pub(super) fn wait_again(&mut self, fx: &Effects, id: NodeId) {
        let node = fx.cluster(self.id).nodes.get(&id);
        let is_asked = self.signings.values().any(|work| work.node == id);
        if node.is_some_and(|node| node.state == NodeState::Pending && node.agreement.is_none())
            && !is_asked
        {
            self.waiting.insert(id);
            self.is_dirty = true;
        }
    }

    /// Sets the timers of nodes that were there before a crash.
    pub(super) fn recover_nodes(&mut self, fx: &mut Effects, state: &ClusterState) {
        for (id, node) in &state.nodes {
            match node.state {
                NodeState::Pending => {
                    self.wake(fx, ClusterTimer::Node(*id), node.asked.plus(START_DEADLINE));
                    if node.agreement.is_none() {
                        self.waiting.insert(*id);
                    }
                }
                NodeState::Terminating => {
                    self.wake(fx, ClusterTimer::NodeEnd(*id), fx.now.plus(NODE_END_PATIENCE));
                }
                NodeState::Running | NodeState::Terminated => {}
            }
        }
    }
}
