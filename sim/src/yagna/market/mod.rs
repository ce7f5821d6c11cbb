//! The daemon's market: demands, matching, events, negotiation.
//!
//! A demand and an offer meet if each meets the other's filter. What they say to each other is kept
//! as records; a record becomes an event with all its properties only when somebody takes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ray_on_golem::{
    core::rng::Seed,
    units::{Span, Timestamp},
    yagna::{
        DemandBody, DemandEvent, ProposalId, ProviderId, Rejection, Response, Status, Subscription,
        SubscriptionId,
    },
};

mod chain;
mod counter;
mod demand;
mod filter;
mod promote;
mod record;

pub use chain::{ChainBook, ChainEnd};
pub use demand::{DemandBook, DemandEnd};

use demand::{Demand, Waiting};
use filter::Filters;
use record::{Kind, Record, Records};

use super::{Agenda, Refusal, Reply, RequestNo, arrival::Broadcasts, ids::Ids, refuse};

use crate::{
    provider::{Offer, agent::Answer, populate},
    scenario::{Behaviour, Daemon, Distribution, Scenario, distribution::ONE},
};

/// The daemon ends every demand after an hour.
const DEMAND_LIFE: Span = Span::hours(1);
/// The daemon's own limit on a message to a provider.
const HOP_MAX: Span = Span::secs(60);
const EVENTS_MAX: u8 = 100;
/// A new offer is broadcast after this time.
const PUBLISHED_AFTER: Span = Span::secs(5);

/// What will happen.
#[derive(Debug)]
pub(crate) enum Due {
    OfferArrives(usize),
    OfferLeaves(usize),
    OfferRepriced { offer: usize, factor: u64 },
    CounterArrives { request: RequestNo, counter: usize },
    HopFails { request: RequestNo, proposal: usize },
    ProviderAnswers { counter: usize, answer: Answer },
    PollEnds { demand: usize, request: RequestNo },
    DemandExpires(usize),
}

impl Due {
    /// Whether it happens on the network, whatever becomes of our daemon.
    pub(crate) const fn outlives_the_daemon(&self) -> bool {
        match self {
            Self::OfferArrives(_) | Self::OfferLeaves(_) | Self::OfferRepriced { .. } => true,
            Self::CounterArrives { .. }
            | Self::HopFails { .. }
            | Self::ProviderAnswers { .. }
            | Self::PollEnds { .. }
            | Self::DemandExpires(_) => false,
        }
    }
}

/// How an offer stands to our daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is not on the market yet, or our daemon has not heard of it.
    Unheard,
    /// Our daemon knows it.
    Known,
    /// Its provider has taken it back.
    Withdrawn,
}

#[derive(Debug)]
pub(super) struct Market {
    seed: Seed,
    ids: Ids,
    daemon: Daemon,
    offers: Vec<Offer>,
    /// How each offer stands.
    standing: Vec<Standing>,
    /// Calls of ours about each offer.
    calls: Vec<u64>,
    filters: Filters,
    books: Vec<DemandBook>,
    /// Those that are published, by their place in the books.
    demands: BTreeMap<usize, Demand>,
    records: Records,
    /// Whether proposals of demands that are over are forgotten.
    is_forgetful: bool,
    /// Providers that are gone for good.
    lost: BTreeSet<ProviderId>,
    hops: u64,
    restarts: u64,
}

