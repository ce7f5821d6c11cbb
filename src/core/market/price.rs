//! What an offer costs, read by name from its usage counters and coefficients.
//!
//! The market's only pricing model is `linear`: coefficient *i* belongs to usage counter *i*, the
//! last coefficient is the start price. Providers order their counters as they like, so nothing
//! here depends on a position. All prices are per second, rounded up to one attoGLM.
#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)]

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::spec::{ExpectedUsage, Load};
use crate::{
    units::{Glm, ParseGlmError, Rounding, Span},
    yagna::Properties,
};

const MODEL: &str = "golem.com.pricing.model";
const COEFFICIENTS: &str = "golem.com.pricing.model.linear.coeffs";
const USAGE: &str = "golem.com.usage.vector";

/// The prices of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Once, for starting.
    pub start: Glm,
    /// For a second of one busy CPU thread.
    pub cpu_second: Glm,
    /// For a second of the node's existence.
    pub env_second: Glm,
    /// For a second of one GiB of storage.
    pub storage_gib_second: Glm,
    /// For a second of one GiB of memory.
    pub mem_gib_second: Glm,
}

/// Why an offer has no price that we can hold it to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PriceError {
    /// The pricing model is another one, or none.
    #[error("pricing model is not linear")]
    NotLinear,
    /// Counters or coefficients are missing, or are no lists.
    #[error("usage counters or coefficients are missing")]
    Missing,
    /// There must be one coefficient more than counters.
    #[error("number of coefficients does not fit the number of usage counters")]
    WrongLength,
    /// A coefficient is no amount.
    #[error("coefficient is {0}")]
    BadCoefficient(#[from] ParseGlmError),
    /// A counter that we cannot bound has a price.
    #[error("a usage counter that is not known has a price")]
    UnknownCounter,
    /// A counter is listed twice.
    #[error("a usage counter is listed twice")]
    RepeatedCounter,
}

impl Price {
    /// Reads the price from an offer's properties.
    ///
    /// # Errors
    ///
    /// Says why the offer cannot be priced; such an offer is never negotiated.
    pub fn read(properties: &Properties) -> Result<Self, PriceError> {
        if properties.text(MODEL) != Some("linear") {
            return Err(PriceError::NotLinear);
        }
        let list = |key| properties.get(key).and_then(Value::as_array).ok_or(PriceError::Missing);
        let (counters, coefficients) = (list(USAGE)?, list(COEFFICIENTS)?);
        let Some((start, coefficients)) = coefficients.split_last() else {
            return Err(PriceError::WrongLength);
        };
        if coefficients.len() != counters.len() {
            return Err(PriceError::WrongLength);
        }
        let mut price = Self { start: amount(start)?, ..Self::default() };
        let mut seen = [false; 4];
        for (counter, coefficient) in counters.iter().zip(coefficients) {
            let coefficient = amount(coefficient)?;
            let Some((index, slot)) = price.slot(counter.as_str().unwrap_or_default()) else {
                if coefficient == Glm::ZERO {
                    continue;
                }
                return Err(PriceError::UnknownCounter);
            };
            *slot = coefficient;
            if std::mem::replace(&mut seen[index], true) {
                return Err(PriceError::RepeatedCounter);
            }
        }
        Ok(price)
    }

    fn slot(&mut self, counter: &str) -> Option<(usize, &mut Glm)> {
        match counter {
            "golem.usage.cpu_sec" | "cpu-sec" => Some((0, &mut self.cpu_second)),
            "golem.usage.duration_sec" | "duration-sec" => Some((1, &mut self.env_second)),
            "golem.usage.storage_gib" | "storage-gib" => Some((2, &mut self.storage_gib_second)),
            "golem.usage.gib" => Some((3, &mut self.mem_gib_second)),
            _ => None,
        }
    }

    /// What the expected usage of one CPU costs on a node of so many threads, start included.
    ///
    /// Rounded up once, at the end; `None` if it is more than can be counted, or without threads.
    #[must_use]
    pub fn per_cpu_cost(&self, threads: u32, usage: &ExpectedUsage) -> Option<Glm> {
        const MICROS: u128 = 1_000_000;
        let (micros, threads) = (u128::from(usage.duration.as_micros()), u128::from(threads));
        let load = u128::from(usage.cpu_load.as_millionths());
        // All three terms over the common denominator 10^12 × threads.
        let start = self.start.as_atto().checked_mul(MICROS)?.checked_mul(MICROS)?;
        let env = self.env_second.as_atto().checked_mul(micros)?.checked_mul(MICROS)?;
        let cpu = self.cpu_second.as_atto().checked_mul(micros)?;
        let cpu = cpu.checked_mul(load)?.checked_mul(threads)?;
        let sum = start.checked_add(env)?.checked_add(cpu)?;
        let denominator = MICROS.checked_mul(MICROS)?.checked_mul(threads)?;
        (denominator > 0).then(|| Glm::from_atto(sum.div_ceil(denominator)))
    }

