//! The price limits of the YAML, in their fixed order (M9): an offer that equals a limit passes.

use std::fmt;

use super::{
    price::Price,
    spec::{ExpectedUsage, PriceLimits},
};
use crate::units::Glm;

/// One configured limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `per_cpu_expected_usage.max_cost`
    MaxCost {
        /// What one CPU is used for.
        usage: ExpectedUsage,
        /// What that may cost.
        limit: Glm,
    },
    /// `max_start_price`
    MaxStartPrice {
        /// GLM.
        limit: Glm,
    },
    /// `max_cpu_per_hour_price`
    MaxCpuPerHourPrice {
        /// GLM per hour.
        limit: Glm,
    },
    /// `max_env_per_hour_price`
    MaxEnvPerHourPrice {
        /// GLM per hour.
        limit: Glm,
    },
}

/// The configured limits, in the order in which they are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits(Vec<Limit>);

impl Limits {
    /// Takes the configured limits out of the YAML's section.
    #[must_use]
    pub fn new(limits: &PriceLimits) -> Self {
        let max_cost = limits
            .per_cpu_expected_usage
            .and_then(|usage| usage.max_cost.map(|limit| Limit::MaxCost { usage, limit }));
        let start = limits.max_start_price.map(|limit| Limit::MaxStartPrice { limit });
        let cpu = limits.max_cpu_per_hour_price.map(|limit| Limit::MaxCpuPerHourPrice { limit });
        let env = limits.max_env_per_hour_price.map(|limit| Limit::MaxEnvPerHourPrice { limit });
        Self([max_cost, start, cpu, env].into_iter().flatten().collect())
    }

    /// The limits in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Limit] {
        &self.0
    }

    /// The first limit, by position, that a node of this price and so many threads exceeds.
    #[must_use]
    pub fn exceeded(&self, price: &Price, threads: u32) -> Option<usize> {
        self.0.iter().position(|limit| limit.is_exceeded(price, threads))
    }
}

impl Limit {
    /// Whether the price is above the limit; a cost beyond counting is.
    #[must_use]
    pub fn is_exceeded(&self, price: &Price, threads: u32) -> bool {
        match self {
            Self::MaxCost { usage, limit } => {
                price.per_cpu_cost(threads, usage).is_none_or(|cost| cost > *limit)
            }
            Self::MaxStartPrice { limit } => price.start > *limit,
            Self::MaxCpuPerHourPrice { limit } => is_above(price.cpu_second, *limit),
            Self::MaxEnvPerHourPrice { limit } => is_above(price.env_second, *limit),
        }
    }

    /// What the limit is compared with, in GLM; none if it is beyond counting.
    #[must_use]
    pub fn cost(&self, price: &Price, threads: u32) -> Option<Glm> {
        match self {
            Self::MaxCost { usage, .. } => price.per_cpu_cost(threads, usage),
            Self::MaxStartPrice { .. } => Some(price.start),
            Self::MaxCpuPerHourPrice { .. } => Some(price.cpu_second.times(3_600)),
            Self::MaxEnvPerHourPrice { .. } => Some(price.env_second.times(3_600)),
        }
    }

    /// The YAML key that sets it.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::MaxCost { .. } => "max_cost",
            Self::MaxStartPrice { .. } => "max_start_price",
            Self::MaxCpuPerHourPrice { .. } => "max_cpu_per_hour_price",
            Self::MaxEnvPerHourPrice { .. } => "max_env_per_hour_price",
        }
    }

    /// The limit as the YAML has it.
    #[must_use]
    pub const fn value(&self) -> Glm {
        match self {
            Self::MaxCost { limit, .. }
            | Self::MaxStartPrice { limit }
            | Self::MaxCpuPerHourPrice { limit }
            | Self::MaxEnvPerHourPrice { limit } => *limit,
        }
    }
}

/// Compares per second. The limit is rounded up as the offer's price was, so that a provider who
/// asks exactly the limit passes.
fn is_above(per_second: Glm, limit_per_hour: Glm) -> bool {
    limit_per_hour.scaled_up(1, 3_600).is_some_and(|limit| per_second > limit)
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::MaxCost { .. } => "per cpu expected cost",
            Self::MaxStartPrice { .. } => "start price",
            Self::MaxCpuPerHourPrice { .. } => "cpu per hour price",
            Self::MaxEnvPerHourPrice { .. } => "env per hour price",
        };
        write!(f, "Reject if {what} exceeds `{}` = {}", self.key(), self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::{Limit, Limits};
    use crate::{
        core::market::{
            price::Price,
            spec::{ExpectedUsage, Load, PriceLimits},
        },
        units::{Glm, Rounding, Span},
    };

    fn glm(text: &str) -> Glm {
        Glm::parse(text, Rounding::Up).expect("a literal")
    }

    #[test]
    fn an_offer_that_equals_a_limit_passes() {
        // 0.5 GLM per hour as a provider writes it per second.
        let per_second = glm("0.0001388888888888889");
        let limit = Limit::MaxCpuPerHourPrice { limit: glm("0.5") };
        let equal = Price { cpu_second: per_second, ..Price::default() };
        let above = Price { cpu_second: per_second.plus(Glm::from_atto(1)), ..Price::default() };

        assert!(!limit.is_exceeded(&equal, 1));
        assert!(limit.is_exceeded(&above, 1));
    }

    #[test]
    fn limits_apply_in_the_documented_order() {
        let limits = Limits::new(&PriceLimits {
            per_cpu_expected_usage: Some(ExpectedUsage {
                cpu_load: Load::FULL,
                duration: Span::hours(1),
                max_cost: Some(glm("1.5")),
            }),
            max_start_price: Some(glm("0.5")),
            max_cpu_per_hour_price: Some(glm("0.5")),
            max_env_per_hour_price: Some(glm("0.5")),
        });
        let keys: Vec<&str> = limits.as_slice().iter().map(Limit::key).collect();
        let start_too_dear = Price { start: glm("0.6"), ..Price::default() };
        let all_too_dear = Price {
            start: glm("2"),
            cpu_second: glm("1"),
            env_second: glm("1"),
            ..Price::default()
        };

        assert_eq!(
            keys,
            ["max_cost", "max_start_price", "max_cpu_per_hour_price", "max_env_per_hour_price"]
        );
        assert_eq!(limits.exceeded(&Price::default(), 1), None);
        assert_eq!(limits.exceeded(&start_too_dear, 1), Some(1));
        assert_eq!(limits.exceeded(&all_too_dear, 1), Some(0));
        assert_eq!(limits.exceeded(&Price::default(), 0), Some(0), "no threads: no cost per cpu");
    }
}
