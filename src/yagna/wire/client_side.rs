//! The requestor's side: requests are written, responses are read.
//!
//! A status says which of the three classes an outcome belongs to; a body never does.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    ACTIVITY_PREFIX, HttpRequest, HttpResponse, MARKET_PREFIX, Method, NET_PREFIX, PAYMENT_PREFIX,
    activities::{
        CreatedActivity, NetworkDocument, NewActivity, NewNetwork, NewNode, ResultDocument,
        StateDocument, write_script,
    },
    agreements::{self, AgreementDocument, NewAgreement, Reason, SummaryDocument},
    bills::{
        self, Acceptance, Amendment, Billed, CycleDocument, InvoiceDocument, NewCycle,
        NoteDocument, RejectionDocument, reason_word,
    },
    documents::{
        AllocationDocument, Amount, DecorationsDocument, IdentityDocument, Instant,
        SubscriptionDocument, bounded, write,
    },
    events::read_events,
    scans::{NewScan, ScanKind, read_offers},
    target::{escape, write_seconds},
};
use crate::{
    units::{Glm, Span, Timestamp},
    yagna::{
        error::{CallError, Doubt, Status},
        ids::{
            ActivityId, AgreementId, Checked, FromWire, NetworkId, PlatformId, ProposalId, ScanId,
            SessionId, SubscriptionId,
        },
        request::{Endpoint, Request},
        response::Response,
    },
};

/// The daemon tells of settlements only to who asks for them, and knows these names in exactly this
/// form.
const BILL_EVENTS: &[(&str, &str)] =
    &[("X-Requestor-Events", "RECEIVED,ACCEPTED,REJECTED,CANCELLED,SETTLED")];
/// The most events about agreements that the daemon hands out at once.
const AGREEMENT_EVENTS_MAX: u8 = 100;

/// Writes a request.
#[must_use]
pub fn encode_request(request: &Request) -> HttpRequest {
    let is_about_bills = matches!(
        request.endpoint(),
        Endpoint::CollectDebitNoteEvents | Endpoint::CollectInvoiceEvents
    );
    let headers = if is_about_bills { BILL_EVENTS } else { &[] };
    HttpRequest { method: method(request), path: path(request), headers, body: body(request) }
}

/// Reads the response to `request`.
///
/// # Errors
///
/// 4xx is a refusal. 5xx and every status that nobody expects leave the outcome unknown, and so
/// does a success whose body cannot be read, or in which an id has another form than the daemon gives them.
pub fn decode_response(request: &Request, response: &HttpResponse) -> Result<Response, CallError> {
    let status = response.status;
    match status.0 {
        200 | 201 | 204 => match read(request, &response.body) {
            Ok(response) => response,
            Err(why) => Err(CallError::Unknown(Doubt::Garbled { why: bounded(why) })),
        },
        400..=499 => Err(CallError::Rejected { status, body: said(&response.body) }),
        _ => Err(CallError::Unknown(Doubt::Failed { status, body: said(&response.body) })),
    }
}

/// The body of `POST /allocations`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewAllocation<'a> {
    payment_platform: &'a PlatformId,
    total_amount: Amount,
    timeout: Option<Instant>,
    make_deposit: bool,
}

fn method(request: &Request) -> Method {
    match request {
        Request::WhoAmI
        | Request::ListAllocations
        | Request::DecorateDemand { .. }
        | Request::ListDemands
        | Request::CollectEvents { .. }
        | Request::ListAgreements { .. }
        | Request::GetAgreement { .. }
        | Request::CollectAgreementEvents { .. }
        | Request::ListActivities { .. }
        | Request::GetActivityState { .. }
        | Request::CollectResults { .. }
        | Request::ListNetworks
        | Request::CollectDebitNoteEvents { .. }
        | Request::CollectInvoiceEvents { .. }
        | Request::ListDebitNotes { .. }
        | Request::ListInvoices { .. }
        | Request::GetDebitNote { .. }
        | Request::GetInvoice { .. }
        | Request::GetBatchCycle { .. }
        | Request::CollectScan { .. } => Method::Get,
        Request::CreateAllocation { .. }
        | Request::Subscribe { .. }
        | Request::CounterProposal { .. }
        | Request::RejectProposal { .. }
        | Request::CreateAgreement { .. }
        | Request::ConfirmAgreement { .. }
        | Request::AwaitApproval { .. }
        | Request::CancelAgreement { .. }
        | Request::TerminateAgreement { .. }
        | Request::CreateActivity { .. }
        | Request::Execute { .. }
        | Request::CreateNetwork { .. }
        | Request::AddNode { .. }
        | Request::AcceptDebitNote { .. }
        | Request::AcceptInvoice { .. }
        | Request::RejectInvoice { .. }
        | Request::SetBatchCycle { .. }
        | Request::BeginScan { .. } => Method::Post,
        Request::AmendAllocation { .. } => Method::Put,
        Request::ReleaseAllocation { .. }
        | Request::Unsubscribe { .. }
        | Request::DestroyActivity { .. }
        | Request::RemoveNetwork { .. }
        | Request::RemoveNode { .. }
        | Request::EndScan { .. } => Method::Delete,
    }
}

