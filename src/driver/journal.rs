//! The files of the journal: one for what is common, one for each cluster, and a lock.
//!
//! ```text
//! DATA/journal/lock               held by the one process that may write (R6)
//! DATA/journal/common.ndjson
//! DATA/journal/cluster-3.ndjson
//! DATA/journal/cluster-3.new      a shorter one that is being written
//! DATA/journal/cluster-2.closed   one of a closed cluster, until the books have taken it over
//! DATA/journal/next               room for the journal of the next cluster, before that may begin
//! ```
//!
//! What [`Journals::append`] returns from is on the disk. A crash at any point, also while the journals
//! are opened (R4), leaves something that the next start understands: a torn last line, a file of a
//! cluster that is closed, or half of a shorter journal that has not taken its place yet.
//!
//! All calls block until the disk has answered.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};
use thiserror::Error;

use crate::{
    core::{
        ids::ClusterId,
        record::{CommonRecord, Durable, JournalId, Record, Snapshot},
    },
    files,
    journal::{self, Growth, JournalError, TornTail, Writer},
    units::Timestamp,
};

pub(super) const DIRECTORY: &str = "journal";
const LOCK: &str = "lock";
pub(super) const EXTENSION: &str = "ndjson";
/// So many bytes of the disk are kept for what a journal has still to say: enough to end a cluster of a thousand nodes.
const RESERVE: u64 = 4 << 20;
/// What becomes the journal of the next cluster.
const NEXT: &str = "next";
/// Of a journal that is being written anew.
const EXTENSION_NEW: &str = "new";
/// Of the journal of a closed cluster.
pub(super) const EXTENSION_CLOSED: &str = "closed";

/// The journals of one data directory, held by this process alone while this lives.
#[derive(Debug)]
pub struct Journals {
    directory: PathBuf,
    files: BTreeMap<JournalId, JournalFile>,
    /// What becomes the journal of the next cluster, with its reserve.
    next: Option<File>,
    /// Whether journals of closed clusters are kept for those who read them.
    keeps_closed: bool,
    /// Given back when the file is closed, also by a crash.
    _lock: File,
}

/// What the journals said when they were opened.
#[derive(Debug)]
pub struct Recovered {
    /// The fold of all of them.
    pub durable: Durable,
    /// When the latest line was written, by the clock of then.
    pub written: Timestamp,
    /// The last lines that were dropped; the user is told.
    pub torn: Vec<TornTail>,
}

/// Why the journals are of no use.
#[derive(Debug, Error)]
pub enum JournalsError {
    /// Another process has them.
    #[error(
        "another `ray-on-golem` uses `{}`; stop it first, or choose another data directory",
        directory.display()
    )]
    InUse {
        /// Where they are.
        directory: PathBuf,
    },
    /// One of them is not understood.
    #[error("cannot use `{}`: {error}", path.display())]
    Bad {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        error: JournalError,
    },
    /// There is a journal of a cluster that the common journal has never heard of.
    #[error(
        "`{}` belongs to a cluster that the common journal does not know; put back the \
         `common.ndjson` that was there with it",
        path.display()
    )]
    Stray {
        /// Its file.
        path: PathBuf,
    },
    /// The disk, or the permissions.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something is to be written of a cluster that is closed: a bug.
    #[error("`{}` belongs to a cluster that is closed, and nothing is written of one", path.display())]
    Closed {
        /// The file that it had.
        path: PathBuf,
    },
    /// An earlier failure left it unknown what is on the disk.
    #[error(
        "nothing more is written to `{}` since an earlier write failed; see to the disk, then start \
         `ray-on-golem` again",
        path.display()
    )]
    Broken {
        /// Its file.
        path: PathBuf,
    },
}

impl Journals {
    /// Opens the journals below `data`, which is created if need be, and reads them.
    ///
    /// # Errors
    ///
    /// If another process has them, if one cannot be trusted, or if the disk fails.
    pub fn open(data: &Path) -> Result<(Self, Recovered), JournalsError> {
        Self::open_with(data, false)
    }

