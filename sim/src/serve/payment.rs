//! The payment API beyond our vocabulary: accounts, single allocations, what became of them, and
//! filters of events. What was ordered and paid is told by `settlement`.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{Method, Response},
};
use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{BillEvent, BillEventKind, PlatformId, Request, Response as Told, wire},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    State,
    api::{self, Ask, plain},
    daemon::{Answer, Lost},
    document, market, reply, settlement,
};
use crate::fault::Fate;

/// The time-out of an allocation that names none.
const ALLOCATION_LASTS: Span = Span::days(3_650);
/// The platforms that a daemon pays on from its start.
const PLATFORMS: [&str; 6] = [
    "erc20-amoy-tglm",
    "erc20-holesky-tglm",
    "erc20-hoodi-tglm",
    "erc20-mainnet-glm",
    "erc20-polygon-glm",
    "erc20-sepolia-tglm",
];
/// A page of events of the simulated daemon; a full one may be followed by more.
const PAGE: usize = 100;
/// The extra time of a payment cycle that names none.
const EXTRA_TIME_SECS: u64 = 3_600;
const WANTED_HEADER: &str = "x-requestor-events";
const WANTED_BY_DEFAULT: &str = "RECEIVED,CANCELLED";

/// Answers a request to the payment API.
pub(super) async fn answer(state: &State, ask: &Ask, path: &[&str]) -> Response<Body> {
    let not_implemented = || reply::json(501, &json!({ "message": null }));
    match (ask.method.clone(), path) {
        (Method::GET, ["requestorAccounts"]) => accounts(state),
        (Method::GET, ["providerAccounts"]) => reply::json(200, &json!([])),
        (Method::POST, ["allocations"]) => match check_allocation(state, ask) {
            Ok(()) => plain(state, &with_timeout(state, ask)).await,
            Err(refusal) => refusal,
        },
        (Method::GET, ["allocations", id]) => allocation(state, id),
        (Method::PUT, ["allocations", id]) => match amendment(state, ask, id) {
            Ok(ask) => plain(state, &ask).await,
            Err(refusal) => refusal,
        },
        (Method::GET, ["allocations", id, "expenditures"]) => {
            reply::json(200, &settlement::expenditures(&state.daemon.look().yagna, id))
        }
        (Method::GET, ["allocations", id, "orders"]) => {
            reply::json(200, &settlement::orders_of_allocation(&state.daemon.look().yagna, id))
        }
        (Method::GET, ["demandDecorations"]) => decorations(state, ask).await,
        (Method::GET, ["debitNoteEvents" | "invoiceEvents"]) => events(state, ask).await,
        (Method::GET, ["debitNotes" | "invoices"]) => bills(state, ask).await,
        (Method::GET, ["debitNotes", _, "payments"])
        | (Method::POST, ["debitNotes", _, "reject" | "cancel"])
        | (Method::POST, ["invoices", _, "cancel"]) => not_implemented(),
        (Method::POST, ["batchCycle"]) => set_cycle(state, ask).await,
        (Method::POST, ["batchCycle", platform, "now"]) => {
            let mut inner = state.daemon.look();
            let now = inner.now();
            inner.yagna.pay_now(now, &PlatformId::from(*platform));
            reply::json(200, &json!({ "resolve_time_ms": 0.01, "send_time_ms": 0.01 }))
        }
        (Method::GET, ["batchCycles"]) => cycles(state).await,
        _ => match settlement::answer(state, ask, path).await {
            Some(response) => response,
            None => plain(state, ask).await,
        },
    }
}

/// The wallets that were used since the start.
fn accounts(state: &State) -> Response<Body> {
    let inner = state.daemon.look();
    let address = inner.yagna.identity();
    let accounts = inner.accounts().into_iter().map(|platform| {
        let mut parts = platform.as_str().splitn(3, '-');
        let (driver, network, token) = (parts.next(), parts.next(), parts.next());
        json!({
            "platform": platform,
            "address": address,
            "driver": driver,
            "network": network,
            "token": if token == Some("glm") { "GLM" } else { "tGLM" },
            "send": true,
            "receive": false,
        })
    });
    reply::json(200, &Value::Array(accounts.collect()))
}

/// What a new allocation says beyond our vocabulary.
#[derive(Deserialize)]
struct Extras {
    address: Option<String>,
    deposit: Option<Deposit>,
}

/// Funds that a contract holds.
#[derive(Deserialize)]
struct Deposit {
    id: String,
    contract: String,
}

