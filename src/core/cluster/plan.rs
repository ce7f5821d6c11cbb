//! What a user asks of a cluster.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::law::Law;
use crate::{
    core::{
        autostop::Autostop,
        market::spec::{Image, NodeSpec},
        reputation::Reputation,
    },
    units::Glm,
    yagna::PlatformId,
};

pub use crate::yagna::NetworkPath;

/// What Ray sticks on a node.
pub type Tags = BTreeMap<String, String>;

/// A cluster has no more nodes than this at a time.
pub const NODES_MAX: u32 = 10_000;
/// The tags of a node have no more bytes than this; Ray's have some hundreds.
pub const TAGS_LENGTH_MAX: usize = 4 << 10;

/// The name of a cluster, as its file has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterName(Arc<str>);

/// What holds for a cluster as a whole; the first request for a node decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPlan {
    /// Where to pay.
    pub platform: PlatformId,
    /// The most to spend from the first node to the last bill.
    pub total_budget: Glm,
    /// The most that all nodes together may cost in an hour, if there is a limit.
    pub max_glm_per_hour: Option<Glm>,
    /// When the cluster ends by itself, if ever.
    pub autostop: Option<Autostop>,
    /// What its head may ask for; none for clients that have no cluster file looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub law: Option<Law>,
    /// The key that nodes let in, as one line of `authorized_keys`.
    pub ssh_public_key: String,
    /// What is known about providers.
    pub reputation: Reputation,
    /// Where the private network must be, if not at the usual place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Subnet>,
    /// Who carries its frames, if the user says so. Otherwise the cluster finds out: we do, over the bus, if
    /// it can be reached, and the first node over it; else the daemon does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_path: Option<NetworkPath>,
}

/// The addresses of a private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The first of them, which is the network's own.
    pub ip: Ipv4Addr,
    /// How many bits all of them share, at most 29.
    pub prefix: u8,
}

/// Nodes that are asked for together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeOrder {
    /// What they are to their cluster.
    pub kind: NodeKind,
    /// Their shape.
    pub spec: NodeSpec,
    /// Their image.
    pub image: Image,
    /// How many.
    pub count: u32,
    /// What is stuck on each of them.
    pub tags: Tags,
}

/// What a node is to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// The one that runs Ray's control services; the cluster ends with it.
    Head,
    /// One that runs tasks.
    Worker,
}

impl Subnet {
    /// The usual place: `192.168.0.0/16`, as users know it.
    pub const USUAL: Self = Self { ip: Ipv4Addr::new(192, 168, 0, 0), prefix: 16 };

    /// Its mask.
    #[must_use]
    pub const fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(!(self.size() - 1))
    }

    /// The addresses of nodes, from the lowest: the first two are ours, and the upper quarter is left free.
    pub fn of_nodes(self) -> impl Iterator<Item = Ipv4Addr> {
        let first = self.ip.to_bits();
        let beyond = first.saturating_add(self.size() / 4 * 3);
        (self.first_node().to_bits()..beyond).map(Ipv4Addr::from_bits)
    }

    /// The lowest address of a node.
    #[must_use]
    pub const fn first_node(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.ip.to_bits().saturating_add(3))
    }

    const fn size(self) -> u32 {
        let own_bits = if self.prefix > 29 { 3 } else { 32 - self.prefix as u32 };
        if own_bits > 31 { 1 << 31 } else { 1 << own_bits }
    }
}

impl From<&str> for ClusterName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl ClusterName {
    /// The name as the file has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How many bytes tags have together.
#[must_use]
pub fn length_of(tags: &Tags) -> usize {
    tags.iter().map(|(key, value)| key.len().saturating_add(value.len())).sum()
}

/// Whether a node with these tags is meant by a filter.
///
/// The rule of the reference: every key that both have must be equal; a key that the node lacks does
/// not exclude it.
#[must_use]
pub fn matches(tags: &Tags, filter: &Tags) -> bool {
    filter.iter().all(|(key, wanted)| tags.get(key).is_none_or(|value| value == wanted))
}

#[cfg(test)]
mod tests {
    use super::{Subnet, Tags, matches};

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nodes_have_the_addresses_of_their_subnet() {
        let small = Subnet { ip: [127, 7, 1, 0].into(), prefix: 24 };

        assert_eq!(Subnet::USUAL.mask().to_string(), "255.255.0.0");
        let usual: Vec<String> = Subnet::USUAL.of_nodes().map(|ip| ip.to_string()).collect();
        assert_eq!((usual[0].as_str(), usual.len()), ("192.168.0.3", 192 * 256 - 3));
        assert_eq!(small.mask().to_string(), "255.255.255.0");
        let few: Vec<String> = small.of_nodes().map(|ip| ip.to_string()).collect();
        assert_eq!(
            (few[0].as_str(), few.last().map(String::as_str)),
            ("127.7.1.3", Some("127.7.1.191"))
        );
    }

    #[test]
    fn a_filter_excludes_only_by_keys_that_the_node_has() {
        let node = tags(&[("kind", "worker"), ("status", "up")]);

        assert!(matches(&node, &tags(&[])));
        assert!(matches(&node, &tags(&[("kind", "worker")])));
        assert!(matches(&node, &tags(&[("kind", "worker"), ("unheard", "of")])));
        assert!(!matches(&node, &tags(&[("kind", "head")])));
    }
}