fn path(request: &Request) -> String {
    match request {
        Request::WhoAmI => "/me".to_owned(),
        Request::CreateAllocation { .. } | Request::ListAllocations => {
            format!("{PAYMENT_PREFIX}/allocations")
        }
        Request::ReleaseAllocation { allocation } | Request::AmendAllocation { allocation, .. } => {
            format!("{PAYMENT_PREFIX}/allocations/{}", escape(allocation.as_str()))
        }
        Request::DecorateDemand { allocation } => {
            let id = escape(allocation.as_str());
            format!("{PAYMENT_PREFIX}/demandDecorations?allocationIds={id}")
        }
        Request::Subscribe { .. } | Request::ListDemands => format!("{MARKET_PREFIX}/demands"),
        Request::Unsubscribe { subscription } => demand_path(subscription),
        Request::CollectEvents { subscription, timeout, max_events } => {
            let (demand, seconds) = (demand_path(subscription), write_seconds(*timeout));
            format!("{demand}/events?timeout={seconds}&maxEvents={max_events}")
        }
        Request::CounterProposal { subscription, proposal, .. } => {
            proposal_path(subscription, proposal)
        }
        Request::RejectProposal { subscription, proposal, .. } => {
            format!("{}/reject", proposal_path(subscription, proposal))
        }
        Request::CreateAgreement { .. } => format!("{MARKET_PREFIX}/agreements"),
        Request::ListAgreements { session } => {
            format!("{MARKET_PREFIX}/agreements?appSessionId={}", escape(session.as_str()))
        }
        Request::GetAgreement { agreement } => agreement_path(agreement, ""),
        Request::ConfirmAgreement { agreement, session } => {
            let query = format!("/confirm?appSessionId={}", escape(session.as_str()));
            agreement_path(agreement, &query)
        }
        Request::AwaitApproval { agreement, timeout } => {
            agreement_path(agreement, &format!("/wait?timeout={}", write_seconds(*timeout)))
        }
        Request::CancelAgreement { agreement } => agreement_path(agreement, "/cancel"),
        Request::TerminateAgreement { agreement, .. } => agreement_path(agreement, "/terminate"),
        Request::CollectAgreementEvents { session, after, timeout } => format!(
            "{MARKET_PREFIX}/agreementEvents?{}&maxEvents={AGREEMENT_EVENTS_MAX}",
            position(session, *after, *timeout)
        ),
        Request::CreateActivity { timeout, .. } => {
            format!("{ACTIVITY_PREFIX}/activity?timeout={}", write_seconds(*timeout))
        }
        Request::ListActivities { agreement } => {
            format!("{ACTIVITY_PREFIX}/activity?agreementId={}", escape(agreement.as_str()))
        }
        Request::DestroyActivity { activity, timeout } => {
            activity_path(activity, &format!("?timeout={}", write_seconds(*timeout)))
        }
        Request::GetActivityState { activity, timeout } => {
            activity_path(activity, &format!("/state?timeout={}", write_seconds(*timeout)))
        }
        Request::Execute { activity, timeout, .. } => {
            activity_path(activity, &format!("/exec?timeout={}", write_seconds(*timeout)))
        }
        Request::CollectResults { activity, batch, command, timeout } => {
            let (batch, seconds) = (escape(batch.as_str()), write_seconds(*timeout));
            let query = format!("/exec/{batch}?timeout={seconds}&commandIndex={command}");
            activity_path(activity, &query)
        }
        Request::CreateNetwork { .. } | Request::ListNetworks => format!("{NET_PREFIX}/net"),
        Request::RemoveNetwork { network } => network_path(network),
        Request::AddNode { network, .. } => format!("{}/nodes", network_path(network)),
        Request::RemoveNode { network, provider } => {
            format!("{}/nodes/{}", network_path(network), escape(provider.as_str()))
        }
        Request::CollectDebitNoteEvents { session, after, timeout } => {
            format!("{PAYMENT_PREFIX}/debitNoteEvents?{}", position(session, *after, *timeout))
        }
        Request::CollectInvoiceEvents { session, after, timeout } => {
            format!("{PAYMENT_PREFIX}/invoiceEvents?{}", position(session, *after, *timeout))
        }
        Request::ListDebitNotes { after } => {
            format!("{PAYMENT_PREFIX}/debitNotes?afterTimestamp={}", instant(*after))
        }
        Request::ListInvoices { after } => {
            format!("{PAYMENT_PREFIX}/invoices?afterTimestamp={}", instant(*after))
        }
        Request::GetDebitNote { debit_note } => {
            format!("{PAYMENT_PREFIX}/debitNotes/{}", escape(debit_note.as_str()))
        }
        Request::GetInvoice { invoice } => {
            format!("{PAYMENT_PREFIX}/invoices/{}", escape(invoice.as_str()))
        }
        Request::AcceptDebitNote { debit_note, timeout, .. } => {
            let (id, seconds) = (escape(debit_note.as_str()), write_seconds(*timeout));
            format!("{PAYMENT_PREFIX}/debitNotes/{id}/accept?timeout={seconds}")
        }
        Request::AcceptInvoice { invoice, timeout, .. } => {
            let (id, seconds) = (escape(invoice.as_str()), write_seconds(*timeout));
            format!("{PAYMENT_PREFIX}/invoices/{id}/accept?timeout={seconds}")
        }
        Request::RejectInvoice { invoice, .. } => {
            format!("{PAYMENT_PREFIX}/invoices/{}/reject", escape(invoice.as_str()))
        }
        Request::GetBatchCycle { platform } => {
            format!("{PAYMENT_PREFIX}/batchCycle/{}", escape(platform.as_str()))
        }
        Request::SetBatchCycle { .. } => format!("{PAYMENT_PREFIX}/batchCycle"),
        Request::BeginScan { .. } => format!("{MARKET_PREFIX}/scan"),
        Request::CollectScan { scan, timeout, max_events } => {
            let (scan, seconds) = (scan_path(scan), write_seconds(*timeout));
            format!("{scan}/events?timeout={seconds}&maxEvents={max_events}")
        }
        Request::EndScan { scan } => scan_path(scan),
    }
}

