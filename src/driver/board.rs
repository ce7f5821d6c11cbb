//! What everybody may look at without asking: a picture of all clusters, published after each change.
//!
//! Readers never wait: not for the machine, not for the disk, not for the daemon.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use axum::body::Bytes;

use super::clock;
use crate::{
    core::{
        View,
        cluster::{
            plan::{ClusterName, ClusterPlan, NodeKind, Tags},
            record::EndReason,
            state::{ClusterState, Network, Node, NodeState},
            waiting::{Waiting, Waits},
        },
        ids::{ClusterId, NodeId},
        output::RequestError,
        payment::ledger::{self, Due, Ledger, Share},
    },
    units::{Glm, Timestamp},
    yagna::{ActivityId, NetworkId, NetworkPath, ProviderId},
};

/// All clusters at one instant.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Which instant.
    pub at: Option<Timestamp>,
    /// The clusters, also those that end and are not settled yet.
    pub clusters: BTreeMap<ClusterId, Arc<ClusterBoard>>,
    /// The clusters whose books were closed last, the oldest first; a new process knows none.
    pub closed: Vec<Arc<ClusterBoard>>,
    /// Whether requests for nodes are refused.
    pub is_shutting_down: bool,
    /// What the manager has to do.
    pub load: LoadBoard,
}

/// So many closed clusters are remembered.
pub const CLOSED_MAX: usize = 8;

/// How busy the manager is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadBoard {
    /// Calls to the daemon whose reply is awaited.
    pub calls: usize,
    /// Looks at nodes that are under way.
    pub probes: usize,
    /// Armed timers.
    pub timers: usize,
    /// Batches of records that were written since the process began.
    pub batches: u64,
}

/// One cluster at one instant.
#[derive(Clone, Debug)]
pub struct ClusterBoard {
    /// Its number.
    pub id: ClusterId,
    /// Its name.
    pub name: ClusterName,
    /// What holds for it as a whole.
    pub plan: Arc<ClusterPlan>,
    /// When it began.
    pub opened: Timestamp,
    /// Why and since when it ends.
    pub ending: Option<(EndReason, Timestamp)>,
    /// What it has spent and promised.
    pub money: Ledger,
    /// Its private network, as long as it can be used.
    pub network: Option<NetworkId>,
    /// Who carries its frames.
    pub path: Option<NetworkPath>,
    /// Its nodes, also those that are no more.
    pub nodes: BTreeMap<NodeId, NodeBoard>,
    /// Since when a head runs and the cluster is not used.
    pub idle_since: Option<Timestamp>,
    /// When it ends by itself, unless it is used until then.
    pub ends_by_itself_at: Option<Timestamp>,
    /// What the user should know, and since when.
    pub warnings: Vec<(Timestamp, String)>,
    /// How many agreements have open books.
    pub open_agreements: usize,
    /// Which reasons of nodes that wait this picture shows.
    pub waits: u64,
    /// The answer to the most frequent question: which nodes there are.
    pub listing: Bytes,
}

/// One node at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBoard {
    /// What it is to its cluster.
    pub kind: NodeKind,
    /// What is stuck on it.
    pub tags: Tags,
    /// Where it stands.
    pub state: NodeState,
    /// What happened to it.
    pub log: Vec<String>,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Its address in the private network.
    pub ip: Option<Ipv4Addr>,
    /// Who runs it, and under which name.
    pub provider: Option<(ProviderId, String)>,
    /// What it is to its provider.
    pub activity: Option<ActivityId>,
    /// The most that it costs in an hour, start excluded.
    pub rate_per_hour: Option<Glm>,
    /// What was accepted for it so far.
    pub spent: Glm,
    /// What is due for it at most, by the time of reading.
    pub due: Due,
    /// Since when it waits, and why, once it has waited for some time.
    pub waiting: Option<Waiting>,
}

