//! Agreements: made of a draft, sent to the provider, approved or not, ended.
//!
//! Both sides' copies are one here: what a provider says takes effect when it reaches our daemon.
//! The daemon asks the provider first, and changes its own state when the provider has answered.

mod course;

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
    log::{Log, Poll, is_wanted},
    refuse,
};
use crate::provider::deal::Deal;

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
        let number = place(&self.books, id.as_str(), 16, |book| book.id.as_str());
        number.filter(|number| !self.books[*number].is_forgotten)
    }

    /// Throws away what could be approved until then, whatever became of it.
    fn forget(&mut self, now: Timestamp) {
        for book in self.books.iter_mut().filter(|book| book.valid_to < now) {
            book.is_forgotten = true;
        }
    }

    pub(super) fn is_approved(&self, agreement: usize) -> bool {
        self.books[agreement].state == AgreementState::Approved
    }

    /// Whether a provider has sold its only slot.
    pub(super) fn is_taken(&self, provider: &ProviderId) -> bool {
        self.held.iter().any(|number| self.books[*number].provider == *provider)
    }

    /// How an agreement was ended, if it was.
    pub(super) fn termination(&self, id: &AgreementId) -> Option<&AgreementEvent> {
        self.log.last(|event| {
            event.agreement == *id && matches!(event.kind, AgreementEventKind::Terminated { .. })
        })
    }

    pub(super) fn forget_polls(&mut self) {
        self.log.leave_all();
        self.waits.clear();
    }

    /// Ends the waiting of a request; tells whether it waited.
    pub(super) fn cancel(&mut self, request: RequestNo) -> bool {
        let before = self.waits.len();
        self.waits.retain(|(waiting, _)| *waiting != request);
        self.log.take(request).is_some() || self.waits.len() < before
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
    /// The daemon throws away agreements and all that it knows of their activities, 90 days after their time to be
    /// approved is over; nodes go on, and bills come in.
    pub fn forget_agreements(&mut self, now: Timestamp) {
        self.agreements.forget(now);
        for (unit, book) in self.activities.units.iter().zip(&mut self.activities.books) {
            book.is_known &= !self.agreements.books[unit.agreement].is_forgotten;
        }
    }

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
            is_forgotten: false,
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
        let ours = self.agreements.books.iter();
        let ours = ours.filter(|it| !it.is_forgotten && is_wanted(session, it.session.as_ref()));
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
            return Some(Err(unknown(id, "R-")));
        };
        let book = &self.agreements.books[agreement];
        if book.state != AgreementState::Proposal {
            return Some(Err(no_way(book.state, AgreementState::Pending)));
        }
        let is_gone = self.market.is_lost(&book.provider);
        let at = self.keep_open(now, request);
        if is_gone {
            let refusal = unreachable("Protocol error: Propose", id);
            self.answer_at(at, request, Err(refusal));
            return None;
        }
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
            return Some(Err(unknown(id, "R-")));
        };
        let signing = &self.agreements.signings[agreement];
        if signing.locked_until > now {
            self.open.insert(request);
            self.agenda.add(signing.locked_until, Due::Cancels { request, agreement });
            return None;
        }
        let AgreementBook { state, provider, .. } = &self.agreements.books[agreement];
        let (state, is_gone) = (*state, self.market.is_lost(provider));
        if !matches!(state, AgreementState::Proposal | AgreementState::Pending) {
            return Some(Err(no_way(state, AgreementState::Cancelled)));
        }
        let at = self.keep_open(now, request);
        if is_gone {
            let refusal = unreachable("Protocol error while approving: Approve", id);
            self.answer_at(at, request, Err(refusal));
        } else if self.agreements.signings[agreement].is_known {
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
            let refusal = unreachable("Protocol error while terminating: Terminate", id);
            self.answer_at(at, request, Err(refusal));
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

/// The daemon's words when it cannot reach the other side.
fn unreachable(doing: &str, id: &AgreementId) -> Refusal {
    let text = format!(
        "{doing} Agreement [R-{id}] GSB error: GSB failure: Net: error forwarding message: \
         Connection timed out.."
    );
    refuse(500, &text)
}

fn unknown(id: &AgreementId, owner: &str) -> Refusal {
    refuse(404, &format!("Agreement [{owner}{id}] not found."))
}

/// The daemon's words for a change of state that there is not.
fn no_way(from: AgreementState, to: AgreementState) -> Refusal {
    let status = if from == AgreementState::Proposal { 409 } else { 410 };
    refuse(status, &format!("Can't update Agreement state from {from:?} to {to:?}."))
}