    /// As [`Self::open`]; the journals of clusters that are closed stay, for [`past`](super::past::past).
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_keeping(data: &Path) -> Result<(Self, Recovered), JournalsError> {
        Self::open_with(data, true)
    }

    fn open_with(data: &Path, keeps_closed: bool) -> Result<(Self, Recovered), JournalsError> {
        let directory = create_directory(data)?;
        let lock = lock(&directory)?;
        let files = BTreeMap::new();
        let mut journals = Self { directory, files, next: None, keeps_closed, _lock: lock };
        let mut recovered =
            Recovered { durable: Durable::default(), written: Timestamp::EPOCH, torn: Vec::new() };
        journals.read(JournalId::Common, &mut recovered)?;
        journals.clear(&recovered.durable)?;
        let clusters: Vec<JournalId> = recovered.durable.journals().collect();
        for journal in clusters.into_iter().filter(|journal| *journal != JournalId::Common) {
            journals.read(journal, &mut recovered)?;
        }
        Ok((journals, recovered))
    }

    /// Whether another process has the journals below `data`.
    #[must_use]
    pub fn are_in_use(data: &Path) -> bool {
        let Ok(file) = File::open(data.join(DIRECTORY).join(LOCK)) else { return false };
        // It is given back at the end of this function.
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Whether this process has the journals below `data`, as far as the system tells.
    pub(super) fn are_used_by(data: &Path, pid: i32) -> bool {
        let Ok(lock) = data.join(DIRECTORY).join(LOCK).canonicalize() else { return false };
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|path| path == lock))
    }

    /// Writes records that become durable together. They are on the disk when this returns, as the line of this number.
    ///
    /// # Errors
    ///
    /// If they may not be on the disk: then what they announce must not be done. If they are of a cluster that is
    /// closed.
    pub fn append(
        &mut self,
        journal: JournalId,
        at: Timestamp,
        records: &[Record],
    ) -> Result<u64, JournalsError> {
        let seq = match self.files.get_mut(&journal) {
            Some(file) => file.append(at, records)?,
            None => {
                let path = self.path(journal, EXTENSION);
                let is_first = records.first().is_some_and(Record::begins_journal);
                if journal != JournalId::Common && !is_first {
                    return Err(JournalsError::Closed { path });
                }
                let mut file = JournalFile::of(path.clone(), self.begin(&path)?);
                let synced = sync_directory(&self.directory);
                file.is_broken = synced.is_err();
                let appended = synced.and_then(|()| file.append(at, records));
                self.files.insert(journal, file);
                appended?
            }
        };
        for record in records {
            if let Record::Common(CommonRecord::ClusterClosed { cluster, .. }) = record {
                self.remove(*cluster);
            }
        }
        Ok(seq)
    }

    /// Sees to it that the disk has room for another cluster, before one is begun.
    ///
    /// # Errors
    ///
    /// If the disk is full: a cluster that was begun could not be written of.
    pub fn make_room(&mut self) -> Result<(), JournalsError> {
        if self.next.is_some() {
            return Ok(());
        }
        let path = self.directory.join(NEXT);
        let created = File::options().append(true).create(true).open(&path);
        let file = created.map_err(|source| failed("create", &path, source))?;
        match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, RESERVE).map_err(io::Error::from) {
            Err(source) if is_full(&source) => return Err(failed("make room in", &path, source)),
            // Not every file system knows reserves.
            Ok(()) | Err(_) => self.next = Some(file),
        }
        Ok(())
    }

    /// A new journal.
    fn begin(&mut self, path: &Path) -> Result<File, JournalsError> {
        match self.next.take() {
            Some(file) if !path.exists() => {
                let begun = fs::rename(self.directory.join(NEXT), path);
                begun.map_err(|source| failed("begin", path, source))?;
                Ok(file)
            }
            Some(_) | None => create(path),
        }
    }

    /// The journals that have grown long: each is to be given to [`Self::compact`] as soon as all that
    /// the machine has said is written, so that its state and the journal are the same.
    pub fn due(&self) -> impl Iterator<Item = JournalId> {
        self.files.iter().filter(|(_, file)| file.growth.is_due()).map(|(journal, _)| *journal)
    }

    /// Replaces a journal by what it folds to.
    ///
    /// # Errors
    ///
    /// If the disk fails; the journal is as it was then, and goes on. It is due again when it has grown as much once more.
    pub fn compact(&mut self, at: Timestamp, snapshot: &Snapshot) -> Result<(), JournalsError> {
        let compacted = self.replace(at, snapshot);
        if let Some(file) = self.files.get_mut(&journal::journal_of(snapshot)) {
            file.growth = Growth::default();
        }
        compacted
    }

    fn replace(&mut self, at: Timestamp, snapshot: &Snapshot) -> Result<(), JournalsError> {
        let journal = journal::journal_of(snapshot);
        let (path, new) = (self.path(journal, EXTENSION), self.path(journal, EXTENSION_NEW));
        let Some(old) = self.files.get(&journal) else { return Ok(()) };
        if old.is_broken {
            return Err(JournalsError::Broken { path });
        }
        let mut writer = old.writer;
        let line = writer.snapshot(at, snapshot);
        let file = write_anew(&new, &line)?;
        fs::rename(&new, &path).map_err(|source| failed("replace", &path, source))?;
        // The old file has no name any more: from here on only the new one counts.
        let synced = sync_directory(&self.directory);
        let mut file = JournalFile {
            writer,
            len: len_of(&line),
            is_broken: synced.is_err(),
            ..JournalFile::of(path, file)
        };
        file.reserve();
        self.files.insert(journal, file);
        synced
    }

    fn read(&mut self, journal: JournalId, recovered: &mut Recovered) -> Result<(), JournalsError> {
        let path = self.path(journal, EXTENSION);
        let file = match File::options().read(true).append(true).open(&path) {
            Ok(file) => file,
            // A cluster may be known while its first record was not written yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(failed("open", &path, source)),
        };
        let mut file = JournalFile::of(path, file);
        file.recover(journal, recovered)?;
        self.files.insert(journal, file);
        Ok(())
    }

    /// Removes what a crash has left: journals of closed clusters, and halves of shorter journals.
    fn clear(&self, durable: &Durable) -> Result<(), JournalsError> {
        let reading = |source| failed("list", &self.directory, source);
        let open: Vec<JournalId> = durable.journals().collect();
        for entry in fs::read_dir(&self.directory).map_err(reading)? {
            let path = entry.map_err(reading)?.path();
            let Some((journal, extension)) = meaning(&path) else { continue };
            if extension == EXTENSION && open.contains(&journal) {
                continue;
            }
            let is_unknown = match journal {
                JournalId::Common => false,
                JournalId::Cluster(id) => id >= durable.next_cluster(),
            };
            if extension == EXTENSION && is_unknown {
                return Err(JournalsError::Stray { path });
            }
            let removed = match journal {
                JournalId::Cluster(_) if extension == EXTENSION => self.put_away(&path),
                JournalId::Cluster(_) | JournalId::Common => fs::remove_file(&path),
            };
            removed.map_err(|source| failed("remove", &path, source))?;
        }
        sync_directory(&self.directory)
    }

    /// What stays here by a failure is removed at the next start.
    fn remove(&mut self, cluster: ClusterId) {
        let journal = JournalId::Cluster(cluster);
        if let Some(file) = self.files.remove(&journal) {
            // Nothing more comes: the reserve is free again.
            let _ = file.file.set_len(file.len);
        }
        let _ = self.put_away(&self.path(journal, EXTENSION));
    }

    /// The journal of a closed cluster is a journal no more.
    fn put_away(&self, path: &Path) -> io::Result<()> {
        match self.keeps_closed {
            true => fs::rename(path, path.with_extension(EXTENSION_CLOSED)),
            false => fs::remove_file(path),
        }
    }

    fn path(&self, journal: JournalId, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", name_of(journal)))
    }
}

