//! What is known about providers beside their offers: blame, praise, and our own experience.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::experience::Experience;
use crate::{units::Timestamp, yagna::ProviderId};

/// One provider's standing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Not hired before this instant; none means that it was never blamed.
    pub blacklisted_until: Option<Timestamp>,
    /// The share of time it was reachable, in millionths.
    pub uptime: Option<u32>,
    /// The share of its tasks that succeeded, in millionths.
    pub success_rate: Option<u32>,
    /// Our own experience with it, if there is any. It has a store of its own: requests for nodes, and
    /// so journals, are without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experience: Option<Arc<Experience>>,
}

/// Every provider's standing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reputation(pub BTreeMap<ProviderId, Standing>);

impl Reputation {
    /// Whether `provider` must not be hired at `now`.
    #[must_use]
    pub fn is_blacklisted(&self, provider: &ProviderId, now: Timestamp) -> bool {
        self.0
            .get(provider)
            .and_then(|standing| standing.blacklisted_until)
            .is_some_and(|until| until > now)
    }

    /// (uptime + ½ success rate) ÷ 1½ in millionths; a missing part counts as 0. None for a
    /// provider that nobody has rated, so that newcomers are judged by what is known of them.
    #[must_use]
    pub fn score(&self, provider: &ProviderId) -> Option<u32> {
        let standing = self.0.get(provider)?;
        let (uptime, success) = (standing.uptime, standing.success_rate);
        uptime.or(success)?;
        let clamp = |part: Option<u32>| u64::from(part.unwrap_or(0).min(1_000_000));
        u32::try_from((2 * clamp(uptime) + clamp(success)) / 3).ok()
    }
}
