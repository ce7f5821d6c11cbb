//! The tables of the store, and how older ones become them.

use std::time::Duration;

use rusqlite::Transaction;

use crate::sqlite::Use;
pub(super) use crate::sqlite::{count, instant, integer, write};

/// How the store is used. What is lost by a power cut is counted again.
pub(super) const USE: Use =
    Use { migrations: &MIGRATIONS, patience: Duration::from_secs(30), is_durable: false };

/// What turns each version of the tables into the next one; an empty file has version 0.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE provider (
        id INTEGER PRIMARY KEY,
        node_id TEXT NOT NULL UNIQUE,
        name TEXT
    ) STRICT;
    CREATE TABLE network (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;

    -- Shares from 0 to 1, as the reputation service has them.
    CREATE TABLE score (
        provider INTEGER NOT NULL REFERENCES provider,
        network INTEGER NOT NULL REFERENCES network,
        uptime REAL,
        success_rate REAL,
        PRIMARY KEY (provider, network)
    ) STRICT, WITHOUT ROWID;
    -- What was last fetched from the reputation service; an instant is microseconds since the epoch.
    CREATE TABLE source (
        network INTEGER PRIMARY KEY REFERENCES network,
        url TEXT NOT NULL,
        etag TEXT,
        modified TEXT,
        fetched INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE block (
        provider INTEGER NOT NULL REFERENCES provider,
        network INTEGER NOT NULL REFERENCES network,
        until INTEGER NOT NULL,
        reason TEXT,
        PRIMARY KEY (provider, network)
    ) STRICT, WITHOUT ROWID;

    -- A length of time is microseconds, a price GLM as decimal text.
    CREATE TABLE experience (
        provider INTEGER NOT NULL REFERENCES provider,
        network INTEGER NOT NULL REFERENCES network,
        offers INTEGER NOT NULL,
        asked INTEGER NOT NULL,
        approved INTEGER NOT NULL,
        started INTEGER NOT NULL,
        came_up INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        ran INTEGER NOT NULL,
        per_cpu_hour TEXT,
        PRIMARY KEY (provider, network)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE failure (
        provider INTEGER NOT NULL REFERENCES provider,
        network INTEGER NOT NULL REFERENCES network,
        step TEXT NOT NULL,
        kind TEXT NOT NULL,
        count INTEGER NOT NULL,
        latest INTEGER NOT NULL,
        PRIMARY KEY (provider, network, step, kind)
    ) STRICT, WITHOUT ROWID;

    -- Files of other programs that were taken over.
    CREATE TABLE imported (path TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"];

/// The number of a network; it is added if it is new.
pub(super) fn network(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    transaction.execute("INSERT OR IGNORE INTO network (name) VALUES (?1)", [name])?;
    transaction.query_row("SELECT id FROM network WHERE name = ?1", [name], |row| row.get(0))
}

/// The number of a provider; it is added if it is new.
pub(super) fn provider(transaction: &Transaction<'_>, node_id: &str) -> rusqlite::Result<i64> {
    transaction.execute("INSERT OR IGNORE INTO provider (node_id) VALUES (?1)", [node_id])?;
    transaction.query_row("SELECT id FROM provider WHERE node_id = ?1", [node_id], |row| row.get(0))
}
