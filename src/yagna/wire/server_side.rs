//! The daemon's side: requests are read, responses are written, with the daemon's own statuses.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    HttpRequest, HttpResponse, JSON, MARKET_PREFIX, Method,
    activities::{
        NetworkDocument, NewActivity, NewNetwork, NewNode, ResultDocument, StateDocument,
        read_address, read_script,
    },
    agreements::{self, AgreementDocument, NewAgreement, Reason, SummaryDocument},
    bills::{
        self, Acceptance, Amendment, CycleDocument, InvoiceDocument, NewCycle, NoteDocument,
        RejectionDocument, read_reason,
    },
    documents::{
        AllocationDocument, Amount, DecorationsDocument, IdentityDocument, Instant,
        SubscriptionDocument, bounded, write,
    },
    events::write_event,
    scans::{self, NewScan, OfferDocument, ScanKind},
    target::{Target, read_seconds},
};
use crate::{
    units::{ParseGlmError, Span, Timestamp},
    yagna::{
        error::Status,
        ids::{DebitNoteId, InvoiceId, PlatformId, SessionId},
        model::{BillEvent, DemandBody, NetworkPath},
        request::Request,
        response::Response,
    },
};

/// The platform of an allocation that names none: the daemon's default, on a retired network.
const DEFAULT_PLATFORM: &str = "erc20-holesky-tglm";

const PROBLEM_JSON: &str = "application/problem+json";

const EVENTS_TIMEOUT: Span = Span::secs(5);
const EVENTS_MAX: u8 = 20;
const ACCEPT_TIMEOUT: Span = Span::secs(15);

/// What the daemon answers to a request that it cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The status.
    pub status: Status,
    /// What is wrong with it; empty if the daemon does not know the path.
    pub body: String,
}

/// Reads a request as the daemon does, with the daemon's defaults for what may be left out.
///
/// # Errors
///
/// Says what to answer to a request that is none of ours, or that the daemon would not understand.
pub fn decode_request(request: &HttpRequest) -> Result<Request, Malformed> {
    let target =
        Target::read(&request.path).ok_or_else(|| bad_request("Path deserialize error"))?;
    let segments: Vec<&str> = target.segments.iter().map(String::as_str).collect();
    if segments.contains(&"") {
        return Err(not_found());
    }
    match segments.as_slice() {
        ["me"] => match request.method {
            Method::Get => Ok(Request::WhoAmI),
            Method::Post | Method::Put | Method::Delete => Err(not_found()),
        },
        ["payment-api", "v1", rest @ ..] => decode_payment(request, rest, &target),
        ["market-api", "v1", rest @ ..] => match rest {
            ["demands", ..] => decode_market(request, rest, &target),
            ["scan", rest @ ..] => decode_scan(request, rest, &target),
            _ => decode_agreements(request, rest, &target),
        },
        ["activity-api", "v1", "activity", rest @ ..] => decode_activity(request, rest, &target),
        ["net-api", "v2", "vpn", "net", rest @ ..] | ["net-api", "v1", "net", rest @ ..] => {
            decode_net(request, rest)
        }
        _ => Err(not_found()),
    }
}

