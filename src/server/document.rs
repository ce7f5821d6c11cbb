//! What is answered, field by field. Amounts of GLM are decimal text, exact to the last digit; instants
//! are RFC 3339 in UTC.

use std::{collections::BTreeMap, path::Path};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    core::{
        cluster::{
            plan::{NodeKind, Tags},
            state::NodeState,
            waiting::Waiting,
        },
        ids::NodeId,
        market::census::{Census, Miss},
    },
    driver::{
        board::{ClusterBoard, NodeBoard},
        clock::written,
    },
    ssh,
    units::Timestamp,
    yagna::NetworkPath,
};

/// The port of the ssh service of nodes.
const SSH_PORT: u16 = 22;

/// The webserver itself.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RootDocument {
    /// Its version.
    pub version: String,
    /// Its data directory.
    pub datadir: String,
    /// Whether a simulated network is in the daemon's place: nothing costs money.
    pub simulated: bool,
    /// Whether it shuts down.
    pub shutting_down: bool,
    /// Whether clients may shut it down when their cluster is over.
    pub self_shutdown: bool,
    /// What the user should know.
    pub server_warnings: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct NodeData {
    /// Its id.
    pub node_id: String,
    /// What is stuck on it.
    pub tags: Tags,
    /// `pending`, `running`, `terminating`, or `terminated`.
    pub state: &'static str,
    /// What happened to it, a line for each step.
    pub state_log: Vec<String>,
    /// Its address in the private network.
    pub internal_ip: Option<String>,
    /// The command that leads ssh to it.
    pub ssh_proxy_command: Option<String>,
    /// Whether ssh can reach it; if not, `/run_command` still does once it runs.
    pub is_reached_by_ssh: bool,
    /// `head` or `worker`.
    pub kind: &'static str,
    /// Who runs it.
    pub provider_id: Option<String>,
    /// How its provider calls itself.
    pub provider_name: Option<String>,
    /// The most that it costs in an hour, in GLM.
    pub glm_per_hour: Option<String>,
    /// What was accepted for it so far, in GLM.
    pub spent_glm: String,
    /// What is due for it at most by now, by agreed prices and our own clock, in GLM; what was accepted is part of it.
    pub due_glm: String,
    /// When it was asked for.
    pub requested_at: String,
    /// Why it has no agreement with a provider, once it has waited for twenty seconds.
    pub waiting: Option<WaitingData>,
}

/// Why a node waits.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WaitingData {
    /// Since when.
    pub since: String,
    /// Which kind of reason it is: `wallet`, `network-lost`, `no-network`, `no-demand`, `no-agreement`,
    /// `ray-fails`, `budget`, `rate`, `approval`, `no-offer`, or `no-provider`.
    pub reason: &'static str,
    /// The reason in one sentence.
    pub sentence: String,
    /// What is on the market, where that was looked at.
    pub market: Option<MarketData>,
}

/// How many of the offers on the market meet what a node asks for.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct MarketData {
    /// When they were looked at.
    pub at: String,
    /// How many offers the daemon knows.
    pub offers: u64,
    /// How many of them each requirement leaves, one after the other.
    pub filters: Vec<FilterData>,
    /// How many meet everything.
    pub fit: u64,
    /// What the nearest offers lack, if none meets everything.
    pub nearest: Option<NearestData>,
}

/// A requirement, and how many offers it leaves of those that the ones before it have left.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FilterData {
    /// The requirement, as the cluster file has it.
    pub requirement: String,
    /// How many offers are left.
    pub left: u64,
}

/// Offers that lack the same, and as little as any.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct NearestData {
    /// How many they are.
    pub offers: u64,
    /// What they lack.
    pub misses: Vec<MissData>,
}

/// A requirement that the nearest offers do not meet.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct MissData {
    /// The requirement, as the cluster file has it.
    pub requirement: String,
    /// What comes nearest to it, such as `the largest has 512`, where it is an amount.
    pub best: Option<String>,
}

