//! A real daemon with a node in a network of ours, the webserver's part of the way to it, and the product's proxy.

use std::{collections::BTreeMap, net::Ipv4Addr, net::SocketAddrV4, time::Duration};

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
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    lab::{
        Lab, Market,
        network::{Link, Node, Special},
    },
    proxy::{CLUSTER, PATIENCE, Proxy, Services},
    proxy_shell::Shell,
};

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

impl Stage {
    pub(crate) async fn start(name: &str) -> Self {
        Self::with(|lab, network| lab.node_in(name, network, IP, PROVIDER)).await
    }

    /// The same with OpenSSH's server on the node.
    pub(crate) async fn start_with_sshd(name: &str) -> Self {
        Self::with_special(name, Special::Sshd).await
    }

    /// The same with a node whose TCP is the simulator's.
    pub(crate) async fn start_without_device(name: &str) -> Self {
        Self::with_special(name, Special::WithoutDevice).await
    }

    async fn with_special(name: &str, kind: Special) -> Self {
        Self::with(|lab, network| lab.special_node_in((name, network), (IP, PROVIDER), kind)).await
    }

    async fn with(add_node: impl FnOnce(&Lab, &str) -> Node) -> Self {
        let lab = Lab::start_central(&Market::empty());
        let facts = lab.facts();
        let data = tempfile::tempdir().expect("a directory");
        let bus = lab.variables()["GSB_URL"].parse().expect("an address");
        let networks = Networks::open(data.path(), Some(bus)).expect("no file");
        let network = created(&networks).await;
        let node = add_node(&lab, network.as_str());
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

    /// The node's ssh server.
    pub(crate) fn shell(&self) -> Shell {
        Shell::to(&self.node, self.data.path())
    }

    /// Changes what the way to the node is like.
    pub(crate) fn shape(&self, link: Link) {
        self.lab.link(&self.node, link);
    }

    /// Lets nothing pass to or from another node.
    pub(crate) fn silence(&self, node: &Node) {
        self.lab.link(node, Link { is_silent: Some(true), ..Link::default() });
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
        let add = Request::AddNode { network, provider, ip: ip.into() };
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
}

impl Services for Stage {
    fn proxy(&self, service: &str) -> Proxy {
        Proxy::start(self.data.path(), self.node.port(service))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.door.abort();
    }
}

/// A network of ours with the node in it.
async fn created(networks: &Networks) -> NetworkId {
    let create = Request::CreateNetwork {
        path: NetworkPath::Bus,
        ip: Ipv4Addr::new(192, 168, 0, 0).into(),
        prefix: 16,
        gateway: Ipv4Addr::new(192, 168, 192, 1).into(),
    };
    let Some(Ok(Response::NetworkCreated(network))) = networks.serve(&create).await else {
        panic!("it is created");
    };
    let (provider, ip) = (PROVIDER.into(), IP);
    let add = Request::AddNode { network: network.id.clone(), provider, ip: ip.into() };
    assert_eq!(networks.serve(&add).await, Some(Ok(Response::NodeAdded)));
    network.id
}
