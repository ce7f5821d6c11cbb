//! The tables of the store.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::{
    sqlite::Use,
    units::{Glm, Rounding},
};

/// How the store is used. What was taken in must stay: the journal of a closed cluster is removed then.
pub(super) const USE: Use =
    Use { migrations: &MIGRATIONS, patience: Duration::from_secs(5), is_durable: true };

/// What turns each version of the tables into the next one; an empty file has version 0. Instants are microseconds since
/// the epoch, amounts GLM as decimal text.
const MIGRATIONS: [&str; 2] = ["
    -- A data directory whose journals were thrown away counts its clusters from the beginning.
    CREATE TABLE cluster (
        id INTEGER PRIMARY KEY,
        number INTEGER NOT NULL,
        opened INTEGER NOT NULL,
        name TEXT NOT NULL,
        platform TEXT NOT NULL,
        simulated INTEGER NOT NULL,
        identity TEXT,
        -- The number of the first line of its journal that was not taken in.
        next_line INTEGER NOT NULL,
        closed INTEGER,
        -- As `/status` shows it, of one that is closed.
        picture TEXT,
        UNIQUE (number, opened)
    ) STRICT;
    CREATE INDEX cluster_closed ON cluster (closed);

    CREATE TABLE agreement (
        cluster INTEGER NOT NULL REFERENCES cluster,
        number INTEGER NOT NULL,
        node INTEGER NOT NULL,
        provider TEXT NOT NULL,
        provider_name TEXT NOT NULL,
        start TEXT NOT NULL,
        per_second TEXT NOT NULL,
        costs_since INTEGER,
        over INTEGER,
        accepted TEXT NOT NULL,
        PRIMARY KEY (cluster, number)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE bill (
        id INTEGER PRIMARY KEY,
        cluster INTEGER NOT NULL REFERENCES cluster,
        -- Unknown of a dispute whose line was folded before it was taken in.
        agreement INTEGER,
        at INTEGER NOT NULL,
        -- `debit-note`, `invoice`, or `earlier`: what bills came to whose lines were folded before they were taken in.
        kind TEXT NOT NULL,
        bill TEXT NOT NULL,
        -- `accepted` or `disputed`.
        verdict TEXT NOT NULL,
        -- What it asks for: a debit note and an invoice ask for the total of their agreement.
        billed TEXT NOT NULL,
        -- By how much more was accepted of its agreement than before.
        accepted TEXT NOT NULL,
        -- Why it was disputed.
        reason TEXT,
        UNIQUE (cluster, bill, verdict, billed)
    ) STRICT;
    CREATE INDEX bill_at ON bill (at);

    -- What clusters of a name came to.
    CREATE TABLE total (
        name TEXT PRIMARY KEY,
        spent TEXT NOT NULL DEFAULT '0',
        accepted_bills INTEGER NOT NULL DEFAULT 0,
        disputed_bills INTEGER NOT NULL DEFAULT 0,
        warnings INTEGER NOT NULL DEFAULT 0,
        -- What closed clusters can have cost by our own clock.
        accrued TEXT NOT NULL DEFAULT '0',
        -- The most that was ever said of that, of open clusters, too.
        told TEXT NOT NULL DEFAULT '0'
    ) STRICT, WITHOUT ROWID;

    -- How often agreements came to nothing at each step.
    CREATE TABLE failure (step TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
", "
    -- Unknown of agreements that were taken in before they were kept.
    ALTER TABLE agreement ADD COLUMN agreement TEXT;
    ALTER TABLE agreement ADD COLUMN activity TEXT;
    -- What payments came to.
    ALTER TABLE agreement ADD COLUMN paid TEXT NOT NULL DEFAULT '0';
    CREATE INDEX agreement_by_id ON agreement (agreement);
    CREATE INDEX agreement_by_activity ON agreement (activity);
    CREATE INDEX agreement_unpaid ON agreement (cluster)
        WHERE agreement IS NOT NULL AND accepted <> paid;

    -- The shares of payments that are for agreements of ours.
    CREATE TABLE payment (
        id INTEGER PRIMARY KEY,
        cluster INTEGER NOT NULL REFERENCES cluster,
        agreement INTEGER NOT NULL,
        -- By the daemon's clock.
        at INTEGER NOT NULL,
        payment TEXT NOT NULL,
        -- The agreement, or the activity, that the share is for.
        share TEXT NOT NULL,
        amount TEXT NOT NULL,
        -- The hash of the transaction, hexadecimal.
        hash TEXT,
        UNIQUE (payment, share)
    ) STRICT;
    CREATE INDEX payment_at ON payment (at);

    ALTER TABLE total ADD COLUMN paid TEXT NOT NULL DEFAULT '0';
"];

/// An amount that a column has; what is none is nothing.
pub(super) fn amount(row: &Row<'_>, column: &str) -> rusqlite::Result<Glm> {
    Ok(read(&row.get::<_, String>(column)?))
}

/// An amount as the store writes it.
pub(super) fn read(text: &str) -> Glm {
    Glm::parse(text, Rounding::Up).unwrap_or(Glm::ZERO)
}

/// Adds to an amount of a name's total.
pub(super) fn add_to_total(
    connection: &Connection,
    name: &str,
    column: &'static str,
    more: Glm,
) -> rusqlite::Result<()> {
    let query = format!("SELECT {column} FROM total WHERE name = ?1");
    let before = connection.query_row(&query, [name], |row| amount(row, column)).optional()?;
    let now = before.unwrap_or(Glm::ZERO).plus(more);
    set_total(connection, name, column, &now.to_string())
}

/// Counts one more in a name's total.
pub(super) fn count_in_total(
    connection: &Connection,
    name: &str,
    column: &'static str,
) -> rusqlite::Result<()> {
    connection.execute("INSERT OR IGNORE INTO total (name) VALUES (?1)", [name])?;
    let query = format!("UPDATE total SET {column} = {column} + 1 WHERE name = ?1");
    connection.execute(&query, [name]).map(drop)
}

/// Sets an amount of a name's total.
pub(super) fn set_total(
    connection: &Connection,
    name: &str,
    column: &'static str,
    value: &str,
) -> rusqlite::Result<()> {
    connection.execute("INSERT OR IGNORE INTO total (name) VALUES (?1)", [name])?;
    let query = format!("UPDATE total SET {column} = ?2 WHERE name = ?1");
    connection.execute(&query, params![name, value]).map(drop)
}
