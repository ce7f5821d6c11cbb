//! K1, K3, K5, K7, M9 while terms are negotiated: who is asked, in which order, and for how long.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::{
    core::{Output, ids::ClusterId, market::spec::PriceLimits},
    units::{Span, Timestamp},
    yagna::{
        CallError, DemandEvent, Proposal, ProposalId, ProposalState, ProviderId, Request, Response,
        SubscriptionId,
    },
};

use super::{
    Family, Findings, Look,
    newcomers::{Candidate, Newcomers},
};
use crate::prices::{self, Costs};

/// A draft is signed, answered, or returned within this time: one that is kept for a node is kept
/// for four minutes, and its return is tried three times.
const DRAFT_PATIENCE: Span = Span::mins(5);
/// After a long sleep everything is due at once.
const WAKING_TIME: Span = Span::secs(90);
/// More counter-proposals than this in one chain are endless.
const COUNTERS_MAX: u32 = 25;
/// A provider that has not answered by then may be left alone.
const SILENCE: Span = Span::secs(29);
/// An offer that is better by more than chance can explain, in millionths.
const CHANCE: u64 = 100_001;
/// An offer that was matched so long ago may be too old to begin with.
const FRESH: Span = Span::mins(40);
/// What an offer must state to be negotiated.
const TERMS: [&str; 2] = [
    "golem.com.scheme.payu.debit-note.interval-sec?",
    "golem.com.scheme.payu.payment-timeout-sec?",
];

/// Keeps what was proposed.
#[derive(Default)]
pub(super) struct Negotiation {
    proposals: BTreeMap<ProposalId, Known>,
    by_demand: BTreeMap<SubscriptionId, Vec<ProposalId>>,
    /// How long the chain is that a counter-proposal of ours stands in.
    chains: BTreeMap<ProposalId, u32>,
    drafts_due: BTreeSet<(Timestamp, ProposalId)>,
    /// Counter-proposals without an answer: since when, and of whom one is due.
    asked: BTreeMap<ProposalId, (Timestamp, ProviderId)>,
    troubled: BTreeSet<ProviderId>,
    /// Providers that an agreement was asked of; the books know of it once the daemon has answered.
    courted: BTreeSet<ProviderId>,
    /// Offers that were answered, by provider and name.
    answered: BTreeSet<(ProviderId, String)>,
    ended_demands: BTreeSet<SubscriptionId>,
    newcomers: Newcomers,
    /// A call about proposals came to an unknown end: what waits for whom is not certain any more.
    is_in_doubt: bool,
    /// Newcomers that were asked in this step, and drafts that could have been taken in their place.
    out_of_turn: Vec<(String, Vec<ProposalId>)>,
}

/// What is known of a proposal of the other side.
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

