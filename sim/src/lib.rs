//! A simulated Golem network: a whole market of providers under virtual time.
//!
//! Everything but `main`, `nodes`, and `serve` is pure: the same scenario and the same seed give the same bytes on
//! every machine.

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
#[expect(clippy::wildcard_enum_match_arm, reason = "an auditor looks at the few calls it knows")]
pub mod auditor;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod checker;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod drill;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod fault;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod meter;
#[expect(clippy::disallowed_types, reason = "the I/O shell")]
pub mod nodes;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod original;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod plan;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod policy;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod provider;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod report;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod scenario;
#[expect(clippy::disallowed_types, reason = "the I/O shell")]
#[expect(clippy::result_large_err, reason = "a refusal is a whole response, one for each request")]
pub mod serve;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod world;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod yagna;

#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod prices;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod wire;
