//! What the daemon's documents have beyond our vocabulary: other clients' readers demand it.
//!
//! Our own codec leaves out what our machine never looks at, or writes something in its place. What
//! belongs there is gathered under the daemon's lock, and put in when the document is written.

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{Allocation, DebitNote, DemandEvent, Invoice, Response, wire, wire::HttpResponse},
};
use serde_json::{Number, Value, json};

use super::daemon::Answer;
use crate::{
    fault::Fate,
    yagna::{Refusal, Reply, SimYagna, view::Usage},
};

/// Places in a document, and what belongs there.
pub(super) type Patches = Vec<(String, Value)>;

/// Bills carry milliseconds only; the use that they are for is counted to the end of theirs.
const BILL_TICK: Span = Span::millis(1);

/// An answer as it goes over the wire.
pub(super) fn encode(answer: &Answer) -> HttpResponse {
    let mut response = match &answer.reply {
        Ok(response) => wire::encode_response(Ok(response)),
        Err(refusal) => refused(refusal),
    };
    if !answer.patches.is_empty()
        && let Ok(mut document) = serde_json::from_slice::<Value>(&response.body)
    {
        for (place, value) in &answer.patches {
            put(&mut document, place, value.clone());
        }
        response.body = document.to_string().into_bytes();
    }
    response
}

/// A refusal as it goes over the wire.
pub(super) fn refused(refusal: &Refusal) -> HttpResponse {
    if refusal.body.is_empty() {
        return HttpResponse { status: refusal.status, content_type: None, body: Vec::new() };
    }
    wire::encode_refusal(refusal.status, &refusal.body)
}

/// What the document of a reply needs beyond the reply.
pub(super) fn patches(reply: &Reply, yagna: &SimYagna, now: Timestamp) -> Patches {
    let mut patches = Patches::new();
    let Ok(response) = reply else { return patches };
    let to = &mut patches;
    match response {
        Response::AllocationCreated(one) | Response::AllocationAmended(one) => {
            allocation(to, "", one, yagna);
        }
        Response::Allocations(all) => {
            for (nth, one) in all.iter().enumerate() {
                allocation(to, &format!("/{nth}"), one, yagna);
            }
        }
        Response::Demands(all) => {
            for (nth, one) in all.iter().enumerate() {
                let since = yagna.demand(&one.id).map_or(now, |book| book.since);
                to.push((format!("/{nth}/requestorId"), json!(yagna.identity())));
                to.push((format!("/{nth}/timestamp"), wire::instant(since)));
            }
        }
        Response::Events(events) => {
            for (nth, event) in events.iter().enumerate() {
                if matches!(event, DemandEvent::Rejected { .. }) {
                    to.push((format!("/{nth}/eventDate"), wire::instant(now)));
                }
            }
        }
        Response::Agreement(agreement) => {
            if let Some(view) = yagna.agreement(&agreement.id) {
                let created = wire::instant(view.book.created);
                to.push(("/validTo".to_owned(), wire::instant(view.book.valid_to)));
                to.push(("/timestamp".to_owned(), created.clone()));
                to.push(("/demand/demandId".to_owned(), json!(view.demand)));
                to.push(("/demand/requestorId".to_owned(), json!(yagna.identity())));
                to.push(("/demand/timestamp".to_owned(), created.clone()));
                to.push(("/offer/offerId".to_owned(), json!(view.offer)));
                to.push(("/offer/timestamp".to_owned(), created));
                let signed = [
                    ("/proposedSignature", view.book.confirmed),
                    ("/approvedSignature", view.book.approved),
                    ("/committedSignature", view.book.approved),
                ];
                for (place, _) in signed.into_iter().filter(|(_, at)| at.is_some()) {
                    to.push((place.to_owned(), json!("NoSignature")));
                }
            }
        }
        Response::Results(results) => {
            for nth in 0..results.len() {
                to.push((format!("/{nth}/eventDate"), wire::instant(now)));
            }
        }
        Response::DebitNotes(all) => {
            for (nth, one) in all.iter().enumerate() {
                note(to, &format!("/{nth}"), one, yagna);
            }
        }
        Response::DebitNote(one) => note(to, "", one, yagna),
        Response::Invoices(all) => {
            for (nth, one) in all.iter().enumerate() {
                invoice(to, &format!("/{nth}"), one, yagna);
            }
        }
        Response::Invoice(one) => invoice(to, "", one, yagna),
        Response::BatchCycle(cycle) => {
            let most = cycle.interval.map_or(0, Span::as_secs);
            to.push(("/nodeId".to_owned(), json!(yagna.identity())));
            to.push(("/maxIntervalSec".to_owned(), json!(most)));
            let last = yagna.last_cycle(&cycle.platform).map_or(Value::Null, wire::instant);
            to.push(("/lastProcess".to_owned(), last));
        }
        Response::Identity(_)
        | Response::AllocationReleased
        | Response::Decorations(_)
        | Response::Subscribed(_)
        | Response::Unsubscribed
        | Response::Countered(_)
        | Response::ProposalRejected
        | Response::AgreementCreated(_)
        | Response::Agreements(_)
        | Response::AgreementConfirmed
        | Response::AgreementApproved
        | Response::AgreementCancelled
        | Response::AgreementTerminated
        | Response::AgreementEvents(_)
        | Response::ActivityCreated(_)
        | Response::Activities(_)
        | Response::ActivityDestroyed
        | Response::ActivityState(_)
        | Response::BatchStarted(_)
        | Response::NetworkCreated(_)
        | Response::Networks(_)
        | Response::NetworkRemoved
        | Response::NodeAdded
        | Response::NodeRemoved
        | Response::DebitNoteEvents(_)
        | Response::InvoiceEvents(_)
        | Response::DebitNoteAccepted
        | Response::InvoiceAccepted
        | Response::InvoiceRejected
        | Response::BatchCycleSet
        | Response::ScanBegun(_)
        | Response::ScannedOffers(_)
        | Response::ScanEnded => {}
    }
    patches
}

