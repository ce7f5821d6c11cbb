//! Rules for shell scripts: what `bash` does with them, and no reader sees.

/// Traps that decide how a script ends: under `set -e`, `kill` of a process that has ended makes a script fail that has passed.
pub(crate) fn failing_traps(path: &str, text: &str) -> Vec<String> {
    if !text.starts_with("#!") || !text.contains("\nset -e") {
        return Vec::new();
    }
    let lines = text.lines().enumerate();
    let failing = lines.filter(|(_, line)| {
        let mut parts = line.trim_start().strip_prefix("trap ").into_iter().flat_map(parts);
        line.trim_end().ends_with("EXIT")
            && parts.any(|part| part.starts_with("kill ") && !part.contains("||"))
    });
    failing.map(|(at, _)| format!("{path}:{}: `kill` in a trap needs `|| true`", at + 1)).collect()
}

/// The commands of a trap.
fn parts(trap: &str) -> impl Iterator<Item = &str> {
    trap.split([';', '\'', '"']).map(str::trim)
}

#[test]
fn a_trap_that_fails_is_found() {
    let script = |trap: &str| format!("#!/usr/bin/env bash\nset -euo pipefail\n{trap}\n");
    let found = |trap: &str| failing_traps("run", &script(trap));

    let offence = ["run:3: `kill` in a trap needs `|| true`"];
    assert_eq!(found("trap 'kill $other 2>/dev/null' EXIT"), offence);
    assert_eq!(found("    trap \"kill $other\" EXIT"), offence);
    assert_eq!(found("trap 'rm -rf \"$work\"; kill $other' EXIT"), offence);
    assert!(found("trap 'kill $other 2>/dev/null || true' EXIT").is_empty());
    assert!(found("trap 'rm -rf \"$work\"' EXIT").is_empty());
    assert!(failing_traps("run", "#!/bin/sh\ntrap 'kill $other' EXIT\n").is_empty());
}
