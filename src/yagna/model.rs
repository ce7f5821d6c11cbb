//! The documents that requests and responses carry.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{
    ActivityId, AgreementId, AllocationId, DebitNoteId, InvoiceId, NetworkId, PlatformId,
    ProposalId, ProviderId, SessionId, SubscriptionId,
};
use crate::units::{Glm, ParseGlmError, Rounding, Span, Timestamp};

/// Flat, dotted property keys and their JSON values, in key order.
///
/// Numbers keep the text they were written with, so that no price ever passes through a float.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Properties(pub Map<String, Value>);

impl Properties {
    /// The value of `key`, if it is there.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The text of `key`, if it is there and is text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The number of `key` as it was written, if it is there and is a number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Number(number) => Some(number.as_str()),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// Sets `key`, replacing an earlier value.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(key.into(), value.into());
    }
}

/// What a demand, an offer, or a proposal says: properties of its own, constraints on the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemandBody {
    /// What the issuer states.
    pub properties: Properties,
    /// What the issuer asks of the other side, in the market's filter language.
    pub constraints: String,
}

/// One of our published demands, as the daemon lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// What it says.
    pub body: DemandBody,
}

/// An offer as a scan shows it: a provider wrote it, and no requestor has negotiated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedOffer {
    /// Its id.
    pub id: SubscriptionId,
    /// Who offers.
    pub provider: ProviderId,
    /// When it was published, by the provider's clock.
    pub timestamp: Timestamp,
    /// What it says, and what it asks of demands.
    pub body: DemandBody,
}

/// Where a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProposalState {
    /// An offer that the daemon has matched with our demand.
    Initial,
    /// A provider's answer to our counter-proposal.
    Draft,
    /// Refused by either side.
    Rejected,
    /// Turned into an agreement.
    Accepted,
    /// Too old.
    Expired,
}

/// An offer, or a provider's answer in a negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its id.
    pub id: ProposalId,
    /// Who made it.
    pub issuer: ProviderId,
    /// Where it stands.
    pub state: ProposalState,
    /// When it was made, by the daemon's clock.
    pub timestamp: Timestamp,
    /// The proposal it answers: for a draft, our counter-proposal.
    pub previous: Option<ProposalId>,
    /// What it says.
    pub body: DemandBody,
}

/// Why a proposal was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// The reason in words, as given.
    pub message: Option<String>,
    /// Whether asking again is pointless (`golem.proposal.rejection.is-final`).
    pub is_final: Option<bool>,
}

/// What happened to a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DemandEvent {
    /// An offer matched, or a provider answered.
    Proposal(Box<Proposal>),
    /// A provider refused our counter-proposal.
    Rejected {
        /// Our counter-proposal.
        proposal: ProposalId,
        /// Why; the daemon may leave it out.
        reason: Option<Rejection>,
    },
    /// An event that could not be read, or of a kind that is not known; it says which.
    Unreadable(String),
}

/// Who the daemon says we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our identity on the network.
    pub id: ProviderId,
    /// The name of the app-key that was used.
    pub name: String,
    /// The role of the app-key.
    pub role: String,
}

/// Funds that the daemon has set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Its id.
    pub id: AllocationId,
    /// The wallet it draws on.
    pub address: String,
    /// Where it pays.
    pub platform: PlatformId,
    /// All of it.
    pub total: Glm,
    /// What was accepted out of it.
    pub spent: Glm,
    /// What is left of it.
    pub remaining: Glm,
    /// When the daemon releases it by itself.
    pub timeout: Option<Timestamp>,
}

/// What a demand must say so that it can be paid from an allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decorations {
    /// Properties to add, in the daemon's order.
    pub properties: Vec<(String, String)>,
    /// Constraints to add, in the daemon's order.
    pub constraints: Vec<String>,
}

/// Where an agreement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AgreementState {
    /// Made, not yet sent to the provider.
    Proposal,
    /// Sent to the provider.
    Pending,
    /// The provider is about to approve.
    Approving,
    /// In force.
    Approved,
    /// Ended by either side.
    Terminated,
    /// Taken back by us before approval.
    Cancelled,
    /// Refused by the provider.
    Rejected,
    /// Not approved in time.
    Expired,
}

