//! L1 to L10: nothing leaks, nothing is started twice, nothing goes backwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ray_on_golem::{
    core::{
        Output, Record,
        cluster::{
            plan::{ClusterName, NodeKind},
            record::{ClusterRecord, NodeFact},
            state::NodeState,
        },
        ids::{ClusterId, NodeId},
    },
    units::{Span, Timestamp},
    yagna::{
        ActivityId, AgreementId, AgreementState, CallError, NetworkId, ProviderId, Request,
        Response,
    },
};

use super::{
    Checker, Findings, Phase, Scene,
    subject::{Index, is_over},
};

/// Within this time of a node's end nothing of it lives, in fair times.
const GONE_WITHIN: Span = Span::mins(6);
/// An agreement that its provider does not let go of is tried again within this time.
const RETRY_WITHIN: Span = Span::mins(12);
const EVERY: u64 = 64;

#[derive(Default)]
pub(super) struct Lifecycle {
    index: Index,
    states: BTreeMap<(ClusterId, NodeId), NodeState>,
    next_ids: BTreeMap<ClusterName, u32>,
    names: BTreeMap<ClusterId, ClusterName>,
    ended: BTreeMap<(ClusterId, NodeId), Timestamp>,
    /// Activities that each agreement was given.
    created: BTreeMap<AgreementId, BTreeSet<ActivityId>>,
    /// When somebody last tried to end an agreement.
    ending: BTreeMap<AgreementId, Timestamp>,
    /// Agreements whose activity somebody has tried to destroy.
    destroyed: BTreeSet<AgreementId>,
    fair_since: Option<Timestamp>,
    steps: u64,
}

impl Checker for Lifecycle {
    fn on_output(&mut self, scene: &Scene<'_>, output: &Output, findings: &mut Findings) {
        match output {
            Output::Persist { records, .. } => {
                for record in records {
                    if let Record::Cluster(cluster, record) = record {
                        self.on_record(scene, *cluster, record, findings);
                    }
                }
            }
            Output::Call { request, .. } => self.on_call(scene, request, findings),
            Output::Answer { .. }
            | Output::Abandon { .. }
            | Output::Probe { .. }
            | Output::Notify(_) => {}
        }
    }

    fn on_result(
        &mut self,
        scene: &Scene<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        findings: &mut Findings,
    ) {
        if let (
            Request::CreateActivity { agreement, .. },
            Ok(Response::ActivityCreated(activity)),
        ) = (request, result)
        {
            let activities = self.created.entry(agreement.clone()).or_default();
            activities.insert(activity.clone());
            if activities.len() > 1 {
                let what = format!("agreement {agreement} was given a second activity");
                findings.violate("L5", scene.now, what);
            }
        }
    }

    fn on_step(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.steps += 1;
        if self.steps.is_multiple_of(EVERY) {
            self.check_nodes(scene, findings);
            self.check_ended(scene, findings);
        }
    }

    fn on_phase(&mut self, scene: &Scene<'_>, _findings: &mut Findings) {
        if scene.phase == Phase::Fair {
            self.fair_since = Some(scene.now);
        }
    }

    fn at_end(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        for book in scene.daemon.agreements() {
            if book.confirmed.is_some() && !is_over(book) && !self.is_excused(scene, &book.id) {
                let what =
                    format!("agreement {} with {} is still in force", book.id, book.provider);
                findings.violate("L1", scene.now, what);
            }
        }
        for book in scene.daemon.activities().iter().filter(|book| book.ended.is_none()) {
            let agreement = self.index.agreement(scene.daemon, &book.agreement);
            let is_held = agreement.is_none_or(|nth| !is_over(&scene.daemon.agreements()[nth]));
            if is_held && !self.is_excused(scene, &book.agreement) {
                findings.violate("L2", scene.now, format!("activity {} still runs", book.id));
            }
        }
        for book in scene.daemon.networks().iter().filter(|book| book.removed.is_none()) {
            let what = format!("network {} is not removed", book.network.id);
            findings.violate("L10", scene.now, what);
        }
    }
}