impl Market {
    pub(super) fn new(
        scenario: &Scenario,
        seed: Seed,
        now: Timestamp,
        agenda: &mut Agenda,
    ) -> Self {
        let mut offers = Vec::new();
        let mut first = 0;
        for population in &scenario.populations {
            let population = Arc::new(population.clone());
            offers.extend(populate(&population, seed, first));
            first += population.count;
        }
        let broadcasts = Broadcasts::new(&scenario.daemon, offers.len(), seed, now);
        let mut market = Self {
            seed,
            ids: Ids(seed),
            daemon: scenario.daemon.clone(),
            standing: vec![Standing::Unheard; offers.len()],
            calls: vec![0; offers.len()],
            filters: Filters::default(),
            books: Vec::new(),
            demands: BTreeMap::new(),
            records: Records::default(),
            is_forgetful: false,
            lost: BTreeSet::new(),
            hops: 0,
            restarts: 0,
            offers,
        };
        for number in 0..market.offers.len() {
            let offer = &market.offers[number];
            let Some(at) = broadcasts.arrival(number as u64, offer) else { continue };
            market.schedule_changes(number, at, agenda);
            if at <= now {
                market.standing[number] = Standing::Known;
            } else {
                agenda.add(at, Due::OfferArrives(number));
            }
        }
        market
    }

    /// From here on, proposals of demands that are over are forgotten.
    pub(super) fn forget_history(&mut self) {
        self.is_forgetful = true;
    }

    pub(super) fn books(&self) -> &[DemandBook] {
        &self.books
    }

    /// The offers that our daemon knows now.
    pub(super) fn known_offers(&self) -> impl Iterator<Item = &Offer> {
        let known = self.offers.iter().zip(&self.standing);
        known.filter(|(_, standing)| **standing == Standing::Known).map(|(offer, _)| offer)
    }

    /// They with their numbers.
    pub(super) fn numbered_offers(&self) -> impl Iterator<Item = (usize, &Offer)> {
        let known = self.offers.iter().enumerate();
        known.filter(|(number, _)| self.standing[*number] == Standing::Known)
    }

    /// A proposal of a published demand, as its event tells it.
    pub(super) fn look(
        &self,
        demand: &SubscriptionId,
        id: &ProposalId,
    ) -> Result<DemandEvent, Refusal> {
        let number = self.demand_number(demand).ok_or_else(|| gone(demand))?;
        let proposal = self.proposal_number(id);
        let record = proposal.map(|proposal| (proposal, &self.records[proposal]));
        match record.filter(|(_, record)| record.demand == number) {
            Some((proposal, record)) => {
                Ok(record.event(proposal, &self.offers[record.offer], self.ids))
            }
            None => Err(unknown(demand, id)),
        }
    }

    pub(super) fn subscribe(
        &mut self,
        now: Timestamp,
        body: &Arc<DemandBody>,
        agenda: &mut Agenda,
    ) -> Response {
        if self.is_forgetful {
            // An agreement may still be made of what a demand of before has brought.
            let is_over = |end: Option<(Timestamp, DemandEnd)>| {
                end.is_some_and(|(at, _)| now.since(at) > DEMAND_LIFE)
            };
            let books = &self.books;
            self.records.forget(|record| !is_over(books[record.demand].end));
        }
        let number = self.books.len();
        let id = self.ids.subscription(number);
        self.books.push(DemandBook {
            id: id.clone(),
            body: Arc::clone(body),
            since: now,
            end: None,
        });
        self.demands.insert(number, Demand::new(self.filters.parsed(&body.constraints)));
        agenda.add(now.plus(DEMAND_LIFE), Due::DemandExpires(number));
        for offer in 0..self.offers.len() {
            if self.standing[offer] == Standing::Known {
                self.match_with(now, number, offer);
            }
        }
        Response::Subscribed(id)
    }

    pub(super) fn list(&self) -> Response {
        let live = self.demands.keys().map(|number| &self.books[*number]);
        Response::Demands(
            live.map(|book| Subscription { id: book.id.clone(), body: (*book.body).clone() })
                .collect(),
        )
    }

    /// Ends a demand; whoever waits for its events is told.
    pub(super) fn unsubscribe(
        &mut self,
        now: Timestamp,
        id: &SubscriptionId,
    ) -> (Reply, Vec<(RequestNo, Reply)>) {
        match self.demand_number(id) {
            Some(number) => {
                let cut_off = self.end(now, number, DemandEnd::Withdrawn);
                (Ok(Response::Unsubscribed), cut_off)
            }
            None => (Err(refuse(404, &format!("Demand [{id}] not found."))), Vec::new()),
        }
    }

