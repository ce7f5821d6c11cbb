//! Reading the store: everything about each provider, in the order of its worth.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use rusqlite::{Row, named_params};

use super::{FOREVER, Store, StoreError, schema::count};
use crate::{
    core::{
        cluster::Step,
        experience::{Experience, FailureKind, Failures},
        reputation::{Reputation, Standing},
    },
    units::{Glm, Rounding, Span, Timestamp},
    yagna::ProviderId,
};

/// All that is known about a provider on a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Who.
    pub provider: ProviderId,
    /// The provider's name for itself.
    pub name: Option<String>,
    /// The share of time it was reachable, from 0 to 1.
    pub uptime: Option<f64>,
    /// The share of its benchmark tasks that succeeded, from 0 to 1.
    pub success_rate: Option<f64>,
    /// Until when it is blocked; may be over.
    pub blacklisted_until: Option<Timestamp>,
    /// Why it is blocked.
    pub reason: Option<String>,
    /// Our own experience with it.
    pub experience: Option<Experience>,
}

impl Store {
    /// What is known about providers on a network: the best uptime first, then the best success
    /// rate, then by id. If some are named, only those.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn records(&self, network: &str, named: &[ProviderId]) -> Result<Vec<Record>, StoreError> {
        let mut records = match named {
            [] => self.read(network, None),
            named => named.iter().try_fold(Vec::new(), |mut all, provider| {
                all.extend(self.read(network, Some(provider))?);
                Ok(all)
            }),
        }
        .map_err(|source| self.failed(source))?;
        records.sort_by(Record::order);
        records.dedup_by(|one, other| one.provider == other.provider);
        Ok(records)
    }

    /// The same for the core, as plain data.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn reputation(&self, network: &str) -> Result<Reputation, StoreError> {
        let records = self.read(network, None).map_err(|source| self.failed(source))?;
        let standing = |record: Record| {
            let standing = Standing {
                blacklisted_until: record.blacklisted_until.map(|until| match until < FOREVER {
                    true => until,
                    false => Timestamp::NEVER,
                }),
                uptime: record.uptime.and_then(millionths),
                success_rate: record.success_rate.and_then(millionths),
                experience: record.experience.map(Arc::new),
            };
            (record.provider, standing)
        };
        Ok(Reputation(records.into_iter().map(standing).collect()))
    }

    /// The networks that something is known about.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn networks(&self) -> Result<Vec<String>, StoreError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut query = self.connection.prepare("SELECT name FROM network ORDER BY name")?;
            query.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    fn read(&self, network: &str, only: Option<&ProviderId>) -> rusqlite::Result<Vec<Record>> {
        // Both queries must see the same instant of the store.
        let transaction = self.connection.unchecked_transaction()?;
        let only = only.map(ProviderId::as_str);
        let mut failures = BTreeMap::<i64, Vec<_>>::new();
        let mut query = transaction.prepare(
            "SELECT failure.* FROM failure JOIN network ON network.id = failure.network
             JOIN provider ON provider.id = failure.provider
             WHERE network.name = :network AND (:only IS NULL OR node_id = :only)",
        )?;
        let mut rows = query.query(named_params! { ":network": network, ":only": only })?;
        while let Some(row) = rows.next()? {
            // A newer program may know more steps and kinds.
            if let Some(failure) = failure(row)? {
                failures.entry(row.get("provider")?).or_default().push(failure);
            }
        }
        let mut query = transaction.prepare(
            "SELECT provider.*, uptime, success_rate, until, reason, experience.*
             FROM network JOIN provider
             LEFT JOIN score ON score.provider = provider.id AND score.network = network.id
             LEFT JOIN block ON block.provider = provider.id AND block.network = network.id
             LEFT JOIN experience
                 ON experience.provider = provider.id AND experience.network = network.id
             WHERE network.name = :network AND (:only IS NULL OR node_id = :only)
             AND coalesce(score.provider, block.provider, experience.provider) IS NOT NULL",
        )?;
        let rows =
            query.query_map(named_params! { ":network": network, ":only": only }, |row| {
                let failures = failures.remove(&row.get("id")?).unwrap_or_default();
                record(row, failures)
            })?;
        rows.collect()
    }
}

impl Record {
    /// Whether the provider must not be hired at `now`.
    #[must_use]
    pub fn is_blacklisted(&self, now: Timestamp) -> bool {
        self.blacklisted_until.is_some_and(|until| until > now)
    }

    fn order(&self, other: &Self) -> Ordering {
        // Nothing is less than any share.
        let share = |share: Option<f64>| share.unwrap_or(f64::NEG_INFINITY);
        let descending = |one, other| share(other).total_cmp(&share(one));
        descending(self.uptime, other.uptime)
            .then_with(|| descending(self.success_rate, other.success_rate))
            .then_with(|| self.provider.cmp(&other.provider))
    }
}

type Failure = ((Step, FailureKind), Failures);

fn failure(row: &Row<'_>) -> rusqlite::Result<Option<Failure>> {
    let (step, kind): (String, String) = (row.get("step")?, row.get("kind")?);
    let step = Step::RULES.iter().map(|rule| rule.step).find(|it| it.name() == step);
    let kind = FailureKind::ALL.into_iter().find(|it| it.name() == kind);
    let latest = Timestamp::from_unix_micros(count(row, "latest")?);
    let failures = Failures { count: count(row, "count")?, latest };
    Ok(step.zip(kind).map(|key| (key, failures)))
}

fn record(row: &Row<'_>, failures: Vec<Failure>) -> rusqlite::Result<Record> {
    let until: Option<i64> = row.get("until")?;
    let experience = match row.get::<_, Option<i64>>("offers")? {
        None => None,
        Some(_) => Some(Experience {
            offers: count(row, "offers")?,
            asked: count(row, "asked")?,
            approved: count(row, "approved")?,
            started: count(row, "started")?,
            came_up: count(row, "came_up")?,
            ended: count(row, "ended")?,
            ran: Span::micros(count(row, "ran")?),
            per_cpu_hour: price(row.get("per_cpu_hour")?),
            failures: failures.into_iter().collect(),
        }),
    };
    Ok(Record {
        provider: ProviderId::from(row.get::<_, String>("node_id")?),
        name: row.get("name")?,
        uptime: row.get("uptime")?,
        success_rate: row.get("success_rate")?,
        blacklisted_until: until
            .map(|until| Timestamp::from_unix_micros(until.try_into().unwrap_or(0))),
        reason: row.get("reason")?,
        experience,
    })
}

fn price(text: Option<String>) -> Option<Glm> {
    Glm::parse(&text?, Rounding::Up).ok()
}

/// A share in millionths; what is no share says nothing.
fn millionths(share: f64) -> Option<u32> {
    let millionths = (share * 1e6).round();
    // In range, so that nothing is cut off.
    (0.0..=1e6).contains(&millionths).then_some(millionths as u32)
}
