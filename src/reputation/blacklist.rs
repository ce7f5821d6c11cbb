//! The blacklist: who is not to be hired, until when, and why.

use rusqlite::params;

use super::{
    Store, StoreError,
    schema::{self, instant},
};
use crate::{units::Timestamp, yagna::ProviderId};

impl Store {
    /// Blocks a provider on a network; an earlier block of it is replaced.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn block(
        &mut self,
        provider: &ProviderId,
        network: &str,
        until: Timestamp,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut write = || {
            let transaction = schema::write(&mut self.connection)?;
            let network = schema::network(&transaction, network)?;
            let provider = schema::provider(&transaction, provider.as_str())?;
            transaction.execute(
                "INSERT OR REPLACE INTO block (provider, network, until, reason)
                 VALUES (?1, ?2, ?3, ?4)",
                params![provider, network, instant(until), reason],
            )?;
            transaction.commit()
        };
        write().map_err(|source| self.failed(source))
    }

    /// Blocks a provider no more; false if nothing is known about it on that network.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn unblock(&mut self, provider: &ProviderId, network: &str) -> Result<bool, StoreError> {
        let mut write = || {
            let transaction = schema::write(&mut self.connection)?;
            // Whoever was blocked stays known, as a record without scores.
            let kept = transaction.execute(
                "INSERT OR IGNORE INTO score (provider, network)
                 SELECT block.provider, block.network FROM block
                 JOIN provider ON provider.id = block.provider
                 JOIN network ON network.id = block.network
                 WHERE node_id = ?1 AND network.name = ?2",
                params![provider.as_str(), network],
            )?;
            let ended = transaction.execute(
                "DELETE FROM block
                 WHERE provider = (SELECT id FROM provider WHERE node_id = ?1)
                 AND network = (SELECT id FROM network WHERE name = ?2)",
                params![provider.as_str(), network],
            )?;
            transaction.commit()?;
            Ok(kept + ended > 0)
        };
        let was_blocked = write().map_err(|source| self.failed(source))?;
        Ok(was_blocked || !self.records(network, std::slice::from_ref(provider))?.is_empty())
    }
}
