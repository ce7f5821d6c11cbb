//! The process of a webserver, as others find it.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

use super::mark;

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
        // A pid is used again; then it is another process's.
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let is_ours = command.split(|byte| *byte == 0).any(|word| word == b"webserver");
        is_ours.then_some(Self { pid, began })
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
