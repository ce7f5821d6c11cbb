//! The two quantities that everything else is made of: time and money.
//!
//! Both are integers. Nothing below this module knows what Golem or Ray is.

pub mod money;
pub mod time;

pub use money::{Glm, ParseGlmError, Rounding};
pub use time::{Span, Timestamp};
