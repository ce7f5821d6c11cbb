//! Debit notes and invoices that reached the daemon, and what happened to them.

use std::collections::BTreeMap;

use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{
        BillEvent, BillEventKind, DebitNote, DebitNoteId, DocumentState, Invoice, InvoiceId,
        RejectionReason, Response, SessionId,
    },
};

use super::{Due, not_found};
use crate::yagna::{
    Reply, RequestNo, SimYagna,
    books::{InvoiceBook, NoteBook, PaymentBook},
    ids::place,
    log::{Log, Poll},
    refuse,
};

/// The daemon looks for new events this often.
const LOOKS_EVERY: Span = Span::secs(1);

/// All bills that ever reached the daemon.
#[derive(Debug, Default)]
pub(in crate::yagna) struct Bills {
    pub(in crate::yagna) notes: Vec<NoteBook>,
    pub(in crate::yagna) invoices: Vec<InvoiceBook>,
    pub(in crate::yagna) payments: Vec<PaymentBook>,
    pub(super) note_facts: Vec<NoteFacts>,
    /// The agreements of the invoices.
    pub(super) invoice_agreements: Vec<usize>,
    /// What was accepted for each activity.
    pub(super) by_activity: BTreeMap<usize, Account>,
    /// What was accepted for each agreement, activities included.
    pub(super) by_agreement: BTreeMap<usize, Account>,
    note_log: Log<BillEvent<DebitNoteId>>,
    invoice_log: Log<BillEvent<InvoiceId>>,
}

/// What the book of a debit note does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoteFacts {
    pub(super) agreement: usize,
    pub(super) activity: usize,
    /// When its issuer learns that it was accepted.
    pub(super) learnt: Option<Timestamp>,
}

/// What was accepted for an activity or an agreement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// All of it.
    pub(super) accepted: Glm,
    /// As much of it as the daemon sees that works on the next acceptance.
    pub(super) seen: Glm,
    /// What is to be paid of it: all but what is reserved on another platform.
    pub(super) payable: Glm,
    /// What was ordered to be paid of it.
    pub(super) ordered: Glm,
    /// What was paid of it.
    pub(super) paid: Glm,
}

impl Bills {
    pub(super) fn note_number(&self, id: &DebitNoteId) -> Option<usize> {
        place(&self.notes, id.as_str(), 12, |book| book.note.id.as_str())
    }

    pub(super) fn invoice_number(&self, id: &InvoiceId) -> Option<usize> {
        place(&self.invoices, id.as_str(), 12, |book| book.invoice.id.as_str())
    }

    pub(in crate::yagna) fn forget_polls(&mut self) {
        self.note_log.leave_all();
        self.invoice_log.leave_all();
    }

    /// Ends the waiting of a request; tells whether it waited.
    pub(in crate::yagna) fn cancel(&mut self, request: RequestNo) -> bool {
        self.note_log.take(request).is_some() || self.invoice_log.take(request).is_some()
    }

    pub(in crate::yagna) fn get_note(&self, id: &DebitNoteId) -> Reply {
        let number = self.note_number(id).ok_or_else(not_found)?;
        Ok(Response::DebitNote(Box::new(self.notes[number].note.clone())))
    }

    pub(in crate::yagna) fn get_invoice(&self, id: &InvoiceId) -> Reply {
        let number = self.invoice_number(id).ok_or_else(not_found)?;
        Ok(Response::Invoice(Box::new(self.invoices[number].invoice.clone())))
    }

    pub(in crate::yagna) fn list_notes(&self, after: Timestamp) -> Reply {
        let later = self.notes.iter().filter(|book| book.note.timestamp > after);
        Ok(Response::DebitNotes(later.map(|book| book.note.clone()).collect()))
    }

    pub(in crate::yagna) fn list_invoices(&self, after: Timestamp) -> Reply {
        let later = self.invoices.iter().filter(|book| book.invoice.timestamp > after);
        Ok(Response::Invoices(later.map(|book| book.invoice.clone()).collect()))
    }
}

impl SimYagna {
    pub(in crate::yagna) fn collect_note_events(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        session: &SessionId,
        after: Timestamp,
        timeout: Span,
    ) -> Option<Reply> {
        let events = self.payment.bills.note_log.read(session, after);
        if !events.is_empty() || timeout == Span::ZERO {
            return Some(Ok(Response::DebitNoteEvents(events)));
        }
        self.open.insert(request);
        let poll = Poll { request, session: session.clone(), after, since: now };
        self.payment.bills.note_log.wait(poll);
        self.agenda.add(now.plus(timeout), Due::PollEnds(request));
        None
    }

    pub(in crate::yagna) fn collect_invoice_events(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        session: &SessionId,
        after: Timestamp,
        timeout: Span,
    ) -> Option<Reply> {
        let events = self.payment.bills.invoice_log.read(session, after);
        if !events.is_empty() || timeout == Span::ZERO {
            return Some(Ok(Response::InvoiceEvents(events)));
        }
        self.open.insert(request);
        let poll = Poll { request, session: session.clone(), after, since: now };
        self.payment.bills.invoice_log.wait(poll);
        self.agenda.add(now.plus(timeout), Due::PollEnds(request));
        None
    }

