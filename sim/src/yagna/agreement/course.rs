//! What becomes of agreements: what providers say to them, and how they end.

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{AgreementEventKind, AgreementState, Response, SessionId},
};

use super::{Due, approval, no_way};
use crate::{
    provider::agent::NO_CAPACITY,
    scenario::Approval,
    yagna::{RequestNo, SimYagna, log::Poll, refuse},
};

/// A provider that sees no activity ends the agreement after this time.
const IDLE_MAX: Span = Span::secs(90);
/// An approval that comes closer to the end of the time for it comes too late.
const APPROVAL_MARGIN: Span = Span::millis(30);
/// How long a provider that thinks better of it keeps an agreement.
const QUITS_AFTER: Span = Span::millis(100);

impl SimYagna {
    /// Something is due.
    pub(in crate::yagna) fn on_agreement(&mut self, now: Timestamp, due: Due) {
        match due {
            Due::Arrives { request, agreement, session } => {
                self.on_proposed(now, request, agreement, session);
            }
            Due::Confirmed { request, agreement, session } => {
                self.on_confirmed(now, request, agreement, session);
            }
            Due::Decided { agreement, refusal } => self.on_decided(now, agreement, refusal),
            Due::Expires(agreement) => self.agreements.expire(now, agreement),
            Due::Cancels { request, agreement } => {
                let id = self.agreements.books[agreement].id.clone();
                if let Some(reply) = self.cancel_agreement(now, request, &id) {
                    self.answer(request, reply);
                }
            }
            Due::Cancelled { request, agreement } => self.on_cancelled(now, request, agreement),
            Due::Terminated { request, agreement, reason } => {
                self.on_terminated(now, request, agreement, reason);
            }
            Due::Idles(agreement) => {
                if self.activities.is_idle(agreement, now.minus(IDLE_MAX)) {
                    self.terminate_by_provider(now, agreement, "NoActivity");
                }
            }
            Due::Quits { agreement, code } => self.terminate_by_provider(now, agreement, code),
            Due::Vanishes(agreement) => self.on_vanished(now, agreement),
            Due::WaitEnds(request) => {
                let waiting = self.agreements.waits.iter().position(|it| it.0 == request);
                if let Some(place) = waiting {
                    let (_, agreement) = self.agreements.waits.remove(place);
                    let id = &self.agreements.books[agreement].id;
                    let text = format!("Timeout while waiting for Agreement [R-{id}] approval.");
                    self.answer(request, Err(refuse(408, &text)));
                }
            }
            Due::PollEnds(request) => {
                if self.agreements.log.take(request).is_some() {
                    self.answer(request, Ok(Response::AgreementEvents(Vec::new())));
                }
            }
        }
    }

    /// A provider ends an agreement, in one of the words that provider agents use.
    pub(in crate::yagna) fn terminate_by_provider(
        &mut self,
        now: Timestamp,
        number: usize,
        code: &str,
    ) {
        if !self.agreements.is_approved(number) || self.agreements.books[number].is_provider_gone {
            return;
        }
        self.agreements.end(now, number, AgreementState::Terminated);
        self.agreements.books[number].ended_by_provider = true;
        let kind = AgreementEventKind::Terminated {
            by_requestor: false,
            reason: Some(reason_of(code).to_owned()),
            code: Some(code.to_owned()),
        };
        self.agreements.note(now, number, kind);
        self.wake_agreement_polls(number);
        self.wind_up(now, number);
    }

    /// The provider decides; the daemon takes no decision before it has finished sending.
    fn on_proposed(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        agreement: usize,
        session: SessionId,
    ) {
        let confirmed = now.plus(self.market.hop());
        let decided = now.plus(self.market.hop());
        let provider = self.agreements.books[agreement].provider.clone();
        let is_taken = self.agreements.is_taken(&provider);
        let signing = &mut self.agreements.signings[agreement];
        signing.locked_until = signing.locked_until.max(confirmed);
        self.agenda.add(confirmed, Due::Confirmed { request, agreement, session });
        if std::mem::replace(&mut signing.is_known, true) {
            return;
        }
        let (deal, conduct) = (&signing.deal, signing.deal.conduct());
        let thinks = deal.millis("approves", 0, &conduct.approves_ms);
        let mut at = decided.plus(thinks).max(confirmed.plus(Span::TICK));
        let refusal = match &conduct.approval {
            Approval::Silent => return,
            Approval::Rejects(words) => Some(words.clone()),
            Approval::Approves | Approval::Late | Approval::Quits => (is_taken
                || deal.happens("oversells", 0, conduct.oversells))
            .then(|| NO_CAPACITY.to_owned()),
        };
        if conduct.approval == Approval::Late {
            at = at.max(self.agreements.books[agreement].valid_to.plus(thinks));
        }
        if refusal.is_none() {
            self.agreements.held.push(agreement);
        }
        self.agenda.add(at, Due::Decided { agreement, refusal });
    }

    fn on_confirmed(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        agreement: usize,
        session: SessionId,
    ) {
        // A daemon that was restarted in between remembers nothing of it.
        if !self.open.contains(&request) {
            return;
        }
        let book = &mut self.agreements.books[agreement];
        if book.state != AgreementState::Proposal {
            let refusal = no_way(book.state, AgreementState::Pending);
            self.answer(request, Err(refusal));
            return;
        }
        book.session = Some(session).filter(|session| !session.as_str().is_empty());
        book.confirmed = Some(now);
        book.state = AgreementState::Pending;
        self.answer(request, Ok(Response::AgreementConfirmed));
    }

