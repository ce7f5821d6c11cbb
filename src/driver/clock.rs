//! The wall clock, which is the machine's only clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::units::Timestamp;

/// A sleeping machine looks at the clock this often: after a suspend, deadlines have passed that the
/// runtime's timers do not know of.
const NAP_MAX: Duration = Duration::from_secs(1);

/// The wall clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Sleeps until `deadline` or a little less, but not for long at once.
pub async fn nap_until(deadline: Timestamp) {
    let left = Duration::from_micros(deadline.since(now()).as_micros());
    tokio::time::sleep(left.min(NAP_MAX)).await;
}

/// An instant as people and programs read it, in UTC: `2026-01-01T00:00:00.123456Z`.
#[must_use]
pub fn written(at: Timestamp) -> String {
    let micros = i64::try_from(at.as_unix_micros()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX).to_string()
}
