//! What is durable about one cluster: the fold of its records.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize};

use super::{
    account::{Account, Progress},
    plan::{ClusterName, ClusterPlan, NodeKind, NodeOrder, Tags},
    ray,
    record::{AgreementFact, ClusterRecord, Dispute, EndReason, FundsFact, NetworkFact, NodeFact},
};
use crate::{
    core::{
        ids::{AgreementNo, NodeId},
        market::spec::{Image, NodeSpec},
    },
    units::{Glm, Timestamp},
    yagna::{AgreementId, AllocationId, InvoiceId, NetworkId, NetworkPath, ProviderId, SessionId},
};

/// Lines of its log that a node keeps.
const LOG_LINES_MAX: usize = 60;
/// Nodes that are no more and still listed.
const ENDED_NODES_MAX: usize = 200;
/// Warnings that are kept.
const WARNINGS_MAX: usize = 50;
/// Disputes that are kept in full.
const DISPUTES_MAX: usize = 100;
/// Keys of requests that are remembered.
const KEYS_MAX: usize = 256;

/// The durable state of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Its name.
    pub name: ClusterName,
    /// Its session at the daemon.
    pub session: SessionId,
    /// What holds for it as a whole; its budget is `budget`.
    pub plan: ClusterPlan,
    /// When it began.
    pub opened: Timestamp,
    /// The most to spend.
    pub budget: Glm,
    /// Why and since when it ends.
    pub ending: Option<(EndReason, Timestamp)>,
    /// Its nodes, also those that are no more.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The id of its next node.
    pub next_node: NodeId,
    /// The distinct shapes of nodes that were asked for.
    pub shapes: Vec<Shape>,
    /// Agreements whose books are open.
    pub accounts: BTreeMap<AgreementNo, Account>,
    /// Agreements whose books are closed.
    pub closed: BTreeMap<AgreementNo, Account>,
    /// The number of its next agreement.
    pub next_agreement: AgreementNo,
    /// What the closed books sum up to.
    pub closed_spent: Glm,
    /// What it is paid from.
    pub funds: Funds,
    /// Its private network.
    pub network: Network,
    /// Who carries the frames of its networks from now on: by whose way a node was reached, or the daemon
    /// since none was reached over the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<NetworkPath>,
    /// The latest disputes.
    pub disputes: Vec<Dispute>,
    /// How many disputes there ever were.
    pub disputed: u64,
    /// What the user should know, and since when.
    pub warnings: Vec<(Timestamp, String)>,
    /// Until when debit notes have been taken up, by the daemon's clock; the beginning of time, if none were.
    pub notes_read: Timestamp,
    /// Until when invoices have been taken up, by the daemon's clock.
    pub invoices_read: Timestamp,
    /// Requests by key: what they stood for, and the nodes that they gave; the oldest goes first.
    pub keys: BTreeMap<String, (u64, Vec<NodeId>)>,
    key_order: Vec<String>,
    /// How many workers in a row Ray did not start on.
    #[serde(default, skip_serializing_if = "ray::is_none")]
    pub ray_failures: u32,
}

/// A shape of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// What nodes of it are.
    pub kind: NodeKind,
    /// What to look for.
    pub spec: NodeSpec,
    /// What to run.
    pub image: Image,
}

/// A node, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its shape.
    pub shape: usize,
    /// What it is to its cluster.
    pub kind: NodeKind,
    /// What is stuck on it.
    pub tags: Tags,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Where it stands.
    pub state: NodeState,
    /// What happened to it.
    pub log: Vec<String>,
    /// The agreement that it runs under, or is being brought up under.
    pub agreement: Option<AgreementNo>,
    /// Other agreements that are being signed for it; the first one that is approved has it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hedges: BTreeSet<AgreementNo>,
}

/// Where a node stands; it only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It is being brought up.
    Pending,
    /// It is up.
    Running,
    /// It is being ended.
    Terminating,
    /// It is no more.
    Terminated,
}

