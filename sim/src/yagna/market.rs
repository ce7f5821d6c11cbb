//! The daemon's market: demands, matching, events, negotiation.

use std::{collections::BTreeMap, sync::Arc};

use ray_on_golem::{
    core::rng::Seed,
    units::{Span, Timestamp},
    yagna::{
        DemandBody, DemandEvent, Proposal, ProposalId, ProposalState, Rejection, Response,
        Subscription, SubscriptionId,
    },
};

use super::{
    Agenda, Refusal, Reply, RequestNo, arrival::Broadcasts, constraint::Constraint, refuse,
};
use crate::{
    provider::{
        Draft, Offer,
        agent::{self, Answer},
        populate,
    },
    scenario::{Behaviour, Distribution, Scenario, distribution::ONE},
};

/// The daemon ends every demand after an hour.
const DEMAND_LIFE: Span = Span::hours(1);
/// The daemon's own limit on a message to a provider.
const HOP_MAX: Span = Span::secs(60);
const EVENTS_MAX: u8 = 100;

/// What will happen.
#[derive(Debug)]
pub(crate) enum Due {
    OfferArrives(usize),
    OfferLeaves(usize),
    OfferRepriced { offer: usize, factor: u64 },
    CounterArrives { request: RequestNo, counter: usize },
    Refused { request: RequestNo, refusal: Refusal },
    HopFails { request: RequestNo, proposal: usize },
    ProviderAnswers { counter: usize, answer: Answer },
    PollEnds { demand: usize, request: RequestNo },
    DemandExpires(usize),
}

/// One demand there ever was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandBook {
    /// Its id.
    pub id: SubscriptionId,
    /// What it says.
    pub body: Arc<DemandBody>,
    /// When it was published.
    pub since: Timestamp,
    /// When and how it ended.
    pub end: Option<(Timestamp, DemandEnd)>,
}

/// How a demand ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemandEnd {
    /// We withdrew it.
    Withdrawn,
    /// Its hour was over.
    Expired,
    /// The daemon restarted.
    Forgotten,
}

#[derive(Debug)]
struct Demand {
    filter: Constraint,
    /// Rejections wait in front of proposals.
    rejections: Vec<usize>,
    proposals: Vec<usize>,
    poll: Option<(RequestNo, u8)>,
    polls: u64,
    delivered: u64,
}

/// One proposal of any kind; its number is part of its id.
#[derive(Debug)]
struct Record {
    demand: usize,
    offer: usize,
    previous: Option<usize>,
    round: u64,
    made: Timestamp,
    kind: Kind,
    is_countered: bool,
}

#[derive(Debug)]
enum Kind {
    Initial,
    Draft(Draft),
    Ours(Arc<DemandBody>),
    /// Ours, and what the provider said to it.
    Refused(Option<Rejection>),
}

