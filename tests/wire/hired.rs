//! Requests and responses of every kind that come after negotiation.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use proptest::{collection::vec, option, prelude::*};
use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{
        ActivityPhase, ActivityState, Agreement, AgreementEvent, AgreementEventKind,
        AgreementState, AgreementSummary, BatchCycle, BillEvent, BillEventKind, BilledAmount,
        CommandResult, DebitNote, Deployment, DocumentState, ExeCommand, Invoice, Network,
        NetworkPath, RejectionReason, Request, Response, prefix,
    },
};

use crate::strategies::{SAID, Told, allocation, body, glm, id, time, told};

pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![agreements(), activities(), networks(), bills()]
}

/// The response to a request of this part; `None` for all others.
pub(crate) fn response_to(request: &Request) -> Option<BoxedStrategy<Response>> {
    let response = match request {
        Request::AmendAllocation { .. } => {
            allocation().prop_map(Response::AllocationAmended).boxed()
        }
        Request::CreateAgreement { .. } => told().prop_map(Response::AgreementCreated).boxed(),
        Request::ListAgreements { .. } => {
            vec(summary(), 0..3).prop_map(Response::Agreements).boxed()
        }
        Request::GetAgreement { .. } => {
            agreement().prop_map(|it| Response::Agreement(Box::new(it))).boxed()
        }
        Request::ConfirmAgreement { .. } => Just(Response::AgreementConfirmed).boxed(),
        Request::AwaitApproval { .. } => Just(Response::AgreementApproved).boxed(),
        Request::CancelAgreement { .. } => Just(Response::AgreementCancelled).boxed(),
        Request::TerminateAgreement { .. } => Just(Response::AgreementTerminated).boxed(),
        Request::CollectAgreementEvents { .. } => {
            vec(agreement_event(), 0..3).prop_map(Response::AgreementEvents).boxed()
        }
        Request::CreateActivity { .. } => told().prop_map(Response::ActivityCreated).boxed(),
        Request::ListActivities { .. } => vec(told(), 0..3).prop_map(Response::Activities).boxed(),
        Request::DestroyActivity { .. } => Just(Response::ActivityDestroyed).boxed(),
        Request::GetActivityState { .. } => state().prop_map(Response::ActivityState).boxed(),
        Request::Execute { .. } => told().prop_map(Response::BatchStarted).boxed(),
        Request::CollectResults { .. } => vec(result(), 0..4).prop_map(Response::Results).boxed(),
        Request::CreateNetwork { .. } => network().prop_map(Response::NetworkCreated).boxed(),
        Request::ListNetworks => vec(network(), 0..3).prop_map(Response::Networks).boxed(),
        Request::RemoveNetwork { .. } => Just(Response::NetworkRemoved).boxed(),
        Request::AddNode { .. } => Just(Response::NodeAdded).boxed(),
        Request::RemoveNode { .. } => Just(Response::NodeRemoved).boxed(),
        Request::CollectDebitNoteEvents { .. } => {
            vec(bill_event("DebitNote"), 0..3).prop_map(Response::DebitNoteEvents).boxed()
        }
        Request::CollectInvoiceEvents { .. } => {
            vec(bill_event("Invoice"), 0..3).prop_map(Response::InvoiceEvents).boxed()
        }
        Request::ListDebitNotes { .. } => vec(note(), 0..3).prop_map(Response::DebitNotes).boxed(),
        Request::ListInvoices { .. } => vec(invoice(), 0..3).prop_map(Response::Invoices).boxed(),
        Request::GetDebitNote { .. } => {
            note().prop_map(|it| Response::DebitNote(Box::new(it))).boxed()
        }
        Request::GetInvoice { .. } => {
            invoice().prop_map(|it| Response::Invoice(Box::new(it))).boxed()
        }
        Request::AcceptDebitNote { .. } => Just(Response::DebitNoteAccepted).boxed(),
        Request::AcceptInvoice { .. } => Just(Response::InvoiceAccepted).boxed(),
        Request::RejectInvoice { .. } => Just(Response::InvoiceRejected).boxed(),
        Request::GetBatchCycle { .. } => cycle().prop_map(Response::BatchCycle).boxed(),
        Request::SetBatchCycle { .. } => Just(Response::BatchCycleSet).boxed(),
        Request::WhoAmI
        | Request::CreateAllocation { .. }
        | Request::ListAllocations
        | Request::ReleaseAllocation { .. }
        | Request::DecorateDemand { .. }
        | Request::Subscribe { .. }
        | Request::ListDemands
        | Request::Unsubscribe { .. }
        | Request::CollectEvents { .. }
        | Request::CounterProposal { .. }
        | Request::RejectProposal { .. }
        | Request::BeginScan { .. }
        | Request::CollectScan { .. }
        | Request::EndScan { .. } => return None,
    };
    Some(response)
}

