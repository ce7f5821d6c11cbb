//! By what a daemon of ours is known when the webserver that started it is gone: `DATA/yagna.pid`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tokio::process::Child;
use url::Url;

/// By what a daemon of ours is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) pid: i32,
    /// When its process began, as the system counts; a pid may be used again.
    began: u64,
    pub(super) url: Url,
    /// Whether it is the simulator.
    #[serde(default)]
    pub(super) simulated: bool,
}

/// A daemon of a data directory that lives, and is real where a simulated one is asked for, or the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherKind {
    is_simulated: bool,
    pid: i32,
}

impl OtherKind {
    /// What to do about it.
    pub const CURE: &str = "end it first, or choose another data directory with `--datadir`";

    /// The one of the data directory `data`, if it is not of the kind that is asked for.
    #[must_use]
    pub fn of(data: &Path, is_simulated: bool) -> Option<Self> {
        let mark = Mark::load(data).filter(Mark::is_alive)?;
        let other = Self { is_simulated: mark.simulated, pid: mark.pid };
        (mark.simulated != is_simulated).then_some(other)
    }

    /// What is in the way.
    #[must_use]
    pub fn what(&self) -> String {
        let pid = self.pid;
        match self.is_simulated {
            true => format!(
                "a simulated network of this data directory runs under pid {pid}; `ray-on-golem start --sim` goes on \
                 with it"
            ),
            false => format!(
                "a real daemon of this data directory runs under pid {pid}; `ray-on-golem start` goes on with it"
            ),
        }
    }
}

impl Mark {
    pub(super) fn of(child: &Child, url: &Url, simulated: bool) -> Option<Self> {
        let pid = i32::try_from(child.id()?).ok()?;
        Some(Self { pid, began: began(pid)?, url: url.clone(), simulated })
    }

    pub(super) fn load(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path(data)).ok()?).ok()
    }

    pub(super) fn save(&self, data: &Path) -> io::Result<()> {
        fs::write(path(data), serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    pub(super) fn is_alive(&self) -> bool {
        began(self.pid) == Some(self.began)
    }
}

/// When a process began, in the system's ticks; none if there is none, or only its remains.
pub(crate) fn began(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have spaces and brackets in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let state = words.next()?;
    if state == "Z" {
        return None;
    }
    words.nth(18)?.parse().ok()
}

/// Whether the daemon that a webserver of this data directory has started last is a simulated network.
#[must_use]
pub fn was_simulated(data: &Path) -> bool {
    Mark::load(data).is_some_and(|mark| mark.simulated)
}

pub(super) fn path(data: &Path) -> PathBuf {
    data.join("yagna.pid")
}
