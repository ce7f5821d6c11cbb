//! Recordings as fixtures: `golem-sim replay` tells where the machine of today acts differently.
//!
//! A change of what the machine does shows in the snapshots: accept them, or record anew
//! (`CONTRIBUTING.md` says how).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use insta::assert_snapshot;

const SURVEY: &str = "fixtures/recording/survey.ndjson";
const LIFE: &str = "fixtures/recording/life.ndjson";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The exit code, what was printed, and what was told beside it.
fn replay(file: &str) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_golem-sim"))
        .args(["replay", file])
        .current_dir(root())
        .output()
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Replays a recording after it was edited.
fn edited(file: &str, edit: impl Fn(String) -> String) -> (Option<i32>, String, String) {
    let text = fs::read_to_string(root().join(file)).expect("a fixture");
    let changed = edit(text.clone());
    assert_ne!(changed, text, "there is something to edit");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("edited.ndjson");
    fs::write(&path, changed).expect("room for a file");
    let path = path.display().to_string();
    let (code, stdout, stderr) = replay(&path);
    (code, stdout, stderr.replace(&path, "FILE"))
}

#[test]
fn a_survey_goes_as_it_went() {
    assert_snapshot!(replay(SURVEY).1);
}

#[test]
fn a_cluster_lives_as_it_lived() {
    assert_snapshot!(replay(LIFE).1);
}

#[test]
fn what_was_done_then_and_is_not_today_is_told() {
    let end = "\"request\":\"DELETE /market-api/v1/demands/";

    let (code, stdout, _) =
        edited(SURVEY, |text| text.replacen(end, "\"request\":\"GET /else/", 1));

    assert_eq!(code, Some(5), "{stdout}");
    let line = |mark: &str, what: &str| {
        stdout.lines().any(|line| line.trim_start().starts_with(mark) && line.contains(what))
    };
    assert!(line("then", "GET /else/"), "{stdout}");
    assert!(line("today", "DELETE /market-api/v1/demands/"), "{stdout}");
}

#[test]
fn another_reply_makes_the_machine_act_differently() {
    let (code, stdout, _) =
        edited(SURVEY, |text| text.replace("ProposalRejectedEvent", "PropertyQueryEvent"));

    assert_eq!(code, Some(5), "{stdout}");
}

#[test]
fn a_torn_last_line_is_left_out() {
    let (code, stdout, stderr) = edited(SURVEY, |text| text[..text.len() - 10].to_owned());

    assert_eq!(code, replay(SURVEY).0, "{stdout}");
    assert!(stderr.contains("the last line of the recording is torn, and left out"), "{stderr}");
}

#[test]
fn a_bad_line_is_named() {
    let second = |text: String, line: &str| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines[1] = line;
        lines.join("\n") + "\n"
    };
    for (line, why) in [
        ("{}", "line 2 is no step of a recording: missing field `at`"),
        ("", "line 2 is no step of a recording: EOF while parsing a value"),
        ("\u{0}", "line 2 is no step of a recording: expected value"),
    ] {
        let (code, _, stderr) = edited(SURVEY, |text| second(text, line));
        assert_eq!((code, stderr), (Some(2), format!("error: FILE: {why}\n")));
    }
    let (code, _, stderr) =
        edited(SURVEY, |text| text.replacen("\"recording\":1,", "\"recording\":2,", 1));
    let why = "line 1: the recording has format 2, and only 1 is understood";
    assert_eq!((code, stderr), (Some(2), format!("error: FILE: {why}\n")));
}