/// What a cluster is paid from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Funds {
    /// Nothing.
    #[default]
    None,
    /// An allocation that was asked for.
    Intended {
        /// Its time-out, by which it is found.
        mark: Timestamp,
        /// How much.
        total: Glm,
        /// How much of the budget was paid from earlier ones.
        base: Glm,
    },
    /// An allocation.
    Set {
        /// Its time-out.
        mark: Timestamp,
        /// Its id.
        allocation: AllocationId,
        /// How much.
        total: Glm,
        /// How much of the budget was paid from earlier ones.
        base: Glm,
    },
}

/// The private network of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// There is none.
    #[default]
    None,
    /// One was asked for.
    Intended {
        /// Its gateway, by which it is found.
        gateway: Ipv4Addr,
        /// Who is to carry its frames.
        #[serde(default, skip_serializing_if = "NetworkPath::is_daemon")]
        path: NetworkPath,
    },
    /// It is there.
    Made {
        /// Its gateway.
        gateway: Ipv4Addr,
        /// Its id.
        network: NetworkId,
        /// Who carries its frames.
        #[serde(default, skip_serializing_if = "NetworkPath::is_daemon")]
        path: NetworkPath,
        /// Who is to be taken out of it, since the agreement is over; they hold their addresses.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        leaving: BTreeMap<AgreementNo, Member>,
    },
    /// The daemon lost it; nodes that are in it stay in it.
    Lost {
        /// The id that it had.
        network: NetworkId,
    },
}

/// Who is in a private network, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The provider.
    pub provider: ProviderId,
    /// The address of its node.
    pub ip: Ipv4Addr,
}

impl ClusterState {
    /// The state after the record [`ClusterRecord::Opened`]; `None` for every other one.
    #[must_use]
    pub fn open(record: &ClusterRecord) -> Option<Self> {
        let ClusterRecord::Opened { name, session, plan, at, first_node } = record else {
            return None;
        };
        Some(Self {
            name: name.clone(),
            session: session.clone(),
            plan: (**plan).clone(),
            opened: *at,
            budget: plan.total_budget,
            ending: None,
            nodes: BTreeMap::new(),
            next_node: *first_node,
            shapes: Vec::new(),
            accounts: BTreeMap::new(),
            closed: BTreeMap::new(),
            next_agreement: AgreementNo(0),
            closed_spent: Glm::ZERO,
            funds: Funds::None,
            network: Network::None,
            path: None,
            disputes: Vec::new(),
            disputed: 0,
            warnings: Vec::new(),
            notes_read: Timestamp::EPOCH,
            invoices_read: Timestamp::EPOCH,
            keys: BTreeMap::new(),
            key_order: Vec::new(),
            ray_failures: 0,
        })
    }

    /// The only way the state changes.
    pub fn apply(&mut self, record: &ClusterRecord) {
        match record {
            ClusterRecord::Opened { .. } => {}
            ClusterRecord::NodesRequested { nodes, order, at, key } => {
                self.add_nodes(nodes, order, *at, key.as_ref());
            }
            ClusterRecord::Node { node, fact } => self.apply_to_node(*node, fact),
            ClusterRecord::Agreement { number, fact } => self.apply_to_agreement(*number, fact),
            ClusterRecord::Funds(fact) => self.funds.apply(fact),
            ClusterRecord::Network(NetworkFact::Settled(path)) => self.path = Some(*path),
            ClusterRecord::Network(fact) => self.network.apply(fact),
            ClusterRecord::BillsRead { notes, invoices } => {
                (self.notes_read, self.invoices_read) = (*notes, *invoices);
            }
            ClusterRecord::Warned { at, warning } => {
                push_bounded(&mut self.warnings, (*at, warning.clone()), WARNINGS_MAX);
            }
            ClusterRecord::BudgetSet { total } => self.budget = *total,
            ClusterRecord::LawSet { law } => self.plan.law = Some((**law).clone()),
            ClusterRecord::Ending { reason, at } => self.ending = Some((*reason, *at)),
        }
    }

