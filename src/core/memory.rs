//! What we have seen of providers since what is known of them was last told: it counts at once.

use std::collections::BTreeMap;

use super::{
    experience::{Experience, Observation, Sighting},
    reputation::Reputation,
};
use crate::{
    units::Timestamp,
    yagna::{PlatformId, ProviderId},
};

/// Experience that is younger than what was told, by provider.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<PlatformId, BTreeMap<ProviderId, Experience>>);

impl Memory {
    /// Takes up a sighting, on top of what was told; prices and offers are for the store alone.
    pub(super) fn add(&mut self, sighting: &Sighting, told: &Reputation, now: Timestamp) {
        let Sighting { provider, platform, what } = sighting;
        if matches!(what, Observation::Offered { .. }) {
            return;
        }
        let told = || {
            let standing = told.0.get(provider);
            standing.and_then(|it| it.experience.as_deref()).cloned().unwrap_or_default()
        };
        let of_platform = self.0.entry(platform.clone()).or_default();
        of_platform.entry(provider.clone()).or_insert_with(told).add(what, now);
    }

    /// What is told from now on has everything that was seen so far.
    pub(super) fn forget(&mut self, platform: &PlatformId) {
        self.0.remove(platform);
    }

    /// The experience with a provider, if some of it was not told.
    pub(super) fn get(&self, platform: &PlatformId, provider: &ProviderId) -> Option<&Experience> {
        self.0.get(platform)?.get(provider)
    }
}