/// Writes a response, or a refusal.
#[must_use]
pub fn encode_response(outcome: Result<&Response, (Status, &str)>) -> HttpResponse {
    let response = match outcome {
        Ok(response) => response,
        Err((status, body)) => return encode_refusal(status, body),
    };
    match response {
        Response::Identity(identity) => json(200, &IdentityDocument::from(identity)),
        Response::AllocationCreated(allocation) => json(201, &AllocationDocument::from(allocation)),
        Response::Allocations(allocations) => {
            json(200, &allocations.iter().map(AllocationDocument::from).collect::<Vec<_>>())
        }
        Response::AllocationReleased => json(200, &Value::Null),
        Response::Decorations(decorations) => json(200, &DecorationsDocument::from(decorations)),
        Response::Subscribed(subscription) => json(201, subscription),
        Response::Demands(demands) => {
            json(200, &demands.iter().map(SubscriptionDocument::from).collect::<Vec<_>>())
        }
        Response::Events(events) => json(200, &events.iter().map(write_event).collect::<Vec<_>>()),
        Response::Countered(proposal) => json(200, proposal),
        Response::Unsubscribed | Response::ProposalRejected => empty(204),
        Response::AllocationAmended(allocation) => json(200, &AllocationDocument::from(allocation)),
        Response::AgreementCreated(agreement) => json(200, agreement),
        Response::Agreements(found) => {
            json(200, &found.iter().map(SummaryDocument::from).collect::<Vec<_>>())
        }
        Response::Agreement(agreement) => json(200, &AgreementDocument::from(agreement.as_ref())),
        Response::AgreementConfirmed | Response::AgreementApproved => empty(204),
        Response::AgreementCancelled | Response::AgreementTerminated => empty(200),
        Response::AgreementEvents(events) => {
            json(200, &events.iter().map(agreements::write_event).collect::<Vec<_>>())
        }
        Response::ActivityCreated(activity) => {
            json(200, &serde_json::json!({ "activityId": activity }))
        }
        Response::Activities(activities) => json(200, activities),
        Response::ActivityState(state) => json(200, &StateDocument::from(state)),
        Response::BatchStarted(batch) => json(200, batch),
        Response::Results(results) => {
            json(200, &results.iter().map(ResultDocument::from).collect::<Vec<_>>())
        }
        Response::NetworkCreated(network) => json(200, &NetworkDocument::from(network)),
        Response::Networks(networks) => {
            json(200, &networks.iter().map(NetworkDocument::from).collect::<Vec<_>>())
        }
        Response::DebitNoteEvents(events) => {
            let write = |event: &BillEvent<DebitNoteId>| {
                bills::write_event(event.id.as_str(), event.at, &event.kind, bills::NOTE)
            };
            json(200, &events.iter().map(write).collect::<Vec<_>>())
        }
        Response::InvoiceEvents(events) => {
            let write = |event: &BillEvent<InvoiceId>| {
                bills::write_event(event.id.as_str(), event.at, &event.kind, bills::INVOICE)
            };
            json(200, &events.iter().map(write).collect::<Vec<_>>())
        }
        Response::DebitNotes(notes) => {
            json(200, &notes.iter().map(NoteDocument::from).collect::<Vec<_>>())
        }
        Response::Invoices(invoices) => {
            json(200, &invoices.iter().map(InvoiceDocument::from).collect::<Vec<_>>())
        }
        Response::DebitNote(note) => json(200, &NoteDocument::from(note.as_ref())),
        Response::Invoice(invoice) => json(200, &InvoiceDocument::from(invoice.as_ref())),
        Response::BatchCycle(cycle) => json(200, &CycleDocument::from(cycle)),
        Response::BatchCycleSet => json(200, &serde_json::json!({ "Ok": {} })),
        Response::ScanBegun(scan) => json(201, scan),
        Response::ScannedOffers(offers) => {
            json(200, &offers.iter().map(OfferDocument::from).collect::<Vec<_>>())
        }
        Response::ScanEnded => empty(204),
        Response::ActivityDestroyed
        | Response::NetworkRemoved
        | Response::NodeAdded
        | Response::NodeRemoved
        | Response::DebitNoteAccepted
        | Response::InvoiceAccepted
        | Response::InvoiceRejected => json(200, &Value::Null),
    }
}

fn empty(status: u16) -> HttpResponse {
    HttpResponse { status: Status(status), content_type: None, body: Vec::new() }
}

/// Writes a refusal: plain text for a bad app-key, nothing for nothing, a JSON object as it is, and
/// other text as the message of the usual error body.
#[must_use]
pub fn encode_refusal(status: Status, body: &str) -> HttpResponse {
    if status == Status::UNAUTHORIZED {
        let content_type = Some("text/plain; charset=utf-8".to_owned());
        return HttpResponse { status, content_type, body: body.into() };
    }
    if body.is_empty() {
        return empty(status.0);
    }
    match serde_json::from_str::<Map<String, Value>>(body) {
        Ok(document) => {
            let kind = if document.contains_key("type") { PROBLEM_JSON } else { JSON };
            HttpResponse { status, content_type: Some(kind.to_owned()), body: body.into() }
        }
        Err(_) => json(status.0, &serde_json::json!({ "message": body })),
    }
}

