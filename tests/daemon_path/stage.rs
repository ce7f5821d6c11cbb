//! A real daemon with one node, and the product's proxy to it.

use std::{collections::BTreeMap, path::Path, process::Stdio};

use ray_on_golem::{
    core::ids::NodeId,
    ssh::{Access, NodeAccess, proxy_command},
    yagna::{AppKey, NetworkPath},
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use crate::{
    lab::{
        Lab, Market,
        network::{Link, Node},
    },
    proxy::{CLUSTER, PATIENCE, PROGRAM, Proxy, Services},
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
}

impl Services for Stage {
    fn proxy(&self, service: &str) -> Proxy {
        Proxy::start(self.data.path(), self.node.port(service))
    }
}
