//! Ray on Golem: runs Ray clusters on the Golem Network.
//!
//! `units`, `tcp`, `yagna` (but for its clients), `core`, `journal`, `recording`, and `config` are pure: no clock, no
//! randomness of their own, no I/O. `driver`, `files`, `http`, `network`, `registry`, `server`, `ssh`, and `cli` are the
//! shell around them.

#[expect(clippy::disallowed_types, reason = "the I/O shell")]
pub mod bills;
#[expect(clippy::disallowed_methods, reason = "the I/O shell")]
pub mod cli;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod config;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod core;
#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the I/O shell")]
pub mod doctor;
#[expect(clippy::disallowed_types, reason = "the I/O shell")]
pub mod driver;
pub(crate) mod files;
#[expect(clippy::disallowed_types, reason = "the I/O shell")]
pub mod http;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod journal;
#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the I/O shell")]
pub mod network;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod recording;
pub mod registry;
pub mod reputation;
#[expect(clippy::disallowed_types, reason = "the I/O shell")]
pub mod server;
#[expect(clippy::disallowed_types, reason = "the I/O shell")]
pub(crate) mod sqlite;
#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the I/O shell")]
pub mod ssh;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod tcp;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod units;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod yagna;
