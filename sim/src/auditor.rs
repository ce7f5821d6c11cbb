//! Looks at each step with books of its own, and says which invariant is broken.
//!
//! It never asks the machine what it thinks: prices are read and compared here anew, demands and
//! allocations are counted in the daemon's books.
//!
//! Invariants: K1 no blacklisted provider is asked; K2 the demand is published while offers are
//! wanted, and none is left; K3 every draft is answered and counters are bounded; K4 what failed is
//! not repeated at once; K5 no clearly better offer waits; M8 no allocation is left; M9 nothing above
//! the limits is taken; A5 every request is answered once; B1 everything is bounded; B2 timers move
//! on; B3 nothing polls in vain; R1 the journal's fold is the durable state; R2 an intent is durable
//! before its effect; V4 the end comes in bounded time.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::{
    core::{
        Durable, Machine, Notice, market::spec::PriceLimits, reputation::Reputation,
        survey::SurveyPlan,
    },
    units::{Span, Timestamp},
    yagna::{
        CallError, DemandEvent, Proposal, ProposalId, ProposalState, ProviderId, Request, Response,
        SubscriptionId,
    },
};

use crate::{
    prices::{self, Costs},
    world::Run,
    yagna::{DemandEnd, SimYagna},
};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its id.
    pub invariant: &'static str,
    /// When it was seen.
    pub at: Timestamp,
    /// What was seen.
    pub what: String,
}

impl Violation {
    /// A violation that was seen at `at`.
    #[must_use]
    pub fn new(invariant: &'static str, at: Timestamp, what: impl Into<String>) -> Self {
        Self { invariant, at, what: what.into() }
    }
}

/// A draft is answered within this time.
const DRAFT_PATIENCE: Span = Span::secs(60);
/// More counter-proposals than this in one chain are endless.
const COUNTERS_MAX: u32 = 25;
/// A provider that has not answered by then may be left alone.
const SILENCE: Span = Span::secs(29);
/// What failed is not repeated sooner than this.
const PAUSE_MIN: Span = Span::millis(250);
/// Polls that bring nothing, in one minute and for one demand.
const IDLE_POLLS_MAX: u64 = 120;
/// An offer that is better by more than chance can explain, in millionths.
const CHANCE: u64 = 100_001;
/// What an offer must state to be negotiated.
const TERMS: [&str; 2] = [
    "golem.com.scheme.payu.debit-note.interval-sec?",
    "golem.com.scheme.payu.payment-timeout-sec?",
];
/// Calls that are not part of a negotiation.
const OTHER_CALLS_MAX: usize = 16;

/// Keeps its own books of one run.
pub(crate) struct Auditor {
    is_calm: bool,
    has_crashed: bool,
    plan: Option<Plan>,
    proposals: BTreeMap<ProposalId, Known>,
    /// How long the chain is that a counter-proposal of ours stands in.
    chains: BTreeMap<ProposalId, u32>,
    drafts_due: BTreeSet<(Timestamp, ProposalId)>,
    failed: BTreeMap<Subject, Timestamp>,
    troubled: BTreeSet<ProviderId>,
    /// Counter-proposals without an answer: since when, and of whom one is due.
    asked: BTreeMap<ProposalId, (Timestamp, ProviderId)>,
    idle_polls: BTreeMap<(SubscriptionId, u64), u64>,
    ended_demands: BTreeSet<SubscriptionId>,
    end_asked: u32,
    end_answered: u32,
}

struct Plan {
    limits: PriceLimits,
    reputation: Reputation,
    parallel: usize,
    pool_capacity: usize,
    markets: usize,
    gathers_until: Timestamp,
}

struct Known {
    issuer: ProviderId,
    name: String,
    state: ProposalState,
    subscription: SubscriptionId,
    costs: Option<Costs>,
    matched_at: Timestamp,
    chain: u32,
    /// It speaks of payments while the node runs; nothing else can be negotiated.
    has_terms: bool,
    is_answered: bool,
}

/// What a failed call was about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Poll(SubscriptionId),
    Fund,
}

impl Auditor {
    pub(crate) fn new(is_calm: bool) -> Self {
        Self {
            is_calm,
            has_crashed: false,
            plan: None,
            proposals: BTreeMap::new(),
            chains: BTreeMap::new(),
            drafts_due: BTreeSet::new(),
            failed: BTreeMap::new(),
            troubled: BTreeSet::new(),
            asked: BTreeMap::new(),
            idle_polls: BTreeMap::new(),
            ended_demands: BTreeSet::new(),
            end_asked: 0,
            end_answered: 0,
        }
    }