    fn on_decided(&mut self, now: Timestamp, agreement: usize, refusal: Option<String>) {
        let book = &mut self.agreements.books[agreement];
        if book.state != AgreementState::Pending {
            self.agreements.held.retain(|held| *held != agreement);
            return;
        }
        if let Some(words) = refusal {
            self.agreements.end(now, agreement, AgreementState::Rejected);
            let reason = Some(words).filter(|words| !words.is_empty());
            self.agreements.note(now, agreement, AgreementEventKind::Rejected { reason });
        } else if book.valid_to <= now.plus(APPROVAL_MARGIN) {
            self.agreements.held.retain(|held| *held != agreement);
            return;
        } else {
            book.state = AgreementState::Approved;
            book.approved = Some(now);
            self.agreements.note(now, agreement, AgreementEventKind::Approved);
            self.begin(now, agreement);
        }
        self.wake_waits(agreement);
        self.wake_agreement_polls(agreement);
    }

    /// What follows from an approval at the provider.
    fn begin(&mut self, now: Timestamp, agreement: usize) {
        let deal = &self.agreements.signings[agreement].deal;
        let conduct = deal.conduct();
        let quits = |after: Span, code| (now.plus(after), Due::Quits { agreement, code });
        self.agenda.add(now.plus(IDLE_MAX), Due::Idles(agreement));
        let (at, due) = quits(deal.expires.since(now), "Expired");
        self.agenda.add(at, due);
        if conduct.approval == Approval::Quits {
            let (at, due) = quits(QUITS_AFTER, "InitializationError");
            self.agenda.add(at, due);
        }
        if let Some(after) = &conduct.terminates_after {
            let (at, due) = quits(deal.secs("terminates", 0, after), "Shutdown");
            self.agenda.add(at, due);
        }
        if let Some(after) = &conduct.vanishes_after {
            let at = now.plus(deal.secs("vanishes", 0, after));
            self.agenda.add(at, Due::Vanishes(agreement));
        }
    }

    fn on_cancelled(&mut self, now: Timestamp, request: RequestNo, agreement: usize) {
        let state = self.agreements.books[agreement].state;
        let reply = if matches!(state, AgreementState::Proposal | AgreementState::Pending) {
            self.agreements.end(now, agreement, AgreementState::Cancelled);
            self.agreements.note(now, agreement, AgreementEventKind::Cancelled { reason: None });
            self.wake_waits(agreement);
            self.wake_agreement_polls(agreement);
            Ok(Response::AgreementCancelled)
        } else {
            Err(no_way(state, AgreementState::Cancelled))
        };
        self.answer_back(now, request, reply);
    }

    fn on_terminated(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        agreement: usize,
        reason: String,
    ) {
        let state = self.agreements.books[agreement].state;
        if state != AgreementState::Approved {
            let reply = Err(no_way(state, AgreementState::Terminated));
            self.answer_back(now, request, reply);
            return;
        }
        self.agreements.end(now, agreement, AgreementState::Terminated);
        let kind =
            AgreementEventKind::Terminated { by_requestor: true, reason: Some(reason), code: None };
        self.agreements.note(now, agreement, kind);
        self.wake_agreement_polls(agreement);
        self.wind_up(now, agreement);
        let (demand, offer) = self.agreements.signings[agreement].meeting;
        let woken = self.market.meet_again(now, demand, offer);
        self.replies.extend(woken);
        self.answer_back(now, request, Ok(Response::AgreementTerminated));
    }

    /// An activity is over: if no other follows, so is the agreement.
    pub(in crate::yagna) fn idle_from(&mut self, now: Timestamp, agreement: usize) {
        if self.agreements.is_approved(agreement) {
            self.agenda.add(now.plus(IDLE_MAX), Due::Idles(agreement));
        }
    }

    /// Whatever ran there is lost; nobody ever says so.
    fn on_vanished(&mut self, now: Timestamp, agreement: usize) {
        if self.agreements.is_approved(agreement) {
            let book = &mut self.agreements.books[agreement];
            book.is_provider_gone = true;
            self.market.lose(book.provider.clone());
            self.end_activities(now, agreement);
        }
    }

    /// An agreement is over: so is what runs under it, and the provider writes its last bills.
    fn wind_up(&mut self, now: Timestamp, agreement: usize) {
        self.end_activities(now, agreement);
        self.bill_the_end(now, agreement);
    }

    fn wake_waits(&mut self, agreement: usize) {
        let Some(reply) = approval(&self.agreements.books[agreement]) else { return };
        let waits = std::mem::take(&mut self.agreements.waits);
        for (request, awaited) in waits {
            if awaited == agreement {
                self.answer(request, reply.clone());
            } else {
                self.agreements.waits.push((request, awaited));
            }
        }
    }

    fn wake_agreement_polls(&mut self, agreement: usize) {
        let session = self.agreements.books[agreement].session.as_ref();
        let waiting: Vec<Poll> = self.agreements.log.waiting(session).cloned().collect();
        for poll in waiting {
            let events = self.agreements.log.read(&poll.session, poll.after);
            if !events.is_empty() {
                self.agreements.log.take(poll.request);
                self.answer(poll.request, Ok(Response::AgreementEvents(events)));
            }
        }
    }
}

fn reason_of(code: &str) -> &'static str {
    match code {
        "NoActivity" => "No activity created within 90s",
        "DebitNotesDeadline" => "Requestor isn't accepting DebitNotes in time (4min)",
        "DebitNoteNotPaid" => "Requestor didn't pay for DebitNote in time",
        "InitializationError" => "Failed to initialize. Error: no runtime",
        "Expired" => "Agreement expired",
        _ => "Shutting down Provider",
    }
}
