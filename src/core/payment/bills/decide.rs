//! From a bill that was read to its decision.

use super::{Bill, BillId, Bills, BillsCall, Job, JobNo};
use crate::{
    core::{
        cluster::{
            ClusterTimer,
            account::Account,
            record::AgreementFact,
            state::{ClusterState, Funds},
        },
        effects::Effects,
        ids::AgreementNo,
        payment::verdict::{self, Verdict},
        planted::Bug,
        record::Record,
        timer_of,
    },
    units::{Glm, Span, Timestamp},
    yagna::{CallError, DocumentState, Doubt, Request, Response, Status},
};

/// The daemon may still be busy with an acceptance that it has not answered for so long.
const QUIET: Span = Span::secs(20);
/// Long enough for a provider that is slow to acknowledge; what comes later is accepted all the same.
const ACCEPT_TIMEOUT: Span = Span::secs(15);
pub(super) const ACCEPT_PATIENCE: Span = Span::secs(20);
/// An invoice for an agreement that seems to run is looked at again for so long.
const EARLY_PATIENCE: Span = Span::secs(60);
pub(super) const EARLY_PAUSE: Span = Span::secs(5);
/// Without funds a bill waits so often, and is then disputed.
const UNFUNDED_TRIES: u32 = 12;

impl Bills {
    /// An agreement is over: an invoice that waited for that can be decided.
    pub(in crate::core) fn on_over(&mut self, fx: &mut Effects, number: AgreementNo) {
        self.prefer_invoice(number);
        self.serve(fx, number);
    }

    /// The invoice of an agreement that is over pays for all its debit notes: it goes before those
    /// that wait, behind the one that is under way.
    fn prefer_invoice(&mut self, number: AgreementNo) {
        let Some(queue) = self.queues.get_mut(&number) else { return };
        let jobs = &self.jobs;
        let begun = queue.iter().take_while(|job| jobs.get(job).is_some_and(Job::is_begun)).count();
        let is_invoice =
            |job: &JobNo| jobs.get(job).is_some_and(|work| matches!(work.id, BillId::Invoice(_)));
        let found = queue.iter().skip(begun).position(is_invoice);
        if let Some(job) = found.and_then(|place| queue.remove(begun.saturating_add(place))) {
            queue.insert(begun, job);
        }
    }

    /// What became of an acceptance that was in doubt.
    pub(super) fn on_looked(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        job: JobNo,
        result: &Result<Response, CallError>,
    ) {
        let state = match result {
            Ok(Response::DebitNote(note)) => note.state,
            Ok(Response::Invoice(invoice)) => invoice.state,
            // What the daemon does not have it does not pay.
            Err(error) if error.is_unknown_id() => {
                self.finish(fx, job);
                self.serve(fx, number);
                return;
            }
            Ok(_) | Err(_) => {
                self.job_later(fx, job);
                return;
            }
        };
        let Some(work) = self.jobs.get_mut(&job) else { return };
        work.is_doubtful = false;
        if state != DocumentState::Received
            && let Some(bill) = work.bill.clone()
        {
            self.paid(fx, number, job, &bill);
        }
        self.serve(fx, number);
    }

    pub(super) fn enqueue(&mut self, fx: &mut Effects, job: JobNo, bill: Bill) {
        let (agreement, state) = match &bill {
            Bill::Note(note) => (&note.agreement, note.state),
            Bill::Invoice(invoice) => (&invoice.agreement, invoice.state),
        };
        let number = self.numbers.get(agreement).copied();
        let is_open = state == DocumentState::Received || state == DocumentState::Issued;
        let (true, Some(number)) = (is_open, number) else {
            // What the daemon now says is of no agreement of ours may be of one by its next listing.
            if number.is_some() {
                self.finish(fx, job)
            } else {
                drop(self.drop_job(fx, job))
            }
            return;
        };
        let Some(work) = self.jobs.get_mut(&job) else { return };
        work.bill = Some(bill);
        work.number = Some(number);
        work.failures = 0;
        self.queues.entry(number).or_default().push_back(job);
        if self.is_over(fx, number) {
            self.prefer_invoice(number);
        }
        self.serve(fx, number);
    }

