//! What an activity of the simulated network is: a node, of one of three kinds.
//!
//! A *virtual* node lives in this process: its ssh server answers, and whatever it is told to run succeeds
//! and prints nothing. A *local* node is a real one in namespaces of this Linux host, with an address, a
//! disk, and processes of its own, in which Ray runs. Where the host forbids namespaces, a local node is a group of
//! *processes* with a loopback address and a directory of its own, in which Ray runs as well. The shell that serves the
//! simulated daemon asks for nodes here, and knows no more of them than a daemon does of its providers.

use std::{collections::BTreeMap, io, net::Ipv4Addr, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

mod directory;
mod filesystem;
mod forbidden;
mod holder;
mod init;
mod inside;
mod keys;
mod local;
mod loopback;
mod netlink;
mod orders;
mod passing;
mod paths;
mod reaper;
mod session;
mod sshd;
mod stall;
mod sweep;
mod virtual_nodes;

use local::LocalNodes;
use virtual_nodes::VirtualNodes;

pub use inside::Inside;
pub use local::LocalSetup;

/// The port of a node's ssh server.
pub const SSH_PORT: u16 = 22;

/// What a node is made of, as its agreement and its deployment say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// The activity that the node is; unique among those that run.
    pub activity: String,
    /// The private network that it is in. Nodes of other networks do not see it.
    pub network: String,
    /// Its name until its bootstrap gives it another one.
    pub hostname: String,
    /// Its address in the private network; unique there.
    pub address: Ipv4Addr,
    /// The mask of the private network.
    pub netmask: Ipv4Addr,
    /// How many threads its provider lends.
    pub threads: u32,
    /// How much memory its provider lends, in bytes.
    pub memory: u64,
    /// How much disk its provider lends, in bytes.
    pub disk: u64,
    /// Variables of every process in it.
    pub env: BTreeMap<String, String>,
    /// Directories that it has for its users' files.
    pub volumes: Vec<String>,
}

/// What a command left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Its exit code; 128 and the number of the signal that killed it.
    pub code: i32,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
}

/// What a command writes while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Written {
    /// To its standard output.
    Stdout(Vec<u8>),
    /// To its standard error.
    Stderr(Vec<u8>),
}

/// Why a node cannot do what it is asked for.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The host forbids the namespaces that nodes need; the sentence says which switch to turn.
    #[error("{0}")]
    NoNamespaces(String),
    /// The host does not let us make nodes; the sentence says what it lacks.
    #[error("{0}")]
    Forbidden(String),
    /// No node of this name runs.
    #[error("no node runs for the activity `{0}`")]
    Unknown(String),
    /// The name, or the address in the network, belongs to a node that runs.
    #[error("`{0}` belongs to another node that runs")]
    Taken(String),
    /// The node did not come up, or broke.
    #[error("the node of the activity `{activity}`: {reason}")]
    Broken {
        /// The activity.
        activity: String,
        /// What happened, in words of the host.
        reason: String,
    },
}

/// A stream of bytes to a port of a node.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// All nodes of a simulated network. Clones are the same host.
///
/// The host is asked from within a tokio runtime with its I/O and time drivers enabled. Nothing of a node outlives
/// `stop`, nothing of any node outlives `end`, and nothing outlives this process, however it dies.
#[derive(Clone, Debug)]
pub struct NodeHost {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Virtual(Arc<VirtualNodes>),
    Local(Arc<LocalNodes>),
}

impl NodeHost {
    /// A host whose nodes run nothing.
    #[must_use]
    pub fn virtual_nodes() -> Self {
        Self { kind: Kind::Virtual(Arc::default()) }
    }

    /// A host whose nodes are real, in namespaces of this Linux host.
    ///
    /// # Errors
    ///
    /// If the host forbids namespaces, or a path of the setup is not there.
    pub async fn local_nodes(setup: LocalSetup) -> Result<Self, NodeError> {
        Ok(Self { kind: Kind::Local(Arc::new(LocalNodes::in_namespaces(setup).await?)) })
    }

    /// A host whose nodes are groups of processes, each with a loopback address and a directory of its own.
    ///
    /// They share everything else: a program that listens on all addresses has the port for all nodes, and each sees the
    /// processes and files of the others. Nothing limits their memory and disk.
    ///
    /// # Errors
    ///
    /// If there are no addresses, or a path of the setup is not there.
    pub fn processes(setup: LocalSetup) -> Result<Self, NodeError> {
        Ok(Self { kind: Kind::Local(Arc::new(LocalNodes::of_processes(setup)?)) })
    }

    /// The address and the length of the prefix that the next private network must have; any will do if there is none.
    #[must_use]
    pub fn network(&self) -> Option<(Ipv4Addr, u8)> {
        match &self.kind {
            Kind::Virtual(_) => None,
            Kind::Local(nodes) => nodes.network(),
        }
    }