#[derive(Debug)]
pub(super) struct Market {
    seed: Seed,
    hop_ms: Distribution,
    offers: Vec<Offer>,
    /// Whether each offer is on the market and known to our daemon.
    known: Vec<bool>,
    offer_filters: BTreeMap<String, Constraint>,
    books: Vec<DemandBook>,
    demands: BTreeMap<usize, Demand>,
    records: Vec<Record>,
    hops: u64,
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
            hop_ms: scenario.daemon.hop_ms.clone(),
            known: vec![false; offers.len()],
            offer_filters: BTreeMap::new(),
            books: Vec::new(),
            demands: BTreeMap::new(),
            records: Vec::new(),
            hops: 0,
            offers,
        };
        for number in 0..market.offers.len() {
            let offer = &market.offers[number];
            let Some(at) = broadcasts.arrival(number as u64, offer) else { continue };
            market.schedule_changes(number, at, agenda);
            if at <= now {
                market.known[number] = true;
            } else {
                agenda.add(at, Due::OfferArrives(number));
            }
        }
        market
    }

    pub(super) fn books(&self) -> &[DemandBook] {
        &self.books
    }

    pub(super) fn subscribe(
        &mut self,
        now: Timestamp,
        body: &Arc<DemandBody>,
        agenda: &mut Agenda,
    ) -> Response {
        let number = self.books.len();
        let id = self.subscription_id(number);
        self.books.push(DemandBook {
            id: id.clone(),
            body: Arc::clone(body),
            since: now,
            end: None,
        });
        self.demands.insert(
            number,
            Demand {
                filter: Constraint::parse(&body.constraints),
                rejections: Vec::new(),
                proposals: Vec::new(),
                poll: None,
                polls: 0,
                delivered: 0,
            },
        );
        agenda.add(now.plus(DEMAND_LIFE), Due::DemandExpires(number));
        for offer in 0..self.offers.len() {
            if self.known[offer] {
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
    ) -> (Reply, Option<(RequestNo, Reply)>) {
        match self.demand_number(id) {
            Some(number) => {
                let cut_off = self.end(now, number, DemandEnd::Withdrawn);
                (Ok(Response::Unsubscribed), cut_off)
            }
            None => (Err(refuse(404, &format!("Demand [{id}] not found."))), None),
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
            demand.polls += 1;
            demand.poll = Some((request, max_events));
            agenda.add(now.plus(timeout), Due::PollEnds { demand: number, request });
        }
        None
    }

    pub(super) fn cancel(&mut self, request: RequestNo) {
        for demand in self.demands.values_mut() {
            demand.poll.take_if(|(waiting, _)| *waiting == request);
        }
    }

    pub(super) fn counter(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &SubscriptionId,
        proposal: &ProposalId,
        body: &Arc<DemandBody>,
        agenda: &mut Agenda,
    ) {
        let hop = self.hop();
        let due = match self.check_counter(id, proposal, body) {
            Err(refusal) => {
                agenda.add(now, Due::Refused { request, refusal });
                return;
            }
            Ok(number) => {
                let offer = self.records[number].offer;
                if let Some(hangs) = self.unreachable(offer) {
                    agenda.add(now.plus(hangs), Due::HopFails { request, proposal: number });
                    return;
                }
                let record = &mut self.records[number];
                record.is_countered = true;
                let ours = Record {
                    demand: record.demand,
                    offer,
                    previous: Some(number),
                    round: record.round + 1,
                    made: now,
                    kind: Kind::Ours(Arc::clone(body)),
                    is_countered: false,
                };
                self.records.push(ours);
                Due::CounterArrives { request, counter: self.records.len() - 1 }
            }
        };
        agenda.add(now.plus(hop), due);
    }

    pub(super) fn reject(&mut self, id: &SubscriptionId, proposal: &ProposalId) -> Reply {
        if self.demand_number(id).is_none() {
            return Err(gone(id));
        }
        match self.proposal_number(proposal) {
            Some(number) => {
                self.records[number].is_countered = true;
                Ok(Response::ProposalRejected)
            }
            None => {
                Err(Refusal { status: ray_on_golem::yagna::Status(500), ..unknown(id, proposal) })
            }
        }
    }

    /// Something is due; tells the answers that it brings.
    pub(super) fn happen(
        &mut self,
        now: Timestamp,
        due: Due,
        agenda: &mut Agenda,
    ) -> Vec<(RequestNo, Reply)> {
        let reply = match due {
            Due::OfferArrives(offer) => {
                self.known[offer] = true;
                let demands: Vec<usize> = self.demands.keys().copied().collect();
                let woken = demands.into_iter().filter_map(|demand| {
                    self.match_with(now, demand, offer);
                    self.wake(demand)
                });
                return woken.collect();
            }
            Due::OfferLeaves(offer) => {
                self.known[offer] = false;
                None
            }
            Due::OfferRepriced { offer, factor } => {
                self.known[offer] = false;
                self.offers.push(self.offers[offer].repriced(factor));
                self.known.push(false);
                agenda.add(now.plus(Span::secs(5)), Due::OfferArrives(self.offers.len() - 1));
                None
            }
            Due::CounterArrives { request, counter } => {
                self.on_counter_arrived(now, counter, agenda);
                Some((request, Ok(Response::Countered(self.proposal_id(counter)))))
            }
            Due::Refused { request, refusal } => Some((request, Err(refusal))),
            Due::HopFails { request, proposal } => {
                let id = self.proposal_id(proposal);
                let message = format!(
                    "Failed to send response for Proposal [{id}]. Error: Countering Proposal \
                     [{id}] GSB error: GSB failure: Net: error forwarding message: Connection \
                     timed out.."
                );
                Some((request, Err(refuse(500, &message))))
            }
            Due::ProviderAnswers { counter, answer } => self.on_answer(now, counter, answer),
            Due::PollEnds { demand, request } => self
                .demands
                .get_mut(&demand)
                .and_then(|demand| demand.poll.take_if(|(waiting, _)| *waiting == request))
                .map(|_| (request, Ok(Response::Events(Vec::new())))),
            Due::DemandExpires(number) => self.end(now, number, DemandEnd::Expired),
        };
        reply.into_iter().collect()
    }

    pub(super) fn forget(&mut self, now: Timestamp) {
        let numbers: Vec<usize> = self.demands.keys().copied().collect();
        for number in numbers {
            self.end(now, number, DemandEnd::Forgotten);
        }
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

    fn on_counter_arrived(&mut self, now: Timestamp, counter: usize, agenda: &mut Agenda) {
        let record = &self.records[counter];
        let Kind::Ours(body) = &record.kind else { return };
        let offer = &self.offers[record.offer];
        let (answer, thought) =
            agent::answer(offer, &body.properties, now, self.seed, record.round);
        if answer != Answer::Silence {
            let at = now.plus(thought).plus(self.hop());
            agenda.add(at, Due::ProviderAnswers { counter, answer });
        }
    }

    fn on_answer(
        &mut self,
        now: Timestamp,
        counter: usize,
        answer: Answer,
    ) -> Option<(RequestNo, Reply)> {
        let Record { demand, offer, round, .. } = self.records[counter];
        if !self.demands.contains_key(&demand) {
            return None;
        }
        match answer {
            Answer::Silence => return None,
            Answer::Counter(draft) => {
                self.records.push(Record {
                    demand,
                    offer,
                    previous: Some(counter),
                    round,
                    made: now,
                    kind: Kind::Draft(draft),
                    is_countered: false,
                });
                let number = self.records.len() - 1;
                self.demands.get_mut(&demand)?.proposals.push(number);
            }
            Answer::Reject { message, is_final } => {
                let reason = message
                    .map(|message| Rejection { message: Some(message), is_final: Some(is_final) });
                self.records[counter].kind = Kind::Refused(reason);
                self.demands.get_mut(&demand)?.rejections.push(counter);
            }
        }
        self.wake(demand)
    }

    /// A demand and an offer meet if each meets the other's filter.
    fn match_with(&mut self, now: Timestamp, demand: usize, offer: usize) {
        let Some(Demand { filter, .. }) = self.demands.get(&demand) else { return };
        if !filter.accepts(&self.offers[offer]) {
            return;
        }
        if !self.is_acceptable(offer, &Arc::clone(&self.books[demand].body)) {
            return;
        }
        self.records.push(Record {
            demand,
            offer,
            previous: None,
            round: 0,
            made: now,
            kind: Kind::Initial,
            is_countered: false,
        });
        let number = self.records.len() - 1;
        if let Some(demand) = self.demands.get_mut(&demand) {
            demand.proposals.push(number);
        }
    }

    /// Whether what we say meets the offer's filter.
    fn is_acceptable(&mut self, offer: usize, body: &DemandBody) -> bool {
        let subnet = &self.offers[offer].population.subnet;
        if !self.offer_filters.contains_key(subnet) {
            let filter = Constraint::parse(&self.offers[offer].constraints());
            self.offer_filters.insert(subnet.clone(), filter);
        }
        self.offer_filters.get(subnet).is_some_and(|filter| filter.accepts(&body.properties))
    }

    fn check_counter(
        &mut self,
        id: &SubscriptionId,
        proposal: &ProposalId,
        body: &DemandBody,
    ) -> Result<usize, Refusal> {
        let Some(demand) = self.demand_number(id) else {
            return Err(refuse(400, &format!("Subscription [{id}] was already unsubscribed.")));
        };
        let number = self.proposal_number(proposal).ok_or_else(|| unknown(id, proposal))?;
        let record = &self.records[number];
        let (offer, is_countered) = (record.offer, record.is_countered);
        let is_theirs = match record.kind {
            Kind::Initial | Kind::Draft(_) => record.demand == demand,
            Kind::Ours(_) | Kind::Refused(_) => false,
        };
        if !is_theirs {
            return Err(unknown(id, proposal));
        }
        if is_countered {
            let message = format!(
                "Proposal [{proposal}] already has counter proposal. Can't counter for the second \
                 time."
            );
            return Err(refuse(410, &message));
        }
        if !self.known[offer] {
            let theirs = self.hex("offer", offer as u64);
            let message =
                format!("Subscription [{}-{theirs}] was already unsubscribed.", &theirs[..32]);
            return Err(refuse(400, &message));
        }
        let meets_ours = Constraint::parse(&body.constraints).accepts(&self.offers[offer]);
        if !meets_ours || !self.is_acceptable(offer, body) {
            let message = format!("Proposal [{proposal}] doesn't match the Offer's constraints.");
            return Err(refuse(400, &message));
        }
        Ok(number)
    }

    fn unreachable(&self, offer: usize) -> Option<Span> {
        let offer = &self.offers[offer];
        match &offer.population.behaviour {
            Behaviour::Unreachable(after) => {
                let label = format!("{}/unreachable", offer.population.name);
                let after = after.sample(self.seed, &label, offer.member, offer.number);
                Some(seconds(after).min(HOP_MAX))
            }
            Behaviour::Honest
            | Behaviour::Busy
            | Behaviour::Outbound(_)
            | Behaviour::Silent
            | Behaviour::Slow(_)
            | Behaviour::Withdraws(_)
            | Behaviour::Reprices { .. }
            | Behaviour::Raises(_)
            | Behaviour::Endless
            | Behaviour::Refuses(_) => None,
        }
    }

    /// Hands events to whoever waits for them.
    fn wake(&mut self, demand: usize) -> Option<(RequestNo, Reply)> {
        let waiting = self.demands.get_mut(&demand)?;
        if waiting.rejections.is_empty() && waiting.proposals.is_empty() {
            return None;
        }
        let (request, max_events) = waiting.poll.take()?;
        let events = self.take(demand, max_events);
        Some((request, Ok(Response::Events(events))))
    }

    /// Takes up to `max_events`: rejections in front, proposals in random order.
    fn take(&mut self, demand: usize, max_events: u8) -> Vec<DemandEvent> {
        let Some(queue) = self.demands.get_mut(&demand) else { return Vec::new() };
        let max = usize::from(max_events);
        let mut taken: Vec<usize> =
            queue.rejections.drain(..queue.rejections.len().min(max)).collect();
        while taken.len() < max && !queue.proposals.is_empty() {
            let length = queue.proposals.len() as u64;
            let drawn = self.seed.below(length, "event", demand as u64, queue.delivered);
            queue.delivered += 1;
            taken.push(queue.proposals.swap_remove(drawn as usize));
        }
        taken.into_iter().map(|number| self.event(number)).collect()
    }

    fn event(&self, number: usize) -> DemandEvent {
        let record = &self.records[number];
        let (state, draft) = match &record.kind {
            Kind::Initial => (ProposalState::Initial, Draft::default()),
            Kind::Draft(draft) => (ProposalState::Draft, *draft),
            Kind::Ours(_) => (ProposalState::Draft, Draft::default()),
            Kind::Refused(reason) => {
                let proposal = self.proposal_id(number);
                return DemandEvent::Rejected { proposal, reason: reason.clone() };
            }
        };
        let offer = &self.offers[record.offer];
        DemandEvent::Proposal(Box::new(Proposal {
            id: self.proposal_id(number),
            issuer: offer.provider.clone(),
            state,
            timestamp: record.made,
            previous: record.previous.map(|previous| self.proposal_id(previous)),
            body: DemandBody {
                properties: offer.properties(draft),
                constraints: offer.constraints(),
            },
        }))
    }

    /// Ends a demand; tells whoever waits for its events.
    fn end(&mut self, now: Timestamp, number: usize, how: DemandEnd) -> Option<(RequestNo, Reply)> {
        let demand = self.demands.remove(&number)?;
        let book = &mut self.books[number];
        book.end = Some((now, how));
        let (request, _) = demand.poll?;
        Some((request, Err(gone(&book.id))))
    }

    fn hop(&mut self) -> Span {
        self.hops += 1;
        let billionths = self.hop_ms.sample(self.seed, "hop", self.hops, 0);
        Span::micros(billionths / (ONE / 1_000)).min(HOP_MAX)
    }

    fn demand_number(&self, id: &SubscriptionId) -> Option<usize> {
        let mut live = self.demands.keys().rev();
        live.find(|number| self.books[**number].id == *id).copied()
    }

    /// The number is the last part of the id; the id must be exactly ours.
    fn proposal_number(&self, id: &ProposalId) -> Option<usize> {
        let text = id.as_str();
        let tail = text.get(text.len().checked_sub(16)?..)?;
        let number = usize::from_str_radix(tail, 16).ok()?;
        (number < self.records.len() && self.proposal_id(number) == *id).then_some(number)
    }

    fn proposal_id(&self, number: usize) -> ProposalId {
        ProposalId::from(format!("R-{}", self.hex("proposal", number as u64)))
    }

    fn subscription_id(&self, number: usize) -> SubscriptionId {
        let (head, tail) =
            (self.hex("subscription", number as u64), self.hex("demand", number as u64));
        SubscriptionId::from(format!("{}-{tail}", &head[..32]))
    }

    /// 64 hexadecimal digits that end with the number.
    fn hex(&self, label: &str, number: u64) -> String {
        let (first, second) = (self.seed.draw(label, number, 0), self.seed.draw(label, number, 1));
        format!("{first:016x}{second:016x}{:016x}{number:016x}", first ^ second.rotate_left(7))
    }
}

fn gone(id: &SubscriptionId) -> Refusal {
    refuse(404, &format!("Subscription [{id}] not found. Could be unsubscribed."))
}

fn unknown(id: &SubscriptionId, proposal: &ProposalId) -> Refusal {
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
