//! Providers that are left alone for a while, longer after each failure.

use std::collections::BTreeMap;

use crate::{
    core::{
        backoff::Backoff,
        rng::{Seed, fingerprint},
    },
    units::Timestamp,
    yagna::ProviderId,
};

/// More providers than this in trouble, and the one whose pause ends first is forgotten.
const KNOWN_MAX: usize = 10_000;

/// Failures in a row and the end of the pause, by provider.
#[derive(Debug, Default)]
pub(in crate::core) struct Troubles(BTreeMap<ProviderId, (u32, Timestamp)>);

impl Troubles {
    /// Leaves a provider alone for a while, from `now` on.
    pub(in crate::core) fn blame(&mut self, provider: &ProviderId, seed: Seed, now: Timestamp) {
        if self.0.len() >= KNOWN_MAX
            && let Some(first) =
                self.0.iter().min_by_key(|(_, (_, until))| *until).map(|(id, _)| id.clone())
        {
            self.0.remove(&first);
        }
        let trouble = self.0.entry(provider.clone()).or_insert((0, Timestamp::EPOCH));
        trouble.0 = trouble.0.saturating_add(1);
        let name = fingerprint(provider.as_str().as_bytes());
        trouble.1 = now.plus(Backoff::PROVIDER.pause(trouble.0, seed, "provider", name));
    }

    /// It did well.
    pub(in crate::core) fn clear(&mut self, provider: &ProviderId) {
        self.0.remove(provider);
    }

    /// Until when a provider is left alone, if it is.
    pub(in crate::core) fn until(
        &self,
        provider: &ProviderId,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.0.get(provider).map(|trouble| trouble.1).filter(|until| *until > now)
    }
}
