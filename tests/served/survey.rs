//! A survey over HTTP and in real time finds what the same survey finds in virtual time.

use std::{fs, path::PathBuf};

use ray_on_golem::recording::{read, replay};

use crate::lab::{KEY, Lab};

const CLUSTER: &str = "fixtures/cluster/golem-cluster.yaml";

/// Everything that happens is over within seconds, so that both clocks see all of it.
const MARKET: &str = "
    daemon: { warm: 1 }
    populations:
      - { name: honest, count: 9, offers: 2 }
      - { name: busy, count: 3, behaviour: busy }
      - { name: rude, count: 4, behaviour: { refuses: Not today. } }
      - { name: dear, count: 2, cpu_hour: 50 }
      - { name: small, count: 5, memory: 0.1 }";

#[test]
fn our_survey_counts_the_same_over_http_as_in_virtual_time() {
    let lab = Lab::start(MARKET, 1);
    let scenario: PathBuf = lab.home.path().join("market.yaml");
    fs::write(&scenario, MARKET).expect("room for a file");
    let survey = |served: bool| {
        let mut command = lab.command(env!("CARGO_BIN_EXE_ray-on-golem"));
        command.args(["network-stats", CLUSTER, "-d", "0.25"]);
        if served {
            command.arg("--record").arg(lab.home.path().join("survey.ndjson"));
        } else {
            command.arg("--sim").arg(&scenario).args(["--seed", "1"]);
        }
        counts(&lab.output(&mut command))
    };

    let (simulated, served) = (survey(false), survey(true));

    assert!(simulated.iter().any(|line| line == "Negotiated successfully: 23"), "{simulated:#?}");
    assert_eq!(served, simulated);
    let ledger = lab.look("/sim/ledger");
    assert_eq!(ledger["allocations"]["last"][0]["isReleased"], true, "{ledger}");
    assert_eq!(ledger["demands"]["last"][0]["hasEnded"], true, "{ledger}");
    let recorded = fs::read_to_string(lab.home.path().join("survey.ndjson")).expect("a recording");
    assert!(!recorded.contains(KEY), "keys are masked");
    let replayed = replay(read(recorded.as_bytes()).expect("a sound recording"));
    assert!(replayed.steps > 20, "{replayed:#?}");
    assert_eq!((replayed.differences, replayed.is_cut), (vec![], false));
}

#[test]
fn a_recording_takes_no_other_file_s_place() {
    let lab = Lab::start(MARKET, 1);
    let file = lab.home.path().join("precious");
    fs::write(&file, "precious").expect("room for a file");
    let mut command = lab.command(env!("CARGO_BIN_EXE_ray-on-golem"));
    command.args(["network-stats", CLUSTER, "--record"]).arg(&file);

    let output = command.output().expect("it runs");

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("precious`: File exists"), "{said}");
    assert_eq!(fs::read_to_string(file).expect("it is there"), "precious");
}

#[test]
fn the_original_counts_the_same_too() {
    let lab = Lab::start(MARKET, 1);
    let mut command = lab.command("python3");
    let arguments = ["tests/foreign/foreign.py", "run", "original", &lab.registry, CLUSTER];
    command.args(arguments).args(["-d", "1", "--datadir"]).arg(lab.home.path());

    let text = lab.output(&mut command);

    for line in [
        "Initial: 32",
        "Not blacklisted: 32",
        "Negotiation initialized: 30",
        "Negotiated successfully: 23",
        "Not today.: 4",
        "No capacity available. Reached Agreements limit: 1: 3",
    ] {
        assert!(text.lines().any(|it| it == line), "no line `{line}` in:\n{text}");
    }
    let ledger = lab.look("/sim/ledger");
    assert_eq!(ledger["allocations"]["last"][0]["isReleased"], true, "{ledger}");
}

/// The lines with a count, which are all that the clocks have in common.
fn counts(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| {
        line.rsplit_once(": ").is_some_and(|(_, count)| count.parse::<u64>().is_ok())
    });
    lines.map(ToOwned::to_owned).collect()
}
