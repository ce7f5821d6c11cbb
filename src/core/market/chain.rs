//! One negotiation: our counter-proposals and the provider's drafts, to a certain end (K3).
//!
//! A chain ends by agreement, by a rejection from either side, by the provider's silence, or with
//! its demand. The survey takes no draft: it counts it and rejects it at once, so that the provider
//! is free for others. A cluster keeps it for a while, to sign it.

use std::sync::Arc;

use super::{
    Draft, Goal, Market, MarketCall, MarketTimer, appraisal::Fate, demand, hire::DRAFT_LIFE,
    negotiate::Move, offer::Offer, pool::Place, supply::Supply,
};
use crate::{
    core::{
        backoff::Backoff,
        effects::Effects,
        ids::{Generation, OfferNo},
        market::negotiate::Terms,
        planted::Bug,
    },
    units::{Span, Timestamp},
    yagna::{
        CallError, DemandBody, DemandEvent, Doubt, Proposal, ProposalId, ProposalState, Rejection,
        Request, Response,
    },
};

const COUNTER_PATIENCE: Span = Span::secs(5);
const ANSWER_PATIENCE: Span = Span::secs(30);
const REJECT_PATIENCE: Span = Span::secs(5);
const REJECT_TRIES: u8 = 3;
/// A provider that has not come to terms by then never will.
const ROUNDS_MAX: u8 = 20;
/// Answers that overtake the reply to our own call, and drafts that nobody waits for; more of them
/// cannot be meant.
const EARLY_MAX: usize = 256;
/// A proposal older than this share of its hour is not worth a negotiation.
const MATCH_LIFE: Span = Span::mins(48);
pub(super) const NOT_NEEDED: &str = "No more needed";

/// Numbers the chains of a market: an offer may be negotiated again before the last call about it is
/// answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct ChainNo(pub(super) u64);

/// A negotiation under way.
#[derive(Debug)]
pub(super) struct Chain {
    id: ChainNo,
    pub(super) generation: Generation,
    rounds: u8,
    /// What our latest counter-proposal says.
    stated: Terms,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Our counter-proposal is on its way to the provider, or waits for the daemon's return.
    Countering { answering: ProposalId },
    /// The provider thinks about it.
    Awaiting { counter: ProposalId },
    /// The provider's last word is kept, to be signed.
    Held { draft: Box<Draft> },
    /// The chain is decided; the provider is being told.
    Rejecting { draft: ProposalId, reason: String, tries: u8 },
}

impl Chain {
    pub(super) fn is_decided(&self) -> bool {
        match self.stage {
            Stage::Countering { .. } | Stage::Awaiting { .. } | Stage::Held { .. } => false,
            Stage::Rejecting { .. } => true,
        }
    }

    /// The draft that is kept for somebody to sign.
    pub(super) fn draft(&self) -> Option<&Draft> {
        match &self.stage {
            Stage::Held { draft } => Some(draft),
            Stage::Countering { .. } | Stage::Awaiting { .. } | Stage::Rejecting { .. } => None,
        }
    }
}

impl Market {
    /// Starts negotiations, best offer first, as many side by side as we may.
    pub(super) fn dispatch(&mut self, fx: &mut Effects) {
        self.pool.unpark(fx.now);
        let gathers = self.gathers_until.is_some_and(|until| until > fx.now);
        if !self.open || self.paused_until > fx.now || gathers {
            return;
        }
        while self.chains.len() + self.strays < self.breadth() {
            let Some(number) = self.next_offer(fx) else { break };
            if self.rank_again(fx, number) {
                continue;
            }
            let Some(entry) = self.pool.get(number) else { break };
            if let Some(until) = self.rest_until(fx, &entry.offer.provider) {
                self.pool.put(number, Place::Parked(until));
                continue;
            }
            if self.engaged.contains(&entry.offer.provider) {
                self.pool.put(number, Place::Lost);
                continue;
            }
            let is_fresh = fx.now.since(entry.matched_at) < MATCH_LIFE
                && self.publication.subscription(entry.generation).is_some();
            if !is_fresh {
                self.pool.put(number, Place::Lost);
                continue;
            }
            self.turns.took(entry.rank.is_proven);
            self.open_chain(fx, number);
        }
        let rests_until = self.pool.unpark(fx.now);
        if let Some(at) = rests_until.filter(|at| *at < Timestamp::NEVER) {
            self.wake(fx, MarketTimer::Dispatch, at);
        }
        self.watch_for_famine(fx);
    }