impl AgreementState {
    /// Whether the agreement is not in force and never will be.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            Self::Proposal | Self::Pending | Self::Approving | Self::Approved => false,
            Self::Terminated | Self::Cancelled | Self::Rejected | Self::Expired => true,
        }
    }
}

/// A contract with a provider, as far as we look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Its id.
    pub id: AgreementId,
    /// The other side.
    pub provider: ProviderId,
    /// Where it stands.
    pub state: AgreementState,
    /// When it was approved, by the daemon's clock.
    pub approved: Option<Timestamp>,
    /// The session that it was confirmed with.
    pub session: Option<SessionId>,
    /// What we asked for.
    pub demand: DemandBody,
    /// What the provider offered, prices included.
    pub offer: DemandBody,
}

/// An agreement as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementSummary {
    /// Its id.
    pub id: AgreementId,
    /// When it was made, by the daemon's clock.
    pub timestamp: Timestamp,
    /// When it was approved, by the daemon's clock.
    pub approved: Option<Timestamp>,
    /// Whether we are the requestor in it; the daemon lists agreements of both roles.
    pub is_requestor: bool,
}

/// Something that happened to an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementEvent {
    /// Which one.
    pub agreement: AgreementId,
    /// When, by the daemon's clock.
    pub at: Timestamp,
    /// What.
    pub kind: AgreementEventKind,
}

/// What happened to an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgreementEventKind {
    /// The provider approved it.
    Approved,
    /// The provider refused it.
    Rejected {
        /// Why, if it said so.
        reason: Option<String>,
    },
    /// We took it back.
    Cancelled {
        /// Why, if we said so.
        reason: Option<String>,
    },
    /// It was ended.
    Terminated {
        /// Whether we ended it.
        by_requestor: bool,
        /// Why, in words.
        reason: Option<String>,
        /// Why, in one of the words that provider agents use (`golem.provider.code`).
        code: Option<String>,
    },
    /// A kind that is not known.
    Other(String),
}

/// What a provider runs for us, in the daemon's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ActivityPhase {
    /// Just created.
    New,
    /// The runtime is there.
    Initialized,
    /// The image is there.
    Deployed,
    /// Commands can run.
    Ready,
    /// It does not answer its own supervisor.
    Unresponsive,
    /// It is over.
    Terminated,
}

/// How an activity stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityState {
    /// Where it is.
    pub now: ActivityPhase,
    /// Where it is going, if it moves.
    pub next: Option<ActivityPhase>,
    /// Why it ended, if it says so.
    pub reason: Option<String>,
    /// What went wrong, if it says so.
    pub error: Option<String>,
}

/// What an activity shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExeCommand {
    /// Fetch the image, and join private networks.
    Deploy {
        /// The networks to join.
        networks: Vec<Deployment>,
    },
    /// Start the container.
    Start,
    /// Run a program in the container.
    Run {
        /// The program.
        entry_point: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// End the container.
    Terminate,
    /// A command that we never send, as it was written.
    Other(Value),
}

/// How an activity joins a private network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Which network.
    pub network: NetworkId,
    /// The network's own address.
    pub ip: Ipv4Addr,
    /// Its mask.
    pub mask: Ipv4Addr,
    /// The address of this node.
    pub node_ip: Ipv4Addr,
    /// Who is reachable where from the beginning; later members are announced by the network.
    pub nodes: Vec<(Ipv4Addr, ProviderId)>,
}

/// What became of one command of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandResult {
    /// Which command, from 0.
    pub index: u32,
    /// Whether it succeeded.
    pub is_ok: bool,
    /// What it wrote to its standard output, if that was captured.
    pub stdout: Option<String>,
    /// What it wrote to its standard error, if that was captured.
    pub stderr: Option<String>,
    /// What the runtime says of it.
    pub message: Option<String>,
    /// Whether nothing follows.
    pub is_batch_finished: bool,
}

/// Who carries the frames of a private network between us and its nodes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkPath {
    /// The daemon: it keeps the network in memory, with a TCP of its own, behind a websocket.
    #[default]
    Daemon,
    /// We do, with a TCP of our own, over the daemon's bus: the network is ours, and outlives the daemon.
    Bus,
}

impl NetworkPath {
    /// The word for it, in cluster files and for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Bus => "bus",
        }
    }

    /// Whether the daemon carries the frames.
    #[must_use]
    pub const fn is_daemon(&self) -> bool {
        matches!(self, Self::Daemon)
    }
}