/// Writes what the daemon answers to a request that it cannot read: nothing for a path that it does
/// not know, plain text where its framework speaks, but documents where the market does.
#[must_use]
pub fn encode_malformed(path: &str, malformed: &Malformed) -> HttpResponse {
    let Malformed { status, body } = malformed;
    let begins_with = |words: &[&str]| words.iter().any(|words| body.starts_with(words));
    let is_market = path.starts_with(MARKET_PREFIX);
    let is_plain = begins_with(&["Query deserialize", "Path deserialize"])
        || (!is_market && begins_with(&["Json deserialize", "Content type"]));
    if body.is_empty() || !is_plain {
        return encode_refusal(*status, body);
    }
    let content_type = Some("text/plain; charset=utf-8".to_owned());
    HttpResponse { status: *status, content_type, body: body.as_bytes().to_vec() }
}

/// The body of `POST /allocations`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAllocation {
    payment_platform: Option<Value>,
    total_amount: Amount,
    timeout: Option<Instant>,
}

fn decode_payment(
    request: &HttpRequest,
    path: &[&str],
    target: &Target,
) -> Result<Request, Malformed> {
    match (request.method, path) {
        (Method::Get, ["allocations"]) => Ok(Request::ListAllocations),
        (Method::Post, ["allocations"]) => {
            let NewAllocation { payment_platform, total_amount, timeout } = document(request)?;
            Ok(Request::CreateAllocation {
                platform: platform(payment_platform)?,
                total: total_amount.0,
                timeout: timeout.map_or(Timestamp::NEVER, |timeout| timeout.0),
            })
        }
        (Method::Delete, ["allocations", allocation]) => {
            Ok(Request::ReleaseAllocation { allocation: (*allocation).into() })
        }
        (Method::Get, ["demandDecorations"]) => {
            let mut ids = target.values("allocationIds");
            match (ids.next(), ids.next()) {
                (Some(allocation), None) => {
                    Ok(Request::DecorateDemand { allocation: allocation.into() })
                }
                (None, _) => bad_query("missing field `allocationIds`"),
                (Some(_), Some(_)) => bad_query("duplicate field `allocationIds`"),
            }
        }
        _ => decode_bills(request, path, target),
    }
}

fn decode_bills(
    request: &HttpRequest,
    path: &[&str],
    target: &Target,
) -> Result<Request, Malformed> {
    match (request.method, path) {
        (Method::Put, ["allocations", allocation]) => {
            let Amendment { total_amount, timeout } = document(request)?;
            Ok(Request::AmendAllocation {
                allocation: (*allocation).into(),
                total: total_amount.0,
                timeout: timeout.map_or(Timestamp::NEVER, |timeout| timeout.0),
            })
        }
        (Method::Get, ["debitNoteEvents"]) => {
            let (session, after, timeout) = position(target)?;
            Ok(Request::CollectDebitNoteEvents { session, after, timeout })
        }
        (Method::Get, ["invoiceEvents"]) => {
            let (session, after, timeout) = position(target)?;
            Ok(Request::CollectInvoiceEvents { session, after, timeout })
        }
        (Method::Get, ["debitNotes"]) => Ok(Request::ListDebitNotes { after: after(target)? }),
        (Method::Get, ["invoices"]) => Ok(Request::ListInvoices { after: after(target)? }),
        (Method::Get, ["debitNotes", id]) => Ok(Request::GetDebitNote { debit_note: (*id).into() }),
        (Method::Get, ["invoices", id]) => Ok(Request::GetInvoice { invoice: (*id).into() }),
        (Method::Post, ["debitNotes", id, "accept"]) => {
            let Acceptance { total_amount_accepted, allocation_id } = acceptance(request)?;
            Ok(Request::AcceptDebitNote {
                debit_note: (*id).into(),
                amount: total_amount_accepted.0,
                allocation: allocation_id,
                timeout: timeout(target, ACCEPT_TIMEOUT)?,
            })
        }
        (Method::Post, ["invoices", id, "accept"]) => {
            let Acceptance { total_amount_accepted, allocation_id } = acceptance(request)?;
            Ok(Request::AcceptInvoice {
                invoice: (*id).into(),
                amount: total_amount_accepted.0,
                allocation: allocation_id,
                timeout: timeout(target, ACCEPT_TIMEOUT)?,
            })
        }
        (Method::Post, ["invoices", id, "reject"]) => {
            let RejectionDocument { rejection_reason, message, .. } = document(request)?;
            let reason =
                read_reason(&rejection_reason).ok_or_else(|| unknown_reason(&rejection_reason))?;
            let message = message.unwrap_or_default();
            Ok(Request::RejectInvoice { invoice: (*id).into(), reason, message })
        }
        (Method::Get, ["batchCycle", platform]) => {
            Ok(Request::GetBatchCycle { platform: (*platform).into() })
        }
        (Method::Post, ["batchCycle"]) => {
            let NewCycle { platform, interval_sec, extra_pay_time_sec } = document(request)?;
            Ok(Request::SetBatchCycle {
                platform,
                interval: Span::secs(interval_sec),
                extra_time: Span::secs(extra_pay_time_sec),
            })
        }
        (Method::Get | Method::Post | Method::Put | Method::Delete, _) => Err(not_found()),
    }
}