    /// What the survey was asked for.
    pub(crate) fn expect(&mut self, plan: &SurveyPlan, start: Timestamp, planned: Span) {
        self.plan = Some(Plan {
            limits: plan.spec.limits.clone(),
            reputation: plan.reputation.clone(),
            parallel: plan.parallel,
            pool_capacity: plan.pool_capacity,
            markets: if plan.spec.priority_subnet_tag.is_some() { 2 } else { 1 },
            gathers_until: start.plus(planned),
        });
    }

    pub(crate) fn on_end_asked(&mut self, now: Timestamp, violations: &mut Vec<Violation>) {
        self.end_asked += 1;
        if self.end_answered != self.end_asked {
            violations.push(Violation::new("A5", now, "the request to end was not answered"));
        }
    }

    pub(crate) fn on_end_answered(&mut self) {
        self.end_answered += 1;
    }

    pub(crate) fn on_crash(&mut self) {
        self.has_crashed = true;
        self.drafts_due.clear();
    }

    /// The machine asks for a call.
    pub(crate) fn on_call(
        &mut self,
        now: Timestamp,
        request: &Request,
        durable: &Durable,
        violations: &mut Vec<Violation>,
    ) {
        self.check_pause(now, request, violations);
        match request {
            Request::Subscribe { demand } => {
                let millis = demand.properties.number("golem.srv.comp.expiration");
                let is_durable = durable
                    .demands()
                    .keys()
                    .any(|mark| Some(mark.as_unix_millis().to_string().as_str()) == millis);
                if !is_durable {
                    violations.push(Violation::new("R2", now, "a demand without an intent"));
                }
            }
            Request::CreateAllocation { timeout, .. }
                if !durable.allocations().contains_key(timeout) =>
            {
                violations.push(Violation::new("R2", now, "an allocation without an intent"));
            }
            Request::CounterProposal { proposal, .. } => {
                self.check_counter(now, proposal, violations);
                self.answer(proposal);
            }
            Request::RejectProposal { proposal, .. } => self.answer(proposal),
            Request::Unsubscribe { subscription } => {
                self.ended_demands.insert(subscription.clone());
            }
            Request::WhoAmI
            | Request::ListAllocations
            | Request::ReleaseAllocation { .. }
            | Request::DecorateDemand { .. }
            | Request::ListDemands
            | Request::CollectEvents { .. } => {}
            _ => {}
        }
    }

    /// A reply reaches the machine.
    pub(crate) fn on_result(
        &mut self,
        now: Timestamp,
        request: &Request,
        result: &Result<Response, CallError>,
    ) {
        match (subject(request), result) {
            (Some(subject), Err(error)) if !is_over(error) => {
                self.failed.insert(subject, now);
            }
            (Some(subject), _) => {
                self.failed.remove(&subject);
            }
            (None, _) => {}
        }
        match (request, result) {
            (Request::CollectEvents { subscription, .. }, Ok(Response::Events(events))) => {
                if events.is_empty() {
                    let minute = now.as_unix_millis() / 60_000;
                    *self.idle_polls.entry((subscription.clone(), minute)).or_insert(0) += 1;
                }
                for event in events {
                    self.on_event(now, subscription, event);
                }
            }
            (Request::CollectEvents { subscription, .. }, Err(error)) if is_over(error) => {
                self.ended_demands.insert(subscription.clone());
            }
            (Request::CounterProposal { proposal, .. }, Ok(Response::Countered(counter))) => {
                if let Some(known) = self.proposals.get(proposal) {
                    self.chains.insert(counter.clone(), known.chain + 1);
                    self.asked.insert(counter.clone(), (now, known.issuer.clone()));
                }
            }
            (Request::CounterProposal { proposal, .. }, Err(_)) => {
                if let Some(known) = self.proposals.get(proposal) {
                    self.troubled.insert(known.issuer.clone());
                }
            }
            _ => {}
        }
    }

    /// The machine has done with an input.
    pub(crate) fn on_step(
        &mut self,
        now: Timestamp,
        machine: &Machine,
        durable: &Durable,
        violations: &mut Vec<Violation>,
    ) {
        if machine.view().durable() != durable && !self.has_crashed {
            violations.push(Violation::new("R1", now, "the journal is not the durable state"));
        }
        self.check_drafts(now, violations);
        let Some(plan) = &self.plan else { return };
        let load = machine.view().load();
        let calls_max = 2 * plan.parallel * plan.markets + OTHER_CALLS_MAX + 2 * load.unwanted;
        let timers_max = calls_max + plan.parallel * plan.markets;
        let bounds = [
            ("calls", load.calls, calls_max),
            ("timers", load.timers, timers_max),
            ("offers", load.offers, plan.pool_capacity),
            ("negotiations", load.negotiations, plan.parallel),
        ];
        for (what, size, max) in bounds {
            if size > max {
                violations.push(Violation::new("B1", now, format!("{size} {what}, at most {max}")));
            }
        }
    }

