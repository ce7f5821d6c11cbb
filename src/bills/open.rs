//! Opening the store: a damaged file is set aside, and what an earlier version left is taken over.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use thiserror::Error;

use super::{
    Owner, import,
    schema::{USE, VERSION},
};
use crate::{
    sqlite::{self, is_damage},
    units::Timestamp,
};

/// The store, in the data directory.
const FILE: &str = "bills.sqlite";

/// All bills, as a file.
#[derive(Debug)]
pub struct Store {
    pub(super) connection: Connection,
    pub(super) owner: Owner,
    path: PathBuf,
}

/// A store that is open, and what the user should know about that.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// What was done to open it.
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
    /// What an earlier version kept was taken over.
    Imported {
        /// Its file, which is no more.
        path: PathBuf,
        /// How many closed clusters it had.
        clusters: usize,
    },
}

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It was made by a newer program.
    #[error(
        "`{}` was written by a newer ray-on-golem (its tables have version {version}, this program knows {VERSION})",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its tables.
        version: u32,
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

impl Store {
    /// Opens the store of a data directory, and makes it if there is none; new bills are the owner's.
    ///
    /// # Errors
    ///
    /// If it cannot be used. A damaged file is no error: it is set aside.
    pub fn open(data: &Path, owner: Owner, now: Timestamp) -> Result<Opened, StoreError> {
        let path = data.join(FILE);
        // One process at a time looks whether the file is good, and changes it if it is not.
        let locked = sqlite::lock(&path);
        let _lock = locked.map_err(|source| StoreError::Io { path: path.clone(), source })?;
        let mut notices = Vec::new();
        let connection = match connect(&path) {
            Err(StoreError::Sqlite { source, .. }) if is_damage(&source) => {
                notices.push(set_aside(&path, now, &source)?);
                connect(&path)?
            }
            other => other?,
        };
        let mut store = Self { connection, owner, path };
        notices.extend(import::take_over(&mut store, data, now)?);
        Ok(Opened { store, notices })
    }

    /// Whether a data directory has a store, or what one is made of.
    #[must_use]
    pub fn is_in(data: &Path) -> bool {
        data.join(FILE).exists() || import::file(data).exists()
    }

    pub(super) fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { path: self.path.clone(), source }
    }
}

impl StoreError {
    /// Whether the file itself is damaged: opening it again sets it aside.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => is_damage(source),
            Self::Newer { .. } | Self::Io { .. } => false,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { path, kept_as, why } => write!(
                f,
                "`{}` is damaged ({why}); it is kept as `{}`, and begins anew with what the journals know",
                path.display(),
                kept_as.display()
            ),
            Self::Imported { path, clusters } => {
                write!(f, "{clusters} closed clusters were taken over from `{}`", path.display())
            }
        }
    }
}

/// Connects to a file that is sound, with tables of our version.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Sqlite { path: path.to_owned(), source };
    let connection = USE.connect(path).map_err(failed)?;
    let version = sqlite::version(&connection).map_err(failed)?;
    match version > VERSION {
        true => Err(StoreError::Newer { path: path.to_owned(), version }),
        false => Ok(connection),
    }
}

/// Gives a damaged file another name, so that a new one can be made.
fn set_aside(path: &Path, now: Timestamp, why: &rusqlite::Error) -> Result<Notice, StoreError> {
    match sqlite::set_aside(path, now) {
        Ok(kept_as) => {
            Ok(Notice::SetAside { path: path.to_owned(), kept_as, why: why.to_string() })
        }
        Err((path, source)) => Err(StoreError::Io { path, source }),
    }
}
