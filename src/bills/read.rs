//! Reading the store.

use std::collections::BTreeMap;

use rusqlite::{Row, params};
use serde_json::Value;

use super::{Store, StoreError, schema::amount};
use crate::{
    core::ids::NodeId,
    sqlite::{count, instant, integer},
    units::{Glm, Timestamp},
};

/// A bill that was accepted or disputed, or a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// When that was decided; of a payment, when it was made, by the daemon's clock.
    pub at: Timestamp,
    /// The name of its cluster.
    pub cluster: String,
    /// The number of its cluster.
    pub number: u32,
    /// Whether no money was paid, since the network was a simulated one.
    pub is_simulated: bool,
    /// The identity of the daemon, on the real network.
    pub identity: Option<String>,
    /// Where it is paid.
    pub platform: String,
    /// Its node, if that is known.
    pub node: Option<NodeId>,
    /// Its provider, with its name for itself, if that is known.
    pub provider: Option<(String, String)>,
    /// What it is.
    pub kind: Kind,
    /// Its id at the daemon.
    pub bill: String,
    /// What it asks for: the total of its agreement, in the words of its provider if it was disputed. Of a payment, what
    /// it comes to.
    pub billed: String,
    /// What was decided.
    pub verdict: Verdict,
}

/// What a bill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A debit note.
    DebitNote,
    /// An invoice.
    Invoice,
    /// Several bills that were accepted.
    Earlier,
    /// None: a payment for what was accepted.
    Payment,
}

/// What was decided of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was accepted: by so much more than before of its agreement.
    Accepted(Glm),
    /// It was disputed, for this reason.
    Disputed(String),
    /// It is a payment, of so much, by the transaction with this hash.
    Paid(Glm, Option<String>),
}

/// What clusters of one name came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What was accepted.
    pub spent: Glm,
    /// What was paid of it.
    pub paid: Glm,
    /// Bills that were accepted.
    pub accepted_bills: u64,
    /// Bills that were disputed.
    pub disputed_bills: u64,
    /// Warnings.
    pub warnings: u64,
    /// What closed clusters can have cost by our own clock.
    pub accrued: Glm,
    /// The most that was ever said of that, of open clusters, too.
    pub told: Glm,
}

impl Store {
    /// The bills that were decided, and the payments that were made, at or after an instant; the oldest first.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn bills(&self, since: Timestamp) -> Result<Vec<Bill>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Bill>> {
            let mut query = self.connection.prepare(
                "SELECT bill.*, cluster.name, cluster.number, cluster.simulated, cluster.identity,
                     cluster.platform, agreement.node, agreement.provider, agreement.provider_name
                 FROM (
                     SELECT at, 0 AS of, id, cluster, agreement, kind, bill, verdict, billed, accepted AS amount,
                         reason AS more
                     FROM bill WHERE at >= ?1
                     UNION ALL
                     SELECT at, 1 AS of, id, cluster, agreement, 'payment', payment, 'paid', amount, amount, hash
                     FROM payment WHERE at >= ?1
                 ) AS bill JOIN cluster ON cluster.id = bill.cluster
                 LEFT JOIN agreement
                     ON agreement.cluster = bill.cluster AND agreement.number = bill.agreement
                 ORDER BY bill.at, bill.of, bill.id",
            )?;
            query.query_map([instant(since)], bill)?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// What clusters came to, by name.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn totals(&self) -> Result<BTreeMap<String, Totals>, StoreError> {
        let read = || -> rusqlite::Result<BTreeMap<String, Totals>> {
            let mut query = self.connection.prepare("SELECT * FROM total")?;
            let rows = query.query_map([], |row| {
                let totals = Totals {
                    spent: amount(row, "spent")?,
                    paid: amount(row, "paid")?,
                    accepted_bills: count(row, "accepted_bills")?,
                    disputed_bills: count(row, "disputed_bills")?,
                    warnings: count(row, "warnings")?,
                    accrued: amount(row, "accrued")?,
                    told: amount(row, "told")?,
                };
                Ok((row.get("name")?, totals))
            })?;
            rows.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// How often agreements came to nothing, by the name of the step.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn failures(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let read = || -> rusqlite::Result<BTreeMap<String, u64>> {
            let mut query = self.connection.prepare("SELECT * FROM failure")?;
            query.query_map([], |row| Ok((row.get("step")?, count(row, "count")?)))?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// The last pictures of the clusters that were closed last, the last one last.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn pictures(&self, count: usize) -> Result<Vec<Value>, StoreError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut query = self.connection.prepare(
                "SELECT picture FROM cluster WHERE picture IS NOT NULL
                 ORDER BY closed DESC, id DESC LIMIT ?1",
            )?;
            let limit = integer(u64::try_from(count).unwrap_or(u64::MAX));
            query.query_map(params![limit], |row| row.get(0))?.collect()
        };
        let pictures = read().map_err(|source| self.failed(source))?;
        Ok(pictures.iter().rev().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }
}

fn bill(row: &Row<'_>) -> rusqlite::Result<Bill> {
    let (kind, verdict): (String, String) = (row.get("kind")?, row.get("verdict")?);
    let provider: Option<String> = row.get("provider")?;
    let name: Option<String> = row.get("provider_name")?;
    Ok(Bill {
        at: Timestamp::from_unix_micros(count(row, "at")?),
        cluster: row.get("name")?,
        number: row.get("number")?,
        is_simulated: row.get("simulated")?,
        identity: row.get("identity")?,
        platform: row.get("platform")?,
        node: row.get::<_, Option<u32>>("node")?.map(NodeId),
        provider: provider.zip(name),
        kind: match kind.as_str() {
            "debit-note" => Kind::DebitNote,
            "invoice" => Kind::Invoice,
            "payment" => Kind::Payment,
            _ => Kind::Earlier,
        },
        bill: row.get("bill")?,
        billed: row.get("billed")?,
        verdict: match verdict.as_str() {
            "accepted" => Verdict::Accepted(amount(row, "amount")?),
            "paid" => Verdict::Paid(amount(row, "amount")?, row.get("more")?),
            _ => Verdict::Disputed(row.get::<_, Option<String>>("more")?.unwrap_or_default()),
        },
    })
}

impl Kind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DebitNote => "debit-note",
            Self::Invoice => "invoice",
            Self::Earlier => "earlier",
            Self::Payment => "payment",
        }
    }
}

impl Bill {
    /// How much more was accepted by it.
    #[must_use]
    pub const fn accepted(&self) -> Glm {
        match self.verdict {
            Verdict::Accepted(more) => more,
            Verdict::Disputed(_) | Verdict::Paid(..) => Glm::ZERO,
        }
    }

    /// How much was paid by it.
    #[must_use]
    pub const fn paid(&self) -> Glm {
        match self.verdict {
            Verdict::Paid(amount, _) => amount,
            Verdict::Accepted(_) | Verdict::Disputed(_) => Glm::ZERO,
        }
    }
}
