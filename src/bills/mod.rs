//! Every bill that was accepted or disputed, and every payment for them, kept for good: `DATA/bills.sqlite`.
//!
//! ```text
//!   journals --Entry, in order--> +-------+ --Bill--> `ray-on-golem bills`
//!                                 | store | --Totals--> `/metrics`
//!   bills.ndjson (once) --------> |       | --pictures of closed clusters--> `/status`
//!   the daemon's payments ------> +-------+
//! ```
//!
//! The store is a projection of the journals: it is written after them, and nothing decides by it. Each line of a journal
//! is taken in once, by its number, in one transaction with what it says. So a crash between a journal and the store
//! neither loses nor doubles anything: the next start puts in what is missing. Where a journal has folded lines before
//! they were taken in, what they came to is put in as one row.
//!
//! Amounts are decimal text, exact to the last digit.

mod import;
mod open;
mod pay;
mod project;
mod read;
mod schema;

pub use crate::sqlite::StoreError;
pub use open::{Notice, Opened, Store};
pub use read::{Bill, Kind, Totals, Verdict};

use crate::{
    core::{
        cluster::{
            Step,
            record::{AgreementFact, ClusterRecord},
            state::ClusterState,
        },
        ids::ClusterId,
        record::Record,
    },
    units::Timestamp,
};

/// Whose bills they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whether the network is a simulated one, so that nothing was paid.
    pub is_simulated: bool,
    /// The identity of the daemon, on the real one.
    pub identity: Option<String>,
}

/// What the manager tells those who keep the store.
#[derive(Clone, Debug)]
pub enum News {
    /// A line was written to the journal of a cluster.
    Line(Entry),
    /// An agreement came to nothing at this step.
    Failed(Step),
}

/// A line of a cluster's journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The journal's cluster.
    pub cluster: ClusterId,
    /// The number of the line.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub said: Said,
}

/// What a line of a cluster's journal says.
#[derive(Clone, Debug)]
pub enum Said {
    /// Records, as far as they are of interest.
    Records(Vec<ClusterRecord>),
    /// What all lines before it fold to.
    All(Box<ClusterState>),
}

impl Entry {
    /// What the store keeps of records that became durable together, if anything.
    #[must_use]
    pub fn of(cluster: ClusterId, seq: u64, at: Timestamp, records: &[Record]) -> Option<Self> {
        let kept = records.iter().filter_map(|record| match record {
            Record::Cluster(_, record) if is_of_interest(record) => {
                Some(ClusterRecord::clone(record))
            }
            Record::Cluster(..) | Record::Common(_) => None,
        });
        let kept: Vec<ClusterRecord> = kept.collect();
        (!kept.is_empty()).then_some(Self { cluster, seq, at, said: Said::Records(kept) })
    }
}

/// Whether the store keeps anything of a record.
const fn is_of_interest(record: &ClusterRecord) -> bool {
    match record {
        ClusterRecord::Opened { .. } | ClusterRecord::Warned { .. } => true,
        ClusterRecord::Agreement { fact, .. } => match fact {
            AgreementFact::Signing { .. }
            | AgreementFact::ActivityIntended { .. }
            | AgreementFact::ActivityMade(_)
            | AgreementFact::Over { .. }
            | AgreementFact::NoteAccepted { .. }
            | AgreementFact::NoteDisputed(_)
            | AgreementFact::InvoiceAccepted { .. }
            | AgreementFact::InvoiceDisputed(_) => true,
            AgreementFact::Approved
            | AgreementFact::BatchIntended
            | AgreementFact::BatchMade(_)
            | AgreementFact::Bootstrapped
            | AgreementFact::Closing { .. }
            | AgreementFact::Reserved(_)
            | AgreementFact::Settled => false,
        },
        ClusterRecord::NodesRequested { .. }
        | ClusterRecord::Node { .. }
        | ClusterRecord::Funds(_)
        | ClusterRecord::Network(_)
        | ClusterRecord::BillsRead { .. }
        | ClusterRecord::BudgetSet { .. }
        | ClusterRecord::LawSet { .. }
        | ClusterRecord::Ending { .. } => false,
    }
}
