//! What the negotiated nodes offer and cost, for people to decide on.
#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)]

use std::collections::BTreeMap;

use super::{
    offer::Offer,
    price::Price,
    spec::{Gib, Load},
};
use crate::{units::Glm, yagna::ProviderId};

/// Bars of the histogram.
const BARS: u64 = 8;

/// One node that could be hired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    /// Who offers it.
    pub provider: ProviderId,
    /// The provider's name for itself.
    pub name: String,
    /// CPU threads.
    pub threads: u32,
    /// Memory.
    pub mem: Gib,
    /// What it costs.
    pub price: Price,
}

/// How prices are spread, in GLM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The lowest.
    pub min: Glm,
    /// A quarter is not dearer.
    pub lower_quartile: Glm,
    /// Half is not dearer.
    pub median: Glm,
    /// Three quarters are not dearer.
    pub upper_quartile: Glm,
    /// The highest.
    pub max: Glm,
    /// Equal steps from the lowest to the highest: upper end, and how many are in it.
    pub bars: Vec<(Glm, u64)>,
}

/// The cheapest cluster of a size, each node from another provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// How many nodes are wanted.
    pub wanted: u64,
    /// How many could be had; fewer if there are not enough providers.
    pub found: u64,
    /// What those cost in an hour, without start prices.
    pub glm_per_hour: Glm,
    /// What starting them costs once.
    pub start: Glm,
}

impl Supply {
    pub(super) fn new(offer: &Offer) -> Self {
        Self {
            provider: offer.provider.clone(),
            name: offer.name.clone(),
            threads: offer.threads,
            mem: offer.mem,
            price: offer.price,
        }
    }
}

/// How the prices per CPU-hour are spread; `None` without any.
#[must_use]
pub fn spread(supply: &[Supply]) -> Option<Spread> {
    let mut prices: Vec<Glm> =
        supply.iter().filter_map(|node| node.price.per_cpu_hour(node.threads)).collect();
    prices.sort_unstable();
    let (min, max) = (*prices.first()?, *prices.last()?);
    let last = prices.len().saturating_sub(1);
    // The nearest rank: always a price that somebody asks.
    let quantile = |quarters: usize| prices[last.saturating_mul(quarters).div_ceil(4).min(last)];
    let width = max.minus(min);
    let count = if width == Glm::ZERO { 1 } else { BARS };
    let mut bars: Vec<(Glm, u64)> = (1..=count)
        .map(|bar| (width.scaled_up(bar, count).map_or(max, |step| min.plus(step)), 0))
        .collect();
    for price in &prices {
        let bar = bars.iter().position(|(end, _)| price <= end);
        if let Some((_, count)) = bar.and_then(|bar| bars.get_mut(bar)) {
            *count = count.saturating_add(1);
        }
    }
    Some(Spread {
        min,
        lower_quartile: quantile(1),
        median: quantile(2),
        upper_quartile: quantile(3),
        max,
        bars,
    })
}

/// The cheapest cluster of `wanted` nodes when their CPUs are busy by `load`.
///
/// A private network takes one node of each provider, so each provider counts once, with its
/// cheapest node.
#[must_use]
pub fn quote(supply: &[Supply], wanted: u64, load: Load) -> Quote {
    let mut cheapest: BTreeMap<&ProviderId, (Glm, Glm)> = BTreeMap::new();
    for node in supply {
        let Some(per_hour) = node.price.per_node_hour(node.threads, load) else { continue };
        let costs = (per_hour, node.price.start);
        cheapest
            .entry(&node.provider)
            .and_modify(|best| *best = (*best).min(costs))
            .or_insert(costs);
    }
    let mut nodes: Vec<(Glm, Glm)> = cheapest.into_values().collect();
    nodes.sort_unstable();
    nodes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    nodes.iter().fold(
        Quote { wanted, found: 0, glm_per_hour: Glm::ZERO, start: Glm::ZERO },
        |sum, (per_hour, start)| Quote {
            wanted,
            found: sum.found.saturating_add(1),
            glm_per_hour: sum.glm_per_hour.plus(*per_hour),
            start: sum.start.plus(*start),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::{Supply, quote, spread};
    use crate::{
        core::market::{offer::Offer, price::Price, spec::Load},
        units::{Glm, Rounding},
        yagna::ProviderId,
    };

    fn node(provider: &str, env_second_atto: u128) -> Supply {
        let price = Price {
            env_second: Glm::from_atto(env_second_atto),
            start: Glm::from_atto(7),
            ..Price::default()
        };
        let provider = ProviderId::from(provider);
        Supply::new(&Offer { provider, price, threads: 1, ..Offer::example() })
    }

    #[test]
    fn quartiles_are_prices_that_somebody_asks() {
        let supply: Vec<Supply> = (1..=5).map(|price| node("0x1", price)).collect();

        let spread = spread(&supply).expect("not empty");

        let hours =
            [spread.min, spread.lower_quartile, spread.median, spread.upper_quartile, spread.max];
        assert_eq!(hours, [1, 2, 3, 4, 5].map(|price| Glm::from_atto(price * 3_600)));
        assert_eq!(spread.bars.iter().map(|(_, count)| count).sum::<u64>(), 5);
        assert_eq!(spread.bars.last().map(|(end, _)| *end), Some(spread.max));
    }

    #[test]
    fn equal_prices_make_one_bar() {
        let spread = spread(&[node("0x1", 4), node("0x2", 4)]).expect("not empty");

        assert_eq!(spread.bars, [(Glm::from_atto(4 * 3_600), 2)]);
        assert_eq!(super::spread(&[]), None);
    }

    #[test]
    fn a_cluster_takes_one_node_of_each_provider() {
        let supply = [node("0x1", 1), node("0x1", 2), node("0x2", 9), node("0x3", 5)];

        let two = quote(&supply, 2, Load::FULL);
        let ten = quote(&supply, 10, Load::FULL);

        assert_eq!((two.found, two.glm_per_hour), (2, Glm::from_atto(6 * 3_600)));
        assert_eq!((ten.wanted, ten.found), (10, 3));
        assert_eq!(ten.start, Glm::from_atto(21));
        assert_eq!(Glm::parse("0", Rounding::Exact), Ok(quote(&[], 1, Load::FULL).glm_per_hour));
    }
}
