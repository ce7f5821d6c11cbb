//! A real daemon with one node, and the product's proxy to it.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use ray_on_golem::{
    core::ids::NodeId,
    ssh::{Access, NodeAccess, proxy_command},
    yagna::{AppKey, NetworkPath},
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{
    PATIENCE,
    lab::{
        Lab, Market,
        network::{Link, Node},
    },
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ray-on-golem");
const CLUSTER: &str = "golem-cluster";

/// A daemon on a central net, a node, and what the webserver leaves for `ssh-proxy`.
pub(crate) struct Stage {
    lab: Lab,
    node: Node,
    data: TempDir,
}

/// A connection to a service of the node.
pub(crate) struct Proxy {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

/// Keeps both cores busy; threads, so that nothing stays behind a test that is killed.
pub(crate) struct Burner {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stage {
    pub(crate) fn start(name: &str) -> Self {
        let lab = Lab::start_central(&Market::empty());
        let node = lab.node(name);
        Self::with(lab, node)
    }

    /// The same with OpenSSH's server on the node.
    pub(crate) fn start_with_sshd(name: &str) -> Self {
        let lab = Lab::start_central(&Market::empty());
        let node = lab.node_with_sshd(name);
        Self::with(lab, node)
    }

    fn with(lab: Lab, node: Node) -> Self {
        let facts = lab.facts();
        let net = format!("{}/net-api/v2/vpn", facts.api_url).parse().expect("an address");
        let data = tempfile::tempdir().expect("a directory");
        let access = Access {
            net,
            app_key: AppKey::new(&facts.app_key).expect("a word"),
            path: NetworkPath::Daemon,
            network: Some(node.network.as_str().into()),
            nodes: BTreeMap::from([(NodeId(0), NodeAccess { ip: node.ip })]),
        };
        access.save(data.path(), &CLUSTER.into()).expect("a writable directory");
        Self { lab, node, data }
    }

    /// Changes what the way to the node is like.
    pub(crate) fn shape(&self, link: Link) {
        self.lab.link(&self.node, link);
    }

    /// Connects to a service of the node.
    pub(crate) fn proxy(&self, service: &str) -> Proxy {
        let port = self.node.port(service).to_string();
        let mut child = Command::new(PROGRAM)
            .args(["ssh-proxy", "--cluster", CLUSTER, "--node", "node0", "--port", &port])
            .arg("--datadir")
            .arg(self.data.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program runs");
        let input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        Proxy { input, output, _child: child }
    }

    /// Runs a command on the node by the system's ssh; returns what it says.
    pub(crate) async fn ssh(&self, command: &str, input: &[u8]) -> String {
        let proxy = proxy_command(
            Path::new(PROGRAM),
            self.data.path(),
            &CLUSTER.into(),
            NodeId(0),
            self.node.port("ssh"),
        );
        let mut child = Command::new("ssh")
            .args(["-F", "none", "-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", &format!("ProxyCommand={proxy}"), "-i"])
            .arg(self.node.login_key.as_ref().expect("the node has a server"))
            .args(["root@node", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("setup installs ssh");
        let mut stdin = child.stdin.take().expect("piped");
        let give = async {
            stdin.write_all(input).await.expect("ssh reads");
            drop(stdin);
        };
        let both = async { tokio::join!(give, child.wait_with_output()) };
        let ((), output) = timeout(PATIENCE, both).await.expect("it ends in time");
        let output = output.expect("it was started");
        assert!(output.status.success(), "ssh: {}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Has the node take bytes; returns the hash of what arrived there.
    pub(crate) async fn take(&self, content: &[u8]) -> String {
        let mut proxy = self.proxy("take");
        let message = [&size(content.len())[..], content].concat();
        let hash = proxy.talk_by(&message, message.len(), 64).await;
        String::from_utf8(hash).expect("a hash is text")
    }

    /// Has the node give bytes; returns them, and the hash that they have there.
    pub(crate) async fn give(&self, length: usize) -> (Vec<u8>, String) {
        let mut proxy = self.proxy("give");
        let mut bytes = proxy.talk_by(&size(length), 8, length + 64).await;
        let hash = bytes.split_off(length);
        (bytes, String::from_utf8(hash).expect("a hash is text"))
    }
}

impl Proxy {
    /// Asks the node for so many bytes.
    pub(crate) async fn ask(&mut self, length: usize) {
        self.input.write_all(&size(length)).await.expect("the proxy reads");
    }

    /// Sends a message in pieces of one size, and returns the next `length` bytes that come.
    pub(crate) async fn talk_by(&mut self, message: &[u8], piece: usize, length: usize) -> Vec<u8> {
        let mut answer = vec![0; length];
        let Self { input, output, .. } = self;
        let send = async {
            for part in message.chunks(piece) {
                input.write_all(part).await.expect("the proxy reads");
                input.flush().await.expect("the proxy reads");
            }
        };
        let both = async { tokio::join!(send, output.read_exact(&mut answer)) };
        let ((), read) = timeout(PATIENCE, both).await.expect("it ends in time");
        read.expect("the connection is open");
        answer
    }
}

impl Burner {
    pub(crate) fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let burn = |is_over: Arc<AtomicBool>| {
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let threads = (0..2).map(|_| thread::spawn(burn(Arc::clone(&is_over)))).collect();
        Self { is_over, threads }
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("it does nothing that fails");
        }
    }
}

/// A size as the services of a node want it.
fn size(length: usize) -> [u8; 8] {
    u64::try_from(length).expect("a length").to_be_bytes()
}

/// Bytes that are different for each seed, and whose order matters.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        // A linear congruence, of which the upper bits are good enough.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// The hash as the services of a node tell it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a string takes all");
    }
    text
}