fn decode_agreements(
    request: &HttpRequest,
    path: &[&str],
    target: &Target,
) -> Result<Request, Malformed> {
    match (request.method, path) {
        (Method::Get, ["agreements"]) => Ok(Request::ListAgreements { session: session(target) }),
        (Method::Post, ["agreements"]) => {
            let NewAgreement { proposal_id, valid_to } = document(request)?;
            Ok(Request::CreateAgreement { proposal: proposal_id, valid_to: valid_to.0 })
        }
        (Method::Get, ["agreements", id]) => Ok(Request::GetAgreement { agreement: (*id).into() }),
        (Method::Post, ["agreements", id, "confirm"]) => {
            Ok(Request::ConfirmAgreement { agreement: (*id).into(), session: session(target) })
        }
        (Method::Post, ["agreements", id, "wait"]) => Ok(Request::AwaitApproval {
            agreement: (*id).into(),
            timeout: timeout(target, EVENTS_TIMEOUT)?,
        }),
        (Method::Post, ["agreements", id, "cancel"]) => {
            document::<Option<Reason>>(request)?;
            Ok(Request::CancelAgreement { agreement: (*id).into() })
        }
        (Method::Post, ["agreements", id, "terminate"]) => {
            let reason: Option<Reason> = document(request)?;
            Ok(Request::TerminateAgreement {
                agreement: (*id).into(),
                reason: reason.map(|reason| reason.message).unwrap_or_default(),
            })
        }
        (Method::Get, ["agreementEvents"]) => {
            let (session, after, timeout) = position(target)?;
            Ok(Request::CollectAgreementEvents { session, after, timeout })
        }
        (Method::Get | Method::Post | Method::Put | Method::Delete, _) => Err(not_found()),
    }
}

fn decode_activity(
    request: &HttpRequest,
    path: &[&str],
    target: &Target,
) -> Result<Request, Malformed> {
    let timeout = |default| timeout(target, default);
    match (request.method, path) {
        (Method::Get, []) => {
            let agreement = target.values("agreementId").next();
            let missing = || bad_request("Query deserialize error: missing field `agreementId`");
            let agreement = agreement.ok_or_else(missing)?.into();
            Ok(Request::ListActivities { agreement })
        }
        (Method::Post, []) => {
            let document: Value = document(request)?;
            let NewActivity { agreement_id } = serde_json::from_value(document).map_err(|_| {
                bad_request(
                    "Json deserialize error: data did not match any variant of untagged enum \
                     CreateActivityJson",
                )
            })?;
            let timeout = timeout(EVENTS_TIMEOUT)?;
            Ok(Request::CreateActivity { agreement: agreement_id, timeout })
        }
        (Method::Delete, [id]) => Ok(Request::DestroyActivity {
            activity: (*id).into(),
            timeout: timeout(EVENTS_TIMEOUT)?,
        }),
        (Method::Get, [id, "state"]) => Ok(Request::GetActivityState {
            activity: (*id).into(),
            timeout: timeout(EVENTS_TIMEOUT)?,
        }),
        (Method::Post, [id, "exec"]) => {
            let script = read_script(&document(request)?)
                .map_err(|error| bad_request(&format!("Bad request: {error:?}")))?;
            let timeout = timeout(EVENTS_TIMEOUT)?;
            Ok(Request::Execute { activity: (*id).into(), script: Arc::new(script), timeout })
        }
        (Method::Get, [id, "exec", batch]) => {
            let command = target.values("commandIndex").next().unwrap_or("0");
            let command = command.parse().map_err(|_| bad_request("invalid digit"))?;
            Ok(Request::CollectResults {
                activity: (*id).into(),
                batch: (*batch).into(),
                command,
                timeout: timeout(EVENTS_TIMEOUT)?,
            })
        }
        (Method::Get | Method::Post | Method::Put | Method::Delete, _) => Err(not_found()),
    }
}