    /// Decides the bills of an agreement, one after another.
    pub(super) fn serve(&mut self, fx: &mut Effects, number: AgreementNo) {
        // Bills that need no acceptance are done at once; each turn ends one of them, or lets it
        // step back behind the debit notes.
        for _ in 0..=self.jobs.len().saturating_mul(2) {
            let Some(job) = self.queues.get(&number).and_then(|queue| queue.front()).copied()
            else {
                self.queues.remove(&number);
                return;
            };
            if !self.decide(fx, number, job) {
                return;
            }
        }
    }

    /// Decides one bill; true if it is done.
    pub(super) fn decide(&mut self, fx: &mut Effects, number: AgreementNo, job: JobNo) -> bool {
        let timer = timer_of(self.cluster, ClusterTimer::Bill(job));
        let Some(work) = self.jobs.get(&job) else { return true };
        if work.is_asked || fx.timers.due(&timer).is_some_and(|at| at > fx.now) && work.failures > 0
        {
            return false;
        }
        let quiet = self.quiet.get(&number).copied().unwrap_or(Timestamp::EPOCH);
        let holds_until = self.holds_until.max(quiet);
        if fx.now < holds_until {
            fx.wake(timer, holds_until);
            return false;
        }
        self.quiet.remove(&number);
        if work.is_doubtful {
            self.look_at(fx, job);
            return false;
        }
        let (Some(bill), born) = (work.bill.clone(), work.born) else { return true };
        let state = fx.cluster(self.cluster);
        let account = state.account(number);
        let Some(account) = account else {
            self.finish(fx, job);
            return true;
        };
        let verdict = match &work.refusal {
            Some(reason) => Verdict::Dispute(reason.clone()),
            None => judge(fx, state, account, &bill),
        };
        match verdict {
            Verdict::Pay(total) => {
                self.pay(fx, number, job, &bill, total);
                false
            }
            Verdict::Covered => {
                self.finish(fx, job);
                true
            }
            Verdict::Dispute(reason) => self.refuse(fx, number, job, reason),
            Verdict::TooEarly
                if fx.now.since(born) >= EARLY_PATIENCE && !fx.planted(Bug::EarlyInvoiceWaits) =>
            {
                let reason = "the agreement is still running".to_owned();
                self.dispute(fx, number, job, &bill, reason);
                true
            }
            Verdict::TooEarly => {
                // Notes behind it must not wait.
                self.rotate(number);
                fx.wake(timer, fx.now.plus(EARLY_PAUSE));
                false
            }
        }
    }

    /// What comes behind the first bill goes before it.
    pub(super) fn rotate(&mut self, number: AgreementNo) {
        if let Some(queue) = self.queues.get_mut(&number)
            && queue.len() > 1
        {
            queue.rotate_left(1);
        }
    }

