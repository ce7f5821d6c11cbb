//! What is known about providers beside their offers: blame, praise, and our own experience.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::experience::{Experience, PROSPECT_UNKNOWN};
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

/// What is known about one provider, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What others say of it, in millionths, if they do.
    pub reputation: Option<u32>,
    /// How likely its next node comes up, in millionths: what we have seen ourselves, and where that is
    /// little, what others say.
    pub prospect: u32,
    /// Whether it is known to be good, to us or to others.
    pub is_proven: bool,
}

/// Others call a provider good from here on.
const GOOD_NAME: u32 = 500_000;
/// Whose prospect by our own experience is worse than this is not proven, whatever others say.
const PROSPECT_MIN: u32 = 400_000;

impl Known {
    /// A provider that nobody knows.
    pub const NOTHING: Self =
        Self { reputation: None, prospect: PROSPECT_UNKNOWN, is_proven: false };
}

impl Reputation {
    /// What is known about a provider; `own` is our own experience if it is younger than what was
    /// told.
    #[must_use]
    pub fn known(&self, provider: &ProviderId, own: Option<&Experience>, now: Timestamp) -> Known {
        let told = self.0.get(provider).and_then(|standing| standing.experience.as_deref());
        let (reputation, own) = (self.score(provider), own.or(told));
        let expected = reputation.unwrap_or(PROSPECT_UNKNOWN);
        let prospect = |expected| own.map_or(expected, |own| own.prospect(expected, now));
        let has_good_name = reputation.is_some_and(|it| it >= GOOD_NAME);
        let is_proven = own.is_some_and(|own| own.is_proven(now))
            || (has_good_name && prospect(PROSPECT_UNKNOWN) >= PROSPECT_MIN);
        Known { reputation, prospect: prospect(expected), is_proven }
    }

    /// Whether `provider` must not be hired at `now`.
    #[must_use]
    pub fn is_blacklisted(&self, provider: &ProviderId, now: Timestamp) -> bool {
        self.blacklisted_until(provider, now).is_some()
    }

    /// Until when `provider` must not be hired, if that is so at `now`.
    #[must_use]
    pub fn blacklisted_until(&self, provider: &ProviderId, now: Timestamp) -> Option<Timestamp> {
        let standing = self.0.get(provider)?;
        standing.blacklisted_until.filter(|until| *until > now)
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

#[cfg(test)]
mod tests {
    use super::{Known, Reputation, Standing};
    use crate::{
        core::{
            cluster::Step,
            experience::{Experience, FailureKind, Observation},
        },
        units::Timestamp,
        yagna::ProviderId,
    };

    fn seen(what: &Observation) -> Experience {
        let mut experience = Experience::default();
        experience.add(what, Timestamp::EPOCH);
        experience
    }

    fn known(standing: Standing, own: Option<&Experience>) -> Known {
        let provider = ProviderId::from("0x1");
        let all = Reputation([(provider.clone(), standing)].into());
        all.known(&provider, own, Timestamp::EPOCH)
    }

    #[test]
    fn a_provider_is_proven_by_its_name_or_by_what_it_did_and_no_more_once_it_fails() {
        let named = |uptime| Standing { uptime: Some(uptime), ..Standing::default() };
        let broke = Observation::Failed { step: Step::Start, kind: FailureKind::Broke };
        let (up, broken) = (seen(&Observation::CameUp), seen(&broke));

        assert_eq!(known(Standing::default(), None), Known::NOTHING);
        assert!(known(named(900_000), None).is_proven);
        assert!(!known(named(300_000), None).is_proven);
        assert!(known(Standing::default(), Some(&up)).is_proven);
        assert!(!known(named(900_000), Some(&broken)).is_proven);
    }

    #[test]
    fn what_was_seen_since_counts_in_place_of_what_was_told() {
        let told =
            Standing { experience: Some(seen(&Observation::CameUp).into()), ..Standing::default() };
        let own = Experience::default();

        assert_eq!(known(told.clone(), None).prospect, 666_666);
        assert_eq!(known(told, Some(&own)).prospect, 500_000);
    }
}
