//! `golem-sim stats` as a user runs it: every scenario's report, and every error's sentence.

use std::{path::Path, process::Command};

const CLUSTER: &str = "fixtures/cluster/golem-cluster.yaml";

/// Everything that can be observed of one run, from the root of the repository.
fn observe(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO_BIN_EXE_golem-sim"))
        .args(arguments)
        .current_dir(root)
        .output()
        .expect("the program runs");
    let code = output.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string());
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit code: {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}

fn scenario(name: &str) -> String {
    let path = format!("fixtures/scenario/{name}.yaml");
    observe(&["stats", CLUSTER, "--scenario", &path, "--seed", "1"])
}

#[test]
fn every_scenario_gives_its_report() {
    let names = [
        "crowded",
        "dear",
        "documentation-example",
        "empty",
        "free-and-equal",
        "hostile",
        "restarts",
        "testnet",
    ];
    for name in names {
        insta::assert_snapshot!(name, scenario(name));
    }
}

#[test]
fn another_seed_is_another_market() {
    let path = "fixtures/scenario/testnet.yaml";
    let of = |seed: &str| observe(&["stats", CLUSTER, "--scenario", path, "--seed", seed]);

    assert_ne!(of("1"), of("2"));
    assert_eq!(of("3"), of("3"));
}

#[test]
fn the_default_scenario_is_the_testnet() {
    assert_eq!(observe(&["stats", CLUSTER, "--seed", "1"]), scenario("testnet"));
}

#[test]
fn the_json_form_is_documented() {
    let path = "fixtures/scenario/documentation-example.yaml";
    let json = ["stats", CLUSTER, "--scenario", path, "--seed", "1", "--format", "json"];

    insta::assert_snapshot!("json", observe(&json));
}

#[test]
fn errors_are_sentences() {
    let bad_scenario = format!("{}/bad.yaml", env!("CARGO_TARGET_TMPDIR"));
    let text = "populations:\n  - { count: 3, behavior: honest }\n";
    std::fs::write(&bad_scenario, text).expect("a scratch file");
    let cases: [&[&str]; 5] = [
        &["stats", "nowhere.yaml"],
        &["stats", "fixtures"],
        &["stats", CLUSTER, "ray.wroker.default"],
        &["stats", CLUSTER, "--scenario", &bad_scenario],
        &["stats", CLUSTER, "-d", "0"],
    ];

    let all: Vec<String> = cases.iter().map(|arguments| observe(arguments)).collect();
    let all = all.join("\n").replace(env!("CARGO_TARGET_TMPDIR"), "[tmp]");
    insta::assert_snapshot!("errors", all);
}
