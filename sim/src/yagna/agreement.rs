//! Agreements: made of a draft, sent to the provider, approved or not, ended.
//!
//! Both sides' copies are one here: what a provider says takes effect when it reaches our daemon.
//! The daemon asks the provider first, and changes its own state when the provider has answered.

use std::sync::Arc;

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{
        Agreement, AgreementEvent, AgreementEventKind, AgreementId, AgreementState,
        AgreementSummary, DemandBody, ProposalId, ProviderId, Response, SessionId,
    },
};

use super::{
    Refusal, Reply, RequestNo, SimYagna,
    books::AgreementBook,
    ids::place,
    log::{Log, Poll},
    refuse,
};
use crate::{
    provider::{agent::NO_CAPACITY, deal::Deal},
    scenario::Approval,
};

/// A provider that sees no activity ends the agreement after this time.
const IDLE_MAX: Span = Span::secs(90);
/// An approval that comes closer to the end of the time for it comes too late.
const APPROVAL_MARGIN: Span = Span::millis(30);
/// How long a provider that thinks better of it keeps an agreement.
const QUITS_AFTER: Span = Span::millis(100);

/// What will happen to agreements.
#[derive(Debug)]
pub(crate) enum Due {
    /// It reaches its provider.
    Arrives { request: RequestNo, agreement: usize, session: SessionId },
    /// Its provider has said that it arrived.
    Confirmed { request: RequestNo, agreement: usize, session: SessionId },
    /// Its provider's decision reaches the daemon; a refusal has words.
    Decided { agreement: usize, refusal: Option<String> },
    /// The time to approve it is over.
    Expires(usize),
    /// We take it back, once the daemon has a hand free.
    Cancels { request: RequestNo, agreement: usize },
    /// Its provider learns that we take it back.
    Cancelled { request: RequestNo, agreement: usize },
    /// Its provider learns that we end it.
    Terminated { request: RequestNo, agreement: usize, reason: String },
    /// Its provider looks whether there was ever an activity.
    Idles(usize),
    /// Its provider ends it.
    Quits { agreement: usize, code: &'static str },
    /// Its provider is gone for good.
    Vanishes(usize),
    /// Somebody has waited long enough for an approval.
    WaitEnds(RequestNo),
    /// Somebody has waited long enough for events.
    PollEnds(RequestNo),
}

impl Due {
    /// Whether it happens on the network, whatever becomes of our daemon.
    pub(crate) const fn outlives_the_daemon(&self) -> bool {
        match self {
            Self::Arrives { .. }
            | Self::Decided { .. }
            | Self::Expires(_)
            | Self::Cancelled { .. }
            | Self::Terminated { .. }
            | Self::Idles(_)
            | Self::Quits { .. }
            | Self::Vanishes(_) => true,
            Self::Confirmed { .. }
            | Self::Cancels { .. }
            | Self::WaitEnds(_)
            | Self::PollEnds(_) => false,
        }
    }
}

/// All agreements there ever were, with what the books do not say in [`Self::signings`].
#[derive(Debug, Default)]
pub(super) struct Agreements {
    pub(super) books: Vec<AgreementBook>,
    pub(super) signings: Vec<Signing>,
    log: Log<AgreementEvent>,
    waits: Vec<(RequestNo, usize)>,
    /// Those whose providers keep capacity for them.
    held: Vec<usize>,
}

/// What an agreement is about.
#[derive(Debug)]
pub(super) struct Signing {
    pub(super) deal: Deal,
    pub(super) demand: Arc<DemandBody>,
    /// The numbers of the demand and the offer on the market.
    pub(super) meeting: (usize, usize),
    /// Whether its provider has heard of it.
    is_known: bool,
    /// The daemon is busy with it until then.
    locked_until: Timestamp,
}

impl Agreements {
    pub(super) fn number(&self, id: &AgreementId) -> Option<usize> {
        place(&self.books, id.as_str(), 16, |book| book.id.as_str())
    }

    pub(super) fn is_approved(&self, agreement: usize) -> bool {
        self.books[agreement].state == AgreementState::Approved
    }

    /// Whether a provider has sold its only slot.
    pub(super) fn is_taken(&self, provider: &ProviderId) -> bool {
        self.held.iter().any(|number| self.books[*number].provider == *provider)
    }

    pub(super) fn forget_polls(&mut self) {
        self.log.leave_all();
        self.waits.clear();
    }

    pub(super) fn cancel(&mut self, request: RequestNo) {
        self.log.take(request);
        self.waits.retain(|(waiting, _)| *waiting != request);
    }

    /// Marks as expired what was not approved in time.
    fn select(&mut self, now: Timestamp, id: &AgreementId) -> Option<usize> {
        let number = self.number(id)?;
        self.expire(now, number);
        Some(number)
    }

    fn expire(&mut self, now: Timestamp, number: usize) {
        let book = &mut self.books[number];
        let is_open = matches!(book.state, AgreementState::Proposal | AgreementState::Pending);
        if is_open && book.valid_to < now {
            book.state = AgreementState::Expired;
            book.ended = Some(book.valid_to);
            self.held.retain(|held| *held != number);
        }
    }