    /// The run is over.
    pub(crate) fn at_end(&mut self, now: Timestamp, daemon: &SimYagna, run: &mut Run) {
        let violations = &mut run.violations;
        let is_excused = !self.is_calm
            && run.notices.iter().any(|(_, notice)| matches!(notice, Notice::LeftBehind { .. }));
        if !is_excused {
            for book in daemon.demands().iter().filter(|book| book.end.is_none()) {
                let what = format!("demand {} is still published", book.id);
                violations.push(Violation::new("K2", now, what));
            }
            for book in daemon.allocations().iter().filter(|book| !book.is_released) {
                let what = format!("allocation {} is not released", book.allocation.id);
                violations.push(Violation::new("M8", now, what));
            }
        }
        if self.is_calm && !self.has_crashed {
            self.check_gaps(daemon, violations);
        }
        for ((subscription, _), polls) in &self.idle_polls {
            if *polls > IDLE_POLLS_MAX {
                let what = format!("{polls} polls of {subscription} in a minute brought nothing");
                violations.push(Violation::new("B3", now, what));
            }
        }
        let Some(plan) = &self.plan else { return };
        if let Some(Ok(report)) = &run.answer {
            for node in report.markets.iter().flat_map(|market| &market.supply) {
                let costs = Costs::of_price(&node.price, node.threads);
                if let Some(limit) = prices::exceeded(&plan.limits, &costs) {
                    let what = format!("{} was taken above `{limit}`", node.name);
                    violations.push(Violation::new("M9", now, what));
                }
            }
        }
    }

    fn on_event(&mut self, now: Timestamp, subscription: &SubscriptionId, event: &DemandEvent) {
        let counter = match event {
            DemandEvent::Proposal(proposal) => proposal.previous.as_ref(),
            DemandEvent::Rejected { proposal, .. } => Some(proposal),
            DemandEvent::Unreadable(_) => None,
        };
        // Who answers late was left alone before, and stays so for a while.
        if let Some((since, issuer)) = counter.and_then(|counter| self.asked.remove(counter))
            && now.since(since) >= SILENCE
        {
            self.troubled.insert(issuer);
        }
        let DemandEvent::Proposal(proposal) = event else { return };
        let chain = proposal
            .previous
            .as_ref()
            .and_then(|previous| self.chains.get(previous).copied())
            .unwrap_or(0);
        if proposal.state == ProposalState::Draft {
            self.drafts_due.insert((now.plus(DRAFT_PATIENCE), proposal.id.clone()));
        }
        let known = Known {
            issuer: proposal.issuer.clone(),
            name: name(proposal),
            state: proposal.state,
            subscription: subscription.clone(),
            costs: Costs::of_properties(&proposal.body.properties),
            matched_at: now,
            chain,
            has_terms: TERMS.iter().all(|key| proposal.body.properties.number(key).is_some()),
            is_answered: false,
        };
        self.proposals.insert(proposal.id.clone(), known);
    }

    fn answer(&mut self, proposal: &ProposalId) {
        if let Some(known) = self.proposals.get_mut(proposal) {
            known.is_answered = true;
        }
    }

    /// K1, K3, K5, M9 at the moment of a counter-proposal.
    fn check_counter(
        &self,
        now: Timestamp,
        proposal: &ProposalId,
        violations: &mut Vec<Violation>,
    ) {
        let (Some(plan), Some(known)) = (&self.plan, self.proposals.get(proposal)) else { return };
        if plan.reputation.is_blacklisted(&known.issuer, now) {
            let what = format!("{} is blacklisted", known.issuer);
            violations.push(Violation::new("K1", now, what));
        }
        if known.chain > COUNTERS_MAX {
            let what = format!("{} counter-proposals to {}", known.chain, known.name);
            violations.push(Violation::new("K3", now, what));
        }
        let Some(costs) = &known.costs else {
            let what = format!("{} has no price", known.name);
            violations.push(Violation::new("M9", now, what));
            return;
        };
        if let Some(limit) = prices::exceeded(&plan.limits, costs) {
            let what = format!("{} was asked above `{limit}`", known.name);
            violations.push(Violation::new("M9", now, what));
        }
        if known.state == ProposalState::Initial && self.is_calm {
            self.check_choice(now, plan, known, costs, violations);
        }
    }

