//! When offers reach our daemon: at once if it knows them, else with its neighbours' broadcasts.
//!
//! A neighbour broadcasts when it meets us and then every four minutes or so; a broadcast carries
//! at most 200 of the offers that it knows, drawn at random.

use ray_on_golem::{
    core::rng::Seed,
    units::{Span, Timestamp},
};

use crate::{
    provider::Offer,
    scenario::{Daemon, distribution::ONE},
};

const MEETS_WITHIN: Span = Span::secs(10);
const BROADCAST_OFFERS_MAX: u64 = 200;
/// Four minutes × 0.5 to 1.5.
const PAUSE_MIN: Span = Span::mins(2);
const PAUSE_SPREAD: Span = Span::mins(4);
/// An offer lives for an hour and is then published anew.
const HORIZON: Span = Span::hours(1);
const MILLION: u64 = 1_000_000;

/// The broadcasts of all neighbours, in order.
pub(super) struct Broadcasts {
    at: Vec<Timestamp>,
    /// The chance of one offer to be in one broadcast, in millionths.
    chance: u64,
    warm: u64,
    /// Neighbours have learnt of all offers before the start.
    is_settled: bool,
    seed: Seed,
    start: Timestamp,
}

impl Broadcasts {
    pub(super) fn new(daemon: &Daemon, offers: usize, seed: Seed, start: Timestamp) -> Self {
        let mut at = Vec::new();
        for neighbour in 0..daemon.neighbours {
            let meets = seed.below(MEETS_WITHIN.as_micros(), "meets", neighbour, 0);
            let mut next = start.plus(Span::micros(meets));
            let mut nth = 0;
            while next.since(start) < HORIZON {
                at.push(next);
                nth += 1;
                let pause = seed.below(PAUSE_SPREAD.as_micros(), "broadcast", neighbour, nth);
                next = next.plus(PAUSE_MIN).plus(Span::micros(pause));
            }
        }
        at.sort_unstable();
        let offers = (offers as u64).max(1);
        let chance = (MILLION * BROADCAST_OFFERS_MAX / offers).min(MILLION);
        Self { at, chance, warm: daemon.warm, is_settled: false, seed, start }
    }

    /// The broadcasts after the daemon's `nth` restart: it knows nothing, its neighbours know all.
    pub(super) fn after_restart(
        daemon: &Daemon,
        offers: usize,
        seed: Seed,
        nth: u64,
        start: Timestamp,
    ) -> Self {
        let seed = Seed::new(seed.draw("restart", nth, 0));
        Self { warm: 0, is_settled: true, ..Self::new(daemon, offers, seed, start) }
    }

    /// When the network's `nth` offer reaches us; `None` if it does not within the hour.
    pub(super) fn arrival(&self, nth: u64, offer: &Offer) -> Option<Timestamp> {
        if let Some(spread) = &offer.population.arrives {
            let label = format!("{}/arrives", offer.population.name);
            let billionths = spread.sample(self.seed, &label, offer.member, offer.number);
            return Some(self.start.plus(Span::micros(billionths / (ONE / 1_000_000))));
        }
        if self.seed.below(MILLION, "warm", nth, 0) < self.warm {
            return Some(self.start);
        }
        let carries = |which: usize| {
            self.chance == MILLION
                || self.seed.below(MILLION, "carries", nth, which as u64) < self.chance
        };
        // A neighbour learns of an offer some time after it was made: not all come first.
        let learnt_by = if self.is_settled { 1 } else { 1 + self.at.len() as u64 / 4 };
        let first = self.seed.below(learnt_by, "learns", nth, 0) as usize;
        self.at.iter().enumerate().skip(first).find(|(which, _)| carries(*which)).map(|(_, at)| *at)
    }
}
