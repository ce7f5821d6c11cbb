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
use thiserror::Error;

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

/// A file that is open and sound.
#[derive(Debug)]
pub(crate) struct Sound {
    pub(crate) connection: Connection,
    /// What a damaged file in its place is called now, and what is wrong with it.
    pub(crate) damaged: Option<(PathBuf, String)>,
    /// One process at a time looks whether a file is good, and fills it: held until this is dropped.
    pub(crate) lock: File,
}

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is none yet.
    #[error("nothing is known about providers yet: there is no `{}`", .path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// It was made by a newer program.
    #[error(
        "`{}` was written by a newer ray-on-golem (its tables have version {version}, this program \
         knows {known})", .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its tables.
        version: u32,
        /// The version that this program works with.
        known: u32,
    },
    /// SQLite says no.
    #[error("cannot use `{}`: {source}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: rusqlite::Error,
    },
    /// The file system says no.
    #[error("cannot use `{}`: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether the file itself is damaged: opening it again sets it aside.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => is_damage(source),
            Self::Missing { .. } | Self::Newer { .. } | Self::Io { .. } => false,
        }
    }
}

impl Use {
    /// Opens a file that is sound, with tables of our version. A damaged one is set aside, and a new one made.
    ///
    /// # Errors
    ///
    /// If it cannot be used, or is a newer program's.
    pub(crate) fn open(&self, path: &Path, now: Timestamp) -> Result<Sound, StoreError> {
        let lock = lock(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        let (connection, damaged) = match self.connect_to_known(path) {
            Err(StoreError::Sqlite { source, .. }) if is_damage(&source) => {
                let kept_as = set_aside(path, now)?;
                (self.connect_to_known(path)?, Some((kept_as, source.to_string())))
            }
            other => (other?, None),
        };
        Ok(Sound { connection, damaged, lock })
    }

    fn connect_to_known(&self, path: &Path) -> Result<Connection, StoreError> {
        let failed = |source| StoreError::Sqlite { path: path.to_owned(), source };
        let connection = self.connect(path).map_err(failed)?;
        let (version, known) = (version(&connection).map_err(failed)?, self.version());
        match version > known {
            true => Err(StoreError::Newer { path: path.to_owned(), version, known }),
            false => Ok(connection),
        }
    }

    /// The version of the tables that this program works with.
    const fn version(&self) -> u32 {
        self.migrations.len() as u32
    }

    /// Connects to a file, which is made if need be, and brings its tables to this version; they may be newer.
    ///
    /// # Errors
    ///
    /// If SQLite says no, or the file is damaged.
    fn connect(&self, path: &Path) -> rusqlite::Result<Connection> {
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
fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// A transaction between which and the file no other process writes: it waits for the others first.
pub(crate) fn write(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Whether the file itself is damaged.
fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Gives a damaged file another name, so that a new one can be made; that name.
fn set_aside(path: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    let kept_as = with_suffix(path, &format!(".damaged-{}", now.as_unix_millis()));
    for part in SUFFIXES {
        let from = with_suffix(path, part);
        match fs::rename(&from, with_suffix(&kept_as, part)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Io { path: from, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(kept_as)
}

fn lock(path: &Path) -> io::Result<File> {
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
