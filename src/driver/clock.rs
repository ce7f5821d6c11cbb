//! The wall clock, which is the machine's only clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::units::{Span, Timestamp};

/// A sleeping machine looks at the clock this often: after a suspend, deadlines have passed that the
/// runtime's timers do not know of.
const NAP_MAX: Duration = Duration::from_secs(1);

/// The wall clock as the machine is told it: it never goes back, and never stands still.
///
/// A system that was suspended, or whose clock was set forward, has simply gone on. Where its clock was
/// set back, this one goes on from where it was: deadlines do not move away with the correction.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    latest: Timestamp,
    at: Instant,
}

impl Clock {
    /// The present.
    pub fn now(&mut self) -> Timestamp {
        self.read(Instant::now(), now())
    }

    /// The present, as the steady clock and the wall clock tell it.
    fn read(&mut self, at: Instant, wall: Timestamp) -> Timestamp {
        let passed = at.saturating_duration_since(self.at).as_micros();
        let passed = Span::micros(u64::try_from(passed).unwrap_or(u64::MAX));
        *self = Self { latest: self.latest.plus(passed).max(wall), at };
        self.latest
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self { latest: now(), at: Instant::now() }
    }
}

/// The wall clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Sleeps from `now` until `deadline` or a little less, but not for long at once.
pub async fn nap(now: Timestamp, deadline: Timestamp) {
    tokio::time::sleep(length_of_nap(now, deadline)).await;
}

fn length_of_nap(now: Timestamp, deadline: Timestamp) -> Duration {
    Duration::from_micros(deadline.since(now).as_micros()).min(NAP_MAX)
}

/// An instant as people and programs read it, in UTC: `2026-01-01T00:00:00.123456Z`.
#[must_use]
pub fn written(at: Timestamp) -> String {
    let micros = i64::try_from(at.as_unix_micros()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Clock, NAP_MAX, length_of_nap};
    use crate::units::{Span, Timestamp};

    const NOON: Timestamp = Timestamp::from_unix_micros(1_700_000_000_000_000);

    #[test]
    fn a_clock_that_is_set_back_goes_on() {
        let start = Instant::now();
        let mut clock = Clock { latest: NOON, at: start };
        let mut tick = |seconds, wall| clock.read(start + Duration::from_secs(seconds), wall);

        let before = NOON.minus(Span::hours(1));
        assert_eq!(tick(1, before), NOON.plus(Span::secs(1)));
        assert_eq!(tick(5, before.plus(Span::secs(4))), NOON.plus(Span::secs(5)));
        // An hour later both agree again.
        assert_eq!(tick(3_700, NOON.plus(Span::secs(3_700))), NOON.plus(Span::secs(3_700)));
    }

    #[test]
    fn a_suspended_system_has_gone_on() {
        let start = Instant::now();
        let mut clock = Clock { latest: NOON, at: start };

        // The steady clock does not count a suspend.
        let woken = NOON.plus(Span::hours(8));
        assert_eq!(clock.read(start + Duration::from_millis(3), woken), woken);
    }

    #[test]
    fn nobody_sleeps_through_a_suspend() {
        assert_eq!(length_of_nap(NOON, Timestamp::NEVER), NAP_MAX);
        let soon = NOON.plus(Span::millis(20));
        assert_eq!(length_of_nap(NOON, soon), Duration::from_millis(20));
        assert_eq!(length_of_nap(soon, NOON), Duration::ZERO);
    }
}
