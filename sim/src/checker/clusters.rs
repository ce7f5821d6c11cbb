//! What the checkers know about one cluster, its nodes, and its agreements.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ray_on_golem::{
    core::{
        cluster::{
            plan::{ClusterName, ClusterPlan, NodeKind},
            record::EndReason,
            state::NodeState,
        },
        ids::{AgreementNo, NodeId},
        market::spec::NodeSpec,
    },
    units::{Glm, Span, Timestamp},
    yagna::{NetworkId, ProviderId, SessionId},
};

use super::ray::RayFacts;

/// What is known about a cluster.
pub(super) struct ClusterFacts {
    pub(super) name: ClusterName,
    pub(super) session: SessionId,
    pub(super) plan: ClusterPlan,
    pub(super) budget: Glm,
    /// The highest budget that was ever in force.
    pub(super) budget_max: Glm,
    pub(super) ending: Option<(EndReason, Timestamp)>,
    pub(super) is_closed: bool,
    pub(super) nodes: BTreeMap<NodeId, NodeFacts>,
    /// Agreements whose books are open.
    pub(super) accounts: BTreeMap<AgreementNo, AccountFacts>,
    pub(super) closed_spent: Glm,
    /// What was accepted by closed books, by agreement.
    pub(super) closed: BTreeMap<AgreementNo, Glm>,
    /// Places of its allocations in the daemon's books.
    pub(super) allocations: Vec<usize>,
    /// Its private networks, one after another.
    pub(super) networks: Vec<NetworkId>,
    pub(super) is_network_lost: bool,
    /// Whether it knows of one that can be used.
    pub(super) has_network: bool,
    /// Addresses in the latest one, whose nodes are no more and have not left it yet.
    pub(super) leaving: BTreeMap<AgreementNo, Ipv4Addr>,
    /// When its funds were given back.
    pub(super) released: Option<Timestamp>,
    pub(super) budget_warnings: u32,
    /// Bills that are disputed, by id.
    pub(super) disputed: BTreeSet<String>,
    pub(super) ray: RayFacts,
}

/// What is known about a node.
pub(super) struct NodeFacts {
    pub(super) kind: NodeKind,
    pub(super) spec: Box<NodeSpec>,
    pub(super) asked: Timestamp,
    pub(super) state: NodeState,
    pub(super) since: Timestamp,
    pub(super) agreement: Option<AgreementNo>,
    /// Since when it is pending without an agreement.
    pub(super) waits_since: Option<Timestamp>,
    /// When something last happened to it.
    pub(super) moved: Timestamp,
    /// For how long it had waited so when it ended.
    pub(super) waited: Span,
    /// Whether somebody asked for its end.
    pub(super) is_unwanted: bool,
    pub(super) was_running: bool,
    /// The latest line of its log that is not a step.
    pub(super) reason: Option<String>,
}

/// What the journal says about an agreement.
pub(super) struct AccountFacts {
    /// Its place in the daemon's books.
    pub(super) place: Option<usize>,
    pub(super) node: NodeId,
    pub(super) ip: Ipv4Addr,
    pub(super) provider: ProviderId,
    pub(super) reserve: Glm,
    pub(super) accepted: Glm,
    pub(super) is_approved: bool,
    pub(super) was_running: bool,
    /// Whether the journal knows of its activity.
    pub(super) has_activity: bool,
    pub(super) closing: Option<Timestamp>,
    pub(super) over: Option<Timestamp>,
}

impl ClusterFacts {
    pub(super) fn new(name: ClusterName, session: SessionId, plan: ClusterPlan) -> Self {
        Self {
            name,
            session,
            budget: plan.total_budget,
            budget_max: plan.total_budget,
            plan,
            ending: None,
            is_closed: false,
            nodes: BTreeMap::new(),
            accounts: BTreeMap::new(),
            closed_spent: Glm::ZERO,
            closed: BTreeMap::new(),
            allocations: Vec::new(),
            networks: Vec::new(),
            is_network_lost: false,
            has_network: false,
            leaving: BTreeMap::new(),
            released: None,
            budget_warnings: 0,
            disputed: BTreeSet::new(),
            ray: RayFacts::default(),
        }
    }

    /// Everything that is accepted or set aside, but for one agreement.
    pub(super) fn committed_without(&self, number: Option<AgreementNo>) -> Glm {
        let others = self.accounts.iter().filter(|(other, _)| Some(**other) != number);
        others
            .map(|(_, account)| account.reserve.max(account.accepted))
            .fold(self.closed_spent, Glm::plus)
    }

    /// Whether somebody reads its bills and can pay them.
    pub(super) const fn hears_bills(&self) -> bool {
        !self.is_closed && self.released.is_none()
    }

    /// Nodes that somebody counts on.
    pub(super) fn live(&self, kind: NodeKind) -> usize {
        let live = |node: &&NodeFacts| node.kind == kind && node.state <= NodeState::Running;
        self.nodes.values().filter(live).count()
    }
}
