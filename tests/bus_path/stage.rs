//! A real daemon with a node in a network of ours, the webserver's part of the way to it, and the product's proxy.

use std::{
    collections::BTreeMap, net::Ipv4Addr, net::SocketAddrV4, process::Stdio, time::Duration,
};

use ray_on_golem::{
    core::ids::NodeId,
    network::{Door, NetworkError, Networks, NodeStream, Ways},
    ssh::{Access, NodeAccess},
    units::Span,
    yagna::{
        AppKey, Deployment, NetworkId, NetworkPath, ProviderId, Request, Response, Vpn,
        bus::Link as BusLink,
    },
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::AbortHandle,
    time::{sleep, timeout},
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
const PROVIDER: &str = "0x00000000000000000000000000000000000000a1";
const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);

/// A daemon on a central net, a node, and what of the webserver leads to it.
pub(crate) struct Stage {
    lab: Lab,
    node: Node,
    data: TempDir,
    networks: Networks,
    network: NetworkId,
    door: AbortHandle,
}

/// A connection to a service of the node, by the product's `ssh-proxy`.
pub(crate) struct Proxy {
    input: Option<ChildStdin>,
    output: ChildStdout,
    child: Child,
}

/// Keeps both cores busy.
pub(crate) struct Burner(Vec<std::process::Child>);

impl Stage {
    pub(crate) async fn start(name: &str) -> Self {
        let lab = Lab::start_central(&Market::empty());
        let facts = lab.facts();
        let data = tempfile::tempdir().expect("a directory");
        let bus = lab.variables()["GSB_URL"].parse().expect("an address");
        let networks = Networks::open(data.path(), Some(bus)).expect("no file");
        let network = created(&networks).await;
        let node = lab.node_in(name, network.as_str(), IP, PROVIDER);
        let net = format!("{}/net-api/v2/vpn", facts.api_url).parse().expect("an address");
        let app_key = AppKey::new(&facts.app_key).expect("a word");
        let vpn = Vpn::at(&net, app_key.clone()).expect("an address");
        let ways = Ways::new(vpn, Some(networks.clone()));
        let door = Door::open(data.path(), ways).expect("a writable directory");
        let door = tokio::spawn(door.serve()).abort_handle();
        let access = Access {
            net,
            app_key,
            path: NetworkPath::Bus,
            network: Some(network.clone()),
            nodes: BTreeMap::from([(NodeId(0), NodeAccess { ip: IP })]),
        };
        access.save(data.path(), &CLUSTER.into()).expect("a writable directory");
        let stage = Self { lab, node, data, networks, network, door };
        stage.until(|health| health.link == BusLink::Up).await;
        stage
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.node.ip
    }

    pub(crate) fn port(&self, service: &str) -> u16 {
        self.node.port(service)
    }

    /// Changes what the way to the node is like.
    pub(crate) fn shape(&self, link: Link) {
        self.lab.link(&self.node, link);
    }

