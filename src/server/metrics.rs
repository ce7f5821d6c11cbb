//! Numbers for Prometheus, in its text format.

use std::fmt::Write as _;

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};

use super::document::state_name;
use crate::{
    core::{cluster::state::NodeState, payment::ledger::Ledger},
    driver::board::Board,
    units::Glm,
};

const STATES: [NodeState; 4] =
    [NodeState::Pending, NodeState::Running, NodeState::Terminating, NodeState::Terminated];

/// An amount of each cluster: its name, what it is, and where it stands.
type Amount = (&'static str, &'static str, fn(&Ledger) -> Glm);

/// The numbers of all clusters.
pub(super) fn response(board: &Board) -> Response {
    let mut response = Response::new(Body::from(text(board)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn text(board: &Board) -> String {
    let mut out = Text::default();
    out.nodes(board);
    let money: [Amount; 4] = [
        ("budget_glm", "The most to spend.", |ledger| ledger.budget),
        ("spent_glm", "What was accepted.", |ledger| ledger.spent),
        ("reserved_glm", "What is set aside and not accepted yet.", |ledger| ledger.reserved),
        ("glm_per_hour", "What all nodes cost in an hour at full load.", |ledger| {
            ledger.rate_per_hour
        }),
    ];
    for (name, help, read) in money {
        out.head(name, "gauge", help);
        for cluster in board.clusters.values() {
            let labels = format!("cluster=\"{}\"", escaped(cluster.name.as_str()));
            out.value(name, &labels, &read(&cluster.money).to_string());
        }
    }
    out.head("disputed_bills_total", "counter", "Bills that were not paid.");
    for cluster in board.clusters.values() {
        let labels = format!("cluster=\"{}\"", escaped(cluster.name.as_str()));
        out.value("disputed_bills_total", &labels, &cluster.money.disputed.to_string());
    }
    let load = board.load;
    out.head("calls_in_flight", "gauge", "Calls to the daemon whose reply is awaited.");
    out.value("calls_in_flight", "", &load.calls.to_string());
    out.head("timers", "gauge", "Armed timers of the manager.");
    out.value("timers", "", &load.timers.to_string());
    out.head("journal_batches_total", "counter", "Batches of records written to the journals.");
    out.value("journal_batches_total", "", &load.batches.to_string());
    out.head("build_info", "gauge", "The version.");
    out.value("build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), "1");
    out.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn nodes(&mut self, board: &Board) {
        self.head("nodes", "gauge", "Nodes by state.");
        for cluster in board.clusters.values() {
            for state in STATES {
                let count = cluster.nodes.values().filter(|node| node.state == state).count();
                let (name, state) = (escaped(cluster.name.as_str()), state_name(state));
                let labels = format!("cluster=\"{name}\",state=\"{state}\"");
                self.value("nodes", &labels, &count.to_string());
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

    fn value(&mut self, name: &str, labels: &str, value: &str) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "ray_on_golem_{name}{labels} {value}");
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
