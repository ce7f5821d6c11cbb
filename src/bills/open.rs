//! Opening the store: a damaged file is set aside, and what an earlier version left is taken over.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{Owner, import, schema::USE};
use crate::{
    sqlite::{Sound, StoreError},
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

impl Store {
    /// Opens the store of a data directory, and makes it if there is none; new bills are the owner's.
    ///
    /// # Errors
    ///
    /// If it cannot be used. A damaged file is no error: it is set aside.
    pub fn open(data: &Path, owner: Owner, now: Timestamp) -> Result<Opened, StoreError> {
        let path = data.join(FILE);
        let Sound { connection, damaged, lock: _lock } = USE.open(&path, now)?;
        let set_aside = |(kept_as, why)| Notice::SetAside { path: path.clone(), kept_as, why };
        let mut notices: Vec<Notice> = damaged.map(set_aside).into_iter().collect();
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
