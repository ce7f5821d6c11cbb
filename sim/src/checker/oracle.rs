//! V5: why a node could not come up, found without asking the machine.
//!
//! The oracle looks at the market as it really is, at the funds, and at the limits. Only what it
//! finds excuses a node that was given up.

use std::collections::BTreeSet;

use ray_on_golem::{
    core::market::spec::PriceLimits,
    units::{Glm, Span, Timestamp},
    yagna::ProviderId,
};

use crate::prices::{self, Costs};

/// What an agreement sets aside before it is signed covers so much time.
const WINDOW: Span = Span::mins(10);
/// A provider must have been free, and not left alone, for so long: a node that waits is looked for
/// at least that often.
const SETTLED: Span = Span::mins(11);
/// How long a provider is left alone after its first failure, of the worst kind, and at most.
const PAUSE_FIRST: Span = Span::mins(5);
const PAUSE_MAX: Span = Span::hours(1);

/// A provider as the network knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Supplier {
    /// Who.
    pub(crate) provider: ProviderId,
    /// What it asks for.
    pub(crate) costs: Costs,
    /// Whether our daemon knows its offer, and the demand asks for the likes of it.
    pub(crate) is_matching: bool,
    /// Whether it does all that a provider should, always.
    pub(crate) is_reliable: bool,
    /// Whether somebody has forbidden to hire it.
    pub(crate) is_blacklisted: bool,
    /// Since when it has a free slot; none if it has not.
    pub(crate) free_since: Option<Timestamp>,
    /// How often it has failed us, and when it did last.
    pub(crate) failed: Option<(u32, Timestamp)>,
}

/// What a node that waits has before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prospect {
    /// The instant of the look.
    pub(crate) now: Timestamp,
    /// Nodes that wait, this one among them.
    pub(crate) waiting: usize,
    /// For how long the node has waited without an agreement.
    pub(crate) waited: Span,
    /// What offers may cost.
    pub(crate) limits: PriceLimits,
    /// Whether there is an allocation to pay from.
    pub(crate) is_funded: bool,
    /// Whether the daemon has lost the private network, which no node can join then, or no node is reached by
    /// the way that the user wants.
    pub(crate) is_network_lost: bool,
    /// The budget.
    pub(crate) budget: Glm,
    /// What of it is spent or set aside.
    pub(crate) committed: Glm,
    /// The limit of GLM per hour.
    pub(crate) rate_limit: Option<Glm>,
    /// How much of it is used.
    pub(crate) rate: Glm,
}

/// Why a node could not come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Excuse {
    /// There is nothing to pay from.
    NoFunds,
    /// The private network is lost.
    NetworkLost,
    /// The budget has no room for the next provider.
    Budget,
    /// The limit of GLM per hour has no room for the next provider.
    RateLimit,
    /// There are not enough providers that are free, allowed, and reliable.
    NoProvider,
    /// Its time went by with providers that are not reliable.
    BadLuck,
}

/// Why a node that waits cannot come up, if it cannot.
#[must_use]
pub(crate) fn excuse(prospect: &Prospect, suppliers: &[Supplier]) -> Option<Excuse> {
    if !prospect.is_funded {
        return Some(Excuse::NoFunds);
    }
    if prospect.is_network_lost {
        return Some(Excuse::NetworkLost);
    }
    let mut eligible: Vec<&Supplier> =
        suppliers.iter().filter(|it| it.is_eligible(prospect.now, &prospect.limits)).collect();
    let providers: BTreeSet<&ProviderId> = eligible.iter().map(|it| &it.provider).collect();
    if providers.len() < prospect.waiting {
        return Some(Excuse::NoProvider);
    }
    // A manager may take any of them; only the dearest shows that there was room for each.
    eligible.sort_by_key(|it| it.costs.for_time(WINDOW));
    let dearest = eligible.last()?;
    let closed = prospect.budget.scaled_up(95, 100).unwrap_or(Glm::MAX);
    let each = |cost: Glm| cost.times(prospect.waiting as u64);
    let promised = prospect.committed.plus(each(dearest.costs.for_time(WINDOW)));
    if prospect.committed >= closed || promised > closed {
        return Some(Excuse::Budget);
    }
    let hour = each(dearest.costs.for_time(Span::hours(1)));
    if prospect.rate_limit.is_some_and(|limit| prospect.rate.plus(hour) > limit) {
        return Some(Excuse::RateLimit);
    }
    // Nobody can tell them from the others before they are tried.
    let has_trap = suppliers.iter().any(|it| it.is_matching && !it.is_reliable);
    (has_trap && prospect.waited < SETTLED).then_some(Excuse::BadLuck)
}

