//! Providers that are left alone for a while: longer after each failure of a kind, and as before once they
//! have done well.

use std::collections::BTreeMap;

use crate::{
    core::{
        backoff::Backoff,
        rng::{Seed, fingerprint},
    },
    units::{Span, Timestamp},
    yagna::ProviderId,
};

/// More providers than this in trouble, and the one whose pause ends first is forgotten.
const KNOWN_MAX: usize = 10_000;
/// Half of the failures are forgiven after this time.
const HEALS_IN: Span = Span::hours(1);

/// Trouble by provider, and by how it is paused for: who is busy for long is not broken.
#[derive(Debug, Default)]
pub(in crate::core) struct Troubles(BTreeMap<ProviderId, BTreeMap<Backoff, Trouble>>);

#[derive(Clone, Copy, Debug)]
struct Trouble {
    /// Failures in a row that are not forgiven.
    failures: u32,
    latest: Timestamp,
    until: Timestamp,
}

impl Troubles {
    /// Leaves a provider alone for a while that failed at `now`.
    pub(in crate::core) fn add(
        &mut self,
        provider: &ProviderId,
        pauses: Backoff,
        seed: Seed,
        now: Timestamp,
    ) {
        if self.0.len() >= KNOWN_MAX
            && let Some(first) =
                self.0.iter().min_by_key(|(_, of_one)| until(of_one)).map(|(id, _)| id.clone())
        {
            self.0.remove(&first);
        }
        let name = fingerprint(provider.as_str().as_bytes());
        let fresh = Trouble { failures: 0, latest: now, until: now };
        let of_one = self.0.entry(provider.clone()).or_default();
        let trouble = of_one.entry(pauses).or_insert(fresh);
        let halvings = now.since(trouble.latest).as_secs() / HEALS_IN.as_secs();
        let forgiven = u32::try_from(halvings).unwrap_or(u32::MAX);
        let failures = trouble.failures.checked_shr(forgiven).unwrap_or(0).saturating_add(1);
        let pause = pauses.pause(failures, seed, "provider", name);
        *trouble = Trouble { failures, latest: now, until: trouble.until.max(now.plus(pause)) };
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
        self.0.get(provider).and_then(until).filter(|until| *until > now)
    }
}

fn until(of_one: &BTreeMap<Backoff, Trouble>) -> Option<Timestamp> {
    of_one.values().map(|trouble| trouble.until).max()
}

#[cfg(test)]
mod tests {
    use super::Troubles;
    use crate::{
        core::{backoff::Backoff, rng::Seed},
        units::{Span, Timestamp},
        yagna::ProviderId,
    };

    /// How long a provider is left alone that fails at each of these seconds.
    fn pause(seconds: &[u64]) -> Span {
        let (mut troubles, provider) = (Troubles::default(), ProviderId::from("0x1"));
        let mut now = Timestamp::EPOCH;
        for second in seconds {
            now = Timestamp::EPOCH.plus(Span::secs(*second));
            troubles.add(&provider, Backoff::BROKEN_PROVIDER, Seed::new(1), now);
        }
        troubles.until(&provider, now).map_or(Span::ZERO, |until| until.since(now))
    }

    #[test]
    fn who_was_busy_often_is_not_broken_for_longer() {
        let (mut troubles, provider) = (Troubles::default(), ProviderId::from("0x1"));
        for _ in 0..5 {
            troubles.add(&provider, Backoff::BUSY_PROVIDER, Seed::new(1), Timestamp::EPOCH);
        }
        let later = Timestamp::EPOCH.plus(Span::mins(15));
        troubles.add(&provider, Backoff::BROKEN_PROVIDER, Seed::new(1), later);

        assert!(troubles.until(&provider, later) <= Some(later.plus(Span::mins(2))));
    }

    #[test]
    fn setbacks_grow_with_failures_and_heal_with_time() {
        assert!((Span::mins(1)..=Span::mins(2)).contains(&pause(&[0])));
        assert!((Span::mins(4)..=Span::mins(8)).contains(&pause(&[0, 600, 1_200])));
        assert!(pause(&[0, 600, 1_200, 40_000]) <= Span::mins(2), "it is forgiven");
    }
}