/// The query of events of a session.
fn position(session: &SessionId, after: Timestamp, timeout: Span) -> String {
    let (session, seconds) = (escape(session.as_str()), write_seconds(timeout));
    format!("timeout={seconds}&afterTimestamp={}&appSessionId={session}", instant(after))
}

fn instant(at: Timestamp) -> String {
    let text = serde_json::to_string(&Instant(at)).unwrap_or_default();
    escape(text.trim_matches('"'))
}

fn agreement_path(agreement: &AgreementId, rest: &str) -> String {
    format!("{MARKET_PREFIX}/agreements/{}{rest}", escape(agreement.as_str()))
}

fn activity_path(activity: &ActivityId, rest: &str) -> String {
    format!("{ACTIVITY_PREFIX}/activity/{}{rest}", escape(activity.as_str()))
}

fn network_path(network: &NetworkId) -> String {
    format!("{NET_PREFIX}/net/{}", escape(network.as_str()))
}

fn demand_path(subscription: &SubscriptionId) -> String {
    format!("{MARKET_PREFIX}/demands/{}", escape(subscription.as_str()))
}

fn scan_path(scan: &ScanId) -> String {
    format!("{MARKET_PREFIX}/scan/{}", escape(scan.as_str()))
}

fn proposal_path(subscription: &SubscriptionId, proposal: &ProposalId) -> String {
    format!("{}/proposals/{}", demand_path(subscription), escape(proposal.as_str()))
}