impl Lifecycle {
    fn on_record(
        &mut self,
        scene: &Scene<'_>,
        cluster: ClusterId,
        record: &ClusterRecord,
        findings: &mut Findings,
    ) {
        match record {
            ClusterRecord::Opened { name, .. } => {
                self.names.insert(cluster, name.clone());
            }
            ClusterRecord::NodesRequested { nodes, .. } => {
                let Some(name) = self.names.get(&cluster) else { return };
                let next = self.next_ids.entry(name.clone()).or_insert(0);
                for node in nodes {
                    if node.0 < *next {
                        let what = format!("{node} of {name} was used before");
                        findings.violate("L4", scene.now, what);
                    }
                    *next = (*next).max(node.0 + 1);
                    self.states.insert((cluster, *node), NodeState::Pending);
                }
            }
            ClusterRecord::Node { node, fact } => {
                let state = match fact {
                    NodeFact::Running => NodeState::Running,
                    NodeFact::Ending => NodeState::Terminating,
                    NodeFact::Ended => NodeState::Terminated,
                    NodeFact::Tagged(_) | NodeFact::Logged(_) => return,
                };
                let before = self.states.insert((cluster, *node), state);
                if before.is_some_and(|before| before >= state) {
                    let what = format!("{node} went from {before:?} to {state:?}");
                    findings.violate("L4", scene.now, what);
                }
                if state == NodeState::Terminated {
                    self.ended.insert((cluster, *node), scene.now);
                }
            }
            _ => {}
        }
    }

    fn on_call(&mut self, scene: &Scene<'_>, request: &Request, findings: &mut Findings) {
        match request {
            Request::CreateActivity { agreement, .. } => {
                let Some(nth) = self.index.agreement(scene.daemon, agreement) else { return };
                let book = &scene.daemon.agreements()[nth];
                // Its end may not have reached us yet; its approval must have.
                if book.approved.is_none() || book.state == AgreementState::Rejected {
                    let what = format!("an activity on {agreement}, which is {:?}", book.state);
                    findings.violate("L9", scene.now, what);
                }
            }
            Request::AddNode { network, provider, ip } => {
                check_place(scene, network, provider, *ip, findings);
            }
            Request::TerminateAgreement { agreement, .. } => {
                self.check_destroyed(scene, agreement, findings);
                self.ending.insert(agreement.clone(), scene.now);
            }
            Request::CancelAgreement { agreement } | Request::GetAgreement { agreement } => {
                self.ending.insert(agreement.clone(), scene.now);
            }
            Request::DestroyActivity { activity, .. } => {
                if let Some(nth) = self.index.activity(scene.daemon, activity) {
                    let agreement = scene.daemon.activities()[nth].agreement.clone();
                    self.destroyed.insert(agreement.clone());
                    self.ending.insert(agreement, scene.now);
                }
            }
            _ => {}
        }
    }

    /// L2: what is known to run is destroyed before its agreement ends.
    fn check_destroyed(&self, scene: &Scene<'_>, agreement: &AgreementId, findings: &mut Findings) {
        let mut accounts =
            scene.durable.clusters().values().flat_map(|cluster| cluster.accounts.values());
        let account = accounts.find(|account| account.agreement == *agreement);
        let runs =
            account.is_some_and(|account| account.activity.is_some() && account.over.is_none());
        let is_first = !self.ending.contains_key(agreement);
        if runs && is_first && !self.destroyed.contains(agreement) && scene.life == 0 {
            let what = format!("{agreement} ends, and its activity was never destroyed");
            findings.violate("L2", scene.now, what);
        }
    }

