//! The command line without a daemon: versions, help, exit codes, documents.

use std::{fs, path::Path, process::Command};

use ray_on_golem::cli::{document::Document, exit::Exit};

fn ray_on_golem(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn both_versions_print_as_they_always_did() {
    let version = env!("CARGO_PKG_VERSION");

    assert_eq!(ray_on_golem(&["-V"]).1, format!("ray-on-golem, version {version}\n"));
    assert_eq!(ray_on_golem(&["version"]).1, format!("ray-on-golem {version}\n"));
}

#[test]
fn exit_codes_are_in_the_help_and_in_the_readme() {
    let help = ray_on_golem(&["--help"]).1;
    let readme = fs::read_to_string("README.md").expect("there is a readme");
    for exit in Exit::ALL {
        let meaning = exit.meaning();
        assert!(help.contains(meaning), "{meaning}: not in {help}");
        assert!(readme.contains(&format!("| {} | {meaning} |", exit.code())), "{meaning}");
    }
}

#[test]
fn the_schema_of_the_json_form_is_up_to_date() {
    let path = Path::new("fixtures/schema/network-stats.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(path, Document::schema()).expect("the schema is written");
    }

    let committed = fs::read_to_string(path).expect("the schema is committed");
    assert_eq!(committed, Document::schema(), "run with UPDATE_SCHEMA=1");
}

#[test]
fn the_simulated_survey_prints_the_documented_counts() {
    let scenario = "fixtures/scenario/documentation-example.yaml";
    let cluster = "fixtures/cluster/golem-cluster.yaml";
    for seed in ["1", "2", "77"] {
        let (code, text, error) =
            ray_on_golem(&["network-stats", cluster, "--sim", scenario, "--seed", seed]);

        assert_eq!(code, Some(0), "{error}");
        let documented = "Gathering stats data for 5 minutes...\nGathering stats data done\n\n\
            Proposals count:\nInitial: 48\nNot blacklisted: 48\n\
            Passed Reject if per cpu expected cost exceeds `max_cost` = 1.5: 48\n\
            Passed Reject if start price exceeds `max_start_price` = 0.5: 48\n\
            Passed Reject if cpu per hour price exceeds `max_cpu_per_hour_price` = 0.5: 48\n\
            Passed Reject if env per hour price exceeds `max_env_per_hour_price` = 0.5: 48\n\
            Negotiation initialized: 48\nNegotiated successfully: 37\n\nNegotiation errors:\n\
            Outbound rejected because: Everyone rule didn't match whitelist ; Audited-Payload rule \
            requires manifest signature ; Partner rule requires node descriptor ; : 4\n\
            No capacity available. Reached Agreements limit: 1: 2\n\
            Failed to send proposal response! 500: {\"message\":\"Failed to send response for \
            Proposal [***]. Error: Countering Proposal [***] GSB error: GSB failure: Net: error \
            forwarding message: Connection timed out..\"}: 1\n\
            Failed to send proposal response! Request timed out: 1\n";
        assert!(text.starts_with(documented), "seed {seed}:\n{text}");
    }
}

#[test]
fn errors_keep_the_exit_code_of_the_simulator() {
    let (code, stdout, stderr) = ray_on_golem(&["network-stats", "nowhere.yaml", "--sim"]);

    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.starts_with("error: nowhere.yaml: "), "{stderr}");
    assert_eq!(ray_on_golem(&["network-stats"]).0, Some(2));
    assert_eq!(ray_on_golem(&["network-stat"]).0, Some(2));
}

#[test]
fn a_missing_simulator_is_named() {
    // A link, not a copy: a program that was just written may still be busy.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory");
    let alone = directory.path().join("ray-on-golem");
    fs::hard_link(env!("CARGO_BIN_EXE_ray-on-golem"), &alone).expect("linked");

    let output = Command::new(&alone)
        .args(["network-stats", "fixtures/cluster/golem-cluster.yaml", "--sim"])
        .output()
        .expect("the program runs");

    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let expected = format!(
        "error: cannot find the simulator `{}`\nhint: `cargo install --locked --path sim` where the \
         sources of Ray on Golem are installs it; `pip install .` there installs both programs\n",
        directory.path().join("golem-sim").display(),
    );
    assert_eq!(stderr, expected);
}
