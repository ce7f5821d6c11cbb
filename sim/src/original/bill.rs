//! What the original takes for a fair bill (§10).
//!
//! The bills of the simulation carry no usage counters. A provider that bills too much is taken to state
//! counters that fit, so that only the limits by time, price, and threads are left to catch it.

use ray_on_golem::{
    core::market::{offer::Offer, spec::Gib},
    units::{Glm, Span, Timestamp},
    yagna::Invoice,
};

use super::service::{Activity, Agreement, Note, Service};

/// More time than has passed, for a whole bill.
const GRACE: Span = Span::mins(5);
/// More time than has passed since the debit note before.
const GRACE_SINCE_LAST: Span = Span::mins(1);
/// Less time between debit notes than was agreed on.
const GRACE_OF_INTERVAL: Span = Span::secs(30);

const MILLION: u128 = 1_000_000;

/// Whether a debit note is accepted.
pub(super) fn note_is_fair(note: &Note, activity: &Activity, agreement: &Agreement) -> bool {
    if agreement.approved.get().is_none() {
        return false;
    }
    let notes = activity.notes.borrow();
    let before = || notes.iter().filter(|other| other.came < note.came);
    let payable = before().filter(|other| other.document.payment_due.is_some()).count() as u64;
    if !is_in_time(note, activity, agreement, before().count() as u64, payable) {
        return false;
    }
    let Ok(amount) = note.document.total_due.glm() else { return false };
    let age = note.came.since(activity.created);
    if amount > most(&agreement.offer, age.plus(GRACE)) {
        return false;
    }
    let Some(last) = before().max_by_key(|other| other.came) else { return true };
    let more = amount.minus(last.document.total_due.glm().unwrap_or(Glm::ZERO));
    more <= most(&agreement.offer, note.came.since(last.came).plus(GRACE_SINCE_LAST))
}

/// A payable note must leave the agreed time, and there must not be too many.
fn is_in_time(
    note: &Note,
    activity: &Activity,
    agreement: &Agreement,
    before: u64,
    payable_before: u64,
) -> bool {
    let Some(due) = note.document.payment_due else { return true };
    let Some(terms) = agreement.offer.terms else { return false };
    let timeout = Span::secs(terms.payment_timeout);
    let interval = Span::secs(terms.note_interval);
    let age = note.came.since(activity.created);
    due.since(note.came).plus(GRACE) >= timeout
        && age.plus(GRACE_OF_INTERVAL) >= interval.times(before.saturating_sub(1))
        && age.plus(GRACE) >= timeout.times(payable_before.saturating_sub(1))
}

/// Whether an invoice is accepted.
pub(super) fn invoice_is_fair(
    invoice: &Invoice,
    came: Timestamp,
    agreement: &Agreement,
    service: &Service,
) -> bool {
    let Some(approved) = agreement.approved.get() else { return false };
    let Ok(amount) = invoice.amount.glm() else { return false };
    let age = service.world.now().since(approved);
    if amount > most(&agreement.offer, age.plus(GRACE)) {
        return false;
    }
    let activities = service.activities.borrow();
    let (mut since_last, mut billed) = (Span::ZERO, Glm::ZERO);
    for activity in agreement.activities.borrow().iter().filter_map(|id| activities.get(id)) {
        let notes = activity.notes.borrow();
        if let Some(last) = notes.iter().max_by_key(|note| note.came)
            && last.came < came
        {
            since_last = since_last.plus(came.since(last.came));
            billed = billed.plus(last.document.total_due.glm().unwrap_or(Glm::ZERO));
        }
    }
    since_last == Span::ZERO
        || amount.minus(billed) <= most(&agreement.offer, since_last.plus(GRACE_SINCE_LAST))
}

/// What a node can have cost at most in so long: all threads busy, started once.
fn most(offer: &Offer, span: Span) -> Glm {
    let micros = u128::from(span.as_micros());
    let price = &offer.price;
    let cpu = price.cpu_second.as_atto().saturating_mul(u128::from(offer.threads));
    let by_time = cpu.saturating_add(price.env_second.as_atto()).saturating_mul(micros);
    let held = |gib: Gib, price: Glm| {
        price.as_atto().saturating_mul(u128::from(gib.as_millionths())).div_ceil(MILLION)
    };
    price
        .start
        .plus(Glm::from_atto(by_time.div_ceil(MILLION)))
        .plus(Glm::from_atto(held(offer.storage, price.storage_gib_second)))
        .plus(Glm::from_atto(held(offer.mem, price.mem_gib_second)))
}