    /// All agreements, open books first.
    pub fn all_accounts(&self) -> impl Iterator<Item = (AgreementNo, &Account)> {
        self.accounts.iter().chain(&self.closed).map(|(number, account)| (*number, account))
    }

    /// The books of an agreement, open or closed.
    #[must_use]
    pub fn account(&self, number: AgreementNo) -> Option<&Account> {
        self.accounts.get(&number).or_else(|| self.closed.get(&number))
    }

    /// The books of the agreement with this id.
    #[must_use]
    pub fn account_of(&self, agreement: &AgreementId) -> Option<(AgreementNo, &Account)> {
        self.all_accounts().find(|(_, account)| account.agreement == *agreement)
    }

    /// Addresses that nodes have, or may still have.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        let held = self.accounts.values().filter(|account| account.over.is_none());
        let leaving = self.network.leaving().map(|(_, member)| member.ip);
        held.map(|account| account.ip).chain(leaving).collect()
    }

    fn add_nodes(
        &mut self,
        nodes: &[NodeId],
        order: &NodeOrder,
        at: Timestamp,
        key: Option<&(String, u64)>,
    ) {
        let NodeOrder { kind, spec, image, tags, .. } = order;
        let known = self
            .shapes
            .iter()
            .position(|it| it.kind == *kind && it.spec == *spec && it.image == *image);
        let shape = known.unwrap_or_else(|| {
            let shape = Shape { kind: *kind, spec: spec.clone(), image: image.clone() };
            self.shapes.push(shape);
            self.shapes.len() - 1
        });
        for id in nodes {
            let node = Node {
                shape,
                kind: *kind,
                tags: tags.clone(),
                asked: at,
                state: NodeState::Pending,
                log: Vec::new(),
                agreement: None,
                hedges: BTreeSet::new(),
            };
            self.nodes.insert(*id, node);
            self.next_node = self.next_node.max(NodeId(id.0.saturating_add(1)));
        }
        if let Some((key, body)) = key {
            self.keys.insert(key.clone(), (*body, nodes.to_vec()));
            self.key_order.push(key.clone());
            if self.key_order.len() > KEYS_MAX {
                self.keys.remove(&self.key_order.remove(0));
            }
        }
    }

    fn apply_to_node(&mut self, id: NodeId, fact: &NodeFact) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        match fact {
            NodeFact::Tagged(tags) => {
                self.ray_failures = ray::failures_after(self.ray_failures, node, tags);
                node.tags.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            NodeFact::Logged(line) => {
                push_bounded(&mut node.log, line.clone(), LOG_LINES_MAX);
            }
            NodeFact::Running => {
                node.advance(NodeState::Running);
                let number = node.agreement;
                if let Some(account) = number.and_then(|number| self.accounts.get_mut(&number)) {
                    account.advance(Progress::Running);
                }
            }
            NodeFact::Ending => node.advance(NodeState::Terminating),
            NodeFact::Ended => {
                node.advance(NodeState::Terminated);
                self.forget_ended();
            }
        }
    }

    fn apply_to_agreement(&mut self, number: AgreementNo, fact: &AgreementFact) {
        match fact {
            AgreementFact::Signing { node, .. } => {
                if let Some(account) = Account::open(fact) {
                    self.accounts.insert(number, account);
                }
                self.next_agreement = AgreementNo(number.0.saturating_add(1));
                if let Some(node) = self.nodes.get_mut(node) {
                    node.ask(number);
                }
            }
            AgreementFact::Closing { at, reason } => self.close(number, *at, reason),
            AgreementFact::NoteAccepted { total, .. } => self.accept(number, *total, None),
            AgreementFact::InvoiceAccepted { invoice, total } => {
                self.accept(number, *total, Some(invoice));
            }
            AgreementFact::NoteDisputed(dispute) => self.dispute(dispute),
            AgreementFact::InvoiceDisputed(dispute) => {
                self.dispute(dispute);
                let closed = self.closed.get_mut(&number);
                let account = self.accounts.get_mut(&number).or(closed);
                account.into_iter().for_each(Account::dispute_invoice);
            }
            AgreementFact::Settled => {
                if let Some(account) = self.accounts.remove(&number) {
                    self.closed_spent = self.closed_spent.plus(account.accepted);
                    self.closed.insert(number, account);
                }
            }
            AgreementFact::Approved => {
                let account = self.accounts.get_mut(&number);
                let node = account.and_then(|account| {
                    account.apply(fact);
                    self.nodes.get_mut(&account.node)
                });
                if let Some(node) = node {
                    node.give(number);
                }
            }
            AgreementFact::ActivityIntended { .. }
            | AgreementFact::ActivityMade(_)
            | AgreementFact::BatchIntended
            | AgreementFact::BatchMade(_)
            | AgreementFact::Bootstrapped
            | AgreementFact::Reserved(_) => {
                if let Some(account) = self.accounts.get_mut(&number) {
                    account.apply(fact);
                }
            }
            AgreementFact::Over { .. } => {
                if let Some(account) = self.accounts.get_mut(&number) {
                    account.apply(fact);
                    self.network.part(number, account);
                }
            }
        }
    }

    fn forget_ended(&mut self) {
        let ended = |node: &Node| node.state == NodeState::Terminated;
        let count = self.nodes.values().filter(|node| ended(node)).count();
        if count > ENDED_NODES_MAX
            && let Some(oldest) = self.nodes.iter().find(|(_, node)| ended(node)).map(|(id, _)| *id)
        {
            self.nodes.remove(&oldest);
        }
    }

    fn close(&mut self, number: AgreementNo, at: Timestamp, reason: &str) {
        let Some(account) = self.accounts.get_mut(&number) else { return };
        if account.closing.is_none() {
            account.closing = Some((at, reason.to_owned()));
        }
        if let Some(node) = self.nodes.get_mut(&account.node) {
            node.lose(number);
        }
    }

    fn accept(&mut self, number: AgreementNo, total: Glm, invoice: Option<&InvoiceId>) {
        let closed = self.closed.get(&number).filter(|_| !self.accounts.contains_key(&number));
        let before = closed.map(|account| account.accepted);
        let account = self.accounts.get_mut(&number).or_else(|| self.closed.get_mut(&number));
        let Some(account) = account else { return };
        account.accepted = account.accepted.max(total);
        account.reserve = account.reserve.max(account.accepted);
        if let Some(invoice) = invoice {
            account.invoice = Some(invoice.clone());
        }
        if let Some(before) = before {
            let more = account.accepted.minus(before);
            self.closed_spent = self.closed_spent.plus(more);
        }
    }

    /// A bill that is disputed once more, as an early invoice is when it is rejected, counts once.
    fn dispute(&mut self, dispute: &Dispute) {
        if self.disputes.iter().all(|it| it.bill != dispute.bill) {
            self.disputed = self.disputed.saturating_add(1);
            push_bounded(&mut self.disputes, dispute.clone(), DISPUTES_MAX);
        }
    }
}

