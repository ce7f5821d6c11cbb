//! The checks of the soak, on sound books and on books in which one thing is wrong; `soak.py` is the soak.

use std::{path::Path, process::Command};

#[test]
fn each_check_finds_what_it_is_for() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/soak/test_checks.py");

    let output = Command::new("python3").arg(script).output().expect("Python runs");

    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