/// One journal that is open.
#[derive(Debug)]
struct JournalFile {
    path: PathBuf,
    file: File,
    writer: Writer,
    /// Up to here everything is good.
    len: u64,
    /// Up to here the disk has room for it, or was asked for.
    reserved: u64,
    growth: Growth,
    /// Whether it is unknown what is on the disk.
    is_broken: bool,
}

impl JournalFile {
    const fn of(path: PathBuf, file: File) -> Self {
        let writer = Writer::new(0);
        let growth = Growth { lines: 0, bytes: 0 };
        Self { path, file, writer, len: 0, reserved: 0, growth, is_broken: false }
    }

    /// Folds what is there, and cuts off what a crash has torn.
    fn recover(
        &mut self,
        journal: JournalId,
        recovered: &mut Recovered,
    ) -> Result<(), JournalsError> {
        let mut bytes = Vec::new();
        let path = &self.path;
        self.file.read_to_end(&mut bytes).map_err(|source| failed("read", path, source))?;
        let reading = journal::read(journal, &bytes, &mut recovered.durable)
            .map_err(|error| JournalsError::Bad { path: path.clone(), error })?;
        self.writer = Writer::new(reading.next_seq);
        self.len = len_of(&bytes[..reading.valid_len]);
        self.growth = reading.growth;
        if reading.torn.is_some() {
            self.cut().map_err(|source| failed("cut off the torn end of", &self.path, source))?;
        }
        self.reserve();
        recovered.written = recovered.written.max(reading.written);
        recovered.torn.extend(reading.torn);
        Ok(())
    }

