//! A real daemon with one node, and the product's proxy to it.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::ids::NodeId,
    ssh::{Access, NodeAccess},
    yagna::{AppKey, NetworkPath},
};
use tempfile::TempDir;

use crate::{
    lab::{
        Lab, Market,
        network::{Link, Node},
    },
    proxy::{CLUSTER, Proxy, Services},
    proxy_shell::Shell,
};

/// A daemon on a central net, a node, and what the webserver leaves for `ssh-proxy`.
pub(crate) struct Stage {
    lab: Lab,
    node: Node,
    data: TempDir,
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

    /// The node's ssh server.
    pub(crate) fn shell(&self) -> Shell {
        Shell::to(&self.node, self.data.path())
    }
}

impl Services for Stage {
    fn proxy(&self, service: &str) -> Proxy {
        Proxy::start(self.data.path(), self.node.port(service))
    }
}