fn body(request: &Request) -> Option<Vec<u8>> {
    match request {
        Request::CreateAllocation { platform, total, timeout } => Some(write(&NewAllocation {
            payment_platform: platform,
            total_amount: Amount(*total),
            // Without one the daemon takes some ten years, which is its "never".
            timeout: (*timeout != Timestamp::NEVER).then_some(Instant(*timeout)),
            make_deposit: false,
        })),
        Request::Subscribe { demand: body } | Request::CounterProposal { body, .. } => {
            Some(write(body.as_ref()))
        }
        Request::RejectProposal { reason, .. } | Request::TerminateAgreement { reason, .. } => {
            Some(write(&Reason { message: reason.clone() }))
        }
        // The daemon wants a reason here too, but takes none for one.
        Request::CancelAgreement { .. } => Some(write(&None::<Reason>)),
        Request::AmendAllocation { total, timeout, .. } => Some(write(&Amendment {
            total_amount: Amount(*total),
            timeout: (*timeout != Timestamp::NEVER).then_some(Instant(*timeout)),
        })),
        Request::CreateAgreement { proposal, valid_to } => Some(write(&NewAgreement {
            proposal_id: proposal.clone(),
            valid_to: Instant(*valid_to),
        })),
        Request::CreateActivity { agreement, .. } => {
            Some(write(&NewActivity { agreement_id: agreement.clone() }))
        }
        Request::Execute { script, .. } => Some(write(&write_script(script))),
        Request::CreateNetwork { ip, prefix, gateway, path: _ } => {
            let (ip, gateway) = (format!("{ip}/{prefix}"), Some(gateway.to_string()));
            Some(write(&NewNetwork { ip, mask: None, gateway }))
        }
        Request::AddNode { provider, ip, .. } => {
            Some(write(&NewNode { id: provider.clone(), ip: ip.to_string() }))
        }
        Request::AcceptDebitNote { amount, allocation, .. }
        | Request::AcceptInvoice { amount, allocation, .. } => Some(write(&Acceptance {
            total_amount_accepted: Billed(amount.clone()),
            allocation_id: allocation.clone(),
        })),
        Request::RejectInvoice { reason, message, .. } => Some(write(&RejectionDocument {
            rejection_reason: reason_word(*reason).to_owned(),
            total_amount_accepted: Billed(Glm::ZERO.into()),
            message: Some(message.clone()),
        })),
        Request::SetBatchCycle { platform, interval, extra_time } => Some(write(&NewCycle {
            platform: platform.clone(),
            interval_sec: interval.as_secs(),
            extra_pay_time_sec: extra_time.as_secs(),
        })),
        Request::BeginScan { constraints, lasts } => Some(write(&NewScan {
            kind: ScanKind::Offer,
            constraints: constraints.clone(),
            timeout: Some(lasts.as_secs()),
        })),
        Request::WhoAmI
        | Request::ListAllocations
        | Request::ReleaseAllocation { .. }
        | Request::DecorateDemand { .. }
        | Request::ListDemands
        | Request::Unsubscribe { .. }
        | Request::CollectEvents { .. }
        | Request::ListAgreements { .. }
        | Request::GetAgreement { .. }
        | Request::ConfirmAgreement { .. }
        | Request::AwaitApproval { .. }
        | Request::CollectAgreementEvents { .. }
        | Request::ListActivities { .. }
        | Request::DestroyActivity { .. }
        | Request::GetActivityState { .. }
        | Request::CollectResults { .. }
        | Request::ListNetworks
        | Request::RemoveNetwork { .. }
        | Request::RemoveNode { .. }
        | Request::CollectDebitNoteEvents { .. }
        | Request::CollectInvoiceEvents { .. }
        | Request::ListDebitNotes { .. }
        | Request::ListInvoices { .. }
        | Request::GetDebitNote { .. }
        | Request::GetInvoice { .. }
        | Request::GetBatchCycle { .. }
        | Request::CollectScan { .. }
        | Request::EndScan { .. } => None,
    }
}

