//! What the daemon answers when it did what was asked.

use super::{
    ids::{ProposalId, SubscriptionId},
    model::{Allocation, Decorations, DemandEvent, Identity, Subscription},
};

/// The successful answer to the request of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To `WhoAmI`.
    Identity(Identity),
    /// To `CreateAllocation`.
    AllocationCreated(Allocation),
    /// To `ListAllocations`.
    Allocations(Vec<Allocation>),
    /// To `ReleaseAllocation`.
    AllocationReleased,
    /// To `DecorateDemand`.
    Decorations(Decorations),
    /// To `Subscribe`.
    Subscribed(SubscriptionId),
    /// To `ListDemands`.
    Demands(Vec<Subscription>),
    /// To `Unsubscribe`.
    Unsubscribed,
    /// To `CollectEvents`; empty when nothing happened in time.
    Events(Vec<DemandEvent>),
    /// To `CounterProposal`: the id of our own proposal.
    Countered(ProposalId),
    /// To `RejectProposal`.
    ProposalRejected,
}
