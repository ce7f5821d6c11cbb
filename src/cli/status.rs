//! `status`: the webserver, its clusters, their nodes, and their money.
//!
//! On a terminal there are headings and aligned columns with rounded amounts; elsewhere the lines have
//! tabs and amounts to the last digit, and stay as they are from version to version.

use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::{Value, json};

use super::{
    error::CliError,
    left::Left,
    printer::Printer,
    table::{plain, table},
    unmet::Unmet,
    web::{Root, Web},
    webserver::Common,
};
use crate::{
    driver::process::Process,
    units::{Glm, Rounding},
};

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    common: Common,
    /// Print everything as JSON, for programs
    #[arg(long)]
    json: bool,
    /// Print the address of the page for browsers, with the token in it: who has it may do everything
    #[arg(long, conflicts_with = "json")]
    page: bool,
}

impl Status {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        let data = self.common.data()?;
        let web = Web::new(self.common.port, &data)?;
        if self.page {
            return printer.line(&web.page()?);
        }
        match web.root() {
            Ok(_) if self.json => {
                let mut document = web.get("/status")?;
                document["url"] = web.url().into();
                print_json(&document, printer)
            }
            Ok(root) => {
                printer.print(&server(&root, web.url()))?;
                let is_terminal = io::stdout().is_terminal();
                printer.print(&clusters(&web.get("/status")?, is_terminal))
            }
            Err(unmet) => self.without_webserver(&web, unmet, printer),
        }
    }

    /// What is known where the webserver is not met: what a crash has left, and what is in the way.
    fn without_webserver(
        &self,
        web: &Web,
        unmet: Unmet,
        printer: &mut Printer,
    ) -> Result<(), CliError> {
        let left = Left::of(&web.data)?;
        if self.json {
            let clusters = left.document();
            let document = json!({
                "version": 1, "webserver": null, "clusters": clusters, "url": web.url(),
            });
            print_json(&document, printer)?;
        } else {
            if unmet == Unmet::Absent {
                let url = web.url();
                printer.line(&format!("The webserver doesn't seem to be listening on {url}."))?;
            }
            printer.print(&left.text())?;
        }
        let is_there = Process::of(&web.data).is_some();
        if unmet == Unmet::Absent && !is_there { left.refuse() } else { Err(unmet.error(web)) }
    }
}

fn print_json(document: &Value, printer: &mut Printer) -> Result<(), CliError> {
    printer.line(&serde_json::to_string_pretty(document).unwrap_or_default())
}

fn server(root: &Root, url: &str) -> String {
    let network = match root.simulated {
        Some(true) => "   Network:         simulated, nothing costs money\n",
        Some(false) | None => "",
    };
    let mut text = format!(
        "Ray On Golem webserver {}\n   Listening on:    {url}\n   Status:          {}\n   \
         Data directory:  {}\n{network}",
        root.version,
        if root.shutting_down { "Shutting down" } else { "Running" },
        root.datadir.display()
    );
    if !root.warnings.is_empty() {
        text.push_str("   Server warnings:\n");
        for warning in &root.warnings {
            text.push_str(&format!("\t{warning}\n"));
        }
    }
    text
}