/// Reads the body of a success; one call refuses with the status of a success.
fn read(request: &Request, body: &[u8]) -> Result<Result<Response, CallError>, String> {
    let response = match request {
        Request::WhoAmI => Response::Identity(document::<IdentityDocument>(body)?.into()),
        Request::CreateAllocation { .. } => {
            Response::AllocationCreated(document::<AllocationDocument>(body)?.into())
        }
        Request::ListAllocations => {
            let allocations: Vec<AllocationDocument> = document(body)?;
            Response::Allocations(allocations.into_iter().map(Into::into).collect())
        }
        // The status says it all; the body is `null`, or empty.
        Request::ReleaseAllocation { .. } => Response::AllocationReleased,
        Request::DecorateDemand { .. } => {
            Response::Decorations(document::<DecorationsDocument>(body)?.into())
        }
        Request::Subscribe { .. } => Response::Subscribed(id(body)?),
        Request::ListDemands => {
            let demands: Vec<SubscriptionDocument> = document(body)?;
            Response::Demands(demands.into_iter().map(Into::into).collect())
        }
        Request::Unsubscribe { .. } => Response::Unsubscribed,
        Request::CollectEvents { .. } => {
            let text = str::from_utf8(body).map_err(|error| error.to_string())?;
            Response::Events(read_events(text).map_err(|error| error.to_string())?)
        }
        Request::CounterProposal { .. } => Response::Countered(id(body)?),
        Request::RejectProposal { .. } => Response::ProposalRejected,
        Request::AmendAllocation { .. } => {
            Response::AllocationAmended(document::<AllocationDocument>(body)?.into())
        }
        Request::CreateAgreement { .. } => Response::AgreementCreated(id(body)?),
        Request::ListAgreements { .. } => Response::Agreements(list::<SummaryDocument, _>(body)?),
        Request::GetAgreement { .. } => {
            Response::Agreement(Box::new(document::<AgreementDocument>(body)?.into()))
        }
        Request::ConfirmAgreement { .. } => Response::AgreementConfirmed,
        Request::AwaitApproval { .. } => Response::AgreementApproved,
        Request::CancelAgreement { .. } => Response::AgreementCancelled,
        Request::TerminateAgreement { .. } => Response::AgreementTerminated,
        Request::CollectAgreementEvents { .. } => Response::AgreementEvents(
            agreements::read_events(body).map_err(|error| error.to_string())?,
        ),
        Request::CreateActivity { .. } => match document(body)? {
            CreatedActivity::Object { activity_id } | CreatedActivity::Id(activity_id) => {
                Response::ActivityCreated(activity_id.0)
            }
        },
        Request::ListActivities { .. } => Response::Activities(ids(body)?),
        Request::DestroyActivity { .. } => Response::ActivityDestroyed,
        Request::GetActivityState { .. } => {
            Response::ActivityState(document::<StateDocument>(body)?.into())
        }
        Request::Execute { .. } => Response::BatchStarted(id(body)?),
        Request::CollectResults { .. } => Response::Results(list::<ResultDocument, _>(body)?),
        Request::CreateNetwork { .. } => {
            Response::NetworkCreated(document::<NetworkDocument>(body)?.into())
        }
        Request::ListNetworks => Response::Networks(list::<NetworkDocument, _>(body)?),
        Request::RemoveNetwork { .. } => Response::NetworkRemoved,
        Request::AddNode { .. } => Response::NodeAdded,
        Request::RemoveNode { .. } => Response::NodeRemoved,
        Request::CollectDebitNoteEvents { .. } => {
            Response::DebitNoteEvents(bills::read_events(body, bills::NOTE)?)
        }
        Request::CollectInvoiceEvents { .. } => {
            Response::InvoiceEvents(bills::read_events(body, bills::INVOICE)?)
        }
        Request::ListDebitNotes { .. } => {
            Response::DebitNotes(bills::read_list::<NoteDocument, _>(body)?)
        }
        Request::ListInvoices { .. } => {
            Response::Invoices(bills::read_list::<InvoiceDocument, _>(body)?)
        }
        Request::GetDebitNote { .. } => {
            Response::DebitNote(Box::new(document::<NoteDocument>(body)?.into()))
        }
        Request::GetInvoice { .. } => {
            Response::Invoice(Box::new(document::<InvoiceDocument>(body)?.into()))
        }
        Request::AcceptDebitNote { .. } => Response::DebitNoteAccepted,
        Request::AcceptInvoice { .. } => Response::InvoiceAccepted,
        Request::RejectInvoice { .. } => Response::InvoiceRejected,
        Request::GetBatchCycle { .. } => {
            Response::BatchCycle(document::<CycleDocument>(body)?.into())
        }
        Request::SetBatchCycle { .. } => match bills::read_cycle_set(body)? {
            Ok(()) => Response::BatchCycleSet,
            Err(body) => return Ok(Err(CallError::Rejected { status: Status(400), body })),
        },
        Request::BeginScan { .. } => Response::ScanBegun(id(body)?),
        Request::CollectScan { .. } => {
            let text = str::from_utf8(body).map_err(|error| error.to_string())?;
            Response::ScannedOffers(read_offers(text).map_err(|error| error.to_string())?)
        }
        Request::EndScan { .. } => Response::ScanEnded,
    };
    Ok(Ok(response))
}

/// A text that is an id.
fn id<Id: FromWire>(body: &[u8]) -> Result<Id, String> {
    document(body).map(|Checked(id)| id)
}

fn ids<Id: FromWire>(body: &[u8]) -> Result<Vec<Id>, String> {
    let ids: Vec<Checked<Id>> = document(body)?;
    Ok(ids.into_iter().map(|Checked(id)| id).collect())
}

fn list<D: DeserializeOwned, T: From<D>>(body: &[u8]) -> Result<Vec<T>, String> {
    let documents: Vec<D> = document(body)?;
    Ok(documents.into_iter().map(T::from).collect())
}

fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// An error body as the daemon wrote it: users know its words from elsewhere.
fn said(body: &[u8]) -> String {
    bounded(String::from_utf8_lossy(body).into_owned())
}
