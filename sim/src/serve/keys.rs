//! The app-keys that are let in. All select the one identity of the simulated requestor.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

/// App-keys by their names. Debug output never shows one.
#[derive(Default)]
pub struct Keys(Mutex<BTreeMap<String, String>>);

impl Keys {
    /// The name of the key that a daemon is started with.
    pub const AUTOCONFIGURED: &str = "autoconfigured";

    /// The key that the server was started with.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(Mutex::new(BTreeMap::from([(Self::AUTOCONFIGURED.to_owned(), key.to_owned())])))
    }

    /// A key that nobody can guess.
    #[must_use]
    pub fn random() -> Self {
        Self::new(&random_key())
    }

    /// The key of this name; it is made if it is not there, as the daemon does.
    #[must_use]
    pub fn named(&self, name: &str) -> String {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.entry(name.to_owned()).or_insert_with(random_key).clone()
    }

    /// All names and keys.
    #[must_use]
    pub fn list(&self) -> Vec<(String, String)> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|(name, key)| (name.clone(), key.clone())).collect()
    }

    /// The name of a key, if it is one.
    #[must_use]
    pub fn name_of(&self, key: &str) -> Option<String> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find(|(_, known)| *known == key).map(|(name, _)| name.clone())
    }

    /// The key that the server was started with.
    #[must_use]
    pub fn first(&self) -> String {
        self.named(Self::AUTOCONFIGURED)
    }
}

impl Clone for Keys {
    fn clone(&self) -> Self {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Mutex::new(keys.clone()))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

fn random_key() -> String {
    let key = RandomState::new();
    let (first, second) = (key.hash_one("first"), key.hash_one("second"));
    format!("{first:016x}{second:016x}")
}
