//! The daemon's vocabulary and its wire form.
//!
//! One [`Request`] gets one reply: a [`Response`] or a [`CallError`] of one of three classes. Both
//! sides of the wire speak these types: the production client encodes requests and decodes
//! responses, a simulated daemon does the inverse. Everything here is pure, but for `client`, `vpn`, and
//! the client of the bus.

pub mod bus;
pub mod client;
pub mod error;
pub mod ids;
pub mod model;
pub mod prefix;
pub mod request;
pub mod response;
#[expect(clippy::disallowed_types, reason = "the I/O shell")]
pub mod vpn;
pub mod wire;
pub(crate) mod words;

pub use client::{AppKey, Client, Endpoints, Yagna};
pub use error::{CallError, Doubt, Status};
pub use ids::{
    ActivityId, AgreementId, AllocationId, BatchId, DebitNoteId, InvoiceId, NetworkId, PlatformId,
    ProposalId, ProviderId, ScanId, SessionId, SubscriptionId,
};
pub use model::{
    ActivityPhase, ActivityState, Agreement, AgreementEvent, AgreementEventKind, AgreementState,
    AgreementSummary, Allocation, BatchCycle, BillEvent, BillEventKind, BilledAmount,
    CommandResult, DebitNote, Decorations, DemandBody, DemandEvent, Deployment, DocumentState,
    ExeCommand, Identity, Invoice, Network, NetworkPath, PaidFor, Payment, Properties, Proposal,
    ProposalState, PublishedOffer, Rejection, RejectionReason, Subscription,
};
pub use request::{Endpoint, Request};
pub use response::Response;
pub use vpn::{Vpn, VpnError, VpnStream};
