//! A1 to A6: every request is answered once, at once, and means the same when it is repeated.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::{
    core::{
        Answer, Command, Input, Output, RequestError,
        cluster::{
            plan::{ClusterName, NodeOrder, TAGS_LENGTH_MAX, Tags},
            state::{Node, NodeState},
        },
        ids::{NodeId, RequestId},
    },
    units::Glm,
};

use super::{Family, Findings, Look};

/// Keeps who waits, and what was answered before.
#[derive(Default)]
pub(super) struct Api {
    open: BTreeMap<RequestId, Asked>,
    surveys: BTreeSet<RequestId>,
    keys: BTreeMap<(ClusterName, String), (NodeOrder, Vec<NodeId>)>,
    /// Nodes that were said to be over.
    terminated: BTreeSet<(ClusterName, NodeId)>,
}

/// What was asked, as far as its answer can be checked.
enum Asked {
    Nodes(Box<NodesAsked>),
    End { cluster: ClusterName, node: NodeId, stood: Option<NodeState> },
    Tags { cluster: ClusterName, node: NodeId, tags: Tags, may_be: bool },
    Budget { cluster: ClusterName, total: Glm },
    Other,
}

struct NodesAsked {
    cluster: ClusterName,
    order: NodeOrder,
    key: Option<String>,
}

impl Family for Api {
    fn on_input(&mut self, look: &Look<'_>, input: &Input, _findings: &mut Findings) {
        let Input::Requested { id, command } = input else { return };
        let asked = match command {
            Command::RequestNodes(request) => {
                // Keys are those of a cluster: with its end they are forgotten.
                let is_new = !look
                    .scene
                    .durable
                    .clusters()
                    .values()
                    .any(|it| it.name == request.cluster && it.ending.is_none());
                if is_new {
                    self.keys.retain(|(name, _), _| *name != request.cluster);
                }
                Asked::Nodes(Box::new(NodesAsked {
                    cluster: request.cluster.clone(),
                    order: request.order.clone(),
                    key: request.key.clone(),
                }))
            }
            Command::TerminateNode { cluster, node } => Asked::End {
                cluster: cluster.clone(),
                node: *node,
                stood: state_of(look, cluster, *node),
            },
            Command::SetTags { cluster, node, tags } => Asked::Tags {
                cluster: cluster.clone(),
                node: *node,
                tags: tags.clone(),
                may_be: bears(look, cluster, *node, tags),
            },
            Command::SetBudget { cluster, total } => {
                Asked::Budget { cluster: cluster.clone(), total: *total }
            }
            // It is answered when it is over (V4).
            Command::Survey(_) => {
                self.surveys.insert(*id);
                return;
            }
            Command::EndSurvey
            | Command::EndCluster { .. }
            | Command::SetLaw { .. }
            | Command::HeadLooked { .. }
            | Command::Connected { .. }
            | Command::Inform { .. }
            | Command::ClockSetBack
            | Command::Shutdown => Asked::Other,
        };
        self.open.insert(*id, asked);
    }

    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        let Output::Answer { id, answer } = output else { return };
        if self.surveys.remove(id) {
            return;
        }
        let Some(asked) = self.open.remove(id) else {
            findings.violate("A5", look.now(), format!("{id:?} is answered twice"));
            return;
        };
        match (asked, answer) {
            (Asked::Nodes(asked), Answer::NodesRequested(result)) => {
                self.check_nodes(look, *asked, result, findings);
            }
            (Asked::End { cluster, node, stood }, Answer::NodeTerminated(result)) => {
                self.check_end(look, (cluster, node), stood, result, findings);
            }
            (Asked::Tags { cluster, node, tags, may_be }, Answer::TagsSet(result)) => {
                if result.is_ok() != may_be
                    || (result.is_ok() && !are_set(look, &cluster, node, &tags))
                {
                    findings.violate("A4", look.now(), format!("{result:?} to tags of {node}"));
                }
            }
            (Asked::Budget { cluster, total }, Answer::BudgetSet(result)) => {
                if let Some(what) = wrong_budget(look, &cluster, total, result) {
                    findings.violate("A4", look.now(), what);
                }
            }
            (Asked::Other, _) => {}
            (_, answer) => {
                findings.violate("A5", look.now(), format!("{answer:?} answers another question"));
            }
        }
    }

    fn on_step(&mut self, look: &Look<'_>, findings: &mut Findings) {
        while let Some((id, _)) = self.open.pop_first() {
            findings.violate("A5", look.now(), format!("{id:?} was not answered at once"));
        }
    }

    fn on_crash(&mut self, _look: &Look<'_>, _findings: &mut Findings) {
        // Whoever asked sees the connection end, and asks again.
        self.open.clear();
        self.surveys.clear();
    }
}

impl Api {
    fn check_nodes(
        &mut self,
        look: &Look<'_>,
        asked: NodesAsked,
        result: &Result<Vec<NodeId>, RequestError>,
        findings: &mut Findings,
    ) {
        let NodesAsked { cluster, order, key } = asked;
        if look.facts.shutdown_since.is_some() {
            if result != &Err(RequestError::ShuttingDown) {
                findings.violate("A6", look.now(), "nodes were given during the shutdown");
            }
            return;
        }
        let key = key.map(|key| (cluster.clone(), key));
        let before = key.as_ref().and_then(|key| self.keys.get(key));
        if let Some(what) = before.and_then(|before| repeated(before, &order, result)) {
            findings.violate("A1", look.now(), what);
        }
        let (None, Ok(nodes)) = (before, result) else { return };
        let is_listed = nodes.iter().all(|node| state_of(look, &cluster, *node).is_some());
        let distinct: BTreeSet<NodeId> = nodes.iter().copied().collect();
        if u32::try_from(distinct.len()) != Ok(order.count) || !is_listed {
            let what = format!("{} nodes were asked for, {nodes:?} were given", order.count);
            findings.violate("A2", look.now(), what);
        }
        if let Some(key) = key {
            self.keys.insert(key, (order, nodes.clone()));
        }
    }

