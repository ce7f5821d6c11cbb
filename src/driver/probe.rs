//! A look at a node from outside: the seam between the manager and the way to nodes.

use std::{net::Ipv4Addr, sync::Arc};

use crate::{
    core::{
        Durable,
        cluster::{
            plan::{ClusterName, NodeKind},
            state::NodeState,
        },
        ids::{ClusterId, NodeId},
        output::Probe,
    },
    units::Span,
    yagna::NetworkId,
};

/// Something that can look at a node.
pub trait Prober: Send + Sync + 'static {
    /// Looks at a node, no longer than `patience`; says what is wrong with it, if anything is.
    fn probe(
        &self,
        target: Target,
        patience: Span,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// Which node to look at, and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's name.
    pub name: ClusterName,
    /// The private network that leads there.
    pub network: NetworkId,
    /// The node's address in it.
    pub ip: Ipv4Addr,
    /// The node, and what it is to its cluster; none if it has just gone.
    pub node: Option<(NodeId, NodeKind)>,
    /// Whether it is still being brought up, so that this look decides whether it is told to run.
    pub is_new: bool,
    /// The public host key that it must have, if it told, as a line of OpenSSH's.
    pub host_key: Option<Arc<str>>,
}

impl Target {
    /// What the durable state knows of the target of `probe`.
    #[must_use]
    pub fn of(probe: Probe, durable: &Durable) -> Self {
        let Probe::Ssh { cluster, network, ip, host_key } = probe;
        let state = durable.cluster(cluster);
        let node = state.and_then(|state| {
            state.nodes.iter().find(|(_, node)| {
                let account = node.agreement.and_then(|number| state.accounts.get(&number));
                node.state < NodeState::Terminating && account.is_some_and(|it| it.ip == ip)
            })
        });
        Self {
            cluster,
            name: state.map_or_else(|| ClusterName::from(""), |state| state.name.clone()),
            network,
            ip,
            node: node.map(|(id, node)| (*id, node.kind)),
            is_new: node.is_some_and(|(_, node)| node.state == NodeState::Pending),
            host_key,
        }
    }
}
