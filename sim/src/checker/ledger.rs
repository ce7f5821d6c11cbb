//! How the journal's records change the checkers' own books.

use ray_on_golem::{
    core::{
        Record,
        cluster::{
            plan::Tags,
            record::{AgreementFact, ClusterRecord, FundsFact, NetworkFact, NodeFact},
            state::NodeState,
        },
        ids::{AgreementNo, ClusterId, NodeId},
        record::CommonRecord,
    },
    units::{Glm, Span, Timestamp},
    yagna::ProviderId,
};

use super::facts::{AccountFacts, ClusterFacts, Facts, NodeFacts};

/// After so many failures a provider's pause is at its longest.
const FAILURES_MAX: u32 = 8;

impl Facts {
    /// Takes up a record that is about to be durable.
    pub(super) fn on_record(&mut self, now: Timestamp, record: &Record) {
        match record {
            Record::Common(CommonRecord::ClusterClosed { cluster, .. }) => {
                if let Some(facts) = self.clusters.get_mut(cluster) {
                    facts.is_closed = true;
                    for account in facts.accounts.values() {
                        if let Some(place) = account.place {
                            self.deals[place].is_settled = true;
                        }
                    }
                }
            }
            Record::Common(
                CommonRecord::AllocationIntended { .. }
                | CommonRecord::AllocationCreated { .. }
                | CommonRecord::AllocationEnded { .. }
                | CommonRecord::DemandIntended { .. }
                | CommonRecord::DemandPublished { .. }
                | CommonRecord::DemandEnded { .. }
                | CommonRecord::ClusterOpened { .. },
            ) => {}
            Record::Cluster(id, record) => {
                self.touched.insert(*id);
                self.on_cluster_record(now, *id, record);
            }
        }
    }

    fn on_cluster_record(&mut self, now: Timestamp, id: ClusterId, record: &ClusterRecord) {
        if let ClusterRecord::Opened { name, session, plan, .. } = record {
            // What holds is what was asked for; the record must not say anything else.
            let asked = self.requested(name).map(|request| request.plan.clone());
            let plan = asked.unwrap_or_else(|| (**plan).clone());
            self.clusters.insert(id, ClusterFacts::new(name.clone(), session.clone(), plan));
            return;
        }
        if let ClusterRecord::Funds(FundsFact::Intended { mark, .. }) = record {
            self.marks.insert(*mark, id);
        }
        if let ClusterRecord::Agreement { number, fact } = record {
            self.on_agreement(now, id, *number, fact);
            return;
        }
        let Some(cluster) = self.clusters.get_mut(&id) else { return };
        match record {
            ClusterRecord::NodesRequested { nodes, order, at, .. } => {
                for node in nodes {
                    let facts = NodeFacts {
                        kind: order.kind,
                        spec: Box::new(order.spec.clone()),
                        asked: *at,
                        state: NodeState::Pending,
                        since: now,
                        agreement: None,
                        waits_since: Some(now),
                        moved: now,
                        waited: Span::ZERO,
                        is_unwanted: false,
                        was_running: false,
                        reason: None,
                    };
                    cluster.nodes.insert(*node, facts);
                }
            }
            ClusterRecord::Node { node, fact: NodeFact::Tagged(tags) } => {
                let failed = cluster.on_tags(now, *node, tags);
                self.failures.extend(failed.map(|provider| {
                    let failures = self.failures.get(&provider).map_or(0, |it| it.0);
                    (provider, ((failures + 1).min(FAILURES_MAX), now))
                }));
            }
            ClusterRecord::Node { node, fact } => {
                cluster.on_node(now, *node, fact);
                if *fact == NodeFact::Running {
                    let agreement = cluster.nodes.get(node).and_then(|node| node.agreement);
                    let account = agreement.and_then(|number| cluster.accounts.get(&number));
                    self.up_since.extend(account.map(|it| (it.provider.clone(), now)));
                }
            }
            ClusterRecord::Network(fact) => cluster.on_network(fact),
            ClusterRecord::Warned { warning, .. } => {
                cluster.budget_warnings += u32::from(warning.contains("budget"));
            }
            ClusterRecord::BudgetSet { total } => {
                cluster.budget = *total;
                cluster.budget_max = cluster.budget_max.max(*total);
            }
            ClusterRecord::Ending { reason, .. } => {
                cluster.ending = cluster.ending.or(Some((*reason, now)));
            }
            ClusterRecord::Opened { .. }
            | ClusterRecord::LawSet { .. }
            | ClusterRecord::Agreement { .. }
            | ClusterRecord::Funds(_)
            | ClusterRecord::BillsRead { .. } => {}
        }
    }

