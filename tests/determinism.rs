//! The same plan gives the same steps, whatever runs beside it and wherever it runs.

#![expect(clippy::print_stdout, reason = "one process tells the other by its output")]

use std::process::Command;

use golem_sim::plan::Plan;

/// A plan with faults, an outage, and a crash.
const SEEDS: std::ops::Range<u64> = 0..40;

#[test]
fn the_same_plan_takes_the_same_steps_twice() {
    for seed in SEEDS {
        let (first, second) = (trace(seed), trace(seed));

        let differs = first.iter().zip(&second).position(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}: the first step that differs");
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}

#[test]
fn another_process_takes_the_same_steps() {
    let program = std::env::current_exe().expect("this test has a program");
    let child = Command::new(program)
        .args(["--exact", "prints_the_traces", "--nocapture"])
        .env_clear()
        .envs([("TZ", "Asia/Tokyo"), ("LANG", "tr_TR.UTF-8"), ("HOME", "/nowhere")])
        .current_dir("/")
        .output()
        .expect("the program runs again");

    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}");
    assert!(output.contains(&summary()), "ours: {}\ntheirs: {output}", summary());
}

/// What the other process runs.
#[test]
fn prints_the_traces() {
    let summary = summary();

    assert!(summary.len() > 100);
    println!("{summary}");
}

fn summary() -> String {
    let lasts = SEEDS.map(|seed| trace(seed).last().copied().unwrap_or(0));
    lasts.map(|last| format!("{last:016x}")).collect::<Vec<_>>().join(" ")
}

fn trace(seed: u64) -> Vec<u64> {
    Plan::from_seed(seed).run(None, true).trace
}