    fn append(&mut self, at: Timestamp, records: &[Record]) -> Result<u64, JournalsError> {
        if self.is_broken {
            return Err(JournalsError::Broken { path: self.path.clone() });
        }
        let mut writer = self.writer;
        let seq = writer.next_seq();
        let line = writer.batch(at, records);
        if let Err(source) = self.file.write_all(&line) {
            // Nothing of it may stay, or the next line would follow half a line.
            self.is_broken = self.cut().is_err();
            return Err(failed("write to", &self.path, source));
        }
        if let Err(source) = self.file.sync_data() {
            // The system may have thrown away what it could not write: asking again proves nothing.
            self.is_broken = true;
            return Err(failed("sync", &self.path, source));
        }
        self.writer = writer;
        self.len = self.len.saturating_add(len_of(&line));
        self.growth.add(len_of(&line));
        if self.len.saturating_add(RESERVE / 2) > self.reserved {
            self.reserve();
        }
        Ok(seq)
    }

    /// Sees to it that the journal can grow though others fill the disk. Where the disk has no room, or knows no reserves,
    /// it is asked again when the journal has grown.
    fn reserve(&mut self) {
        let _ = fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.len, RESERVE);
        self.reserved = self.len.saturating_add(RESERVE);
    }

    fn cut(&self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.file.sync_data()
    }
}

pub(super) fn name_of(journal: JournalId) -> String {
    match journal {
        JournalId::Common => "common".to_owned(),
        JournalId::Cluster(id) => format!("cluster-{}", id.0),
    }
}

/// The journal that a file is of, and its extension; `None` for files that are none of ours.
pub(super) fn meaning(path: &Path) -> Option<(JournalId, &str)> {
    let (name, extension) = path.file_name()?.to_str()?.split_once('.')?;
    let is_ours = extension == EXTENSION || extension == EXTENSION_NEW;
    let journal = match name.strip_prefix("cluster-") {
        None => (name == "common").then_some(JournalId::Common)?,
        Some(number) => JournalId::Cluster(ClusterId(number.parse().ok()?)),
    };
    is_ours.then_some((journal, extension))
}

