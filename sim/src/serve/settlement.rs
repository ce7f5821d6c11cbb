//! What was accepted, ordered, and paid, as the payment API tells it.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{AgreementId, DocumentState, Response as Told, wire},
};
use serde_json::{Value, json};

use super::{State, api::Ask, document, market, reply};
use crate::yagna::{
    SimYagna,
    books::{ActivityBook, AgreementBook, OrderBook, PaymentBook},
};

const DRIVERS: [&str; 1] = ["erc20"];
const NETWORKS: [&str; 9] =
    ["mainnet", "sepolia", "rinkeby", "goerli", "holesky", "hoodi", "polygon", "mumbai", "amoy"];
const PAYMENTS_TIMEOUT: Span = Span::secs(5);
/// The daemon looks for new payments this often.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Answers a request about settlement; nothing if it is about something else.
pub(super) async fn answer(state: &State, ask: &Ask, path: &[&str]) -> Option<Response<Body>> {
    if ask.method != Method::GET {
        return None;
    }
    Some(match path {
        ["payments"] => payments(state, ask).await,
        ["payments", "status"] => status(ask),
        ["payments", id] => {
            let inner = state.daemon.look();
            found(all_payments(&inner.yagna).into_iter().find(|it| it["paymentId"] == **id))
        }
        ["invoices", id, "payments"] => {
            let inner = state.daemon.look();
            let books = inner.yagna.invoices();
            let invoice = books.iter().find(|book| book.invoice.id.as_str() == *id);
            let Some(invoice) = invoice else { return Some(found(None)) };
            let agreement = &invoice.invoice.agreement;
            let paid = payments_of(&inner.yagna, |payment| payment.agreement == *agreement);
            reply::json(200, &Value::Array(paid))
        }
        ["batchOrders"] => {
            list(state, |yagna| yagna.orders().map(|(id, book)| order(yagna, &id, book)).collect())
        }
        ["batchOrders", id] => {
            let inner = state.daemon.look();
            let mut orders = inner.yagna.orders();
            let book = orders.find(|(own, _)| own == id);
            reply::json(200, &json!(book.map(|(id, book)| order(&inner.yagna, &id, book))))
        }
        ["batchOrders", id, "items"] => list(state, |yagna| items(yagna, id, None)),
        ["batchOrders", id, "items", payee, "details"] => {
            list(state, |yagna| items(yagna, id, Some(payee)))
        }
        ["payAgreements"] => list(state, |yagna| {
            let books = yagna.agreements().iter();
            books.filter(|it| it.approved.is_some()).map(|it| agreement(yagna, it)).collect()
        }),
        ["payAgreements", id] => {
            let inner = state.daemon.look();
            let view = inner.yagna.agreement(&(*id).into());
            reply::json(200, &json!(view.map(|view| agreement(&inner.yagna, view.book))))
        }
        ["payAgreements", id, "activities"] => list(state, |yagna| {
            let id = AgreementId::from(*id);
            let books = yagna.activities().iter().filter(|book| book.agreement == id);
            books.map(|book| activity(yagna, book)).collect()
        }),
        ["payAgreements", id, "orders"] => list(state, |yagna| details(yagna, |item| item == *id)),
        ["payActivities"] => list(state, |yagna| {
            yagna.activities().iter().map(|book| activity_and_peer(yagna, book)).collect()
        }),
        ["payActivities", id, rest @ ..] => of_activity(state, id, rest)?,
        _ => return None,
    })
}

/// What was accepted from an allocation.
pub(super) fn expenditures(yagna: &SimYagna, id: &str) -> Value {
    let rows = yagna.expenditures(&id.into()).into_iter().map(|row| {
        let mut document = json!({
            "allocationId": row.allocation,
            "agreementId": row.agreement,
            "acceptedAmount": row.accepted.to_string(),
            "scheduledAmount": row.scheduled.to_string(),
        });
        if let Some(activity) = row.activity {
            document["activityId"] = json!(activity);
        }
        document
    });
    Value::Array(rows.collect())
}

/// What was ordered to be paid from an allocation.
pub(super) fn orders_of_allocation(yagna: &SimYagna, id: &str) -> Value {
    let rows = yagna.expenditures(&id.into());
    let ordered =
        details(yagna, |agreement| rows.iter().any(|row| row.agreement.as_str() == agreement));
    Value::Array(ordered)
}

