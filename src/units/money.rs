//! Money is an integer number of attoGLM (10⁻¹⁸ GLM). No floats, no bare operators.
//!
//! Decimal text is read exactly; where it has more than 18 decimals the caller says which way to
//! round. Prices are rounded up, so that a limit is never passed by rounding.
#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic, clippy::disallowed_types)]

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

const DECIMALS: usize = 18;
const ATTO_PER_GLM: u128 = 1_000_000_000_000_000_000;

/// The longest decimal text that is read; longer text is refused, whatever it says.
const TEXT_LENGTH_MAX: usize = 128;

/// An amount of GLM, in attoGLM; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glm(u128);

/// What to do with decimals beyond the eighteenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Towards more: for prices and costs.
    Up,
    /// Towards less.
    Down,
    /// Refuse such text: for amounts that must be exact.
    Exact,
}

/// Why text is not an amount of GLM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseGlmError {
    /// The text is not a decimal number.
    #[error("not a decimal number")]
    NotANumber,
    /// The number is below zero.
    #[error("below zero")]
    Negative,
    /// The number is larger than any amount of GLM can be.
    #[error("too large")]
    TooLarge,
    /// The number has more than 18 decimals, and rounding was not asked for.
    #[error("more than 18 decimals")]
    TooPrecise,
}

impl Glm {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than there will ever be.
    pub const MAX: Self = Self(u128::MAX);

    /// An amount of whole GLM.
    #[must_use]
    pub const fn from_whole(glm: u64) -> Self {
        // Cannot overflow: u64::MAX * 10^18 < 2^124.
        Self((glm as u128).saturating_mul(ATTO_PER_GLM))
    }

    /// An amount of attoGLM.
    #[must_use]
    pub const fn from_atto(atto: u128) -> Self {
        Self(atto)
    }

    /// The amount in attoGLM.
    #[must_use]
    pub const fn as_atto(self) -> u128 {
        self.0
    }

    /// Reads decimal text: digits, an optional point, an optional exponent.
    ///
    /// The daemon writes prices as JSON numbers, which may carry an exponent
    /// (`2.7777777777777777e-5`), and amounts as strings with trailing zeros (`13.14000`).
    ///
    /// # Errors
    ///
    /// Says why the text is not an amount; text of any shape is safe to pass.
    pub fn parse(text: &str, rounding: Rounding) -> Result<Self, ParseGlmError> {
        let decimal = Decimal::read(text)?;
        if decimal.digits.is_empty() {
            return Ok(Self::ZERO);
        }
        if decimal.negative {
            return Err(ParseGlmError::Negative);
        }
        decimal.scaled(DECIMALS, rounding).map(Self)
    }

    /// The sum, or `None` if it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(atto) => Some(Self(atto)),
            None => None,
        }
    }

    /// The sum; an amount that does not fit becomes [`Glm::MAX`].
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left after `other`; nothing if `other` is more.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This amount `factor` times; an amount that does not fit becomes [`Glm::MAX`].
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor as u128))
    }

    /// This amount × `numerator` ÷ `denominator`, rounded up; `None` if it does not fit.
    #[must_use]
    pub fn scaled_up(self, numerator: u64, denominator: u64) -> Option<Self> {
        let product = self.0.checked_mul(u128::from(numerator))?;
        match denominator {
            0 => None,
            _ => Some(Self(product.div_ceil(u128::from(denominator)))),
        }
    }

    /// This amount rounded up to at most `decimals` decimals, for people to read.
    #[must_use]
    pub fn rounded_up(self, decimals: u8) -> Self {
        let dropped = u32::from(18_u8.saturating_sub(decimals));
        let step = 10_u128.saturating_pow(dropped);
        Self(self.0.div_ceil(step).saturating_mul(step))
    }
}

impl fmt::Display for Glm {
    /// Writes the exact amount without a unit and without trailing zeros: `0.5`, `12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / ATTO_PER_GLM, self.0 % ATTO_PER_GLM);
        if rest == 0 {
            return f.pad(&whole.to_string());
        }
        let fraction = format!("{rest:018}");
        f.pad(&format!("{whole}.{}", fraction.trim_end_matches('0')))
    }
}

impl Serialize for Glm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Glm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text, Rounding::Exact).map_err(de::Error::custom)
    }
}

/// Reads decimal text as an integer of 10^-`decimals`.
///
/// The one reader of decimals for quantities that are not money, such as an expected load.
///
/// # Errors
///
/// As [`Glm::parse`].
pub fn parse_scaled(
    text: &str,
    decimals: usize,
    rounding: Rounding,
) -> Result<u128, ParseGlmError> {
    let decimal = Decimal::read(text)?;
    match (decimal.digits.is_empty(), decimal.negative) {
        (true, _) => Ok(0),
        (false, true) => Err(ParseGlmError::Negative),
        (false, false) => decimal.scaled(decimals, rounding),
    }
}

