//! `bills`: what was billed, accepted, and disputed, whether a webserver runs or not.
//!
//! Amounts of different networks are never added: a simulated network costs nothing, and tokens of a testnet are worth
//! nothing.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    error::CliError,
    printer::Printer,
    table::{plain, table},
    webserver::data_of,
    when::since,
};
use crate::{
    bills::{Bill, Verdict},
    driver::clock::written,
    server::bills,
    units::{Glm, Timestamp},
};

const BILL_HEADINGS: [&str; 10] = [
    "WHEN", "CLUSTER", "NODE", "PROVIDER", "BILL", "BILLED", "ACCEPTED", "PAID", "PAID ON",
    "WHY NOT",
];
const SUM_HEADINGS: [&str; 5] = ["ACCEPTED", "PAID", "BILLS", "DISPUTED", "PAID ON"];

/// Arguments of `bills`.
#[derive(Args, Debug)]
pub(super) struct BillsArgs {
    /// Since when: a day (2026-11-30), an instant (2026-11-30T12:00:00Z), both in UTC, or how long ago (90m, 12h, 7d, 2w)
    #[arg(long, value_name = "DATE|DURATION", value_parser = since)]
    since: Option<Timestamp>,
    /// Sum them up by this
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Print comma-separated values, for programs
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print everything as JSON, for programs
    #[arg(long)]
    json: bool,
    /// Ray on Golem's data directory. By default, uses a system data directory
    #[arg(long, value_name = "PATH")]
    datadir: Option<PathBuf>,
}

/// What bills are summed up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The node
    Node,
    /// The cluster
    Cluster,
    /// The provider
    Provider,
    /// The day, in UTC
    Day,
}

/// What some bills come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    accepted: Glm,
    paid: Glm,
    bills: u64,
    disputed: u64,
}

impl BillsArgs {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        let data = data_of(self.datadir)?;
        let all = match bills::stored(&data)? {
            Some(store) => store.bills(self.since.unwrap_or(Timestamp::EPOCH))?,
            None => Vec::new(),
        };
        if self.json {
            let document = document(&all, self.by);
            return printer.line(&serde_json::to_string_pretty(&document).unwrap_or_default());
        }
        if self.csv {
            return printer.print(&csv(&all, self.by));
        }
        if all.is_empty() {
            printer.tell(&format!("No bill is known in `{}`.", data.display()));
            return Ok(());
        }
        printer.print(&text(&all, self.by, io::stdout().is_terminal()))
    }
}

impl By {
    const fn headings(self) -> &'static [&'static str] {
        match self {
            Self::Node => &["CLUSTER", "NODE"],
            Self::Cluster => &["CLUSTER", "NUMBER"],
            Self::Provider => &["PROVIDER", "ID"],
            Self::Day => &["DAY"],
        }
    }

    fn key(self, bill: &Bill) -> Vec<String> {
        match self {
            Self::Node => vec![bill.cluster.clone(), node(bill)],
            Self::Cluster => vec![bill.cluster.clone(), bill.number.to_string()],
            Self::Provider => {
                let (id, name) = bill.provider.clone().unwrap_or_default();
                vec![name, id]
            }
            Self::Day => vec![written(bill.at).chars().take("2026-11-30".len()).collect()],
        }
    }
}

impl Sum {
    fn add(&mut self, bill: &Bill) {
        match &bill.verdict {
            Verdict::Accepted(more) => {
                self.accepted = self.accepted.plus(*more);
                self.bills += 1;
            }
            Verdict::Disputed(_) => self.disputed += 1,
            Verdict::Paid(amount, _) => self.paid = self.paid.plus(*amount),
        }
    }
}

/// The sums of bills by a key, and by where they are paid.
fn sums(
    bills: &[Bill],
    key: impl Fn(&Bill) -> Vec<String>,
) -> BTreeMap<(Vec<String>, String), Sum> {
    let mut sums = BTreeMap::<_, Sum>::new();
    for bill in bills {
        sums.entry((key(bill), paid_on(bill))).or_default().add(bill);
    }
    sums
}

fn totals(bills: &[Bill]) -> impl Iterator<Item = (String, Sum)> {
    sums(bills, |_| Vec::new()).into_iter().map(|((_, paid_on), sum)| (paid_on, sum))
}

