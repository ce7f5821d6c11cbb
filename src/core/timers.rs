//! At most one deadline per key; ties are broken by the order of the keys.

use std::collections::{BTreeMap, BTreeSet};

use crate::units::Timestamp;

/// Deadlines by key.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    by_key: BTreeMap<K, Timestamp>,
    by_time: BTreeSet<(Timestamp, K)>,
}

impl<K: Clone + Ord> Timers<K> {
    /// Arms the timer of `key`, moving an earlier deadline if there was one.
    pub fn set(&mut self, key: K, at: Timestamp) {
        self.cancel(&key);
        self.by_key.insert(key.clone(), at);
        self.by_time.insert((at, key));
    }

    /// Disarms the timer of `key`; harmless if it is not armed.
    pub fn cancel(&mut self, key: &K) {
        if let Some((key, at)) = self.by_key.remove_entry(key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// When the timer of `key` is due, if it is armed.
    #[must_use]
    pub fn due(&self, key: &K) -> Option<Timestamp> {
        self.by_key.get(key).copied()
    }

    /// The next deadline and its key.
    #[must_use]
    pub fn next(&self) -> Option<(Timestamp, &K)> {
        self.by_time.first().map(|(at, key)| (*at, key))
    }

    /// Takes the next timer if it is due at `now`.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<K> {
        let (at, _) = self.next()?;
        if at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// How many timers are armed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no timer is armed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;
    use crate::units::Timestamp;

    #[test]
    fn a_key_has_one_deadline_and_ties_go_by_key() {
        let at = Timestamp::from_unix_micros;
        let mut timers = Timers::default();
        timers.set("b", at(5));
        timers.set("a", at(9));
        timers.set("a", at(5));
        timers.set("c", at(6));
        timers.cancel(&"c");

        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(5)), Some("a"));
        assert_eq!(timers.pop_due(at(5)), Some("b"));
        assert_eq!(timers.pop_due(Timestamp::NEVER), None);
    }
}