    /// L7, L8: what the books of the clusters say about their nodes.
    fn check_nodes(&self, scene: &Scene<'_>, findings: &mut Findings) {
        for cluster in scene.durable.clusters().values() {
            let mut workers = 0;
            let mut head_ended = false;
            for node in cluster.nodes.values() {
                match node.kind {
                    NodeKind::Head => head_ended |= node.state >= NodeState::Terminating,
                    NodeKind::Worker => workers += u32::from(node.state <= NodeState::Running),
                }
            }
            if head_ended && cluster.ending.is_none() {
                let what = format!("{} goes on without its head", cluster.name);
                findings.violate("L7", scene.now, what);
            }
            if let Some(limit) = cluster.plan.max_workers
                && workers > limit
            {
                let what = format!("{workers} workers of {} at once", cluster.name);
                findings.violate("L8", scene.now, what);
            }
            let mut signing: BTreeMap<NodeId, u32> = BTreeMap::new();
            for account in cluster.accounts.values() {
                if account.closing.is_none() && account.over.is_none() {
                    *signing.entry(account.node).or_insert(0) += 1;
                }
            }
            if let Some((node, count)) = signing.iter().find(|(_, count)| **count > 1) {
                let what = format!("{node} has {count} agreements at once");
                findings.violate("L8", scene.now, what);
            }
        }
    }

    /// L3: in fair times nothing of a node outlives it for long.
    fn check_ended(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        let Some(fair_since) = self.fair_since else { return };
        let due: Vec<(ClusterId, NodeId)> = self
            .ended
            .iter()
            .filter(|(_, at)| scene.now.since((**at).max(fair_since)) > GONE_WITHIN)
            .map(|(key, _)| *key)
            .collect();
        for (cluster, node) in due {
            self.ended.remove(&(cluster, node));
            let Some(state) = scene.durable.cluster(cluster) else { continue };
            for account in state.accounts.values().filter(|account| account.node == node) {
                let nth = self.index.agreement(scene.daemon, &account.agreement);
                let lives = nth.is_some_and(|nth| {
                    let book = &scene.daemon.agreements()[nth];
                    book.approved.is_some() && !is_over(book)
                });
                if lives && !self.is_excused(scene, &account.agreement) {
                    let what = format!("{} outlives {node}", account.agreement);
                    findings.violate("L3", scene.now, what);
                }
            }
        }
    }

    /// Whether its provider cannot be reached, and somebody goes on trying.
    fn is_excused(&self, scene: &Scene<'_>, agreement: &AgreementId) -> bool {
        let book = scene.daemon.agreements().iter().find(|book| book.id == *agreement);
        book.is_some_and(|book| book.is_provider_gone)
            && self.ending.get(agreement).is_some_and(|at| scene.now.since(*at) < RETRY_WITHIN)
    }
}

/// L6: an address has one node, and a provider one address.
fn check_place(
    scene: &Scene<'_>,
    network: &NetworkId,
    provider: &ProviderId,
    ip: Ipv4Addr,
    findings: &mut Findings,
) {
    let first = u32::from(Ipv4Addr::new(192, 168, 0, 3));
    if !(first..first + 0xbffd).contains(&u32::from(ip)) {
        findings.violate("L6", scene.now, format!("{ip} is no address of a node"));
    }
    let clusters = scene.durable.clusters().values();
    for cluster in clusters {
        let is_here = matches!(
            &cluster.network,
            ray_on_golem::core::cluster::state::Network::Made { network: ours, .. } if ours == network
        );
        if !is_here {
            continue;
        }
        let live = cluster.accounts.values().filter(|account| account.over.is_none());
        let (mut at_ip, mut of_provider) = (0, 0);
        for account in live {
            at_ip += u32::from(account.ip == ip);
            of_provider += u32::from(account.terms.provider == *provider);
        }
        if at_ip > 1 {
            findings.violate("L6", scene.now, format!("{at_ip} nodes at {ip}"));
        }
        if of_provider > 1 {
            let what = format!("{of_provider} nodes of {provider} in one network");
            findings.violate("L6", scene.now, what);
        }
    }
}