fn agreements() -> BoxedStrategy<Request> {
    prop_oneof![
        (id(), time()).prop_map(|(id, valid_to)| {
            Request::CreateAgreement { proposal: id.into(), valid_to }
        }),
        id().prop_map(|id| Request::ListAgreements { session: id.into() }),
        id().prop_map(|id| Request::GetAgreement { agreement: id.into() }),
        (id(), id()).prop_map(|(id, session)| Request::ConfirmAgreement {
            agreement: id.into(),
            session: session.into()
        }),
        (id(), span())
            .prop_map(|(id, timeout)| { Request::AwaitApproval { agreement: id.into(), timeout } }),
        id().prop_map(|id| Request::CancelAgreement { agreement: id.into() }),
        (id(), ".*").prop_map(|(id, reason)| {
            Request::TerminateAgreement { agreement: id.into(), reason }
        }),
        (id(), time(), span()).prop_map(|(id, after, timeout)| {
            Request::CollectAgreementEvents { session: id.into(), after, timeout }
        }),
    ]
    .boxed()
}

fn activities() -> BoxedStrategy<Request> {
    prop_oneof![
        (id(), span()).prop_map(|(id, timeout)| {
            Request::CreateActivity { agreement: id.into(), timeout }
        }),
        id().prop_map(|id| Request::ListActivities { agreement: id.into() }),
        (id(), span()).prop_map(|(id, timeout)| {
            Request::DestroyActivity { activity: id.into(), timeout }
        }),
        (id(), span()).prop_map(|(id, timeout)| {
            Request::GetActivityState { activity: id.into(), timeout }
        }),
        (id(), vec(command(), 0..4), span()).prop_map(|(id, script, timeout)| {
            Request::Execute { activity: id.into(), script: Arc::new(script), timeout }
        }),
        (id(), id(), any::<u32>(), span()).prop_map(|(id, batch, command, timeout)| {
            Request::CollectResults { activity: id.into(), batch: batch.into(), command, timeout }
        }),
    ]
    .boxed()
}

fn networks() -> BoxedStrategy<Request> {
    prop_oneof![
        subnet().prop_map(|(ip, prefix, gateway)| Request::CreateNetwork {
            path: NetworkPath::Daemon,
            ip,
            prefix,
            gateway
        }),
        Just(Request::ListNetworks),
        id().prop_map(|id| Request::RemoveNetwork { network: id.into() }),
        (id(), id(), any::<IpAddr>()).prop_map(|(id, provider, ip)| Request::AddNode {
            network: id.into(),
            provider: provider.into(),
            ip
        }),
        (id(), id()).prop_map(|(id, provider)| Request::RemoveNode {
            network: id.into(),
            provider: provider.into()
        }),
    ]
    .boxed()
}