/// Refuses funds of other wallets, and deposits: the simulated chain has no contract that holds any.
fn check_allocation(state: &State, ask: &Ask) -> Result<(), Response<Body>> {
    let Ok(Request::CreateAllocation { platform, timeout, .. }) = api::decode(ask) else {
        // Its own error comes first.
        return Ok(());
    };
    let Extras { address, deposit } = serde_json::from_slice(&ask.body)
        .map_err(|error| reply::text(400, &format!("Json deserialize error: {error}")))?;
    let identity = state.daemon.look().yagna.identity().as_str().to_owned();
    let malformed = |instance: &str, detail: &str| {
        let kind = "/payment-api/v1/allocations/validation-error";
        let instance = format!("{kind}/{instance}");
        let document = json!({
            "type": kind, "detail": detail, "instance": instance, "address": identity,
        });
        Err(reply::problem(400, &document))
    };
    let failed = |why: String| {
        let document = json!({
            "type": "/payment-api/v1/allocations/internal-error",
            "detail": "Unhandled internal error",
            "internalError": why,
        });
        Err(reply::problem(500, &document))
    };
    if !platform.as_str().starts_with("erc20-") {
        return Ok(());
    }
    if let Some(stranger) = address.filter(|address| !address.eq_ignore_ascii_case(&identity)) {
        return failed(format!(
            "Failed to initialize account on driver: erc20 due to error Account {stranger} not \
             found in active accounts"
        ));
    }
    let Some(Deposit { id, contract }) = deposit else { return Ok(()) };
    if timeout <= state.daemon.look().now() {
        return Ok(());
    }
    if !is_hexadecimal(&contract, 40..=40) {
        return malformed("malformed-deposit-contract", "Invalid deposit contract address");
    }
    let is_decimal = !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit());
    if !is_decimal && !is_hexadecimal(&id, 1..=64) {
        return malformed("malformed-deposit-id", "Invalid deposit id");
    }
    failed(format!(
        "RPC error: Error while validating allocation: the simulated chain has no contract \
         {contract}"
    ))
}

