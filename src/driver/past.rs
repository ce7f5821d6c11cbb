//! The journals of clusters, for those who read what they say: while the manager writes them, and when their clusters
//! are closed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::journal::{DIRECTORY, EXTENSION, EXTENSION_CLOSED, JournalsError, failed, meaning};
use crate::{
    core::{
        ids::ClusterId,
        record::{Durable, JournalId},
    },
    files,
    journal::{self, Said},
    units::Timestamp,
};

/// The journal of a cluster, to be read while another part of the process writes it, or when the cluster is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Whether the cluster is closed: then nothing is added, and the journal is kept for its readers only.
    pub is_closed: bool,
    path: PathBuf,
}

/// The journals of all clusters below `data`, those of closed ones included, in the order in which they began.
///
/// # Errors
///
/// If the disk fails.
pub fn past(data: &Path) -> Result<Vec<Past>, JournalsError> {
    let directory = data.join(DIRECTORY);
    let reading = |source| failed("list", &directory, source);
    let mut all = Vec::new();
    for entry in fs::read_dir(&directory).map_err(reading)? {
        let path = entry.map_err(reading)?.path();
        let closed = path.with_extension(EXTENSION);
        let is_closed = path.extension().is_some_and(|extension| extension == EXTENSION_CLOSED);
        let named = if is_closed { &closed } else { &path };
        if let Some((JournalId::Cluster(cluster), EXTENSION)) = meaning(named) {
            all.push(Past { cluster, is_closed, path });
        }
    }
    all.sort_by_key(|past| past.cluster);
    Ok(all)
}

impl Past {
    /// What it folds to; `hear` is told what each line says. Of one that was removed meanwhile there is nothing.
    ///
    /// # Errors
    ///
    /// If it cannot be trusted, or the disk fails.
    pub fn read(
        &self,
        hear: &mut dyn FnMut(u64, Timestamp, Said<'_>),
    ) -> Result<Durable, JournalsError> {
        let mut durable = Durable::default();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(durable),
            Err(source) => return Err(failed("read", &self.path, source)),
        };
        let read = journal::read_each(JournalId::Cluster(self.cluster), &bytes, &mut durable, hear);
        read.map_err(|error| JournalsError::Bad { path: self.path.clone(), error })?;
        Ok(durable)
    }

    /// Removes the journal of a closed cluster.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn forget(&self) -> Result<(), JournalsError> {
        if !self.is_closed {
            return Ok(());
        }
        files::remove(&self.path).map_err(|source| failed("remove", &self.path, source))
    }
}
