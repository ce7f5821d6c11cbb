//! Ray on Golem: runs Ray clusters on the Golem Network.
//!
//! `units`, `yagna` (but for its client), `core`, and `config` are pure: no clock, no randomness of
//! their own, no I/O. `driver` and `cli` are the shell around them.

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod config;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod core;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod units;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod yagna;