/// Whether a text is a number of so many hexadecimal digits.
fn is_hexadecimal(text: &str, digits: std::ops::RangeInclusive<usize>) -> bool {
    text.strip_prefix("0x").is_some_and(|rest| {
        digits.contains(&rest.len()) && rest.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// The request with the daemon's own time-out, if it has none.
fn with_timeout(state: &State, ask: &Ask) -> Ask {
    let mut ask = ask.clone();
    let Ok(Value::Object(mut document)) = serde_json::from_slice(&ask.body) else { return ask };
    if document.get("timeout").is_none_or(Value::is_null) {
        let ends = state.daemon.look().now().plus(ALLOCATION_LASTS);
        document.insert("timeout".to_owned(), wire::instant(ends));
        // Errors point into what was written, which this must not change otherwise.
        if document.contains_key("totalAmount") {
            ask.body = Bytes::from(Value::Object(document).to_string());
        }
    }
    ask
}

fn allocation(state: &State, id: &str) -> Response<Body> {
    let inner = state.daemon.look();
    let Some(book) = inner.yagna.allocation(&id.into()).filter(|book| !book.is_released) else {
        return not_found();
    };
    let told = Told::AllocationAmended(book.allocation.clone());
    reply::json(200, &document::written(told, &inner.yagna, inner.now()))
}

/// The request with the present values in place of those that it leaves out.
fn amendment(state: &State, ask: &Ask, id: &str) -> Result<Ask, Response<Body>> {
    let mut ask = ask.clone();
    let document: Value = serde_json::from_slice(&ask.body)
        .map_err(|error| reply::text(400, &format!("Json deserialize error: {error}")))?;
    let inner = state.daemon.look();
    let book = inner.yagna.allocation(&id.into()).filter(|book| !book.is_released);
    let allocation = &book.ok_or_else(not_found)?.allocation;
    let given = |key: &str| document.get(key).filter(|value| !value.is_null()).cloned();
    let total = given("totalAmount").unwrap_or_else(|| json!(allocation.total.to_string()));
    let ends = allocation.timeout.unwrap_or(Timestamp::NEVER);
    let timeout = given("timeout").unwrap_or_else(|| wire::instant(ends));
    ask.body = Bytes::from(json!({ "totalAmount": total, "timeout": timeout }).to_string());
    Ok(ask)
}

async fn decorations(state: &State, ask: &Ask) -> Response<Body> {
    let ids = ask.value("allocationIds").unwrap_or_default();
    if ids.contains(',') {
        let text = format!(
            "Query deserialize error: invalid type: string \"{ids}\", expected a borrowed string"
        );
        return reply::text(400, &text);
    }
    plain(state, ask).await
}

/// Events of the kinds that were asked for. The daemon looks for the next ones if all that there
/// are are of other kinds, but it counts those, too.
async fn events(state: &State, ask: &Ask) -> Response<Body> {
    let most = match ask.value("maxEvents").map(str::parse::<usize>) {
        None => usize::MAX,
        Some(Ok(most)) => most,
        Some(Err(error)) => {
            return reply::text(400, &format!("Query deserialize error: {error}"));
        }
    };
    let mut request = match api::decode(&market::without_empty_session(ask)) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let header = ask.headers.get(WANTED_HEADER).and_then(|value| value.to_str().ok());
    let wanted: Vec<String> =
        header.unwrap_or(WANTED_BY_DEFAULT).split(',').map(ToOwned::to_owned).collect();
    let began = tokio::time::Instant::now();
    let Some(patience) = timeout_of(&mut request).map(|timeout| *timeout) else {
        return reply::empty(404);
    };
    let mut seen = 0;
    let mut told: Option<Told> = None;
    loop {
        let outcome = api::call(state, &request).await;
        let page = match outcome {
            Ok(Answer { reply: Ok(page), fate: Fate::Through, patches: _ }) => page,
            other => return api::respond(other, |_| {}).await,
        };
        let (count, last) = extent(&page);
        let room = most.saturating_sub(seen);
        seen += count;
        add_page(&mut told, page, &wanted, room);
        let is_full = seen >= most;
        let has_more = count == PAGE && !is_full;
        let found = told.as_ref().map_or(0, |told| extent(told).0);
        let left = left_of(patience, began);
        if !has_more && (found > 0 || left == Span::ZERO) {
            break;
        }
        if is_full {
            // What it counts never becomes less: the daemon waits in vain.
            tokio::time::sleep(Duration::from_micros(left.as_micros())).await;
            break;
        }
        go_on(&mut request, last, if has_more { Span::ZERO } else { left });
    }
    let answer =
        told.map(Ok).map(|reply| Answer { reply, patches: Vec::new(), fate: Fate::Through });
    api::respond(answer.ok_or(Lost::Closed), |_| {}).await
}

fn timeout_of(request: &mut Request) -> Option<&mut Span> {
    if let Request::CollectDebitNoteEvents { timeout, .. }
    | Request::CollectInvoiceEvents { timeout, .. } = request
    {
        return Some(timeout);
    }
    None
}

/// Asks for what follows.
fn go_on(request: &mut Request, last: Option<Timestamp>, left: Span) {
    if let Request::CollectDebitNoteEvents { timeout, after, .. }
    | Request::CollectInvoiceEvents { timeout, after, .. } = request
    {
        *timeout = left;
        *after = last.unwrap_or(*after);
    }
}

fn left_of(patience: Span, began: tokio::time::Instant) -> Span {
    let passed = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    patience.minus(Span::micros(passed))
}

/// How many events a page has, and when the last one was.
fn extent(page: &Told) -> (usize, Option<Timestamp>) {
    if let Told::DebitNoteEvents(events) = page {
        return (events.len(), events.last().map(|event| event.at));
    }
    if let Told::InvoiceEvents(events) = page {
        return (events.len(), events.last().map(|event| event.at));
    }
    (0, None)
}

/// Adds what is wanted of the first `room` events of a page.
fn add_page(told: &mut Option<Told>, page: Told, wanted: &[String], room: usize) {
    match (told, page) {
        (Some(Told::DebitNoteEvents(all)), Told::DebitNoteEvents(more)) => {
            all.extend(chosen(more, wanted, room));
        }
        (Some(Told::InvoiceEvents(all)), Told::InvoiceEvents(more)) => {
            all.extend(chosen(more, wanted, room));
        }
        (told, Told::DebitNoteEvents(more)) => {
            *told = Some(Told::DebitNoteEvents(chosen(more, wanted, room)));
        }
        (told, Told::InvoiceEvents(more)) => {
            *told = Some(Told::InvoiceEvents(chosen(more, wanted, room)));
        }
        (told, other) => *told = Some(other),
    }
}

fn chosen<Id>(events: Vec<BillEvent<Id>>, wanted: &[String], room: usize) -> Vec<BillEvent<Id>> {
    let is_wanted = |event: &BillEvent<Id>| {
        let word = match &event.kind {
            BillEventKind::Received => "RECEIVED",
            BillEventKind::Accepted => "ACCEPTED",
            BillEventKind::Rejected => "REJECTED",
            BillEventKind::Cancelled => "CANCELLED",
            BillEventKind::Settled => "SETTLED",
            BillEventKind::Other(_) => return false,
        };
        wanted.iter().any(|wanted| wanted == word)
    };
    events.into_iter().take(room).filter(is_wanted).collect()
}

async fn bills(state: &State, ask: &Ask) -> Response<Body> {
    let most = ask.value("maxItems").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
    match api::decode(ask) {
        Ok(request) => {
            let outcome = api::call(state, &request).await;
            api::respond(outcome, |told| {
                if let Told::DebitNotes(notes) = told {
                    notes.truncate(most);
                } else if let Told::Invoices(invoices) = told {
                    invoices.truncate(most);
                }
            })
            .await
        }
        Err(refusal) => refusal,
    }
}

/// Changes a payment cycle. Errors have the status of a success.
async fn set_cycle(state: &State, ask: &Ask) -> Response<Body> {
    let mut ask = ask.clone();
    let failed = |text: &str| {
        let text = format!("create or update error: Query error: {text}");
        reply::json(200, &json!({ "Err": { "ProcessBatchCycleError": text } }))
    };
    let document: Value = match serde_json::from_slice(&ask.body) {
        Ok(document) => document,
        Err(error) => return reply::text(400, &format!("Json deserialize error: {error}")),
    };
    let number = |key: &str| document.get(key).and_then(Value::as_u64);
    let Some(platform) = document.get("platform").and_then(Value::as_str) else {
        return reply::text(400, "Json deserialize error: missing field `platform`");
    };
    let Some(interval) = number("intervalSec") else {
        if document.get("cron").and_then(Value::as_str).is_some() {
            return failed(
                "Error creating batch cycle based on cron: the simulated daemon has none",
            );
        }
        return failed("Either interval or cron must be provided");
    };
    let extra = number("extraPayTimeSec").unwrap_or(EXTRA_TIME_SECS);
    let set = json!({ "platform": platform, "intervalSec": interval, "extraPayTimeSec": extra });
    ask.body = Bytes::from(set.to_string());
    let request = match api::decode(&ask) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    match api::call(state, &request).await {
        Ok(Answer { reply: Ok(_), fate: Fate::Through, patches: _ }) => {
            reply::json(200, &cycle_set(state, platform).await)
        }
        other => api::respond(other, |_| {}).await,
    }
}

async fn cycle_set(state: &State, platform: &str) -> Value {
    let request = Request::GetBatchCycle { platform: platform.into() };
    let Ok(Answer { reply: Ok(Told::BatchCycle(cycle)), .. }) = api::call(state, &request).await
    else {
        return json!({ "Ok": {} });
    };
    let inner = state.daemon.look();
    // These instants carry no zone.
    let naive = |at: Option<Timestamp>| {
        let text = at.map(wire::instant);
        text.and_then(|text| Some(json!(text.as_str()?.trim_end_matches('Z'))))
    };
    let lasts = |span: Span| json!({ "secs": span.as_secs(), "nanos": 0 });
    json!({ "Ok": {
        "nodeId": inner.yagna.identity(),
        "platform": cycle.platform,
        "interval": cycle.interval.map(lasts),
        "cron": null,
        "maxInterval": cycle.interval.map(lasts),
        "extraPaymentTime": lasts(cycle.extra_time),
        "nextProcess": naive(cycle.next),
        "lastProcess": naive(inner.yagna.last_cycle(&cycle.platform)),
    } })
}

/// The cycles of the platforms that the daemon begins with, and of those that somebody named since.
async fn cycles(state: &State) -> Response<Body> {
    let mut platforms = BTreeSet::from(PLATFORMS.map(PlatformId::from));
    platforms.extend(state.daemon.look().yagna.cycles());
    let mut documents = Vec::new();
    for platform in platforms {
        let outcome = api::call(state, &Request::GetBatchCycle { platform }).await;
        let Ok(answer) = outcome else { return api::respond(outcome, |_| {}).await };
        let body = document::encode(&answer).body;
        documents.push(serde_json::from_slice(&body).unwrap_or(Value::Null));
    }
    reply::json(200, &Value::Array(documents))
}

fn not_found() -> Response<Body> {
    reply::json(404, &json!({ "message": null }))
}
