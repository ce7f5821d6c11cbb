//! Scores of the reputation service, and how they come into the store.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Store, StoreError, provider_id,
    schema::{self, instant},
};
use crate::{http::Validators, units::Timestamp, yagna::ProviderId};

/// Scores are told of in steps of so many.
const STEP: u64 = 1_000;

/// The scores of all providers of a network, as the service has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    providers: Vec<Score>,
    /// Entries without an id, or without scores.
    ignored: u64,
}

/// What came of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries that the service has.
    pub total: u64,
    /// Providers that had no scores before.
    pub added: u64,
    /// Providers whose scores are others than before.
    pub updated: u64,
    /// Entries that say nothing usable.
    pub ignored: u64,
}

/// What the service says about one provider; a missing part leaves what is known.
#[derive(Clone, Debug, PartialEq)]
struct Score {
    provider: ProviderId,
    uptime: Option<f64>,
    success_rate: Option<f64>,
}

#[derive(Deserialize)]
struct Document {
    providers: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default, rename = "providerId")]
    provider: Value,
    #[serde(default)]
    scores: Value,
}

/// A provider's row: its number, and its scores if it has any.
type Known = (i64, Option<(Option<f64>, Option<f64>)>);

impl Scores {
    /// Reads the service's answer.
    ///
    /// # Errors
    ///
    /// If it is not a list of providers.
    pub fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let document: Document = serde_json::from_slice(body)?;
        let total = document.providers.len();
        let providers: Vec<Score> =
            document.providers.into_iter().filter_map(Score::read).collect();
        let ignored = total.saturating_sub(providers.len()).try_into().unwrap_or(u64::MAX);
        Ok(Self { providers, ignored })
    }

    /// How many entries there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        u64::try_from(self.providers.len()).unwrap_or(u64::MAX).saturating_add(self.ignored)
    }
}

impl Score {
    fn read(entry: Entry) -> Option<Self> {
        let provider = provider_id(entry.provider.as_str()?).ok()?;
        let share = |key: &str| {
            let share = entry.scores.get(key).and_then(Value::as_f64);
            share.filter(|share| (0.0..=1.0).contains(share))
        };
        let (uptime, success_rate) = (share("uptime"), share("successRate"));
        (uptime.is_some() || success_rate.is_some()).then_some(Self {
            provider,
            uptime,
            success_rate,
        })
    }
}

impl Store {
    /// What the last answer of the service at `url` can be recognised by.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn validators(&self, network: &str, url: &str) -> Result<Validators, StoreError> {
        let query = "SELECT etag, modified FROM source JOIN network ON network.id = source.network
                     WHERE network.name = ?1 AND url = ?2";
        let known = self.connection.query_row(query, [network, url], |row| {
            Ok(Validators { etag: row.get(0)?, modified: row.get(1)? })
        });
        Ok(known.optional().map_err(|source| self.failed(source))?.unwrap_or_default())
    }

    /// Takes scores over, all of them or none; `progress` hears how many are done.
    ///
    /// # Errors
    ///
    /// If it cannot be written; then the old scores stay.
    pub fn apply(
        &mut self,
        network: &str,
        url: &str,
        scores: &Scores,
        validators: &Validators,
        now: Timestamp,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Applied, StoreError> {
        let mut write = || {
            let transaction = schema::write(&mut self.connection)?;
            let network = schema::network(&transaction, network)?;
            let applied = apply(&transaction, network, scores, progress)?;
            transaction.execute(
                "INSERT OR REPLACE INTO source (network, url, etag, modified, fetched)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![network, url, validators.etag, validators.modified, instant(now)],
            )?;
            transaction.commit()?;
            Ok(applied)
        };
        write().map_err(|source| self.failed(source))
    }
}

fn apply(
    transaction: &Transaction<'_>,
    network: i64,
    scores: &Scores,
    progress: &mut dyn FnMut(u64),
) -> rusqlite::Result<Applied> {
    let mut known = known(transaction, network)?;
    let mut add_provider = transaction.prepare("INSERT INTO provider (node_id) VALUES (?1)")?;
    let mut set_score = transaction.prepare(
        "INSERT OR REPLACE INTO score (provider, network, uptime, success_rate)
         VALUES (?1, ?2, ?3, ?4)",
    )?;
    let mut applied =
        Applied { total: scores.total(), ignored: scores.ignored, ..Applied::default() };
    for (done, score) in (1_u64..).zip(&scores.providers) {
        if done.is_multiple_of(STEP) {
            progress(done);
        }
        let (provider, before) = match known.get(score.provider.as_str()) {
            Some(known) => *known,
            None => (add_provider.insert([score.provider.as_str()])?, None),
        };
        let (uptime, success_rate) = before.unwrap_or_default();
        let after = (score.uptime.or(uptime), score.success_rate.or(success_rate));
        match before {
            None => applied.added += 1,
            Some(before) if before != after => applied.updated += 1,
            Some(_) => continue,
        }
        set_score.execute(params![provider, network, after.0, after.1])?;
        known.insert(score.provider.as_str().to_owned(), (provider, Some(after)));
    }
    progress(scores.total());
    Ok(applied)
}

/// All providers by id.
fn known(transaction: &Transaction<'_>, network: i64) -> rusqlite::Result<BTreeMap<String, Known>> {
    let mut query = transaction.prepare(
        "SELECT node_id, id, score.provider IS NOT NULL, uptime, success_rate FROM provider
         LEFT JOIN score ON score.provider = provider.id AND score.network = ?1",
    )?;
    let known = query.query_map([network], |row| {
        let scores = row.get::<_, bool>(2)?.then_some((row.get(3)?, row.get(4)?));
        Ok((row.get(0)?, (row.get(1)?, scores)))
    })?;
    known.collect()
}