    fn on_agreement(
        &mut self,
        now: Timestamp,
        id: ClusterId,
        number: AgreementNo,
        fact: &AgreementFact,
    ) {
        if let AgreementFact::Signing { agreement, node, terms, .. } = fact {
            let place = self.place(agreement);
            self.tried.insert(terms.provider.clone());
            if let Some(place) = place {
                self.deals[place].owner = Some((id, number, *node));
            }
            if let (Some(cluster), Some(account)) =
                (self.clusters.get_mut(&id), AccountFacts::open(place, fact))
            {
                cluster.accounts.insert(number, account);
                if let Some(node) = cluster.nodes.get_mut(node) {
                    node.agreement = node.agreement.or(Some(number));
                    node.waits_since = None;
                    node.moved = now;
                }
            }
            return;
        }
        let Some(cluster) = self.clusters.get_mut(&id) else { return };
        match fact {
            AgreementFact::NoteDisputed(dispute) | AgreementFact::InvoiceDisputed(dispute) => {
                cluster.disputed.insert(dispute.bill.clone());
            }
            AgreementFact::Settled => {
                if let Some(account) = cluster.accounts.remove(&number) {
                    cluster.closed_spent = cluster.closed_spent.plus(account.accepted);
                    cluster.closed.insert(number, account.accepted);
                    if let Some(place) = account.place {
                        self.deals[place].is_settled = true;
                    }
                }
            }
            AgreementFact::NoteAccepted { total, .. }
            | AgreementFact::InvoiceAccepted { total, .. } => self.on_decided(id, number, *total),
            AgreementFact::Closing { reason, .. } => {
                let Some(account) = cluster.accounts.get_mut(&number) else { return };
                account.closing = account.closing.or(Some(now));
                let (provider, did_well) = (account.provider.clone(), account.was_running);
                let node = account.node;
                cluster.lose(now, node, number);
                if !did_well || !is_asked_for(reason) {
                    let failed = self.failures.entry(provider).or_insert((0, now));
                    *failed = ((failed.0 + 1).min(FAILURES_MAX), now);
                }
            }
            AgreementFact::Signing { .. }
            | AgreementFact::Approved
            | AgreementFact::ActivityIntended { .. }
            | AgreementFact::ActivityMade(_)
            | AgreementFact::BatchIntended
            | AgreementFact::BatchMade(_)
            | AgreementFact::Bootstrapped
            | AgreementFact::Over { .. }
            | AgreementFact::Reserved(_) => {
                cluster.on_progress(number, fact);
            }
        }
    }

    fn on_decided(&mut self, id: ClusterId, number: AgreementNo, total: Glm) {
        if let Some(cluster) = self.clusters.get_mut(&id) {
            cluster.accept(number, total);
        }
        if let Some(place) = self.place_of(id, number) {
            let deal = &mut self.deals[place];
            deal.decided = deal.decided.max(total);
        }
    }
}

/// Whether a node ends because nobody wants it any more.
fn is_asked_for(reason: &str) -> bool {
    reason == "No longer needed" || reason.starts_with("The cluster ends")
}