    fn note(&mut self, now: Timestamp, number: usize, kind: AgreementEventKind) {
        let AgreementBook { id, session, .. } = &self.books[number];
        let (agreement, session) = (id.clone(), session.clone());
        self.log.add(now, session, |at| AgreementEvent { agreement, at, kind });
    }

    fn end(&mut self, now: Timestamp, number: usize, state: AgreementState) {
        let book = &mut self.books[number];
        book.state = state;
        book.ended = Some(now);
        self.held.retain(|held| *held != number);
    }
}

impl SimYagna {
    // spec: market-api createAgreement 400 409
    pub(super) fn create_agreement(
        &mut self,
        now: Timestamp,
        proposal: &ProposalId,
        valid_to: Timestamp,
    ) -> Reply {
        let promoted = self.market.promote(proposal)?;
        let number = self.agreements.books.len();
        let id = self.ids.agreement(number);
        let properties = &promoted.demand.properties;
        let deal = Deal::new(promoted.offer, promoted.draft, properties, self.ids.0, number);
        self.agreements.books.push(AgreementBook {
            id: id.clone(),
            provider: deal.provider().clone(),
            proposal: proposal.clone(),
            session: None,
            valid_to,
            created: now,
            confirmed: None,
            approved: None,
            ended: None,
            ended_by_provider: false,
            is_provider_gone: false,
            state: AgreementState::Proposal,
            threads: deal.threads,
            start: deal.rate.start,
            cpu_second: deal.rate.cpu_second,
            env_second: deal.rate.env_second,
        });
        self.agreements.signings.push(Signing {
            deal,
            demand: promoted.demand,
            meeting: promoted.meeting,
            is_known: false,
            locked_until: now,
        });
        self.agenda.add(valid_to.plus(Span::TICK).max(now), Due::Expires(number));
        Ok(Response::AgreementCreated(id))
    }

    pub(super) fn list_agreements(&mut self, session: &SessionId) -> Reply {
        let ours = self.agreements.books.iter().filter(|it| it.session.as_ref() == Some(session));
        let summaries = ours.map(|book| AgreementSummary {
            id: book.id.clone(),
            timestamp: book.created,
            approved: book.approved,
            is_requestor: true,
        });
        Ok(Response::Agreements(summaries.collect()))
    }

    pub(super) fn get_agreement(&mut self, now: Timestamp, id: &AgreementId) -> Reply {
        let number = self.agreements.select(now, id).ok_or_else(|| unknown(id, ""))?;
        let (book, signing) = (&self.agreements.books[number], &self.agreements.signings[number]);
        let offer = &signing.deal.offer;
        Ok(Response::Agreement(Box::new(Agreement {
            id: book.id.clone(),
            provider: book.provider.clone(),
            state: book.state,
            approved: book.approved,
            session: book.session.clone(),
            demand: (*signing.demand).clone(),
            offer: DemandBody {
                properties: offer.properties(&signing.deal.draft),
                constraints: offer.constraints(),
            },
        })))
    }

    // spec: market-api confirmAgreement 404 410 500
    pub(super) fn confirm_agreement(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &AgreementId,
        session: &SessionId,
    ) -> Option<Reply> {
        let Some(agreement) = self.agreements.select(now, id) else {
            return Some(Err(unknown(id, "")));
        };
        let book = &self.agreements.books[agreement];
        if book.state != AgreementState::Proposal {
            return Some(Err(no_way(book.state, AgreementState::Pending)));
        }
        let at = self.keep_open(now, request);
        let signing = &mut self.agreements.signings[agreement];
        signing.locked_until = signing.locked_until.max(at);
        let session = session.clone();
        self.agenda.add(at, Due::Arrives { request, agreement, session });
        None
    }

    // spec: market-api waitForApproval 400 404 408 410
    pub(super) fn await_approval(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &AgreementId,
        timeout: Span,
    ) -> Option<Reply> {
        let Some(agreement) = self.agreements.select(now, id) else {
            return Some(Err(unknown(id, "R-")));
        };
        if let Some(reply) = approval(&self.agreements.books[agreement]) {
            return Some(reply);
        }
        self.open.insert(request);
        self.agreements.waits.push((request, agreement));
        self.agenda.add(now.plus(timeout), Due::WaitEnds(request));
        None
    }

    pub(super) fn cancel_agreement(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &AgreementId,
    ) -> Option<Reply> {
        let Some(agreement) = self.agreements.select(now, id) else {
            return Some(Err(unknown(id, "")));
        };
        let signing = &self.agreements.signings[agreement];
        if signing.locked_until > now {
            self.open.insert(request);
            self.agenda.add(signing.locked_until, Due::Cancels { request, agreement });
            return None;
        }
        let state = self.agreements.books[agreement].state;
        if !matches!(state, AgreementState::Proposal | AgreementState::Pending) {
            return Some(Err(no_way(state, AgreementState::Cancelled)));
        }
        let at = self.keep_open(now, request);
        if signing_is_known(&self.agreements, agreement) {
            self.agenda.add(at, Due::Cancelled { request, agreement });
        } else {
            let text = format!(
                "Protocol error while approving: Remote failed to approve. Error: Agreement \
                 [P-{id}] not found."
            );
            self.answer_at(at, request, Err(refuse(500, &text)));
        }
        None
    }

