//! What can be asked of a cluster; every request is answered at once (A1 to A6).

use super::{
    Cluster, ClusterTimer, is_live,
    law::Law,
    plan::{NODES_MAX, NodeKind, NodeOrder, TAGS_LENGTH_MAX, Tags, length_of},
    record::{ClusterRecord, EndReason, NodeFact},
    state::NodeState,
    steps::Step,
};
use crate::{
    core::{
        effects::Effects,
        ids::NodeId,
        input::{Command, NodeRequest},
        output::{Answer, RequestError},
        payment::ledger,
        planted::Bug,
        rng::fingerprint,
    },
    units::{Glm, Span},
};

/// A node that does not come up within this time is given up.
pub(super) const START_DEADLINE: Span = Span::mins(20);
/// For so long only recommended providers are asked for a head.
const PRIORITY_TIME: Span = Span::secs(30);

impl Cluster {
    /// Takes a request for nodes.
    pub(in crate::core) fn request_nodes(
        &mut self,
        fx: &mut Effects,
        request: &NodeRequest,
    ) -> Result<Vec<NodeId>, RequestError> {
        let body = fingerprint_of(&request.order);
        let state = fx.cluster(self.id);
        if let Some((known, nodes)) = request.key.as_ref().and_then(|key| state.keys.get(key))
            && !fx.planted(Bug::KeyForgotten)
        {
            return if *known == body { Ok(nodes.clone()) } else { Err(RequestError::KeyReused) };
        }
        self.check_order(fx, request)?;
        let first = state.next_node.0;
        let mut nodes: Vec<NodeId> =
            (0..request.order.count).map(|nth| NodeId(first.saturating_add(nth))).collect();
        let key = request.key.clone().map(|key| (key, body));
        let order = Box::new(request.order.clone());
        let record = ClusterRecord::NodesRequested { nodes: nodes.clone(), order, at: fx.now, key };
        self.record(fx, record);
        for node in &nodes {
            self.log(fx, *node, Step::SignAgreement.line(""));
            self.waiting.insert(*node);
            self.wake(fx, ClusterTimer::Node(*node), fx.now.plus(start_deadline(fx)));
            if request.order.spec.priority_subnet_tag.is_some() {
                self.wake(fx, ClusterTimer::Priority(*node), fx.now.plus(PRIORITY_TIME));
            }
        }
        self.review_usage(fx);
        self.is_dirty = true;
        if fx.planted(Bug::NodeUntold) {
            nodes.pop();
        }
        Ok(nodes)
    }

    /// Ends a node; says how it stood.
    pub(in crate::core) fn terminate_node(
        &mut self,
        fx: &mut Effects,
        node: NodeId,
    ) -> Result<NodeState, RequestError> {
        let known = fx.cluster(self.id).nodes.get(&node).ok_or(RequestError::UnknownNode)?;
        let stood = known.state;
        if stood == NodeState::Terminated && fx.planted(Bug::EndAgainRefused) {
            return Err(RequestError::UnknownNode);
        }
        self.is_head_unwanted |= known.kind == NodeKind::Head;
        self.end_node(fx, node, "No longer needed");
        Ok(if fx.planted(Bug::EndToldEarly) { NodeState::Terminated } else { stood })
    }

    /// Sticks tags on a node.
    pub(in crate::core) fn set_tags(
        &mut self,
        fx: &mut Effects,
        node: NodeId,
        tags: Tags,
    ) -> Result<(), RequestError> {
        let state = fx.cluster(self.id);
        let known = state.nodes.get(&node).ok_or(RequestError::UnknownNode)?;
        let ray_failures = state.ray_failures;
        let mut all = known.tags.clone();
        all.extend(tags.clone());
        if length_of(&all) > TAGS_LENGTH_MAX {
            return Err(RequestError::TagsTooLong { limit: TAGS_LENGTH_MAX });
        }
        if fx.planted(Bug::TagsEchoed) {
            for other in state.nodes.keys().copied().collect::<Vec<_>>() {
                self.note_node(fx, other, NodeFact::Logged(format!("{tags:?}")));
            }
        }
        self.note_node(fx, node, NodeFact::Tagged(tags));
        self.on_ray_news(fx, node, ray_failures);
        Ok(())
    }

    /// Changes the budget; no less than what is spent or promised.
    pub(in crate::core) fn set_budget(
        &mut self,
        fx: &mut Effects,
        total: Glm,
    ) -> Result<(), RequestError> {
        let committed = ledger::committed(fx.cluster(self.id));
        if total < committed {
            return Err(RequestError::BudgetTooSmall { committed });
        }
        self.record(fx, ClusterRecord::BudgetSet { total });
        self.told = ledger::level(committed, total).min(self.told);
        self.refused = None;
        self.is_dirty = true;
        Ok(())
    }