    /// Makes a node; when this returns, commands run in it.
    ///
    /// # Errors
    ///
    /// If the activity or the address has a node already, or the host cannot make it.
    pub async fn start(&self, spec: NodeSpec) -> Result<(), NodeError> {
        match &self.kind {
            Kind::Virtual(nodes) => nodes.start(spec),
            Kind::Local(nodes) => nodes.start(spec).await,
        }
    }

    /// Runs a program in a node as root, and waits until it ends, though not for what it leaves running.
    ///
    /// # Errors
    ///
    /// If there is no such node, or it ends meanwhile. A program that is not there has the exit code 127.
    pub async fn run(
        &self,
        activity: &str,
        program: &str,
        args: &[String],
    ) -> Result<Finished, NodeError> {
        let mut finished = Finished::default();
        let gather = |written| match written {
            Written::Stdout(bytes) => finished.stdout.extend(bytes),
            Written::Stderr(bytes) => finished.stderr.extend(bytes),
        };
        let code = self.run_telling(activity, program, args, gather).await?;
        Ok(Finished { code, ..finished })
    }

    /// As [`Self::run`], and tells what the program writes as it comes. Returns its exit code.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn run_telling(
        &self,
        activity: &str,
        program: &str,
        args: &[String],
        mut tell: impl FnMut(Written) + Send,
    ) -> Result<i32, NodeError> {
        match &self.kind {
            Kind::Virtual(nodes) => {
                let Finished { code, stdout, stderr } = nodes.run(activity, program, args)?;
                tell(Written::Stdout(stdout));
                tell(Written::Stderr(stderr));
                Ok(code)
            }
            Kind::Local(nodes) => nodes.run(activity, program, args, tell).await,
        }
    }

    /// Writes a file of a node, and the directories above it.
    ///
    /// # Errors
    ///
    /// If there is no such node, or the file cannot be written there.
    pub async fn write(&self, activity: &str, path: &str, bytes: &[u8]) -> Result<(), NodeError> {
        match &self.kind {
            Kind::Virtual(nodes) => nodes.write(activity, path, bytes),
            Kind::Local(nodes) => nodes.write(activity, path, bytes).await,
        }
    }

    /// Reads a file of a node.
    ///
    /// # Errors
    ///
    /// If there is no such node, or no such file.
    pub async fn read(&self, activity: &str, path: &str) -> Result<Vec<u8>, NodeError> {
        match &self.kind {
            Kind::Virtual(nodes) => nodes.read(activity, path),
            Kind::Local(nodes) => nodes.read(activity, path).await,
        }
    }

    /// Opens a stream to a port of a node, as a member of its private network would.
    ///
    /// # Errors
    ///
    /// `HostUnreachable` if no node has the address, `ConnectionRefused` if nobody listens there.
    pub async fn connect(
        &self,
        network: &str,
        address: Ipv4Addr,
        port: u16,
    ) -> io::Result<Box<dyn Wire>> {
        match &self.kind {
            Kind::Virtual(nodes) => nodes.connect(network, address, port),
            Kind::Local(nodes) => nodes.connect(network, address, port).await,
        }
    }

    /// Whether a node has an address of a private network.
    pub async fn has(&self, network: &str, address: Ipv4Addr) -> bool {
        match &self.kind {
            Kind::Virtual(nodes) => nodes.has(network, address),
            Kind::Local(nodes) => nodes.has(network, address).await,
        }
    }

    /// Ends a node with all that runs in it; harmless if there is none.
    pub async fn stop(&self, activity: &str) {
        match &self.kind {
            Kind::Virtual(nodes) => nodes.stop(activity),
            Kind::Local(nodes) => nodes.stop(activity).await,
        }
    }

    /// A fault: the node dies as of a power cut. Nobody is told, and its streams break.
    pub async fn kill(&self, activity: &str) {
        self.stop(activity).await;
    }

    /// A fault: the ssh server of the node falls silent, with its open connections, or speaks again.
    /// It also speaks again when it is started anew from within the node.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub async fn stall_ssh(&self, activity: &str, is_stalled: bool) -> Result<(), NodeError> {
        match &self.kind {
            Kind::Virtual(nodes) => nodes.stall_ssh(activity, is_stalled),
            Kind::Local(nodes) => nodes.stall_ssh(activity, is_stalled).await,
        }
    }

    /// A fault: the disk of the node is full, or has room again.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub async fn fill_disk(&self, activity: &str, is_full: bool) -> Result<(), NodeError> {
        match &self.kind {
            Kind::Virtual(nodes) => nodes.fill_disk(activity, is_full),
            Kind::Local(nodes) => nodes.fill_disk(activity, is_full).await,
        }
    }

    /// Ends all nodes, and leaves nothing behind.
    pub async fn end(&self) {
        match &self.kind {
            Kind::Virtual(nodes) => nodes.end(),
            Kind::Local(nodes) => nodes.end().await,
        }
    }
}
