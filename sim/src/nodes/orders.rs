//! What the processes of local nodes say to one another: this program, the holder of a private network, and the
//! first process of each node.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{NodeSpec, SSH_PORT, Written};

/// Our own directory in a node that has a file system of its own.
pub(super) const SUPPORT: &str = "/opt/golem-sim";
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
    /// What keeps it apart from the host.
    pub(super) ground: Ground,
}

/// What keeps a node apart from the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Ground {
    /// Namespaces: every path, port, and process that it sees is its own.
    Namespaces,
    /// Nothing but a directory: the node is a group of processes of the host.
    Directory {
        /// It holds what a node has for itself at the same paths below `/`.
        root: PathBuf,
        /// The port of its ssh server, which others of the host may have to themselves.
        ssh_port: u16,
    },
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
    /// What follows, to the end of the stream, is the content of this file.
    Write(String),
    /// After the answer, the stream is the content of this file.
    Read(String),
    StallSsh(bool),
    FillDisk(bool),
}

/// The answer to either.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    /// A command has written something, and goes on.
    Wrote(Written),
    /// A command is over, with this exit code.
    Finished(i32),
    /// The number of the error, if the kernel has one for it, and what was being done.
    Failed(Option<i32>, String),
}

impl Birth {
    /// The search path of the node's commands.
    pub(super) fn path(&self) -> String {
        let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let own = match &self.ground {
            Ground::Namespaces => {
                let venv = self.venv.iter().map(|venv| format!("{}/bin:", venv.display()));
                format!("{}{SUPPORT}/bin", venv.collect::<String>())
            }
            // What stands in for a program of the environment comes before it.
            Ground::Directory { root, .. } => {
                let root = root.display();
                format!("{root}{SUPPORT}/bin:{root}{SUPPORT}/venv/bin")
            }
        };
        format!("{own}:{system}")
    }
}

impl Ground {
    /// Where a path of the node is for this process.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        match self {
            Self::Namespaces => PathBuf::from(path),
            Self::Directory { root, .. } => root.join(path.trim_start_matches('/')),
        }
    }

    /// The socket where the first process of the node listens to the others.
    pub(super) fn calls(&self) -> PathBuf {
        self.at("/run/golem-sim.sock")
    }

    /// The port of the ssh server.
    pub(super) const fn ssh_port(&self) -> u16 {
        match self {
            Self::Namespaces => SSH_PORT,
            Self::Directory { ssh_port, .. } => *ssh_port,
        }
    }

    /// The node's directory on the host, if it has nothing else.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Namespaces => None,
            Self::Directory { root, .. } => Some(root),
        }
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
