//! What the processes of local nodes say to one another: this program, the holder of a private network, and the
//! first process of each node.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Finished, NodeSpec};

/// Our own directory in a node.
pub(super) const SUPPORT: &str = "/opt/golem-sim";
/// Where the first process of a node listens to the others.
pub(super) const CALLS: &str = "/run/golem-sim.sock";
/// The interface to the private network.
pub(super) const INTERFACE: &str = "eth0";

/// All that the first process of a node must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Birth {
    pub(super) spec: NodeSpec,
    /// A virtual environment of Python that the node sees, and may write to on its own disk.
    pub(super) venv: Option<PathBuf>,
    /// Paths of the host that are shown although they are in a directory of the node's own.
    pub(super) visible: Vec<PathBuf>,
}

/// Asked of a holder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum HolderOrder {
    Start(Box<Birth>),
    Stop(String),
}

/// Asked of a node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum NodeOrder {
    Run {
        program: String,
        args: Vec<String>,
    },
    /// After the answer, the stream is the connection.
    Connect(u16),
    StallSsh(bool),
    FillDisk(bool),
}

/// The answer to either.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Finished(Finished),
    /// The number of the error, if the kernel has one for it, and what was being done.
    Failed(Option<i32>, String),
}

impl Birth {
    /// The search path of the node's commands.
    pub(super) fn path(&self) -> String {
        let venv = self.venv.iter().map(|venv| format!("{}/bin:", venv.display()));
        let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        format!("{}{SUPPORT}/bin:{system}", venv.collect::<String>())
    }
}

impl Reply {
    pub(super) fn failed(doing: &str, error: &io::Error) -> Self {
        Self::Failed(error.raw_os_error(), format!("{doing}: {error}"))
    }

    pub(super) fn of(doing: &str, result: io::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(error) => Self::failed(doing, &error),
        }
    }
}