fn decode_net(request: &HttpRequest, path: &[&str]) -> Result<Request, Malformed> {
    match (request.method, path) {
        (Method::Get, []) => Ok(Request::ListNetworks),
        (Method::Post, []) => {
            let network: NewNetwork = document(request)?;
            let (ip, prefix, gateway) = network.read().map_err(|why| bad_request(&why))?;
            Ok(Request::CreateNetwork { path: NetworkPath::Daemon, ip, prefix, gateway })
        }
        (Method::Delete, [network]) => Ok(Request::RemoveNetwork { network: (*network).into() }),
        (Method::Post, [network, "nodes"]) => {
            let NewNode { id, ip } = document(request)?;
            let ip = read_address(&ip).map_err(|why| bad_request(&why))?;
            Ok(Request::AddNode { network: (*network).into(), provider: id, ip })
        }
        (Method::Delete, [network, "nodes", provider]) => {
            Ok(Request::RemoveNode { network: (*network).into(), provider: (*provider).into() })
        }
        (Method::Get | Method::Post | Method::Put | Method::Delete, _) => Err(not_found()),
    }
}

/// Which session, from which instant, and for how long.
fn position(target: &Target) -> Result<(SessionId, Timestamp, Span), Malformed> {
    Ok((session(target), after(target)?, timeout(target, EVENTS_TIMEOUT)?))
}

fn session(target: &Target) -> SessionId {
    target.values("appSessionId").next().unwrap_or_default().into()
}

fn after(target: &Target) -> Result<Timestamp, Malformed> {
    let Some(text) = target.values("afterTimestamp").next() else { return Ok(Timestamp::EPOCH) };
    let instant: Instant = serde_json::from_value(Value::String(text.to_owned()))
        .map_err(|error| bad_request(&format!("Query deserialize error: {error}")))?;
    Ok(instant.0)
}

fn decode_market(
    request: &HttpRequest,
    path: &[&str],
    target: &Target,
) -> Result<Request, Malformed> {
    match (request.method, path) {
        (Method::Get, ["demands"]) => Ok(Request::ListDemands),
        (Method::Post, ["demands"]) => {
            Ok(Request::Subscribe { demand: Arc::new(document::<DemandBody>(request)?) })
        }
        (Method::Delete, ["demands", subscription]) => {
            Ok(Request::Unsubscribe { subscription: (*subscription).into() })
        }
        (Method::Get, ["demands", subscription, "events"]) => Ok(Request::CollectEvents {
            subscription: (*subscription).into(),
            timeout: timeout(target, EVENTS_TIMEOUT)?,
            max_events: max_events(target)?,
        }),
        (Method::Post, ["demands", subscription, "proposals", proposal]) => {
            Ok(Request::CounterProposal {
                subscription: (*subscription).into(),
                proposal: (*proposal).into(),
                body: Arc::new(document::<DemandBody>(request)?),
            })
        }
        (Method::Post, ["demands", subscription, "proposals", proposal, "reject"]) => {
            let reason: Option<Reason> = document(request)?;
            Ok(Request::RejectProposal {
                subscription: (*subscription).into(),
                proposal: (*proposal).into(),
                reason: reason.map(|reason| reason.message).unwrap_or_default(),
            })
        }
        (Method::Get | Method::Post | Method::Put | Method::Delete, _) => Err(not_found()),
    }
}