/// A decimal number as written: `digits` × 10^`exponent`, without leading zeros.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn read(text: &str) -> Result<Self, ParseGlmError> {
        if text.len() > TEXT_LENGTH_MAX {
            return Err(ParseGlmError::NotANumber);
        }
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len().saturating_add(fraction.len()) == 0
            || !all_digits(whole)
            || !all_digits(fraction)
        {
            return Err(ParseGlmError::NotANumber);
        }
        let digits = whole
            .bytes()
            .chain(fraction.bytes())
            .skip_while(|byte| *byte == b'0')
            .map(|byte| byte.saturating_sub(b'0'))
            .collect();
        let fraction_length =
            i64::try_from(fraction.len()).map_err(|_| ParseGlmError::NotANumber)?;
        Ok(Self { negative, digits, exponent: exponent.saturating_sub(fraction_length) })
    }

    fn scaled(&self, decimals: usize, rounding: Rounding) -> Result<u128, ParseGlmError> {
        let decimals = i64::try_from(decimals).map_err(|_| ParseGlmError::TooPrecise)?;
        let shift = self.exponent.saturating_add(decimals);
        let kept = match usize::try_from(shift.saturating_neg()) {
            Ok(dropped) => self.digits.len().saturating_sub(dropped),
            Err(_) => self.digits.len(),
        };
        let mut value: u128 = 0;
        for digit in self.digits.iter().take(kept) {
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(u128::from(*digit)))
                .ok_or(ParseGlmError::TooLarge)?;
        }
        if let Ok(zeros) = u32::try_from(shift) {
            let factor = 10_u128.checked_pow(zeros).ok_or(ParseGlmError::TooLarge)?;
            value = value.checked_mul(factor).ok_or(ParseGlmError::TooLarge)?;
        } else if shift > 0 {
            return Err(ParseGlmError::TooLarge);
        }
        let lost = self.digits.iter().skip(kept).any(|digit| *digit != 0);
        match (lost, rounding) {
            (false, _) | (true, Rounding::Down) => Ok(value),
            (true, Rounding::Up) => value.checked_add(1).ok_or(ParseGlmError::TooLarge),
            (true, Rounding::Exact) => Err(ParseGlmError::TooPrecise),
        }
    }
}

fn read_exponent(text: &str) -> Result<i64, ParseGlmError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseGlmError::NotANumber);
    }
    text.parse().map_err(|_| ParseGlmError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::{Glm, ParseGlmError, Rounding};

    fn up(text: &str) -> Result<String, ParseGlmError> {
        Glm::parse(text, Rounding::Up).map(|glm| glm.to_string())
    }

    #[test]
    fn decimal_text_is_read_exactly() {
        assert_eq!(up("13.14000"), Ok("13.14".to_owned()));
        assert_eq!(up("1e-18"), Ok("0.000000000000000001".to_owned()));
        assert_eq!(up("2.5E3"), Ok("2500".to_owned()));
        assert_eq!(up("0.0"), Ok("0".to_owned()));
        assert_eq!(up("-0.0"), Ok("0".to_owned()));
        assert_eq!(up(".5"), Ok("0.5".to_owned()));
    }

    #[test]
    fn decimals_beyond_the_eighteenth_are_rounded_as_asked() {
        let text = "0.00013888888888888889";

        assert_eq!(up(text), Ok("0.000138888888888889".to_owned()));
        assert_eq!(Glm::parse(text, Rounding::Down).map(Glm::as_atto), Ok(138_888_888_888_888));
        assert_eq!(Glm::parse(text, Rounding::Exact), Err(ParseGlmError::TooPrecise));
        assert_eq!(up("1e-400"), Ok("0.000000000000000001".to_owned()));
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", "-", ".", "e5", "1e", "1e+", "0x1", "NaN", "inf", "1_0", "١", "1 "] {
            assert_eq!(up(text), Err(ParseGlmError::NotANumber), "{text:?}");
        }
        assert_eq!(up("-0.1"), Err(ParseGlmError::Negative));
        assert_eq!(up("1e22"), Err(ParseGlmError::TooLarge));
        assert_eq!(up("1e99999999999999999999"), Err(ParseGlmError::TooLarge));
        assert_eq!(up(&"9".repeat(200)), Err(ParseGlmError::NotANumber));
    }

    #[test]
    fn a_price_per_hour_becomes_one_per_second_without_passing_its_limit() {
        let limit = Glm::parse("0.5", Rounding::Exact).expect("a literal");

        assert_eq!(limit.scaled_up(1, 3600), Some(Glm::from_atto(138_888_888_888_889)));
        assert_eq!(limit.scaled_up(1, 0), None);
        assert_eq!(Glm::MAX.scaled_up(2, 1), None);
    }
}
