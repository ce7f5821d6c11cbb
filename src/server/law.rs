//! What a head may ask for: nodes that the user's own `ray up` spoke of, and no more of them.
//!
//! A head runs on a provider's machine, and asks with what it has been given. Its provider could make it ask for
//! others: without price limits, at a provider of its choice, with another image, or for more of them. So what the user
//! said when `ray up` had the whole cluster file looked at is kept, in `DATA/clusters/NAME.law.json`, and what a head
//! says is held to it. A client that has no file looked at, as the Python original, leaves no law.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::error::ApiError;
use crate::{
    config::{ClusterFile, NodesRequest},
    core::{
        cluster::{
            plan::{ClusterName, NodeKind},
            state::NodeState,
        },
        market::spec::NodeSpec,
    },
    driver::board::ClusterBoard,
    files,
};

const DIRECTORY: &str = "clusters";
const EXTENSION: &str = ".law.json";
/// So many kinds of nodes are remembered of a cluster whose file changes while it runs.
const KINDS_MAX: usize = 200;

/// What was said for a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Law {
    /// How many workers there may be at a time.
    max_workers: u32,
    /// What workers may be, the latest first.
    workers: Vec<NodeSpec>,
}

impl Law {
    /// What a cluster file says.
    fn of(cluster: &ClusterFile) -> Self {
        let workers = cluster.node_types.iter().filter(|it| it.kind == NodeKind::Worker);
        Self {
            max_workers: cluster.max_workers,
            workers: workers.map(|it| it.spec.clone()).collect(),
        }
    }

    /// Keeps what is said now. While a cluster runs its head may still ask for what was said before.
    ///
    /// # Errors
    ///
    /// If the disk fails, or what is there cannot be read.
    pub(super) fn lay_down(
        data: &Path,
        name: &ClusterName,
        cluster: &ClusterFile,
        is_running: bool,
    ) -> io::Result<()> {
        let mut law = Self::of(cluster);
        if is_running && let Some(before) = Self::load(data, name)? {
            let others = before.workers.into_iter().filter(|it| !law.workers.contains(it));
            let others: Vec<NodeSpec> = others.collect();
            law.workers.extend(others);
            law.workers.truncate(KINDS_MAX);
        }
        let text = serde_json::to_vec_pretty(&law).map_err(io::Error::other)?;
        files::replace(&files::of_cluster(&data.join(DIRECTORY), name, EXTENSION), &text, 0o600)
    }

    /// What was said, if anything was.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(super) fn load(data: &Path, name: &ClusterName) -> io::Result<Option<Self>> {
        match fs::read(files::of_cluster(&data.join(DIRECTORY), name, EXTENSION)) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Holds the request of a cluster's head to it.
    pub(super) fn hold(
        &self,
        cluster: &ClusterBoard,
        request: &NodesRequest,
    ) -> Result<(), ApiError> {
        if !self.workers.contains(&request.spec) {
            let what = "a head may ask only for workers as the cluster file has them that `ray up` was run with; run it again \
                        with the file that is meant";
            return Err(ApiError::Refused(what.to_owned()));
        }
        let is_live = |state| matches!(state, NodeState::Pending | NodeState::Running);
        let is_live = |kind, state| kind == NodeKind::Worker && is_live(state);
        let live = cluster.nodes.values().filter(|node| is_live(node.kind, node.state)).count();
        let live = u32::try_from(live).unwrap_or(u32::MAX);
        if live.saturating_add(request.count) > self.max_workers {
            return Err(ApiError::Refused(format!(
                "a head may have {} workers at a time, as `max_workers` of the cluster file says",
                self.max_workers
            )));
        }
        Ok(())
    }
}
