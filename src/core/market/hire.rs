//! Hiring: drafts are kept for a while, best first, until somebody signs them.

use std::sync::Arc;

use super::{Goal, Market, MarketTimer, chain::Chain, offer::Offer, pool::Rank};
use crate::{
    core::{
        effects::Effects,
        ids::OfferNo,
        market::{funnel::Funnel, negotiate::Terms},
        reputation::Reputation,
    },
    units::{Span, Timestamp},
    yagna::{ProposalId, ProviderId},
};

/// From the first offer until the first one is taken up.
const GATHERING_TIME: Span = Span::secs(2);
/// Negotiations beyond what is wanted, because some of them fail.
const SPARE: usize = 3;
/// A draft that nobody signs within this time goes back to its provider.
pub(super) const DRAFT_LIFE: Span = Span::mins(4);
/// A demand whose offers are all used up is published anew, but not sooner than this.
const FAMINE_PAUSE: Span = Span::secs(45);
const FAMINE_PAUSE_MAX: Span = Span::mins(10);

/// A provider's last word, ready to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) struct Draft {
    /// What is offered.
    pub(in crate::core) offer: Offer,
    /// The proposal that the agreement is made of.
    pub(in crate::core) proposal: ProposalId,
    /// The terms of payment that both sides state.
    pub(in crate::core) terms: Terms,
    /// The wallet that the provider is paid to.
    pub(in crate::core) payee: String,
}

impl Market {
    /// Says how many drafts somebody waits for.
    pub(in crate::core) fn want(&mut self, fx: &mut Effects, wanted: usize) {
        if self.wanted != wanted {
            self.wanted = wanted;
            self.dispatch(fx);
        }
    }

