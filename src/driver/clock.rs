//! The wall clock, which is the machine's only clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::units::{Span, Timestamp};

/// A sleeping machine looks at the clock this often: after a suspend, deadlines have passed that the
/// runtime's timers do not know of.
const NAP_MAX: Duration = Duration::from_secs(1);

/// The wall clock as the machine is told it: it never goes back, and never stands still.
///
/// A system that was suspended, or whose clock was set forward, has simply gone on. Where its clock was
/// set back, this one goes on from where it was: deadlines do not move away with the correction, and bills are judged by
/// how long a node ran. But the daemon, which dates what happens, has no such clock: [`Clock::was_set_back`] tells.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    latest: Timestamp,
    at: Instant,
    /// How far it is ahead of the wall clock.
    ahead: Span,
    /// How far it was when that was told.
    told: Span,
}

/// A clock that is kept right is set back by less than this.
const STEP_MIN: Span = Span::secs(30);

impl Clock {
    /// A clock that goes on from what was written before, also if that was written in what is now the future.
    #[must_use]
    pub fn after(written: Timestamp) -> Self {
        let wall = now();
        let latest = wall.max(written);
        Self { latest, at: Instant::now(), ahead: latest.since(wall), told: Span::ZERO }
    }

    /// Whether the wall clock was set back since this was asked last.
    pub fn was_set_back(&mut self) -> bool {
        let is_news = self.ahead >= self.told.plus(STEP_MIN);
        if is_news || self.ahead < self.told {
            self.told = self.ahead;
        }
        is_news
    }

    /// The present.
    pub fn now(&mut self) -> Timestamp {
        self.read(Instant::now(), now())
    }

    /// The present, as the steady clock and the wall clock tell it.
    fn read(&mut self, at: Instant, wall: Timestamp) -> Timestamp {
        let passed = at.saturating_duration_since(self.at).as_micros();
        let passed = Span::micros(u64::try_from(passed).unwrap_or(u64::MAX));
        let latest = self.latest.plus(passed).max(wall);
        *self = Self { latest, at, ahead: latest.since(wall), ..*self };
        self.latest
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::after(Timestamp::EPOCH)
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
        let mut clock = at_noon(start);
        let mut tick = |seconds, wall| {
            let now = clock.read(start + Duration::from_secs(seconds), wall);
            (now, clock.was_set_back())
        };

        let before = NOON.minus(Span::hours(1));
        assert_eq!(tick(0, NOON), (NOON, false));
        assert_eq!(tick(1, before), (NOON.plus(Span::secs(1)), true));
        assert_eq!(tick(5, before.plus(Span::secs(4))), (NOON.plus(Span::secs(5)), false));
        // An hour later both agree again.
        let later = NOON.plus(Span::secs(3_700));
        assert_eq!(tick(3_700, later), (later, false));
        assert_eq!(tick(3_700, before), (later, true), "a second time");
    }

    #[test]
    fn a_clock_goes_on_from_what_was_written_in_the_future() {
        let written = super::now().plus(Span::days(700));

        let mut clock = Clock::after(written);

        assert!(clock.now() >= written);
        assert!(clock.was_set_back());
        assert!(!clock.was_set_back());
        assert!(!Clock::after(Timestamp::EPOCH).was_set_back());
    }

    fn at_noon(at: Instant) -> Clock {
        Clock { latest: NOON, at, ahead: Span::ZERO, told: Span::ZERO }
    }

    #[test]
    fn a_suspended_system_has_gone_on() {
        let start = Instant::now();
        let mut clock = at_noon(start);

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
