//! One survey, by our own program.

use std::{fs, process::Command};

use crate::{
    daemons::{SCENARIO, real, served},
    lab::Lab,
};

const CLUSTER: &str = "fixtures/cluster/golem-cluster.yaml";

#[test]
fn a_survey_counts_alike_on_three_arms() {
    let lab = real();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (server, key) = runtime.block_on(served());
    let home = tempfile::tempdir().expect("a directory");
    let scenario = home.path().join("market.yaml");
    fs::write(&scenario, SCENARIO).expect("room for a file");

    let mut in_process = survey(&lab);
    in_process.arg("--sim").arg(&scenario);
    let mut over_http = survey(&lab);
    over_http.env("YAGNA_API_URL", server.url()).env("YAGNA_APPKEY", key.as_str());
    let [in_process, over_http, on_the_daemon] =
        [in_process, over_http, survey(&lab)].map(|mut command| counts(&mut command));

    for line in ["Initial: 4", "Negotiated successfully: 3", "Node is busy.: 1"] {
        assert!(on_the_daemon.iter().any(|it| it == line), "no `{line}`: {on_the_daemon:#?}");
    }
    assert_eq!(over_http, on_the_daemon);
    assert_eq!(in_process, on_the_daemon);
    runtime.block_on(server.end());
}

/// A survey on the daemon of the lab, unless it is told otherwise.
fn survey(lab: &Lab) -> Command {
    let facts = lab.facts();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"));
    command
        .args(["network-stats", CLUSTER, "-d", "0.1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("YAGNA_API_URL", &facts.api_url)
        .env("YAGNA_APPKEY", &facts.app_key)
        .env("GOLEM_REGISTRY_URL", &facts.registry_url);
    command
}

/// The lines with a count, which are all that real and virtual time have in common.
fn counts(command: &mut Command) -> Vec<String> {
    let output = command.output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().filter(|line| {
        line.rsplit_once(": ").is_some_and(|(_, count)| count.parse::<u64>().is_ok())
    });
    lines.map(ToOwned::to_owned).collect()
}