async fn payments(state: &State, ask: &Ask) -> Response<Body> {
    let timeout = ask.value("timeout").map_or(Some(PAYMENTS_TIMEOUT), market::seconds);
    let Some(timeout) = timeout else {
        return reply::text(400, "Query deserialize error: invalid float literal");
    };
    let after = ask.value("afterTimestamp").map(wire::read_instant);
    if after == Some(None) {
        return reply::text(400, "Query deserialize error: input contains invalid characters");
    }
    let after = after.flatten().unwrap_or(Timestamp::EPOCH);
    let network = ask.value("network");
    if network.is_some_and(|network| !NETWORKS.contains(&network)) {
        return reply::message(500, "Matching variant not found");
    }
    let session = ask.value("appSessionId").map(ToOwned::to_owned);
    let most = ask.value("maxEvents").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
    let deadline = tokio::time::Instant::now() + Duration::from_micros(timeout.as_micros());
    loop {
        let mut found = {
            let inner = state.daemon.look();
            payments_of(&inner.yagna, |payment| {
                let view = inner.yagna.agreement(&payment.agreement);
                let own = view.and_then(|view| view.book.session.clone());
                // The daemon looks for platforms that begin with the network: there is none.
                network.is_none()
                    && payment.at > after
                    && session
                        .as_ref()
                        .is_none_or(|wanted| own.is_some_and(|own| own.as_str() == wanted))
            })
        };
        if !found.is_empty() || tokio::time::Instant::now() >= deadline {
            found.truncate(most);
            return reply::json(200, &Value::Array(found));
        }
        let next = tokio::time::Instant::now() + LOOKS_EVERY;
        tokio::time::sleep_until(next.min(deadline)).await;
    }
}

/// The simulated wallet has its gas, and the chain works.
fn status(ask: &Ask) -> Response<Body> {
    if let Some(driver) = ask.value("driver").filter(|driver| !DRIVERS.contains(driver)) {
        return reply::message(404, &format!("Requested driver not registered {driver}"));
    }
    if let Some(network) = ask.value("network").filter(|it| !NETWORKS.contains(it)) {
        return reply::message(404, &format!("Requested network not supported {network}"));
    }
    reply::json(200, &json!([]))
}

fn list(state: &State, rows: impl FnOnce(&SimYagna) -> Vec<Value>) -> Response<Body> {
    let inner = state.daemon.look();
    reply::json(200, &Value::Array(rows(&inner.yagna)))
}

fn found(document: Option<Value>) -> Response<Body> {
    match document {
        Some(document) => reply::json(200, &document),
        None => reply::json(404, &json!({ "message": null })),
    }
}

fn all_payments(yagna: &SimYagna) -> Vec<Value> {
    payments_of(yagna, |_| true)
}

fn payments_of(yagna: &SimYagna, is_wanted: impl Fn(&PaymentBook) -> bool) -> Vec<Value> {
    let books = yagna.payments().iter().enumerate().filter(|(_, book)| is_wanted(book));
    books.map(|(number, book)| payment(yagna, number, book)).collect()
}

fn payment(yagna: &SimYagna, number: usize, book: &PaymentBook) -> Value {
    let own = yagna.identity();
    let id = yagna.payment_id(number);
    let amount = book.amount.to_string();
    let platform = yagna.agreement(&book.agreement).map(|view| view.platform.clone());
    json!({
        "payerId": own,
        "payeeId": book.payee,
        "payerAddr": own,
        "payeeAddr": book.payee,
        "paymentPlatform": platform,
        "amount": amount,
        "timestamp": wire::instant(book.at),
        "agreementPayments": [{ "agreementId": book.agreement, "amount": amount }],
        "activityPayments": [],
        // The hash of a transaction on a chain that there is not.
        "details": BASE64_STANDARD.encode(&id),
        "signature": [],
        "signedBytes": [],
        "paymentId": id,
    })
}

fn order(yagna: &SimYagna, id: &str, book: &OrderBook) -> Value {
    let sum = |is_wanted: &dyn Fn(bool) -> bool| {
        let items = book.items.iter().filter(|item| is_wanted(item.payment.is_some()));
        items.fold(Glm::ZERO, |sum, item| sum.plus(item.amount)).to_string()
    };
    let created = naive(book.created);
    json!({
        "id": id,
        "createdTs": created,
        "updatedTs": created,
        "ownerId": yagna.identity(),
        "payerAddr": yagna.identity(),
        "platform": book.platform,
        "totalAmount": sum(&|_| true),
        "paidAmount": sum(&|is_paid| is_paid),
    })
}