    /// Answers at once if there is something; otherwise when there is, or when the time is up.
    pub(super) fn collect(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &SubscriptionId,
        timeout: Span,
        max_events: u8,
        agenda: &mut Agenda,
    ) -> Option<Reply> {
        if !(1..=EVENTS_MAX).contains(&max_events) {
            let message = format!("Invalid maxEvents '{max_events}', should be between 1 and 100.");
            return Some(Err(refuse(400, &message)));
        }
        let Some(number) = self.demand_number(id) else {
            return Some(Err(gone(id)));
        };
        let events = self.take(number, max_events);
        if !events.is_empty() || timeout == Span::ZERO {
            return Some(Ok(Response::Events(events)));
        }
        if let Some(demand) = self.demands.get_mut(&number) {
            demand.polls.push_back(Waiting { request, max_events });
            agenda.add(now.plus(timeout), Due::PollEnds { demand: number, request });
        }
        None
    }

    pub(super) fn cancel(&mut self, request: RequestNo) {
        for demand in self.demands.values_mut() {
            demand.take_poll(request);
        }
    }

    pub(super) fn reject(&mut self, id: &SubscriptionId, proposal: &ProposalId) -> Reply {
        let Some(demand) = self.demand_number(id) else { return Err(gone(id)) };
        match self.proposal_number(proposal) {
            Some(number) if self.records[number].demand == demand => {
                self.records[number].is_rejected = true;
                self.calls[self.records[number].offer] += 1;
                Ok(Response::ProposalRejected)
            }
            // The daemon really fails here where it refuses elsewhere.
            Some(_) | None => Err(Refusal { status: Status(500), ..unknown(id, proposal) }),
        }
    }

    /// A demand and an offer whose agreement is over meet again, if both are still on the market.
    pub(super) fn meet_again(
        &mut self,
        now: Timestamp,
        demand: usize,
        offer: usize,
    ) -> Vec<(RequestNo, Reply)> {
        if self.standing[offer] == Standing::Known {
            self.match_with(now, demand, offer);
        }
        self.wake(demand)
    }

    /// Something is due; tells the answers that it brings.
    pub(super) fn happen(
        &mut self,
        now: Timestamp,
        due: Due,
        is_taken: impl Fn(&ProviderId) -> bool,
        agenda: &mut Agenda,
    ) -> Vec<(RequestNo, Reply)> {
        match due {
            Due::OfferArrives(offer) => return self.on_offer_arrived(now, offer),
            Due::OfferLeaves(offer) => self.standing[offer] = Standing::Withdrawn,
            Due::OfferRepriced { offer, factor } => {
                self.standing[offer] = Standing::Withdrawn;
                self.offers.push(self.offers[offer].repriced(factor));
                self.standing.push(Standing::Unheard);
                self.calls.push(0);
                agenda.add(now.plus(PUBLISHED_AFTER), Due::OfferArrives(self.offers.len() - 1));
            }
            Due::CounterArrives { request, counter } => {
                self.on_counter_arrived(now, counter, is_taken, agenda);
                return vec![(request, Ok(Response::Countered(self.ids.proposal(counter))))];
            }
            Due::HopFails { request, proposal } => {
                let id = self.ids.proposal(proposal);
                let message = format!(
                    "Failed to send response for Proposal [{id}]. Error: Countering Proposal \
                     [{id}] GSB error: GSB failure: Net: error forwarding message: Connection \
                     timed out.."
                );
                return vec![(request, Err(refuse(500, &message)))];
            }
            Due::ProviderAnswers { counter, answer } => {
                return self.on_answer(now, counter, answer);
            }
            Due::PollEnds { demand, request } => {
                let waiting = self.demands.get_mut(&demand).and_then(|it| it.take_poll(request));
                return waiting
                    .map(|_| (request, Ok(Response::Events(Vec::new()))))
                    .into_iter()
                    .collect();
            }
            Due::DemandExpires(number) => return self.end(now, number, DemandEnd::Expired),
        }
        Vec::new()
    }

