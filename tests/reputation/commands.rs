//! The commands as users type them, and processes that use one store at the same time.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use ray_on_golem::{reputation::Store, units::Timestamp};
use tempfile::TempDir;

use crate::{
    original::{self, id},
    service::{StandIn, scores},
};

struct Lab {
    data: TempDir,
    service: StandIn,
}

impl Lab {
    fn new() -> Self {
        Self { data: tempfile::tempdir().expect("a directory"), service: StandIn::new() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"));
        command
            .arg("reputation")
            .args(words)
            .env("RAY_ON_GOLEM_DATADIR", self.data.path())
            .env("GOLEM_REPUTATION_URL", self.service.url())
            .env("COLUMNS", "100")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// What was typed, what was said on both outputs, and the exit code.
    fn run(&self, words: &str) -> String {
        let words_list: Vec<&str> = words.split_whitespace().collect();
        let output = self.command(&words_list).output().expect("the program runs");
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let text = text.replace(&self.data.path().display().to_string(), "DATA");
            text.replace(&self.service.url(), "URL")
        };
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let code = output.status.code().expect("an exit code");
        format!("$ reputation {words}\n{stdout}--- stderr\n{stderr}--- exit code {code}\n\n")
    }

    fn story(&self, lines: &[&str]) -> String {
        lines.iter().map(|words| self.run(words)).collect()
    }

    fn spawn(&self, words: &[&str]) -> Child {
        self.command(words).spawn().expect("the program runs")
    }
}

#[test]
fn providers_are_blocked_listed_and_unblocked() {
    let lab = Lab::new();
    let [one, two, three] = [1, 2, 3].map(|nth| id(nth).to_string());
    lab.service.answer(200, "ETag: \"a\"\r\n", scores(1..3, 0.9));

    let mut told = lab.story(&[
        &format!("block {one}"),
        &format!(
            "block {} --network hoodi --for 400w --reason slow",
            two.to_uppercase().replace('X', "x")
        ),
        "update",
        "update",
        "list",
        "list --blacklist",
        &format!("list {two} {three}"),
        &format!("unblock {one}"),
        &format!("unblock {three}"),
        "list --no-blacklist",
        "list --json",
        "list --network mainnet",
        "list --network hoodi --blacklist --json",
    ]);
    lab.service.answer(200, "ETag: \"b\"\r\n", scores(2..4, 0.8));
    told += &lab.run("update");
    told += &lab.run("list");

    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME");
    settings.bind(|| insta::assert_snapshot!("session", told));
}

#[test]
fn what_is_typed_wrong_or_not_there_is_told() {
    let lab = Lab::new();
    let someone = id(1).to_string();

    let told = lab.story(&[
        "list",
        &format!("unblock {someone}"),
        "update",
        "block 0x123",
        "list nobody",
        &format!("block {someone} --network moon"),
        &format!("block {someone} --for 7"),
        "",
    ]);

    insta::assert_snapshot!("refused", told);
}

#[test]
fn a_service_of_no_help_leaves_the_scores() {
    let lab = Lab::new();
    lab.service.answer(200, "", scores(1..2, 0.9));
    let first = lab.run("update");
    assert!(first.contains("Total scores=1 (added=1, updated=0, ignored=0)."), "{first}");

    for (status, body) in [(503, "no data"), (200, "<html>"), (404, "no such network")] {
        lab.service.answer(status, "", body.to_owned());
        let told = lab.run("update");
        assert!(told.ends_with("--- exit code 3\n\n"), "{told}");
    }

    assert!(lab.run("list").contains("1 nodes found."));
}

#[test]
fn damage_is_told_of_and_the_command_is_done() {
    let lab = Lab::new();
    fs::write(lab.data.path().join("providers.sqlite3"), [7; 9_999]).expect("writable");

    let told = lab.run(&format!("block {}", id(1)));

    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"damaged-\d+", "damaged-TIME");
    settings.bind(|| insta::assert_snapshot!("damaged", told));
}

#[test]
fn processes_that_block_and_update_at_once_lose_nothing() {
    let lab = Lab::new();
    original::write(lab.data.path(), 300);
    lab.service.answer(200, "", scores(1_000..3_000, 0.9));

    // All at once on a store that is not there yet.
    let mut children = Vec::new();
    for nth in 0..12 {
        children.push(lab.spawn(&["block", id(500 + nth).as_str()]));
        if nth % 4 == 0 {
            children.push(lab.spawn(&["update"]));
        }
    }
    let outputs = children.into_iter().map(|child| child.wait_with_output().expect("it ends"));
    for output in outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    let now = Timestamp::from_unix_micros(1_800_000_000_000_000);
    let store = Store::open(lab.data.path(), now).expect("a store").store;
    let records = store.records("polygon", &[]).expect("readable");
    let is_new = |nth: std::ops::Range<usize>| {
        let ids: Vec<_> = nth.map(id).collect();
        records.iter().filter(|record| ids.contains(&record.provider)).count()
    };
    assert_eq!(is_new(0..300), 100, "the original's");
    assert_eq!(is_new(1_000..3_000), 2_000, "scored");
    let blocked = records.iter().filter(|record| record.is_blacklisted(now));
    assert_eq!(blocked.filter(|it| it.uptime.is_none() && it.provider >= id(500)).count(), 12);
}