    /// The offer to try next.
    fn next_offer(&self, fx: &Effects) -> Option<OfferNo> {
        if fx.planted(Bug::WorstFirst) {
            return self.pool.worst();
        }
        let share =
            if fx.planted(Bug::NewcomersUnbounded) { 100 } else { self.spec.choice.newcomers };
        self.turns.choose(share, self.pool.best(true), self.pool.best(false))
    }

    fn open_chain(&mut self, fx: &mut Effects, number: OfferNo) {
        let Some(entry) = self.pool.get_mut(number) else { return };
        if !entry.was_negotiated {
            entry.was_negotiated = true;
            self.funnel.negotiated += 1;
        }
        let (generation, proposal) = (entry.generation, entry.proposal.clone());
        let (terms, can_be_paid) = (entry.offer.terms, entry.offer.wallet.is_some());
        if !can_be_paid {
            self.count_failure(number, "No common payment platform!");
            self.pool.finish(number);
            return;
        }
        match self.bounds.open(terms, self.bounds.minimal) {
            Ok(stated) => {
                self.pool.put(number, Place::Negotiating);
                self.settle_fate(number, || Fate::Negotiating);
                let stage = Stage::Countering { answering: proposal.clone() };
                let id = self.next_chain;
                self.next_chain = ChainNo(id.0.saturating_add(1));
                let chain = Chain { id, generation, rounds: 0, stated, stage };
                self.chains.insert(number, chain);
                self.counter(fx, number, proposal, stated);
            }
            Err(error) => {
                self.count_failure(number, &error.to_string());
                self.pool.finish(number);
            }
        }
    }

    fn counter(&mut self, fx: &mut Effects, number: OfferNo, proposal: ProposalId, stated: Terms) {
        let Some(chain) = self.chains.get_mut(&number) else { return };
        let (id, generation) = (chain.id, chain.generation);
        chain.stated = stated;
        chain.stage = Stage::Countering { answering: proposal.clone() };
        chain.rounds += 1;
        let Some(subscription) = self.publication.subscription(generation).cloned() else { return };
        let Some(body) = self.counter_body(generation, stated) else { return };
        let request = Request::CounterProposal { subscription, proposal, body };
        fx.call(self.purpose(MarketCall::Counter(number, id)), request, COUNTER_PATIENCE);
    }

    /// Counter-proposals of one generation with equal terms are one document.
    fn counter_body(&mut self, generation: Generation, stated: Terms) -> Option<Arc<DemandBody>> {
        let key = (generation, stated.note_interval, stated.payment_timeout);
        if let Some(body) = self.counters.get(&key) {
            return Some(Arc::clone(body));
        }
        let demand = self.publication.body(generation)?;
        let body = Arc::new(demand::counter(demand, &self.platform, stated));
        if self.counters.len() >= EARLY_MAX {
            self.counters.pop_first();
        }
        self.counters.insert(key, Arc::clone(&body));
        Some(body)
    }

