//! Numbers for Prometheus, in its text format and by its conventions.
//!
//! Each name of a cluster has one series of each number, whatever clusters it had and has. Counters go on from life to
//! life of the webserver, since they are of what the bills' store keeps. A gauge is of the clusters that there are; of a
//! name that has none any more it is 0.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use tokio::task::spawn_blocking;

use super::{App, bills::Bills, bills::Known, document::state_name};
use crate::{
    bills::Totals,
    core::{cluster::Step, cluster::state::NodeState, payment::ledger::Ledger},
    driver::{
        board::{Board, ClusterBoard},
        wallet::Holding,
    },
    units::{Glm, Timestamp},
};

/// What is no more is counted nowhere.
const STATES: [NodeState; 3] = [NodeState::Pending, NodeState::Running, NodeState::Terminating];

/// An amount of all clusters of a name that there are: its name, what it is, and how it is read.
type Gauge = (&'static str, &'static str, fn(&Ledger, Timestamp) -> Glm);

const GAUGES: [Gauge; 5] = [
    ("budget_glm", "The most to spend, in GLM.", |ledger, _| ledger.budget),
    ("reserved_glm", "What is set aside and not accepted yet, in GLM.", |ledger, _| {
        ledger.reserved
    }),
    ("available_glm", "What of the budget is neither spent nor set aside, in GLM.", |ledger, _| {
        ledger.budget.minus(ledger.spent).minus(ledger.reserved)
    }),
    (
        "unbilled_glm",
        "What is due at most by our own clock and was not accepted yet, in GLM.",
        |it, now| it.due.at(now).minus(it.spent),
    ),
    ("glm_per_hour", "What all nodes cost in an hour at full load, in GLM.", |ledger, _| {
        ledger.rate_per_hour
    }),
];

/// A number of each name: its name, what it is, and how it is read.
type Counter = (&'static str, &'static str, fn(&Totals) -> String);

const COUNTERS: [Counter; 3] = [
    ("spent_glm_total", "What was accepted in bills, in GLM.", |totals| totals.spent.to_string()),
    ("paid_glm_total", "What the daemon has paid of it, in GLM.", |totals| totals.paid.to_string()),
    ("warnings_total", "Warnings about a cluster.", |totals| totals.warnings.to_string()),
];