fn paid_on(bill: &Bill) -> String {
    if bill.is_simulated { "simulated".to_owned() } else { bill.platform.clone() }
}

fn node(bill: &Bill) -> String {
    bill.node.map_or_else(|| "-".to_owned(), |node| node.to_string())
}

/// The table for people, with the total of each network at its end.
fn text(bills: &[Bill], by: Option<By>, is_terminal: bool) -> String {
    let Some(by) = by else {
        let rows = bills.iter().map(row);
        let total = |(paid_on, sum): (String, Sum)| {
            let mut row = ["-"; BILL_HEADINGS.len()].map(str::to_owned);
            row[0] = "total".to_owned();
            row[6] = sum.accepted.to_string();
            row[7] = sum.paid.to_string();
            row[8] = paid_on;
            row.to_vec()
        };
        let rows: Vec<Vec<String>> = rows.chain(totals(bills).map(total)).collect();
        return table(&BILL_HEADINGS, &rows, is_terminal);
    };
    let headings: Vec<&str> = by.headings().iter().chain(&SUM_HEADINGS).copied().collect();
    let row = |mut key: Vec<String>, paid_on: String, sum: Sum| {
        key.extend([sum.accepted.to_string(), sum.paid.to_string()]);
        key.extend([sum.bills.to_string(), sum.disputed.to_string()]);
        key.push(paid_on);
        key.iter().map(|cell| plain(cell)).collect()
    };
    let of_all = |(paid_on, sum)| {
        let mut key = vec!["-".to_owned(); by.headings().len()];
        key[0] = "total".to_owned();
        row(key, paid_on, sum)
    };
    let rows = sums(bills, |bill| by.key(bill));
    let rows = rows.into_iter().map(|((key, paid_on), sum)| row(key, paid_on, sum));
    let rows: Vec<Vec<String>> = rows.chain(totals(bills).map(of_all)).collect();
    table(&headings, &rows, is_terminal)
}

fn row(bill: &Bill) -> Vec<String> {
    let (_, provider) = bill.provider.clone().unwrap_or_default();
    let (accepted, paid, reason) = match &bill.verdict {
        Verdict::Accepted(more) => (more.to_string(), "-".to_owned(), "-"),
        Verdict::Disputed(reason) => (Glm::ZERO.to_string(), "-".to_owned(), reason.as_str()),
        Verdict::Paid(share, _) => ("-".to_owned(), share.to_string(), "-"),
    };
    [
        &written(bill.at),
        &bill.cluster,
        &node(bill),
        &provider,
        bill.kind.name(),
        &bill.billed,
        &accepted,
        &paid,
        &paid_on(bill),
        reason,
    ]
    .map(plain)
    .to_vec()
}

/// One line for each bill, or for each sum, below a line of names.
fn csv(bills: &[Bill], by: Option<By>) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        cells.join(",") + "\n"
    };
    let documents = match by {
        None => bills.iter().map(bill_document).collect(),
        Some(by) => groups(bills, by),
    };
    let empty = match by {
        None => BILL_KEYS.to_vec(),
        Some(by) => by.keys().iter().chain(&SUM_KEYS).copied().collect(),
    };
    let mut text = line(empty.iter().map(|key| (*key).to_owned()).collect());
    for document in documents {
        let cell = |key: &&str| match &document[*key] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        };
        text.push_str(&line(empty.iter().map(cell).collect()));
    }
    text
}

/// A cell with a comma, a quote, or a line in it is set in quotes.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

/// The keys of a bill for programs, in their order.
const BILL_KEYS: [&str; 17] = [
    "at",
    "cluster_name",
    "cluster_number",
    "node_id",
    "provider_id",
    "provider_name",
    "kind",
    "bill_id",
    "verdict",
    "billed_glm",
    "accepted_glm",
    "paid_glm",
    "reason",
    "transaction",
    "payment_platform",
    "simulated",
    "identity",
];
/// The keys of a sum for programs, behind those of what it is of.
const SUM_KEYS: [&str; 5] =
    ["accepted_glm", "paid_glm", "accepted_bills", "disputed_bills", "paid_on"];

