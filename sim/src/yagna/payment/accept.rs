//! Acceptances: what the daemon checks, takes from the allocation, and tells the provider.
//!
//! An acceptance is written at once, but the next one for the same agreement does not see it before
//! the provider has acknowledged it: the daemon's lock holds nobody back. Until then it charges the
//! allocation again.

use ray_on_golem::{
    units::{Glm, Rounding, Span, Timestamp},
    yagna::{
        AllocationId, BillEventKind, BilledAmount, DebitNoteId, DocumentState, InvoiceId, Response,
    },
};

use super::{Due, not_found};
use crate::yagna::{Refusal, Reply, RequestNo, SimYagna, refuse};

/// How soon the daemon finds out that a provider is not there.
const GIVES_UP_AFTER: Span = Span::millis(100);

/// An acceptance under way.
#[derive(Clone, Debug)]
pub(crate) struct Acceptance {
    request: RequestNo,
    /// Which bill it is for, among those of its kind.
    nth: usize,
    agreement: usize,
    /// None for an invoice.
    activity: Option<usize>,
    amount: Glm,
    reply: Reply,
}

impl SimYagna {
    // spec: payment-api acceptDebitNote 400 404 504
    pub(in crate::yagna) fn accept_note(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &DebitNoteId,
        (amount, allocation): (&BilledAmount, &AllocationId),
        timeout: Span,
    ) -> Option<Reply> {
        let bills = &self.payment.bills;
        let Some(number) = bills.note_number(id) else { return Some(Err(not_found())) };
        let (note, facts) = (&bills.notes[number].note, bills.note_facts[number]);
        if !is_same(amount, &note.total_due) {
            return Some(Err(refuse(400, "Invalid amount accepted")));
        }
        if let Some(reply) = settled_before(note.state, "Debit note") {
            return Some(reply.map(|()| Response::DebitNoteAccepted));
        }
        if bills.first_invoice(facts.agreement).is_some_and(|it| ends_notes(it.state)) {
            return Some(Ok(Response::DebitNoteAccepted));
        }
        let due = billed(&note.total_due);
        let seen = bills.by_activity.get(&facts.activity).copied().unwrap_or_default().seen;
        let taken = match self.take(allocation, due.minus(seen), facts.agreement) {
            Ok(taken) => taken,
            Err(refusal) => return Some(Err(refusal)),
        };
        let bills = &mut self.payment.bills;
        let account = bills.by_activity.entry(facts.activity).or_default();
        let more = due.minus(account.accepted);
        account.accepted = account.accepted.plus(more);
        account.payable = account.payable.plus(if taken.is_payable { more } else { Glm::ZERO });
        self.owe(now, facts.agreement, more, taken.is_payable);
        let book = &mut self.payment.bills.notes[number];
        book.note.state = accepted_state(&book.note.total_due);
        book.accepted = Some((now, allocation.clone()));
        book.taken = taken.amount;
        let is_gone = self.agreements.books[facts.agreement].is_provider_gone;
        let learnt = now.plus(self.market.hop());
        self.payment.bills.note_facts[number].learnt = Some(learnt).filter(|_| !is_gone);
        self.tell_of_note(now, number, BillEventKind::Accepted);
        if self.payment.bills.notes[number].note.state == DocumentState::Settled {
            self.tell_of_note(now, number, BillEventKind::Settled);
        }
        let in_time = Ok(Response::DebitNoteAccepted);
        let (agreement, activity) = (facts.agreement, Some(facts.activity));
        let acceptance =
            Acceptance { request, nth: number, agreement, activity, amount: due, reply: in_time };
        self.await_acknowledgement(now, acceptance, timeout, "Debit Note");
        None
    }

    // spec: payment-api acceptInvoice 400 404 504
    pub(in crate::yagna) fn accept_invoice(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &InvoiceId,
        (amount, allocation): (&BilledAmount, &AllocationId),
        timeout: Span,
    ) -> Option<Reply> {
        let bills = &self.payment.bills;
        let Some(number) = bills.invoice_number(id) else { return Some(Err(not_found())) };
        let invoice = &bills.invoices[number].invoice;
        let agreement = bills.invoice_agreements[number];
        if !is_same(amount, &invoice.amount) {
            return Some(Err(refuse(400, "Invalid amount accepted")));
        }
        if let Some(reply) = settled_before(invoice.state, "Invoice") {
            return Some(reply.map(|()| Response::InvoiceAccepted));
        }
        let due = billed(&invoice.amount);
        let seen = bills.by_agreement.get(&agreement).copied().unwrap_or_default().seen;
        if due < seen {
            let text = format!(
                "Invoice is smaller than agreement.total_amount_accepted. invoice_id={id}, \
                 invoice_amount={due}, total_amount_accepted={seen}"
            );
            return Some(Err(refuse(400, &text)));
        }
        let taken = match self.take(allocation, due.minus(seen), agreement) {
            Ok(taken) => taken,
            Err(refusal) => return Some(Err(refusal)),
        };
        let account = self.payment.bills.by_agreement.entry(agreement).or_default();
        let more = due.minus(account.accepted);
        self.owe(now, agreement, more, taken.is_payable);
        let book = &mut self.payment.bills.invoices[number];
        book.invoice.state = accepted_state(&book.invoice.amount);
        book.accepted = Some((now, allocation.clone()));
        book.taken = taken.amount;
        self.tell_of_invoice(now, number, BillEventKind::Accepted);
        if self.payment.bills.invoices[number].invoice.state == DocumentState::Settled {
            self.tell_of_invoice(now, number, BillEventKind::Settled);
        }
        let reply = Ok(Response::InvoiceAccepted);
        let acceptance =
            Acceptance { request, nth: number, agreement, activity: None, amount: due, reply };
        self.await_acknowledgement(now, acceptance, timeout, "Invoice");
        None
    }