    /// What one hour of one busy CPU thread costs on a node of so many threads, start excluded.
    #[must_use]
    pub fn per_cpu_hour(&self, threads: u32) -> Option<Glm> {
        let usage =
            ExpectedUsage { cpu_load: Load::FULL, duration: Span::hours(1), max_cost: None };
        Self { start: Glm::ZERO, ..*self }.per_cpu_cost(threads, &usage)
    }

    /// What one hour of the whole node costs when its CPUs are busy by `load`, start excluded.
    #[must_use]
    pub fn per_node_hour(&self, threads: u32, load: Load) -> Option<Glm> {
        let usage = ExpectedUsage { cpu_load: load, duration: Span::hours(1), max_cost: None };
        let per_cpu = Self { start: Glm::ZERO, ..*self }.per_cpu_cost(threads, &usage)?;
        per_cpu.as_atto().checked_mul(u128::from(threads)).map(Glm::from_atto)
    }
}

fn amount(value: &Value) -> Result<Glm, PriceError> {
    match value {
        Value::Number(number) => Ok(Glm::parse(number.as_str(), Rounding::Up)?),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(ParseGlmError::NotANumber.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ExpectedUsage, Load, Price, PriceError};
    use crate::{
        units::{Glm, Rounding, Span},
        yagna::Properties,
    };

    fn read(vector: &serde_json::Value, coefficients: &str) -> Result<Price, PriceError> {
        let mut properties = Properties::default();
        properties.set("golem.com.pricing.model", "linear");
        properties.set("golem.com.usage.vector", vector.clone());
        let coefficients: serde_json::Value =
            serde_json::from_str(coefficients).expect("a literal");
        properties.set("golem.com.pricing.model.linear.coeffs", coefficients);
        Price::read(&properties)
    }

    fn glm(text: &str) -> Glm {
        Glm::parse(text, Rounding::Exact).expect("a literal")
    }

    #[test]
    fn coefficients_belong_to_counters_by_name_in_any_order() {
        let usual = read(
            &json!(["golem.usage.cpu_sec", "golem.usage.duration_sec"]),
            "[0.0003, 0.0001, 0.5]",
        );
        let reversed = read(
            &json!(["golem.usage.duration_sec", "golem.usage.cpu_sec"]),
            "[0.0001, 0.0003, 0.5]",
        );

        assert_eq!(usual, reversed);
        assert_eq!(
            usual,
            Ok(Price {
                start: glm("0.5"),
                cpu_second: glm("0.0003"),
                env_second: glm("0.0001"),
                ..Price::default()
            })
        );
    }

    #[test]
    fn a_counter_that_is_not_known_is_harmless_while_it_is_free() {
        let vector = json!(["golem.usage.gpu-sec", "golem.usage.cpu_sec"]);

        let free = read(&vector, "[0, 0.0003, 0]").expect("priced");
        assert_eq!(free.cpu_second, glm("0.0003"));
        assert_eq!(read(&vector, "[0.1, 0.0003, 0]"), Err(PriceError::UnknownCounter));
    }

    #[test]
    fn what_cannot_be_priced_is_an_error() {
        let vector = json!(["golem.usage.cpu_sec"]);

        assert_eq!(read(&vector, "[1]"), Err(PriceError::WrongLength));
        assert_eq!(read(&json!([]), "[]"), Err(PriceError::WrongLength));
        assert_eq!(read(&json!("cpu"), "[1]"), Err(PriceError::Missing));
        assert!(matches!(read(&vector, "[-1, 0]"), Err(PriceError::BadCoefficient(_))));
        assert!(matches!(read(&vector, "[\"1\", 0]"), Err(PriceError::BadCoefficient(_))));
        assert_eq!(
            read(&json!(["cpu-sec", "golem.usage.cpu_sec"]), "[1, 1, 0]"),
            Err(PriceError::RepeatedCounter)
        );
        assert_eq!(Price::read(&Properties::default()), Err(PriceError::NotLinear));
    }

    #[test]
    fn the_cost_of_one_cpu_is_exact() {
        let price = Price {
            start: glm("0.4"),
            cpu_second: glm("0.0001"),
            env_second: glm("0.0002"),
            ..Price::default()
        };
        let usage = ExpectedUsage {
            cpu_load: Load::from_millionths(800_000),
            duration: Span::mins(30),
            max_cost: None,
        };

        // 0.4 / 4 + 0.0002 × 1800 / 4 + 0.0001 × 0.8 × 1800
        assert_eq!(price.per_cpu_cost(4, &usage), Some(glm("0.334")));
        assert_eq!(price.per_cpu_cost(0, &usage), None);
        assert_eq!(price.per_cpu_hour(4), Some(glm("0.54")));
        assert_eq!(price.per_node_hour(4, Load::FULL), Some(glm("2.16")));
        assert_eq!(Price { cpu_second: Glm::MAX, ..price }.per_cpu_cost(4, &usage), None);
    }
}
