//! What others built on their SDKs lives here as they publish it: on nodes that do what they are told.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    lab::Lab,
    real::{self, Billing, Market},
};

const MARKET: &str = "
    daemon: { warm: 1, hop_ms: 5 }
    populations:
      - name: quick
        count: 4
        arrives: 0
        conduct: { creates_ms: 0, deploy: 0, start: 0, run: 0, approves_ms: 0, invoice_after: 0 }";

const IMAGE: &str = "9a3b5d67b0b27746283cb5f287c13eab1beaa12d92a9f536b747c7ae";

#[test]
fn golem_js_copies_files_and_reaches_nodes_of_a_private_network() {
    let lab = Lab::local(MARKET);

    let said = lives(&lab, "files", &[IMAGE, &image_url(&lab)]);

    let greeting = r#"{"greeting":"hello"}"#;
    let wanted = [
        "FILE true",
        "DATA true",
        "SIZE 300001",
        "FAILS Error",
        &format!("NODE {greeting}"),
        &format!("PROXY {greeting}"),
    ];
    assert_eq!(said, wanted);
    assert_left_nothing(&lab);
}

#[test]
fn yapapi_hears_a_program_while_it_runs() {
    let lab = Lab::local(MARKET);
    let registry = format!("{}/registry", lab.url());

    let said = lives(&lab, "stream", &["golem/alpine:latest", &registry]);

    assert_eq!(said, ["HEARD first last", "HEARD wrong", "EARLY True"]);
    assert_left_nothing(&lab);
}

/// What golem-workers says of a cluster of one node.
const CLUSTER: [&str; 3] = ["STATE cluster started", "STATE node started", "STATE cluster deleted"];

#[test]
fn golem_workers_makes_a_cluster_by_its_own_api() {
    let lab = Lab::local(MARKET);

    let said = lives(&lab, "workers", &[IMAGE, &image_url(&lab)]);

    assert_eq!(said, CLUSTER);
    assert_left_nothing(&lab);
}

#[test]
fn golem_workers_makes_a_cluster_on_a_real_daemon_too() {
    let billing = Some(Billing::every(Duration::ZERO));
    let real = real::Lab::start(&Market { billing, ..Market::of(3, 1) });
    let surroundings = Lab::start(MARKET, 1);
    let facts = real.facts();
    let mut command = client(&surroundings, "workers", &[IMAGE, &image_url(&surroundings)]);
    command.env("YAGNA_API_URL", &facts.api_url).env("YAGNA_APPKEY", &facts.app_key);

    let said = told(&surroundings, &mut command);

    assert_eq!(said, CLUSTER);
}

#[test]
fn dapp_runner_serves_what_one_node_has_from_another_one() {
    let lab = Lab::local(MARKET);

    let said = lives(&lab, "dapp", &[IMAGE, &image_url(&lab)]);

    assert_eq!(said, ["FETCHED hello from the other node", "ENDED gracefully"]);
    assert_left_nothing(&lab);
}

/// Lets a client do its round.
#[expect(clippy::print_stdout, reason = "tells how long it took")]
fn lives(lab: &Lab, client: &str, arguments: &[&str]) -> Vec<String> {
    let began = Instant::now();
    let said = told(lab, &mut self::client(lab, client, arguments));
    println!("{client}: {:.1?}", began.elapsed());
    said
}

fn client(lab: &Lab, client: &str, arguments: &[&str]) -> Command {
    let mut command = lab.command("python3");
    command.args(["tests/foreign/foreign.py", "run", client]).args(arguments);
    command
}

/// What a client says in capitals.
fn told(lab: &Lab, command: &mut Command) -> Vec<String> {
    let text = lab.output(command);
    let is_told = |line: &&str| {
        let word = line.split(' ').next().unwrap_or_default();
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_uppercase())
    };
    text.lines().filter(is_told).map(str::to_owned).collect()
}

fn image_url(lab: &Lab) -> String {
    format!("{}/image/{IMAGE}.gvmi", lab.registry)
}

/// No node of a client runs, and nothing of it waits.
fn assert_left_nothing(lab: &Lab) {
    let ledger = lab.look("/sim/ledger");
    for kind in ["agreements", "activities"] {
        let rows = ledger[kind]["last"].as_array().expect("a list");
        assert!(!rows.is_empty(), "{ledger}");
        assert!(rows.iter().all(|row| !row["ended"].is_null()), "{ledger}");
    }
    let allocations = ledger["allocations"]["last"].as_array().expect("a list");
    assert!(allocations.iter().all(|row| row["isReleased"] == true), "{ledger}");
}