impl By {
    /// As [`Self::headings`], for programs.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Node => &["cluster_name", "node_id"],
            Self::Cluster => &["cluster_name", "cluster_number"],
            Self::Provider => &["provider_name", "provider_id"],
            Self::Day => &["day"],
        }
    }
}

fn document(bills: &[Bill], by: Option<By>) -> Value {
    let totals = totals(bills).map(|(paid_on, sum)| sum_document(&[], &[], &paid_on, sum));
    let mut document = json!({ "version": 1, "totals": totals.collect::<Vec<_>>() });
    match by {
        None => document["bills"] = bills.iter().map(bill_document).collect(),
        Some(by) => document["sums"] = groups(bills, by).into(),
    }
    document
}

fn groups(bills: &[Bill], by: By) -> Vec<Value> {
    let sums = sums(bills, |bill| by.key(bill)).into_iter();
    sums.map(|((key, paid_on), sum)| sum_document(by.keys(), &key, &paid_on, sum)).collect()
}

fn sum_document(keys: &[&str], key: &[String], paid_on: &str, sum: Sum) -> Value {
    let mut document = json!({
        "accepted_glm": sum.accepted.to_string(),
        "paid_glm": sum.paid.to_string(),
        "accepted_bills": sum.bills,
        "disputed_bills": sum.disputed,
        "paid_on": paid_on,
    });
    for (name, value) in keys.iter().zip(key) {
        document[*name] = value.as_str().into();
    }
    document
}

fn bill_document(bill: &Bill) -> Value {
    let (verdict, reason, transaction) = match &bill.verdict {
        Verdict::Accepted(_) => ("accepted", None, None),
        Verdict::Disputed(reason) => ("disputed", Some(reason), None),
        Verdict::Paid(_, transaction) => ("paid", None, transaction.as_ref()),
    };
    json!({
        "at": written(bill.at),
        "cluster_name": bill.cluster,
        "cluster_number": bill.number,
        "node_id": bill.node.map(|node| node.to_string()),
        "provider_id": bill.provider.as_ref().map(|(id, _)| id),
        "provider_name": bill.provider.as_ref().map(|(_, name)| name),
        "kind": bill.kind.name(),
        "bill_id": bill.bill,
        "verdict": verdict,
        "billed_glm": bill.billed,
        "accepted_glm": bill.accepted().to_string(),
        "paid_glm": bill.paid().to_string(),
        "reason": reason,
        "transaction": transaction,
        "payment_platform": bill.platform,
        "simulated": bill.is_simulated,
        "identity": bill.identity,
    })
}

#[cfg(test)]
mod tests {
    use super::{By, csv, document, text};
    use crate::{
        bills::{Bill, Kind, Verdict},
        core::ids::NodeId,
        units::{Glm, Span, Timestamp},
    };

    const NOON: Timestamp = Timestamp::from_unix_micros(1_796_040_000_000_000);

    fn bill(hours: u64, node: u32, billed: &str, verdict: Verdict) -> Bill {
        Bill {
            at: NOON.plus(Span::hours(hours)),
            cluster: "c".to_owned(),
            number: 3,
            is_simulated: false,
            identity: Some("0xabc".to_owned()),
            platform: "erc20-polygon-glm".to_owned(),
            node: Some(NodeId(node)),
            provider: Some((format!("0x{node}"), "a, \"b\"".to_owned())),
            kind: Kind::DebitNote,
            bill: format!("bill-{hours}"),
            billed: billed.to_owned(),
            verdict,
        }
    }

    fn bills() -> Vec<Bill> {
        let accepted = |atto| Verdict::Accepted(Glm::from_atto(atto));
        let paid = |atto| Verdict::Paid(Glm::from_atto(atto), Some("0xcafe".to_owned()));
        vec![
            bill(0, 0, "0.000000000000000001", accepted(1)),
            bill(1, 1, "0.5", accepted(500_000_000_000_000_000)),
            bill(12, 1, "7e3", Verdict::Disputed("it is too much".to_owned())),
            Bill { is_simulated: true, ..bill(13, 0, "2", accepted(2_000_000_000_000_000_000)) },
            Bill { kind: Kind::Payment, ..bill(14, 1, "0.25", paid(250_000_000_000_000_000)) },
        ]
    }

