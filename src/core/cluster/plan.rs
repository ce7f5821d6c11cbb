//! What a user asks of a cluster.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    core::{
        autostop::Autostop,
        market::spec::{Image, NodeSpec},
        reputation::Reputation,
    },
    units::Glm,
    yagna::PlatformId,
};

/// What Ray sticks on a node.
pub type Tags = BTreeMap<String, String>;

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
    /// How many workers there may be at once, if there is a limit.
    pub max_workers: Option<u32>,
    /// The key that nodes let in, as one line of `authorized_keys`.
    pub ssh_public_key: String,
    /// What is known about providers.
    pub reputation: Reputation,
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
    use super::{Tags, matches};

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
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
