//! Activities, as the daemon asks their providers about them.
//!
//! The daemon knows an activity from the provider's answer on; one whose answer is lost runs all the
//! same. Where a provider does not answer in time the daemon says so, and what was asked for may
//! still happen.

use std::sync::Arc;

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{ActivityId, AgreementId, AgreementState, BatchId, ExeCommand, Response},
};

use super::{
    Refusal, Reply, RequestNo, SimYagna, batch::Batch, books::ActivityBook, exe_unit::Unit,
    ids::place, refuse,
};

/// The daemon waits so much longer for a provider than it was asked to.
const MARGIN: Span = Span::secs(1);

/// What will happen to activities.
#[derive(Debug)]
pub(crate) enum Due {
    /// A provider is asked to create one.
    CreateArrives { request: RequestNo, agreement: usize },
    /// The daemon learns of one.
    Created { request: RequestNo, activity: usize },
    /// A provider is asked to end one.
    DestroyArrives { request: RequestNo, activity: usize },
    /// The daemon learns that it ended.
    Destroyed { request: RequestNo, activity: usize },
    /// A provider is asked how one stands.
    StateArrives { request: RequestNo, activity: usize },
    /// A batch reaches its activity.
    ExecArrives { request: RequestNo, activity: usize, batch: usize },
    /// A command ends.
    CommandEnds { activity: usize, batch: usize, index: usize },
    /// An activity answers no more.
    Hangs(usize),
    /// The daemon waits no longer for a provider.
    TimesOut(RequestNo),
}

impl Due {
    /// Whether it happens on the network, whatever becomes of our daemon.
    pub(crate) const fn outlives_the_daemon(&self) -> bool {
        match self {
            Self::CreateArrives { .. }
            | Self::DestroyArrives { .. }
            | Self::ExecArrives { .. }
            | Self::CommandEnds { .. }
            | Self::Hangs(_) => true,
            Self::Created { .. }
            | Self::Destroyed { .. }
            | Self::StateArrives { .. }
            | Self::TimesOut(_) => false,
        }
    }
}

/// All activities there ever were; the books' places are those of the units.
#[derive(Debug, Default)]
pub(super) struct Activities {
    pub(super) books: Vec<ActivityBook>,
    pub(super) units: Vec<Unit>,
    pub(super) batches: Vec<Batch>,
    pub(super) waits: Vec<Waiting>,
}

/// A request that waits for the result of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) request: RequestNo,
    pub(super) activity: usize,
    pub(super) batch: usize,
    pub(super) command: usize,
}

impl Activities {
    /// The agreement to whose provider something is on its way, if it is.
    fn addressee(&self, due: &Due) -> Option<usize> {
        match due {
            Due::CreateArrives { agreement, .. } => Some(*agreement),
            Due::DestroyArrives { activity, .. }
            | Due::StateArrives { activity, .. }
            | Due::ExecArrives { activity, .. } => Some(self.units[*activity].agreement),
            Due::Created { .. }
            | Due::Destroyed { .. }
            | Due::CommandEnds { .. }
            | Due::Hangs(_)
            | Due::TimesOut(_) => None,
        }
    }

    /// Whether none has run under an agreement since an instant.
    pub(super) fn is_idle(&self, agreement: usize, since: Timestamp) -> bool {
        let mut units = self.units.iter().zip(&self.books);
        units.all(|(unit, book)| {
            unit.agreement != agreement || book.ended.is_some_and(|ended| ended <= since)
        })
    }

    /// Those under an agreement that run.
    pub(super) fn running(&self, agreement: usize) -> Vec<usize> {
        let runs = |number: &usize| {
            self.units[*number].agreement == agreement && self.books[*number].ended.is_none()
        };
        (0..self.units.len()).rev().filter(runs).collect()
    }

    pub(super) fn forget_polls(&mut self) {
        self.waits.clear();
    }

    /// Ends the waiting of a request; tells whether it waited.
    pub(super) fn cancel(&mut self, request: RequestNo) -> bool {
        let before = self.waits.len();
        self.waits.retain(|waiting| waiting.request != request);
        self.waits.len() < before
    }

    /// The place of an activity that the daemon knows.
    fn known(&self, id: &ActivityId) -> Result<usize, Refusal> {
        let number = place(&self.books, id.as_str(), 16, |book| book.id.as_str());
        number.filter(|number| self.books[*number].is_known).ok_or_else(|| {
            let text = format!("DAO error: Not found: agreement id for activity: {id}");
            refuse(500, &text)
        })
    }
}