/// A document as it is written.
pub(super) fn written(told: Response, yagna: &SimYagna, now: Timestamp) -> Value {
    let reply = Ok(told);
    let patches = patches(&reply, yagna, now);
    let response = encode(&Answer { reply, patches, fate: Fate::Through });
    serde_json::from_slice(&response.body).unwrap_or(Value::Null)
}

/// The counters of a use, in the order of the agreement.
pub(super) fn counters(usage: &Usage) -> Value {
    let (cpu, duration) = (decimal(usage.cpu), decimal(usage.duration));
    if usage.is_cpu_first { json!([cpu, duration]) } else { json!([duration, cpu]) }
}

/// Billionths as a number.
fn decimal(billionths: u128) -> Value {
    let text = format!("{}.{:09}", billionths / 1_000_000_000, billionths % 1_000_000_000);
    serde_json::from_str::<Number>(&text).map_or(Value::Null, Value::Number)
}

fn allocation(to: &mut Patches, at: &str, allocation: &Allocation, yagna: &SimYagna) {
    let Some(book) = yagna.allocation(&allocation.id) else { return };
    for key in ["timestamp", "createdTs", "updatedTs"] {
        to.push((format!("{at}/{key}"), wire::instant(book.created)));
    }
}

fn note(to: &mut Patches, at: &str, note: &DebitNote, yagna: &SimYagna) {
    to.push((format!("{at}/recipientId"), json!(yagna.identity())));
    to.push((format!("{at}/payerAddr"), json!(yagna.identity())));
    if let Some(usage) = yagna.usage(&note.activity, note.timestamp.plus(BILL_TICK)) {
        to.push((format!("{at}/usageCounterVector"), counters(&usage)));
    }
}

fn invoice(to: &mut Patches, at: &str, _: &Invoice, yagna: &SimYagna) {
    to.push((format!("{at}/recipientId"), json!(yagna.identity())));
    to.push((format!("{at}/payerAddr"), json!(yagna.identity())));
}

/// Puts `value` where `place` points to; the last key need not be there.
fn put(document: &mut Value, place: &str, value: Value) {
    let Some((parent, key)) = place.rsplit_once('/') else { return };
    if let Some(Value::Object(object)) = document.pointer_mut(parent) {
        object.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{decimal, put};

    #[test]
    fn what_belongs_somewhere_is_put_there() {
        let mut document = json!([{ "a": { "b": "" } }]);

        put(&mut document, "/0/a/b", json!("x"));
        put(&mut document, "/0/c", json!(1));
        put(&mut document, "/1/c", json!(1));

        assert_eq!(document, json!([{ "a": { "b": "x" }, "c": 1 }]));
    }

    #[test]
    fn counters_are_exact_decimals() {
        assert_eq!(decimal(1_000_000_001).to_string(), "1.000000001");
        assert_eq!(decimal(5).to_string(), "0.000000005");
    }
}