/// Whether the disk, or what its user may have of it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn lock(directory: &Path) -> Result<File, JournalsError> {
    let path = directory.join(LOCK);
    let opened = File::options().write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(|source| failed("open", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(JournalsError::InUse { directory: directory.to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(failed("lock", &path, source)),
    }
}

/// A new file whose bytes are on the disk when this returns; its name may not be.
fn write_anew(path: &Path, bytes: &[u8]) -> Result<File, JournalsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", path, error));
        }
        // What an attempt before this one has left is of no use.
        Ok(()) | Err(_) => {}
    }
    let mut file = create(path)?;
    file.write_all(bytes).map_err(|source| failed("write to", path, source))?;
    file.sync_all().map_err(|source| failed("sync", path, source))?;
    Ok(file)
}

/// A file that was not there before, to be written at its end only.
fn create(path: &Path) -> Result<File, JournalsError> {
    let created = File::options().append(true).create_new(true).open(path);
    created.map_err(|source| failed("create", path, source))
}

/// The directory of the journals, with all directories above it, on the disk.
fn create_directory(data: &Path) -> Result<PathBuf, JournalsError> {
    let data = std::path::absolute(data).map_err(|source| failed("find", data, source))?;
    let directory = data.join(DIRECTORY);
    let made: Vec<&Path> = directory.ancestors().take_while(|above| !above.exists()).collect();
    files::make_private(&directory).map_err(|source| failed("create", &directory, source))?;
    // One that an earlier version has made could be read by others.
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(&directory, private)
        .map_err(|source| failed("make private", &directory, source))?;
    made.into_iter().filter_map(Path::parent).try_for_each(sync_directory)?;
    Ok(directory)
}

/// Makes names in a directory durable: those of new, renamed, and removed files.
fn sync_directory(directory: &Path) -> Result<(), JournalsError> {
    let synced = File::open(directory).and_then(|file| file.sync_all());
    synced.map_err(|source| failed("sync", directory, source))
}

fn len_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

pub(super) fn failed(doing: &'static str, path: &Path, source: io::Error) -> JournalsError {
    JournalsError::Io { doing, path: path.to_owned(), source }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::PermissionsExt as _,
    };

    use super::{DIRECTORY, JournalFile, Journals, JournalsError};
    use crate::{
        core::record::{CommonRecord, Record},
        units::Timestamp,
    };

    fn append_twice(file: &mut JournalFile) -> [Result<u64, JournalsError>; 2] {
        let record = Record::Common(CommonRecord::DemandEnded { mark: Timestamp::EPOCH });
        let mut append = || file.append(Timestamp::EPOCH, std::slice::from_ref(&record));
        [append(), append()]
    }

    fn device(path: &str) -> JournalFile {
        let file = File::options().write(true).open(path).expect("Linux has it");
        JournalFile::of(path.into(), file)
    }

    #[test]
    fn no_other_user_reads_a_journal() {
        let data = tempfile::tempdir().expect("a directory");
        let directory = data.path().join(DIRECTORY);
        // As an earlier version has left it.
        fs::create_dir(&directory).expect("a writable directory");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("ours");

        Journals::open(data.path()).expect("nothing is there");

        let mode = fs::metadata(&directory).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn after_a_failed_sync_nothing_more_is_written() {
        // This device takes all writes, and cannot be synced.
        let [first, second] = append_twice(&mut device("/dev/null"));

        assert!(matches!(first, Err(JournalsError::Io { doing: "sync", .. })), "{first:?}");
        assert!(matches!(second, Err(JournalsError::Broken { .. })), "{second:?}");
    }

    #[test]
    fn after_a_failed_write_that_cannot_be_undone_nothing_more_is_written() {
        // This device takes no write, and cannot be cut.
        let [first, second] = append_twice(&mut device("/dev/full"));

        assert!(matches!(first, Err(JournalsError::Io { doing: "write to", .. })), "{first:?}");
        assert!(matches!(second, Err(JournalsError::Broken { .. })), "{second:?}");
    }
}