    fn pay(&mut self, fx: &mut Effects, number: AgreementNo, job: JobNo, bill: &Bill, total: Glm) {
        let mut clusters = fx.durable().clusters().values();
        let funds = match clusters.find(|it| matches!(it.funds, Funds::Set { .. })) {
            Some(first) if fx.planted(Bug::FundsMixed) => &first.funds,
            Some(_) | None => &fx.cluster(self.cluster).funds,
        };
        let Funds::Set { allocation, .. } = funds else {
            self.unfunded(fx, job);
            return;
        };
        let allocation = allocation.clone();
        let timeout = ACCEPT_TIMEOUT;
        let (fact, request) = match bill {
            Bill::Note(note) => (
                AgreementFact::NoteAccepted { note: note.id.clone(), total },
                Request::AcceptDebitNote {
                    debit_note: note.id.clone(),
                    amount: note.total_due.clone(),
                    allocation,
                    timeout,
                },
            ),
            Bill::Invoice(invoice) => (
                AgreementFact::InvoiceAccepted { invoice: invoice.id.clone(), total },
                Request::AcceptInvoice {
                    invoice: invoice.id.clone(),
                    amount: invoice.amount.clone(),
                    allocation,
                    timeout,
                },
            ),
        };
        let state = fx.cluster(self.cluster);
        let account = state.account(number);
        let is_news = account.is_some_and(|account| {
            total > account.accepted
                || matches!(bill, Bill::Invoice(_)) && account.invoice.is_none()
        });
        if is_news {
            fx.record(Record::agreement(self.cluster, number, fact));
        }
        if let Some(work) = self.jobs.get_mut(&job) {
            work.is_asked = true;
        }
        fx.call(self.purpose(BillsCall::Accept(job)), request, ACCEPT_PATIENCE);
        if fx.planted(Bug::AcceptsOvertake) {
            self.finish(fx, job);
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        fx: &mut Effects,
        job: JobNo,
        result: &Result<Response, CallError>,
    ) {
        let Some(work) = self.jobs.get_mut(&job) else { return };
        work.is_asked = false;
        let (Some(number), Some(bill)) = (work.number, work.bill.clone()) else { return };
        match result {
            Ok(_) => self.paid(fx, number, job, &bill),
            // Accepted; the provider only has not said that it knows.
            Err(CallError::Unknown(Doubt::Failed { status: Status::GATEWAY_TIMEOUT, .. })) => {
                if fx.planted(Bug::TimeoutMeansRefused) {
                    let reason = "the daemon timed out".to_owned();
                    self.dispute(fx, number, job, &bill, reason);
                } else {
                    self.quiet.insert(number, fx.now.plus(QUIET));
                    self.paid(fx, number, job, &bill);
                }
            }
            Err(error @ CallError::Rejected { status, body }) => {
                if *status == Status::NOT_FOUND {
                    self.finish(fx, job);
                } else if body.contains("Allocation") || body.contains("Not enough funds") {
                    self.is_allocation_doubtful = true;
                    self.unfunded(fx, job);
                } else {
                    work.refusal = Some(format!("the daemon refused to accept it: {error}"));
                    work.failures = 0;
                }
            }
            Err(CallError::NotSent { .. }) => {
                self.job_later(fx, job);
            }
            Err(CallError::Unknown(_)) => {
                work.is_doubtful = true;
                self.quiet.insert(number, fx.now.plus(QUIET));
                self.job_later(fx, job);
            }
        }
        self.serve(fx, number);
    }

    pub(super) fn paid(&mut self, fx: &mut Effects, number: AgreementNo, job: JobNo, bill: &Bill) {
        self.finish(fx, job);
        if let Bill::Invoice(_) = bill {
            self.done.push(number);
        }
    }

    /// There is nothing to pay from right now.
    fn unfunded(&mut self, fx: &mut Effects, job: JobNo) {
        if self.job_later(fx, job) >= UNFUNDED_TRIES
            && let Some(work) = self.jobs.get_mut(&job)
        {
            work.refusal = Some("there were no funds to pay it from".to_owned());
            work.failures = 0;
        }
    }

    /// While an agreement runs its invoice is disputed in silence: after a rejection the daemon would
    /// not accept debit notes either, and the provider would leave.
    pub(super) fn is_over(&self, fx: &Effects, number: AgreementNo) -> bool {
        let state = fx.cluster(self.cluster);
        state.accounts.get(&number).is_none_or(|account| account.over.is_some())
    }
}

/// What to do with a bill, by what is agreed and what is known by now.
fn judge(fx: &Effects, state: &ClusterState, account: &Account, bill: &Bill) -> Verdict {
    let is_trusted = match bill {
        Bill::Note(_) => fx.planted(Bug::CapIgnored),
        Bill::Invoice(_) => fx.planted(Bug::InvoiceTrusted),
    };
    let cap = if is_trusted { Glm::MAX } else { account.cap(fx.now) };
    let verdict = match bill {
        Bill::Note(note) => verdict::of_note(state, account, note, cap),
        Bill::Invoice(invoice) => verdict::of_invoice(state, account, invoice, cap),
    };
    match verdict {
        Verdict::Covered if fx.planted(Bug::CoveredPaidAgain) => Verdict::Pay(account.accepted),
        Verdict::Pay(_) | Verdict::Covered | Verdict::Dispute(_) | Verdict::TooEarly => verdict,
    }
}

impl Job {
    /// Whether its acceptance was asked for: nothing else of its agreement may be before it.
    const fn is_begun(&self) -> bool {
        self.is_asked || self.is_doubtful
    }
}