impl ClusterFacts {
    fn on_node(&mut self, now: Timestamp, id: NodeId, fact: &NodeFact) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.moved = now;
        let state = match fact {
            NodeFact::Tagged(_) => return,
            NodeFact::Logged(line) => {
                if !line.starts_with('[') {
                    node.reason = Some(line.clone());
                }
                return;
            }
            NodeFact::Running => NodeState::Running,
            NodeFact::Ending => NodeState::Terminating,
            NodeFact::Ended => NodeState::Terminated,
        };
        (node.state, node.since) = (state, now);
        node.waited = node.waits_since.take().map_or(node.waited, |since| now.since(since));
        node.was_running |= state == NodeState::Running;
        if state == NodeState::Running
            && let Some(account) = node.agreement.and_then(|it| self.accounts.get_mut(&it))
        {
            account.was_running = true;
        }
    }

    /// New tags are stuck on a node; names its provider if Ray did not start on it.
    fn on_tags(&mut self, now: Timestamp, id: NodeId, tags: &Tags) -> Option<ProviderId> {
        let node = self.nodes.get(&id)?;
        let account = node.agreement.and_then(|number| self.accounts.get(&number));
        self.ray.on_tags(now, id, node, tags).then(|| account.map(|it| it.provider.clone()))?
    }

    /// Something became of an agreement; the node of one that is approved is its.
    fn on_progress(&mut self, number: AgreementNo, fact: &AgreementFact) {
        let Some(account) = self.accounts.get_mut(&number) else { return };
        account.apply(fact);
        let node = self.nodes.get_mut(&account.node);
        if let (AgreementFact::Approved, Some(node)) = (fact, node) {
            node.agreement = Some(number);
        }
        if let AgreementFact::Over { .. } = fact
            && account.has_activity
            && self.has_network
        {
            self.leaving.insert(number, account.ip);
        }
    }

    fn on_network(&mut self, fact: &NetworkFact) {
        match fact {
            NetworkFact::Intended { .. } | NetworkFact::Settled(_) => {}
            NetworkFact::Made(network) => {
                self.networks.push(network.clone());
                (self.has_network, self.is_network_lost) = (true, false);
            }
            NetworkFact::Left(number) => {
                self.leaving.remove(number);
            }
            NetworkFact::Lost | NetworkFact::Ended => {
                self.has_network = false;
                self.is_network_lost |= *fact == NetworkFact::Lost;
                self.leaving.clear();
            }
        }
    }

    /// The node of an agreement that ends has another one, or looks for one.
    fn lose(&mut self, now: Timestamp, id: NodeId, number: AgreementNo) {
        if let Some(node) = self.nodes.get_mut(&id)
            && node.state == NodeState::Pending
            && node.agreement == Some(number)
        {
            let mut others = self.accounts.iter().filter(|(_, it)| it.node == id);
            let other = others.find(|(_, it)| it.closing.is_none() && it.over.is_none());
            node.agreement = other.map(|(number, _)| *number);
            node.waits_since = other.is_none().then_some(now);
        }
    }

    fn accept(&mut self, number: AgreementNo, total: Glm) {
        if let Some(account) = self.accounts.get_mut(&number) {
            account.accepted = account.accepted.max(total);
        } else if let Some(accepted) = self.closed.get_mut(&number) {
            let more = total.minus(*accepted);
            *accepted = accepted.plus(more);
            self.closed_spent = self.closed_spent.plus(more);
        }
    }
}

impl AccountFacts {
    fn open(place: Option<usize>, fact: &AgreementFact) -> Option<Self> {
        let AgreementFact::Signing { node, terms, ip, reserve, .. } = fact else {
            return None;
        };
        Some(Self {
            place,
            node: *node,
            ip: *ip,
            provider: terms.provider.clone(),
            reserve: *reserve,
            accepted: Glm::ZERO,
            is_approved: false,
            was_running: false,
            has_activity: false,
            closing: None,
            over: None,
        })
    }

    fn apply(&mut self, fact: &AgreementFact) {
        match fact {
            AgreementFact::Approved => self.is_approved = true,
            AgreementFact::Over { at } => self.over = Some(*at),
            AgreementFact::Reserved(reserve) => self.reserve = *reserve,
            AgreementFact::ActivityMade(_) => self.has_activity = true,
            AgreementFact::ActivityIntended { .. }
            | AgreementFact::BatchIntended
            | AgreementFact::BatchMade(_)
            | AgreementFact::Bootstrapped
            | AgreementFact::Signing { .. }
            | AgreementFact::Closing { .. }
            | AgreementFact::NoteAccepted { .. }
            | AgreementFact::NoteDisputed(_)
            | AgreementFact::InvoiceAccepted { .. }
            | AgreementFact::InvoiceDisputed(_)
            | AgreementFact::Settled => {}
        }
    }
}
