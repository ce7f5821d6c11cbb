//! What the daemon answers when it did what was asked.

use super::{
    ids::{
        ActivityId, AgreementId, BatchId, DebitNoteId, InvoiceId, ProposalId, ScanId,
        SubscriptionId,
    },
    model::{
        ActivityState, Agreement, AgreementEvent, AgreementSummary, Allocation, BatchCycle,
        BillEvent, CommandResult, DebitNote, Decorations, DemandEvent, Identity, Invoice, Network,
        PublishedOffer, Subscription,
    },
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
    /// To `AmendAllocation`.
    AllocationAmended(Allocation),
    /// To `CreateAgreement`.
    AgreementCreated(AgreementId),
    /// To `ListAgreements`.
    Agreements(Vec<AgreementSummary>),
    /// To `GetAgreement`.
    Agreement(Box<Agreement>),
    /// To `ConfirmAgreement`: the provider has it.
    AgreementConfirmed,
    /// To `AwaitApproval`: the provider approved it.
    AgreementApproved,
    /// To `CancelAgreement`.
    AgreementCancelled,
    /// To `TerminateAgreement`: the provider knows.
    AgreementTerminated,
    /// To `CollectAgreementEvents`; empty when nothing happened in time.
    AgreementEvents(Vec<AgreementEvent>),
    /// To `CreateActivity`.
    ActivityCreated(ActivityId),
    /// To `ListActivities`.
    Activities(Vec<ActivityId>),
    /// To `DestroyActivity`: the provider knows.
    ActivityDestroyed,
    /// To `GetActivityState`.
    ActivityState(ActivityState),
    /// To `Execute`.
    BatchStarted(BatchId),
    /// To `CollectResults`: all results so far.
    Results(Vec<CommandResult>),
    /// To `CreateNetwork`.
    NetworkCreated(Network),
    /// To `ListNetworks`.
    Networks(Vec<Network>),
    /// To `RemoveNetwork`.
    NetworkRemoved,
    /// To `AddNode`.
    NodeAdded,
    /// To `RemoveNode`.
    NodeRemoved,
    /// To `CollectDebitNoteEvents`; empty when nothing happened in time.
    DebitNoteEvents(Vec<BillEvent<DebitNoteId>>),
    /// To `CollectInvoiceEvents`; empty when nothing happened in time.
    InvoiceEvents(Vec<BillEvent<InvoiceId>>),
    /// To `ListDebitNotes`.
    DebitNotes(Vec<DebitNote>),
    /// To `ListInvoices`.
    Invoices(Vec<Invoice>),
    /// To `GetDebitNote`.
    DebitNote(Box<DebitNote>),
    /// To `GetInvoice`.
    Invoice(Box<Invoice>),
    /// To `AcceptDebitNote`.
    DebitNoteAccepted,
    /// To `AcceptInvoice`.
    InvoiceAccepted,
    /// To `RejectInvoice`.
    InvoiceRejected,
    /// To `GetBatchCycle`.
    BatchCycle(BatchCycle),
    /// To `SetBatchCycle`.
    BatchCycleSet,
    /// To `BeginScan`.
    ScanBegun(ScanId),
    /// To `CollectScan`; empty when nothing new came in time.
    ScannedOffers(Vec<PublishedOffer>),
    /// To `EndScan`.
    ScanEnded,
}