    // spec: payment-api rejectInvoice 400 404
    pub(in crate::yagna) fn reject_invoice(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &InvoiceId,
        _reason: RejectionReason,
    ) -> Option<Reply> {
        let Some(number) = self.payment.bills.invoice_number(id) else {
            return Some(Err(not_found()));
        };
        let book = &mut self.payment.bills.invoices[number];
        match book.invoice.state {
            DocumentState::Received | DocumentState::Failed => {}
            DocumentState::Rejected => return Some(Ok(Response::InvoiceRejected)),
            DocumentState::Accepted => return Some(Err(refuse(400, "Invoice accepted"))),
            DocumentState::Settled => return Some(Err(refuse(400, "Invoice settled"))),
            DocumentState::Cancelled => return Some(Err(refuse(400, "Invoice cancelled"))),
            DocumentState::Issued => {
                return Some(Err(refuse(500, "Illegal status: issued")));
            }
        }
        book.invoice.state = DocumentState::Rejected;
        book.rejected = Some(now);
        self.tell_of_invoice(now, number, BillEventKind::Rejected);
        let at = self.keep_open(now, request);
        self.answer_back(at, request, Ok(Response::InvoiceRejected));
        None
    }

    pub(super) fn on_note_arrived(
        &mut self,
        now: Timestamp,
        agreement: usize,
        activity: usize,
        note: DebitNote,
    ) {
        let number = self.payment.bills.notes.len();
        let id = self.ids.debit_note(number);
        if let Some(due) = note.payment_due {
            self.agenda.add(due, Due::PaymentDeadline(number));
        }
        let terms = self.agreements.signings[agreement].deal.terms;
        let accept_by = Span::secs(terms.accept_timeout.unwrap_or(0));
        self.agenda.add(now.plus(accept_by), Due::NoteDeadline(number));
        self.payment.bills.notes.push(NoteBook {
            note: DebitNote { id, ..note },
            received: now,
            accepted: None,
            taken: Glm::ZERO,
        });
        self.payment.bills.note_facts.push(NoteFacts { agreement, activity, learnt: None });
        self.tell_of_note(now, number, BillEventKind::Received);
    }

    pub(super) fn on_invoice_arrived(
        &mut self,
        now: Timestamp,
        agreement: usize,
        invoice: Invoice,
    ) {
        let number = self.payment.bills.invoices.len();
        let id = self.ids.invoice(number);
        self.payment.bills.invoices.push(InvoiceBook {
            invoice: Invoice { id, ..invoice },
            received: now,
            accepted: None,
            rejected: None,
            taken: Glm::ZERO,
        });
        self.payment.bills.invoice_agreements.push(agreement);
        self.tell_of_invoice(now, number, BillEventKind::Received);
    }

    /// Notes that something happened to a debit note, and wakes whoever waits for it.
    pub(super) fn tell_of_note(&mut self, now: Timestamp, number: usize, kind: BillEventKind) {
        let bills = &mut self.payment.bills;
        let id = bills.notes[number].note.id.clone();
        let agreement = bills.note_facts[number].agreement;
        let session = self.agreements.books[agreement].session.clone();
        bills.note_log.add(now, session.clone(), |at| BillEvent { id, at, kind });
        for poll in bills.note_log.waiting(session.as_ref()) {
            self.agenda.add(next_look(poll, now), Due::PollLooks(poll.request));
        }
    }

    /// Notes that something happened to an invoice, and wakes whoever waits for it.
    pub(super) fn tell_of_invoice(&mut self, now: Timestamp, number: usize, kind: BillEventKind) {
        let bills = &mut self.payment.bills;
        let id = bills.invoices[number].invoice.id.clone();
        let agreement = bills.invoice_agreements[number];
        let session = self.agreements.books[agreement].session.clone();
        bills.invoice_log.add(now, session.clone(), |at| BillEvent { id, at, kind });
        for poll in bills.invoice_log.waiting(session.as_ref()) {
            self.agenda.add(next_look(poll, now), Due::PollLooks(poll.request));
        }
    }

    /// Answers a request for events with what there is.
    pub(super) fn end_bill_poll(&mut self, request: RequestNo) {
        let bills = &mut self.payment.bills;
        if let Some(poll) = bills.note_log.take(request) {
            let events = bills.note_log.read(&poll.session, poll.after);
            self.answer(request, Ok(Response::DebitNoteEvents(events)));
        } else if let Some(poll) = bills.invoice_log.take(request) {
            let events = bills.invoice_log.read(&poll.session, poll.after);
            self.answer(request, Ok(Response::InvoiceEvents(events)));
        }
    }
}

/// When the daemon looks again for somebody who waits.
fn next_look(poll: &Poll, now: Timestamp) -> Timestamp {
    let looks = now.since(poll.since).as_micros() / LOOKS_EVERY.as_micros() + 1;
    poll.since.plus(LOOKS_EVERY.times(looks))
}
