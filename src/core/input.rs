//! What happened.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    cluster::{
        law::Law,
        plan::{ClusterName, ClusterPlan, NodeOrder, Tags},
    },
    ids::{CallId, ClusterId, NodeId, ProbeId, RequestId},
    reputation::Reputation,
    survey::SurveyPlan,
};
use crate::{
    units::Glm,
    yagna::{CallError, PlatformId, Response},
};

/// Everything the machine reacts to.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Somebody asks for something; exactly one answer follows.
    Requested {
        /// Names the answer.
        id: RequestId,
        /// What is asked.
        command: Command,
    },
    /// A call ended, or the shell's patience with it.
    Replied {
        /// Which call.
        call: CallId,
        /// How it ended.
        result: Result<Response, CallError>,
    },
    /// A look at a node ended, or the shell's patience with it.
    Probed {
        /// Which look.
        probe: ProbeId,
        /// What was seen: nothing wrong, or what in words.
        outcome: Result<(), String>,
    },
    /// Time passed; sent when the next deadline is due. A spurious one is harmless.
    Elapsed,
}

/// What can be asked of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Learn what the market offers; answered when the survey is over and cleaned up.
    Survey(Box<SurveyPlan>),
    /// End the running survey now, with the report so far.
    EndSurvey,
    /// Bring up nodes; answered at once with their ids.
    RequestNodes(Box<NodeRequest>),
    /// End a node; answered at once. Harmless if it has ended.
    TerminateNode {
        /// The cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeId,
    },
    /// Stick tags on a node, beside what is there.
    SetTags {
        /// The cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeId,
        /// The tags.
        tags: Tags,
    },
    /// End a cluster: its nodes at once, its bills as they come.
    EndCluster {
        /// The cluster.
        cluster: ClusterName,
    },
    /// Change the budget of a running cluster.
    SetBudget {
        /// The cluster.
        cluster: ClusterName,
        /// The new budget.
        total: Glm,
    },
    /// The user says anew what the head of a running cluster may ask for.
    SetLaw {
        /// The cluster.
        cluster: ClusterName,
        /// What.
        law: Box<Law>,
    },
    /// The autoscaler of a cluster's head has looked at its nodes. It is not durable.
    HeadLooked {
        /// The cluster.
        cluster: ClusterName,
        /// Whether Ray has load, or a driver is connected to it; not known where Ray does not say so, or the node provider is
        /// of an earlier version.
        has_load: Option<bool>,
    },
    /// How many connections of users to nodes of a cluster are open. It is not durable.
    Connected {
        /// The cluster.
        cluster: ClusterName,
        /// How many.
        connections: u32,
    },
    /// Learn what is known about providers that are paid on a platform, in place of what was known
    /// before. It is not durable: whoever runs the machine says it again after a crash.
    Inform {
        /// The payment platform.
        platform: PlatformId,
        /// What is known.
        reputation: Arc<Reputation>,
    },
    /// The clock by which the daemon dates what happens was set back: what it dated before may lie in the future, and
    /// what it tells of now may be older than what was read last.
    ClockSetBack,
    /// End all clusters, and take no requests for nodes any more.
    Shutdown,
}

/// A request for nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRequest {
    /// By which a repeated request is known; without one each request stands for itself.
    pub key: Option<String>,
    /// The cluster; the first request for a node begins it.
    pub cluster: ClusterName,
    /// The cluster of the head that asks: a head begins none, and what its user has said binds it. None if the user
    /// asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_for: Option<ClusterId>,
    /// What holds for the cluster as a whole; heard only by a request that begins it.
    pub plan: ClusterPlan,
    /// What is asked for.
    pub order: NodeOrder,
}
