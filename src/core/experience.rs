//! What we have seen of a provider ourselves: observations, and what they add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{backoff::Backoff, cluster::Step};
use crate::{
    units::{Glm, Span, Timestamp},
    yagna::{PlatformId, ProviderId},
};

/// The prospect of a provider of whom nobody knows anything, in millionths.
pub const PROSPECT_UNKNOWN: u32 = 500_000;

/// One node that came up or did not, in the unit of [`FailureKind::weight`].
const ONE: u64 = 4;
/// What is expected of a provider counts as much as two nodes that were seen.
const PRIOR: u64 = 2 * ONE;
const MILLION: u64 = 1_000_000;
/// A failure counts half as much after this time.
const HEALS_IN: Span = Span::hours(24);
/// More failures than this say nothing new.
const FAILURES_MAX: u64 = 1 << 20;

/// Something that was seen of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Of whom.
    pub provider: ProviderId,
    /// On which payment platform.
    pub platform: PlatformId,
    /// What.
    pub what: Observation,
}

/// What can be seen of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It offers a node that was not offered before.
    Offered {
        /// The provider's name for itself.
        name: String,
        /// What an hour of one busy CPU thread costs, if that can be counted.
        per_cpu_hour: Option<Glm>,
    },
    /// It was asked for an agreement.
    Asked,
    /// It approved the agreement.
    Approved,
    /// It was asked to start a node.
    Started,
    /// The node came up.
    CameUp,
    /// Something failed.
    Failed {
        /// At which step; [`Step::Ready`] is a node that was up.
        step: Step,
        /// In which way.
        kind: FailureKind,
    },
    /// A node that was up ends, whoever ends it.
    Ended {
        /// How long it lasted, from its start to its end.
        ran: Span,
    },
}

/// In which way something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The provider said no.
    Refused,
    /// The provider tried, and failed.
    Broke,
    /// The provider was not done in time.
    Late,
    /// The provider ended the agreement.
    Quit,
    /// The node could not be reached any more.
    Lost,
    /// The daemon, the private network, or we ourselves failed: nothing is known against the
    /// provider.
    Blameless,
}

/// What is known from our own experience with a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experience {
    /// Distinct offers in each search for nodes, summed up.
    pub offers: u64,
    /// Agreements that it was asked for.
    pub asked: u64,
    /// Agreements that it approved.
    pub approved: u64,
    /// Nodes that it was asked to start.
    pub started: u64,
    /// Nodes that came up.
    pub came_up: u64,
    /// Nodes that were up and have ended.
    pub ended: u64,
    /// How long those lasted together.
    pub ran: Span,
    /// What an hour of one busy CPU thread cost when it was last seen.
    pub per_cpu_hour: Option<Glm>,
    /// What failed, how often, and when last.
    #[serde(with = "listed")]
    pub failures: BTreeMap<(Step, FailureKind), Failures>,
}

/// Failures of one kind at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// When the latest of them was.
    pub latest: Timestamp,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Broke, Self::Late, Self::Quit, Self::Lost, Self::Blameless];

    /// Its name, for stores and programs; it never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Broke => "broke",
            Self::Late => "late",
            Self::Quit => "quit",
            Self::Lost => "lost",
            Self::Blameless => "blameless",
        }
    }

    /// How much it says against the provider: four times as much if it has cost something.
    const fn weight(self) -> u64 {
        match self {
            Self::Refused => ONE / 4,
            Self::Late | Self::Broke | Self::Quit | Self::Lost => ONE,
            Self::Blameless => 0,
        }
    }

    /// For how long a provider is left alone that has failed in this way.
    pub(super) const fn setback(self) -> Option<Backoff> {
        match self {
            Self::Refused => Some(Backoff::BUSY_PROVIDER),
            Self::Late | Self::Broke => Some(Backoff::BROKEN_PROVIDER),
            Self::Quit | Self::Lost => Some(Backoff::FAITHLESS_PROVIDER),
            Self::Blameless => None,
        }
    }
}

impl Experience {
    /// Adds one observation.
    pub fn add(&mut self, what: &Observation, at: Timestamp) {
        let count = |counter: &mut u64| *counter = counter.saturating_add(1);
        match what {
            Observation::Offered { per_cpu_hour, .. } => {
                count(&mut self.offers);
                self.per_cpu_hour = per_cpu_hour.or(self.per_cpu_hour);
            }
            Observation::Asked => count(&mut self.asked),
            Observation::Approved => count(&mut self.approved),
            Observation::Started => count(&mut self.started),
            Observation::CameUp => count(&mut self.came_up),
            Observation::Failed { step, kind } => {
                let failures = self.failures.entry((*step, *kind));
                let failures = failures.or_insert(Failures { count: 0, latest: at });
                count(&mut failures.count);
                failures.latest = failures.latest.max(at);
            }
            Observation::Ended { ran } => {
                count(&mut self.ended);
                self.ran = self.ran.plus(*ran);
            }
        }
    }

    /// Of how many attempts to bring a node up how many succeeded: `(succeeded, attempts)`. Those
    /// that the provider is not to blame for are not counted.
    #[must_use]
    pub fn attempts(&self) -> (u64, u64) {
        let counts = |(step, kind): &(Step, FailureKind)| {
            *step != Step::Ready && *kind != FailureKind::Blameless
        };
        let failed = self.failures.iter().filter(|(key, _)| counts(key));
        let failed = failed.fold(0_u64, |sum, (_, it)| sum.saturating_add(it.count));
        (self.came_up, self.came_up.saturating_add(failed))
    }

