//! The log of the manager: lines in a file that is rotated by size, and on the standard error.
//!
//! ```text
//! [2026-01-01T00:00:00.123456Z] [INFO   ] [manager] Starting `golem-cluster` cluster...
//! ```
//!
//! Whatever is logged has no secret in it: keys and tokens have types that do not print themselves.

use std::{
    convert::Infallible,
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};

use super::clock;

/// A file that has grown so long makes room for a new one.
const LENGTH_MAX: u64 = 16 << 20;
/// So many files are kept beside the current one: `X.log.1` is the youngest.
const BACKUPS: u32 = 9;
/// How often the length of a log is looked at that we do not write by ourselves.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const WHO: &str = "log";

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who look for a bug.
    Debug,
    /// What happened.
    Info,
    /// What the user should know.
    Warning,
    /// What went wrong.
    Error,
}

/// A log; its clones write to the same place.
#[derive(Clone, Debug)]
pub struct Log(Arc<Mutex<Sink>>);

#[derive(Debug)]
struct Sink {
    file: Option<Rotated>,
    mirrored: bool,
}

#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    file: File,
    length: u64,
    length_max: u64,
}

impl Log {
    /// A log that says everything on the standard error, and to a file what matters to users.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let file = Some(Rotated::open(path, LENGTH_MAX)?);
        Ok(Self(Arc::new(Mutex::new(Sink { file, mirrored: true }))))
    }

    /// A log that nobody reads.
    #[must_use]
    pub fn silent() -> Self {
        Self(Arc::new(Mutex::new(Sink { file: None, mirrored: false })))
    }

    /// Logs a line of `who`.
    pub fn line(&self, level: Level, who: &str, what: &str) {
        // A line is one line, whatever a provider has called itself.
        let what = what.replace(['\n', '\r'], " ");
        let line =
            format!("[{}] [{:7}] [{who}] {what}\n", clock::written(clock::now()), level.name());
        // A panic while a line was written leaves a log that can still be written.
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sink.write(level, &line);
    }

    /// Logs what happened.
    pub fn info(&self, who: &str, what: &str) {
        self.line(Level::Info, who, what);
    }

    /// Logs what the user should know.
    pub fn warn(&self, who: &str, what: &str) {
        self.line(Level::Warning, who, what);
    }

    /// Logs what went wrong.
    pub fn error(&self, who: &str, what: &str) {
        self.line(Level::Error, who, what);
    }

    /// Logs what only those read who look for a bug.
    pub fn debug(&self, who: &str, what: &str) {
        self.line(Level::Debug, who, what);
    }
}

impl Level {
    /// Its name in a line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

impl Sink {
    /// A log that cannot be written is no reason to give up clusters that cost money.
    fn write(&mut self, level: Level, line: &str) {
        if self.mirrored {
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
        if let Some(file) = &mut self.file
            && level >= Level::Info
        {
            let _ = file.write(line.as_bytes());
        }
    }
}

impl Rotated {
    fn open(path: &Path, length_max: u64) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length, length_max })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.length > 0 && self.length.saturating_add(len) > self.length_max {
            rotate(&self.path)?;
            *self = Self::open(&self.path, self.length_max)?;
        }
        self.file.write_all(line)?;
        self.length = self.length.saturating_add(len);
        Ok(())
    }
}

/// Moves `X` to `X.1`, `X.1` to `X.2`, and so on; the oldest goes.
///
/// # Errors
///
/// If the disk fails.
pub fn rotate(path: &Path) -> io::Result<()> {
    make_room(path)?;
    fs::rename(path, backup(path, 1))
}

/// Cuts a log that has grown long and that another program goes on writing at its end: what was said until
/// then is copied to `X.1`. What is said in the meantime may be lost.
///
/// # Errors
///
/// If the disk fails.
pub fn cut(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.len() <= LENGTH_MAX {
        return Ok(());
    }
    make_room(path)?;
    fs::copy(path, backup(path, 1))?;
    File::options().write(true).open(path)?.set_len(0)
}

/// Moves `X.1` to `X.2`, and so on; the oldest goes.
fn make_room(path: &Path) -> io::Result<()> {
    for nth in (1..BACKUPS).rev() {
        let from = backup(path, nth);
        if from.exists() {
            fs::rename(from, backup(path, nth + 1))?;
        }
    }
    Ok(())
}

