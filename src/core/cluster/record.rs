//! The durable facts of one cluster.

use std::{fmt, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::{
    account::Terms,
    law::Law,
    plan::{ClusterName, ClusterPlan, NodeOrder, Tags},
};
use crate::{
    core::ids::{AgreementNo, NodeId},
    units::{Glm, Timestamp},
    yagna::{
        ActivityId, AgreementId, AllocationId, BatchId, BilledAmount, DebitNoteId, InvoiceId,
        NetworkId, NetworkPath, SessionId,
    },
};

/// A durable fact of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterRecord {
    /// The cluster began.
    Opened {
        /// Its name.
        name: ClusterName,
        /// Its session at the daemon.
        session: SessionId,
        /// What holds for it as a whole.
        plan: Box<ClusterPlan>,
        /// When.
        at: Timestamp,
        /// The first node id that no cluster of this name had before.
        first_node: NodeId,
    },
    /// Nodes were asked for.
    NodesRequested {
        /// Their ids.
        nodes: Vec<NodeId>,
        /// What was asked for.
        order: Box<NodeOrder>,
        /// When.
        at: Timestamp,
        /// The key of the request, and what it stands for.
        key: Option<(String, u64)>,
    },
    /// Something about a node.
    Node {
        /// Which node.
        node: NodeId,
        /// What.
        fact: NodeFact,
    },
    /// Something about an agreement.
    Agreement {
        /// Which one.
        number: AgreementNo,
        /// What.
        fact: AgreementFact,
    },
    /// Something about what the cluster is paid from.
    Funds(FundsFact),
    /// Something about the private network.
    Network(NetworkFact),
    /// Everything that happened to bills until then has been taken up.
    BillsRead {
        /// Until when, by the daemon's clock.
        notes: Timestamp,
        /// Until when, by the daemon's clock.
        invoices: Timestamp,
    },
    /// The user should know.
    Warned {
        /// When.
        at: Timestamp,
        /// What.
        warning: String,
    },
    /// The budget was changed.
    BudgetSet {
        /// The new one.
        total: Glm,
    },
    /// What the head may ask for was said anew.
    LawSet {
        /// What.
        law: Box<Law>,
    },
    /// The cluster is to end.
    Ending {
        /// Why.
        reason: EndReason,
        /// When it was decided.
        at: Timestamp,
    },
}

/// A durable fact of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeFact {
    /// Tags were stuck on it, beside what was there.
    Tagged(Tags),
    /// Something worth telling happened to it.
    Logged(String),
    /// It is up.
    Running,
    /// It is to end.
    Ending,
    /// It is no more.
    Ended,
}

/// A durable fact of an agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgreementFact {
    /// It is about to be sent to its provider.
    Signing {
        /// Its id.
        agreement: AgreementId,
        /// For which node.
        node: NodeId,
        /// With whom, for how much.
        terms: Box<Terms>,
        /// The node's address, if it comes to that.
        ip: Ipv4Addr,
        /// Until when the provider may approve.
        valid_to: Timestamp,
        /// What is set aside for it.
        reserve: Glm,
        /// When.
        at: Timestamp,
    },
    /// The provider approved.
    Approved,
    /// An activity is about to be asked for; nothing can have cost anything before.
    ActivityIntended {
        /// When.
        at: Timestamp,
    },
    /// The activity is there.
    ActivityMade(ActivityId),
    /// The commands that bring the node up are about to be sent.
    BatchIntended,
    /// The commands are running.
    BatchMade(BatchId),
    /// The commands have run.
    Bootstrapped,
    /// It is to end.
    Closing {
        /// When it was decided.
        at: Timestamp,
        /// Why, for its provider and for users.
        reason: String,
    },
    /// Nothing runs under it any more.
    Over {
        /// Since when.
        at: Timestamp,
    },
    /// All that is set aside for it.
    Reserved(Glm),
    /// A debit note is about to be accepted.
    NoteAccepted {
        /// The note.
        note: DebitNoteId,
        /// The total of the agreement that it stands for.
        total: Glm,
    },
    /// A debit note is not accepted.
    NoteDisputed(Dispute),
    /// The invoice is about to be accepted.
    InvoiceAccepted {
        /// The invoice.
        invoice: InvoiceId,
        /// Its amount.
        total: Glm,
    },
    /// An invoice is not accepted.
    InvoiceDisputed(Dispute),
    /// It is over and nothing more is expected: its books are closed.
    Settled,
}

/// A durable fact of what the cluster is paid from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FundsFact {
    /// An allocation is about to be asked for.
    Intended {
        /// Its time-out, by which it is found.
        mark: Timestamp,
        /// How much.
        total: Glm,
        /// How much of the budget was paid from earlier ones.
        base: Glm,
    },
    /// The allocation is there, or was changed.
    Set {
        /// Its time-out.
        mark: Timestamp,
        /// Its id.
        allocation: AllocationId,
        /// How much.
        total: Glm,
    },
    /// It was given back, or certainly never existed, or is gone.
    Ended,
}

/// A durable fact of the private network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkFact {
    /// It is about to be asked for.
    Intended {
        /// Its gateway, by which it is found.
        gateway: Ipv4Addr,
        /// Who is to carry its frames.
        #[serde(default, skip_serializing_if = "NetworkPath::is_daemon")]
        path: NetworkPath,
    },
    /// It is there; said once more, by another id than the one that came first.
    Made(NetworkId),
    /// The provider of an agreement that is over is out of it.
    Left(AgreementNo),
    /// The way of its frames from now on: the one by which a node was reached, or the daemon, since none was
    /// reached over the bus.
    Settled(NetworkPath),
    /// The daemon lost it; nodes that are in it stay in it.
    Lost,
    /// It was removed, or certainly never existed.
    Ended,
}

/// A bill that we do not pay, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// The bill's id.
    pub bill: String,
    /// What it asks for.
    pub amount: BilledAmount,
    /// Why we do not pay it.
    pub reason: String,
    /// When we decided.
    pub at: Timestamp,
}

/// Why a cluster ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// Somebody asked for it.
    Asked,
    /// Its head ended.
    HeadGone,
    /// Its last node ended.
    NoNodes,
    /// Its budget is spent.
    BudgetSpent,
    /// It was to end by itself by now.
    Autostop,
    /// Everything ends.
    Shutdown,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "as asked",
            Self::HeadGone => "its head node ended",
            Self::NoNodes => "no node is left",
            Self::BudgetSpent => "its budget is spent",
            Self::Autostop => "its time has come (`autostop`)",
            Self::Shutdown => "the manager stops",
        })
    }
}
