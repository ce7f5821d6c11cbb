//! How long to wait before asking again: longer each time, with keyed jitter (K4).

use super::rng::Seed;
use crate::units::Span;

/// Pauses that double from `first` to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backoff {
    first: Span,
    longest: Span,
}

impl Backoff {
    /// For the daemon on this machine: from half a second to half a minute.
    pub const DAEMON: Self = Self { first: Span::millis(500), longest: Span::secs(30) };
    /// For a provider that says no, or nothing: from half a minute to a quarter of an hour.
    pub const BUSY_PROVIDER: Self = Self { first: Span::secs(30), longest: Span::mins(15) };
    /// For a provider whose node did not come up: from two minutes to an hour.
    pub const BROKEN_PROVIDER: Self = Self { first: Span::mins(2), longest: Span::hours(1) };
    /// For a provider that let go of a node that was up: from five minutes to an hour.
    pub const FAITHLESS_PROVIDER: Self = Self { first: Span::mins(5), longest: Span::hours(1) };

    /// The shortest pause there is, whatever the jitter.
    #[must_use]
    pub const fn floor(self) -> Span {
        self.first.over(2)
    }

    /// The pause after `failures` failures in a row: between half of the step and all of it.
    #[must_use]
    pub fn pause(self, failures: u32, seed: Seed, label: &str, ordinal: u64) -> Span {
        let doublings = failures.saturating_sub(1).min(20);
        let step = self.first.times(1 << doublings).min(self.longest);
        let half = step.over(2);
        half.plus(Span::micros(seed.below(half.as_micros(), label, ordinal, u64::from(failures))))
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use crate::{core::rng::Seed, units::Span};

    #[test]
    fn pauses_grow_to_the_longest_and_never_fall_below_the_floor() {
        let pauses: Vec<Span> = (1..40)
            .map(|failures| Backoff::DAEMON.pause(failures, Seed::new(1), "poll", 0))
            .collect();

        assert!(pauses.iter().all(|pause| *pause >= Backoff::DAEMON.floor()));
        assert!(pauses.iter().all(|pause| *pause <= Span::secs(30)));
        assert!(pauses[38] >= Span::secs(15));
    }
}
