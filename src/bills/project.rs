//! Taking in what journals say.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{
    Entry, Owner, Said, Store, StoreError,
    schema::{add_to_total, amount, count_in_total, set_total},
};
use crate::{
    core::{
        cluster::{
            Step,
            account::{Account, Terms},
            plan::{ClusterName, ClusterPlan},
            record::{AgreementFact, ClusterRecord, Dispute},
            state::ClusterState,
        },
        ids::{AgreementNo, ClusterId, NodeId},
        payment::ledger,
    },
    sqlite::{self, count, instant, integer},
    units::{Glm, Timestamp},
    yagna::{ActivityId, AgreementId},
};

/// A cluster, as its row is found.
struct Cluster {
    id: i64,
    name: String,
    next_line: u64,
}

/// What was decided of a bill.
struct Decided<'a> {
    agreement: Option<AgreementNo>,
    at: Timestamp,
    kind: &'static str,
    bill: &'a str,
    billed: &'a str,
    verdict: Verdict<'a>,
}

enum Verdict<'a> {
    /// So much of its agreement is accepted now.
    Accepted(Glm),
    Disputed(&'a str),
}

impl Store {
    /// Takes in lines of journals in their order, all or none; those that were taken in before are left out.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn take(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let owner = self.owner.clone();
        self.change(|transaction| {
            entries.iter().try_for_each(|entry| take(transaction, &owner, entry))
        })
    }

    /// Notes that a cluster is closed, and its last picture, as `/status` shows it.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn close(
        &mut self,
        cluster: ClusterId,
        at: Timestamp,
        picture: &str,
    ) -> Result<(), StoreError> {
        self.change(|transaction| {
            let Some(cluster) = find(transaction, cluster)? else { return Ok(()) };
            let closing =
                "UPDATE cluster SET closed = ?2, picture = ?3 WHERE id = ?1 AND closed IS NULL";
            let closed = transaction.execute(closing, params![cluster.id, instant(at), picture])?;
            if closed > 0 {
                let accrued = accrued(transaction, cluster.id)?;
                add_to_total(transaction, &cluster.name, "accrued", accrued)?;
            }
            Ok(())
        })
    }

    /// Counts agreements that came to nothing, by the step at which they did.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn count_failures(&mut self, steps: &[Step]) -> Result<(), StoreError> {
        if steps.is_empty() {
            return Ok(());
        }
        self.change(|transaction| {
            let counting = "INSERT INTO failure (step, count) VALUES (?1, 1)
                 ON CONFLICT (step) DO UPDATE SET count = count + 1";
            steps.iter().try_for_each(|step| transaction.execute(counting, [step.name()]).map(drop))
        })
    }

    /// Remembers the most that was said of what clusters of a name can have cost, before it is said.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn remember_told(&mut self, told: &[(String, Glm)]) -> Result<(), StoreError> {
        self.change(|transaction| {
            told.iter().try_for_each(|(name, amount)| {
                set_total(transaction, name, "told", &amount.to_string())
            })
        })
    }

    pub(super) fn change(
        &mut self,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let change = || {
            let transaction = sqlite::write(&mut self.connection)?;
            act(&transaction)?;
            transaction.commit()
        };
        change().map_err(|source| self.failed(source))
    }
}

fn take(connection: &Connection, owner: &Owner, entry: &Entry) -> rusqlite::Result<()> {
    match &entry.said {
        Said::Records(records) => {
            if let Some(ClusterRecord::Opened { name, plan, at, .. }) = records.first() {
                open(connection, owner, entry.cluster, name, plan, *at)?;
            }
        }
        Said::All(state) => {
            open(connection, owner, entry.cluster, &state.name, &state.plan, state.opened)?;
        }
    }
    let Some(cluster) = find(connection, entry.cluster)? else { return Ok(()) };
    if entry.seq < cluster.next_line {
        return Ok(());
    }
    match &entry.said {
        Said::Records(records) => {
            records.iter().try_for_each(|record| apply(connection, &cluster, entry.at, record))?;
        }
        Said::All(state) => restore(connection, &cluster, entry, state)?,
    }
    let next = integer(entry.seq.saturating_add(1));
    let advancing = "UPDATE cluster SET next_line = ?2 WHERE id = ?1";
    connection.execute(advancing, params![cluster.id, next]).map(drop)
}

fn open(
    connection: &Connection,
    owner: &Owner,
    cluster: ClusterId,
    name: &ClusterName,
    plan: &ClusterPlan,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let opening = "INSERT OR IGNORE INTO cluster
         (number, opened, name, platform, simulated, identity, next_line) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)";
    let (number, opened) = (cluster.0, instant(at));
    let platform = plan.platform.as_str();
    let Owner { is_simulated, identity } = owner;
    let values = params![number, opened, name.as_str(), platform, is_simulated, identity];
    connection.execute(opening, values)?;
    connection.execute("INSERT OR IGNORE INTO total (name) VALUES (?1)", [name.as_str()]).map(drop)
}