/// The items of an order; in more detail for one payee.
fn items(yagna: &SimYagna, id: &str, payee: Option<&str>) -> Vec<Value> {
    let orders = yagna.orders().filter(|(own, _)| own == id);
    let mut rows = Vec::new();
    for (id, book) in orders {
        for item in &book.items {
            let is_wanted = payee.is_none_or(|payee| item.payee.as_str() == payee);
            if !is_wanted {
                continue;
            }
            let mut row = json!({
                "orderId": id,
                "ownerId": yagna.identity(),
                "payeeAddr": item.payee,
                "allocationId": allocation_of(yagna, &item.agreement),
                "amount": item.amount.to_string(),
            });
            if payee.is_none() {
                row["paymentId"] = json!(item.payment.map(|number| yagna.payment_id(number)));
                row["paid"] = json!(item.payment.is_some());
            } else {
                row["createdTs"] = naive(book.created);
                row["updatedTs"] = naive(book.created);
                row["agreementId"] = json!(item.agreement);
                row["invoiceId"] = json!(invoice_of(yagna, &item.agreement));
                row["activityId"] = Value::Null;
                row["debitNoteId"] = Value::Null;
            }
            rows.push(row);
        }
    }
    rows
}

/// What was ordered for the agreements that are wanted.
fn details(yagna: &SimYagna, is_wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let mut rows = Vec::new();
    for (id, book) in yagna.orders() {
        for item in book.items.iter().filter(|item| is_wanted(item.agreement.as_str())) {
            rows.push(json!({
                "createdTs": naive(book.created),
                "updatedTs": naive(book.created),
                "orderId": id,
                "ownerId": yagna.identity(),
                "payeeAddr": item.payee,
                "allocationId": allocation_of(yagna, &item.agreement),
                "amount": item.amount.to_string(),
                "agreementId": item.agreement,
                "invoiceId": invoice_of(yagna, &item.agreement),
                "activityId": null,
                "debitNoteId": null,
            }));
        }
    }
    rows
}

fn of_activity(state: &State, id: &str, rest: &[&str]) -> Option<Response<Body>> {
    let inner = state.daemon.look();
    let yagna = &inner.yagna;
    let book = yagna.activities().iter().find(|book| book.id.as_str() == id);
    let Some(book) = book else {
        return match rest {
            [] => Some(reply::json(200, &Value::Null)),
            ["invoice" | "debitNotes"] => Some(reply::message(500, "Activity not found")),
            ["orders"] => Some(reply::json(200, &json!([]))),
            _ => None,
        };
    };
    Some(match rest {
        [] => reply::json(200, &activity_and_peer(yagna, book)),
        ["invoice"] => {
            let invoice = yagna.invoices().iter().find(|it| it.invoice.agreement == book.agreement);
            let told = invoice.map(|it| Told::Invoice(Box::new(it.invoice.clone())));
            found(told.map(|told| document::written(told, yagna, inner.now())))
        }
        ["debitNotes"] => {
            let notes = yagna.notes().iter().filter(|it| it.note.activity == book.id);
            let told = Told::DebitNotes(notes.map(|it| it.note.clone()).collect());
            reply::json(200, &document::written(told, yagna, inner.now()))
        }
        ["orders"] => {
            let agreement = book.agreement.as_str();
            reply::json(200, &Value::Array(details(yagna, |item| item == agreement)))
        }
        _ => return None,
    })
}

fn agreement(yagna: &SimYagna, book: &AgreementBook) -> Value {
    let sums = Sums::of(yagna, &book.id);
    let platform = yagna.agreement(&book.id).map(|view| view.platform.clone());
    let created = naive(book.created);
    json!({
        "id": book.id,
        "ownerId": yagna.identity(),
        "role": "R",
        "peerId": book.provider,
        "payeeAddr": book.provider,
        "payerAddr": yagna.identity(),
        "paymentPlatform": platform,
        "totalAmountDue": sums.due.to_string(),
        "totalAmountAccepted": sums.accepted.to_string(),
        "totalAmountScheduled": sums.scheduled.to_string(),
        "totalAmountPaid": sums.paid.to_string(),
        "appSessionId": book.session,
        "createdTs": created,
        "updatedTs": created,
    })
}

