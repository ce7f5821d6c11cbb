//! M11: a head gets no more, and nothing else, than its user has said.

use std::collections::BTreeMap;

use ray_on_golem::core::{
    Answer, Command, Input, NodeRequest, Output, Record, RequestError,
    cluster::{
        law::Law,
        plan::{ClusterName, NodeKind, NodeOrder},
        record::ClusterRecord,
        state::NodeState,
    },
    ids::ClusterId,
    market::spec::NodeSpec,
};

use super::{Family, Findings, Look, facts::ClusterFacts};

/// What users have said.
#[derive(Default)]
pub(super) struct Laws {
    said: BTreeMap<ClusterId, Said>,
    /// The request that is being answered.
    request: Option<Box<NodeRequest>>,
    /// What is being said of a running cluster.
    saying: Option<(ClusterName, Box<Law>)>,
}

/// What a user has said of one cluster.
#[derive(Default)]
struct Said {
    max_workers: u32,
    /// Every type that was ever named, as it was named last.
    types: Vec<(NodeSpec, u32)>,
}

impl Said {
    fn hear(&mut self, law: &Law) {
        self.max_workers = law.max_workers;
        for it in &law.workers {
            self.types.retain(|(spec, _)| *spec != it.spec);
            self.types.push((it.spec.clone(), it.max_workers));
        }
    }

    /// What is wrong with nodes that a head was given.
    fn wrong(&self, cluster: &ClusterFacts, order: &NodeOrder) -> Option<String> {
        let limit = self.types.iter().find(|(spec, _)| *spec == order.spec);
        let (NodeKind::Worker, Some((_, limit))) = (order.kind, limit) else {
            return Some("nodes of another kind than its user has named".to_owned());
        };
        let live = cluster
            .nodes
            .values()
            .filter(|node| node.kind == NodeKind::Worker && node.state <= NodeState::Running);
        let (mut workers, mut of_type) = (0_usize, 0_usize);
        for node in live {
            workers += 1;
            of_type += usize::from(*node.spec == order.spec);
        }
        let is_over = workers > self.max_workers as usize || of_type > *limit as usize;
        is_over.then(|| {
            let most = self.max_workers;
            format!("{workers} workers, {of_type} of one type; its user allows {most} and {limit}")
        })
    }
}

impl Family for Laws {
    fn on_input(&mut self, _look: &Look<'_>, input: &Input, _findings: &mut Findings) {
        (self.request, self.saying) = (None, None);
        let Input::Requested { command, .. } = input else { return };
        match command {
            Command::RequestNodes(request) => self.request = Some(request.clone()),
            Command::SetLaw { cluster, law } => self.saying = Some((cluster.clone(), law.clone())),
            _ => {}
        }
    }

    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        match output {
            Output::Persist { records, .. } => {
                for record in records {
                    if let Record::Cluster(id, record) = record {
                        self.on_record(look, *id, record, findings);
                    }
                }
            }
            Output::Answer { answer, .. } => match answer {
                Answer::LawSet(Ok(())) => self.on_law(look),
                Answer::NodesRequested(Err(RequestError::NotInFile)) => {
                    findings.reach("head asked for what its user did not name");
                }
                Answer::NodesRequested(Err(
                    RequestError::OverLimit { .. } | RequestError::OverTypeLimit { .. },
                )) => findings.reach("head asked for too many workers"),
                _ => {}
            },
            _ => {}
        }
    }
}

impl Laws {
    fn on_record(
        &mut self,
        look: &Look<'_>,
        id: ClusterId,
        record: &ClusterRecord,
        findings: &mut Findings,
    ) {
        let Some(request) = &self.request else { return };
        match record {
            ClusterRecord::Opened { .. } => {
                if let Some(law) = &request.plan.law {
                    self.said.entry(id).or_default().hear(law);
                }
            }
            ClusterRecord::NodesRequested { order, .. } if request.only_for.is_some() => {
                let (Some(cluster), Some(said)) =
                    (look.facts.clusters.get(&id), self.said.get(&id))
                else {
                    return;
                };
                if let Some(what) = said.wrong(cluster, order) {
                    let what = format!("the head of {} got {what}", cluster.name);
                    findings.violate("M11", look.now(), what);
                }
            }
            _ => {}
        }
    }

    /// A law was taken for the cluster of its name that runs.
    fn on_law(&mut self, look: &Look<'_>) {
        let Some((name, law)) = self.saying.take() else { return };
        let mut clusters = look.facts.clusters.iter().rev();
        let current =
            clusters.find(|(_, it)| it.name == name && it.ending.is_none() && !it.is_closed);
        if let Some((id, _)) = current {
            self.said.entry(*id).or_default().hear(&law);
        }
    }
}
