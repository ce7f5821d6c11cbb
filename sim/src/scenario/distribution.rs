//! How a population's values are spread. Values are counted in billionths, so that sums and prices
//! stay exact; only the two bell curves pass through floats, by functions that give the same bits on
//! every machine.
#![expect(clippy::disallowed_types, reason = "bell curves need floats; `libm` makes them portable")]

use ray_on_golem::{
    config::yaml::{Field, YamlError},
    core::rng::Seed,
    units::money::Rounding,
};

/// One, in billionths.
pub const ONE: u64 = 1_000_000_000;
const DECIMALS: usize = 9;

/// A spread of values, in billionths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    shape: Shape,
    min: u64,
    max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Fixed(u64),
    /// Values and their weights.
    Choice(Vec<(u64, u64)>),
    Uniform(u64, u64),
    Normal {
        mean: u64,
        deviation: u64,
    },
    /// A bell curve of the logarithm, with this median.
    LogNormal {
        median: u64,
        sigma: u64,
    },
}

impl Distribution {
    /// Always the same value, in billionths.
    #[must_use]
    pub const fn fixed(value: u64) -> Self {
        Self { shape: Shape::Fixed(value), min: 0, max: u64::MAX }
    }

    /// Evenly between two values, in billionths.
    #[must_use]
    pub const fn uniform(from: u64, to: u64) -> Self {
        Self { shape: Shape::Uniform(from, to), min: 0, max: u64::MAX }
    }

    /// Reads `5`, `{fixed: 5}`, `{choice: [1, 2]}`, `{choice: {"1": 3, "2": 1}}`,
    /// `{uniform: [1, 2]}`, `{normal: {mean: 5, deviation: 1}}`, or
    /// `{lognormal: {median: 5, sigma: 0.5}}`; a map may also carry `min` and `max`.
    ///
    /// # Errors
    ///
    /// Says which key is wrong, and what to write.
    pub fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let Ok(section) = field.section() else {
            return Ok(Self::fixed(value(field)?));
        };
        const SHAPES: [&str; 5] = ["fixed", "choice", "uniform", "normal", "lognormal"];
        section.deny_unknown(&[
            "fixed",
            "choice",
            "uniform",
            "normal",
            "lognormal",
            "min",
            "max",
        ])?;
        let mut shapes = section.fields().filter(|(key, _)| SHAPES.contains(key));
        let (Some((shape, spread)), None) = (shapes.next(), shapes.next()) else {
            return Err(field.error(
                "is no spread of values; write a number, or exactly one of `fixed`, `choice`, \
                 `uniform`, `normal`, and `lognormal`",
            ));
        };
        let shape = match shape {
            "choice" => choice(&spread)?,
            "uniform" => uniform(&spread)?,
            "normal" => {
                let spread = spread.section()?;
                spread.deny_unknown(&["mean", "deviation"])?;
                let mean = value(&spread.required("mean")?)?;
                Shape::Normal { mean, deviation: value(&spread.required("deviation")?)? }
            }
            "lognormal" => {
                let spread = spread.section()?;
                spread.deny_unknown(&["median", "sigma"])?;
                let median = value(&spread.required("median")?)?;
                Shape::LogNormal { median, sigma: value(&spread.required("sigma")?)? }
            }
            _ => Shape::Fixed(value(&spread)?),
        };
        let min = section.read("min", value)?.unwrap_or(0);
        let max = section.read("max", value)?.unwrap_or(u64::MAX);
        if min > max {
            return Err(field.error("has a `min` above its `max`; swap them"));
        }
        Ok(Self { shape, min, max })
    }

    /// The same spread with all values divided; a divisor of 0 counts as 1.
    #[must_use]
    pub fn over(&self, divisor: u64) -> Self {
        let over = |value: &u64| value / divisor.max(1);
        let shape = match &self.shape {
            Shape::Fixed(value) => Shape::Fixed(over(value)),
            Shape::Choice(choices) => {
                let choices = choices.iter().map(|(value, weight)| (over(value), *weight));
                Shape::Choice(choices.collect())
            }
            Shape::Uniform(from, to) => Shape::Uniform(over(from), over(to)),
            Shape::Normal { mean, deviation } => {
                Shape::Normal { mean: over(mean), deviation: over(deviation) }
            }
            Shape::LogNormal { median, sigma } => {
                Shape::LogNormal { median: over(median), sigma: *sigma }
            }
        };
        let max = if self.max == u64::MAX { u64::MAX } else { over(&self.max) };
        Self { shape, min: over(&self.min), max }
    }

    /// No draw is below it.
    #[must_use]
    pub fn least(&self) -> u64 {
        let least = match &self.shape {
            Shape::Fixed(value) => *value,
            Shape::Choice(choices) => choices.iter().map(|(value, _)| *value).min().unwrap_or(0),
            Shape::Uniform(from, _) => *from,
            Shape::Normal { .. } | Shape::LogNormal { .. } => 0,
        };
        least.clamp(self.min, self.max)
    }

    /// The value of the draw named by `label` and two ordinals, in billionths.
    #[must_use]
    pub fn sample(&self, seed: Seed, label: &str, first: u64, second: u64) -> u64 {
        let value = match &self.shape {
            Shape::Fixed(value) => *value,
            Shape::Choice(choices) => {
                let total = choices.iter().map(|(_, weight)| weight).sum();
                let mut drawn = seed.below(total, label, first, second);
                let hit = choices.iter().find(|(_, weight)| {
                    let is_hit = drawn < *weight;
                    drawn = drawn.saturating_sub(*weight);
                    is_hit
                });
                hit.map_or(0, |(value, _)| *value)
            }
            Shape::Uniform(from, to) => {
                from + seed.below((to - from).saturating_add(1), label, first, second)
            }
            Shape::Normal { mean, deviation } => {
                let bell = standard_normal(seed, label, first, second);
                to_billionths(*mean as f64 + bell * *deviation as f64)
            }
            Shape::LogNormal { median, sigma } => {
                let bell = standard_normal(seed, label, first, second);
                to_billionths(*median as f64 * libm::exp(bell * (*sigma as f64 / ONE as f64)))
            }
        };
        value.clamp(self.min, self.max)
    }
}