    pub(super) fn on_countered(
        &mut self,
        fx: &mut Effects,
        number: OfferNo,
        result: Result<Response, CallError>,
    ) {
        let Some(chain) = self.chains.get_mut(&number) else { return };
        match result {
            Ok(Response::Countered(counter)) => {
                let generation = chain.generation;
                chain.stage = Stage::Awaiting { counter: counter.clone() };
                self.awaiting.insert(counter.clone(), number);
                self.wake(fx, MarketTimer::Chain(number), fx.now.plus(ANSWER_PATIENCE));
                if let Some((_, _, event)) = self.early.remove(&counter) {
                    self.on_event(fx, generation, event);
                }
            }
            Ok(_) => {
                self.fail(fx, number, "Failed to send proposal response! Answer not understood")
            }
            Err(CallError::NotSent { .. }) => self.on_counter_not_sent(fx, number),
            Err(error) => {
                if is_providers_fault(&error) {
                    self.blame(fx, number);
                }
                self.fail(fx, number, &format!("Failed to send proposal response! {error}"));
            }
        }
    }

    /// Whether this chain is the one that its offer is negotiated in now.
    pub(super) fn is_under_way(&self, number: OfferNo, id: ChainNo) -> bool {
        self.chains.get(&number).is_some_and(|chain| chain.id == id)
    }

    /// The daemon is away. Nothing happened, so nothing is lost: an offer waits for its turn again, and
    /// a draft for the daemon's return.
    fn on_counter_not_sent(&mut self, fx: &mut Effects, number: OfferNo) {
        if self.paused_until <= fx.now {
            self.pauses += 1;
            let pause =
                Backoff::DAEMON.pause(self.pauses, fx.seed, "counter", u64::from(self.id.0));
            self.paused_until = fx.now.plus(pause);
        }
        self.wake(fx, MarketTimer::Dispatch, self.paused_until);
        let Some(chain) = self.chains.get_mut(&number) else { return };
        chain.rounds = chain.rounds.saturating_sub(1);
        if chain.rounds == 0 && self.open {
            self.forget_chain(fx, number);
            self.pool.put(number, Place::Ready);
            self.settle_fate(number, || Fate::Waiting);
        } else {
            self.wake(fx, MarketTimer::Chain(number), self.paused_until);
        }
    }

    /// The chain has waited long enough: for the daemon, for the provider, or for another try.
    pub(super) fn on_waited(&mut self, fx: &mut Effects, number: OfferNo) {
        let Some(chain) = self.chains.get(&number) else { return };
        match &chain.stage {
            // The answer did not leave before the market closed. A draft is owed another one.
            Stage::Countering { answering } if !self.open && chain.rounds > 0 => {
                let answering = answering.clone();
                self.reject(fx, number, answering, NOT_NEEDED);
            }
            Stage::Countering { .. } if !self.open => {}
            Stage::Countering { answering } => {
                let (answering, stated) = (answering.clone(), chain.stated);
                let provider = self.pool.get(number).map(|entry| &entry.offer.provider);
                match provider.and_then(|provider| self.rest_until(fx, provider)) {
                    Some(_) => self.reject(fx, number, answering, NOT_NEEDED),
                    None => self.counter(fx, number, answering, stated),
                }
            }
            Stage::Awaiting { .. } => {
                self.blame(fx, number);
                self.fail(fx, number, "Failed to receive proposal response!");
            }
            Stage::Rejecting { draft, reason, tries } => {
                let (draft, reason, tries) = (draft.clone(), reason.clone(), *tries);
                self.send_rejection(fx, number, draft, reason, tries);
            }
            Stage::Held { .. } => {
                self.return_draft(fx, number, "No longer needed due to its near expiration");
            }
        }
        self.dispatch(fx);
    }

    pub(super) fn on_event(
        &mut self,
        fx: &mut Effects,
        generation: Generation,
        event: DemandEvent,
    ) {
        match event {
            DemandEvent::Proposal(proposal) => match proposal.state {
                ProposalState::Initial => self.on_match(fx, generation, &proposal),
                ProposalState::Draft => self.on_draft(fx, generation, proposal),
                ProposalState::Rejected | ProposalState::Accepted | ProposalState::Expired => {}
            },
            DemandEvent::Rejected { proposal, reason } => {
                self.on_rejected(fx, generation, proposal, reason);
            }
            // The daemon has forgotten it as it sent it, and it may have been an offer.
            DemandEvent::Unreadable(_) => {
                self.funnel.unreadable += 1;
                self.has_lost_events = true;
                self.watch_for_famine(fx);
            }
        }
    }

