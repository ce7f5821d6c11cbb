//! What users read in the log about clusters, nodes, and money, told from what became durable.

use std::collections::BTreeMap;

use super::log::Log;
use crate::{
    core::{
        Durable, Record,
        cluster::{
            account::Account,
            record::{AgreementFact, ClusterRecord, NodeFact},
        },
        ids::{AgreementNo, ClusterId, NodeId},
        record::CommonRecord,
    },
    units::Glm,
};

const WHO: &str = "manager";
/// Decimals of what an hour costs, which is rounded up.
const RATE_DECIMALS: u8 = 9;

/// Tells of what became durable, in that order: the machine is ahead of it.
pub(super) struct Chronicle {
    log: Log,
    clusters: BTreeMap<ClusterId, Story>,
}

/// What was told of a cluster, as far as more is told by it.
#[derive(Default)]
struct Story {
    name: String,
    deals: BTreeMap<AgreementNo, Deal>,
}

/// An agreement.
struct Deal {
    node: NodeId,
    provider: String,
    start: Glm,
    per_hour: Glm,
    accepted: Glm,
}

impl Chronicle {
    /// A chronicle that goes on where the journals end.
    pub(super) fn new(log: Log, durable: &Durable) -> Self {
        let stories = durable.clusters().iter().map(|(id, state)| {
            let deals = state.all_accounts().map(|(number, account)| (number, Deal::of(account)));
            (*id, Story { name: state.name.to_string(), deals: deals.collect() })
        });
        Self { log, clusters: stories.collect() }
    }

    /// Tells of a record that is on the disk.
    pub(super) fn tell(&mut self, record: &Record) {
        match record {
            Record::Common(CommonRecord::ClusterOpened { cluster, name }) => {
                let story = Story { name: name.to_string(), deals: BTreeMap::new() };
                self.clusters.insert(*cluster, story);
                self.log.info(WHO, &format!("Starting `{name}` cluster..."));
            }
            Record::Common(CommonRecord::ClusterClosed { cluster, name, .. }) => {
                let spent = self.clusters.remove(cluster).map_or(Glm::ZERO, |story| story.spent());
                let what = format!("Stopping `{name}` cluster done, it cost {spent} GLM in all");
                self.log.info(WHO, &what);
            }
            Record::Common(
                CommonRecord::AllocationIntended { .. }
                | CommonRecord::AllocationCreated { .. }
                | CommonRecord::AllocationEnded { .. }
                | CommonRecord::DemandIntended { .. }
                | CommonRecord::DemandPublished { .. }
                | CommonRecord::DemandEnded { .. },
            ) => {}
            Record::Cluster(id, record) => {
                let story = self.clusters.entry(*id).or_default();
                story.tell(&self.log, record);
            }
        }
    }
}

impl Story {
    fn tell(&mut self, log: &Log, record: &ClusterRecord) {
        let name = &self.name;
        match record {
            ClusterRecord::Opened { plan, .. } => {
                let rate = plan.max_glm_per_hour.map(|rate| format!(", {rate} GLM per hour"));
                let (budget, rate) = (plan.total_budget, rate.unwrap_or_default());
                let what =
                    format!("[{name}] at most {budget} GLM are spent{rate}, on {}", plan.platform);
                log.info(WHO, &what);
            }
            ClusterRecord::NodesRequested { nodes, .. } => {
                for node in nodes {
                    log.info(WHO, &format!("[{name}] Starting `{node}` node..."));
                }
            }
            ClusterRecord::Node { node, fact } => self.tell_of_node(log, *node, fact),
            ClusterRecord::Agreement { number, fact } => self.tell_of_money(log, *number, fact),
            ClusterRecord::BudgetSet { total } => {
                log.info(WHO, &format!("[{name}] the budget is {total} GLM now"));
            }
            ClusterRecord::LawSet { law } => {
                let what = format!("[{name}] the head may have {} workers now", law.max_workers);
                log.info(WHO, &what);
            }
            ClusterRecord::Ending { reason, .. } => {
                log.info(WHO, &format!("Stopping `{name}` cluster ({reason})..."));
            }
            // A warning is a notice, too, and logged as one.
            ClusterRecord::Warned { .. }
            | ClusterRecord::Funds(_)
            | ClusterRecord::Network(_)
            | ClusterRecord::BillsRead { .. } => {}
        }
    }

