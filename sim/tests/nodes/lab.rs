//! A host of local nodes for one test, and the system's ssh client.

use std::{
    collections::BTreeMap,
    env, fs,
    future::Future,
    io,
    net::Ipv4Addr,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use golem_sim::nodes::{Finished, LocalSetup, NodeHost, NodeSpec, SSH_PORT};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::Command,
    time::{sleep, timeout},
};

/// Nothing that a test waits for takes this long, unless it never happens.
const NEVER: Duration = Duration::from_secs(60);

/// Names the program for whoever cannot read where it was built.
pub(crate) const PROGRAM: &str = "GOLEM_SIM_TEST_PROGRAM";

pub(crate) struct Lab {
    pub(crate) host: NodeHost,
    /// Where the network `net` is.
    network: Ipv4Addr,
    /// Keys, and what else a test needs.
    pub(crate) directory: TempDir,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(LocalSetup::default()).await
    }

    pub(crate) async fn with(setup: LocalSetup) -> Self {
        let (setup, directory) = prepared(setup);
        let host = NodeHost::local_nodes(setup).await.expect("this host allows namespaces");
        Self::of(host, directory).await
    }

    /// A lab whose nodes are plain processes.
    pub(crate) async fn of_processes() -> Self {
        Self::of_processes_with(LocalSetup::default()).await
    }

    pub(crate) async fn of_processes_with(setup: LocalSetup) -> Self {
        let (setup, directory) = prepared(setup);
        Self::of(NodeHost::processes(setup).expect("there is a loopback"), directory).await
    }

    /// A lab of virtual nodes.
    pub(crate) async fn of_virtual_nodes() -> Self {
        Self::of(NodeHost::virtual_nodes(), TempDir::new().expect("a directory")).await
    }

    async fn of(host: NodeHost, directory: TempDir) -> Self {
        let key = directory.path().join("key");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key);
        let made = soon(command.status()).await.expect("ssh-keygen is installed");
        assert!(made.success());
        let network = host.network().map_or_else(|| address(0), |(network, _)| network);
        Self { host, network, directory }
    }

    /// The address of a node of the network `net`.
    pub(crate) fn address(&self, number: u8) -> Ipv4Addr {
        let [first, second, third, _] = self.network.octets();
        Ipv4Addr::new(first, second, third, number)
    }

    /// What a node of the network `net` is made of.
    pub(crate) fn spec(&self, activity: &str, number: u8) -> NodeSpec {
        NodeSpec { address: self.address(number), ..spec(activity, "net", number) }
    }

    /// The directory that is this lab's alone.
    pub(crate) fn place(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// Starts a node of the network `net`.
    pub(crate) async fn start(&self, activity: &str, number: u8) {
        soon(self.host.start(self.spec(activity, number))).await.expect("the node starts");
    }

    /// Starts a node as a cluster does: with a key in it, and its ssh server on.
    pub(crate) async fn bootstrap(&self, activity: &str, number: u8) {
        self.start(activity, number).await;
        self.prepare(activity, number).await;
    }

    /// Does to a node what its bootstrap does.
    pub(crate) async fn prepare(&self, activity: &str, number: u8) {
        let key = fs::read_to_string(self.directory.path().join("key.pub")).expect("a key");
        let script = format!(
            "set -e
             echo 'NODE_IP={}' >> /etc/environment
             for file in .bashrc .profile; do mv /root_copy/$file ~; done
             mkdir -p /root/.ssh
             echo '{}' >> /root/.ssh/authorized_keys
             service ssh start",
            self.address(number),
            key.trim()
        );
        let finished = self.run(activity, &script).await;
        assert_eq!((finished.code, text(&finished.stderr)), (0, String::new()));
    }

    pub(crate) async fn run(&self, activity: &str, script: &str) -> Finished {
        let args = ["-c".to_owned(), script.to_owned()];
        soon(self.host.run(activity, "/bin/sh", &args)).await.expect("the node runs")
    }

    /// A port of this machine that leads to the ssh server of a node, as a VPN would.
    pub(crate) async fn relay(&self, number: u8) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (host, address) = (self.host.clone(), self.address(number));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(host.clone(), address, client));
            }
        });
        port
    }

    /// The system's ssh client, as Ray calls it.
    pub(crate) async fn ssh(&self, number: u8) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"])
            .arg("-i")
            .arg(self.directory.path().join("key"))
            .arg("-p")
            .arg(self.relay(number).await.to_string())
            .kill_on_drop(true)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command in a node over ssh.
    pub(crate) async fn exec(&self, number: u8, line: &str) -> Output {
        let mut command = self.ssh(number).await;
        command.args(["root@127.0.0.1", line]);
        soon(command.output()).await.expect("ssh is installed")
    }
}

/// The setup with a program of its own, so that a test knows its processes by their names.
fn prepared(setup: LocalSetup) -> (LocalSetup, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let own = directory.path().join("golem-sim");
    fs::hard_link(program(), &own)
        .or_else(|_| fs::copy(program(), &own).map(|_| ()))
        .expect("a copy");
    (LocalSetup { program: Some(own), ..setup }, directory)
}

/// The program that nodes are made of.
pub(crate) fn program() -> PathBuf {
    env::var_os(PROGRAM).map_or_else(|| env!("CARGO_BIN_EXE_golem-sim").into(), PathBuf::from)
}

async fn carry(host: NodeHost, address: Ipv4Addr, mut client: TcpStream) -> io::Result<()> {
    let mut node = host.connect("net", address, SSH_PORT).await?;
    copy_bidirectional(&mut client, &mut node).await.map(|_| ())
}

pub(crate) fn spec(activity: &str, network: &str, number: u8) -> NodeSpec {
    NodeSpec {
        activity: activity.to_owned(),
        network: network.to_owned(),
        hostname: format!("192-168-0-{number}"),
        address: address(number),
        netmask: Ipv4Addr::new(255, 255, 0, 0),
        threads: 3,
        memory: 4 << 30,
        disk: 64 << 20,
        env: BTreeMap::from([("GIVEN".to_owned(), "with care".to_owned())]),
        volumes: vec!["/golem/work".to_owned()],
    }
}

pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 0, number)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fails when something never happens.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(NEVER, work).await.expect("it happens")
}

/// Waits until something is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    soon(async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
