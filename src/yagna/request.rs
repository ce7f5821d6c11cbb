//! What can be asked of the daemon.

use std::sync::Arc;

use super::{
    ids::{AllocationId, PlatformId, ProposalId, SubscriptionId},
    model::DemandBody,
};
use crate::units::{Glm, Span, Timestamp};

/// One request to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GET /me`: who the app-key says we are.
    WhoAmI,
    /// `POST /allocations`: set funds aside.
    CreateAllocation {
        /// Where to pay. Always sent: the daemon's own default is a retired network.
        platform: PlatformId,
        /// How much.
        total: Glm,
        /// When the daemon releases it by itself; also how we find it again.
        timeout: Timestamp,
    },
    /// `GET /allocations`: those not released.
    ListAllocations,
    /// `DELETE /allocations/{id}`: give the rest back.
    ReleaseAllocation {
        /// Which one.
        allocation: AllocationId,
    },
    /// `GET /demandDecorations`: what a demand must say to be paid from an allocation.
    DecorateDemand {
        /// Which one; the daemon takes exactly one.
        allocation: AllocationId,
    },
    /// `POST /demands`: publish a demand.
    Subscribe {
        /// What it says.
        demand: Arc<DemandBody>,
    },
    /// `GET /demands`: our published demands.
    ListDemands,
    /// `DELETE /demands/{id}`: withdraw a demand.
    Unsubscribe {
        /// Which one.
        subscription: SubscriptionId,
    },
    /// `GET /demands/{id}/events`: take what happened to a demand; waits for the first event.
    CollectEvents {
        /// Which demand.
        subscription: SubscriptionId,
        /// How long the daemon may wait for the first event.
        timeout: Span,
        /// How many events to take at once, 1 to 100.
        max_events: u8,
    },
    /// `POST /demands/{id}/proposals/{id}`: answer a proposal with one of our own.
    CounterProposal {
        /// The demand it belongs to.
        subscription: SubscriptionId,
        /// The provider's proposal.
        proposal: ProposalId,
        /// What we propose.
        body: Arc<DemandBody>,
    },
    /// `POST /demands/{id}/proposals/{id}/reject`: end a negotiation.
    RejectProposal {
        /// The demand it belongs to.
        subscription: SubscriptionId,
        /// The provider's proposal.
        proposal: ProposalId,
        /// Why, for the provider to read.
        reason: String,
    },
}

/// The calls by kind, one for each route: what back-offs, faults, and statistics are kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// [`Request::WhoAmI`]
    WhoAmI,
    /// [`Request::CreateAllocation`]
    CreateAllocation,
    /// [`Request::ListAllocations`]
    ListAllocations,
    /// [`Request::ReleaseAllocation`]
    ReleaseAllocation,
    /// [`Request::DecorateDemand`]
    DecorateDemand,
    /// [`Request::Subscribe`]
    Subscribe,
    /// [`Request::ListDemands`]
    ListDemands,
    /// [`Request::Unsubscribe`]
    Unsubscribe,
    /// [`Request::CollectEvents`]
    CollectEvents,
    /// [`Request::CounterProposal`]
    CounterProposal,
    /// [`Request::RejectProposal`]
    RejectProposal,
}

impl Endpoint {
    /// Every endpoint, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::WhoAmI,
        Self::CreateAllocation,
        Self::ListAllocations,
        Self::ReleaseAllocation,
        Self::DecorateDemand,
        Self::Subscribe,
        Self::ListDemands,
        Self::Unsubscribe,
        Self::CollectEvents,
        Self::CounterProposal,
        Self::RejectProposal,
    ];

    /// A short name for traces, scenario files, and statistics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WhoAmI => "who-am-i",
            Self::CreateAllocation => "create-allocation",
            Self::ListAllocations => "list-allocations",
            Self::ReleaseAllocation => "release-allocation",
            Self::DecorateDemand => "decorate-demand",
            Self::Subscribe => "subscribe",
            Self::ListDemands => "list-demands",
            Self::Unsubscribe => "unsubscribe",
            Self::CollectEvents => "collect-events",
            Self::CounterProposal => "counter-proposal",
            Self::RejectProposal => "reject-proposal",
        }
    }
}

impl Request {
    /// Which endpoint it goes to.
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        match self {
            Self::WhoAmI => Endpoint::WhoAmI,
            Self::CreateAllocation { .. } => Endpoint::CreateAllocation,
            Self::ListAllocations => Endpoint::ListAllocations,
            Self::ReleaseAllocation { .. } => Endpoint::ReleaseAllocation,
            Self::DecorateDemand { .. } => Endpoint::DecorateDemand,
            Self::Subscribe { .. } => Endpoint::Subscribe,
            Self::ListDemands => Endpoint::ListDemands,
            Self::Unsubscribe { .. } => Endpoint::Unsubscribe,
            Self::CollectEvents { .. } => Endpoint::CollectEvents,
            Self::CounterProposal { .. } => Endpoint::CounterProposal,
            Self::RejectProposal { .. } => Endpoint::RejectProposal,
        }
    }
}