/// The cluster of a number that came last.
fn find(connection: &Connection, cluster: ClusterId) -> rusqlite::Result<Option<Cluster>> {
    let query = "SELECT id, name, next_line FROM cluster WHERE number = ?1 ORDER BY id DESC";
    let found = connection.query_row(query, [cluster.0], |row| {
        Ok(Cluster {
            id: row.get("id")?,
            name: row.get("name")?,
            next_line: count(row, "next_line")?,
        })
    });
    found.optional()
}

fn apply(
    connection: &Connection,
    cluster: &Cluster,
    at: Timestamp,
    record: &ClusterRecord,
) -> rusqlite::Result<()> {
    match record {
        ClusterRecord::Agreement { number, fact } => {
            apply_to_agreement(connection, cluster, at, *number, fact)
        }
        ClusterRecord::Warned { .. } => count_in_total(connection, &cluster.name, "warnings"),
        ClusterRecord::Opened { .. }
        | ClusterRecord::NodesRequested { .. }
        | ClusterRecord::Node { .. }
        | ClusterRecord::Funds(_)
        | ClusterRecord::Network(_)
        | ClusterRecord::BillsRead { .. }
        | ClusterRecord::BudgetSet { .. }
        | ClusterRecord::LawSet { .. }
        | ClusterRecord::Ending { .. } => Ok(()),
    }
}

fn apply_to_agreement(
    connection: &Connection,
    cluster: &Cluster,
    at: Timestamp,
    number: AgreementNo,
    fact: &AgreementFact,
) -> rusqlite::Result<()> {
    let agreement = Some(number);
    let accepted = |kind, bill, total: &Glm| {
        let (billed, verdict) = (&*total.to_string(), Verdict::Accepted(*total));
        decide(connection, cluster, &Decided { agreement, at, kind, bill, billed, verdict })
    };
    let disputed = |kind, dispute: &Dispute| {
        decide(connection, cluster, &Decided::disputed(agreement, kind, dispute))
    };
    match fact {
        AgreementFact::Signing { agreement, node, terms, .. } => {
            sign(connection, cluster, number, agreement, *node, terms)
        }
        AgreementFact::ActivityMade(activity) => {
            let making = "UPDATE agreement SET activity = ?3 WHERE cluster = ?1 AND number = ?2";
            connection.execute(making, params![cluster.id, number.0, activity.as_str()]).map(drop)
        }
        AgreementFact::ActivityIntended { at } => {
            let beginning = "UPDATE agreement SET costs_since = coalesce(costs_since, ?3)
                 WHERE cluster = ?1 AND number = ?2";
            connection.execute(beginning, params![cluster.id, number.0, instant(*at)]).map(drop)
        }
        AgreementFact::Over { at } => {
            let ending = "UPDATE agreement SET over = ?3 WHERE cluster = ?1 AND number = ?2";
            connection.execute(ending, params![cluster.id, number.0, instant(*at)]).map(drop)
        }
        AgreementFact::NoteAccepted { note, total } => accepted("debit-note", note.as_str(), total),
        AgreementFact::InvoiceAccepted { invoice, total } => {
            accepted("invoice", invoice.as_str(), total)
        }
        AgreementFact::NoteDisputed(dispute) => disputed("debit-note", dispute),
        AgreementFact::InvoiceDisputed(dispute) => disputed("invoice", dispute),
        AgreementFact::Approved
        | AgreementFact::BatchIntended
        | AgreementFact::BatchMade(_)
        | AgreementFact::Bootstrapped
        | AgreementFact::Closing { .. }
        | AgreementFact::Reserved(_)
        | AgreementFact::Settled => Ok(()),
    }
}

fn sign(
    connection: &Connection,
    cluster: &Cluster,
    number: AgreementNo,
    id: &AgreementId,
    node: NodeId,
    terms: &Terms,
) -> rusqlite::Result<()> {
    let signing = "INSERT OR IGNORE INTO agreement
         (cluster, number, agreement, node, provider, provider_name, start, per_second, accepted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '0')";
    let (start, per_second) = (terms.price.start.to_string(), terms.per_second().to_string());
    let (provider, name) = (terms.provider.as_str(), &terms.name);
    let (cluster, id) = (cluster.id, id.as_str());
    let values = params![cluster, number.0, id, node.0, provider, name, start, per_second];
    connection.execute(signing, values).map(drop)
}

