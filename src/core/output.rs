//! What to do.

use std::{fmt, net::Ipv4Addr, sync::Arc};

use thiserror::Error;

use super::{
    cluster::{plan::ClusterName, state::NodeState},
    experience::Sighting,
    ids::{CallId, ClusterId, NodeId, ProbeId, RequestId},
    record::{JournalId, Record},
    survey::{SurveyError, SurveyReport},
};
use crate::{
    units::{Glm, Span, Timestamp},
    yagna::{NetworkId, Request, request::Endpoint},
};

/// Everything the machine causes, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Append and sync before executing any later output.
    Persist {
        /// To which journal.
        journal: JournalId,
        /// What.
        records: Vec<Record>,
    },
    /// The one answer to a request.
    Answer {
        /// Which request.
        id: RequestId,
        /// What to tell.
        answer: Answer,
    },
    /// One request to the daemon; exactly one `Replied` comes back, or the process dies.
    Call {
        /// Names the reply.
        call: CallId,
        /// What to ask.
        request: Request,
        /// How long to wait before the outcome counts as unknown.
        patience: Span,
    },
    /// Nobody waits for this call's reply any more; stopping it is best effort.
    Abandon {
        /// Which call.
        call: CallId,
    },
    /// Look at a node from outside; exactly one `Probed` comes back, or the process dies.
    Probe {
        /// Names the outcome.
        probe: ProbeId,
        /// What to look at.
        what: Probe,
        /// How long to wait before it counts as a failure.
        patience: Span,
    },
    /// Something that the user should know.
    Notify(Notice),
    /// Something was seen of a provider, for whoever keeps its reputation; nothing depends on it.
    Saw(Sighting),
}

/// A look at a node from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether a command runs over ssh.
    Ssh {
        /// The cluster, whose key opens the node.
        cluster: ClusterId,
        /// The private network that leads there.
        network: NetworkId,
        /// The node's address in it.
        ip: Ipv4Addr,
        /// Of a node that comes up, the public host key that it told of, as a line of OpenSSH's.
        host_key: Option<Arc<str>>,
    },
}

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To `Survey`.
    Surveyed(Result<Box<SurveyReport>, SurveyError>),
    /// To `EndSurvey`: whether a survey was running.
    Ending(bool),
    /// To `RequestNodes`: the ids of the new nodes.
    NodesRequested(Result<Vec<NodeId>, RequestError>),
    /// To `TerminateNode`: how the node stood.
    NodeTerminated(Result<NodeState, RequestError>),
    /// To `SetTags`.
    TagsSet(Result<(), RequestError>),
    /// To `EndCluster`.
    ClusterEnding(Result<(), RequestError>),
    /// To `SetBudget`.
    BudgetSet(Result<(), RequestError>),
    /// To `SetLaw`.
    LawSet(Result<(), RequestError>),
    /// To `HeadLooked` and `Connected`.
    UsageNoted(Result<(), RequestError>),
    /// To `Inform` and `ClockSetBack`.
    Informed,
    /// To `Shutdown`.
    ShuttingDown,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// There is no such cluster.
    #[error("Cluster with given name not found")]
    UnknownCluster,
    /// The cluster has no such node.
    #[error("Node with given id not found")]
    UnknownNode,
    /// The manager stops.
    #[error("Action not allowed while server is shutting down!")]
    ShuttingDown,
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// A head asks for what its user has not spoken of.
    #[error(
        "a head may ask only for workers as the cluster file has them that `ray up` was run with; run it again with the file \
         that is meant"
    )]
    NotInFile,
    /// A head asks for more workers than its user allows.
    #[error(
        "a head may have {limit} workers at a time, as `max_workers` of the cluster file says, and would have {wanted}"
    )]
    OverLimit {
        /// How many workers there may be.
        limit: u32,
        /// How many there would be.
        wanted: u32,
    },
    /// A head asks for more workers of one type than its user allows.
    #[error(
        "a head may have {limit} workers of this type at a time, as `max_workers` of the node type says, and would have \
         {wanted}"
    )]
    OverTypeLimit {
        /// How many workers of the type there may be.
        limit: u32,
        /// How many there would be.
        wanted: u32,
    },
    /// There would be more nodes than a cluster can have.
    #[error("a cluster may have {limit} nodes at a time")]
    TooManyNodes {
        /// How many there may be.
        limit: u32,
    },
    /// A node would have too much stuck on it.
    #[error("the tags of the node would have more than {limit} bytes together")]
    TagsTooLong {
        /// How many bytes there may be.
        limit: usize,
    },
    /// The disk takes no journal of another cluster, mostly as it is full. The machine is not asked then.
    #[error(
        "no cluster is begun whose journal cannot be kept: {why}; make room, and run the command again"
    )]
    NoRoom {
        /// What the system said.
        why: String,
    },
    /// A cluster has one head.
    #[error("the cluster has a head node")]
    SecondHead,
    /// What is spent or promised is more than the new budget.
    #[error("{committed} GLM of the budget are spent or reserved; it cannot be less")]
    BudgetTooSmall {
        /// What is spent or promised.
        committed: Glm,
    },
}

/// Something that the user should know; it asks for no reaction of the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The wallet cannot back an allocation; the survey goes on with the bare address.
    Unfunded {
        /// What the daemon said.
        why: String,
    },
    /// Calls to an endpoint of the daemon keep failing; they are tried again.
    Struggling {
        /// Which endpoint.
        endpoint: Endpoint,
        /// The latest failure.
        why: String,
        /// When it is tried again.
        again_at: Timestamp,
    },
    /// The daemon lost our demand (it restarted, or the demand was too old); it is published anew.
    DemandLost,
    /// Something about a cluster, such as a budget that is nearly spent.
    Cluster {
        /// Which one.
        cluster: ClusterName,
        /// What.
        what: String,
    },
    /// Nodes wait, and this is why; each kind of reason is told once for as long as they wait.
    Waiting {
        /// Of which cluster.
        cluster: ClusterName,
        /// How many nodes.
        nodes: usize,
        /// Why.
        why: String,
    },
    /// Something could not be undone in time; it ends by itself.
    LeftBehind {
        /// What it is.
        what: String,
        /// When it ends by itself.
        until: Timestamp,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfunded { why } => {
                write!(f, "no allocation ({why}); the survey goes on without one")
            }
            Self::Struggling { endpoint, why, .. } => {
                write!(f, "the daemon fails at {}, trying again ({why})", endpoint.name())
            }
            Self::DemandLost => f.write_str("the daemon lost our demand, publishing it again"),
            Self::Cluster { cluster, what } => write!(f, "[{cluster}] {what}"),
            Self::Waiting { cluster, nodes: 1, why } => {
                write!(f, "[{cluster}] a node waits: {why}")
            }
            Self::Waiting { cluster, nodes, why } => {
                write!(f, "[{cluster}] {nodes} nodes wait: {why}")
            }
            Self::LeftBehind { what, .. } => {
                write!(f, "could not undo {what}; the daemon ends it by itself")
            }
        }
    }
}