fn bills() -> BoxedStrategy<Request> {
    let reason = prop_oneof![
        Just(RejectionReason::UnsolicitedService),
        Just(RejectionReason::BadService),
        Just(RejectionReason::IncorrectAmount),
    ];
    let whole = || (5..1_000_000_u64).prop_map(Span::secs);
    prop_oneof![
        (id(), glm(), time()).prop_map(|(id, total, timeout)| {
            Request::AmendAllocation { allocation: id.into(), total, timeout }
        }),
        (id(), time(), span()).prop_map(|(id, after, timeout)| {
            Request::CollectDebitNoteEvents { session: id.into(), after, timeout }
        }),
        (id(), time(), span()).prop_map(|(id, after, timeout)| {
            Request::CollectInvoiceEvents { session: id.into(), after, timeout }
        }),
        time().prop_map(|after| Request::ListDebitNotes { after }),
        time().prop_map(|after| Request::ListInvoices { after }),
        id().prop_map(|id| Request::GetDebitNote { debit_note: id.into() }),
        id().prop_map(|id| Request::GetInvoice { invoice: id.into() }),
        (id(), billed(), id(), span()).prop_map(|(id, amount, allocation, timeout)| {
            let allocation = allocation.into();
            Request::AcceptDebitNote { debit_note: id.into(), amount, allocation, timeout }
        }),
        (id(), billed(), id(), span()).prop_map(|(id, amount, allocation, timeout)| {
            let allocation = allocation.into();
            Request::AcceptInvoice { invoice: id.into(), amount, allocation, timeout }
        }),
        (id(), reason, ".*").prop_map(|(id, reason, message)| {
            Request::RejectInvoice { invoice: id.into(), reason, message }
        }),
        id().prop_map(|id| Request::GetBatchCycle { platform: id.into() }),
        (id(), whole(), whole()).prop_map(|(id, interval, extra_time)| {
            Request::SetBatchCycle { platform: id.into(), interval, extra_time }
        }),
    ]
    .boxed()
}

fn command() -> BoxedStrategy<ExeCommand> {
    let network = (id(), ip(), ip(), ip(), ip(), id()).prop_map(|(id, ip, mask, node, at, who)| {
        Deployment { network: id.into(), ip, mask, node_ip: node, nodes: vec![(at, who.into())] }
    });
    prop_oneof![
        vec(network, 0..2).prop_map(|networks| ExeCommand::Deploy { networks }),
        Just(ExeCommand::Start),
        (".*", vec(".*", 0..3))
            .prop_map(|(entry_point, args)| ExeCommand::Run { entry_point, args }),
        Just(ExeCommand::Terminate),
        Just(ExeCommand::Other(serde_json::json!({ "sign": {} }))),
    ]
    .boxed()
}

fn agreement() -> impl Strategy<Value = Agreement> {
    let states = prop_oneof![
        Just(AgreementState::Proposal),
        Just(AgreementState::Pending),
        Just(AgreementState::Approved),
        Just(AgreementState::Terminated),
        Just(AgreementState::Expired),
    ];
    (told(), told(), states, option::of(time()), option::of(id()), body(), body()).prop_map(
        |(id, provider, state, approved, session, demand, offer)| Agreement {
            id,
            provider,
            state,
            approved,
            session: session.map(Into::into),
            demand,
            offer,
        },
    )
}

fn summary() -> impl Strategy<Value = AgreementSummary> {
    (told(), time(), option::of(time()), any::<bool>()).prop_map(
        |(id, timestamp, approved, is_requestor)| AgreementSummary {
            id,
            timestamp,
            approved,
            is_requestor,
        },
    )
}

fn agreement_event() -> impl Strategy<Value = AgreementEvent> {
    let reason = || option::of(SAID);
    let kind = prop_oneof![
        Just(AgreementEventKind::Approved),
        reason().prop_map(|reason| AgreementEventKind::Rejected { reason }),
        reason().prop_map(|reason| AgreementEventKind::Cancelled { reason }),
        (any::<bool>(), reason(), reason()).prop_map(|(by_requestor, reason, code)| {
            AgreementEventKind::Terminated { by_requestor, reason, code }
        }),
        Just(AgreementEventKind::Other("AgreementOddEvent".to_owned())),
    ];
    (told(), time(), kind).prop_map(|(agreement, at, kind)| AgreementEvent { agreement, at, kind })
}

fn phase() -> impl Strategy<Value = ActivityPhase> {
    prop_oneof![
        Just(ActivityPhase::New),
        Just(ActivityPhase::Initialized),
        Just(ActivityPhase::Deployed),
        Just(ActivityPhase::Ready),
        Just(ActivityPhase::Unresponsive),
        Just(ActivityPhase::Terminated),
    ]
}

fn state() -> impl Strategy<Value = ActivityState> {
    (phase(), option::of(phase()), option::of(SAID), option::of(SAID))
        .prop_map(|(now, next, reason, error)| ActivityState { now, next, reason, error })
}