    /// The daemon forgets all demands and offers; whoever waits is left waiting.
    pub(super) fn forget(&mut self, now: Timestamp, agenda: &mut Agenda) {
        let numbers: Vec<usize> = self.demands.keys().copied().collect();
        for number in numbers {
            self.end(now, number, DemandEnd::Forgotten);
        }
        self.restarts += 1;
        let (offers, nth) = (self.offers.len(), self.restarts);
        let broadcasts = Broadcasts::after_restart(&self.daemon, offers, self.seed, nth, now);
        for (number, offer) in self.offers.iter().enumerate() {
            if self.standing[number] != Standing::Known {
                continue;
            }
            self.standing[number] = Standing::Unheard;
            if let Some(at) = broadcasts.arrival(number as u64, offer) {
                agenda.add(at, Due::OfferArrives(number));
            }
        }
    }

    /// A provider is gone for good; its offers stay, as nobody takes them back.
    pub(super) fn lose(&mut self, provider: ProviderId) {
        self.lost.insert(provider);
    }

    pub(super) fn is_lost(&self, provider: &ProviderId) -> bool {
        self.lost.contains(provider)
    }

    /// Every negotiation there ever was.
    pub(super) fn chains(&self) -> Vec<ChainBook> {
        chain::books(&self.records, &self.offers, &self.books)
    }

    /// How many counter-proposals and rejections we sent to each provider.
    pub(super) fn calls(&self) -> BTreeMap<ProviderId, u64> {
        let mut calls = BTreeMap::new();
        for (offer, count) in self.offers.iter().zip(&self.calls).filter(|(_, count)| **count > 0) {
            *calls.entry(offer.provider.clone()).or_insert(0) += count;
        }
        calls
    }

    fn on_offer_arrived(&mut self, now: Timestamp, offer: usize) -> Vec<(RequestNo, Reply)> {
        if self.standing[offer] != Standing::Unheard {
            return Vec::new();
        }
        self.standing[offer] = Standing::Known;
        let demands: Vec<usize> = self.demands.keys().copied().collect();
        let mut woken = Vec::new();
        for demand in demands {
            self.match_with(now, demand, offer);
            woken.extend(self.wake(demand));
        }
        woken
    }

    fn schedule_changes(&self, number: usize, at: Timestamp, agenda: &mut Agenda) {
        let offer = &self.offers[number];
        let draw = |what: &str, spread: &Distribution| {
            let label = format!("{}/{what}", offer.population.name);
            spread.sample(self.seed, &label, offer.member, offer.number)
        };
        match &offer.population.behaviour {
            Behaviour::Withdraws(after) => {
                let after = seconds(draw("withdraws", after));
                agenda.add(at.plus(after), Due::OfferLeaves(number));
            }
            Behaviour::Reprices { after, factor } => {
                let (after, factor) = (seconds(draw("reprices", after)), draw("factor", factor));
                agenda.add(at.plus(after), Due::OfferRepriced { offer: number, factor });
            }
            Behaviour::Honest
            | Behaviour::Busy
            | Behaviour::Outbound(_)
            | Behaviour::Silent
            | Behaviour::Slow(_)
            | Behaviour::Raises(_)
            | Behaviour::Endless
            | Behaviour::Unreachable(_)
            | Behaviour::Refuses(_) => {}
        }
    }

    fn on_answer(
        &mut self,
        now: Timestamp,
        counter: usize,
        answer: Answer,
    ) -> Vec<(RequestNo, Reply)> {
        let Some(&Record { demand, offer, round, .. }) = self.records.get(counter) else {
            return Vec::new();
        };
        if !self.demands.contains_key(&demand) {
            return Vec::new();
        }
        match answer {
            Answer::Silence => {}
            Answer::Counter(draft) => {
                let draft = Record { round, ..Record::new(now, demand, offer, Kind::Draft(draft)) };
                let number = self.record(draft, Some(counter));
                self.queue(demand, |queue| queue.proposals.push(number));
            }
            Answer::Reject { message, is_final } => {
                let reason = message
                    .map(|message| Rejection { message: Some(message), is_final: Some(is_final) });
                self.records[counter].kind = Kind::Refused(reason);
                self.queue(demand, |queue| queue.rejections.push(counter));
            }
        }
        self.wake(demand)
    }

