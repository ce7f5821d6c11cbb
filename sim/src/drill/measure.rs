//! What a run came to in numbers: how soon nodes were up, how long, and what they cost.
//!
//! Times come from the records of the journal, money from the daemon's books: what was really paid.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::{
    core::{
        Record,
        cluster::record::{AgreementFact, ClusterRecord, NodeFact},
        ids::{ClusterId, NodeId},
    },
    units::{Glm, Span, Timestamp},
    yagna::AgreementId,
};

use crate::yagna::SimYagna;

/// What a run came to in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// The most nodes that were wanted at once.
    pub wanted: u32,
    /// How long after the first request so many nodes were up at once: the first entry is for one
    /// node, the last one for the most that there ever were.
    pub ready: Vec<Span>,
    /// How long nodes were up, together.
    pub node_time: Span,
    /// How many nodes were ever up.
    pub nodes: u64,
    /// How many agreements were sent to providers.
    pub agreements: u64,
    /// What was paid.
    pub spent: Glm,
    /// What was paid for agreements whose node was never up.
    pub wasted: Glm,
}

/// Follows a run.
#[derive(Debug, Default)]
pub(super) struct Meter {
    began: Option<Timestamp>,
    /// Nodes that are wanted; each with the latest agreement for it, and since when it is up.
    wanted: BTreeMap<(ClusterId, NodeId), Life>,
    up: usize,
    /// Agreements whose node was up.
    good: BTreeSet<AgreementId>,
    measures: Measures,
}

#[derive(Debug, Default)]
struct Life {
    agreement: Option<AgreementId>,
    up_since: Option<Timestamp>,
}

impl Meter {
    /// Takes up what is durable from now on.
    pub(super) fn on_records(&mut self, now: Timestamp, records: &[Record]) {
        for record in records {
            if let Record::Cluster(cluster, record) = record {
                self.on_record(now, *cluster, record);
            }
        }
    }

    /// What the run came to, now that it is over.
    pub(super) fn read(mut self, now: Timestamp, daemon: &SimYagna) -> Measures {
        let left: Vec<_> = self.wanted.keys().copied().collect();
        for key in left {
            self.end(now, key);
        }
        let notes = daemon.notes().iter().map(|book| (&book.note.agreement, book.taken));
        let invoices = daemon.invoices().iter().map(|book| (&book.invoice.agreement, book.taken));
        for (agreement, taken) in notes.chain(invoices) {
            self.measures.spent = self.measures.spent.plus(taken);
            if !self.good.contains(agreement) {
                self.measures.wasted = self.measures.wasted.plus(taken);
            }
        }
        self.measures
    }

    fn on_record(&mut self, now: Timestamp, cluster: ClusterId, record: &ClusterRecord) {
        match record {
            ClusterRecord::NodesRequested { nodes, .. } => {
                self.began.get_or_insert(now);
                for node in nodes {
                    self.wanted.insert((cluster, *node), Life::default());
                }
                let wanted = u32::try_from(self.wanted.len()).unwrap_or(u32::MAX);
                self.measures.wanted = self.measures.wanted.max(wanted);
            }
            ClusterRecord::Node { node, fact } => match fact {
                NodeFact::Running => self.begin(now, (cluster, *node)),
                NodeFact::Ending | NodeFact::Ended => self.end(now, (cluster, *node)),
                NodeFact::Tagged(_) | NodeFact::Logged(_) => {}
            },
            ClusterRecord::Agreement {
                fact: AgreementFact::Signing { agreement, node, .. },
                ..
            } => {
                self.measures.agreements += 1;
                if let Some(life) = self.wanted.get_mut(&(cluster, *node)) {
                    life.agreement = Some(agreement.clone());
                }
            }
            ClusterRecord::Agreement { .. }
            | ClusterRecord::Opened { .. }
            | ClusterRecord::Funds(_)
            | ClusterRecord::Network(_)
            | ClusterRecord::BillsRead { .. }
            | ClusterRecord::Warned { .. }
            | ClusterRecord::BudgetSet { .. }
            | ClusterRecord::Ending { .. } => {}
        }
    }

    /// A node is up.
    fn begin(&mut self, now: Timestamp, key: (ClusterId, NodeId)) {
        let Some(life) = self.wanted.get_mut(&key) else { return };
        if life.up_since.replace(now).is_some() {
            return;
        }
        self.good.extend(life.agreement.clone());
        self.up += 1;
        self.measures.nodes += 1;
        if self.up > self.measures.ready.len() {
            let since = self.began.map_or(Span::ZERO, |began| now.since(began));
            self.measures.ready.push(since);
        }
    }

    /// A node is not up, or not wanted, any more.
    fn end(&mut self, now: Timestamp, key: (ClusterId, NodeId)) {
        if let Some(since) = self.wanted.remove(&key).and_then(|life| life.up_since) {
            self.up -= 1;
            self.measures.node_time = self.measures.node_time.plus(now.since(since));
        }
    }
}
