//! What the Python original leaves in a data directory, and what of it must be found again.

use std::{fs, path::Path};

use ray_on_golem::{
    reputation::{FOREVER, Record},
    units::Timestamp,
    yagna::ProviderId,
};
use rusqlite::{Connection, params};

const TABLES: &str = "
    CREATE TABLE aerich (id INTEGER PRIMARY KEY, version VARCHAR(255), app VARCHAR(100), content JSON);
    CREATE TABLE network (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
        network_name VARCHAR(32) NOT NULL UNIQUE);
    CREATE TABLE node (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
        node_id VARCHAR(42) NOT NULL UNIQUE, name TEXT);
    CREATE TABLE nodereputation (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
        success_rate REAL, uptime REAL,
        blacklisted_until TIMESTAMP NOT NULL DEFAULT '1970-01-01T00:00:00+00:00',
        network_id INT NOT NULL REFERENCES network (id) ON DELETE CASCADE,
        node_id INT NOT NULL REFERENCES node (id) ON DELETE CASCADE);
    CREATE UNIQUE INDEX pairs ON nodereputation (node_id, network_id);
";

/// Its networks; the last one is not in our table of networks.
pub(crate) const NETWORKS: [&str; 3] = ["polygon", "holesky", "a-forgotten-chain"];

/// The id of the provider of a number.
pub(crate) fn id(nth: usize) -> ProviderId {
    ProviderId::from(format!("0x{nth:040x}"))
}

/// Writes the original's file: so many providers, each with a record on the network `nth % 3`, and
/// one more that has none. Gives what is known about each, in the order of the providers.
pub(crate) fn write(data: &Path, providers: usize) -> Vec<Record> {
    fs::create_dir_all(data.join("db")).expect("a writable directory");
    let connection = Connection::open(data.join("db/reputation.sqlite3")).expect("a new file");
    // As its library has it; some of what is written stays in the journal beside the file.
    connection.pragma_update(None, "journal_mode", "WAL").expect("a journal");
    connection.execute_batch(TABLES).expect("tables");
    for name in NETWORKS {
        let query = "INSERT INTO network (network_name) VALUES (?1)";
        connection.execute(query, [name]).expect("a network");
    }
    let transaction = connection.unchecked_transaction().expect("nobody else is here");
    let records = (0..providers).map(|nth| add(&transaction, nth)).collect();
    let query = "INSERT INTO node (node_id) VALUES (?1)";
    transaction.execute(query, [id(providers).as_str()]).expect("a node");
    transaction.commit().expect("a writable file");
    records
}

fn add(connection: &Connection, nth: usize) -> Record {
    let name = nth.is_multiple_of(7).then(|| format!("provider \"{nth}\"\n"));
    let share = |by: usize| (!nth.is_multiple_of(by)).then(|| (nth % 1_009) as f64 / 1_009.0);
    let (uptime, success_rate) = (share(5), share(3));
    // As the original's library writes an instant; never is its default.
    let (text, blacklisted_until) = match nth % 11 {
        0 => ("2106-02-07 06:28:16+00:00", Some(FOREVER)),
        1 => ("2024-03-14 10:00:00.123456+00:00", Some(micros(1_710_410_400_123_456))),
        2 => ("2100-01-01 01:00:00+01:00", Some(micros(4_102_444_800_000_000))),
        3 => ("1970-01-01 00:00:00+00:00", None),
        _ => ("1970-01-01T00:00:00+00:00", None),
    };
    let number = |place: usize| i64::try_from(place).expect("few") + 1;
    let (network, node) = (number(nth % NETWORKS.len()), number(nth));
    let query = "INSERT INTO node (node_id, name) VALUES (?1, ?2)";
    connection.execute(query, params![id(nth).as_str(), name]).expect("a node");
    connection
        .execute(
            "INSERT INTO nodereputation
             (success_rate, uptime, blacklisted_until, network_id, node_id)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![success_rate, uptime, text, network, node],
        )
        .expect("a record");
    Record {
        provider: id(nth),
        name,
        uptime,
        success_rate,
        blacklisted_until,
        reason: None,
        experience: None,
    }
}

fn micros(micros: u64) -> Timestamp {
    Timestamp::from_unix_micros(micros)
}
