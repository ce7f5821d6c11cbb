//! What is not paid, and what goes before an invoice is rejected.

use super::{
    Bill, BillId, Bills, BillsCall, FETCH_PATIENCE, JobNo, RECONCILE_BACK,
    decide::{ACCEPT_PATIENCE, EARLY_PAUSE},
};
use crate::{
    core::{
        cluster::{
            ClusterTimer,
            record::{AgreementFact, Dispute},
        },
        effects::Effects,
        ids::AgreementNo,
        output::Notice,
        planted::Bug,
        record::Record,
        timer_of,
    },
    units::Timestamp,
    yagna::{CallError, RejectionReason, Request, Response},
};

/// An invoice is rejected without the list of its agreement's debit notes, if the daemon refuses that so often.
const LIST_TRIES: u32 = 6;

/// What of an agreement's debit notes is to be decided before its invoice is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Before {
    None,
    /// One was not fetched, and may be of the agreement.
    Unread,
    Decidable,
}

impl Bills {
    /// Disputes a bill; true if nothing of its agreement goes before it, so that this is done. After a rejection the
    /// daemon would let debit notes pass without paying them: the invoice of an agreement that is over waits until
    /// the daemon has listed them, and they are decided.
    pub(super) fn refuse(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        job: JobNo,
        reason: String,
    ) -> bool {
        let Some(bill) = self.jobs.get(&job).and_then(|work| work.bill.clone()) else {
            return true;
        };
        let account = fx.cluster(self.cluster).account(number);
        let is_last = account.is_none_or(|it| it.invoice.is_some() || it.is_rejected);
        if matches!(bill, Bill::Note(_)) || is_last || !self.is_over(fx, number) {
            self.dispute(fx, number, job, &bill, reason);
            return true;
        }
        let Some(work) = self.jobs.get_mut(&job) else { return true };
        work.refusal = Some(reason.clone());
        let is_listed = work.is_listed || fx.planted(Bug::RejectedUnread);
        match self.notes_before(number) {
            Before::Decidable => {
                self.rotate(number);
                true
            }
            Before::Unread if is_listed => {
                fx.wake(timer_of(self.cluster, ClusterTimer::Bill(job)), fx.now.plus(EARLY_PAUSE));
                false
            }
            Before::None if is_listed => {
                self.dispute(fx, number, job, &bill, reason);
                true
            }
            Before::Unread | Before::None => {
                self.list_notes_before(fx, job);
                false
            }
        }
    }

    /// Debit notes that may be of this agreement, and are not decided.
    fn notes_before(&self, number: AgreementNo) -> Before {
        let notes = self.jobs.values().filter(|work| matches!(work.id, BillId::Note(_)));
        let known = notes.map(|work| work.number);
        let before = known.filter_map(|of| match of {
            Some(of) if of == number => Some(Before::Decidable),
            Some(_) => None,
            None => Some(Before::Unread),
        });
        before.max().unwrap_or(Before::None)
    }

    /// Has the daemon list the debit notes that it dates, by its own clock, after those that are known to be read.
    fn list_notes_before(&mut self, fx: &mut Effects, job: JobNo) {
        let read = fx.cluster(self.cluster).notes_read.minus(RECONCILE_BACK);
        let after = read.max(self.billed_since.unwrap_or(Timestamp::EPOCH));
        let request = Request::ListDebitNotes { after };
        if let Some(work) = self.jobs.get_mut(&job) {
            work.is_asked = true;
            fx.call(self.purpose(BillsCall::ListBefore(job)), request, FETCH_PATIENCE);
        }
    }

    pub(super) fn on_listed_before(
        &mut self,
        fx: &mut Effects,
        job: JobNo,
        result: Result<Response, CallError>,
    ) {
        let Some(work) = self.jobs.get_mut(&job) else { return };
        let Some(number) = work.number else { return };
        work.is_asked = false;
        work.is_listed = matches!(result, Ok(Response::DebitNotes(_)));
        if work.is_listed {
            work.failures = 0;
            self.on_listed(fx, result);
        } else if self.job_later(fx, job) >= LIST_TRIES
            && let Some(work) = self.jobs.get_mut(&job)
        {
            work.is_listed = true;
        }
        self.serve(fx, number);
    }

    pub(super) fn dispute(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        job: JobNo,
        bill: &Bill,
        reason: String,
    ) {
        let (id, amount) = match bill {
            Bill::Note(note) => (note.id.to_string(), note.total_due.clone()),
            Bill::Invoice(invoice) => (invoice.id.to_string(), invoice.amount.clone()),
        };
        let is_over = self.is_over(fx, number);
        let state = fx.cluster(self.cluster);
        let is_rejected = state.account(number).is_some_and(|account| account.is_rejected);
        let is_told = state.disputes.iter().any(|told| told.bill == id);
        // After a restart a bill is judged once more. That its invoice is rejected is news for the books.
        if !is_told || is_over && !is_rejected && matches!(bill, Bill::Invoice(_)) {
            let dispute = Dispute { bill: id, amount, reason: reason.clone(), at: fx.now };
            if !is_told {
                self.tell(fx, &dispute);
            }
            let fact = match bill {
                Bill::Note(_) => AgreementFact::NoteDisputed(dispute),
                Bill::Invoice(_) => AgreementFact::InvoiceDisputed(dispute),
            };
            if !fx.planted(Bug::DisputeUnrecorded) {
                fx.record(Record::agreement(self.cluster, number, fact));
            }
        }
        if let Bill::Invoice(invoice) = bill
            && is_over
        {
            let request = Request::RejectInvoice {
                invoice: invoice.id.clone(),
                reason: RejectionReason::IncorrectAmount,
                message: reason,
            };
            fx.call(self.purpose(BillsCall::Reject), request, ACCEPT_PATIENCE);
            self.done.push(number);
        }
        self.finish(fx, job);
    }

    fn tell(&self, fx: &mut Effects, dispute: &Dispute) {
        let cluster = fx.cluster(self.cluster).name.clone();
        let (amount, reason) = (dispute.amount.as_str(), &dispute.reason);
        let what = format!("a bill of {amount} GLM is not paid: {reason}");
        fx.notify(Notice::Cluster { cluster, what });
    }
}