    fn check_choice(
        &self,
        now: Timestamp,
        plan: &Plan,
        chosen: &Known,
        costs: &Costs,
        violations: &mut Vec<Violation>,
    ) {
        let value = |costs: &Costs| prices::value(&plan.limits, costs);
        let silent: BTreeSet<&ProviderId> = self
            .asked
            .values()
            .filter(|(since, _)| now.since(*since) >= SILENCE)
            .map(|(_, issuer)| issuer)
            .collect();
        let asked: BTreeSet<(&ProviderId, &str)> = self
            .proposals
            .values()
            .filter(|known| known.is_answered)
            .map(|known| (&known.issuer, known.name.as_str()))
            .collect();
        let best = self
            .proposals
            .values()
            .filter(|known| {
                known.state == ProposalState::Initial
                    && known.subscription == chosen.subscription
                    && known.has_terms
                    && known.matched_at < now
                    && !asked.contains(&(&known.issuer, known.name.as_str()))
                    && !self.troubled.contains(&known.issuer)
                    && !silent.contains(&known.issuer)
                    && !plan.reputation.is_blacklisted(&known.issuer, now)
            })
            .filter_map(|known| known.costs.as_ref().map(|costs| (known, costs)))
            .filter(|(_, costs)| prices::exceeded(&plan.limits, costs).is_none())
            .max_by_key(|(_, costs)| value(costs));
        if let Some((better, better_costs)) = best
            && value(better_costs) > value(costs) + CHANCE
        {
            let what = format!("{} was asked while {} waited", chosen.name, better.name);
            violations.push(Violation::new("K5", now, what));
        }
    }

    fn check_pause(&self, now: Timestamp, request: &Request, violations: &mut Vec<Violation>) {
        let Some(failed) = subject(request).and_then(|subject| self.failed.get(&subject)) else {
            return;
        };
        let pause = now.since(*failed);
        if pause < PAUSE_MIN && !self.has_crashed {
            let what = format!("{} again after {pause}", request.endpoint().name());
            violations.push(Violation::new("K4", now, what));
        }
    }

    fn check_drafts(&mut self, now: Timestamp, violations: &mut Vec<Violation>) {
        while let Some((due, proposal)) = self.drafts_due.first().cloned() {
            if due > now {
                break;
            }
            self.drafts_due.pop_first();
            let Some(known) = self.proposals.get(&proposal) else { continue };
            let is_over = self.ended_demands.contains(&known.subscription);
            if !known.is_answered && !is_over {
                let what = format!("the draft of {} was left without an answer", known.name);
                violations.push(Violation::new("K3", now, what));
            }
        }
    }

    /// From the first publication to the end of gathering some demand was always published.
    fn check_gaps(&self, daemon: &SimYagna, violations: &mut Vec<Violation>) {
        let Some(plan) = &self.plan else { return };
        let mut by_subnet: BTreeMap<&str, Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
        for book in daemon.demands() {
            let subnet = book.body.properties.text("golem.node.debug.subnet").unwrap_or_default();
            let until = match book.end {
                Some((at, DemandEnd::Withdrawn | DemandEnd::Expired | DemandEnd::Forgotten)) => at,
                None => Timestamp::NEVER,
            };
            by_subnet.entry(subnet).or_default().push((book.since, until));
        }
        for (subnet, mut times) in by_subnet {
            times.sort_unstable();
            let mut covered = times.first().map_or(Timestamp::NEVER, |(since, _)| *since);
            for (since, until) in times {
                if since > covered && covered < plan.gathers_until {
                    let what = format!("no demand on `{subnet}` for {}", since.since(covered));
                    violations.push(Violation::new("K2", covered, what));
                }
                covered = covered.max(until);
            }
            if covered < plan.gathers_until {
                let what = format!("no demand on `{subnet}` any more");
                violations.push(Violation::new("K2", covered, what));
            }
        }
    }
}

fn subject(request: &Request) -> Option<Subject> {
    match request {
        Request::CollectEvents { subscription, .. } => Some(Subject::Poll(subscription.clone())),
        Request::CreateAllocation { .. } => Some(Subject::Fund),
        // With two markets the one's failure says nothing about the other's turn.
        Request::Subscribe { .. }
        | Request::WhoAmI
        | Request::ListAllocations
        | Request::ReleaseAllocation { .. }
        | Request::DecorateDemand { .. }
        | Request::ListDemands
        | Request::Unsubscribe { .. }
        | Request::CounterProposal { .. }
        | Request::RejectProposal { .. } => None,
        _ => None,
    }
}

/// The daemon says that there is nothing to repeat.
fn is_over(error: &CallError) -> bool {
    matches!(error, CallError::Rejected { .. })
}

fn name(proposal: &Proposal) -> String {
    proposal.body.properties.text("golem.node.id.name").unwrap_or("?").to_owned()
}
