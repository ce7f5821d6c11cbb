//! The product's `ssh-proxy` to services of a lab's node, and what is sent through it.

use std::{
    env,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ray-on-golem");
pub(crate) const CLUSTER: &str = "golem-cluster";

/// How long a transfer may take on a machine that does other things, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// The length of a hash as the services of a node tell it.
const HASH_LENGTH: usize = 64;

/// A node whose services are reached by `ssh-proxy`.
pub(crate) trait Services {
    /// Connects to a service of the node.
    fn proxy(&self, service: &str) -> Proxy;
}

/// A connection to a service of a node.
pub(crate) struct Proxy {
    pub(crate) input: Option<ChildStdin>,
    pub(crate) output: ChildStdout,
    pub(crate) child: Child,
}

/// Keeps both cores busy; threads, so that nothing stays behind a test that is killed. Without `TIMES` they take what others
/// leave of the cores: those others, other tests mostly, are what keeps them busy then.
pub(crate) struct Burner {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Transfers of one size, half of them while both cores are busy.
pub(crate) async fn transfers_arrive_whole(node: &impl Services, size: usize, rounds: u64) {
    for round in 0..rounds {
        let busy = (round % 2 == 1).then(Burner::start);
        let content = bytes(size, round);
        let said = take(node.proxy("take"), &content).await;
        assert_eq!(said, sha256(&content), "upload {round} of {size} bytes");
        let (content, said) = give(node.proxy("give"), size).await;
        assert_eq!(said, sha256(&content), "download {round} of {size} bytes");
        drop(busy);
    }
}

/// Has the node take bytes; returns the hash of what arrived there.
pub(crate) async fn take(mut proxy: Proxy, content: &[u8]) -> String {
    let message = [&size(content.len())[..], content].concat();
    let hash = proxy.talk(&message, message.len(), HASH_LENGTH).await;
    String::from_utf8(hash).expect("a hash is text")
}

/// Has the node give bytes; returns them, and the hash that they have there.
async fn give(mut proxy: Proxy, length: usize) -> (Vec<u8>, String) {
    let mut bytes = proxy.talk(&size(length), 8, length + HASH_LENGTH).await;
    let hash = bytes.split_off(length);
    (bytes, String::from_utf8(hash).expect("a hash is text"))
}

impl Proxy {
    /// Starts `ssh-proxy` to a port of the node that the access file in `data` knows.
    pub(crate) fn start(data: &Path, port: u16) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["ssh-proxy", "--cluster", CLUSTER, "--node", "node0", "--port"])
            .arg(port.to_string())
            .arg("--datadir")
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program runs");
        let input = child.stdin.take();
        let output = child.stdout.take().expect("piped");
        Self { input, output, child }
    }

    pub(crate) async fn send(&mut self, message: &[u8]) {
        let input = self.input.as_mut().expect("it is not shut");
        timeout(PATIENCE, input.write_all(message)).await.expect("in time").expect("it reads");
    }

    /// Sends a message in pieces of one size, and returns the next `length` bytes that come.
    pub(crate) async fn talk(&mut self, message: &[u8], piece: usize, length: usize) -> Vec<u8> {
        let mut answer = vec![0; length];
        let Self { input, output, child } = self;
        let input = input.as_mut().expect("it is not shut");
        let send = async {
            for part in message.chunks(piece) {
                input.write_all(part).await?;
                input.flush().await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let both = async { tokio::join!(send, output.read_exact(&mut answer)) };
        let (sent, read) = timeout(PATIENCE, both).await.expect("it ends in time");
        if let Err(error) = sent.and(read) {
            panic!("{error}; the proxy has ended: {:?}", child.try_wait());
        }
        answer
    }
}

impl Burner {
    pub(crate) fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let burn = |is_over: Arc<AtomicBool>| {
            move || {
                if env::var_os("TIMES").is_none() {
                    // Of this thread alone, as Linux has it.
                    rustix::process::nice(19).expect("everybody may be nicer");
                }
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
pub(crate) fn size(length: usize) -> [u8; 8] {
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