fn backup(path: &Path, nth: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{nth}"));
    PathBuf::from(name)
}

/// Keeps a log short that goes on growing, as our standard error does where it leads to a file. Never returns.
pub async fn keep_short(path: PathBuf, log: Log) -> Infallible {
    loop {
        sleep(LOOK_EVERY).await;
        let log_path = path.clone();
        let done = spawn_blocking(move || cut(&log_path)).await;
        // Where nobody has put it there is none.
        if let Ok(Err(error)) = done
            && error.kind() != io::ErrorKind::NotFound
        {
            log.warn(WHO, &format!("`{}` has grown long, and stays so: {error}", path.display()));
        }
    }
}

/// The last `count` lines of a file; none if it cannot be read.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let Ok(bytes) = fs::read(path) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<String> = text.lines().rev().take(count).map(str::to_owned).collect();
    lines.reverse();
    lines
}

/// How a program of ours begins the line that says why it fails, and the one that says what to do.
const ERROR: &str = "error: ";
const HINT: &str = "hint: ";

/// With what words a program of ours has ended, of the lines that it has said: the error, and the hint to it.
#[must_use]
pub fn last_words(lines: &[String]) -> Option<(String, Option<String>)> {
    let begin = lines.iter().rposition(|line| line.starts_with(ERROR))?;
    let (hints, error): (Vec<&String>, Vec<&String>) =
        lines[begin..].iter().partition(|line| line.starts_with(HINT));
    let said = error.iter().map(|line| line.as_str()).collect::<Vec<_>>().join("\n");
    let hint = hints.last().and_then(|line| line.strip_prefix(HINT));
    Some((said.trim_start_matches(ERROR).to_owned(), hint.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::{BACKUPS, LENGTH_MAX, Rotated, cut, last_lines, last_words};

    #[test]
    fn the_last_error_and_its_hint_are_what_a_program_ended_with() {
        let words = |text: &str| last_words(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        let some =
            |what: &str, hint: Option<&str>| Some((what.to_owned(), hint.map(str::to_owned)));

        assert_eq!(words(""), None);
        assert_eq!(words("[INFO] Starting"), None);
        assert_eq!(words("[INFO] x\nerror: no room"), some("no room", None));
        assert_eq!(words("error: a\nhint: b\nerror: c\nhint: d"), some("c", Some("d")));
        assert_eq!(
            words("error: it says:\n  two\nhint: look"),
            some("it says:\n  two", Some("look"))
        );
    }

    #[test]
    fn a_log_that_has_grown_long_makes_room_and_the_oldest_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.log");
        let mut log = Rotated::open(&path, 12).expect("a writable directory");
        for nth in 0..40 {
            log.write(format!("line {nth:02}\n").as_bytes()).expect("a writable directory");
        }

        assert_eq!(fs::read_to_string(&path).expect("the log"), "line 39\n");
        let oldest = directory.path().join(format!("a.log.{BACKUPS}"));
        assert_eq!(fs::read_to_string(oldest).expect("a backup"), "line 30\n");
        let files = fs::read_dir(directory.path()).expect("the directory").count();
        assert_eq!(files, 1 + usize::try_from(BACKUPS).expect("a small number"));
    }

    #[test]
    fn a_log_of_another_program_is_cut_under_its_pen() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.log");
        let open = || fs::File::options().append(true).create(true).open(&path);
        let mut theirs = open().expect("a writable directory");
        theirs.write_all(b"first\n").expect("a writable directory");
        cut(&path).expect("a readable directory");
        assert_eq!(fs::read_to_string(&path).expect("the log"), "first\n", "it is short");

        theirs.set_len(LENGTH_MAX + 1).expect("a sparse file");
        cut(&path).expect("a writable directory");
        theirs.write_all(b"last\n").expect("a writable directory");

        assert_eq!(fs::read_to_string(&path).expect("the log"), "last\n");
        let backup = fs::metadata(directory.path().join("a.log.1")).expect("a backup");
        assert_eq!(backup.len(), LENGTH_MAX + 1);
    }

    #[test]
    fn the_last_lines_are_the_last_ones() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.log");
        fs::write(&path, "1\n2\n3\n").expect("a writable directory");

        assert_eq!(last_lines(&path, 2), ["2", "3"]);
        assert_eq!(last_lines(&directory.path().join("none"), 2), [""; 0]);
    }
}
