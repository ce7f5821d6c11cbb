//! A simulated Golem network: a whole market of providers under virtual time.
//!
//! Everything but `main` is pure: the same scenario and the same seed give the same bytes on every
//! machine.

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod fault;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod provider;
#[deny(clippy::disallowed_methods)]
pub mod scenario;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod yagna;
