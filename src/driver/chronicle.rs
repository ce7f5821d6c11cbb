//! What users read in the log about clusters and nodes, told from what became durable.

use super::log::Log;
use crate::core::{
    Durable, Record,
    cluster::record::{ClusterRecord, NodeFact},
    record::CommonRecord,
};

const WHO: &str = "manager";

/// Tells of a record that is on the disk.
pub(super) fn tell(log: &Log, record: &Record, durable: &Durable) {
    match record {
        Record::Common(CommonRecord::ClusterOpened { name, .. }) => {
            log.info(WHO, &format!("Starting `{name}` cluster..."));
        }
        Record::Common(CommonRecord::ClusterClosed { name, .. }) => {
            log.info(WHO, &format!("Stopping `{name}` cluster done"));
        }
        Record::Common(
            CommonRecord::AllocationIntended { .. }
            | CommonRecord::AllocationCreated { .. }
            | CommonRecord::AllocationEnded { .. }
            | CommonRecord::DemandIntended { .. }
            | CommonRecord::DemandPublished { .. }
            | CommonRecord::DemandEnded { .. },
        ) => {}
        Record::Cluster(id, record) => {
            let state = durable.cluster(*id);
            let name = state.map_or("", |state| state.name.as_str());
            tell_of_cluster(log, name, record);
        }
    }
}

fn tell_of_cluster(log: &Log, name: &str, record: &ClusterRecord) {
    match record {
        ClusterRecord::NodesRequested { nodes, .. } => {
            for node in nodes {
                log.info(WHO, &format!("[{name}] Starting `{node}` node..."));
            }
        }
        ClusterRecord::Node { node, fact } => match fact {
            NodeFact::Running => log.info(WHO, &format!("[{name}] Starting `{node}` node done")),
            NodeFact::Ending => log.info(WHO, &format!("[{name}] Stopping `{node}` node...")),
            NodeFact::Ended => log.info(WHO, &format!("[{name}] Stopping `{node}` node done")),
            NodeFact::Logged(line) => log.info(WHO, &format!("[{name}] {node}: {line}")),
            NodeFact::Tagged(_) => {}
        },
        ClusterRecord::BudgetSet { total } => {
            log.info(WHO, &format!("[{name}] the budget is {total} GLM now"));
        }
        ClusterRecord::Ending { reason, .. } => {
            log.info(WHO, &format!("Stopping `{name}` cluster ({reason})..."));
        }
        // A warning is a notice, too, and logged as one.
        ClusterRecord::Opened { .. }
        | ClusterRecord::Warned { .. }
        | ClusterRecord::Agreement { .. }
        | ClusterRecord::Funds(_)
        | ClusterRecord::Network(_)
        | ClusterRecord::BillsRead { .. } => {}
    }
}
