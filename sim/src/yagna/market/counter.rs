//! Our counter-proposals: what the daemon checks, and how they reach the provider.

use std::sync::Arc;

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{DemandBody, ProposalId, ProviderId, SubscriptionId},
};

use super::{
    Due, HOP_MAX, Market, Standing,
    record::{Kind, Record},
    seconds, unknown,
};
use crate::{
    provider::agent::{self, Answer},
    scenario::Behaviour,
    yagna::{Agenda, Refusal, Reply, RequestNo, refuse},
};

/// The daemon finds out after this time that a provider is gone.
const LOST_AFTER: Span = Span::secs(3);

impl Market {
    /// Answers at once if it cannot be sent; otherwise when it has reached the provider.
    pub(in crate::yagna) fn counter(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        id: &SubscriptionId,
        proposal: &ProposalId,
        body: &Arc<DemandBody>,
        agenda: &mut Agenda,
    ) -> Option<Reply> {
        let number = match self.check_counter(id, proposal, body) {
            Ok(number) => number,
            Err(refusal) => return Some(Err(refusal)),
        };
        let Record { demand, offer, round, .. } = self.records[number];
        if let Some(hangs) = self.unreachable(offer) {
            agenda.add(now.plus(hangs), Due::HopFails { request, proposal: number });
            return None;
        }
        self.records[number].is_countered = true;
        let ours = Kind::Ours(Arc::clone(body));
        let counter = self.record(
            Record { round: round + 1, ..Record::new(now, demand, offer, ours) },
            Some(number),
        );
        let at = now.plus(self.hop());
        agenda.add(at, Due::CounterArrives { request, counter });
        None
    }

    pub(super) fn on_counter_arrived(
        &mut self,
        now: Timestamp,
        counter: usize,
        is_taken: impl Fn(&ProviderId) -> bool,
        agenda: &mut Agenda,
    ) {
        let Some(record) = self.records.get(counter) else { return };
        let Kind::Ours(body) = &record.kind else { return };
        let offer = &self.offers[record.offer];
        let is_taken = is_taken(&offer.provider);
        let (answer, thought) =
            agent::answer(offer, &body.properties, is_taken, now, self.seed, record.round);
        if answer != Answer::Silence {
            let at = now.plus(thought).plus(self.hop());
            agenda.add(at, Due::ProviderAnswers { counter, answer });
        }
    }

    fn check_counter(
        &mut self,
        id: &SubscriptionId,
        proposal: &ProposalId,
        body: &DemandBody,
    ) -> Result<usize, Refusal> {
        let Some(demand) = self.demand_number(id) else {
            return Err(refuse(400, &format!("Subscription [{id}] wasn't found.")));
        };
        let number = self.proposal_number(proposal).ok_or_else(|| unknown(id, proposal))?;
        let Record { offer, is_countered, .. } = self.records[number];
        if self.records[number].demand != demand {
            return Err(unknown(id, proposal));
        }
        if self.records[number].is_ours() {
            let message = format!("Can't react to own Proposal [{proposal}].");
            return Err(refuse(400, &message));
        }
        self.calls[offer] += 1;
        if is_countered {
            let message = format!(
                "Proposal [{proposal}] already has counter proposal. Can't counter for the second \
                 time."
            );
            return Err(refuse(410, &message));
        }
        if self.standing[offer] != Standing::Known {
            let theirs = self.ids.offer(offer);
            let message = format!("Subscription [{theirs}] was already unsubscribed.");
            return Err(refuse(400, &message));
        }
        let offered = &self.offers[offer];
        if !self.filters.parsed(&body.constraints).accepts(offered)
            || !self.filters.of_offer(offered).accepts(&body.properties)
        {
            // The proposal has a name already, which nobody will hear of.
            let ours = self.ids.proposal(self.records.next());
            let message = format!(
                "Proposal properties [{ours}] doesn't match previous Proposal [{proposal}]. \
                 Mismatched constraints - Offer: [], Demand: []"
            );
            return Err(refuse(400, &message));
        }
        Ok(number)
    }

    fn unreachable(&self, offer: usize) -> Option<Span> {
        let offer = &self.offers[offer];
        if self.is_lost(&offer.provider) {
            return Some(LOST_AFTER);
        }
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
}
