//! What is known about providers, kept from run to run: scores, the blacklist, our own experience.
//!
//! ```text
//!   service --scores--> +-------+ --list, block, unblock--> cli
//!   db/reputation.sqlite3 (once) | store | --Reputation, plain data--> driver --> core
//!   driver --sightings--> +-------+
//! ```
//!
//! [`Store`] is one SQLite file that several processes may use at once; [`Service`] asks the
//! reputation service. Neither decides anything: the core chooses.

mod blacklist;
mod import;
mod memory;
mod open;
mod records;
mod schema;
mod scores;
mod service;

pub use crate::sqlite::StoreError;
pub use open::{Notice, Opened, Store};
pub use records::Record;
pub use scores::{Applied, Scores};
pub use service::{DEFAULT_URL, Fetched, Service, ServiceError};

use crate::{units::Timestamp, yagna::ProviderId};

/// Blocked until then is blocked for ever: the instant that the original uses for it, 2^32 seconds
/// after the epoch.
pub const FOREVER: Timestamp = Timestamp::from_unix_micros((1 << 32) * 1_000_000);

/// Reads the id of a provider: `0x` and 40 hexadecimal digits, in lower case as the daemon has it.
///
/// # Errors
///
/// A sentence that says what an id looks like.
pub fn provider_id(text: &str) -> Result<ProviderId, String> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    match digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(ProviderId::from(text.to_ascii_lowercase())),
        false => Err(format!("`{text}` is no node id; write 0x and 40 hexadecimal digits")),
    }
}
