//! The only clock of the pure modules: microseconds since the Unix epoch.
//!
//! A `Timestamp` can be journalled and replayed, which `Instant` cannot. All arithmetic saturates:
//! an absurd deadline becomes "never", not a panic.
#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)]

use std::fmt;

use serde::{Deserialize, Serialize};

const MICROS_PER_MILLI: u64 = 1_000;
const MICROS_PER_SECOND: u64 = 1_000_000;

/// A length of time in microseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Span(u64);

/// An instant, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The smallest step of the clock.
    pub const TICK: Self = Self(1);

    /// A span of `micros` microseconds.
    #[must_use]
    pub const fn micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A span of `millis` milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(millis.saturating_mul(MICROS_PER_MILLI))
    }

    /// A span of `secs` seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self(secs.saturating_mul(MICROS_PER_SECOND))
    }

    /// A span of `mins` minutes.
    #[must_use]
    pub const fn mins(mins: u64) -> Self {
        Self::secs(mins.saturating_mul(60))
    }

    /// A span of `hours` hours.
    #[must_use]
    pub const fn hours(hours: u64) -> Self {
        Self::mins(hours.saturating_mul(60))
    }

    /// A span of `days` days.
    #[must_use]
    pub const fn days(days: u64) -> Self {
        Self::hours(days.saturating_mul(24))
    }

    /// The length in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The length in whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / MICROS_PER_MILLI
    }

    /// The length in whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / MICROS_PER_SECOND
    }

    /// Both spans, one after the other.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of this span after `other`; nothing if `other` is longer.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This span `factor` times over.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// This span divided by `divisor`, rounded down; a divisor of 0 counts as 1.
    #[must_use]
    pub const fn over(self, divisor: u64) -> Self {
        match self.0.checked_div(divisor) {
            Some(micros) => Self(micros),
            None => self,
        }
    }
}

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// An instant that no clock reaches.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_unix_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_unix_millis(self) -> u64 {
        self.0 / MICROS_PER_MILLI
    }

    /// The instant `span` later.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The instant `span` earlier, not before the epoch.
    #[must_use]
    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Span {
    /// Writes seconds with as many decimals as are needed: `0.25 s`, `90 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, micros) = (self.0 / MICROS_PER_SECOND, self.0 % MICROS_PER_SECOND);
        if micros == 0 {
            return write!(f, "{secs} s");
        }
        let fraction = format!("{micros:06}");
        write!(f, "{secs}.{} s", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::{Span, Timestamp};

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::NEVER.plus(Span::days(1)), Timestamp::NEVER);
        assert_eq!(Timestamp::EPOCH.minus(Span::TICK), Timestamp::EPOCH);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::NEVER), Span::ZERO);
        assert_eq!(Span::days(u64::MAX), Span::micros(u64::MAX));
        assert_eq!(Span::secs(1).over(0), Span::secs(1));
    }

    #[test]
    fn a_span_prints_in_seconds() {
        assert_eq!(Span::mins(5).to_string(), "300 s");
        assert_eq!(Span::millis(250).to_string(), "0.25 s");
    }
}
