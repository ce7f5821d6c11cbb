//! Takes up every bill and decides it: paid, or disputed with a reason (M2, M6).
//!
//! Providers leave when a note is not accepted in time, so nothing here waits for anything else:
//! agreements are served side by side. Within an agreement bills are served one after another,
//! because the daemon counts acceptances that overtake each other several times.

mod decide;
mod reject;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    core::{
        Purpose,
        backoff::Backoff,
        cluster::{
            ClusterCall, ClusterTimer,
            record::ClusterRecord,
            stream::{self, Next, Stream},
        },
        effects::Effects,
        ids::{AgreementNo, ClusterId},
        output::Notice,
        planted::Bug,
        timer_of,
    },
    units::{Span, Timestamp},
    yagna::{
        AgreementId, CallError, DebitNote, DebitNoteId, DocumentState, Invoice, InvoiceId, Request,
        Response, Status, model::BillEventKind, request::Endpoint,
    },
};

/// A request of a dead process may still reach the daemon for so long.
const DOUBT: Span = Span::secs(35);
const FETCH_PATIENCE: Span = Span::secs(10);
/// Fetches side by side; acceptances are bounded by the agreements.
const FETCHES_MAX: usize = 32;
/// A bill that could not even be fetched for so long is left to the next comparison.
const FETCH_TRIES: u32 = 20;
/// Decided bills that are remembered, so that comparing the lists does not take them up again.
const DECIDED_MAX: usize = 20_000;
/// Debit notes are listed from so long before their latest event.
const RECONCILE_BACK: Span = Span::mins(15);
/// A provider's clock, by which its bills are dated, may be so far behind the daemon's.
const PROVIDER_LATE: Span = Span::days(1);
/// So often the position in the lists is recorded.
const READ_EVERY: Span = Span::mins(5);
const STRUGGLING_AFTER: u32 = 3;

/// Numbers a bill in work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobNo(pub u32);

/// What the calls about bills are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum BillsCall {
    Notes,
    Invoices,
    ListNotes,
    ListInvoices,
    /// The debit notes that are decided before an invoice is rejected.
    ListBefore(JobNo),
    Fetch(JobNo),
    Accept(JobNo),
    Reject,
}

/// A bill by its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum BillId {
    Note(DebitNoteId),
    Invoice(InvoiceId),
}

/// What a bill says.
#[derive(Clone, Debug)]
enum Bill {
    Note(Box<DebitNote>),
    Invoice(Box<Invoice>),
}

#[derive(Debug)]
struct Job {
    id: BillId,
    bill: Option<Bill>,
    number: Option<AgreementNo>,
    born: Timestamp,
    failures: u32,
    /// A call about it is under way.
    is_asked: bool,
    /// Whether it was accepted is not known: the daemon must be asked before anything else.
    is_doubtful: bool,
    /// Why it is not paid, whatever the books say of it.
    refusal: Option<String>,
    /// The debit notes of its agreement were listed since it is to be rejected.
    is_listed: bool,
}

/// The bills of one cluster.
#[derive(Debug)]
pub(in crate::core) struct Bills {
    cluster: ClusterId,
    notes: Stream,
    invoices: Stream,
    /// Our agreements by id.
    numbers: BTreeMap<AgreementId, AgreementNo>,
    jobs: BTreeMap<JobNo, Job>,
    by_id: BTreeMap<BillId, JobNo>,
    next_job: u32,
    to_fetch: VecDeque<JobNo>,
    fetching: usize,
    /// Bills of each agreement in order; the first one is being decided.
    queues: BTreeMap<AgreementNo, VecDeque<JobNo>>,
    decided: BTreeSet<BillId>,
    decided_order: VecDeque<BillId>,
    read_at: Timestamp,
    /// No agreement that was seen open in this life has bills from before this, by the daemon's clock.
    billed_since: Option<Timestamp>,
    /// Nothing is accepted before this.
    holds_until: Timestamp,
    /// Agreements of which an acceptance may still be under way, and until when.
    quiet: BTreeMap<AgreementNo, Timestamp>,
    is_allocation_doubtful: bool,
    /// Agreements whose invoice was decided since the last time that was asked.
    done: Vec<AgreementNo>,
}

impl Bills {
    pub(in crate::core) fn new(
        cluster: ClusterId,
        notes_after: Timestamp,
        invoices_after: Timestamp,
    ) -> Self {
        Self {
            cluster,
            notes: Stream::new(notes_after),
            invoices: Stream::new(invoices_after),
            numbers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next_job: 0,
            to_fetch: VecDeque::new(),
            fetching: 0,
            queues: BTreeMap::new(),
            decided: BTreeSet::new(),
            decided_order: VecDeque::new(),
            read_at: Timestamp::EPOCH,
            billed_since: None,
            holds_until: Timestamp::EPOCH,
            quiet: BTreeMap::new(),
            is_allocation_doubtful: false,
            done: Vec::new(),
        }
    }