    fn match_with(&mut self, now: Timestamp, demand: usize, offer: usize) {
        let Some(Demand { filter, .. }) = self.demands.get(&demand) else { return };
        let body = &self.books[demand].body;
        if !filter.accepts(&self.offers[offer])
            || !self.filters.of_offer(&self.offers[offer]).accepts(&body.properties)
        {
            return;
        }
        let number = self.record(Record::new(now, demand, offer, Kind::Initial), None);
        self.queue(demand, |queue| queue.proposals.push(number));
    }

    fn queue(&mut self, demand: usize, add: impl FnOnce(&mut Demand)) {
        if let Some(demand) = self.demands.get_mut(&demand) {
            add(demand);
        }
    }

    fn record(&mut self, record: Record, previous: Option<usize>) -> usize {
        self.records.push(Record { previous, ..record })
    }

    /// Hands events to whoever waits for them.
    fn wake(&mut self, demand: usize) -> Vec<(RequestNo, Reply)> {
        let mut woken = Vec::new();
        while let Some(waiting) =
            self.demands.get_mut(&demand).and_then(|queue| queue.next_poll_with_events())
        {
            let events = self.take(demand, waiting.max_events);
            woken.push((waiting.request, Ok(Response::Events(events))));
        }
        woken
    }

    fn take(&mut self, demand: usize, max_events: u8) -> Vec<DemandEvent> {
        let seed = self.seed;
        let Some(queue) = self.demands.get_mut(&demand) else { return Vec::new() };
        let taken = queue.take(usize::from(max_events), |length, nth| {
            seed.below(length, "event", demand as u64, nth)
        });
        taken
            .into_iter()
            .map(|number| {
                let record = &self.records[number];
                record.event(number, &self.offers[record.offer], self.ids)
            })
            .collect()
    }

    /// Ends a demand; tells whoever waits for its events.
    fn end(&mut self, now: Timestamp, number: usize, how: DemandEnd) -> Vec<(RequestNo, Reply)> {
        let Some(demand) = self.demands.remove(&number) else { return Vec::new() };
        let book = &mut self.books[number];
        book.end = Some((now, how));
        let refused = demand.polls.iter().map(|waiting| (waiting.request, Err(gone(&book.id))));
        refused.collect()
    }

    /// How long a message to a provider, or from one, takes.
    pub(super) fn hop(&mut self) -> Span {
        self.hops += 1;
        let billionths = self.daemon.hop_ms.sample(self.seed, "hop", self.hops, 0);
        Span::micros(billionths / (ONE / 1_000)).min(HOP_MAX)
    }

    fn demand_number(&self, id: &SubscriptionId) -> Option<usize> {
        let mut live = self.demands.keys().rev();
        live.find(|number| self.books[**number].id == *id).copied()
    }

    fn proposal_number(&self, id: &ProposalId) -> Option<usize> {
        self.ids.number_of(id).filter(|number| self.records.get(*number).is_some())
    }
}

fn gone(id: &SubscriptionId) -> Refusal {
    refuse(404, &format!("Subscription [{id}] not found. Could be unsubscribed."))
}

pub(super) fn unknown(id: &SubscriptionId, proposal: &ProposalId) -> Refusal {
    let (random_id, hash) = id.as_str().split_once('-').unwrap_or((id.as_str(), ""));
    let message = format!(
        "Proposal [{proposal}] not found (subscription [Some(SubscriptionId {{ random_id: \
         \"{random_id}\", hash: \"{hash}\" }})])."
    );
    refuse(404, &message)
}

fn seconds(billionths: u64) -> Span {
    Span::micros(billionths / (ONE / 1_000_000))
}
