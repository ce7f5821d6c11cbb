//! When a cluster ends by itself.

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// When a cluster ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autostop {
    /// After so long without a worker.
    pub idle: Option<Span>,
    /// At this time of each day, since midnight UTC.
    pub at: Option<Span>,
}
