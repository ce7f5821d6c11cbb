//! How the original scores offers (§5.2): all of a batch together, relative to each other.
//!
//! Scores are billionths. The original computes with floats; the order is the same.

use ray_on_golem::units::Glm;

const ONE: i128 = 1_000_000_000;
const ATTO_PER_BILLIONTH: u128 = 1_000_000_000;
/// Weights of price, reputation, and chance, in tenths.
const WEIGHTS: (i128, i128, i128) = (10, 10, 1);

/// What is known of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// What the expected use of one CPU costs; nothing where no use is expected.
    pub(super) cost: Option<Glm>,
    /// What the reputation service says, in millionths; nobody is known by nothing.
    pub(super) reputation: u32,
    /// Drawn, in millionths.
    pub(super) chance: u32,
}

/// The scores of a batch.
pub(super) fn scores(batch: &[Facts]) -> Vec<i128> {
    let costs: Vec<Option<Glm>> = batch.iter().map(|facts| facts.cost).collect();
    let weigh = |(facts, price): (&Facts, Option<i128>)| {
        let (of_price, of_reputation, of_chance) = WEIGHTS;
        let reputation = i128::from(facts.reputation) * 1_000;
        let chance = i128::from(facts.chance) * 1_000;
        let sum = of_reputation * reputation + of_chance * chance;
        match price {
            Some(price) => (sum + of_price * price) / (of_price + of_reputation + of_chance),
            None => sum / (of_reputation + of_chance),
        }
    };
    batch.iter().zip(map(&costs)).map(weigh).collect()
}

/// One minus the place between the least and the most of all costs that are not nothing. Where these are
/// equal the costs themselves are the scores, as they are: dear is good then (weakness 14).
fn map(costs: &[Option<Glm>]) -> Vec<Option<i128>> {
    let paid = || costs.iter().flatten().filter(|cost| **cost > Glm::ZERO);
    let (least, most) = (paid().min().copied(), paid().max().copied());
    let billionths =
        |cost: Glm| i128::try_from(cost.as_atto() / ATTO_PER_BILLIONTH).unwrap_or(i128::MAX / ONE);
    let place = |cost: Glm| match (least, most) {
        (Some(least), Some(most)) if least < most => {
            let (least, most) = (billionths(least), billionths(most));
            ONE - (billionths(cost) - least) * ONE / (most - least).max(1)
        }
        (Some(_) | None, _) => billionths(cost),
    };
    costs.iter().map(|cost| cost.map(place)).collect()
}

#[cfg(test)]
mod tests {
    use ray_on_golem::units::Glm;

    use super::{Facts, ONE, map, scores};

    fn costs(whole: &[u64]) -> Vec<Option<Glm>> {
        whole.iter().map(|glm| Some(Glm::from_whole(*glm))).collect()
    }

    #[test]
    fn the_cheapest_has_one_and_the_dearest_nothing() {
        assert_eq!(map(&costs(&[1, 3, 2])), [Some(ONE), Some(0), Some(ONE / 2)]);
        assert_eq!(map(&[None, Some(Glm::from_whole(1))]), [None, Some(ONE)]);
    }

    /// Both are evidence of weakness 14, from the original's own code.
    #[test]
    fn a_free_offer_has_more_than_one_and_equal_costs_are_their_own_scores() {
        assert_eq!(map(&costs(&[0, 1, 2])), [Some(2 * ONE), Some(ONE), Some(0)]);
        assert_eq!(map(&costs(&[2, 2])), [Some(2 * ONE), Some(2 * ONE)]);
        assert_eq!(map(&costs(&[0, 0])), [Some(0), Some(0)]);
    }

    #[test]
    fn price_and_reputation_count_ten_times_as_much_as_chance() {
        let facts = |cost: Option<u64>, reputation, chance| Facts {
            cost: cost.map(Glm::from_whole),
            reputation,
            chance,
        };
        let batch = [
            facts(Some(1), 0, 0),
            facts(Some(2), 1_000_000, 0),
            facts(Some(2), 0, 1_000_000),
            facts(None, 1_000_000, 0),
        ];

        let shares = [10 * ONE / 21, 10 * ONE / 21, ONE / 21, 10 * ONE / 11];
        assert_eq!(scores(&batch), shares);
    }
}
