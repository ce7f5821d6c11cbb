//! Exit codes of the commands that run drills.

/// Everything held.
pub(crate) const PASSED: u8 = 0;
/// A safety invariant is broken.
pub(crate) const SAFETY: u8 = 1;
/// Something did not happen that must.
pub(crate) const LIVENESS: u8 = 3;
/// A required situation was not met.
pub(crate) const NOT_REACHED: u8 = 4;
