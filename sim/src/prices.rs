//! The auditor's own view of prices: read anew, compared by cross-multiplication, nothing shared
//! with the machine's arithmetic.

use ray_on_golem::{
    core::market::{
        price::Price,
        spec::{ExpectedUsage, Load, PriceLimits},
    },
    units::{Glm, Span, money::Rounding, money::parse_scaled},
    yagna::Properties,
};
use serde_json::Value;

const SECS_PER_HOUR: u128 = 3_600;
/// Prices are rounded to one attoGLM per second: so much may an hour be off.
const TOLERANCE: u128 = SECS_PER_HOUR;
const MILLION: u128 = 1_000_000;

/// What a node costs, in attoGLM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Costs {
    start: u128,
    cpu_second: u128,
    env_second: u128,
    threads: u128,
}

impl Costs {
    pub(crate) fn new(start: Glm, cpu_second: Glm, env_second: Glm, threads: u64) -> Self {
        Self {
            start: start.as_atto(),
            cpu_second: cpu_second.as_atto(),
            env_second: env_second.as_atto(),
            threads: u128::from(threads),
        }
    }

    pub(crate) fn of_price(price: &Price, threads: u32) -> Self {
        Self {
            start: price.start.as_atto(),
            cpu_second: price.cpu_second.as_atto(),
            env_second: price.env_second.as_atto(),
            threads: u128::from(threads),
        }
    }

    /// Whether it costs no more, whatever the use.
    pub(crate) fn is_at_most(&self, other: &Self) -> bool {
        self.start <= other.start
            && self.env_second <= other.env_second
            && self.cpu_second <= other.cpu_second
            && self.cpu_second.saturating_mul(self.threads)
                <= other.cpu_second.saturating_mul(other.threads)
    }

    /// `None` if the offer cannot be priced.
    pub(crate) fn of_properties(properties: &Properties) -> Option<Self> {
        if properties.text("golem.com.pricing.model") != Some("linear") {
            return None;
        }
        let counters = properties.get("golem.com.usage.vector")?.as_array()?;
        let coefficients = properties.get("golem.com.pricing.model.linear.coeffs")?.as_array()?;
        if coefficients.len() != counters.len() + 1 {
            return None;
        }
        let prices: Vec<u128> = coefficients.iter().map(atto).collect::<Option<_>>()?;
        let of = |wanted: &str| {
            let index = counters.iter().position(|counter| counter.as_str() == Some(wanted));
            index.map_or(0, |index| prices[index])
        };
        let is_known = |counter: &Value| {
            matches!(counter.as_str(), Some("golem.usage.cpu_sec" | "golem.usage.duration_sec"))
        };
        let has_unknown =
            counters.iter().zip(&prices).any(|(counter, price)| !is_known(counter) && *price > 0);
        let threads = parse_scaled(properties.number("golem.inf.cpu.threads")?, 0, Rounding::Exact);
        let threads = threads.ok().filter(|threads| *threads > 0)?;
        (!has_unknown).then(|| Self {
            start: *prices.last().unwrap_or(&0),
            cpu_second: of("golem.usage.cpu_sec"),
            env_second: of("golem.usage.duration_sec"),
            threads,
        })
    }

    /// What a node costs in so long when all its CPUs are busy, start included; rounded up.
    pub(crate) fn for_time(&self, span: Span) -> Glm {
        let second = self.cpu_second.saturating_mul(self.threads).saturating_add(self.env_second);
        let running = second.saturating_mul(u128::from(span.as_micros())).div_ceil(MILLION);
        Glm::from_atto(self.start.saturating_add(running))
    }

    /// What one CPU costs for the expected usage, times the number of threads.
    fn of_usage(&self, usage: &ExpectedUsage) -> u128 {
        let millis = u128::from(usage.duration.as_millis());
        let load = u128::from(usage.cpu_load.as_millionths());
        let env = self.env_second.saturating_mul(millis) / 1_000;
        let cpu = self.cpu_second.saturating_mul(millis).saturating_mul(load) / (1_000 * MILLION);
        self.start.saturating_add(env).saturating_add(cpu.saturating_mul(self.threads))
    }
}

/// The key of a limit that is clearly exceeded.
pub(crate) fn exceeded(limits: &PriceLimits, costs: &Costs) -> Option<&'static str> {
    let is_above = |value: u128, limit: Option<Glm>| {
        limit.is_some_and(|limit| value > limit.as_atto().saturating_add(TOLERANCE))
    };
    let expected = limits.per_cpu_expected_usage.is_some_and(|usage| {
        usage.max_cost.is_some_and(|limit| {
            let limit = limit.as_atto().saturating_add(TOLERANCE);
            costs.of_usage(&usage) > limit.saturating_mul(costs.threads)
        })
    });
    let hour = |per_second: u128| per_second.saturating_mul(SECS_PER_HOUR);
    if expected {
        Some("max_cost")
    } else if is_above(costs.start, limits.max_start_price) {
        Some("max_start_price")
    } else if is_above(hour(costs.cpu_second), limits.max_cpu_per_hour_price) {
        Some("max_cpu_per_hour_price")
    } else if is_above(hour(costs.env_second), limits.max_env_per_hour_price) {
        Some("max_env_per_hour_price")
    } else {
        None
    }
}

/// How good a price is, in millionths: ½ for 0.1 GLM per CPU-hour, 1 for nothing.
pub(crate) fn value(limits: &PriceLimits, costs: &Costs) -> u64 {
    let usage = limits.per_cpu_expected_usage.unwrap_or(ExpectedUsage {
        cpu_load: Load::FULL,
        duration: Span::hours(1),
        max_cost: None,
    });
    let usual = Costs {
        start: 0,
        cpu_second: 100_000_000_000_000_000 / SECS_PER_HOUR,
        env_second: 0,
        threads: 1,
    };
    let usual = usual.of_usage(&usage) >> 20;
    let cost = (costs.of_usage(&usage) / costs.threads.max(1)) >> 20;
    u64::try_from(usual.saturating_mul(MILLION) / usual.saturating_add(cost).max(1)).unwrap_or(0)
}

fn atto(value: &Value) -> Option<u128> {
    let Value::Number(number) = value else { return None };
    parse_scaled(number.as_str(), 18, Rounding::Up).ok()
}