    #[test]
    fn bills_are_a_table_with_a_total_of_each_network() {
        assert_eq!(
            text(&bills(), None, true),
            "
WHEN                  CLUSTER  NODE   PROVIDER  BILL        BILLED                ACCEPTED              PAID  PAID ON            WHY NOT
2026-11-30T12:00:00Z  c        node0  a, \"b\"    debit-note  0.000000000000000001  0.000000000000000001  -     erc20-polygon-glm  -
2026-11-30T13:00:00Z  c        node1  a, \"b\"    debit-note  0.5                   0.5                   -     erc20-polygon-glm  -
2026-12-01T00:00:00Z  c        node1  a, \"b\"    debit-note  7e3                   0                     -     erc20-polygon-glm  it is too much
2026-12-01T01:00:00Z  c        node0  a, \"b\"    debit-note  2                     2                     -     simulated          -
2026-12-01T02:00:00Z  c        node1  a, \"b\"    payment     0.25                  -                     0.25  erc20-polygon-glm  -
total                 -        -      -         -           -                     0.500000000000000001  0.25  erc20-polygon-glm  -
total                 -        -      -         -           -                     2                     0     simulated          -
"
        );
        assert_eq!(text(&[], None, true), "");
    }

    #[test]
    fn sums_are_by_node_cluster_provider_or_day() {
        let sums = |by| text(&bills(), Some(by), false);
        let totals = "0.500000000000000001\t0.25\t2\t1\terc20-polygon-glm\n";

        assert_eq!(
            sums(By::Node),
            format!(
                "c\tnode0\t0.000000000000000001\t0\t1\t0\terc20-polygon-glm\n\
                 c\tnode0\t2\t0\t1\t0\tsimulated\n\
                 c\tnode1\t0.5\t0.25\t1\t1\terc20-polygon-glm\n\
                 total\t-\t{totals}total\t-\t2\t0\t1\t0\tsimulated\n"
            )
        );
        assert_eq!(
            sums(By::Day),
            format!(
                "2026-11-30\t0.500000000000000001\t0\t2\t0\terc20-polygon-glm\n\
                 2026-12-01\t0\t0.25\t0\t1\terc20-polygon-glm\n\
                 2026-12-01\t2\t0\t1\t0\tsimulated\n\
                 total\t{totals}total\t2\t0\t1\t0\tsimulated\n"
            )
        );
        assert!(
            sums(By::Cluster).starts_with(&format!("c\t3\t{totals}c\t3\t2\t0\t1\t0\tsimulated\n"))
        );
        assert!(sums(By::Provider).starts_with("a, \"b\"\t0x0\t0.000000000000000001\t0\t1\t0\t"));
    }

    #[test]
    fn programs_read_the_same() {
        let all = csv(&bills(), None);
        let mut lines = all.lines();
        let heading = lines.next().expect("names");

        assert!(heading.starts_with("at,cluster_name,cluster_number,node_id,"), "{heading}");
        assert_eq!(
            lines.next(),
            Some(
                "2026-11-30T12:00:00Z,c,3,node0,0x0,\"a, \"\"b\"\"\",debit-note,bill-0,accepted,\
                 0.000000000000000001,0.000000000000000001,0,,,erc20-polygon-glm,false,0xabc"
            )
        );
        assert_eq!(
            lines.last(),
            Some(
                "2026-12-01T02:00:00Z,c,3,node1,0x1,\"a, \"\"b\"\"\",payment,bill-14,paid,0.25,0,0.25,,0xcafe,\
                 erc20-polygon-glm,false,0xabc"
            )
        );
        assert_eq!(all.lines().count(), 6);
        assert_eq!(
            csv(&[], Some(By::Day)),
            "day,accepted_glm,paid_glm,accepted_bills,disputed_bills,paid_on\n"
        );
        let document = document(&bills(), Some(By::Provider));
        assert_eq!(document["totals"][0]["accepted_glm"], "0.500000000000000001");
        assert_eq!(document["totals"][0]["paid_glm"], "0.25");
        assert_eq!(document["sums"][0]["provider_id"], "0x0");
        assert_eq!(document["sums"].as_array().map(Vec::len), Some(3));
    }
}