    /// How likely the next node of this provider comes up and stays, in millionths: what was `expected`
    /// of it before it was ever tried, corrected by what we have seen.
    ///
    /// A failure counts by its kind, and half as much after each day.
    #[must_use]
    pub fn prospect(&self, expected: u32, now: Timestamp) -> u32 {
        let expected = u64::from(expected).min(MILLION);
        let good = self.came_up.saturating_mul(ONE);
        let bad = self.failures.iter().map(|((_, kind), failures)| {
            let days = now.since(failures.latest).as_secs() / HEALS_IN.as_secs();
            let weight = failures.count.min(FAILURES_MAX).saturating_mul(kind.weight());
            weight.checked_shr(u32::try_from(days).unwrap_or(u32::MAX)).unwrap_or(0)
        });
        let bad = bad.fold(0, u64::saturating_add);
        let sum = u128::from(good) * u128::from(MILLION) + u128::from(PRIOR * expected);
        let share = sum / (u128::from(good) + u128::from(bad) + u128::from(PRIOR));
        u32::try_from(share).unwrap_or(u32::MAX)
    }

    /// Whether the provider has brought nodes up for us, and more of them than it has failed.
    #[must_use]
    pub fn is_proven(&self, now: Timestamp) -> bool {
        self.came_up > 0 && self.prospect(PROSPECT_UNKNOWN, now) > PROSPECT_UNKNOWN
    }
}

/// A map as a list of its entries: keys of JSON are text only.
mod listed {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::{Experience, FailureKind, Failures, Observation, PROSPECT_UNKNOWN};
    use crate::{
        core::cluster::Step,
        units::{Glm, Span, Timestamp},
    };

    #[test]
    fn observations_add_up_and_only_the_providers_faults_count_against_it() {
        let failed = |step, kind| Observation::Failed { step, kind };
        let story = [
            Observation::Offered { name: "a".to_owned(), per_cpu_hour: Some(Glm::from_atto(7)) },
            Observation::Offered { name: "a".to_owned(), per_cpu_hour: None },
            Observation::Asked,
            Observation::Approved,
            Observation::Started,
            failed(Step::Deploy, FailureKind::Late),
            failed(Step::JoinNetwork, FailureKind::Blameless),
            Observation::CameUp,
            failed(Step::Ready, FailureKind::Quit),
            Observation::Ended { ran: Span::hours(2) },
        ];
        let mut experience = Experience::default();
        for (second, what) in (0_u64..).zip(&story) {
            experience.add(what, Timestamp::EPOCH.plus(Span::secs(second)));
        }

        let at = |second| Timestamp::EPOCH.plus(Span::secs(second));
        let once = |second| Failures { count: 1, latest: at(second) };
        let expected = Experience {
            offers: 2,
            asked: 1,
            approved: 1,
            started: 1,
            came_up: 1,
            ended: 1,
            ran: Span::hours(2),
            per_cpu_hour: Some(Glm::from_atto(7)),
            failures: [
                ((Step::Deploy, FailureKind::Late), once(5)),
                ((Step::JoinNetwork, FailureKind::Blameless), once(6)),
                ((Step::Ready, FailureKind::Quit), once(8)),
            ]
            .into(),
        };
        assert_eq!(experience, expected);
        let text = serde_json::to_string(&experience).expect("JSON");
        assert_eq!(serde_json::from_str::<Experience>(&text).expect("the same"), experience);
        assert_eq!(experience.attempts(), (1, 2));
    }

    #[test]
    fn a_prospect_falls_with_failures_and_heals_with_time() {
        let at = |hours| Timestamp::EPOCH.plus(Span::hours(hours));
        let failed = |kind| Observation::Failed { step: Step::Deploy, kind };
        let prospect = |story: &[Observation], now| {
            let mut experience = Experience::default();
            story.iter().for_each(|what| experience.add(what, at(0)));
            experience.prospect(PROSPECT_UNKNOWN, now)
        };
        let (up, broke) = (Observation::CameUp, failed(FailureKind::Broke));

        assert_eq!(prospect(&[], at(0)), PROSPECT_UNKNOWN);
        assert_eq!(prospect(from_ref(&up), at(0)), 666_666);
        assert_eq!(prospect(from_ref(&broke), at(0)), 333_333);
        assert_eq!(prospect(from_ref(&broke), at(24)), 400_000, "half of it is forgotten");
        assert_eq!(prospect(from_ref(&broke), at(24 * 365)), PROSPECT_UNKNOWN);
        assert_eq!(prospect(&[failed(FailureKind::Refused)], at(0)), 444_444);
        assert_eq!(prospect(&[failed(FailureKind::Blameless)], at(0)), PROSPECT_UNKNOWN);
        assert!(prospect(&vec![up; 50], at(0)) > 980_000);
    }

    #[test]
    fn what_is_expected_is_corrected_by_what_is_seen() {
        let prospect = |story: &[Observation]| {
            let mut experience = Experience::default();
            story.iter().for_each(|what| experience.add(what, Timestamp::EPOCH));
            experience.prospect(900_000, Timestamp::EPOCH)
        };
        let broke = Observation::Failed { step: Step::Deploy, kind: FailureKind::Broke };

        assert_eq!(prospect(&[]), 900_000);
        assert_eq!(prospect(&[Observation::CameUp]), 933_333);
        assert_eq!(prospect(from_ref(&broke)), 600_000);
        assert!(prospect(&vec![broke; 50]) < 40_000);
    }
}
