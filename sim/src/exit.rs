//! Exit codes of the commands that run drills.

/// Everything held.
pub const PASSED: u8 = 0;
/// A safety invariant is broken.
pub const SAFETY: u8 = 1;
/// Something did not happen that must.
pub const LIVENESS: u8 = 3;
/// A required situation was not met.
pub const NOT_REACHED: u8 = 4;
