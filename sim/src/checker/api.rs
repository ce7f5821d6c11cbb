//! A1 to A6: every request is answered once, at once, and means the same when it is repeated.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::core::{
    Answer, Command, Input, Output, RequestError,
    cluster::plan::ClusterName,
    ids::{NodeId, RequestId},
};

use super::{Checker, Findings, Scene};

#[derive(Default)]
pub(super) struct Api {
    open: BTreeMap<RequestId, Asked>,
    keys: BTreeMap<(ClusterName, String), (String, Vec<NodeId>)>,
    is_shut_down: bool,
}

enum Asked {
    Nodes { cluster: ClusterName, count: u32, key: Option<String>, body: String },
    End { is_known: bool },
    Other,
}

impl Checker for Api {
    fn on_input(&mut self, scene: &Scene<'_>, input: &Input, _findings: &mut Findings) {
        let Input::Requested { id, command } = input else { return };
        let asked = match command {
            Command::RequestNodes(request) => {
                let is_new = !scene
                    .durable
                    .clusters()
                    .values()
                    .any(|it| it.name == request.cluster && it.ending.is_none());
                if is_new {
                    self.keys.retain(|(name, _), _| *name != request.cluster);
                }
                Asked::Nodes {
                    cluster: request.cluster.clone(),
                    count: request.order.count,
                    key: request.key.clone(),
                    body: format!("{:?}", request.order),
                }
            }
            Command::TerminateNode { cluster, node } => {
                let mut clusters = scene.durable.clusters().values();
                let is_known =
                    clusters.any(|it| it.name == *cluster && it.nodes.contains_key(node));
                Asked::End { is_known }
            }
            Command::Shutdown => {
                self.is_shut_down = true;
                Asked::Other
            }
            Command::Survey(_)
            | Command::EndSurvey
            | Command::SetTags { .. }
            | Command::EndCluster { .. }
            | Command::SetBudget { .. } => Asked::Other,
        };
        self.open.insert(*id, asked);
    }

    fn on_output(&mut self, scene: &Scene<'_>, output: &Output, findings: &mut Findings) {
        let Output::Answer { id, answer } = output else { return };
        match (self.open.remove(id), answer) {
            (None, _) => findings.violate("A5", scene.now, format!("{id:?} is answered twice")),
            (Some(Asked::Nodes { cluster, count, key, body }), Answer::NodesRequested(result)) => {
                self.check_nodes(scene, (cluster, count, key, body), result, findings);
            }
            (Some(Asked::End { is_known }), Answer::NodeTerminated(result))
                if is_known != result.is_ok() =>
            {
                findings.violate("A3", scene.now, format!("{result:?} to an end"));
            }
            (Some(_), _) => {}
        }
    }

    fn on_step(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        if let Some(id) = self.open.keys().next().copied() {
            self.open.remove(&id);
            findings.violate("A5", scene.now, format!("{id:?} was not answered at once"));
        }
    }

    fn on_crash(&mut self, _scene: &Scene<'_>, _findings: &mut Findings) {
        // Whoever asked sees the connection end, and asks again.
        self.open.clear();
        self.is_shut_down = false;
    }
}

impl Api {
    fn check_nodes(
        &mut self,
        scene: &Scene<'_>,
        asked: (ClusterName, u32, Option<String>, String),
        result: &Result<Vec<NodeId>, RequestError>,
        findings: &mut Findings,
    ) {
        let (cluster, count, key, body) = asked;
        if self.is_shut_down {
            if result != &Err(RequestError::ShuttingDown) {
                findings.violate("A6", scene.now, "nodes were given during the shutdown");
            }
            return;
        }
        let key = key.map(|key| (cluster.clone(), key));
        let before = key.as_ref().and_then(|key| self.keys.get(key));
        match (before, result) {
            (Some((known, nodes)), result) if *known == body => {
                if result.as_ref() != Ok(nodes) {
                    findings.violate("A1", scene.now, "a repeated request had another answer");
                }
            }
            (Some(_), Ok(_)) => {
                findings.violate("A1", scene.now, "a key was used for another request");
            }
            (Some(_), Err(_)) | (None, Err(_)) => {}
            (None, Ok(nodes)) => {
                let distinct: BTreeSet<NodeId> = nodes.iter().copied().collect();
                let listed = scene.durable.clusters().values().any(|it| {
                    it.name == cluster && nodes.iter().all(|node| it.nodes.contains_key(node))
                });
                let is_whole = u32::try_from(distinct.len()) == Ok(count);
                if !is_whole || (!listed && count > 0) {
                    let what = format!("{count} nodes were asked for, {nodes:?} were given");
                    findings.violate("A2", scene.now, what);
                }
                if let Some(key) = key {
                    self.keys.insert(key, (body, nodes.clone()));
                }
            }
        }
    }
}