    /// A3 and A4: what is over stays so, and ending it again is harmless.
    fn check_end(
        &mut self,
        look: &Look<'_>,
        which: (ClusterName, NodeId),
        stood: Option<NodeState>,
        result: &Result<NodeState, RequestError>,
        findings: &mut Findings,
    ) {
        if stood.is_some() != result.is_ok() {
            let what = format!("{result:?} to the end of {}, which was {stood:?}", which.1);
            findings.violate("A3", look.now(), what);
        }
        let (Some(stood), Ok(told)) = (stood, result) else { return };
        let stands = state_of(look, &which.0, which.1);
        let is_true = *told == stood || Some(*told) == stands;
        // A cluster that had nothing but this node may be gone in the same instant.
        let is_ending = stands.is_none_or(|state| state >= NodeState::Terminating);
        let has_returned = self.terminated.contains(&which) && *told != NodeState::Terminated;
        if !is_true || !is_ending || has_returned {
            let what = format!("{} was {stood:?}, is {stands:?}, and {told:?} was told", which.1);
            findings.violate("A4", look.now(), what);
        }
        if *told == NodeState::Terminated {
            self.terminated.insert(which);
        }
    }
}

/// A node in what is written down; ids are distinct over all clusters of a name.
fn node_of<'a>(look: &Look<'a>, cluster: &ClusterName, node: NodeId) -> Option<&'a Node> {
    let clusters = look.scene.durable.clusters().values().rev();
    let mut named = clusters.filter(|it| it.name == *cluster);
    named.find_map(|it| it.nodes.get(&node))
}

/// How it stands.
fn state_of(look: &Look<'_>, cluster: &ClusterName, node: NodeId) -> Option<NodeState> {
    node_of(look, cluster, node).map(|node| node.state)
}

/// Whether there is such a node, and room for tags on it.
fn bears(look: &Look<'_>, cluster: &ClusterName, node: NodeId, tags: &Tags) -> bool {
    node_of(look, cluster, node).is_some_and(|node| {
        let kept = node.tags.iter().filter(|(key, _)| !tags.contains_key(*key));
        let all = kept.chain(tags).map(|(key, value)| key.len() + value.len());
        all.sum::<usize>() <= TAGS_LENGTH_MAX
    })
}

fn are_set(look: &Look<'_>, cluster: &ClusterName, node: NodeId, tags: &Tags) -> bool {
    node_of(look, cluster, node)
        .is_some_and(|node| tags.iter().all(|(key, value)| node.tags.get(key) == Some(value)))
}

/// What is wrong with the answer to a request whose key was used before.
fn repeated(
    before: &(NodeOrder, Vec<NodeId>),
    order: &NodeOrder,
    result: &Result<Vec<NodeId>, RequestError>,
) -> Option<&'static str> {
    let (known, nodes) = before;
    match result {
        Ok(given) if known == order && given != nodes => {
            Some("a repeated request had another answer")
        }
        Err(_) if known == order => Some("a repeated request was refused"),
        Ok(_) if known != order => Some("a key was used for another request"),
        Ok(_) | Err(_) => None,
    }
}

/// What is wrong with the answer to a new budget: less than what is promised is refused, by our own
/// books; everything else holds at once.
fn wrong_budget(
    look: &Look<'_>,
    name: &ClusterName,
    total: Glm,
    result: &Result<(), RequestError>,
) -> Option<String> {
    let clusters = look.facts.clusters.values().rev();
    let cluster = clusters.filter(|it| !it.is_closed).find(|it| it.name == *name)?;
    let committed = cluster.committed_without(None);
    match result {
        Ok(()) if cluster.budget != total => Some(format!("the budget is not {total} GLM")),
        Err(RequestError::BudgetTooSmall { .. }) if committed <= total => {
            Some(format!("{committed} GLM are promised, and {total} were refused"))
        }
        Ok(()) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use ray_on_golem::core::{
        RequestError,
        cluster::plan::{NodeKind, NodeOrder, Tags},
        ids::NodeId,
    };

    use super::repeated;
    use crate::plan;

    fn order(count: u32) -> NodeOrder {
        NodeOrder {
            kind: NodeKind::Worker,
            spec: plan::spec(),
            image: plan::image("api"),
            count,
            tags: Tags::new(),
        }
    }

    #[test]
    fn a_key_gives_the_same_answer_or_none() {
        let before = (order(2), vec![NodeId(1), NodeId(2)]);
        let refused = Err(RequestError::KeyReused);

        assert_eq!(repeated(&before, &order(2), &Ok(vec![NodeId(1), NodeId(2)])), None);
        assert_eq!(repeated(&before, &order(3), &refused), None);
        assert!(repeated(&before, &order(2), &Ok(vec![NodeId(3), NodeId(4)])).is_some());
        assert!(repeated(&before, &order(3), &Ok(vec![NodeId(3)])).is_some());
        assert!(repeated(&before, &order(2), &refused).is_some());
    }
}