    /// Waits until the node has had so many frames.
    pub(crate) async fn until_received(&self, frames: u64) {
        let seen = async {
            while tokio::task::block_in_place(|| self.lab.seen(&self.node)).received < frames {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, seen).await.expect("in time");
    }

    /// Ends the daemon as a power cut would, and starts it again.
    pub(crate) fn restart_daemon(&self) {
        self.lab.kill();
        self.lab.restart();
    }

    /// Deploys the node at `ip`, as far as networks have to do with it.
    pub(crate) async fn deploy(&self, ip: Ipv4Addr) {
        let mut deployment = Deployment {
            network: self.network.clone(),
            ip: [192, 168, 0, 0].into(),
            mask: [255, 255, 0, 0].into(),
            node_ip: ip,
            nodes: Vec::new(),
        };
        let us: ProviderId = self.lab.facts().node_id.as_str().into();
        self.networks.deploy(&mut deployment, &us).await.expect("a writable directory");
        assert_eq!(deployment.nodes, [([192, 168, 0, 1].into(), us)]);
    }

    /// Lets another node into the network.
    pub(crate) async fn join(&self, name: &str, ip: Ipv4Addr, provider: &str) -> Node {
        let node = self.lab.node_in(name, self.network.as_str(), ip, provider);
        let (network, provider) = (self.network.clone(), provider.into());
        let add = Request::AddNode { network, provider, ip };
        assert_eq!(self.networks.serve(&add).await, Some(Ok(Response::NodeAdded)));
        node
    }

    /// Takes a node out of the network, and ends it.
    pub(crate) async fn remove(&self, node: &Node, provider: &str) {
        let (network, provider) = (self.network.clone(), provider.into());
        let remove = Request::RemoveNode { network, provider };
        assert_eq!(self.networks.serve(&remove).await, Some(Ok(Response::NodeRemoved)));
        self.lab.remove(node);
    }

    pub(crate) fn untold(&self) -> usize {
        self.networks.health(&self.network).expect("it is there").untold
    }

    /// Waits until each member knows of each other one.
    pub(crate) async fn until_told(&self) {
        self.until(|health| health.untold == 0).await;
    }

    /// Ends the webserver's part, and starts it again.
    pub(crate) async fn begin_again(&mut self) {
        self.networks.end().await;
        let bus = self.lab.variables()["GSB_URL"].parse().expect("an address");
        self.networks = Networks::open(self.data.path(), Some(bus)).expect("a file of ours");
        assert!(self.networks.has(&self.network));
        self.until(|health| health.link == BusLink::Up).await;
    }

    /// Waits until no connection is left at our end.
    pub(crate) async fn until_idle(&self) {
        self.until(|health| health.connections == 0).await;
    }

    async fn until(&self, is_so: impl Fn(&ray_on_golem::network::Health) -> bool) {
        let waiting = async {
            while !is_so(&self.networks.health(&self.network).expect("it is there")) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("in time");
    }

    pub(crate) async fn connect(
        &self,
        ip: Ipv4Addr,
        port: u16,
    ) -> Result<NodeStream, NetworkError> {
        self.networks.connect(&self.network, SocketAddrV4::new(ip, port), Span::secs(30)).await
    }

    /// Ends a connection to an echo in both directions.
    pub(crate) async fn finish(&self, mut stream: NodeStream) {
        stream.write_all(b"bye").await.expect("open");
        stream.shutdown().await.expect("open");
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.expect("an end");
        assert_eq!(said, b"bye");
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
        let input = child.stdin.take();
        let output = child.stdout.take().expect("piped");
        Proxy { input, output, child }
    }

    /// Has the node take bytes; returns the hash of what arrived there.
    pub(crate) async fn take(&self, content: &[u8]) -> String {
        let mut proxy = self.proxy("take");
        let message = [&size(content.len())[..], content].concat();
        let hash = proxy.talk(&message, 64).await;
        String::from_utf8(hash).expect("a hash is text")
    }

    /// Has the node give bytes; returns them, and the hash that they have there.
    pub(crate) async fn give(&self, length: usize) -> (Vec<u8>, String) {
        let mut proxy = self.proxy("give");
        let mut bytes = proxy.talk(&size(length), length + 64).await;
        let hash = bytes.split_off(length);
        (bytes, String::from_utf8(hash).expect("a hash is text"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.door.abort();
    }
}

impl Proxy {
    pub(crate) async fn send(&mut self, message: &[u8]) {
        let input = self.input.as_mut().expect("it is not shut");
        timeout(PATIENCE, input.write_all(message)).await.expect("in time").expect("it reads");
    }

    /// Ends its input.
    pub(crate) fn shut(&mut self) {
        self.input = None;
    }

    /// What comes until its output ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.output.read_to_end(&mut bytes)).await;
        read.expect("in time").expect("a pipe");
        bytes
    }

    pub(crate) async fn ended_well(&mut self) -> bool {
        timeout(PATIENCE, self.child.wait()).await.expect("in time").expect("it ran").success()
    }

    /// Sends a message, and returns the next `length` bytes that come.
    pub(crate) async fn talk(&mut self, message: &[u8], length: usize) -> Vec<u8> {
        let mut answer = vec![0; length];
        let Self { input, output, .. } = self;
        let input = input.as_mut().expect("it is not shut");
        let both = async { tokio::join!(input.write_all(message), output.read_exact(&mut answer)) };
        let (written, read) = timeout(PATIENCE, both).await.expect("it ends in time");
        written.expect("the proxy reads");
        read.expect("the connection is open");
        answer
    }
}

impl Burner {
    pub(crate) fn start() -> Self {
        let one = || std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        Self((0..2).map(|_| one().expect("a shell")).collect())
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        for process in &mut self.0 {
            process.kill().expect("it runs");
            process.wait().expect("it is ours");
        }
    }
}

/// A network of ours with the node in it.
async fn created(networks: &Networks) -> NetworkId {
    let create = Request::CreateNetwork {
        path: NetworkPath::Bus,
        ip: [192, 168, 0, 0].into(),
        prefix: 16,
        gateway: [192, 168, 192, 1].into(),
    };
    let Some(Ok(Response::NetworkCreated(network))) = networks.serve(&create).await else {
        panic!("it is created");
    };
    let (provider, ip) = (PROVIDER.into(), IP);
    let add = Request::AddNode { network: network.id.clone(), provider, ip };
    assert_eq!(networks.serve(&add).await, Some(Ok(Response::NodeAdded)));
    network.id
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
