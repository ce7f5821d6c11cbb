//! When a cluster ends by itself.

use serde::{Deserialize, Serialize};

use crate::units::{Span, Timestamp};

/// When a cluster ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autostop {
    /// After so long without use, from when the head is up.
    pub idle: Option<Span>,
    /// At this time of each day, since midnight UTC.
    pub at: Option<Span>,
}

impl Autostop {
    /// The first instant after `after` at which it ends by the time of day; none without one.
    #[must_use]
    pub fn next_stop(&self, after: Timestamp) -> Option<Timestamp> {
        let day = Span::days(1).as_micros();
        let at = self.at?.as_micros().checked_rem(day)?;
        let midnight = after.as_unix_micros().checked_div(day)?.checked_mul(day)?;
        let today = Timestamp::from_unix_micros(midnight.saturating_add(at));
        Some(if today > after { today } else { today.plus(Span::days(1)) })
    }
}