fn result() -> impl Strategy<Value = CommandResult> {
    let text = || option::of(".*");
    (any::<u32>(), any::<bool>(), text(), text(), text(), any::<bool>()).prop_map(
        |(index, is_ok, stdout, stderr, message, is_batch_finished)| CommandResult {
            index,
            is_ok,
            stdout,
            stderr,
            message,
            is_batch_finished,
        },
    )
}

fn network() -> impl Strategy<Value = Network> {
    (told(), ".*", any::<IpAddr>(), any::<IpAddr>()).prop_map(|(id, text, mask, gateway)| Network {
        id,
        ip: text,
        mask,
        gateway,
    })
}

fn bill_event<Id: Told>(prefix: &'static str) -> impl Strategy<Value = BillEvent<Id>> {
    let kind = prop_oneof![
        Just(BillEventKind::Received),
        Just(BillEventKind::Accepted),
        Just(BillEventKind::Rejected),
        Just(BillEventKind::Cancelled),
        Just(BillEventKind::Settled),
        Just(BillEventKind::Other(format!("{prefix}PaymentOkEvent"))),
    ];
    (told(), time(), kind).prop_map(|(id, at, kind)| BillEvent { id, at, kind })
}

fn note() -> impl Strategy<Value = DebitNote> {
    let ids = (told(), told(), ".*", told(), told(), told());
    (ids, time(), billed(), option::of(time()), document_state()).prop_map(
        |((id, issuer, payee, platform, agreement, activity), timestamp, due, until, state)| {
            DebitNote {
                id,
                issuer,
                payee,
                platform,
                timestamp,
                agreement,
                activity,
                total_due: due,
                payment_due: until,
                state,
            }
        },
    )
}

fn invoice() -> impl Strategy<Value = Invoice> {
    let ids = (told(), told(), ".*", told(), told(), vec(told(), 0..3));
    (ids, time(), billed(), time(), document_state()).prop_map(
        |(
            (id, issuer, payee, platform, agreement, activities),
            timestamp,
            amount,
            until,
            state,
        )| {
            Invoice {
                id,
                issuer,
                payee,
                platform,
                timestamp,
                agreement,
                activities,
                amount,
                payment_due: until,
                state,
            }
        },
    )
}

fn document_state() -> impl Strategy<Value = DocumentState> {
    prop_oneof![
        Just(DocumentState::Issued),
        Just(DocumentState::Received),
        Just(DocumentState::Accepted),
        Just(DocumentState::Rejected),
        Just(DocumentState::Failed),
        Just(DocumentState::Settled),
        Just(DocumentState::Cancelled),
    ]
}

fn cycle() -> impl Strategy<Value = BatchCycle> {
    let whole = || (0..1_000_000_u64).prop_map(Span::secs);
    (told(), option::of(whole()), whole(), option::of(time())).prop_map(
        |(platform, interval, extra_time, next)| BatchCycle {
            platform,
            interval,
            extra_time,
            next,
        },
    )
}

/// Amounts as the daemon writes them, and as it lets strangers write them.
fn billed() -> impl Strategy<Value = BilledAmount> {
    prop_oneof![
        glm().prop_map(|amount: Glm| BilledAmount::from(amount)),
        "-?[0-9]{1,12}\\.[0-9]{1,24}".prop_map(|text| BilledAmount::new(&text)),
    ]
}

fn span() -> impl Strategy<Value = Span> {
    any::<u64>().prop_map(Span::micros)
}

/// An address of either family, a length of its prefix, and another address.
fn subnet() -> impl Strategy<Value = (IpAddr, u8, IpAddr)> {
    (any::<IpAddr>(), any::<IpAddr>())
        .prop_flat_map(|(ip, gateway)| (Just(ip), 0..=prefix::bits(ip), Just(gateway)))
}

fn ip() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

#[test]
fn every_instant_of_a_position_survives_the_query() {
    let at = Timestamp::from_unix_micros(1_795_222_968_007_418);
    let request = Request::ListInvoices { after: at };
    let written = ray_on_golem::yagna::wire::encode_request(&request);

    assert_eq!(
        written.path,
        "/payment-api/v1/invoices?afterTimestamp=2026-11-21T01%3A02%3A48.007418Z"
    );
}
