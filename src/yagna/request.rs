//! What can be asked of the daemon.

use std::{net::IpAddr, sync::Arc};

use super::{
    ids::{
        ActivityId, AgreementId, AllocationId, BatchId, DebitNoteId, InvoiceId, NetworkId,
        PlatformId, ProposalId, ProviderId, ScanId, SessionId, SubscriptionId,
    },
    model::{BilledAmount, DemandBody, ExeCommand, NetworkPath, RejectionReason},
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
    /// `PUT /allocations/{id}`: change an allocation's total and its end.
    AmendAllocation {
        /// Which one.
        allocation: AllocationId,
        /// Its new total; not below what was spent.
        total: Glm,
        /// When the daemon releases it by itself.
        timeout: Timestamp,
    },
    /// `POST /agreements`: make an agreement of a provider's draft. Nobody is told yet.
    CreateAgreement {
        /// The provider's draft.
        proposal: ProposalId,
        /// Until when the provider may approve.
        valid_to: Timestamp,
    },
    /// `GET /agreements`: the agreements of a session.
    ListAgreements {
        /// Which session.
        session: SessionId,
    },
    /// `GET /agreements/{id}`: one agreement.
    GetAgreement {
        /// Which one.
        agreement: AgreementId,
    },
    /// `POST /agreements/{id}/confirm`: send it to the provider.
    ConfirmAgreement {
        /// Which one.
        agreement: AgreementId,
        /// The session that it belongs to from here on.
        session: SessionId,
    },
    /// `POST /agreements/{id}/wait`: wait for the provider. 408 means to ask again, 410 that it was
    /// refused, cancelled, or expired.
    AwaitApproval {
        /// Which one.
        agreement: AgreementId,
        /// How long the daemon may wait.
        timeout: Span,
    },
    /// `POST /agreements/{id}/cancel`: take it back before it is approved.
    CancelAgreement {
        /// Which one.
        agreement: AgreementId,
    },
    /// `POST /agreements/{id}/terminate`: end it. The daemon tells the provider first and fails with
    /// 500 if it cannot.
    TerminateAgreement {
        /// Which one.
        agreement: AgreementId,
        /// Why, for the provider to read.
        reason: String,
    },
    /// `GET /agreementEvents`: what happened to the agreements of a session.
    CollectAgreementEvents {
        /// Which session.
        session: SessionId,
        /// Only what happened after this.
        after: Timestamp,
        /// How long the daemon may wait for the first event.
        timeout: Span,
    },
    /// `POST /activity`: have the provider start something.
    CreateActivity {
        /// Under which agreement.
        agreement: AgreementId,
        /// How long the daemon may wait for the provider.
        timeout: Span,
    },
    /// `GET /activity?agreementId=`: the activities of an agreement.
    ListActivities {
        /// Which one.
        agreement: AgreementId,
    },
    /// `DELETE /activity/{id}`: end an activity.
    DestroyActivity {
        /// Which one.
        activity: ActivityId,
        /// How long the daemon may wait for the provider.
        timeout: Span,
    },
    /// `GET /activity/{id}/state`: how an activity stands; asks the provider.
    GetActivityState {
        /// Which one.
        activity: ActivityId,
        /// How long the daemon may wait for the provider.
        timeout: Span,
    },
    /// `POST /activity/{id}/exec`: start a batch of commands.
    Execute {
        /// Which activity.
        activity: ActivityId,
        /// The commands, in order; the first that fails ends the batch.
        script: Arc<Vec<ExeCommand>>,
        /// How long the daemon may wait for the provider.
        timeout: Span,
    },
    /// `GET /activity/{id}/exec/{batch}`: the results of a batch so far; waits for one of them, and
    /// answers 408 if it does not come in time.
    CollectResults {
        /// Which activity.
        activity: ActivityId,
        /// Which batch.
        batch: BatchId,
        /// The command to wait for, from 0.
        command: u32,
        /// How long the daemon may wait for it.
        timeout: Span,
    },
    /// `POST /net`: make a private network. Our own address in it is the first one. One over the bus is
    /// made by the shell, which answers as the daemon does; 404 means that the bus cannot be reached.
    CreateNetwork {
        /// Who carries its frames.
        path: NetworkPath,
        /// Its address, or any of its addresses; ours are of IPv4.
        ip: IpAddr,
        /// The length of its prefix.
        prefix: u8,
        /// Its gateway, which the daemon repeats: how we find it again.
        gateway: IpAddr,
    },
    /// `GET /net`: our private networks.
    ListNetworks,
    /// `DELETE /net/{id}`: remove a private network. 403 means that there is none.
    RemoveNetwork {
        /// Which one.
        network: NetworkId,
    },
    /// `POST /net/{id}/nodes`: add a provider to a private network, and tell all its members.
    AddNode {
        /// Which network.
        network: NetworkId,
        /// Who.
        provider: ProviderId,
        /// At which address.
        ip: IpAddr,
    },
    /// `DELETE /net/{id}/nodes/{id}`: remove a provider from a private network.
    RemoveNode {
        /// Which network.
        network: NetworkId,
        /// Who.
        provider: ProviderId,
    },
    /// `GET /debitNoteEvents`: what happened to the debit notes of a session.
    CollectDebitNoteEvents {
        /// Which session.
        session: SessionId,
        /// Only what happened after this.
        after: Timestamp,
        /// How long the daemon may wait for the first event.
        timeout: Span,
    },
    /// `GET /invoiceEvents`: what happened to the invoices of a session.
    CollectInvoiceEvents {
        /// Which session.
        session: SessionId,
        /// Only what happened after this.
        after: Timestamp,
        /// How long the daemon may wait for the first event.
        timeout: Span,
    },
    /// `GET /debitNotes`: those that were written after an instant, of all sessions.
    ListDebitNotes {
        /// The instant.
        after: Timestamp,
    },
    /// `GET /invoices`: those that were written after an instant, of all sessions.
    ListInvoices {
        /// The instant.
        after: Timestamp,
    },
    /// `GET /debitNotes/{id}`: one debit note.
    GetDebitNote {
        /// Which one.
        debit_note: DebitNoteId,
    },
    /// `GET /invoices/{id}`: one invoice.
    GetInvoice {
        /// Which one.
        invoice: InvoiceId,
    },
    /// `POST /debitNotes/{id}/accept`: promise to pay it. 504 means that it is accepted and that its
    /// issuer will learn of it later.
    AcceptDebitNote {
        /// Which one.
        debit_note: DebitNoteId,
        /// Its amount, as the daemon wrote it.
        amount: BilledAmount,
        /// What to pay it from.
        allocation: AllocationId,
        /// How long the daemon may wait for the provider.
        timeout: Span,
    },
    /// `POST /invoices/{id}/accept`: promise to pay it; 504 as for debit notes.
    AcceptInvoice {
        /// Which one.
        invoice: InvoiceId,
        /// Its amount, as the daemon wrote it.
        amount: BilledAmount,
        /// What to pay it from.
        allocation: AllocationId,
        /// How long the daemon may wait for the provider.
        timeout: Span,
    },
    /// `POST /invoices/{id}/reject`: refuse to pay it. It can still be accepted later.
    RejectInvoice {
        /// Which one.
        invoice: InvoiceId,
        /// Why, in one of the daemon's words.
        reason: RejectionReason,
        /// Why, for the provider to read.
        message: String,
    },
    /// `GET /batchCycle/{platform}`: when the daemon sends out what was accepted.
    GetBatchCycle {
        /// On which platform.
        platform: PlatformId,
    },
    /// `POST /batchCycle`: change when the daemon sends out what was accepted.
    SetBatchCycle {
        /// On which platform.
        platform: PlatformId,
        /// From one payment to the next; at least five seconds.
        interval: Span,
        /// How much longer a payment may take; at least five seconds.
        extra_time: Span,
    },
    /// `POST /scan`: look at the offers that the daemon knows, without a demand. No provider hears of
    /// it. Daemons before 0.16 do not have it.
    BeginScan {
        /// Which offers; all of them if there is nothing.
        constraints: Option<String>,
        /// The daemon ends it when it was not used for so long, in whole seconds.
        lasts: Span,
    },
    /// `GET /scan/{id}/events`: offers that the scan has not shown yet; at once if there are some.
    CollectScan {
        /// Which scan.
        scan: ScanId,
        /// How long the daemon may wait for the first offer.
        timeout: Span,
        /// At most so many.
        max_events: u16,
    },
    /// `DELETE /scan/{id}`: look no more.
    EndScan {
        /// Which scan.
        scan: ScanId,
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
    /// [`Request::AmendAllocation`]
    AmendAllocation,
    /// [`Request::CreateAgreement`]
    CreateAgreement,
    /// [`Request::ListAgreements`]
    ListAgreements,
    /// [`Request::GetAgreement`]
    GetAgreement,
    /// [`Request::ConfirmAgreement`]
    ConfirmAgreement,
    /// [`Request::AwaitApproval`]
    AwaitApproval,
    /// [`Request::CancelAgreement`]
    CancelAgreement,
    /// [`Request::TerminateAgreement`]
    TerminateAgreement,
    /// [`Request::CollectAgreementEvents`]
    CollectAgreementEvents,
    /// [`Request::CreateActivity`]
    CreateActivity,
    /// [`Request::ListActivities`]
    ListActivities,
    /// [`Request::DestroyActivity`]
    DestroyActivity,
    /// [`Request::GetActivityState`]
    GetActivityState,
    /// [`Request::Execute`]
    Execute,
    /// [`Request::CollectResults`]
    CollectResults,
    /// [`Request::CreateNetwork`]
    CreateNetwork,
    /// [`Request::ListNetworks`]
    ListNetworks,
    /// [`Request::RemoveNetwork`]
    RemoveNetwork,
    /// [`Request::AddNode`]
    AddNode,
    /// [`Request::RemoveNode`]
    RemoveNode,
    /// [`Request::CollectDebitNoteEvents`]
    CollectDebitNoteEvents,
    /// [`Request::CollectInvoiceEvents`]
    CollectInvoiceEvents,
    /// [`Request::ListDebitNotes`]
    ListDebitNotes,
    /// [`Request::ListInvoices`]
    ListInvoices,
    /// [`Request::GetDebitNote`]
    GetDebitNote,
    /// [`Request::GetInvoice`]
    GetInvoice,
    /// [`Request::AcceptDebitNote`]
    AcceptDebitNote,
    /// [`Request::AcceptInvoice`]
    AcceptInvoice,
    /// [`Request::RejectInvoice`]
    RejectInvoice,
    /// [`Request::GetBatchCycle`]
    GetBatchCycle,
    /// [`Request::SetBatchCycle`]
    SetBatchCycle,
    /// [`Request::BeginScan`]
    BeginScan,
    /// [`Request::CollectScan`]
    CollectScan,
    /// [`Request::EndScan`]
    EndScan,
}

impl Endpoint {
    /// Every endpoint, in the order of their declaration.
    pub const ALL: [Self; 45] = [
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
        Self::AmendAllocation,
        Self::CreateAgreement,
        Self::ListAgreements,
        Self::GetAgreement,
        Self::ConfirmAgreement,
        Self::AwaitApproval,
        Self::CancelAgreement,
        Self::TerminateAgreement,
        Self::CollectAgreementEvents,
        Self::CreateActivity,
        Self::ListActivities,
        Self::DestroyActivity,
        Self::GetActivityState,
        Self::Execute,
        Self::CollectResults,
        Self::CreateNetwork,
        Self::ListNetworks,
        Self::RemoveNetwork,
        Self::AddNode,
        Self::RemoveNode,
        Self::CollectDebitNoteEvents,
        Self::CollectInvoiceEvents,
        Self::ListDebitNotes,
        Self::ListInvoices,
        Self::GetDebitNote,
        Self::GetInvoice,
        Self::AcceptDebitNote,
        Self::AcceptInvoice,
        Self::RejectInvoice,
        Self::GetBatchCycle,
        Self::SetBatchCycle,
        Self::BeginScan,
        Self::CollectScan,
        Self::EndScan,
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
            Self::AmendAllocation => "amend-allocation",
            Self::CreateAgreement => "create-agreement",
            Self::ListAgreements => "list-agreements",
            Self::GetAgreement => "get-agreement",
            Self::ConfirmAgreement => "confirm-agreement",
            Self::AwaitApproval => "await-approval",
            Self::CancelAgreement => "cancel-agreement",
            Self::TerminateAgreement => "terminate-agreement",
            Self::CollectAgreementEvents => "collect-agreement-events",
            Self::CreateActivity => "create-activity",
            Self::ListActivities => "list-activities",
            Self::DestroyActivity => "destroy-activity",
            Self::GetActivityState => "get-activity-state",
            Self::Execute => "execute",
            Self::CollectResults => "collect-results",
            Self::CreateNetwork => "create-network",
            Self::ListNetworks => "list-networks",
            Self::RemoveNetwork => "remove-network",
            Self::AddNode => "add-node",
            Self::RemoveNode => "remove-node",
            Self::CollectDebitNoteEvents => "collect-debit-note-events",
            Self::CollectInvoiceEvents => "collect-invoice-events",
            Self::ListDebitNotes => "list-debit-notes",
            Self::ListInvoices => "list-invoices",
            Self::GetDebitNote => "get-debit-note",
            Self::GetInvoice => "get-invoice",
            Self::AcceptDebitNote => "accept-debit-note",
            Self::AcceptInvoice => "accept-invoice",
            Self::RejectInvoice => "reject-invoice",
            Self::GetBatchCycle => "get-batch-cycle",
            Self::SetBatchCycle => "set-batch-cycle",
            Self::BeginScan => "begin-scan",
            Self::CollectScan => "collect-scan",
            Self::EndScan => "end-scan",
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
            Self::AmendAllocation { .. } => Endpoint::AmendAllocation,
            Self::CreateAgreement { .. } => Endpoint::CreateAgreement,
            Self::ListAgreements { .. } => Endpoint::ListAgreements,
            Self::GetAgreement { .. } => Endpoint::GetAgreement,
            Self::ConfirmAgreement { .. } => Endpoint::ConfirmAgreement,
            Self::AwaitApproval { .. } => Endpoint::AwaitApproval,
            Self::CancelAgreement { .. } => Endpoint::CancelAgreement,
            Self::TerminateAgreement { .. } => Endpoint::TerminateAgreement,
            Self::CollectAgreementEvents { .. } => Endpoint::CollectAgreementEvents,
            Self::CreateActivity { .. } => Endpoint::CreateActivity,
            Self::ListActivities { .. } => Endpoint::ListActivities,
            Self::DestroyActivity { .. } => Endpoint::DestroyActivity,
            Self::GetActivityState { .. } => Endpoint::GetActivityState,
            Self::Execute { .. } => Endpoint::Execute,
            Self::CollectResults { .. } => Endpoint::CollectResults,
            Self::CreateNetwork { .. } => Endpoint::CreateNetwork,
            Self::ListNetworks => Endpoint::ListNetworks,
            Self::RemoveNetwork { .. } => Endpoint::RemoveNetwork,
            Self::AddNode { .. } => Endpoint::AddNode,
            Self::RemoveNode { .. } => Endpoint::RemoveNode,
            Self::CollectDebitNoteEvents { .. } => Endpoint::CollectDebitNoteEvents,
            Self::CollectInvoiceEvents { .. } => Endpoint::CollectInvoiceEvents,
            Self::ListDebitNotes { .. } => Endpoint::ListDebitNotes,
            Self::ListInvoices { .. } => Endpoint::ListInvoices,
            Self::GetDebitNote { .. } => Endpoint::GetDebitNote,
            Self::GetInvoice { .. } => Endpoint::GetInvoice,
            Self::AcceptDebitNote { .. } => Endpoint::AcceptDebitNote,
            Self::AcceptInvoice { .. } => Endpoint::AcceptInvoice,
            Self::RejectInvoice { .. } => Endpoint::RejectInvoice,
            Self::GetBatchCycle { .. } => Endpoint::GetBatchCycle,
            Self::SetBatchCycle { .. } => Endpoint::SetBatchCycle,
            Self::BeginScan { .. } => Endpoint::BeginScan,
            Self::CollectScan { .. } => Endpoint::CollectScan,
            Self::EndScan { .. } => Endpoint::EndScan,
        }
    }
}