    fn on_rejected(
        &mut self,
        fx: &mut Effects,
        generation: Generation,
        counter: ProposalId,
        reason: Option<Rejection>,
    ) {
        let Some(number) = self.awaiting.get(&counter).copied() else {
            let event = DemandEvent::Rejected { proposal: counter.clone(), reason };
            self.keep_early(fx, generation, counter, event);
            return;
        };
        let message = reason.and_then(|reason| reason.message);
        self.fail(fx, number, message.as_deref().unwrap_or("Rejected without a reason"));
    }

    fn on_draft(&mut self, fx: &mut Effects, generation: Generation, proposal: Box<Proposal>) {
        let number = proposal.previous.as_ref().and_then(|counter| self.awaiting.get(counter));
        let Some(number) = number.copied() else {
            match proposal.previous.clone() {
                Some(counter) if self.has_counters_in_flight() => {
                    self.keep_early(fx, generation, counter, DemandEvent::Proposal(proposal));
                }
                Some(_) | None => self.reject_stray(fx, generation, proposal.id),
            }
            return;
        };
        let Some(chain) = self.chains.get(&number) else { return };
        let (stated, rounds) = (chain.stated, chain.rounds);
        if let Some(counter) = &proposal.previous {
            self.awaiting.remove(counter);
        }
        fx.timers.cancel(&self.timer(MarketTimer::Chain(number)));
        match self.judge(fx, &proposal, stated, rounds) {
            Ok((offer, Move::Take)) => {
                self.funnel.agreed += 1;
                self.settle_fate(number, || Fate::Agreed);
                self.clear(fx, &offer);
                match self.goal {
                    Goal::Survey => {
                        self.supply.push(Supply::new(&offer));
                        self.reject(fx, number, proposal.id, NOT_NEEDED);
                    }
                    Goal::Hire => self.keep_draft(fx, number, offer, &proposal),
                }
            }
            Ok((_, Move::Counter(terms))) => self.counter(fx, number, proposal.id, terms),
            Err(reason) => {
                self.count_failure(number, &reason);
                self.reject(fx, number, proposal.id, &reason);
            }
        }
    }

    fn keep_draft(&mut self, fx: &mut Effects, number: OfferNo, offer: Offer, from: &Proposal) {
        let Some(chain) = self.chains.get_mut(&number) else { return };
        let key = format!("golem.com.payment.platform.{}.address", self.platform);
        let payee = from.body.properties.text(&key).unwrap_or_default().to_owned();
        let is_engaged = self.engaged.contains(&offer.provider);
        let draft = Draft { offer, proposal: from.id.clone(), terms: chain.stated, payee };
        chain.stage = Stage::Held { draft: Box::new(draft) };
        self.wake(fx, MarketTimer::Chain(number), fx.now.plus(DRAFT_LIFE));
        if !self.open || is_engaged {
            self.return_draft(fx, number, NOT_NEEDED);
        }
    }

    /// A draft that was kept goes back to its provider.
    pub(super) fn return_draft(&mut self, fx: &mut Effects, number: OfferNo, reason: &str) {
        let draft = self.chains.get(&number).and_then(Chain::draft);
        if let Some(proposal) = draft.map(|draft| draft.proposal.clone()) {
            fx.timers.cancel(&self.timer(MarketTimer::Chain(number)));
            self.reject(fx, number, proposal, reason);
        }
    }