    /// Asks this provider no more until it is free again. Its drafts make room for those of others:
    /// markets of the same cluster meet the same good providers.
    pub(in crate::core) fn engage(&mut self, fx: &mut Effects, provider: &ProviderId) {
        self.engaged.insert(provider.clone());
        let is_its =
            |chain: &Chain| chain.draft().is_some_and(|draft| draft.offer.provider == *provider);
        let held = self.chains.iter().filter(|(_, chain)| is_its(chain));
        for number in held.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.return_draft(fx, number, super::chain::NOT_NEEDED);
        }
    }

    /// Learns what is known about providers; drafts of those that are blacklisted go back.
    pub(in crate::core) fn inform(&mut self, fx: &mut Effects, reputation: &Arc<Reputation>) {
        self.reputation = Arc::clone(reputation);
        for number in self.pool.numbers().collect::<Vec<_>>() {
            self.rank_again(fx, number);
        }
        // Who was blacklisted may be so no more; whoever must still rest is found out again.
        self.pool.unpark(Timestamp::NEVER);
        let is_blacklisted = |chain: &Chain| {
            let draft = chain.draft();
            draft.is_some_and(|draft| reputation.is_blacklisted(&draft.offer.provider, fx.now))
        };
        let held = self.chains.iter().filter(|(_, chain)| is_blacklisted(chain));
        for number in held.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.return_draft(fx, number, super::chain::NOT_NEEDED);
        }
        self.dispatch(fx);
    }

    /// The provider is free again.
    pub(in crate::core) fn disengage(&mut self, provider: &ProviderId) {
        self.engaged.remove(provider);
    }

    /// The drafts that `suit`, and how soon each should be taken.
    pub(in crate::core) fn drafts(
        &self,
        fx: &Effects,
        mut suits: impl FnMut(&Draft) -> bool,
    ) -> impl Iterator<Item = (Rank, OfferNo)> {
        self.chains.iter().filter_map(move |(number, chain)| {
            let draft = chain.draft()?;
            let provider = &draft.offer.provider;
            let is_free = !self.engaged.contains(provider)
                && fx.troubles.until(provider, fx.now).is_none()
                && !self.reputation.is_blacklisted(provider, fx.now);
            (is_free && suits(draft)).then(|| (self.rank(fx, &draft.offer), *number))
        })
    }

    /// Hands out a draft, to be signed.
    pub(in crate::core) fn take_draft(
        &mut self,
        fx: &mut Effects,
        number: OfferNo,
    ) -> Option<Draft> {
        let draft = self.chains.get(&number)?.draft()?.clone();
        self.famines = 0;
        self.end(fx, number);
        Some(draft)
    }

    /// Whether a draft is kept.
    pub(in crate::core) fn has_drafts(&self) -> bool {
        self.chains.values().any(|chain| chain.draft().is_some())
    }

    /// How many providers are negotiated with.
    pub(in crate::core) fn talks(&self) -> usize {
        self.chains.values().filter(|chain| chain.draft().is_none() && !chain.is_decided()).count()
    }

    /// Why no demand is published, if none is and the daemon has said why.
    pub(in crate::core) fn trouble(&self) -> Option<&str> {
        self.publication.trouble()
    }

    /// Which of these providers are taken, and which are left alone for a while.
    pub(in crate::core) fn out_of_reach<'a>(
        &self,
        fx: &Effects,
        providers: impl Iterator<Item = &'a ProviderId>,
    ) -> (u64, u64) {
        providers.fold((0, 0), |(taken, resting), provider| {
            if self.engaged.contains(provider) {
                (taken + 1, resting)
            } else if fx.troubles.until(provider, fx.now).is_some() {
                (taken, resting + 1)
            } else {
                (taken, resting)
            }
        })
    }

    /// How many offers came how far.
    pub(in crate::core) fn progress(&self) -> &Funnel {
        &self.funnel
    }

    /// Waits for nothing any more.
    pub(in crate::core) fn rest(&self, fx: &mut Effects) {
        for timer in [MarketTimer::Publish, MarketTimer::Dispatch, MarketTimer::Starved] {
            fx.timers.cancel(&self.timer(timer));
        }
    }

    /// The first offers come within moments: who looks at all of them before it asks anybody finds
    /// the good ones.
    pub(super) fn gather(&mut self, fx: &mut Effects) {
        if self.goal == Goal::Hire && self.gathers_until.is_none() {
            let until = fx.now.plus(GATHERING_TIME);
            self.gathers_until = Some(until);
            self.wake(fx, MarketTimer::Dispatch, until);
        }
    }

    /// How many negotiations there may be side by side.
    pub(super) fn breadth(&self) -> usize {
        match (self.goal, self.wanted) {
            (Goal::Survey, _) => self.parallel,
            (Goal::Hire, 0) => 0,
            (Goal::Hire, wanted) => self.parallel.min(wanted.saturating_add(SPARE)),
        }
    }

    /// All drafts go back to their providers.
    pub(super) fn drop_drafts(&mut self, fx: &mut Effects) {
        let held: Vec<OfferNo> = self
            .chains
            .iter()
            .filter(|(_, chain)| chain.draft().is_some())
            .map(|(number, _)| *number)
            .collect();
        for number in held {
            self.return_draft(fx, number, super::chain::NOT_NEEDED);
        }
    }

    /// When nothing is left to negotiate, offers that were used up, or lost on their way, must be
    /// matched anew: only a younger generation of the demand does that.
    pub(super) fn watch_for_famine(&mut self, fx: &mut Effects) {
        let is_starved = self.goal == Goal::Hire
            && self.open
            && self.wanted > 0
            && self.chains.is_empty()
            && !self.pool.has_ready()
            && (self.pool.has_lost() || self.has_lost_events);
        let key = self.timer(MarketTimer::Starved);
        if is_starved && fx.timers.due(&key).is_none() {
            let pause = FAMINE_PAUSE.times(1 << self.famines.min(4)).min(FAMINE_PAUSE_MAX);
            self.famines = self.famines.saturating_add(1);
            fx.wake(key, fx.now.plus(pause));
        }
    }

    pub(super) fn on_starved(&mut self, fx: &mut Effects) {
        if self.wanted > 0 && self.chains.is_empty() && !self.pool.has_ready() {
            self.has_lost_events = false;
            self.publish(fx);
        }
    }
}