impl Board {
    /// The time of reading: never before the board was made, wherever the clock was set.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        clock::now().max(self.at.unwrap_or(Timestamp::EPOCH))
    }

    /// A cluster is there no more; its last picture is kept, so that its bill can be read.
    pub(super) fn close(&mut self, id: ClusterId) {
        if let Some(last) = self.clusters.remove(&id) {
            self.closed.push(last);
            let surplus = self.closed.len().saturating_sub(CLOSED_MAX);
            self.closed.drain(..surplus);
        }
    }

    /// The clusters of a name, the newest first; more than one while an earlier one ends.
    pub fn named<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a Arc<ClusterBoard>> + use<'a, 'n> {
        self.clusters.values().rev().filter(move |cluster| cluster.name.as_str() == name)
    }

    /// The cluster of a name that takes requests for nodes.
    #[must_use]
    pub fn current(&self, name: &str) -> Option<&Arc<ClusterBoard>> {
        self.named(name).find(|cluster| cluster.ending.is_none())
    }

    /// A node, and its cluster.
    ///
    /// # Errors
    ///
    /// If there is no such cluster, or no such node in it.
    pub fn node(
        &self,
        name: &str,
        node: NodeId,
    ) -> Result<(&Arc<ClusterBoard>, &NodeBoard), RequestError> {
        let mut clusters = self.named(name).peekable();
        if clusters.peek().is_none() {
            return Err(RequestError::UnknownCluster);
        }
        clusters
            .find_map(|cluster| Some((cluster, cluster.nodes.get(&node)?)))
            .ok_or(RequestError::UnknownNode)
    }

    /// Whether some node of some cluster still exists, or is to.
    #[must_use]
    pub fn has_live_nodes(&self) -> bool {
        let mut nodes = self.clusters.values().flat_map(|cluster| cluster.nodes.values());
        nodes.any(|node| node.state < NodeState::Terminated)
    }

    /// What the user should know, with the cluster it is about, oldest first.
    #[must_use]
    pub fn warnings(&self) -> Vec<(Timestamp, String)> {
        let mut warnings: Vec<(Timestamp, String)> = self
            .clusters
            .values()
            .flat_map(|cluster| {
                let told =
                    |(at, what): &(Timestamp, String)| (*at, format!("[{}] {what}", cluster.name));
                cluster.warnings.iter().map(told)
            })
            .collect();
        warnings.sort();
        warnings
    }
}

impl ClusterBoard {
    /// The cluster as the machine has it.
    #[must_use]
    pub fn seen(view: View<'_>, id: ClusterId, state: &ClusterState, now: Timestamp) -> Self {
        Self {
            idle_since: view.idle_since(id),
            ends_by_itself_at: view.ends_by_itself_at(id),
            ..Self::of(id, state, view.waits(id), now)
        }
    }

    /// Whether it shows everything that changes without a record.
    #[must_use]
    pub fn is_current(&self, view: View<'_>) -> bool {
        view.waits(self.id).is_none_or(|waits| waits.revision() == self.waits)
            && view.idle_since(self.id) == self.idle_since
            && view.ends_by_itself_at(self.id) == self.ends_by_itself_at
    }

    /// The cluster as its state has it, and why its nodes wait.
    #[must_use]
    pub fn of(id: ClusterId, state: &ClusterState, waits: Option<&Waits>, now: Timestamp) -> Self {
        let money = ledger::ledger(state, now);
        let board = |(id, node): (&NodeId, &Node)| {
            let waiting = waits.and_then(|waits| waits.get(*id)).cloned();
            (*id, NodeBoard { waiting, ..NodeBoard::of(*id, node, state, &money) })
        };
        let nodes: BTreeMap<NodeId, NodeBoard> = state.nodes.iter().map(board).collect();
        let (network, path) = match &state.network {
            Network::Made { network, path, .. } => (Some(network.clone()), Some(*path)),
            Network::None | Network::Intended { .. } | Network::Lost { .. } => (None, None),
        };
        let live = nodes.iter().filter(|(_, node)| node.is_live()).map(|(id, _)| *id);
        Self {
            id,
            name: state.name.clone(),
            plan: Arc::new(state.plan.clone()),
            opened: state.opened,
            ending: state.ending,
            network,
            path,
            waits: waits.map_or(0, Waits::revision),
            listing: listing(live),
            nodes,
            money,
            idle_since: None,
            ends_by_itself_at: None,
            warnings: state.warnings.clone(),
            open_agreements: state.accounts.len(),
        }
    }
}

impl NodeBoard {
    fn of(id: NodeId, node: &Node, state: &ClusterState, money: &Ledger) -> Self {
        let account = node.agreement.and_then(|number| state.account(number));
        let Share { spent, due } = money.by_node.get(&id).cloned().unwrap_or_default();
        Self {
            kind: node.kind,
            tags: node.tags.clone(),
            state: node.state,
            log: node.log.clone(),
            asked: node.asked,
            ip: account.map(|account| account.ip),
            provider: account
                .map(|account| (account.terms.provider.clone(), account.terms.name.clone())),
            activity: account.and_then(|account| account.activity.clone()),
            rate_per_hour: account.map(|account| account.terms.rate_per_hour()),
            spent,
            due,
            waiting: None,
        }
    }

    /// Whether Ray may count on it: it is being brought up, or up.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state < NodeState::Terminating
    }
}

/// The answer that lists these nodes.
#[must_use]
pub fn listing(nodes: impl Iterator<Item = NodeId>) -> Bytes {
    let mut text = String::from("{\"nodes_ids\":[");
    for (nth, node) in nodes.enumerate() {
        if nth > 0 {
            text.push(',');
        }
        text.push_str(&format!("\"{node}\""));
    }
    text.push_str("]}");
    text.into()
}