    fn tell_of_node(&self, log: &Log, node: NodeId, fact: &NodeFact) {
        let name = &self.name;
        match fact {
            NodeFact::Running => log.info(WHO, &format!("[{name}] Starting `{node}` node done")),
            NodeFact::Ending => log.info(WHO, &format!("[{name}] Stopping `{node}` node...")),
            NodeFact::Ended => {
                let spent = self.spent_on(node);
                let what =
                    format!("[{name}] Stopping `{node}` node done, it cost {spent} GLM so far");
                log.info(WHO, &what);
            }
            NodeFact::Logged(line) => log.info(WHO, &format!("[{name}] {node}: {line}")),
            NodeFact::Tagged(_) => {}
        }
    }

    /// A bill that is not paid is a notice, and logged as one.
    fn tell_of_money(&mut self, log: &Log, number: AgreementNo, fact: &AgreementFact) {
        if let Some(account) = Account::open(fact) {
            self.deals.insert(number, Deal::of(&account));
        }
        let Some(deal) = self.deals.get_mut(&number) else { return };
        let who = deal.provider.clone();
        let what = match fact {
            AgreementFact::Approved => {
                let (rate, start) = (deal.per_hour.rounded_up(RATE_DECIMALS), deal.start);
                format!(
                    "agreement with {who}, at most {rate} GLM per hour and {start} GLM to start"
                )
            }
            AgreementFact::NoteAccepted { note, total } => {
                let more = deal.accept(*total);
                format!("debit note {note} of {who} accepted: {total} GLM in all, {more} GLM more")
            }
            AgreementFact::InvoiceAccepted { invoice, total } => {
                let more = deal.accept(*total);
                format!("invoice {invoice} of {who} accepted: {total} GLM in all, {more} GLM more")
            }
            AgreementFact::Settled if deal.accepted > Glm::ZERO => {
                let accepted = deal.accepted;
                format!("the books of the agreement with {who} are closed: {accepted} GLM in all")
            }
            AgreementFact::Signing { .. }
            | AgreementFact::ActivityIntended { .. }
            | AgreementFact::ActivityMade(_)
            | AgreementFact::BatchIntended
            | AgreementFact::BatchMade(_)
            | AgreementFact::Bootstrapped
            | AgreementFact::Closing { .. }
            | AgreementFact::Over { .. }
            | AgreementFact::Reserved(_)
            | AgreementFact::NoteDisputed(_)
            | AgreementFact::InvoiceDisputed(_)
            | AgreementFact::Settled => return,
        };
        log.info(WHO, &format!("[{}] {}: {what}", self.name, deal.node));
    }

    fn spent(&self) -> Glm {
        self.deals.values().map(|deal| deal.accepted).fold(Glm::ZERO, Glm::plus)
    }

    fn spent_on(&self, node: NodeId) -> Glm {
        let deals = self.deals.values().filter(|deal| deal.node == node);
        deals.map(|deal| deal.accepted).fold(Glm::ZERO, Glm::plus)
    }
}

impl Deal {
    fn of(account: &Account) -> Self {
        let Account { node, terms, accepted, .. } = account;
        Self {
            node: *node,
            provider: format!("{} ({})", terms.name, terms.provider),
            start: terms.price.start,
            per_hour: terms.rate_per_hour(),
            accepted: *accepted,
        }
    }

    /// So much is accepted now; how much more that is.
    fn accept(&mut self, total: Glm) -> Glm {
        let more = total.minus(self.accepted);
        self.accepted = self.accepted.plus(more);
        more
    }
}