/// A cluster, without its nodes.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ClusterSummary {
    /// Its name.
    pub cluster_name: String,
    /// Its number, which no other cluster ever had.
    pub number: u32,
    /// `running`, `ending` while nodes are being ended, `settling` while bills are expected, or
    /// `closed`.
    pub state: &'static str,
    /// Why it ends.
    pub ending_reason: Option<String>,
    /// When it began.
    pub started_at: String,
    /// Where it pays.
    pub payment_platform: String,
    /// The most to spend, in GLM.
    pub budget_glm: String,
    /// What was accepted, in GLM.
    pub spent_glm: String,
    /// What is due at most by now, by agreed prices and our own clock, in GLM; what was accepted is part of it. Bills come
    /// minutes later.
    pub due_glm: String,
    /// What is set aside for agreements and not accepted yet, in GLM.
    pub reserved_glm: String,
    /// What all nodes cost in an hour when all their CPUs are busy, in GLM.
    pub glm_per_hour: String,
    /// The limit of that.
    pub max_glm_per_hour: Option<String>,
    /// When the budget is spent if nothing changes.
    pub lasts_until: Option<String>,
    /// Since when a head runs and the cluster is not used: Ray has no load, and no user is connected to a node.
    pub idle_since: Option<String>,
    /// When it ends by itself (`autostop`), unless it is used until then.
    pub ends_by_itself_at: Option<String>,
    /// Who carries what goes to the nodes: `bus` or `daemon`; none while there is no private network.
    pub network_path: Option<&'static str>,
    /// Bills that were not paid.
    pub disputed_bills: u64,
    /// Agreements whose books are open.
    pub open_agreements: usize,
    /// How many nodes stand where.
    pub nodes_by_state: BTreeMap<&'static str, usize>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// A cluster, with its nodes.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ClusterDocument {
    /// The cluster.
    #[serde(flatten)]
    pub summary: ClusterSummary,
    /// Its nodes.
    pub nodes: Vec<NodeData>,
}

/// Everything at once.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct OverviewDocument {
    /// The version of this form; it changes when a field changes its meaning or goes.
    pub version: u32,
    /// The webserver.
    pub webserver: RootDocument,
    /// The clusters, also those that end, and behind them those that were closed last, the last one last.
    pub clusters: Vec<ClusterDocument>,
}

/// All nodes of a cluster.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ClusterDataDocument {
    /// The nodes by id, also those that are no more.
    pub cluster_data: BTreeMap<String, NodeData>,
    /// The cluster.
    pub cluster: ClusterSummary,
}

/// The wallet.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WalletDocument {
    /// Its address.
    pub wallet_address: String,
    /// What the daemon says about it, as a table for people.
    pub yagna_payment_status_output: String,
    /// The same for programs.
    pub yagna_payment_status: serde_json::Value,
}

/// A key pair as text; the names say otherwise.
#[derive(Clone, JsonSchema, Serialize)]
pub struct KeyDocument {
    /// The private half, as its file has it.
    pub ssh_private_key_base64: String,
    /// The public half, as its file has it.
    pub ssh_public_key_base64: String,
}

/// How a command ended.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CommandDocument {
    /// The node that it ran on.
    pub node_id: String,
    /// Its exit code; 124 if its time was over.
    pub exit_code: u8,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// What leads ssh to nodes: this program, and where its files are.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// This program.
    pub program: &'a Path,
    /// The data directory.
    pub data: &'a Path,
}

impl NodeData {
    /// A node of a cluster at `now`; without a way no command leads to it.
    #[must_use]
    pub fn of(
        cluster: &ClusterBoard,
        id: NodeId,
        node: &NodeBoard,
        way: Option<Way<'_>>,
        now: Timestamp,
    ) -> Self {
        Self {
            node_id: id.to_string(),
            tags: node.tags.clone(),
            state: state_name(node.state),
            state_log: node.log.clone(),
            internal_ip: node.ip.map(|ip| ip.to_string()),
            ssh_proxy_command: way.and_then(|way| way.command(cluster, id, node)),
            is_reached_by_ssh: node.ip.is_some() && cluster.network.is_some(),
            kind: match node.kind {
                NodeKind::Head => "head",
                NodeKind::Worker => "worker",
            },
            provider_id: node.provider.as_ref().map(|(id, _)| id.to_string()),
            provider_name: node.provider.as_ref().map(|(_, name)| name.clone()),
            glm_per_hour: node.rate_per_hour.map(|rate| rate.to_string()),
            spent_glm: node.spent.to_string(),
            due_glm: node.due.at(now).to_string(),
            requested_at: written(node.asked),
            waiting: node.waiting.as_ref().map(WaitingData::of),
        }
    }
}

