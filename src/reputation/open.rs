//! Opening the store: its tables are brought up to date, a damaged file is set aside, and what the
//! original left is taken over.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{import, schema::USE};
use crate::{
    sqlite::{Sound, StoreError},
    units::Timestamp,
};

/// The store, in the data directory.
const FILE: &str = "providers.sqlite3";
/// What the original keeps, in the data directory; it is read once and never changed.
const ORIGINAL: &str = "db/reputation.sqlite3";

/// What is known about providers, as a file.
#[derive(Debug)]
pub struct Store {
    pub(super) connection: Connection,
    path: PathBuf,
}

/// A store that is open, and what the user should know about that.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// What was done, or could not be done, to open it.
    pub notices: Vec<Notice>,
}

/// Something that was done to open a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The file was damaged; a new one was begun.
    SetAside {
        /// The file.
        path: PathBuf,
        /// What it is called now.
        kept_as: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What the original knew was taken over.
    Imported {
        /// The original's file.
        path: PathBuf,
        /// Records of providers on networks.
        records: u64,
    },
    /// What the original knew could not be taken over; it is tried again each time.
    NotImported {
        /// The original's file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Store {
    /// Opens the store of a data directory, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be used. A damaged file is no error: it is set aside.
    pub fn open(data: &Path, now: Timestamp) -> Result<Opened, StoreError> {
        let path = data.join(FILE);
        let Sound { connection, damaged, lock: _lock } = USE.open(&path, now)?;
        let set_aside = |(kept_as, why)| Notice::SetAside { path: path.clone(), kept_as, why };
        let mut notices: Vec<Notice> = damaged.map(set_aside).into_iter().collect();
        let mut store = Self { connection, path };
        let original = data.join(ORIGINAL);
        if original.exists() && !store.has_imported(&original)? {
            notices.push(store.import(&original, now)?);
        }
        Ok(Opened { store, notices })
    }

    /// Opens a store that is there already, or that the original has left something for.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], or if there is none.
    pub fn open_existing(data: &Path, now: Timestamp) -> Result<Opened, StoreError> {
        let path = data.join(FILE);
        match path.exists() || data.join(ORIGINAL).exists() {
            true => Self::open(data, now),
            false => Err(StoreError::Missing { path }),
        }
    }

    /// A number that changes whenever another process, or another connection, has changed the store.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn foreign_changes(&self) -> Result<i64, StoreError> {
        let version = self.connection.pragma_query_value(None, "data_version", |row| row.get(0));
        version.map_err(|source| self.failed(source))
    }

    pub(super) fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { path: self.path.clone(), source }
    }

    fn has_imported(&self, original: &Path) -> Result<bool, StoreError> {
        import::is_done(&self.connection, original).map_err(|source| self.failed(source))
    }

    fn import(&mut self, original: &Path, now: Timestamp) -> Result<Notice, StoreError> {
        let path = original.to_owned();
        let found = match import::read(original) {
            Ok(found) => found,
            Err(error) => return Ok(Notice::NotImported { path, why: error.to_string() }),
        };
        let written = import::write(&mut self.connection, original, &found, now);
        let records = written.map_err(|source| self.failed(source))?;
        Ok(Notice::Imported { path, records })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { path, kept_as, why } => write!(
                f,
                "`{}` is damaged ({why}); it is kept as `{}`, and what is known about providers \
                 begins anew",
                path.display(),
                kept_as.display()
            ),
            Self::Imported { path, records } => {
                write!(
                    f,
                    "{records} records about providers were taken over from `{}`",
                    path.display()
                )
            }
            Self::NotImported { path, why } => write!(
                f,
                "what the original knew about providers is left out: cannot read `{}`: {why}",
                path.display()
            ),
        }
    }
}