impl SimYagna {
    // spec: activity-api createActivity 400 404 408 500
    pub(super) fn create_activity(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &AgreementId,
        timeout: Span,
    ) -> Option<Reply> {
        let Some(agreement) = self.agreements.number(id) else {
            return Some(Err(refuse(404, &format!("Not found: {id}"))));
        };
        self.ask_provider(
            now,
            request,
            timeout,
            agreement,
            Due::CreateArrives { request, agreement },
        );
        None
    }

    pub(super) fn list_activities(&mut self, id: &AgreementId) -> Reply {
        if self.agreements.number(id).is_none() {
            return Err(refuse(404, &format!("Not found: {id}")));
        }
        let known = self.activities.books.iter().filter(|it| it.is_known && it.agreement == *id);
        Ok(Response::Activities(known.map(|book| book.id.clone()).collect()))
    }

    // spec: activity-api destroyActivity 408 500
    pub(super) fn destroy_activity(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &ActivityId,
        timeout: Span,
    ) -> Option<Reply> {
        let activity = match self.activities.known(id) {
            Ok(activity) => activity,
            Err(refusal) => return Some(Err(refusal)),
        };
        let agreement = self.activities.units[activity].agreement;
        let due = Due::DestroyArrives { request, activity };
        self.ask_provider(now, request, timeout, agreement, due);
        None
    }

    /// What has ended by our wish the daemon knows; for everything else it asks the provider.
    pub(super) fn get_activity_state(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &ActivityId,
        timeout: Span,
    ) -> Option<Reply> {
        let activity = match self.activities.known(id) {
            Ok(activity) => activity,
            Err(refusal) => return Some(Err(refusal)),
        };
        let unit = &self.activities.units[activity];
        if unit.is_settled {
            return Some(Ok(Response::ActivityState(unit.state(&self.activities.batches))));
        }
        let (agreement, due) = (unit.agreement, Due::StateArrives { request, activity });
        self.ask_provider(now, request, timeout, agreement, due);
        None
    }

    // spec: activity-api exec 408 500
    pub(super) fn execute(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &ActivityId,
        script: &Arc<Vec<ExeCommand>>,
        timeout: Span,
    ) -> Option<Reply> {
        let activity = match self.activities.known(id) {
            Ok(activity) => activity,
            Err(refusal) => return Some(Err(refusal)),
        };
        let agreement = self.activities.units[activity].agreement;
        let batch = self.activities.batches.len();
        let id = self.ids.batch(batch);
        self.activities.batches.push(Batch::new(id, activity, Arc::clone(script)));
        let due = Due::ExecArrives { request, activity, batch };
        self.ask_provider(now, request, timeout, agreement, due);
        None
    }

    // spec: activity-api getExecBatchResults 404 408 500
    pub(super) fn collect_results(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &ActivityId,
        batch: &BatchId,
        command: u32,
        timeout: Span,
    ) -> Option<Reply> {
        let activity = match self.activities.known(id) {
            Ok(activity) => activity,
            Err(refusal) => return Some(Err(refusal)),
        };
        let answered = self.keep_open(now, request);
        if self.activities.books[activity].ended.is_some() {
            self.answer_at(answered, request, Err(receiver_gone()));
            return None;
        }
        let number = place(&self.activities.batches, batch.as_str(), 16, |it| it.id.as_str())
            .filter(|number| {
                let found = &self.activities.batches[*number];
                found.activity == activity && found.is_there
            });
        let Some(number) = number else {
            let text = format!("Not found: batch_id = {batch}");
            self.answer_at(answered, request, Err(refuse(404, &text)));
            return None;
        };
        let found = &self.activities.batches[number];
        let command = command as usize;
        if found.script.is_empty() || found.results.len() > command {
            let results = self.told_results(number, command);
            self.answer_at(answered, request, Ok(Response::Results(results)));
        } else {
            let waiting = Waiting { request, activity, batch: number, command };
            self.activities.waits.push(waiting);
            self.agenda.add(now.plus(timeout), Due::TimesOut(request));
        }
        None
    }

