//! What a webserver has left behind that ended in the midst of its work: clusters that no process looks after.
//!
//! Their nodes go on, and cost what they cost, until a webserver goes on with the journals, or until their providers
//! give them up.

use std::{path::Path, time::SystemTime};

use serde_json::{Value, json};

use super::{error::CliError, table::plain};
use crate::{
    core::cluster::state::NodeState,
    core::payment::ledger,
    driver::{
        binding::Owner,
        clock,
        journal::{Journals, JournalsError},
        mark::was_simulated,
    },
    units::{Glm, Timestamp},
};

/// The clusters of journals that no process has open.
#[derive(Debug, Default)]
pub(super) struct Left {
    clusters: Vec<Cluster>,
    /// When the last of the journals was written.
    written: Option<Timestamp>,
    /// Whether they are on a simulated network.
    is_simulated: bool,
}

/// One cluster, as it was when its journal was last written.
#[derive(Debug)]
struct Cluster {
    name: String,
    /// The nodes that were up, coming up, or about to end.
    nodes: usize,
    /// The agreements that had not ended, or whose bills had not come.
    open_agreements: usize,
    rate_per_hour: Glm,
    spent: Glm,
}

impl Left {
    /// What is left in a data directory.
    pub(super) fn of(data: &Path) -> Result<Self, CliError> {
        let peeked = Journals::peek(data).map_err(|error| unreadable(&error))?;
        let Some((durable, written)) = peeked else { return Ok(Self::default()) };
        let now = clock::now();
        let clusters = durable.clusters().values().map(|state| {
            let live = state.nodes.values().filter(|node| node.state < NodeState::Terminated);
            let money = ledger::ledger(state, now);
            Cluster {
                name: state.name.as_str().to_owned(),
                nodes: live.count(),
                open_agreements: state.accounts.len(),
                rate_per_hour: money.rate_per_hour,
                spent: money.spent,
            }
        });
        let clusters = clusters.collect();
        let owner = Owner::of(data);
        let is_simulated = owner.map_or_else(|| was_simulated(data), |owner| owner.is_simulated());
        Ok(Self { clusters, written: instant(written), is_simulated })
    }

    /// The clusters as lines for people.
    pub(super) fn text(&self) -> String {
        let at = self.written.map_or_else(String::new, |at| format!(" at {}", clock::written(at)));
        let line = |cluster: &Cluster| {
            let Cluster { name, nodes, open_agreements, rate_per_hour, spent } = cluster;
            let rate = rate_per_hour.rounded_up(4);
            let had = match (nodes, open_agreements) {
                (0, 1) => "one agreement to settle".to_owned(),
                (0, agreements) => format!("{agreements} agreements to settle"),
                (1, _) => format!("1 node, at {rate} GLM per hour,"),
                (nodes, _) => format!("{nodes} nodes, at {rate} GLM per hour,"),
            };
            let name = plain(name);
            format!(
                "`{name}` had {had} when it was last seen{at}; {spent} GLM were spent until then.\n"
            )
        };
        self.clusters.iter().map(line).collect()
    }

    /// The clusters for programs.
    pub(super) fn document(&self) -> Value {
        let one = |cluster: &Cluster| {
            json!({
                "cluster_name": cluster.name,
                "state": "unattended",
                "nodes_at_last_sight": cluster.nodes,
                "open_agreements": cluster.open_agreements,
                "glm_per_hour": cluster.rate_per_hour.to_string(),
                "spent_glm": cluster.spent.to_string(),
                "last_seen": self.written.map(clock::written),
            })
        };
        self.clusters.iter().map(one).collect()
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// Clusters without a webserver are nothing to be content with.
    pub(super) fn refuse(&self) -> Result<(), CliError> {
        if self.is_empty() {
            return Ok(());
        }
        Err(CliError::Environment {
            what: "the webserver has ended while it had clusters: their nodes go on, and cost, until their providers \
                   give them up"
                .to_owned(),
            hint: format!(
                "`ray-on-golem start{}` goes on where it was; then `ray down`, or `ray-on-golem stop --force`, ends them",
                if self.is_simulated { " --sim" } else { "" }
            ),
        })
    }
}

fn instant(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_micros(u64::try_from(since.as_micros()).ok()?))
}

fn unreadable(error: &JournalsError) -> CliError {
    CliError::Environment {
        what: super::error::chain(error),
        hint: "no webserver can start with it; nothing was changed".to_owned(),
    }
}