/// Reads a platform: text, or an object of its parts of which the token follows from the network.
fn decode_scan(
    request: &HttpRequest,
    path: &[&str],
    target: &Target,
) -> Result<Request, Malformed> {
    match (request.method, path) {
        (Method::Post, []) => match document(request)? {
            NewScan { kind: ScanKind::Offer, constraints, timeout } => Ok(Request::BeginScan {
                constraints,
                lasts: timeout.map_or(scans::LASTS, Span::secs),
            }),
            // No client of this vocabulary looks for demands.
            NewScan { kind: ScanKind::Demand, .. } => Err(not_found()),
        },
        (Method::Get, [scan, "events"]) => {
            let max_events = match target.values("maxEvents").next() {
                None => scans::OFFERS_MAX,
                Some(text) => text.parse().or_else(|error| bad_query(&format!("{error}")))?,
            };
            let timeout = timeout(target, EVENTS_TIMEOUT)?;
            Ok(Request::CollectScan { scan: (*scan).into(), timeout, max_events })
        }
        (Method::Delete, [scan]) => Ok(Request::EndScan { scan: (*scan).into() }),
        (Method::Get | Method::Post | Method::Put | Method::Delete, _) => Err(not_found()),
    }
}

fn platform(value: Option<Value>) -> Result<PlatformId, Malformed> {
    let parts = match value {
        None | Some(Value::Null) => return Ok(DEFAULT_PLATFORM.into()),
        Some(Value::String(text)) => return Ok(text.into()),
        Some(Value::Object(parts)) => parts,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            return Err(bad_request("paymentPlatform must be text or an object"));
        }
    };
    let part = |key: &str| parts.get(key).and_then(Value::as_str);
    let driver = part("driver").unwrap_or("erc20");
    let network = part("network").unwrap_or("holesky");
    let token = part("token").unwrap_or(match network {
        "mainnet" | "polygon" => "glm",
        _ => "tglm",
    });
    Ok(format!("{driver}-{network}-{token}").into())
}

fn timeout(target: &Target, default: Span) -> Result<Span, Malformed> {
    match target.values("timeout").next() {
        None => Ok(default),
        Some(text) => read_seconds(text).map_or_else(|| bad_query("invalid float literal"), Ok),
    }
}

fn max_events(target: &Target) -> Result<u8, Malformed> {
    let Some(text) = target.values("maxEvents").next() else {
        return Ok(EVENTS_MAX);
    };
    let number: i32 = text.parse().or_else(|error| bad_query(&format!("{error}")))?;
    match u8::try_from(number) {
        Ok(number @ 1..=100) => Ok(number),
        Ok(_) | Err(_) => {
            let why = format!("Invalid maxEvents '{text}', should be between 1 and 100.");
            Err(Malformed { status: Status(400), body: bounded(why) })
        }
    }
}

fn document<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Malformed> {
    let body = request.body.as_deref().ok_or_else(|| bad_request("Content type error"))?;
    serde_json::from_slice(body)
        .map_err(|error| bad_request(&format!("Json deserialize error: {error}")))
}

fn unknown_reason(word: &str) -> Malformed {
    bad_request(&format!(
        "Json deserialize error: unknown variant `{word}`, expected one of `UNSOLICITED_SERVICE`, \
         `BAD_SERVICE`, `INCORRECT_AMOUNT`"
    ))
}

/// An acceptance of something that is an amount, be it less than nothing.
fn acceptance(request: &HttpRequest) -> Result<Acceptance, Malformed> {
    let acceptance: Acceptance = document(request)?;
    match acceptance.total_amount_accepted.0.glm() {
        Err(ParseGlmError::NotANumber) => {
            Err(bad_request("Json deserialize error: invalid digit found in string"))
        }
        Ok(_)
        | Err(ParseGlmError::Negative | ParseGlmError::TooLarge | ParseGlmError::TooPrecise) => {
            Ok(acceptance)
        }
    }
}

fn json(status: u16, document: &impl Serialize) -> HttpResponse {
    let content_type = Some(JSON.to_owned());
    HttpResponse { status: Status(status), content_type, body: write(document) }
}

fn bad_query<T>(why: &str) -> Result<T, Malformed> {
    Err(bad_request(&format!("Query deserialize error: {why}")))
}

fn bad_request(why: &str) -> Malformed {
    Malformed { status: Status(400), body: bounded(why.to_owned()) }
}

fn not_found() -> Malformed {
    Malformed { status: Status::NOT_FOUND, body: String::new() }
}