/// All clusters of the document of `/status`.
fn clusters(document: &Value, is_terminal: bool) -> String {
    let clusters = document["clusters"].as_array().map_or(&[][..], Vec::as_slice);
    let money = [
        "CLUSTER",
        "STATE",
        "NODES",
        "SPENT",
        "DUE",
        "RESERVED",
        "BUDGET",
        "GLM/H",
        "LASTS UNTIL",
        "PATH",
    ];
    let amount = |text: &str| match is_terminal {
        true => short(text),
        false => text.to_owned(),
    };
    let rows = clusters.iter().map(|cluster| {
        let text = |key: &str| cluster[key].as_str().unwrap_or("-").to_owned();
        let live = ["pending", "running", "terminating"];
        let count = |state| cluster["nodes_by_state"][state].as_u64().unwrap_or(0);
        let nodes: u64 = live.into_iter().map(count).sum();
        vec![
            text("cluster_name"),
            text("state"),
            nodes.to_string(),
            amount(&text("spent_glm")),
            amount(&text("due_glm")),
            amount(&text("reserved_glm")),
            amount(&text("budget_glm")),
            amount(&text("glm_per_hour")),
            text("lasts_until"),
            text("network_path"),
        ]
    });
    let mut text = table(&money, &rows.collect::<Vec<_>>(), is_terminal);
    let heads = ["CLUSTER", "NODE", "KIND", "STATE", "PROVIDER", "GLM/H", "SPENT", "DUE", "LATEST"];
    let rows = clusters.iter().flat_map(|cluster| {
        let name = cluster["cluster_name"].as_str().unwrap_or("-");
        let nodes = cluster["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        nodes.iter().map(move |node| row(name, node, amount))
    });
    text.push_str(&table(&heads, &rows.collect::<Vec<_>>(), is_terminal));
    for cluster in clusters.iter().filter(|_| is_terminal) {
        if let Some(at) = cluster["ends_by_itself_at"].as_str() {
            let name = cluster["cluster_name"].as_str().unwrap_or("-");
            let idle = match cluster["idle_since"].as_str() {
                Some(since) => format!(": it is idle since {since}"),
                None => String::new(),
            };
            text.push_str(&format!("`{name}` ends by itself at {at}{idle}\n"));
        }
    }
    text
}

fn row(cluster: &str, node: &Value, amount: impl Fn(&str) -> String) -> Vec<String> {
    let text = |key: &str| node[key].as_str().unwrap_or("-").to_owned();
    let log = node["state_log"].as_array().and_then(|log| log.last()).and_then(Value::as_str);
    let why = node["waiting"]["sentence"].as_str().map(|why| format!("waits: {why}"));
    vec![
        cluster.to_owned(),
        text("node_id"),
        text("kind"),
        text("state"),
        plain(&text("provider_name")),
        amount(&text("glm_per_hour")),
        amount(&text("spent_glm")),
        amount(&text("due_glm")),
        plain(why.as_deref().or(log).unwrap_or("-")),
    ]
}

/// Money for a terminal: four decimals, rounded up.
fn short(text: &str) -> String {
    match Glm::parse(text, Rounding::Up) {
        Ok(amount) => {
            let text = amount.rounded_up(4).to_string();
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            format!("{whole}.{fraction:0<4}")
        }
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::clusters;

    fn document() -> serde_json::Value {
        json!({"clusters": [{
            "cluster_name": "golem-cluster", "state": "running", "spent_glm": "0.03411",
            "due_glm": "0.0402", "reserved_glm": "0.1", "budget_glm": "5", "glm_per_hour": "0.24",
            "lasts_until": null, "network_path": "bus", "nodes_by_state": {"pending": 1, "running": 1, "terminated": 3},
            "nodes": [
                {"node_id": "node0", "kind": "head", "state": "running", "provider_name": "apollo",
                 "glm_per_hour": "0.12", "spent_glm": "0.03411", "due_glm": "0.0402",
                 "state_log": ["[9/9] up"]},
                {"node_id": "node1", "kind": "worker", "state": "pending", "provider_name": null,
                 "glm_per_hour": null, "spent_glm": "0", "due_glm": "0", "state_log": []},
            ],
        }]})
    }

    #[test]
    fn on_a_terminal_there_are_headings_and_rounded_amounts() {
        assert_eq!(
            clusters(&document(), true),
            "
CLUSTER        STATE    NODES  SPENT   DUE     RESERVED  BUDGET  GLM/H   LASTS UNTIL  PATH
golem-cluster  running  2      0.0342  0.0402  0.1000    5.0000  0.2400  -            bus

CLUSTER        NODE   KIND    STATE    PROVIDER  GLM/H   SPENT   DUE     LATEST
golem-cluster  node0  head    running  apollo    0.1200  0.0342  0.0402  [9/9] up
golem-cluster  node1  worker  pending  -         -       0.0000  0.0000  -
"
        );
    }

    #[test]
    fn elsewhere_there_are_tabs_and_exact_amounts() {
        assert_eq!(
            clusters(&document(), false),
            "golem-cluster\trunning\t2\t0.03411\t0.0402\t0.1\t5\t0.24\t-\tbus\n\
             golem-cluster\tnode0\thead\trunning\tapollo\t0.12\t0.03411\t0.0402\t[9/9] up\n\
             golem-cluster\tnode1\tworker\tpending\t-\t-\t0\t0\t-\n"
        );
        assert_eq!(clusters(&json!({"clusters": []}), true), "");
    }

    #[test]
    fn on_a_terminal_the_end_of_a_cluster_that_ends_by_itself_is_told() {
        let told = |idle_since: Option<&str>, is_terminal| {
            let mut document = document();
            document["clusters"][0]["ends_by_itself_at"] = json!("2026-01-01T22:30:00Z");
            document["clusters"][0]["idle_since"] = json!(idle_since);
            clusters(&document, is_terminal)
        };

        let idle = told(Some("2026-01-01T22:00:00Z"), true);
        let sentence = "`golem-cluster` ends by itself at 2026-01-01T22:30:00Z";
        assert!(idle.ends_with(&format!("{sentence}: it is idle since 2026-01-01T22:00:00Z\n")));
        assert!(told(None, true).ends_with(&format!("{sentence}\n")));
        assert_eq!(told(None, false), clusters(&document(), false));
    }
}