/// A private network of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its address and the length of its prefix, as text.
    pub ip: String,
    /// Its mask.
    pub mask: IpAddr,
    /// Its gateway; the daemon keeps the one that was asked for, so it is the network's mark.
    pub gateway: IpAddr,
}

/// An amount on a bill, exactly as the daemon wrote it: an acceptance must repeat it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BilledAmount(Arc<str>);

impl BilledAmount {
    /// The amount that the daemon wrote as `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The daemon's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The amount, rounded up to one attoGLM.
    ///
    /// # Errors
    ///
    /// If the provider billed something that is no amount of GLM, such as less than nothing.
    pub fn glm(&self) -> Result<Glm, ParseGlmError> {
        Glm::parse(&self.0, Rounding::Up)
    }
}

impl From<Glm> for BilledAmount {
    fn from(amount: Glm) -> Self {
        Self::new(&amount.to_string())
    }
}

/// Where a debit note or an invoice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DocumentState {
    /// Written, not sent.
    Issued,
    /// It reached us.
    Received,
    /// We accepted it.
    Accepted,
    /// We refused it.
    Rejected,
    /// Its payment failed.
    Failed,
    /// It is paid.
    Settled,
    /// Its issuer took it back.
    Cancelled,
}

/// A bill for a running activity; its amount is the total of the activity so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebitNote {
    /// Its id.
    pub id: DebitNoteId,
    /// Who bills.
    pub issuer: ProviderId,
    /// Whose wallet is to be paid.
    pub payee: String,
    /// Where it is to be paid.
    pub platform: PlatformId,
    /// When it was written, by its issuer's clock.
    pub timestamp: Timestamp,
    /// The agreement.
    pub agreement: AgreementId,
    /// The activity.
    pub activity: ActivityId,
    /// What the activity has cost until then.
    pub total_due: BilledAmount,
    /// Until when it must be paid, if it must be paid while the activity runs.
    pub payment_due: Option<Timestamp>,
    /// Where it stands.
    pub state: DocumentState,
}

/// The final bill for an agreement, debit notes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Its id.
    pub id: InvoiceId,
    /// Who bills.
    pub issuer: ProviderId,
    /// Whose wallet is to be paid.
    pub payee: String,
    /// Where it is to be paid.
    pub platform: PlatformId,
    /// When it was written, by its issuer's clock.
    pub timestamp: Timestamp,
    /// The agreement.
    pub agreement: AgreementId,
    /// The activities that it is for.
    pub activities: Vec<ActivityId>,
    /// What the agreement cost.
    pub amount: BilledAmount,
    /// Until when it must be paid.
    pub payment_due: Timestamp,
    /// Where it stands.
    pub state: DocumentState,
}

/// Something that happened to a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillEvent<Id> {
    /// Which bill.
    pub id: Id,
    /// When, by the daemon's clock.
    pub at: Timestamp,
    /// What.
    pub kind: BillEventKind,
}

/// What happened to a bill.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BillEventKind {
    /// It reached us.
    Received,
    /// We accepted it.
    Accepted,
    /// We refused it.
    Rejected,
    /// Its issuer took it back.
    Cancelled,
    /// It is paid.
    Settled,
    /// A kind that is not known.
    Other(String),
}

/// Why we refuse a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RejectionReason {
    /// We asked for nothing of the kind.
    UnsolicitedService,
    /// It did not work.
    BadService,
    /// It is too much.
    IncorrectAmount,
}

/// When the daemon sends out what was accepted on a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchCycle {
    /// The platform.
    pub platform: PlatformId,
    /// From one payment to the next; none if it follows a calendar instead.
    pub interval: Option<Span>,
    /// How much longer a payment may take.
    pub extra_time: Span,
    /// The next payment.
    pub next: Option<Timestamp>,
}

/// A payment that the daemon has made: one for each payee, over all that is due then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its id at the daemon.
    pub id: String,
    /// When it was made.
    pub at: Timestamp,
    /// The hash of its transaction, hexadecimal, if the payment driver has told it.
    pub transaction: Option<String>,
    /// What it was for, with the amount of each.
    pub shares: Vec<(PaidFor, Glm)>,
}

/// What a share of a payment is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaidFor {
    /// An invoice of this agreement.
    Agreement(AgreementId),
    /// A debit note of this activity.
    Activity(ActivityId),
}