fn activity(yagna: &SimYagna, book: &ActivityBook) -> Value {
    let notes = yagna.notes().iter().filter(|it| it.note.activity == book.id);
    let most = |is_wanted: fn(DocumentState) -> bool| {
        let wanted = notes.clone().filter(|it| is_wanted(it.note.state));
        let amounts = wanted.filter_map(|it| it.note.total_due.glm().ok());
        amounts.max().unwrap_or(Glm::ZERO).to_string()
    };
    let created = naive(book.created);
    let settled = most(|state| state == DocumentState::Settled);
    json!({
        "id": book.id,
        "ownerId": yagna.identity(),
        "role": "R",
        "agreementId": book.agreement,
        "totalAmountDue": most(|_| true),
        "totalAmountAccepted":
            most(|state| matches!(state, DocumentState::Accepted | DocumentState::Settled)),
        "totalAmountScheduled": settled,
        "totalAmountPaid": settled,
        "createdTs": created,
        "updatedTs": created,
    })
}

/// An activity that stands for itself, and so must say whom it is paid to.
fn activity_and_peer(yagna: &SimYagna, book: &ActivityBook) -> Value {
    let provider = yagna.agreement(&book.agreement).map(|view| view.book.provider.clone());
    let mut document = activity(yagna, book);
    document["peerId"] = json!(provider);
    document["payeeAddr"] = json!(provider);
    document["payerAddr"] = json!(yagna.identity());
    document
}

/// What an agreement costs, as far as it is known.
struct Sums {
    due: Glm,
    accepted: Glm,
    scheduled: Glm,
    paid: Glm,
}

impl Sums {
    fn of(yagna: &SimYagna, id: &AgreementId) -> Self {
        let invoice = yagna.invoices().iter().find(|book| book.invoice.agreement == *id);
        let mut notes: std::collections::BTreeMap<&str, Glm> = std::collections::BTreeMap::new();
        for book in yagna.notes().iter().filter(|book| book.note.agreement == *id) {
            let due = book.note.total_due.glm().unwrap_or(Glm::ZERO);
            let highest = notes.entry(book.note.activity.as_str()).or_insert(Glm::ZERO);
            *highest = (*highest).max(due);
        }
        let noted = notes.values().fold(Glm::ZERO, |sum, due| sum.plus(*due));
        let billed = invoice.and_then(|book| book.invoice.amount.glm().ok());
        let taken = yagna.notes().iter().filter(|it| it.note.agreement == *id);
        let taken = taken.fold(Glm::ZERO, |sum, it| sum.plus(it.taken));
        let rest = invoice.map_or(Glm::ZERO, |book| book.taken);
        let ordered = yagna.orders().flat_map(|(_, book)| &book.items);
        let ordered = ordered.filter(|item| item.agreement == *id);
        let paid = yagna.payments().iter().filter(|it| it.agreement == *id);
        Self {
            due: billed.unwrap_or(noted),
            accepted: taken.plus(rest),
            scheduled: ordered.fold(Glm::ZERO, |sum, item| sum.plus(item.amount)),
            paid: paid.fold(Glm::ZERO, |sum, it| sum.plus(it.amount)),
        }
    }
}

/// The allocation that the bills of an agreement were accepted from, the last one first.
fn allocation_of(yagna: &SimYagna, id: &AgreementId) -> Option<String> {
    let invoices = yagna.invoices().iter().filter(|book| book.invoice.agreement == *id);
    let notes = yagna.notes().iter().filter(|book| book.note.agreement == *id);
    let accepted = invoices.map(|it| &it.accepted).chain(notes.map(|it| &it.accepted).rev());
    let (_, allocation) = accepted.flatten().next()?;
    Some(allocation.as_str().to_owned())
}

fn invoice_of(yagna: &SimYagna, id: &AgreementId) -> Option<String> {
    let invoice = yagna.invoices().iter().find(|book| book.invoice.agreement == *id)?;
    Some(invoice.invoice.id.as_str().to_owned())
}

/// An instant without a zone.
fn naive(at: Timestamp) -> Value {
    let text = wire::instant(at);
    json!(text.as_str().unwrap_or_default().trim_end_matches('Z'))
}