fn value(field: &Field<'_>) -> Result<u64, YamlError> {
    u64::try_from(field.scaled(DECIMALS, Rounding::Exact)?)
        .map_err(|_| field.error("is too large; write a number below 18 billion"))
}

fn uniform(spread: &Field<'_>) -> Result<Shape, YamlError> {
    let ends = spread.list()?;
    let [from, to] = ends.as_slice() else {
        return Err(spread.error("needs two numbers, such as `[1, 2]`"));
    };
    let (from, to) = (value(from)?, value(to)?);
    if from > to {
        return Err(spread.error("begins above its end; swap the two numbers"));
    }
    Ok(Shape::Uniform(from, to))
}

fn choice(spread: &Field<'_>) -> Result<Shape, YamlError> {
    let choices = match spread.list() {
        Ok(items) => {
            items.iter().map(|item| Ok((value(item)?, 1))).collect::<Result<Vec<_>, YamlError>>()?
        }
        Err(_) => {
            let mut choices = Vec::new();
            for (key, weight) in spread.section()?.fields() {
                let value =
                    ray_on_golem::units::money::parse_scaled(key, DECIMALS, Rounding::Exact)
                        .ok()
                        .and_then(|value| u64::try_from(value).ok())
                        .ok_or_else(|| weight.error("is no number; write `value: weight`"))?;
                choices.push((value, weight.whole(1..=1_000_000_u64)?));
            }
            choices
        }
    };
    if choices.is_empty() {
        return Err(spread.error("is empty; write at least one value"));
    }
    Ok(Shape::Choice(choices))
}

/// A draw from the bell curve of mean 0 and deviation 1 (Box and Muller).
fn standard_normal(seed: Seed, label: &str, first: u64, second: u64) -> f64 {
    let bits = seed.draw(label, first, second);
    let unit = |bits: u64| ((bits as u32) as f64 + 0.5) / 4_294_967_296.0;
    let (radius, angle) = (unit(bits), unit(bits >> 32));
    libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(2.0 * std::f64::consts::PI * angle)
}

/// Casting from float saturates, and makes 0 of what is no number.
fn to_billionths(value: f64) -> u64 {
    libm::round(value) as u64
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{
        config::yaml::{self, Section},
        core::rng::Seed,
    };

    use super::{Distribution, ONE};

    fn read(text: &str) -> Result<Distribution, String> {
        let tree = yaml::parse(format!("d: {text}").as_bytes()).expect("yaml");
        let section = Section::new(&tree, "").expect("a map");
        Distribution::read(&section.required("d").expect("there"))
            .map_err(|error| error.to_string())
    }

    fn mean(distribution: &Distribution) -> u64 {
        let sum: u128 =
            (0..10_000).map(|n| u128::from(distribution.sample(Seed::new(1), "x", n, 0))).sum();
        u64::try_from(sum / 10_000).expect("small")
    }

    #[test]
    fn every_shape_is_centred_where_it_says() {
        for (text, low, high) in [
            ("5", 5 * ONE, 5 * ONE),
            ("{uniform: [4, 6]}", 495 * ONE / 100, 505 * ONE / 100),
            ("{choice: [4, 6]}", 495 * ONE / 100, 505 * ONE / 100),
            ("{choice: {'0': 1, '8': 3}}", 590 * ONE / 100, 610 * ONE / 100),
            ("{normal: {mean: 5, deviation: 1}}", 495 * ONE / 100, 505 * ONE / 100),
            // The mean of a log-normal is median × e^(σ²/2).
            ("{lognormal: {median: 5, sigma: 0.5}}", 555 * ONE / 100, 580 * ONE / 100),
            ("{normal: {mean: 5, deviation: 9}, min: 5, max: 5}", 5 * ONE, 5 * ONE),
        ] {
            let mean = mean(&read(text).expect(text));
            assert!((low..=high).contains(&mean), "{text}: {mean}");
        }
    }

    #[test]
    fn the_same_draw_gives_the_same_bits_everywhere() {
        let normal = read("{lognormal: {median: 1, sigma: 1}}").expect("sound");

        assert_eq!(normal.sample(Seed::new(1), "x", 2, 3), normal.sample(Seed::new(1), "x", 2, 3));
        assert_eq!(normal.sample(Seed::new(1), "golden", 0, 0), 1_551_285_268);
    }

    #[test]
    fn what_is_no_spread_is_refused() {
        for text in [
            "{}",
            "{fixed: 1, choice: [2]}",
            "{uniform: [2, 1]}",
            "{uniform: [1]}",
            "{normal: {mean: 1}}",
            "{gauss: 1}",
            "-1",
            "{choice: []}",
            "{fixed: 1, min: 3, max: 2}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