    /// What to do with a draft. Its price counts like an offer's: providers may have raised it.
    fn judge(
        &self,
        fx: &Effects,
        proposal: &Proposal,
        stated: Terms,
        rounds: u8,
    ) -> Result<(Offer, Move), String> {
        let offer = Offer::read(proposal, &self.platform)
            .map_err(|error| format!("Can't estimate costs! {error}"))?;
        if let Some(index) = self.limits.exceeded(&offer.price, offer.threads)
            && !fx.planted(Bug::RaiseAccepted)
        {
            let limit = &self.limits.as_slice()[index];
            return Err(format!("Exceeds costs `{}` limit of `{}`!", limit.key(), limit.value()));
        }
        let answer = self.bounds.answer(offer.terms, stated).map_err(|error| error.to_string())?;
        match answer {
            Move::Take => Ok((offer, Move::Take)),
            Move::Counter(_) if rounds >= ROUNDS_MAX && !fx.planted(Bug::CountersEndless) => {
                Err(format!("No terms agreed on in {ROUNDS_MAX} rounds"))
            }
            Move::Counter(terms) => Ok((offer, Move::Counter(terms))),
        }
    }

    fn reject(&mut self, fx: &mut Effects, number: OfferNo, draft: ProposalId, reason: &str) {
        if fx.planted(Bug::DraftKept) {
            self.end(fx, number);
            return;
        }
        self.send_rejection(fx, number, draft, reason.to_owned(), 0);
    }

    fn send_rejection(
        &mut self,
        fx: &mut Effects,
        number: OfferNo,
        draft: ProposalId,
        reason: String,
        tries: u8,
    ) {
        let Some(chain) = self.chains.get_mut(&number) else { return };
        let (id, generation) = (chain.id, chain.generation);
        chain.stage =
            Stage::Rejecting { draft: draft.clone(), reason: reason.clone(), tries: tries + 1 };
        let Some(subscription) = self.publication.subscription(generation).cloned() else { return };
        let request = Request::RejectProposal { subscription, proposal: draft, reason };
        fx.call(self.purpose(MarketCall::Reject(number, id)), request, REJECT_PATIENCE);
    }

    pub(super) fn on_reject_sent(
        &mut self,
        fx: &mut Effects,
        number: OfferNo,
        result: &Result<Response, CallError>,
    ) {
        let Some(chain) = self.chains.get(&number) else { return };
        let Stage::Rejecting { tries, .. } = &chain.stage else { return };
        let is_worth_another = match result {
            Ok(_) | Err(CallError::Rejected { .. } | CallError::Unknown(Doubt::Failed { .. })) => {
                false
            }
            Err(CallError::NotSent { .. } | CallError::Unknown(_)) => *tries < REJECT_TRIES,
        };
        if is_worth_another {
            let pause =
                Backoff::DAEMON.pause(u32::from(*tries), fx.seed, "reject", u64::from(number.0));
            self.wake(fx, MarketTimer::Chain(number), fx.now.plus(pause));
            return;
        }
        self.end(fx, number);
        self.dispatch(fx);
    }

    /// A draft that belongs to no chain of ours, such as one that came after its time: the provider
    /// is told, once, that nobody waits for it.
    fn reject_stray(&mut self, fx: &mut Effects, generation: Generation, draft: ProposalId) {
        if self.stray_drafts.len() < EARLY_MAX {
            self.stray_drafts.push_back((generation, draft));
        }
        self.send_strays(fx);
    }

    pub(super) fn on_stray_rejected(&mut self, fx: &mut Effects) {
        self.strays = self.strays.saturating_sub(1);
        self.send_strays(fx);
    }

    fn send_strays(&mut self, fx: &mut Effects) {
        while self.strays < self.parallel {
            let Some((generation, draft)) = self.stray_drafts.pop_front() else { break };
            let Some(subscription) = self.publication.subscription(generation).cloned() else {
                continue;
            };
            self.strays += 1;
            let reason = NOT_NEEDED.to_owned();
            let request = Request::RejectProposal { subscription, proposal: draft, reason };
            fx.call(self.purpose(MarketCall::RejectStray), request, REJECT_PATIENCE);
        }
    }

