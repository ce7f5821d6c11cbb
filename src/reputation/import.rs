//! What the Python original knew: the three tables of its `db/reputation.sqlite3`, taken over once
//! and as they are.

use std::path::Path;

use jiff::Timestamp as Instant;
use rusqlite::{Connection, OpenFlags, params};
use thiserror::Error;

use super::schema;
use crate::units::Timestamp;

/// Everything that the original keeps.
#[derive(Debug, Default)]
pub(super) struct Found {
    networks: Vec<String>,
    /// Ids, and names.
    nodes: Vec<(String, Option<String>)>,
    records: Vec<FoundRecord>,
}

#[derive(Debug)]
struct FoundRecord {
    node: String,
    network: String,
    uptime: Option<f64>,
    success_rate: Option<f64>,
    /// None is never.
    blacklisted_until: Option<Timestamp>,
}

/// Why the original's file cannot be read.
#[derive(Debug, Error)]
pub(super) enum ImportError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("`{text}` is no point in time (`blacklisted_until` of {node})")]
    Time { text: String, node: String },
}

/// Whether a file was taken over before.
pub(super) fn is_done(connection: &Connection, path: &Path) -> rusqlite::Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM imported WHERE path = ?1)";
    connection.query_row(query, [path.to_string_lossy()], |row| row.get(0))
}

/// Reads the original's file.
pub(super) fn read(path: &Path) -> Result<Found, ImportError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let mut found = Found::default();
    let mut query = connection.prepare("SELECT network_name FROM network ORDER BY id")?;
    for name in query.query_map([], |row| row.get(0))? {
        found.networks.push(name?);
    }
    let mut query = connection.prepare("SELECT node_id, name FROM node ORDER BY id")?;
    for node in query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        found.nodes.push(node?);
    }
    let mut query = connection.prepare(
        "SELECT node.node_id, network_name, uptime, success_rate, blacklisted_until
         FROM nodereputation AS record
         JOIN node ON node.id = record.node_id JOIN network ON network.id = record.network_id
         ORDER BY record.id",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (node, text): (String, String) = (row.get(0)?, row.get(4)?);
        let Some(until) = instant(&text) else { return Err(ImportError::Time { text, node }) };
        found.records.push(FoundRecord {
            node,
            network: row.get(1)?,
            uptime: row.get(2)?,
            success_rate: row.get(3)?,
            blacklisted_until: Some(until).filter(|until| *until > Timestamp::EPOCH),
        });
    }
    Ok(found)
}

/// Adds what was found; what is known already stays. Says how many records there were.
pub(super) fn write(
    connection: &mut Connection,
    path: &Path,
    found: &Found,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let transaction = schema::write(connection)?;
    for name in &found.networks {
        schema::network(&transaction, name)?;
    }
    for (node, name) in &found.nodes {
        let provider = schema::provider(&transaction, node)?;
        let query = "UPDATE provider SET name = coalesce(name, ?2) WHERE id = ?1";
        transaction.execute(query, params![provider, name])?;
    }
    for record in &found.records {
        let network = schema::network(&transaction, &record.network)?;
        let provider = schema::provider(&transaction, &record.node)?;
        transaction.execute(
            "INSERT OR IGNORE INTO score (provider, network, uptime, success_rate)
             VALUES (?1, ?2, ?3, ?4)",
            params![provider, network, record.uptime, record.success_rate],
        )?;
        if let Some(until) = record.blacklisted_until {
            transaction.execute(
                "INSERT OR IGNORE INTO block (provider, network, until) VALUES (?1, ?2, ?3)",
                params![provider, network, schema::instant(until)],
            )?;
        }
    }
    let done = params![path.to_string_lossy(), schema::instant(now)];
    transaction.execute("INSERT OR REPLACE INTO imported (path, at) VALUES (?1, ?2)", done)?;
    transaction.commit()?;
    Ok(found.records.len().try_into().unwrap_or(u64::MAX))
}

/// An instant as Python writes it: `2106-02-07 06:28:16+00:00`, with a `T` in defaults.
fn instant(text: &str) -> Option<Timestamp> {
    let micros = text.parse::<Instant>().ok()?.as_microsecond();
    Some(Timestamp::from_unix_micros(micros.try_into().unwrap_or(0)))
}