impl Node {
    /// Its agreements, however far they are.
    pub fn agreements(&self) -> impl Iterator<Item = AgreementNo> {
        self.agreement.iter().chain(&self.hedges).copied()
    }

    /// A provider is asked for it.
    fn ask(&mut self, number: AgreementNo) {
        if self.agreement.is_none() {
            self.agreement = Some(number);
        } else {
            self.hedges.insert(number);
        }
    }

    /// A provider has approved: the node is its.
    fn give(&mut self, number: AgreementNo) {
        if self.hedges.remove(&number) {
            self.hedges.extend(self.agreement.replace(number));
        }
    }

    /// An agreement is to end: a node that is still wanted has another one, or looks for one.
    fn lose(&mut self, number: AgreementNo) {
        if !self.hedges.remove(&number)
            && self.state == NodeState::Pending
            && self.agreement == Some(number)
        {
            self.agreement = self.hedges.pop_first();
        }
    }

    fn advance(&mut self, state: NodeState) {
        self.state = self.state.max(state);
    }
}

impl Funds {
    /// The time-out by which the allocation is found.
    #[must_use]
    pub const fn mark(&self) -> Option<Timestamp> {
        match self {
            Self::None => None,
            Self::Intended { mark, .. } | Self::Set { mark, .. } => Some(*mark),
        }
    }

