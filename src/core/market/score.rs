//! How good an offer is: a weighted mean of what is known about it, in millionths.
//!
//! A score is absolute: it depends on the offer and not on the others that happen to be in the
//! pool. So it never has to be computed again, equal prices score equally, and a free provider is
//! simply the best.

use super::{
    offer::Offer,
    spec::{ExpectedUsage, Load},
};
use crate::{
    core::{reputation::Reputation, rng::Seed},
    units::{Glm, Span},
};

const MILLION: u64 = 1_000_000;
const WEIGHT_PRICE: u64 = 10;
const WEIGHT_REPUTATION: u64 = 10;
const WEIGHT_CHANCE: u64 = 1;

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
    /// Spreads equal offers.
    pub chance: u32,
}

/// Scores offers for one node shape.
#[derive(Clone, Debug)]
pub struct Scorer {
    usage: ExpectedUsage,
    usual_cost: Glm,
    seed: Seed,
}

impl Scorer {
    /// A scorer for this expected usage; the seed spreads equal offers.
    #[must_use]
    pub fn new(usage: Option<ExpectedUsage>, seed: Seed) -> Self {
        let usage = usage.unwrap_or(USUAL_USAGE);
        let millis = usage.duration.as_millis();
        let load = u64::from(usage.cpu_load.as_millionths());
        let busy = USUAL_PRICE_PER_CPU_HOUR.scaled_up(millis, 3_600_000);
        let usual_cost = busy.and_then(|cost| cost.scaled_up(load, MILLION)).unwrap_or(Glm::MAX);
        Self { usage, usual_cost, seed }
    }

    /// Scores one offer.
    #[must_use]
    pub fn score(&self, offer: &Offer, reputation: &Reputation) -> Score {
        self.parts(offer, reputation).score()
    }

    /// What the score of an offer is made of.
    ///
    /// The price part is `usual ÷ (usual + cost)`.
    #[must_use]
    pub fn parts(&self, offer: &Offer, reputation: &Reputation) -> Parts {
        let price = offer
            .price
            .per_cpu_cost(offer.threads, &self.usage)
            .map_or(0, |cost| share_of(self.usual_cost, self.usual_cost.plus(cost)));
        let chance = self.seed.below(MILLION, "score", offer.fingerprint, 0);
        let millionths = |part: u64| u32::try_from(part).unwrap_or(u32::MAX);
        Parts {
            price: millionths(price),
            reputation: reputation.score(&offer.provider),
            chance: millionths(chance),
        }
    }
}

impl Parts {
    /// The weighted mean: price and reputation count ten times as much as chance.
    #[must_use]
    pub fn score(&self) -> Score {
        let (price, chance) = (u64::from(self.price), u64::from(self.chance));
        let (mut sum, mut weight) =
            (WEIGHT_PRICE * price + WEIGHT_CHANCE * chance, WEIGHT_PRICE + WEIGHT_CHANCE);
        if let Some(standing) = self.reputation {
            sum += WEIGHT_REPUTATION * u64::from(standing);
            weight += WEIGHT_REPUTATION;
        }
        Score(u32::try_from(sum / weight).unwrap_or(u32::MAX))
    }
}

impl Score {
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
            market::{offer::Offer, price::Price},
            reputation::{Reputation, Standing},
            rng::Seed,
        },
        units::{Glm, Rounding},
    };

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
        let scorer = Scorer::new(None, Seed::new(1));
        let score = |price| scorer.score(&offer(price), &Reputation::default());

        assert!(score("0") > score("0.02"));
        assert!(score("0.02") > score("0.1"));
        assert!(score("0.1") > score("400"));
        assert_eq!(score("0.1"), score("0.1"));
    }

    #[test]
    fn an_absurd_price_scores_nothing_for_price_and_does_not_overflow() {
        let scorer = Scorer::new(None, Seed::new(1));
        let absurd =
            Offer { price: Price { start: Glm::MAX, ..Price::default() }, ..Offer::example() };

        assert!(
            scorer.score(&absurd, &Reputation::default())
                < scorer.score(&offer("400"), &Reputation::default())
        );
    }

    #[test]
    fn a_good_name_is_worth_a_higher_price() {
        let scorer = Scorer::new(None, Seed::new(1));
        let mut reputation = Reputation::default();
        let standing = Standing {
            uptime: Some(1_000_000),
            success_rate: Some(1_000_000),
            ..Standing::default()
        };
        reputation.0.insert(Offer::example().provider, standing);

        let known = scorer.score(&offer("0.1"), &reputation);
        let unknown = scorer.score(&offer("0.1"), &Reputation::default());
        assert!(known > unknown);
    }
}