    // spec: market-api terminateAgreement 404 409 410 500
    pub(super) fn terminate_agreement(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &AgreementId,
        reason: &str,
    ) -> Option<Reply> {
        let Some(agreement) = self.agreements.select(now, id) else {
            return Some(Err(unknown(id, "")));
        };
        let book = &self.agreements.books[agreement];
        if book.state != AgreementState::Approved {
            return Some(Err(no_way(book.state, AgreementState::Terminated)));
        }
        let is_gone = book.is_provider_gone;
        let at = self.keep_open(now, request);
        if is_gone {
            let text = format!(
                "Protocol error while terminating: Terminate Agreement [R-{id}] GSB error: GSB \
                 failure: Net: error forwarding message: Connection timed out.."
            );
            self.answer_at(at, request, Err(refuse(500, &text)));
        } else {
            let reason = reason.to_owned();
            self.agenda.add(at, Due::Terminated { request, agreement, reason });
        }
        None
    }

    pub(super) fn collect_agreement_events(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        session: &SessionId,
        after: Timestamp,
        timeout: Span,
    ) -> Option<Reply> {
        let events = self.agreements.log.read(session, after);
        if !events.is_empty() || timeout == Span::ZERO {
            return Some(Ok(Response::AgreementEvents(events)));
        }
        self.open.insert(request);
        let session = session.clone();
        self.agreements.log.wait(Poll { request, session, after, since: now });
        self.agenda.add(now.plus(timeout), Due::PollEnds(request));
        None
    }

    /// Something is due.
    pub(super) fn on_agreement(&mut self, now: Timestamp, due: Due) {
        match due {
            Due::Arrives { request, agreement, session } => {
                self.on_proposed(now, request, agreement, session);
            }
            Due::Confirmed { request, agreement, session } => {
                // A daemon that was restarted in between remembers nothing of it.
                if !self.open.contains(&request) {
                    return;
                }
                let book = &mut self.agreements.books[agreement];
                book.session = Some(session);
                book.confirmed = Some(now);
                book.state = AgreementState::Pending;
                self.answer(request, Ok(Response::AgreementConfirmed));
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
                if !self.activities.was_there_any(agreement) {
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
    pub(super) fn terminate_by_provider(&mut self, now: Timestamp, number: usize, code: &str) {
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

    /// Whatever ran there is lost; nobody ever says so.
    fn on_vanished(&mut self, now: Timestamp, agreement: usize) {
        if self.agreements.is_approved(agreement) {
            self.agreements.books[agreement].is_provider_gone = true;
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
        let Some(session) = &self.agreements.books[agreement].session else { return };
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

fn signing_is_known(agreements: &Agreements, agreement: usize) -> bool {
    agreements.signings[agreement].is_known
}

/// What to say to whoever waits for an approval; nothing while the provider may still speak.
fn approval(book: &AgreementBook) -> Option<Reply> {
    let id = &book.id;
    Some(match book.state {
        AgreementState::Approved => Ok(Response::AgreementApproved),
        AgreementState::Rejected => Err(refuse(410, "Rejected")),
        AgreementState::Cancelled => Err(refuse(410, "Cancelled")),
        AgreementState::Expired => Err(refuse(410, &format!("Agreement [R-{id}] expired."))),
        AgreementState::Terminated => Err(refuse(400, &format!("Agreement [R-{id}] terminated."))),
        AgreementState::Proposal => {
            let text =
                format!("Agreement [R-{id}] should be confirmed, before waiting for approval.");
            Err(refuse(400, &text))
        }
        AgreementState::Pending | AgreementState::Approving => return None,
    })
}

fn unknown(id: &AgreementId, owner: &str) -> Refusal {
    refuse(404, &format!("Agreement [{owner}{id}] not found."))
}

/// The daemon's words for a change of state that there is not.
fn no_way(from: AgreementState, to: AgreementState) -> Refusal {
    let status = if from == AgreementState::Proposal { 409 } else { 410 };
    refuse(status, &format!("Can't update Agreement state from {from:?} to {to:?}."))
}

fn reason_of(code: &str) -> &'static str {
    match code {
        "NoActivity" => "No activity created within 1m 30s from Agreement approval.",
        "DebitNotesDeadline" => "Requestor isn't accepting DebitNotes in time.",
        "DebitNoteNotPaid" => "Requestor didn't pay a DebitNote in time.",
        "InitializationError" => "Failed to initialize the agreement.",
        _ => "The provider shuts down.",
    }
}
