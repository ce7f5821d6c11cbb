//! The process of a webserver, as others find it.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{journal::Journals, mark};

/// The pid of the webserver, in the data directory.
pub const PID_FILE: &str = "ray_on_golem.pid";

/// The process of the webserver, by its pid file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    began: u64,
}

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

    /// The port that its command line names.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        let words = self.words();
        let at = words.iter().position(|word| word == "-p" || word == "--port")?;
        words.get(at + 1)?.to_str()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use std::{fs, process::id};

    use super::{PID_FILE, Process};
    use crate::driver::journal::Journals;

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
}
