//! A short soak, and its checks: `soak.py` is the long one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

#[test]
fn each_check_finds_what_it_is_for() {
    let output = python(&["test_checks.py"]);

    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn books_agree_and_nothing_is_left_after_a_minute_of_everything() {
    let programs = Path::new(env!("CARGO_BIN_EXE_ray-on-golem")).with_file_name("");
    assert!(programs.join("golem-sim").exists(), "`cargo build --workspace` builds golem-sim");
    let programs = programs.to_str().expect("a path in UTF-8");

    let output = python(&["soak.py", "--minutes", "1", "--seed", "7", "--programs", programs]);

    assert!(output.status.success(), "{}", said(&output));
}

fn python(arguments: &[&str]) -> Output {
    let (script, rest) = arguments.split_first().expect("the name of a script");
    let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "soak"].iter().collect();
    let mut command = Command::new("python3");
    command.arg(directory.join(script)).args(rest).output().expect("Python runs")
}

fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}