    /// Changes what the head may ask for.
    pub(in crate::core) fn set_law(&self, fx: &mut Effects, law: Law) {
        let before = fx.cluster(self.id).plan.law.as_ref();
        let law = law.after(before);
        if before != Some(&law) && !fx.planted(Bug::LawOutdated) {
            self.record(fx, ClusterRecord::LawSet { law: Box::new(law) });
        }
    }

    fn check_order(&self, fx: &Effects, request: &NodeRequest) -> Result<(), RequestError> {
        let (state, order) = (fx.cluster(self.id), &request.order);
        let live = || state.nodes.values().filter(|node| is_live(node.state));
        let nodes = u32::try_from(live().count()).unwrap_or(u32::MAX).saturating_add(order.count);
        if nodes > NODES_MAX {
            return Err(RequestError::TooManyNodes { limit: NODES_MAX });
        }
        if length_of(&order.tags) > TAGS_LENGTH_MAX {
            return Err(RequestError::TagsTooLong { limit: TAGS_LENGTH_MAX });
        }
        let has_head = || live().any(|node| node.kind == NodeKind::Head);
        if order.kind == NodeKind::Head && (order.count > 1 || (order.count > 0 && has_head())) {
            return Err(RequestError::SecondHead);
        }
        let law = state.plan.law.as_ref().filter(|_| request.only_for.is_some());
        let workers = live().filter(|node| node.kind == NodeKind::Worker);
        let specs = workers.filter_map(|node| Some(&state.shapes.get(node.shape)?.spec));
        match law.map_or(Ok(()), |law| law.check(order, specs)) {
            Err(RequestError::NotInFile) if fx.planted(Bug::LawIgnored) => Ok(()),
            Err(RequestError::OverLimit { .. }) if fx.planted(Bug::LimitIgnored) => Ok(()),
            Err(RequestError::OverTypeLimit { .. }) if fx.planted(Bug::TypeLimitIgnored) => Ok(()),
            result => result,
        }
    }
}

/// The answer to a request about a cluster that there is not, or for nodes of a manager that stops.
pub(in crate::core) fn answer_unknown(command: &Command, error: RequestError) -> Answer {
    match command {
        Command::RequestNodes(_) => Answer::NodesRequested(Err(error)),
        Command::TerminateNode { .. } => Answer::NodeTerminated(Err(error)),
        Command::SetTags { .. } => Answer::TagsSet(Err(error)),
        Command::EndCluster { .. } => Answer::ClusterEnding(Err(error)),
        Command::SetBudget { .. } => Answer::BudgetSet(Err(error)),
        Command::SetLaw { .. } => Answer::LawSet(Err(error)),
        Command::HeadLooked { .. } | Command::Connected { .. } => Answer::UsageNoted(Err(error)),
        Command::Inform { .. } | Command::ClockSetBack => Answer::Informed,
        Command::Shutdown => Answer::ShuttingDown,
        Command::Survey(_) | Command::EndSurvey => Answer::Ending(false),
    }
}

/// How long a node may take to come up.
pub(super) fn start_deadline(fx: &Effects) -> Span {
    if fx.planted(Bug::GivenUpEarly) { Span::mins(1) } else { START_DEADLINE }
}

/// Equal for equal orders.
fn fingerprint_of(order: &NodeOrder) -> u64 {
    fingerprint(&serde_json::to_vec(order).unwrap_or_default())
}

impl Cluster {
    /// Ends the cluster: its nodes at once, its bills as they come. Harmless if it ends already.
    pub(in crate::core) fn end(&mut self, fx: &mut Effects, reason: EndReason) {
        if fx.cluster(self.id).ending.is_some() {
            return;
        }
        self.record(fx, ClusterRecord::Ending { reason, at: fx.now });
        self.wake(fx, ClusterTimer::End, fx.now.plus(super::ending::WIND_UP_AFTER));
        match reason {
            EndReason::HeadGone if self.is_head_unwanted => {}
            EndReason::BudgetSpent | EndReason::Autostop | EndReason::HeadGone => {
                self.warn(fx, format!("The cluster ends: {reason}"));
            }
            EndReason::Asked | EndReason::NoNodes | EndReason::Shutdown => {}
        }
        let nodes: Vec<NodeId> = fx.cluster(self.id).nodes.keys().copied().collect();
        for node in nodes {
            self.end_node(fx, node, &format!("The cluster ends: {reason}"));
        }
        self.is_dirty = true;
    }
}