    fn apply(&mut self, fact: &FundsFact) {
        *self = match (fact, &self) {
            (FundsFact::Intended { mark, total, base }, _) => {
                Self::Intended { mark: *mark, total: *total, base: *base }
            }
            (
                FundsFact::Set { mark, allocation, total },
                Self::Intended { base, .. } | Self::Set { base, .. },
            ) => Self::Set {
                mark: *mark,
                allocation: allocation.clone(),
                total: *total,
                base: *base,
            },
            (FundsFact::Set { .. } | FundsFact::Ended, _) => Self::None,
        };
    }
}

impl Network {
    /// The gateway by which it is found, of one that is there or asked for.
    #[must_use]
    pub const fn gateway(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Intended { gateway, .. } | Self::Made { gateway, .. } => Some(*gateway),
            Self::None | Self::Lost { .. } => None,
        }
    }

    /// Its id, of one that was made.
    #[must_use]
    pub const fn id(&self) -> Option<&NetworkId> {
        match self {
            Self::Made { network, .. } | Self::Lost { network } => Some(network),
            Self::None | Self::Intended { .. } => None,
        }
    }

    /// Who is to be taken out of it.
    pub fn leaving(&self) -> impl Iterator<Item = (AgreementNo, &Member)> {
        let leaving = match self {
            Self::Made { leaving, .. } => Some(leaving),
            Self::None | Self::Intended { .. } | Self::Lost { .. } => None,
        };
        leaving.into_iter().flatten().map(|(number, member)| (*number, member))
    }

    /// An agreement is over: whoever may have joined is to be taken out.
    fn part(&mut self, number: AgreementNo, account: &Account) {
        if let Self::Made { leaving, .. } = self
            && account.activity.is_some()
        {
            let provider = account.terms.provider.clone();
            leaving.insert(number, Member { provider, ip: account.ip });
        }
    }

    fn apply(&mut self, fact: &NetworkFact) {
        match (fact, &mut *self) {
            (NetworkFact::Intended { gateway, path }, _) => {
                *self = Self::Intended { gateway: *gateway, path: *path };
            }
            (NetworkFact::Made(network), Self::Intended { gateway, path }) => {
                let (gateway, path, network) = (*gateway, *path, network.clone());
                *self = Self::Made { gateway, network, path, leaving: BTreeMap::new() };
            }
            // The id that the daemon gave it first was wrong.
            (NetworkFact::Made(found), Self::Made { network, .. }) => *network = found.clone(),
            (NetworkFact::Left(number), Self::Made { leaving, .. }) => {
                leaving.remove(number);
            }
            (NetworkFact::Lost, Self::Made { network, .. }) => {
                *self = Self::Lost { network: network.clone() };
            }
            (
                NetworkFact::Made(_)
                | NetworkFact::Left(_)
                | NetworkFact::Settled(_)
                | NetworkFact::Lost,
                _,
            ) => {}
            (NetworkFact::Ended, _) => *self = Self::None,
        }
    }
}

fn push_bounded<T>(list: &mut Vec<T>, last: T, max: usize) {
    list.push(last);
    let excess = list.len().saturating_sub(max);
    list.drain(..excess);
}