impl WaitingData {
    fn of(waiting: &Waiting) -> Self {
        Self {
            since: written(waiting.since),
            reason: waiting.why.kind(),
            sentence: waiting.why.to_string(),
            market: waiting.why.census().map(MarketData::of),
        }
    }
}

impl MarketData {
    fn of(census: &Census) -> Self {
        let filters = census.filters.iter().map(|filter| FilterData {
            requirement: plain(&filter.requirement),
            left: filter.left,
        });
        let nearest = census.nearest.as_ref().map(|nearest| NearestData {
            offers: nearest.offers,
            misses: nearest.misses.iter().map(MissData::of).collect(),
        });
        Self {
            at: written(census.at),
            offers: census.known,
            filters: filters.collect(),
            fit: census.fit,
            nearest,
        }
    }
}

impl MissData {
    fn of(miss: &Miss) -> Self {
        Self { requirement: plain(&miss.requirement), best: miss.best.map(|best| best.to_string()) }
    }
}

/// A requirement without the marks that set it off in a sentence.
fn plain(requirement: &str) -> String {
    requirement.replace('`', "")
}

impl ClusterDocument {
    /// A cluster with its nodes at `now`; without a way no command leads to them.
    #[must_use]
    pub fn of(
        cluster: &ClusterBoard,
        is_closed: bool,
        way: Option<Way<'_>>,
        now: Timestamp,
    ) -> Self {
        let nodes = cluster.nodes.iter();
        let nodes = nodes.map(|(id, node)| NodeData::of(cluster, *id, node, way, now));
        Self { summary: ClusterSummary::of(cluster, is_closed, now), nodes: nodes.collect() }
    }
}

impl Way<'_> {
    /// The command that leads ssh to a node, once it has an address.
    #[must_use]
    pub fn command(&self, cluster: &ClusterBoard, id: NodeId, node: &NodeBoard) -> Option<String> {
        node.ip?;
        Some(ssh::proxy_command(self.program, self.data, &cluster.name, id, SSH_PORT))
    }
}

impl ClusterSummary {
    /// A cluster at `now`; of one that is closed, as its last picture has it.
    #[must_use]
    pub fn of(cluster: &ClusterBoard, is_closed: bool, now: Timestamp) -> Self {
        let states =
            [NodeState::Pending, NodeState::Running, NodeState::Terminating, NodeState::Terminated];
        let count = |state| cluster.nodes.values().filter(|node| node.state == state).count();
        let has_nodes = cluster.nodes.values().any(|node| node.state < NodeState::Terminated);
        let money = &cluster.money;
        Self {
            cluster_name: cluster.name.to_string(),
            number: cluster.id.0,
            state: match (cluster.ending, has_nodes) {
                _ if is_closed => "closed",
                (None, _) => "running",
                (Some(_), true) => "ending",
                (Some(_), false) => "settling",
            },
            ending_reason: cluster.ending.map(|(reason, _)| reason.to_string()),
            started_at: written(cluster.opened),
            payment_platform: cluster.plan.platform.to_string(),
            budget_glm: money.budget.to_string(),
            spent_glm: money.spent.to_string(),
            due_glm: money.due.at(now).to_string(),
            reserved_glm: money.reserved.to_string(),
            glm_per_hour: money.rate_per_hour.to_string(),
            max_glm_per_hour: cluster.plan.max_glm_per_hour.map(|rate| rate.to_string()),
            lasts_until: money.lasts_until.map(written),
            idle_since: cluster.idle_since.map(written),
            ends_by_itself_at: cluster.ends_by_itself_at.map(written),
            network_path: cluster.path.map(NetworkPath::name),
            disputed_bills: money.disputed,
            open_agreements: cluster.open_agreements,
            nodes_by_state: states.map(|state| (state_name(state), count(state))).into(),
            warnings: cluster
                .warnings
                .iter()
                .map(|(at, what)| format!("{} {what}", written(*at)))
                .collect(),
        }
    }
}

/// How the API names a state.
#[must_use]
pub const fn state_name(state: NodeState) -> &'static str {
    match state {
        NodeState::Pending => "pending",
        NodeState::Running => "running",
        NodeState::Terminating => "terminating",
        NodeState::Terminated => "terminated",
    }
}
