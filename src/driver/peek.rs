//! What the journals say while no process holds them.

use std::{fs, io, path::Path, time::SystemTime};

use super::journal::{DIRECTORY, EXTENSION, Journals, JournalsError, failed, name_of};
use crate::{
    core::record::{Durable, JournalId},
    journal,
};

impl Journals {
    /// What the journals below `data` fold to, and when the last of them was written, without a change to any file;
    /// nothing while another process has them, or if there are none.
    ///
    /// # Errors
    ///
    /// If one cannot be trusted, or the disk fails.
    pub fn peek(data: &Path) -> Result<Option<(Durable, SystemTime)>, JournalsError> {
        let directory = data.join(DIRECTORY);
        if Self::are_in_use(data) || !directory.exists() {
            return Ok(None);
        }
        let mut durable = Durable::default();
        let mut written = SystemTime::UNIX_EPOCH;
        let mut fold = |journal: JournalId, durable: &mut Durable| {
            let path = directory.join(format!("{}.{EXTENSION}", name_of(journal)));
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(source) => return Err(failed("read", &path, source)),
            };
            let at = fs::metadata(&path).and_then(|file| file.modified());
            written = written.max(at.unwrap_or(SystemTime::UNIX_EPOCH));
            match journal::read(journal, &bytes, durable) {
                Ok(_) => Ok(()),
                Err(error) => Err(JournalsError::Bad { path, error }),
            }
        };
        fold(JournalId::Common, &mut durable)?;
        let clusters: Vec<JournalId> = durable.journals().collect();
        for journal in clusters.into_iter().filter(|journal| *journal != JournalId::Common) {
            fold(journal, &mut durable)?;
        }
        Ok(Some((durable, written)))
    }
}
