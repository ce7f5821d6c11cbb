//! The use of clusters: what heads say of their load, and connections of users, told to the manager.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    core::{Command, cluster::plan::ClusterName, ids::ClusterId},
    driver::{board::Board, manager::Handle},
    network::{Connections, Counted},
    yagna::NetworkId,
};

/// An autoscaler looks every few seconds. Unless the load changes, the manager is told of it this often.
const PAUSE: Duration = Duration::from_secs(30);

/// What is known of the use of clusters here.
#[derive(Debug, Default)]
pub struct Usage {
    connections: Connections,
    /// When the manager was told of a look last, and of what.
    looks: Mutex<BTreeMap<ClusterId, (Instant, Option<bool>)>>,
}

impl Usage {
    /// Of these connections.
    #[must_use]
    pub fn new(connections: Connections) -> Self {
        Self { connections, looks: Mutex::default() }
    }

    /// Counts something that a user does on a node.
    pub(super) fn count(&self, network: NetworkId) -> Counted {
        self.connections.begin(network)
    }

    /// The autoscaler of a cluster's head has looked at its nodes.
    pub(super) async fn on_look(
        &self,
        handle: &Handle,
        id: ClusterId,
        cluster: ClusterName,
        has_load: Option<bool>,
    ) {
        if self.is_news(&handle.board(), id, has_load, Instant::now()) {
            // The cluster, or the manager, may have ended on the way.
            let _ = handle.ask(Command::HeadLooked { cluster, has_load }).await;
        }
    }

    fn is_news(&self, board: &Board, id: ClusterId, has_load: Option<bool>, now: Instant) -> bool {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|id, _| board.clusters.contains_key(id));
        let is_known = looks
            .get(&id)
            .is_some_and(|(told, load)| *load == has_load && now.duration_since(*told) < PAUSE);
        if !is_known {
            looks.insert(id, (now, has_load));
        }
        !is_known
    }

    /// Tells the manager how many connections of users each cluster has, until the manager ends.
    pub fn keep(&self, handle: Handle) -> impl Future<Output = ()> + use<> {
        let (mut counts, mut boards) = (self.connections.changes(), handle.changes());
        async move {
            let mut told = BTreeMap::new();
            loop {
                let news = {
                    let (counts, board) = (counts.borrow_and_update(), boards.borrow_and_update());
                    told.retain(|id, _| board.clusters.contains_key(id));
                    changed(&counts, &board, &told)
                };
                for (id, cluster, connections) in news {
                    if handle.ask(Command::Connected { cluster, connections }).await.is_err() {
                        return;
                    }
                    told.insert(id, connections);
                }
                let changed = tokio::select! {
                    changed = counts.changed() => changed,
                    changed = boards.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// The clusters whose number of connections is another one than the manager was told.
fn changed(
    counts: &BTreeMap<NetworkId, u32>,
    board: &Board,
    told: &BTreeMap<ClusterId, u32>,
) -> Vec<(ClusterId, ClusterName, u32)> {
    let clusters = board.clusters.values().filter(|cluster| cluster.ending.is_none());
    let now = clusters.map(|cluster| {
        let count = cluster.network.as_ref().and_then(|network| counts.get(network));
        (cluster.id, cluster.name.clone(), count.copied().unwrap_or(0))
    });
    now.filter(|(id, _, count)| told.get(id).copied().unwrap_or(0) != *count).collect()
}
