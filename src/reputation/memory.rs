//! Our own experience, added up in the store.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::{
    Store, StoreError,
    schema::{self, instant, integer},
};
use crate::{
    config::networks,
    core::experience::{Experience, Observation, Sighting},
    units::Timestamp,
    yagna::ProviderId,
};

/// What is new about a provider.
#[derive(Default)]
struct News {
    name: Option<String>,
    experience: Experience,
}

impl Store {
    /// Adds what was seen of providers, in one transaction: nothing of other processes is lost.
    ///
    /// # Errors
    ///
    /// If it cannot be written; then nothing of it is.
    pub fn remember(&mut self, seen: &[(Timestamp, Sighting)]) -> Result<(), StoreError> {
        let mut news = BTreeMap::<(&str, &ProviderId), News>::new();
        for (at, sighting) in seen {
            let network = networks::of_platform(sighting.platform.as_str())
                .map_or(sighting.platform.as_str(), |network| network.name);
            let news = news.entry((network, &sighting.provider)).or_default();
            news.experience.add(&sighting.what, *at);
            if let Observation::Offered { name, .. } = &sighting.what {
                news.name = Some(name.clone());
            }
        }
        let mut write = || {
            let transaction = schema::write(&mut self.connection)?;
            for ((network, provider), news) in &news {
                add(&transaction, network, provider, news)?;
            }
            transaction.commit()
        };
        write().map_err(|source| self.failed(source))
    }
}

fn add(
    transaction: &Transaction<'_>,
    network: &str,
    provider: &ProviderId,
    news: &News,
) -> rusqlite::Result<()> {
    let News { name, experience: it } = news;
    let network = schema::network(transaction, network)?;
    let provider = schema::provider(transaction, provider.as_str())?;
    if let Some(name) = name {
        let query = "UPDATE provider SET name = ?2 WHERE id = ?1 AND name IS NOT ?2";
        transaction.execute(query, params![provider, name])?;
    }
    transaction.execute(
        "INSERT INTO experience VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO UPDATE SET
             offers = offers + excluded.offers, asked = asked + excluded.asked,
             approved = approved + excluded.approved, started = started + excluded.started,
             came_up = came_up + excluded.came_up, ended = ended + excluded.ended,
             ran = ran + excluded.ran,
             per_cpu_hour = coalesce(excluded.per_cpu_hour, per_cpu_hour)",
        params![
            provider,
            network,
            integer(it.offers),
            integer(it.asked),
            integer(it.approved),
            integer(it.started),
            integer(it.came_up),
            integer(it.ended),
            integer(it.ran.as_micros()),
            it.per_cpu_hour.map(|price| price.to_string()),
        ],
    )?;
    for ((step, kind), failures) in &it.failures {
        transaction.execute(
            "INSERT INTO failure VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET
                 count = count + excluded.count, latest = max(latest, excluded.latest)",
            params![
                provider,
                network,
                step.name(),
                kind.name(),
                integer(failures.count),
                instant(failures.latest)
            ],
        )?;
    }
    Ok(())
}