impl Family for Negotiation {
    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        let Output::Call { request, .. } = output else { return };
        match request {
            Request::CounterProposal { proposal, .. } => {
                self.check_counter(look, proposal, findings);
                self.answer(proposal);
            }
            Request::CreateAgreement { proposal, .. } => {
                self.check_turn(look, proposal);
                self.answer(proposal);
                self.courted.extend(self.proposals.get(proposal).map(|it| it.issuer.clone()));
            }
            Request::RejectProposal { proposal, .. } => self.answer(proposal),
            Request::Unsubscribe { subscription } => self.end_demand(subscription),
            _ => {}
        }
    }

    fn on_result(
        &mut self,
        look: &Look<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        _findings: &mut Findings,
    ) {
        let is_of_proposals =
            matches!(request, Request::CounterProposal { .. } | Request::RejectProposal { .. });
        self.is_in_doubt |= is_of_proposals && matches!(result, Err(CallError::Unknown(_)));
        match (request, result) {
            (Request::CollectEvents { subscription, .. }, Ok(Response::Events(events))) => {
                for event in events {
                    self.on_event(look.now(), subscription, event);
                }
            }
            (Request::CollectEvents { subscription, .. }, Err(CallError::Rejected { .. })) => {
                self.end_demand(subscription)
            }
            (Request::CounterProposal { proposal, .. }, Ok(Response::Countered(counter))) => {
                if let Some(known) = self.proposals.get(proposal) {
                    self.chains.insert(counter.clone(), known.chain + 1);
                    self.asked.insert(counter.clone(), (look.now(), known.issuer.clone()));
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

    fn on_step(&mut self, look: &Look<'_>, findings: &mut Findings) {
        // Who is taken or sent away in the same step was nobody's rival.
        for (name, rivals) in std::mem::take(&mut self.out_of_turn) {
            let waits = |id: &ProposalId| self.proposals.get(id).is_some_and(|it| !it.is_answered);
            if let Some(rival) =
                rivals.iter().find(|id| waits(id)).and_then(|id| self.proposals.get(id))
            {
                let what = format!("{name} is new, and asked while {} waited", rival.name);
                findings.violate("K7", look.now(), what);
            }
        }
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        // Whoever slept through the time for an answer gives it now.
        if look.facts.awake_for(Timestamp::EPOCH) < WAKING_TIME {
            return;
        }
        while let Some((due, _)) = self.drafts_due.first() {
            if *due > look.now() {
                break;
            }
            let Some((_, proposal)) = self.drafts_due.pop_first() else { break };
            let Some(known) = self.proposals.get(&proposal) else { continue };
            if !known.is_answered && !self.ended_demands.contains(&known.subscription) {
                let what = format!("the draft of {} was left without an answer", known.name);
                findings.violate("K3", look.now(), what);
            }
        }
    }

    fn on_crash(&mut self, _look: &Look<'_>, _findings: &mut Findings) {
        // Nobody remembers them: they end with their demands.
        self.drafts_due.clear();
        self.asked.clear();
        self.newcomers.on_crash();
        self.out_of_turn.clear();
    }
}

impl Negotiation {
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
        let chain = proposal.previous.as_ref().and_then(|previous| self.chains.remove(previous));
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
            chain: chain.unwrap_or(0),
            has_terms: TERMS.iter().all(|key| proposal.body.properties.number(key).is_some()),
            is_answered: false,
        };
        self.by_demand.entry(subscription.clone()).or_default().push(proposal.id.clone());
        self.proposals.insert(proposal.id.clone(), known);
    }

    fn answer(&mut self, proposal: &ProposalId) {
        if let Some(known) = self.proposals.get_mut(proposal) {
            known.is_answered = true;
            self.answered.insert((known.issuer.clone(), known.name.clone()));
        }
    }

    /// Nothing of a demand that ended can be answered any more.
    fn end_demand(&mut self, subscription: &SubscriptionId) {
        self.ended_demands.insert(subscription.clone());
        for proposal in self.by_demand.remove(subscription).unwrap_or_default() {
            self.proposals.remove(&proposal);
        }
    }

    fn check_counter(&self, look: &Look<'_>, proposal: &ProposalId, findings: &mut Findings) {
        let Some(known) = self.proposals.get(proposal) else { return };
        if known.chain > COUNTERS_MAX {
            let what = format!("{} counter-proposals to {}", known.chain, known.name);
            findings.violate("K3", look.now(), what);
        }
        let Some((cluster, limits)) = buyer(look) else { return };
        let Some(cluster) = look.facts.clusters.get(&cluster) else { return };
        if look.facts.is_blacklisted(cluster, &known.issuer, look.now()) {
            findings.violate("K1", look.now(), format!("{} is blacklisted", known.issuer));
        }
        let Some(costs) = &known.costs else {
            findings.violate("M9", look.now(), format!("{} has no price", known.name));
            return;
        };
        if let Some(limit) = prices::exceeded(&limits, costs) {
            findings.violate("M9", look.now(), format!("{} was asked above `{limit}`", known.name));
        }
        // Failures change the order in which offers come, and a crash forgets it.
        let is_calm = look.scene.life == 0 && !look.facts.has_failed;
        // Whoever is known is judged by more than its price.
        let is_unknown = look.facts.is_unknown(&known.issuer);
        if known.state == ProposalState::Initial && is_calm && is_unknown {
            let engaged: BTreeSet<&ProviderId> =
                cluster.accounts.values().map(|account| &account.provider).collect();
            let is_free = |provider: &ProviderId| {
                !engaged.contains(provider)
                    && look.facts.is_unknown(provider)
                    && !look.facts.failures.contains_key(provider)
                    && !look.facts.is_blacklisted(cluster, provider, look.now())
            };
            if let Some(better) = self.better(look.now(), &limits, known, costs, is_free) {
                let what = format!("{} was asked while {} waited", known.name, better.name);
                findings.violate("K5", look.now(), what);
            }
        }
    }

    /// K7, when an agreement is about to be made of a draft.
    fn check_turn(&mut self, look: &Look<'_>, proposal: &ProposalId) {
        let (Some((cluster, _)), Some(chosen)) = (buyer(look), self.proposals.get(proposal)) else {
            self.newcomers.on_unclear();
            return;
        };
        let facts = look.facts.clusters.get(&cluster);
        let share = facts.and_then(|it| it.nodes.values().map(|it| it.spec.choice.newcomers).max());
        let is_rival = |known: &Known| {
            let costs = known.costs.zip(chosen.costs);
            let is_cheaper = costs.is_some_and(|(it, than)| it.is_at_most(&than));
            // A draft that answers what nobody knows to have been said is nobody's.
            known.state == ProposalState::Draft
                && known.chain > 0
                && !known.is_answered
                && known.matched_at < look.now()
                && is_cheaper
                && look.facts.has_proven_itself(&known.issuer)
                && !look.facts.failures.contains_key(&known.issuer)
                && !self.troubled.contains(&known.issuer)
                && facts.is_some_and(|it| {
                    let mut engaged = it.accounts.values().filter(|it| it.over.is_none());
                    !engaged.any(|account| account.provider == known.issuer)
                        && !look.facts.is_blacklisted(it, &known.issuer, look.now())
                })
        };
        let drafts = self.by_demand.get(&chosen.subscription).into_iter().flatten();
        let rivals = drafts.filter(|id| self.proposals.get(*id).is_some_and(is_rival));
        let rivals: Vec<ProposalId> = rivals.cloned().collect();
        let is_new = look.facts.is_new(&chosen.issuer);
        let candidate = Candidate { is_new, share: share.unwrap_or(100) };
        let name = chosen.name.clone();
        if self.newcomers.on_asked(cluster, &candidate) && !self.is_in_doubt {
            self.out_of_turn.push((name, rivals));
        }
    }

    /// The best offer of the same demand that waits, if it is better by more than chance.
    fn better(
        &self,
        now: Timestamp,
        limits: &PriceLimits,
        chosen: &Known,
        costs: &Costs,
        is_free: impl Fn(&ProviderId) -> bool,
    ) -> Option<&Known> {
        let silent: BTreeSet<&ProviderId> = self
            .asked
            .values()
            .filter(|(since, _)| now.since(*since) >= SILENCE)
            .map(|(_, issuer)| issuer)
            .collect();
        let offers = self.by_demand.get(&chosen.subscription)?.iter();
        let waiting = offers.filter_map(|id| self.proposals.get(id)).filter(|known| {
            known.state == ProposalState::Initial
                && known.has_terms
                && known.matched_at < now
                && now.since(known.matched_at) < FRESH
                && !self.answered.contains(&(known.issuer.clone(), known.name.clone()))
                && !self.troubled.contains(&known.issuer)
                && !self.courted.contains(&known.issuer)
                && !silent.contains(&known.issuer)
                && is_free(&known.issuer)
        });
        let best = waiting
            .filter_map(|known| Some((known, known.costs.as_ref()?)))
            .filter(|(_, costs)| prices::exceeded(limits, costs).is_none())
            .max_by_key(|(_, costs)| prices::value(limits, costs));
        let (better, better_costs) = best?;
        let is_better = prices::value(limits, better_costs) > prices::value(limits, costs) + CHANCE;
        is_better.then_some(better)
    }
}

/// Whose nodes a proposal can be for, if there is no doubt: one cluster whose waiting nodes are of
/// one shape.
fn buyer(look: &Look<'_>) -> Option<(ClusterId, PriceLimits)> {
    let mut open = look.facts.clusters.iter().filter(|(_, it)| !it.is_closed);
    let (id, cluster) = open.next()?;
    let mut limits = cluster.nodes.values().map(|node| &node.spec.limits);
    let first = limits.next()?;
    (open.next().is_none() && limits.all(|other| other == first)).then(|| (*id, first.clone()))
}

fn name(proposal: &Proposal) -> String {
    proposal.body.properties.text("golem.node.id.name").unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{
        core::market::spec::PriceLimits,
        units::{Glm, Span, Timestamp},
        yagna::{ProposalId, ProposalState, ProviderId, SubscriptionId},
    };

    use super::{Known, Negotiation};
    use crate::prices::Costs;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_000_000_000);

    fn offer(name: &str, milli_glm_per_hour: u64) -> Known {
        let hour = Glm::from_whole(milli_glm_per_hour).as_atto() / 1_000;
        let second = Glm::from_atto(hour / 3_600);
        Known {
            issuer: ProviderId::from(name),
            name: name.to_owned(),
            state: ProposalState::Initial,
            subscription: SubscriptionId::from("s"),
            costs: Some(Costs::new(Glm::ZERO, second, second, 1)),
            matched_at: NOW.minus(Span::secs(1)),
            chain: 0,
            has_terms: true,
            is_answered: false,
        }
    }

    fn market(offers: [Known; 2]) -> Negotiation {
        let mut market = Negotiation::default();
        for known in offers {
            let id = ProposalId::from(known.name.as_str());
            market.by_demand.entry(known.subscription.clone()).or_default().push(id.clone());
            market.proposals.insert(id, known);
        }
        market
    }

    fn better<'a>(market: &'a Negotiation, chosen: &Known) -> Option<&'a str> {
        let costs = chosen.costs.expect("a priced offer");
        let limits = PriceLimits::default();
        let found = market.better(NOW, &limits, chosen, &costs, |_| true);
        found.map(|known| known.name.as_str())
    }

    #[test]
    fn a_clearly_better_offer_that_waits_is_seen() {
        let market = market([offer("cheap", 10), offer("dear", 300)]);

        assert_eq!(better(&market, &offer("dear", 300)), Some("cheap"));
        assert_eq!(better(&market, &offer("cheap", 10)), None);
    }

    #[test]
    fn an_offer_that_is_in_work_or_in_trouble_does_not_wait() {
        let mut answered = market([offer("cheap", 10), offer("dear", 300)]);
        answered.answer(&ProposalId::from("cheap"));
        let mut troubled = market([offer("cheap", 10), offer("dear", 300)]);
        troubled.troubled.insert(ProviderId::from("cheap"));
        let mut courted = market([offer("cheap", 10), offer("dear", 300)]);
        courted.courted.insert(ProviderId::from("cheap"));

        for market in [answered, troubled, courted] {
            assert_eq!(better(&market, &offer("dear", 300)), None);
        }
    }
}