    /// What was accepted is seen from here on.
    pub(super) fn on_accept_ended(&mut self, acceptance: Acceptance) {
        let Acceptance { request, nth: _, agreement, activity, amount, reply } = acceptance;
        let bills = &mut self.payment.bills;
        let total = bills.by_agreement.entry(agreement).or_default();
        match activity {
            Some(activity) => {
                let account = bills.by_activity.entry(activity).or_default();
                let more = amount.minus(account.seen);
                account.seen = account.seen.plus(more);
                total.seen = total.seen.plus(more);
            }
            None => total.seen = total.seen.max(amount),
        }
        self.answer(request, reply);
    }

    /// Takes funds from an allocation, if it has them.
    fn take(
        &mut self,
        allocation: &AllocationId,
        needed: Glm,
        agreement: usize,
    ) -> Result<Taken, Refusal> {
        let allocation = self.payment.allocations.open_mut(allocation)?;
        if needed > allocation.remaining {
            let left = allocation.remaining;
            let text = format!("Not enough funds. Allocated: {left} Needed: {needed}");
            return Err(refuse(400, &text));
        }
        allocation.spent = allocation.spent.plus(needed);
        allocation.remaining = allocation.remaining.minus(needed);
        let agreed = &self.agreements.signings[agreement].deal.platform;
        Ok(Taken { amount: needed, is_payable: allocation.platform == *agreed })
    }

    fn await_acknowledgement(
        &mut self,
        now: Timestamp,
        acceptance: Acceptance,
        timeout: Span,
        what: &str,
    ) {
        self.open.insert(acceptance.request);
        let agreement = acceptance.agreement;
        let needed = if self.agreements.books[agreement].is_provider_gone {
            GIVES_UP_AFTER
        } else {
            let deal = &self.agreements.signings[agreement].deal;
            let nth = acceptance.nth as u64;
            let thinks = deal.millis(what, nth, &deal.conduct().acknowledges_ms);
            thinks.plus(self.market.hop()).plus(self.market.hop())
        };
        // A time-out of zero waits for ever.
        let is_late = timeout != Span::ZERO && needed > timeout;
        let (at, reply) = if is_late {
            let text = format!("Timeout accepting {what} on remote Node.");
            (now.plus(timeout), Err(refuse(504, &text)))
        } else {
            (now.plus(needed), acceptance.reply.clone())
        };
        self.agenda.add(at, Due::AcceptEnds(Box::new(Acceptance { reply, ..acceptance })));
    }
}

/// What was taken from an allocation.
struct Taken {
    amount: Glm,
    /// Whether the allocation is on the agreement's platform: nothing checks it, but what is
    /// reserved elsewhere is never paid.
    is_payable: bool,
}

/// The answer to an acceptance of a document that needs none.
fn settled_before(state: DocumentState, what: &str) -> Option<Result<(), Refusal>> {
    match state {
        DocumentState::Received | DocumentState::Rejected | DocumentState::Failed => None,
        DocumentState::Accepted | DocumentState::Settled => Some(Ok(())),
        DocumentState::Issued => Some(Err(refuse(500, "Illegal status: issued"))),
        DocumentState::Cancelled => Some(Err(refuse(400, &format!("{what} cancelled")))),
    }
}

/// Whether an invoice in this state makes the acceptance of debit notes do nothing.
const fn ends_notes(state: DocumentState) -> bool {
    match state {
        DocumentState::Issued | DocumentState::Received => false,
        DocumentState::Accepted
        | DocumentState::Rejected
        | DocumentState::Failed
        | DocumentState::Settled
        | DocumentState::Cancelled => true,
    }
}

/// A bill of nothing is settled at once; one of less than nothing is not.
fn accepted_state(amount: &BilledAmount) -> DocumentState {
    if amount.glm() == Ok(Glm::ZERO) { DocumentState::Settled } else { DocumentState::Accepted }
}

/// Whether two amounts are the same number, however they are written.
fn is_same(one: &BilledAmount, other: &BilledAmount) -> bool {
    let exact = |amount: &BilledAmount| Glm::parse(amount.as_str(), Rounding::Exact);
    match (exact(one), exact(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Ok(_) | Err(_), _) => one == other,
    }
}

fn billed(amount: &BilledAmount) -> Glm {
    amount.glm().unwrap_or(Glm::ZERO)
}
