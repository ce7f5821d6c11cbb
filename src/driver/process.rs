//! The process of a webserver, as others find it.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::id,
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    journal::{Journals, JournalsError},
    mark,
};

/// The pid of the webserver, in the data directory.
const PID_FILE: &str = "ray_on_golem.pid";
/// What has just ended has let go of its files after so many looks, however much the computer has to do.
const LOOKS: u32 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The process of the webserver, by its pid file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    began: u64,
}

/// The file with our pid, as long as we live.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl Process {
    /// The webserver of a data directory, if it lives.
    #[must_use]
    pub fn of(data: &Path) -> Option<Self> {
        let pid = fs::read_to_string(data.join(PID_FILE)).ok()?.trim().parse().ok()?;
        let began = mark::began(pid)?;
        // A pid is used again; then it is another process's, which has none of our files.
        Journals::are_used_by(data, pid).then_some(Self { pid, began })
    }

    /// Its command line.
    #[must_use]
    pub fn words(self) -> Vec<OsString> {
        let command = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        // Each word ends with a zero.
        let words = command.strip_suffix(&[0]).unwrap_or(&command).split(|byte| *byte == 0);
        words.map(|word| OsStr::from_bytes(word).to_owned()).collect()
    }

    /// Its environment, as it was when it began.
    #[must_use]
    pub fn environment(self) -> Vec<(OsString, OsString)> {
        let variables = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        let pair = |variable: &[u8]| {
            let at = variable.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (variable.get(..at)?, variable.get(at + 1..)?);
            Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
        };
        variables.split(|byte| *byte == 0).filter_map(pair).collect()
    }

    /// Its working directory, to which paths of its command line may be relative.
    #[must_use]
    pub fn directory(self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()
    }

    /// The port that its command line names.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        port_in(&self.words())
    }

    /// Whether it lives.
    #[must_use]
    pub fn is_alive(self) -> bool {
        mark::began(self.pid) == Some(self.began)
    }

    /// Asks it to end, or makes it.
    pub fn signal(self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // It may just have ended.
            let _ = kill_process(pid, signal);
        }
    }
}

impl PidFile {
    /// Writes our pid into the data directory.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(data: &Path) -> io::Result<Self> {
        let path = data.join(PID_FILE);
        fs::write(&path, format!("{}\n", id()))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // What stays names a process that is no more.
        let _ = fs::remove_file(&self.0);
    }
}

/// Does what needs the journals of a data directory, again while a process has them that is no webserver which runs: the
/// system takes the files of a process that has ended away thread by thread, and a command may look whether they are in use.
///
/// # Errors
///
/// What is in the way, as the last attempt has found it.
pub fn once_let_go<T>(
    data: &Path,
    attempt: impl FnMut() -> Result<T, JournalsError>,
) -> Result<T, JournalsError> {
    try_again(data, || sleep(LOOK_EVERY), attempt)
}

fn try_again<T>(
    data: &Path,
    mut pause: impl FnMut(),
    mut attempt: impl FnMut() -> Result<T, JournalsError>,
) -> Result<T, JournalsError> {
    for _ in 0..LOOKS {
        match attempt() {
            Err(JournalsError::InUse { .. }) if Process::of(data).is_none() => pause(),
            done => return done,
        }
    }
    attempt()
}

/// The port in a command line, in each form that the parser of arguments takes.
fn port_in(words: &[OsString]) -> Option<u16> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let port = match word.strip_prefix("--port").or_else(|| word.strip_prefix("-p"))? {
            "" => words.get(at + 1)?,
            port => port.strip_prefix('=').unwrap_or(port),
        };
        port.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, process::id};

    use super::{PID_FILE, Process, port_in, try_again};
    use crate::driver::journal::{Journals, JournalsError};

    #[test]
    fn a_port_is_found_in_each_of_its_forms() {
        for words in ["--port 4579", "--port=4579", "-p 4579", "-p4579", "-p=4579"] {
            let words: Vec<_> = ["rog", "webserver"].into_iter().chain(words.split(' ')).collect();
            let words: Vec<_> = words.into_iter().map(Into::into).collect();
            assert_eq!(port_in(&words), Some(4579), "{words:?}");
        }
        assert_eq!(port_in(&["rog".into(), "webserver".into()]), None);
    }

    #[test]
    fn a_pid_that_is_used_again_is_no_webserver() {
        let data = tempfile::tempdir().expect("a directory");
        fs::write(data.path().join(PID_FILE), id().to_string()).expect("a writable directory");
        assert_eq!(Process::of(data.path()), None);

        let journals = Journals::open(data.path()).expect("nothing is there");
        let process = Process::of(data.path()).expect("this process has the journals");
        assert_eq!(process.pid.to_string(), id().to_string());
        assert!(process.is_alive());

        drop(journals);
        assert_eq!(Process::of(data.path()), None);
    }

    #[test]
    fn a_process_that_ends_is_waited_for_until_it_has_let_go_of_the_journals() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path();
        // A process of which only a thread is left is in no pid file that names a process.
        let mut held = Some(Journals::open(data).expect("a fresh directory"));

        let opened = try_again(data, || drop(held.take()), || Journals::open(data));

        assert!(opened.is_ok());
    }

    #[test]
    fn a_webserver_that_runs_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path();
        let _held = Journals::open(data).expect("a fresh directory");
        fs::write(data.join(PID_FILE), id().to_string()).expect("a writable directory");

        let refused = try_again(data, || panic!("nothing to wait for"), || Journals::open(data));

        assert!(matches!(refused, Err(JournalsError::InUse { .. })));
    }
}
