//! Clusters under the adversary: committed plans, random ones, and the same bytes each time.

use std::{fs, path::PathBuf};

use golem_sim::drill::{BEGINNING, Mode, Outcome, Plan};
use ray_on_golem::units::Timestamp;

/// `make test` runs many more beside it, other ones for each commit.
const SEEDS: u64 = 200;

#[test]
fn every_committed_plan_keeps_every_invariant_and_tells_the_same_story() {
    for path in plans() {
        let bytes = fs::read(&path).expect("a readable file");
        let plan = Plan::parse(&bytes).unwrap_or_else(|error| panic!("{path:?}: {error}"));

        let outcome = plan.run(None, true);

        assert_eq!(outcome.violation, None, "{}", path.display());
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        insta::assert_snapshot!(name, story(&outcome));
    }
}

#[test]
fn a_plan_is_read_as_it_was_written() {
    for seed in 0..300 {
        for mode in [Mode::Swarm, Mode::Hostile] {
            let plan = Plan::from_seed(seed, mode);

            let read = Plan::parse(plan.to_string().as_bytes());

            assert_eq!(read.as_ref(), Ok(&plan), "{plan}");
        }
    }
}

#[test]
fn random_plans_keep_every_invariant() {
    for mode in [Mode::Swarm, Mode::Lite, Mode::Calm, Mode::Hostile] {
        for seed in 0..SEEDS / 4 {
            let violation = Plan::from_seed(seed, mode).run(None, false).violation;

            assert_eq!(violation, None, "golem-sim run --seed {seed} --mode {mode:?}");
        }
    }
}

#[test]
fn a_plan_has_one_course() {
    for seed in 0..20 {
        let plan = Plan::from_seed(seed, Mode::Hostile);

        let (first, second) = (plan.run(None, true), plan.run(None, true));

        assert_eq!(first.told, second.told, "seed {seed}");
        assert_eq!((first.steps, first.spent), (second.steps, second.spent), "seed {seed}");
    }
}

/// One node, one provider: the process dies at each of its first outputs in turn.
#[test]
fn a_crash_at_any_output_is_survived() {
    for outputs in 0..90 {
        let text = format!(
            "seed: 1\nmarket: {{honest: 2}}\nops: [crash {outputs}, head, wait 240, down, wait 60]"
        );
        let plan = Plan::parse(text.as_bytes()).expect("a plan");

        assert_eq!(plan.run(None, false).violation, None, "{text}");
    }
}

fn plans() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/plan");
    let files = fs::read_dir(root).expect("there are plans");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// What somebody who watches the clusters sees, without the calls to the daemon; debit notes between
/// two events are counted.
fn story(outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    let calls = |what: &str| !what.starts_with('[') && !what.starts_with("the ");
    let mut notes = 0;
    let is_reason = |what: &str| what.contains("node waits: ") || what.contains("nodes wait: ");
    let is_of_interest = |what: &str| !calls(what) || is_reason(what);
    for told in outcome.told.iter().filter(|told| is_of_interest(&told.what)) {
        if told.what.contains(": note of ") {
            notes += 1;
            continue;
        }
        lines.extend((notes > 0).then(|| format!("          {notes} debit notes accepted")));
        notes = 0;
        lines.push(format!("{}  {}", clock(told.at), told.what));
    }
    lines.push(format!("spent: {} GLM", outcome.spent));
    lines.join("\n")
}

fn clock(at: Timestamp) -> String {
    let secs = at.since(BEGINNING).as_secs();
    format!("{:02}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
}
