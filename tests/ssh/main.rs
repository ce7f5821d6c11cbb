//! The way to a node, from the websocket to the command line: against a real ssh server in this
//! process, behind a daemon that serves websockets as yagna does, and misbehaves when it is told to.

mod daemon;
mod node;
mod probe;
mod proxy;
mod tunnel;
mod vpn;

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use daemon::{Conduct, Daemon, KEY, NETWORK};
use node::Node;
use ray_on_golem::{
    core::ids::NodeId,
    ssh::{Access, HostKeys, KeyPair, Login, NodeAccess},
    units::Span,
    yagna::{AppKey, NetworkPath, Vpn},
};
use tempfile::TempDir;

const CLUSTER: &str = "golem-cluster";
const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);

/// Longer than anything takes that ends well.
const PATIENCE: Span = Span::secs(60);

/// A cluster with one node.
struct Stage {
    data: TempDir,
    daemon: Daemon,
    node: Arc<Node>,
    key: KeyPair,
    hosts: HostKeys,
}

impl Stage {
    async fn new() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let key = KeyPair::of_cluster(data.path(), &CLUSTER.into()).expect("a new key");
        Self::with_key(data, key).await
    }

    async fn with_key(data: TempDir, key: KeyPair) -> Self {
        let node = Node::new(key.public_line());
        let daemon = Daemon::start(Conduct::node(&node)).await;
        let hosts = HostKeys::open(data.path(), &CLUSTER.into()).expect("no file");
        Self { data, daemon, node, key, hosts }
    }

    fn vpn(&self) -> Vpn {
        let key = AppKey::new(KEY).expect("a word");
        Vpn::at(&self.daemon.net(), key).expect("an address")
    }

    fn login(&self) -> Login {
        Login {
            ways: self.vpn().into(),
            network: NETWORK.into(),
            ip: IP,
            port: 22,
            user: "root".to_owned(),
            key: self.key.clone(),
            node: NodeId(0),
            hosts: self.hosts.clone(),
        }
    }

    fn access(&self) -> Access {
        Access {
            net: self.daemon.net(),
            app_key: AppKey::new(KEY).expect("a word"),
            path: NetworkPath::Daemon,
            network: Some(NETWORK.into()),
            nodes: BTreeMap::from([(NodeId(0), NodeAccess { ip: IP })]),
        }
    }

    fn save_access(&self) {
        self.access().save(self.data.path(), &CLUSTER.into()).expect("a writable directory");
    }
}