    /// Something is due.
    pub(super) fn on_activity(&mut self, now: Timestamp, due: Due) {
        let addressee = self.activities.addressee(&due);
        if addressee.is_some_and(|agreement| self.agreements.books[agreement].is_provider_gone) {
            // It was on its way when the provider vanished: the daemon waits in vain.
            return;
        }
        match due {
            Due::CreateArrives { request, agreement } => {
                self.on_create(now, request, agreement);
            }
            Due::Created { request, activity } => {
                if self.open.contains(&request) {
                    let book = &mut self.activities.books[activity];
                    book.is_known = true;
                    let id = book.id.clone();
                    self.answer(request, Ok(Response::ActivityCreated(id)));
                }
            }
            Due::DestroyArrives { request, activity } => self.on_destroy(now, request, activity),
            Due::Destroyed { request, activity } => {
                if self.open.contains(&request) {
                    self.activities.units[activity].is_settled = true;
                    self.answer(request, Ok(Response::ActivityDestroyed));
                }
            }
            Due::StateArrives { request, activity } => {
                let state = self.activities.units[activity].state(&self.activities.batches);
                self.activities.units[activity].is_settled =
                    self.activities.books[activity].ended.is_some();
                self.answer_back(now, request, Ok(Response::ActivityState(state)));
            }
            Due::ExecArrives { request, activity, batch } => {
                self.on_exec(now, request, activity, batch);
            }
            Due::CommandEnds { activity, batch, index } => {
                self.on_command_ended(now, activity, batch, index);
            }
            Due::Hangs(activity) => self.on_hung(now, activity),
            Due::TimesOut(request) => {
                self.activities.cancel(request);
                self.answer(request, Err(refuse(408, "Timeout")));
            }
        }
    }

    /// Sends something to the provider of an agreement, if it is there, and waits for an answer.
    fn ask_provider(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        timeout: Span,
        agreement: usize,
        due: Due,
    ) {
        let arrives = self.keep_open(now, request);
        if self.agreements.books[agreement].is_provider_gone {
            let text = "GSB error: endpoint address not found";
            self.answer_at(arrives, request, Err(refuse(500, text)));
        } else {
            self.agenda.add(arrives, due);
            self.agenda.add(now.plus(timeout).plus(MARGIN), Due::TimesOut(request));
        }
    }

    fn on_create(&mut self, now: Timestamp, request: RequestNo, agreement: usize) {
        let book = &self.agreements.books[agreement];
        if book.state != AgreementState::Approved {
            let (id, state) = (&book.id, book.state);
            let text =
                format!("Bad request: Agreement {id} is not Approved. Current state: {state:?}");
            self.answer_back(now, request, Err(refuse(400, &text)));
            return;
        }
        let nth = self.activities.books.len();
        let deal = &self.agreements.signings[agreement].deal;
        let conduct = deal.conduct();
        if deal.happens("create hangs", nth as u64, conduct.create_hangs) {
            return;
        }
        let created = deal.millis("creates", nth as u64, &conduct.creates_ms);
        if deal.happens("create fails", nth as u64, conduct.create_fails) {
            let text = "Service error: Failed to start the ExeUnit";
            self.answer_back(now.plus(created), request, Err(refuse(500, text)));
            return;
        }
        if let Some(after) = &conduct.unresponsive_after {
            let at = now.plus(deal.secs("hangs", nth as u64, after));
            self.agenda.add(at, Due::Hangs(nth));
        }
        self.activities.books.push(ActivityBook {
            id: self.ids.activity(nth),
            agreement: book.id.clone(),
            created: now,
            ended: None,
            hung: None,
            is_ready: false,
            batches: Vec::new(),
            bootstraps: 0,
            is_known: false,
            start: deal.rate.start,
            per_second: deal.per_second(),
        });
        self.activities.units.push(Unit::new(agreement));
        let at = now.plus(created).plus(self.market.hop());
        self.agenda.add(at, Due::Created { request, activity: nth });
        self.begin_notes(now, nth);
    }

    fn on_destroy(&mut self, now: Timestamp, request: RequestNo, activity: usize) {
        self.end_activity(now, activity);
        let agreement = self.activities.units[activity].agreement;
        let deal = &self.agreements.signings[agreement].deal;
        let percent = deal.conduct().destroy_unacknowledged;
        let unit = &mut self.activities.units[activity];
        unit.destroyed += 1;
        let nth = activity as u64 * 1_000 + unit.destroyed;
        if !deal.happens("destroy", nth, percent) {
            let at = now.plus(self.market.hop());
            self.agenda.add(at, Due::Destroyed { request, activity });
        }
    }
}

/// What the daemon says when nobody listens where an activity was.
pub(super) fn receiver_gone() -> Refusal {
    refuse(500, "GSB error: Service receiver was cancelled")
}