    /// Keeps an answer whose question has no name yet.
    fn keep_early(
        &mut self,
        fx: &Effects,
        generation: Generation,
        counter: ProposalId,
        event: DemandEvent,
    ) {
        if self.has_counters_in_flight() && self.early.len() < EARLY_MAX {
            self.early.insert(counter, (fx.now, generation, event));
        }
    }

    /// Lets go of answers whose question was lost: what we asked so long ago has ended by now.
    pub(super) fn release_early(&mut self, fx: &mut Effects) {
        if self.early.is_empty() {
            return;
        }
        let in_flight = self.has_counters_in_flight();
        let now = fx.now;
        let released: Vec<_> = self
            .early
            .extract_if(.., |_, (at, _, _)| !in_flight || now.since(*at) > COUNTER_PATIENCE)
            .collect();
        for (_, (_, generation, event)) in released {
            if let DemandEvent::Proposal(proposal) = event {
                self.reject_stray(fx, generation, proposal.id);
            }
        }
    }

    fn has_counters_in_flight(&self) -> bool {
        self.chains.values().any(|chain| matches!(chain.stage, Stage::Countering { .. }))
    }

    /// Ends a chain that came to nothing.
    fn fail(&mut self, fx: &mut Effects, number: OfferNo, reason: &str) {
        self.count_failure(number, reason);
        self.end(fx, number);
    }

    pub(super) fn end(&mut self, fx: &mut Effects, number: OfferNo) {
        self.forget_chain(fx, number);
        match self.goal {
            Goal::Survey => self.pool.finish(number),
            // The next match of the offer counts again: a provider that is busy will be free.
            Goal::Hire => self.pool.put(number, Place::Lost),
        }
    }

    fn forget_chain(&mut self, fx: &mut Effects, number: OfferNo) {
        fx.timers.cancel(&self.timer(MarketTimer::Chain(number)));
        let chain = self.chains.remove(&number);
        if let Some(Chain { stage: Stage::Awaiting { counter }, .. }) = chain {
            self.awaiting.remove(&counter);
        }
    }

    /// Ends the chains of a demand that is gone; undecided offers count again when matched again.
    pub(super) fn lose_chains(&mut self, fx: &mut Effects, generation: Generation) {
        let lost: Vec<OfferNo> = self
            .chains
            .iter()
            .filter(|(_, chain)| chain.generation == generation)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            if self.chains.get(&number).is_some_and(Chain::is_decided) {
                self.end(fx, number);
            } else {
                self.pool.put(number, Place::Lost);
                self.forget_chain(fx, number);
            }
        }
        if self.chains.is_empty() {
            self.early.clear();
        }
    }

    pub(super) fn is_negotiating_in(&self, generation: Generation) -> bool {
        self.chains.values().any(|chain| chain.generation == generation)
    }

    /// The provider is left alone for a while: it was silent, or not to be reached.
    fn blame(&self, fx: &mut Effects, number: OfferNo) {
        if let Some(entry) = self.pool.get(number) {
            let provider = entry.offer.provider.clone();
            fx.set_back(&provider, Backoff::BUSY_PROVIDER);
        }
    }

    fn clear(&mut self, fx: &mut Effects, offer: &Offer) {
        if self.goal == Goal::Survey {
            // A cluster forgives only a provider whose node came up.
            fx.troubles.clear(&offer.provider);
        }
        self.pauses = 0;
    }
}

/// The daemon answers 500 when it cannot reach the provider, and takes long for it.
fn is_providers_fault(error: &CallError) -> bool {
    match error {
        CallError::Unknown(Doubt::TimedOut | Doubt::Failed { .. }) => true,
        CallError::Rejected { .. }
        | CallError::NotSent { .. }
        | CallError::Unknown(Doubt::Closed { .. } | Doubt::Garbled { .. }) => false,
    }
}