    /// An agreement of ours.
    pub(in crate::core) fn know(&mut self, agreement: &AgreementId, number: AgreementNo) {
        self.numbers.insert(agreement.clone(), number);
    }

    /// The number of an agreement of ours.
    pub(in crate::core) fn number_of(&self, agreement: &AgreementId) -> Option<AgreementNo> {
        self.numbers.get(agreement).copied()
    }

    /// Whether a bill is undecided.
    pub(in crate::core) fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether the allocation was said not to be there, since the last time this was asked.
    pub(in crate::core) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_allocation_doubtful)
    }

    /// Agreements whose invoice was decided, since the last time this was asked.
    pub(in crate::core) fn take_done(&mut self) -> Vec<AgreementNo> {
        std::mem::take(&mut self.done)
    }

    /// Goes on after a crash: what the dead process asked for may still land, and acceptances of one
    /// agreement must not overtake each other.
    pub(in crate::core) fn recover(&mut self, now: Timestamp) {
        self.holds_until = now.plus(DOUBT);
    }

    /// Begins to listen, if that has not begun.
    pub(in crate::core) fn listen(&mut self, fx: &mut Effects) {
        if !self.notes.is_on() {
            self.notes.start();
            self.invoices.start();
            self.read_at = fx.now;
            self.poll_notes(fx);
            self.poll_invoices(fx);
        }
    }

    pub(in crate::core) fn stop(&mut self, fx: &mut Effects) {
        for call in [self.notes.stop(), self.invoices.stop()].into_iter().flatten() {
            fx.abandon(call);
        }
        let jobs: Vec<JobNo> = self.jobs.keys().copied().collect();
        for job in jobs {
            fx.timers.cancel(&timer_of(self.cluster, ClusterTimer::Bill(job)));
        }
    }

    /// Reads all events once more: they may be dated before those that were read last.
    pub(in crate::core) fn read_again(&mut self, fx: &mut Effects) {
        self.notes.read_again();
        self.invoices.read_again();
        let beginning = Timestamp::EPOCH;
        let record = ClusterRecord::BillsRead { notes: beginning, invoices: beginning };
        fx.record_cluster(self.cluster, record);
    }

    /// Looks for bills that no event has told of. There are none from before the first agreement, which was made then
    /// by the daemon's clock. Debit notes are many, and the old ones of no use: an invoice pays for all of them.
    /// Without such an agreement only bills of those can be open that the daemon has forgotten.
    pub(in crate::core) fn reconcile(&mut self, fx: &mut Effects, since: Option<Timestamp>) {
        let since = since.map(|since| since.minus(PROVIDER_LATE));
        self.billed_since = [self.billed_since, since].into_iter().flatten().min();
        let latest = self.notes.after.max(self.invoices.after);
        if since.is_none() && latest == Timestamp::EPOCH {
            return;
        }
        let late = latest.minus(RECONCILE_BACK);
        let after = self.notes.after.minus(RECONCILE_BACK).max(since.unwrap_or(late));
        let request = Request::ListDebitNotes { after };
        fx.call(self.purpose(BillsCall::ListNotes), request, FETCH_PATIENCE);
        let request = Request::ListInvoices { after: since.unwrap_or(late) };
        fx.call(self.purpose(BillsCall::ListInvoices), request, FETCH_PATIENCE);
    }

    pub(in crate::core) fn on_timer(&mut self, fx: &mut Effects, timer: ClusterTimer) {
        match timer {
            ClusterTimer::Notes => self.poll_notes(fx),
            ClusterTimer::Invoices => self.poll_invoices(fx),
            ClusterTimer::Bill(job) => {
                let Some(work) = self.jobs.get(&job) else { return };
                match work.number {
                    Some(number) => self.serve(fx, number),
                    None => {
                        self.to_fetch.push_back(job);
                        self.fetch(fx);
                    }
                }
            }
            ClusterTimer::Funds
            | ClusterTimer::Network
            | ClusterTimer::Sign
            | ClusterTimer::Priority(_)
            | ClusterTimer::Hedge(_)
            | ClusterTimer::Node(_)
            | ClusterTimer::Waiting
            | ClusterTimer::NodeEnd(_)
            | ClusterTimer::Agreement(_)
            | ClusterTimer::Step(_)
            | ClusterTimer::Reserve(_)
            | ClusterTimer::State(_)
            | ClusterTimer::Ssh(_)
            | ClusterTimer::Settle(_)
            | ClusterTimer::Leave
            | ClusterTimer::Watch
            | ClusterTimer::Reconcile
            | ClusterTimer::Shop(_)
            | ClusterTimer::Ray
            | ClusterTimer::Usage
            | ClusterTimer::End => {}
        }
    }

    pub(in crate::core) fn on_reply(
        &mut self,
        fx: &mut Effects,
        call: BillsCall,
        result: Result<Response, CallError>,
    ) {
        match call {
            BillsCall::Notes => self.on_note_events(fx, result),
            BillsCall::Invoices => self.on_invoice_events(fx, result),
            BillsCall::ListNotes | BillsCall::ListInvoices => self.on_listed(fx, result),
            BillsCall::ListBefore(job) => self.on_listed_before(fx, job, result),
            BillsCall::Fetch(job) => self.on_fetched(fx, job, result),
            BillsCall::Accept(job) => self.on_accepted(fx, job, &result),
            BillsCall::Reject => {}
        }
        self.record_position(fx);
    }

    fn poll_notes(&mut self, fx: &mut Effects) {
        if self.notes.may_ask() {
            let session = fx.cluster(self.cluster).session.clone();
            let (after, timeout) = (self.notes.after, stream::TIMEOUT);
            let request = Request::CollectDebitNoteEvents { session, after, timeout };
            let call = fx.call(self.purpose(BillsCall::Notes), request, stream::PATIENCE);
            self.notes.asked(fx.now, call);
        }
    }

    fn poll_invoices(&mut self, fx: &mut Effects) {
        if self.invoices.may_ask() {
            let session = fx.cluster(self.cluster).session.clone();
            let (after, timeout) = (self.invoices.after, stream::TIMEOUT);
            let request = Request::CollectInvoiceEvents { session, after, timeout };
            let call = fx.call(self.purpose(BillsCall::Invoices), request, stream::PATIENCE);
            self.invoices.asked(fx.now, call);
        }
    }

    fn on_note_events(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let (now, seed) = (fx.now, fx.seed);
        let next = match result {
            Ok(Response::DebitNoteEvents(events)) => {
                let latest = events.iter().map(|event| event.at).max();
                for event in events {
                    if event.kind == BillEventKind::Received {
                        self.take_up(fx, BillId::Note(event.id));
                    }
                }
                self.notes.answered(now, latest, seed, "notes")
            }
            Err(CallError::NotSent { .. }) if fx.planted(Bug::NotesEnd) => return,
            Ok(_) | Err(_) => self.notes.failed(now, seed, "notes"),
        };
        match next {
            Next::Ask => self.poll_notes(fx),
            Next::Wait(at, failures) => {
                self.complain(fx, Endpoint::CollectDebitNoteEvents, failures, at);
                fx.wake(timer_of(self.cluster, ClusterTimer::Notes), at);
            }
        }
    }

    fn on_invoice_events(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let (now, seed) = (fx.now, fx.seed);
        let next = match result {
            Ok(Response::InvoiceEvents(events)) => {
                let latest = events.iter().map(|event| event.at).max();
                for event in events {
                    if event.kind == BillEventKind::Received {
                        self.take_up(fx, BillId::Invoice(event.id));
                    }
                }
                self.invoices.answered(now, latest, seed, "invoices")
            }
            Ok(_) | Err(_) => self.invoices.failed(now, seed, "invoices"),
        };
        match next {
            Next::Ask => self.poll_invoices(fx),
            Next::Wait(at, failures) => {
                self.complain(fx, Endpoint::CollectInvoiceEvents, failures, at);
                fx.wake(timer_of(self.cluster, ClusterTimer::Invoices), at);
            }
        }
    }

    fn on_listed(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let is_ours = |agreement: &AgreementId, state: DocumentState| {
            state == DocumentState::Received && self.numbers.contains_key(agreement)
        };
        let open: Vec<BillId> = match result {
            Ok(Response::DebitNotes(notes)) => {
                let ours = notes.into_iter().filter(|it| is_ours(&it.agreement, it.state));
                ours.map(|note| BillId::Note(note.id)).collect()
            }
            Ok(Response::Invoices(invoices)) => {
                let ours = invoices.into_iter().filter(|it| is_ours(&it.agreement, it.state));
                ours.map(|invoice| BillId::Invoice(invoice.id)).collect()
            }
            Ok(_) | Err(_) => return,
        };
        for id in open {
            self.take_up(fx, id);
        }
    }

    /// A bill reached us, by an event or by a listing; once is enough.
    fn take_up(&mut self, fx: &mut Effects, id: BillId) {
        if self.by_id.contains_key(&id) || self.decided.contains(&id) {
            return;
        }
        let job = JobNo(self.next_job);
        self.next_job = self.next_job.wrapping_add(1);
        self.by_id.insert(id.clone(), job);
        let work = Job {
            id,
            bill: None,
            number: None,
            born: fx.now,
            failures: 0,
            is_asked: false,
            is_doubtful: false,
            refusal: None,
            is_listed: false,
        };
        self.jobs.insert(job, work);
        self.to_fetch.push_back(job);
        self.fetch(fx);
    }

    fn fetch(&mut self, fx: &mut Effects) {
        while self.fetching < FETCHES_MAX {
            let Some(job) = self.to_fetch.pop_front() else { break };
            self.look_at(fx, job);
        }
    }

    /// Asks for a bill as the daemon has it.
    fn look_at(&mut self, fx: &mut Effects, job: JobNo) {
        let Some(work) = self.jobs.get_mut(&job) else { return };
        let request = match &work.id {
            BillId::Note(id) => Request::GetDebitNote { debit_note: id.clone() },
            BillId::Invoice(id) => Request::GetInvoice { invoice: id.clone() },
        };
        work.is_asked = true;
        self.fetching += 1;
        fx.call(self.purpose(BillsCall::Fetch(job)), request, FETCH_PATIENCE);
    }

    fn on_fetched(&mut self, fx: &mut Effects, job: JobNo, result: Result<Response, CallError>) {
        self.fetching = self.fetching.saturating_sub(1);
        let Some(work) = self.jobs.get_mut(&job) else { return };
        work.is_asked = false;
        if let Some(number) = work.number {
            self.on_looked(fx, number, job, &result);
            self.fetch(fx);
            return;
        }
        match result {
            Ok(Response::DebitNote(note)) if work.id == BillId::Note(note.id.clone()) => {
                self.enqueue(fx, job, Bill::Note(note));
            }
            Ok(Response::Invoice(invoice)) if work.id == BillId::Invoice(invoice.id.clone()) => {
                self.enqueue(fx, job, Bill::Invoice(invoice));
            }
            Err(error) if error.is_refusal(Status::NOT_FOUND) => self.finish(fx, job),
            Ok(_) | Err(_) => {
                if self.job_later(fx, job) >= FETCH_TRIES {
                    self.drop_job(fx, job);
                }
            }
        }
        self.fetch(fx);
    }

    /// A bill is decided, or needs no decision.
    fn finish(&mut self, fx: &mut Effects, job: JobNo) {
        if let Some(id) = self.drop_job(fx, job) {
            self.decided.insert(id.clone());
            self.decided_order.push_back(id);
            if self.decided_order.len() > DECIDED_MAX
                && let Some(oldest) = self.decided_order.pop_front()
            {
                self.decided.remove(&oldest);
            }
        }
    }

    fn drop_job(&mut self, fx: &mut Effects, job: JobNo) -> Option<BillId> {
        let work = self.jobs.remove(&job)?;
        fx.timers.cancel(&timer_of(self.cluster, ClusterTimer::Bill(job)));
        self.by_id.remove(&work.id);
        if let Some(queue) = work.number.and_then(|number| self.queues.get_mut(&number)) {
            queue.retain(|it| *it != job);
        }
        Some(work.id)
    }

    fn job_later(&mut self, fx: &mut Effects, job: JobNo) -> u32 {
        let Some(work) = self.jobs.get_mut(&job) else { return 0 };
        work.failures = work.failures.saturating_add(1);
        let failures = work.failures;
        let pause = Backoff::DAEMON.pause(failures, fx.seed, "bill", u64::from(job.0));
        fx.wake(timer_of(self.cluster, ClusterTimer::Bill(job)), fx.now.plus(pause));
        failures
    }

    /// Says now and then how far the lists have been taken up, so that a restart need not begin at
    /// their beginning.
    fn record_position(&mut self, fx: &mut Effects) {
        if self.jobs.is_empty() && fx.now.since(self.read_at) >= READ_EVERY {
            self.read_at = fx.now;
            let state = fx.cluster(self.cluster);
            let (notes, invoices) = (self.notes.after, self.invoices.after);
            if (state.notes_read, state.invoices_read) != (notes, invoices) {
                let record = ClusterRecord::BillsRead { notes, invoices };
                fx.record_cluster(self.cluster, record);
            }
        }
    }

    fn complain(&self, fx: &mut Effects, endpoint: Endpoint, failures: u32, again_at: Timestamp) {
        if failures == STRUGGLING_AFTER {
            let why = "bills wait to be accepted, and providers do not wait long".to_owned();
            fx.notify(Notice::Struggling { endpoint, why, again_at });
        }
    }

    fn purpose(&self, call: BillsCall) -> Purpose {
        Purpose::Cluster(self.cluster, ClusterCall::Bills(call))
    }
}
