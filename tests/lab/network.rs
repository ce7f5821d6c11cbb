//! A lab's central net: private networks with nodes whose TCP is the kernel's, and daemons that reach
//! each other.
//!
//! Nodes need `/dev/net/tun`, and root or user namespaces; where they are missing, a test fails and
//! says so.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Lab, Market, script};

/// A node of a private network.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Node {
    /// Its name in the lab.
    pub(crate) name: String,
    /// The id of its provider.
    pub(crate) node_id: String,
    /// The private network.
    pub(crate) network: String,
    /// Its address there.
    pub(crate) ip: Ipv4Addr,
    /// The key that opens its ssh server to root, if it has one.
    pub(crate) login_key: Option<PathBuf>,
    /// What listens on it, see `tests/real_yagna/services.py`.
    ports: BTreeMap<String, u16>,
}

/// What the way to a node is like, each way; what is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    /// How long a frame takes.
    pub(crate) lag: Option<Duration>,
    /// Of a thousand frames, how many are lost.
    pub(crate) loss_permille: Option<u16>,
    /// Of a thousand frames, how many are overtaken.
    pub(crate) reorder_permille: Option<u16>,
    /// Whether nothing passes.
    pub(crate) is_silent: Option<bool>,
}

/// What passed between a node and its network so far.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Seen {
    /// Frames that came.
    #[serde(rename = "in")]
    pub(crate) received: u64,
    /// Frames that went out.
    #[serde(rename = "out")]
    pub(crate) sent: u64,
    /// Frames that got lost, both ways.
    pub(crate) lost: u64,
}

/// What is special about a node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Special {
    /// It has OpenSSH's server; this needs root.
    Sshd,
    /// Its TCP is the simulator's, as where the kernel gives no network device.
    WithoutDevice,
}

impl Special {
    const fn option(self) -> &'static str {
        match self {
            Self::Sshd => "--sshd",
            Self::WithoutDevice => "--without-device",
        }
    }
}

impl Node {
    /// The port of a service.
    ///
    /// # Panics
    ///
    /// Panics when the node has no service of that name.
    pub(crate) fn port(&self, service: &str) -> u16 {
        self.ports[service]
    }
}

impl Link {
    fn arguments(self) -> Vec<String> {
        let share = |permille: u16| (f64::from(permille) / 1000.0).to_string();
        let pairs = [
            ("--lag-ms", self.lag.map(|lag| (lag.as_secs_f64() * 1000.0).to_string())),
            ("--loss", self.loss_permille.map(share)),
            ("--reorder", self.reorder_permille.map(share)),
            ("--silent", self.is_silent.map(|is| if is { "on" } else { "off" }.to_owned())),
        ];
        let given = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

impl Lab {
    /// Starts a lab whose daemon is on a central net of the lab's own.
    pub(crate) fn start_central(market: &Market) -> Self {
        Self::start_on(&[OsStr::new("--central")], market)
    }

    /// Starts another lab, whose daemon is on this one's central net.
    pub(crate) fn join(&self, market: &Market) -> Self {
        Self::start_on(&[OsStr::new("--join"), self.state().as_os_str()], market)
    }

    /// Starts a node in the lab's private network, which begins with its first node.
    pub(crate) fn node(&self, name: &str) -> Node {
        self.add_node(name, &[])
    }

    /// The same with OpenSSH's server; this needs root.
    pub(crate) fn node_with_sshd(&self, name: &str) -> Node {
        self.add_node(name, &["--sshd"])
    }

    /// Starts a node of a provider in a network that the caller knows; the daemon is not told.
    pub(crate) fn node_in(&self, name: &str, network: &str, ip: Ipv4Addr, provider: &str) -> Node {
        let ip = ip.to_string();
        self.add_node(name, &["--network", network, "--ip", &ip, "--provider", provider])
    }

    /// The same with something that most nodes do not have.
    pub(crate) fn special_node_in(
        &self,
        (name, network): (&str, &str),
        (ip, provider): (Ipv4Addr, &str),
        kind: Special,
    ) -> Node {
        let (ip, kind) = (ip.to_string(), kind.option());
        self.add_node(name, &["--network", network, "--ip", &ip, "--provider", provider, kind])
    }

    fn add_node(&self, name: &str, options: &[&str]) -> Node {
        serde_json::from_slice(&self.ask("node", name, options)).expect("a node as the lab has it")
    }

    /// Changes what the way to a node is like.
    pub(crate) fn link(&self, node: &Node, link: Link) {
        let arguments = link.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.ask("link", &node.name, &arguments);
    }

    /// What passed between a node and its network so far.
    pub(crate) fn seen(&self, node: &Node) -> Seen {
        serde_json::from_slice(&self.ask("seen", &node.name, &[])).expect("counts")
    }

    /// Ends a node; the daemon is not told.
    pub(crate) fn remove(&self, node: &Node) {
        self.ask("remove", &node.name, &[]);
    }

    fn ask(&self, command: &str, node: &str, options: &[&str]) -> Vec<u8> {
        let output = script(command, self.state()).arg(node).args(options).output();
        let output = output.expect("python3 is installed");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "lab.py {command} {node}: {complaint}");
        output.stdout
    }
}
