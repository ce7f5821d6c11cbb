//! How good an offer is: a weighted mean of what is known about it, in millionths.
//!
//! A score is absolute: it depends on the offer and not on the others that happen to be in the
//! pool. So equal prices score equally, and a free provider is simply the best.

use super::{
    choice::Weights,
    offer::Offer,
    spec::{ExpectedUsage, Load},
};
use crate::{
    core::{reputation::Known, rng::Seed},
    units::{Glm, Span},
};

const MILLION: u64 = 1_000_000;

/// What a provider's installer asks for one thread: 0.1 GLM per hour.
const USUAL_PRICE_PER_CPU_HOUR: Glm = Glm::from_atto(100_000_000_000_000_000);

/// Used when the YAML says nothing: one CPU, busy for an hour.
const USUAL_USAGE: ExpectedUsage =
    ExpectedUsage { cpu_load: Load::FULL, duration: Span::hours(1), max_cost: None };

/// How good an offer is, in millionths; more is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(u32);

/// What a score is made of, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// 1 for a free provider, ½ at the usual price.
    pub price: u32,
    /// What others say of the provider, if they do.
    pub reputation: Option<u32>,
    /// How likely its node comes up: by our own experience, and where that is little by what others say.
    pub experience: u32,
    /// Spreads equal offers.
    pub chance: u32,
    /// The weighted mean of all parts that there are.
    pub total: Score,
}

/// Scores offers for one node shape.
#[derive(Clone, Debug)]
pub struct Scorer {
    usage: ExpectedUsage,
    usual_cost: Glm,
    weights: Weights,
    seed: Seed,
}

impl Scorer {
    /// A scorer for this expected usage; the seed spreads equal offers.
    #[must_use]
    pub fn new(usage: Option<ExpectedUsage>, weights: Weights, seed: Seed) -> Self {
        let usage = usage.unwrap_or(USUAL_USAGE);
        let millis = usage.duration.as_millis();
        let load = u64::from(usage.cpu_load.as_millionths());
        let busy = USUAL_PRICE_PER_CPU_HOUR.scaled_up(millis, 3_600_000);
        let usual_cost = busy.and_then(|cost| cost.scaled_up(load, MILLION)).unwrap_or(Glm::MAX);
        Self { usage, usual_cost, weights, seed }
    }

    /// Scores one offer of a provider about whom this is known.
    #[must_use]
    pub fn score(&self, offer: &Offer, known: &Known) -> Score {
        self.parts(offer, known).total
    }

    /// What the score of an offer is made of.
    ///
    /// The price part is `usual ÷ (usual + cost)`.
    #[must_use]
    pub fn parts(&self, offer: &Offer, known: &Known) -> Parts {
        let price = offer
            .price
            .per_cpu_cost(offer.threads, &self.usage)
            .map_or(0, |cost| share_of(self.usual_cost, self.usual_cost.plus(cost)));
        let chance = self.seed.below(MILLION, "score", offer.fingerprint, 0);
        let millionths = |part: u64| u32::try_from(part).unwrap_or(u32::MAX);
        let (price, chance) = (millionths(price), millionths(chance));
        let (reputation, experience) = (known.reputation, known.prospect);
        let total = mean([
            (self.weights.price, Some(price)),
            (self.weights.reputation, reputation),
            (self.weights.experience, Some(experience)),
            (self.weights.chance, Some(chance)),
        ]);
        Parts { price, reputation, experience, chance, total }
    }
}

/// The weighted mean of the parts that there are.
fn mean(parts: [(u32, Option<u32>); 4]) -> Score {
    let there = parts.into_iter().filter_map(|(weight, part)| Some((weight, part?)));
    let (sum, weights) = there.fold((0_u64, 0_u64), |(sum, weights), (weight, part)| {
        let weight = u64::from(weight);
        (sum + weight * u64::from(part), weights + weight)
    });
    Score(u32::try_from(sum.checked_div(weights).unwrap_or(0)).unwrap_or(u32::MAX))
}

impl Score {
    /// No score is better.
    pub(super) const MAX: Self = Self(u32::MAX);

    /// The score in millionths.
    #[must_use]
    pub const fn as_millionths(self) -> u32 {
        self.0
    }
}

/// `part ÷ whole` in millionths, at most one million.
fn share_of(part: Glm, whole: Glm) -> u64 {
    // Shifted so that the product below fits; 40 bits keep more than a millionth.
    let excess = 128_u32.saturating_sub(whole.as_atto().leading_zeros()).saturating_sub(100);
    let (part, whole) = (part.as_atto() >> excess, whole.as_atto() >> excess);
    match (part * u128::from(MILLION)).checked_div(whole) {
        Some(share) => u64::try_from(share).unwrap_or(MILLION).min(MILLION),
        None => MILLION,
    }
}

#[cfg(test)]
mod tests {
    use super::Scorer;
    use crate::{
        core::{
            market::{choice::Choice, offer::Offer, price::Price},
            reputation::Known,
            rng::Seed,
        },
        units::{Glm, Rounding},
    };

    fn scorer() -> Scorer {
        Scorer::new(None, Choice::recommended().weights, Seed::new(1))
    }

    fn offer(cpu_hour: &str) -> Offer {
        let per_hour = Glm::parse(cpu_hour, Rounding::Exact).expect("a literal");
        Offer {
            price: Price {
                cpu_second: per_hour.scaled_up(1, 3_600).expect("small"),
                ..Price::default()
            },
            ..Offer::example()
        }
    }

    #[test]
    fn cheaper_is_better_and_free_is_best() {
        let score = |price| scorer().score(&offer(price), &Known::NOTHING);

        assert!(score("0") > score("0.02"));
        assert!(score("0.02") > score("0.1"));
        assert!(score("0.1") > score("400"));
        assert_eq!(score("0.1"), score("0.1"));
    }

    #[test]
    fn an_absurd_price_scores_nothing_for_price_and_does_not_overflow() {
        let scorer = scorer();
        let absurd =
            Offer { price: Price { start: Glm::MAX, ..Price::default() }, ..Offer::example() };

        assert!(
            scorer.score(&absurd, &Known::NOTHING) < scorer.score(&offer("400"), &Known::NOTHING)
        );
    }

    #[test]
    fn a_good_name_is_worth_a_higher_price() {
        let known = Known { reputation: Some(1_000_000), ..Known::NOTHING };

        assert!(
            scorer().score(&offer("0.1"), &known) > scorer().score(&offer("0.1"), &Known::NOTHING)
        );
    }

    #[test]
    fn what_we_have_seen_counts_more_than_a_lower_price() {
        let seen = |prospect| Known { prospect, ..Known::NOTHING };
        let score = |price, prospect| scorer().score(&offer(price), &seen(prospect));

        assert!(score("0.15", 900_000) > score("0.05", 500_000));
        assert!(score("0.05", 500_000) > score("0.05", 333_333));
        let original = Scorer::new(None, Choice::original().weights, Seed::new(1));
        assert_eq!(
            original.score(&offer("0.1"), &seen(0)),
            original.score(&offer("0.1"), &seen(1_000_000)),
        );
    }
}