/// The numbers of all clusters.
pub(super) async fn response(app: &App) -> Response {
    let (board, bills) = (app.handle.board(), app.bills.clone());
    // What was said once is on the disk, so that no later life says less.
    let seen = Arc::clone(&board);
    let due = spawn_blocking(move || due(&seen, &bills)).await.unwrap_or_default();
    let numbers = Numbers { board, known: app.bills.known(), due };
    let mut text = numbers.text();
    text.daemon(app.alerts.is_daemon_up(), &app.wallet.holdings());
    let mut response = Response::new(Body::from(text.0));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// What came due at most of all clusters of each name. An end of a node that is heard of late makes it less than was
/// said before; then that is said again.
fn due(board: &Board, bills: &Bills) -> BTreeMap<String, Glm> {
    let (known, now) = (bills.known(), board.now());
    let mut due: BTreeMap<String, Glm> =
        known.totals.iter().map(|(name, totals)| (name.clone(), totals.accrued)).collect();
    let there = board.clusters.values().chain(&board.closed);
    for cluster in there.filter(|cluster| !known.closed.contains(&cluster.id)) {
        let sum = due.entry(cluster.name.to_string()).or_default();
        *sum = sum.plus(cluster.money.due.accrued(now));
    }
    let told = |name: &str| known.totals.get(name).map_or(Glm::ZERO, |totals| totals.told);
    let more: Vec<(String, Glm)> = due
        .iter()
        .filter(|(name, amount)| **amount > told(name))
        .map(|(name, amount)| (name.clone(), *amount))
        .collect();
    let may_be_said = more.is_empty() || bills.remember_told(&more);
    for (name, amount) in &mut due {
        let before = told(name);
        *amount = if may_be_said { before.max(*amount) } else { before };
    }
    due
}

struct Numbers {
    board: Arc<Board>,
    known: Known,
    due: BTreeMap<String, Glm>,
}

impl Numbers {
    fn text(&self) -> Text {
        let mut out = Text::default();
        let names = self.names();
        self.money(&mut out, &names);
        self.nodes(&mut out, &names);
        let load = self.board.load;
        out.head("calls_in_flight", "gauge", "Calls to the daemon whose reply is awaited.");
        out.value("calls_in_flight", &[], &load.calls.to_string());
        out.head("timers", "gauge", "Armed timers of the manager.");
        out.value("timers", &[], &load.timers.to_string());
        out.head(
            "journal_batches_total",
            "counter",
            "Batches of records that this process has written to the journals.",
        );
        out.value("journal_batches_total", &[], &load.batches.to_string());
        out.head("build_info", "gauge", "The version.");
        out.value("build_info", &[("version", env!("CARGO_PKG_VERSION"))], "1");
        out
    }

    /// All names that clusters have or had.
    fn names(&self) -> BTreeSet<String> {
        let there = self.board.clusters.values().map(|cluster| cluster.name.to_string());
        self.known.totals.keys().cloned().chain(there).collect()
    }

    fn money(&self, out: &mut Text, names: &BTreeSet<String>) {
        let none = Totals::default();
        let totals = |name| self.known.totals.get(name).unwrap_or(&none);
        for (metric, help, read) in COUNTERS {
            out.head(metric, "counter", help);
            for name in names {
                out.value(metric, &[("cluster", name)], &read(totals(name)));
            }
        }
        let help = "What came due at most by agreed prices and our own clock, whatever was billed, in GLM.";
        out.head("due_glm_total", "counter", help);
        for name in names {
            let due = self.due.get(name).copied().unwrap_or_default();
            out.value("due_glm_total", &[("cluster", name)], &due.to_string());
        }
        out.head("bills_total", "counter", "Bills by what was decided of them.");
        for name in names {
            let Totals { accepted_bills, disputed_bills, .. } = totals(name);
            for (verdict, count) in [("accepted", accepted_bills), ("disputed", disputed_bills)] {
                let labels = [("cluster", name.as_str()), ("verdict", verdict)];
                out.value("bills_total", &labels, &count.to_string());
            }
        }
        let now = self.board.now();
        for (metric, help, read) in GAUGES {
            out.head(metric, "gauge", help);
            for name in names {
                let all = self.of(name).map(|cluster| read(&cluster.money, now));
                let sum = all.fold(Glm::ZERO, Glm::plus);
                out.value(metric, &[("cluster", name)], &sum.to_string());
            }
        }
    }

    fn nodes(&self, out: &mut Text, names: &BTreeSet<String>) {
        out.head("nodes", "gauge", "Nodes by state.");
        for name in names {
            for state in STATES {
                let nodes = self.of(name).flat_map(|cluster| cluster.nodes.values());
                let count = nodes.filter(|node| node.state == state).count();
                let labels = [("cluster", name.as_str()), ("state", state_name(state))];
                out.value("nodes", &labels, &count.to_string());
            }
        }
        let help = "Agreements that came to nothing, by the step at which they did; `ready` is a node that was up.";
        out.head("node_failures_total", "counter", help);
        for step in Step::RULES.map(|rule| rule.step.name()) {
            let count = self.known.failures.get(step).copied().unwrap_or(0);
            out.value("node_failures_total", &[("step", step)], &count.to_string());
        }
    }

    /// The clusters of a name that there are; more than one while an earlier one ends.
    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Arc<ClusterBoard>> {
        self.board.named(name)
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    /// The daemon and the wallet, as far as they were looked at.
    fn daemon(&mut self, is_up: Option<bool>, holdings: &BTreeMap<&'static str, Holding>) {
        if let Some(is_up) = is_up {
            self.head("daemon_up", "gauge", "Whether the daemon answered when it was asked last.");
            self.value("daemon_up", &[], if is_up { "1" } else { "0" });
        }
        if !holdings.is_empty() {
            self.head(
                "wallet_glm",
                "gauge",
                "What the wallet held when it was looked at last, in GLM.",
            );
            for (network, holding) in holdings {
                self.value("wallet_glm", &[("network", network)], &holding.glm.to_string());
            }
        }
        let gas = || holdings.iter().filter_map(|(network, it)| Some((network, it.gas.as_ref()?)));
        if gas().next().is_some() {
            let help = "What the wallet held to pay transactions with when it was looked at last, in the chain's own token.";
            self.head("wallet_gas", "gauge", help);
            for (network, (token, amount)) in gas() {
                let labels = [("network", *network), ("token", token.as_str())];
                self.value("wallet_gas", &labels, &amount.to_string());
            }
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP ray_on_golem_{name} {help}\n# TYPE ray_on_golem_{name} {kind}"
        );
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "ray_on_golem_{name}{labels} {value}");
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