/// Puts in what became of a bill, once.
fn decide(
    connection: &Connection,
    cluster: &Cluster,
    decided: &Decided<'_>,
) -> rusqlite::Result<()> {
    let (verdict, counted, reason, more) = match decided.verdict {
        Verdict::Accepted(total) => {
            let number = decided.agreement.map(|number| number.0);
            let reading = "SELECT accepted FROM agreement WHERE cluster = ?1 AND number = ?2";
            let before = connection
                .query_row(reading, params![cluster.id, number], |row| amount(row, "accepted"))
                .optional()?;
            // What is of no agreement costs nothing.
            let Some(before) = before else { return Ok(()) };
            ("accepted", "accepted_bills", None, total.minus(before))
        }
        Verdict::Disputed(reason) => ("disputed", "disputed_bills", Some(reason), Glm::ZERO),
    };
    let deciding = "INSERT OR IGNORE INTO bill
         (cluster, agreement, at, kind, bill, verdict, billed, accepted, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let number = decided.agreement.map(|number| number.0);
    let Decided { at, kind, bill, billed, .. } = decided;
    let more_text = more.to_string();
    let values =
        params![cluster.id, number, instant(*at), kind, bill, verdict, billed, more_text, reason];
    if connection.execute(deciding, values)? == 0 {
        return Ok(());
    }
    count_in_total(connection, &cluster.name, counted)?;
    if more > Glm::ZERO {
        let adding = "UPDATE agreement SET accepted = ?3 WHERE cluster = ?1 AND number = ?2";
        connection.execute(adding, params![cluster.id, number, billed])?;
        add_to_total(connection, &cluster.name, "spent", more)?;
    }
    Ok(())
}

/// Puts in what the lines came to that a journal has folded.
fn restore(
    connection: &Connection,
    cluster: &Cluster,
    entry: &Entry,
    state: &ClusterState,
) -> rusqlite::Result<()> {
    for (number, account) in state.all_accounts() {
        restore_account(connection, cluster, entry, number, account)?;
    }
    for dispute in &state.disputes {
        let query = "SELECT 1 FROM bill WHERE cluster = ?1 AND bill = ?2 AND verdict = 'disputed'";
        let known = connection.query_row(query, params![cluster.id, dispute.bill], |_| Ok(()));
        if known.optional()?.is_none() {
            // It is not said whether it was one or the other; an invoice is what providers insist on.
            decide(connection, cluster, &Decided::disputed(None, "invoice", dispute))?;
        }
    }
    // Warnings have no ids: those of lines that were taken in are not counted again.
    if cluster.next_line == 0 {
        for _ in &state.warnings {
            count_in_total(connection, &cluster.name, "warnings")?;
        }
    }
    Ok(())
}

fn restore_account(
    connection: &Connection,
    cluster: &Cluster,
    entry: &Entry,
    number: AgreementNo,
    account: &Account,
) -> rusqlite::Result<()> {
    sign(connection, cluster, number, &account.agreement, account.node, &account.terms)?;
    let timing =
        "UPDATE agreement SET costs_since = ?3, over = ?4, activity = coalesce(?5, activity)
         WHERE cluster = ?1 AND number = ?2";
    let (since, over) = (account.costs_since.map(instant), account.over.map(instant));
    let activity = account.activity.as_ref().map(ActivityId::as_str);
    connection.execute(timing, params![cluster.id, number.0, since, over, activity])?;
    let reading = "SELECT accepted FROM agreement WHERE cluster = ?1 AND number = ?2";
    let known = connection
        .query_row(reading, params![cluster.id, number.0], |row| amount(row, "accepted"))?;
    let total = account.accepted;
    let (agreement, at, verdict) = (Some(number), entry.at, Verdict::Accepted(total));
    let billed = &*total.to_string();
    if let Some(invoice) = &account.invoice {
        let bill = invoice.as_str();
        let kind = "invoice";
        return decide(
            connection,
            cluster,
            &Decided { agreement, at, kind, bill, billed, verdict },
        );
    }
    if total > known {
        let bill = &*format!("agreement {} until line {}", number.0, entry.seq);
        let kind = "earlier";
        return decide(
            connection,
            cluster,
            &Decided { agreement, at, kind, bill, billed, verdict },
        );
    }
    Ok(())
}

/// What the agreements of a cluster that is closed can have cost by our own clock.
fn accrued(connection: &Connection, cluster: i64) -> rusqlite::Result<Glm> {
    let query = "SELECT start, per_second, costs_since, over FROM agreement
         WHERE cluster = ?1 AND costs_since IS NOT NULL AND over IS NOT NULL";
    let mut query = connection.prepare(query)?;
    let mut rows = query.query([cluster])?;
    let mut sum = Glm::ZERO;
    while let Some(row) = rows.next()? {
        let (start, per_second) = (amount(row, "start")?, amount(row, "per_second")?);
        let at =
            |column| Ok::<_, rusqlite::Error>(Timestamp::from_unix_micros(count(row, column)?));
        let elapsed = at("over")?.since(at("costs_since")?);
        sum = sum.plus(ledger::cost(start, per_second, elapsed));
    }
    Ok(sum)
}

impl<'a> Decided<'a> {
    fn disputed(agreement: Option<AgreementNo>, kind: &'static str, dispute: &'a Dispute) -> Self {
        Self {
            agreement,
            at: dispute.at,
            kind,
            bill: &dispute.bill,
            billed: dispute.amount.as_str(),
            verdict: Verdict::Disputed(&dispute.reason),
        }
    }
}
