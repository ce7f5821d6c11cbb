//! SQLite files of the data directory: their tables by version, what becomes of a damaged one, and that only their
//! user reads them.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior};

use crate::units::Timestamp;

/// The files of one store: SQLite puts two more beside it while it is in use.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// How a file is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    /// What turns each version of the tables into the next one; an empty file has version 0.
    pub(crate) migrations: &'static [&'static str],
    /// How long to wait for other processes that write.
    pub(crate) patience: Duration,
    /// Whether what was committed survives a power cut.
    pub(crate) is_durable: bool,
}

impl Use {
    /// The version of the tables that this program works with.
    pub(crate) const fn version(&self) -> u32 {
        self.migrations.len() as u32
    }

    /// Connects to a file, which is made if need be, and brings its tables to this version; they may be newer.
    ///
    /// # Errors
    ///
    /// If SQLite says no, or the file is damaged.
    pub(crate) fn connect(&self, path: &Path) -> rusqlite::Result<Connection> {
        // SQLite gives the files beside it the same mode. What cannot be made SQLite says better.
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        drop(made.and_then(|file| file.set_permissions(Permissions::from_mode(0o600))));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(self.patience)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = if self.is_durable { "FULL" } else { "NORMAL" };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(code, Some(verdict)));
        }
        self.migrate(&mut connection)?;
        Ok(connection)
    }

    /// In one transaction.
    fn migrate(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        if version(connection)? >= self.version() {
            return Ok(());
        }
        let transaction = write(connection)?;
        let have = version(&transaction)?;
        for step in self.migrations.iter().skip(have as usize) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", self.version())?;
        transaction.commit()
    }
}

/// Which version the tables of a file have.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// A transaction that nobody else's change can come between: it waits for the others first.
pub(crate) fn write(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Whether the file itself is damaged.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Gives a damaged file another name, so that a new one can be made; that name.
///
/// # Errors
///
/// The file that cannot be renamed, and why.
pub(crate) fn set_aside(path: &Path, now: Timestamp) -> Result<PathBuf, (PathBuf, io::Error)> {
    let kept_as = with_suffix(path, &format!(".damaged-{}", now.as_unix_millis()));
    for part in SUFFIXES {
        let from = with_suffix(path, part);
        match fs::rename(&from, with_suffix(&kept_as, part)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err((from, source)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(kept_as)
}

/// Held by the one process that looks whether a file is good, and changes it if it is not.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let path = with_suffix(path, ".lock");
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// An instant, as a column has it: microseconds since the epoch.
pub(crate) fn instant(at: Timestamp) -> i64 {
    integer(at.as_unix_micros())
}

/// A count, as a column has it.
pub(crate) fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count that a column has; less than nothing is nothing.
pub(crate) fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.try_into().unwrap_or(0))
}
