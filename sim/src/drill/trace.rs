//! What happened, in words.

use ray_on_golem::core::{
    Record,
    cluster::record::{AgreementFact, ClusterRecord, FundsFact, NetworkFact, NodeFact},
};

/// What a durable fact says to somebody who reads along; nothing for bookkeeping.
pub(super) fn of_record(record: &Record) -> Option<String> {
    let Record::Cluster(cluster, record) = record else { return None };
    let what = match record.as_ref() {
        ClusterRecord::Opened { name, .. } => format!("{name} begins"),
        ClusterRecord::NodesRequested { nodes, order, .. } => {
            let ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            let kind = format!("{:?}", order.kind).to_lowercase();
            format!("{kind} requested: {}", ids.join(" "))
        }
        ClusterRecord::Node { node, fact } => match fact {
            NodeFact::Tagged(_) => return None,
            NodeFact::Logged(line) => format!("{node} {line}"),
            NodeFact::Running => format!("{node} is running"),
            NodeFact::Ending => format!("{node} is terminating"),
            NodeFact::Ended => format!("{node} is terminated"),
        },
        ClusterRecord::Agreement { number, fact } => {
            let number = number.0;
            match fact {
                AgreementFact::Signing { node, terms, reserve, ip, .. } => format!(
                    "agreement {number} for {node} at {ip}: {}, {} GLM per hour, {} reserved",
                    terms.name,
                    terms.rate_per_hour().rounded_up(4),
                    reserve.rounded_up(4)
                ),
                AgreementFact::Approved => format!("agreement {number} is approved"),
                AgreementFact::Closing { reason, .. } => {
                    format!("agreement {number} is to end: {reason}")
                }
                AgreementFact::Over { .. } => format!("agreement {number} is over"),
                AgreementFact::NoteAccepted { total, .. } => {
                    format!("agreement {number}: note of {} GLM accepted", total.rounded_up(6))
                }
                AgreementFact::InvoiceAccepted { total, .. } => {
                    format!("agreement {number}: invoice of {} GLM accepted", total.rounded_up(6))
                }
                AgreementFact::NoteDisputed(dispute) => {
                    format!("agreement {number}: note disputed: {}", dispute.reason)
                }
                AgreementFact::InvoiceDisputed(dispute) => {
                    format!("agreement {number}: invoice disputed: {}", dispute.reason)
                }
                AgreementFact::Settled => format!("agreement {number} is settled"),
                AgreementFact::ActivityIntended { .. }
                | AgreementFact::ActivityMade(_)
                | AgreementFact::BatchIntended
                | AgreementFact::BatchMade(_)
                | AgreementFact::Bootstrapped
                | AgreementFact::Reserved(_) => return None,
            }
        }
        ClusterRecord::Funds(fact) => match fact {
            FundsFact::Intended { .. } => return None,
            FundsFact::Set { total, .. } => format!("{total} GLM are set aside"),
            FundsFact::Ended => "the funds are released".to_owned(),
        },
        ClusterRecord::Network(fact) => of_network(fact)?.to_owned(),
        ClusterRecord::BillsRead { .. } => return None,
        ClusterRecord::Warned { warning, .. } => format!("warning: {warning}"),
        ClusterRecord::BudgetSet { total } => format!("the budget is {total} GLM"),
        ClusterRecord::LawSet { law } => format!("heads may have {} workers", law.max_workers),
        ClusterRecord::Ending { reason, .. } => format!("the cluster ends: {reason}"),
    };
    Some(format!("[{}] {what}", cluster.0))
}

fn of_network(fact: &NetworkFact) -> Option<&'static str> {
    match fact {
        NetworkFact::Intended { .. } | NetworkFact::Left(_) | NetworkFact::Settled(_) => None,
        NetworkFact::Made(_) => Some("the private network is there"),
        NetworkFact::Lost => Some("the private network is lost"),
        NetworkFact::Ended => Some("the private network is removed"),
    }
}