impl Supplier {
    fn is_eligible(&self, now: Timestamp, limits: &PriceLimits) -> bool {
        let is_free = self.free_since.is_some_and(|since| now.since(since) >= SETTLED);
        let is_left_alone = self.failed.is_some_and(|(times, at)| {
            let doubled = PAUSE_FIRST.times(1 << times.saturating_sub(1).min(20)).min(PAUSE_MAX);
            now.since(at) < doubled.plus(SETTLED)
        });
        self.is_matching
            && self.is_reliable
            && !self.is_blacklisted
            && is_free
            && !is_left_alone
            && prices::exceeded(limits, &self.costs).is_none()
    }
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{
        core::market::spec::PriceLimits,
        units::{Glm, Span, Timestamp},
        yagna::ProviderId,
    };

    use super::{Excuse, Prospect, Supplier, excuse};
    use crate::prices::Costs;

    const NOW: Timestamp = Timestamp::from_unix_micros(100_000_000_000);

    /// One GLM in an hour of one busy thread.
    fn supplier(name: &str) -> Supplier {
        let second = Glm::from_atto(Glm::from_whole(1).as_atto() / 3_600);
        Supplier {
            provider: ProviderId::from(name),
            costs: Costs::new(Glm::ZERO, second, Glm::ZERO, 1),
            is_matching: true,
            is_reliable: true,
            is_blacklisted: false,
            free_since: Some(Timestamp::EPOCH),
            failed: None,
        }
    }

    fn prospect() -> Prospect {
        Prospect {
            now: NOW,
            waiting: 1,
            waited: Span::mins(20),
            limits: PriceLimits::default(),
            is_funded: true,
            is_network_lost: false,
            budget: Glm::from_whole(10),
            committed: Glm::from_whole(1),
            rate_limit: None,
            rate: Glm::ZERO,
        }
    }

    #[test]
    fn a_free_provider_funds_and_room_are_no_excuse() {
        assert_eq!(excuse(&prospect(), &[supplier("a")]), None);
    }

    #[test]
    fn each_reason_is_found() {
        let one = [supplier("a")];
        let limit = Some(Glm::from_whole(2));
        for (prospect, reason) in [
            (Prospect { is_funded: false, ..prospect() }, Excuse::NoFunds),
            (Prospect { is_network_lost: true, ..prospect() }, Excuse::NetworkLost),
            (Prospect { waiting: 2, ..prospect() }, Excuse::NoProvider),
            (
                Prospect {
                    committed: Glm::from_whole(9),
                    budget: Glm::from_whole(9),
                    ..prospect()
                },
                Excuse::Budget,
            ),
            (
                Prospect { rate_limit: limit, rate: Glm::from_whole(2), ..prospect() },
                Excuse::RateLimit,
            ),
        ] {
            assert_eq!(excuse(&prospect, &one), Some(reason));
        }
    }

    #[test]
    fn a_trap_excuses_a_node_that_tried_it() {
        let trap = Supplier { is_reliable: false, ..supplier("b") };
        let busy = Prospect { waited: Span::mins(2), ..prospect() };

        assert_eq!(excuse(&busy, &[supplier("a"), trap.clone()]), Some(Excuse::BadLuck));
        assert_eq!(excuse(&prospect(), &[supplier("a"), trap]), None, "it tried nothing for long");
        assert_eq!(excuse(&busy, &[supplier("a")]), None, "there was nothing to fall for");
    }

    #[test]
    fn a_provider_that_cannot_be_hired_is_none() {
        let dear = PriceLimits {
            max_cpu_per_hour_price: Some(Glm::from_atto(1)),
            ..PriceLimits::default()
        };
        let recently = Some(NOW.minus(Span::mins(1)));

        for unfit in [
            Supplier { is_matching: false, ..supplier("a") },
            Supplier { is_reliable: false, ..supplier("a") },
            Supplier { is_blacklisted: true, ..supplier("a") },
            Supplier { free_since: None, ..supplier("a") },
            Supplier { free_since: recently, ..supplier("a") },
            Supplier { failed: Some((1, NOW.minus(Span::mins(5)))), ..supplier("a") },
            Supplier { failed: Some((4, NOW.minus(Span::mins(40)))), ..supplier("a") },
        ] {
            assert_eq!(excuse(&prospect(), &[unfit]), Some(Excuse::NoProvider));
        }
        let limited = Prospect { limits: dear, ..prospect() };
        assert_eq!(excuse(&limited, &[supplier("a")]), Some(Excuse::NoProvider));
    }
}
