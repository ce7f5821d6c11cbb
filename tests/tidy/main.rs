//! The repository checks itself: rules that no compiler knows, each with a sample that breaks it.
//!
//! A rule is a function from text to offences, so that its own test needs no file. The tests in this
//! file put the rules to the whole tree.

#![expect(clippy::disallowed_methods, reason = "reads the tree and asks cargo")]

mod depend;
mod modules;
mod scripts;
mod shape;
mod source;
mod words;

use std::fs;

use source::Source;

/// Rust files longer than `shape::FILE_LINES_MAX`, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions longer than `shape::FUNCTION_LINES_MAX`, as `path:name`, each with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    ("tests/planted.rs:breaks", "a table with a row for each invariant"),
    ("sim/src/serve/document.rs:patches", "one arm for each response, and nothing else"),
    ("sim/src/yagna/desk.rs:handle", "one arm for each request, and nothing else"),
    ("src/yagna/wire/client_side.rs:path", "one arm for each request, and nothing else"),
    ("src/yagna/wire/client_side.rs:body", "one arm for each request, and nothing else"),
    ("src/yagna/wire/client_side.rs:read", "one arm for each request, and nothing else"),
    (
        "src/yagna/wire/server_side.rs:encode_response",
        "one arm for each response, and nothing else",
    ),
];

fn assert_clean(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

fn read(path: &str) -> String {
    let full = source::root().join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

fn each_source(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = source::rust_files();
    assert!(sources.len() > 10, "the walk finds the tree");
    assert_clean(sources.iter().flat_map(rule).collect());
}

#[test]
fn pure_modules_are_pure() {
    each_source(words::impure);
}

#[test]
fn state_is_never_global() {
    each_source(words::global_state);
}

#[test]
fn nothing_is_left_to_do() {
    each_source(words::unfinished);
}

#[test]
fn product_never_unwraps() {
    each_source(words::unwrapped);
}

#[test]
fn modules_import_downwards() {
    each_source(modules::upward_imports);
}

#[test]
fn pure_modules_deny_the_banned() {
    assert_clean(modules::undenied("src/lib.rs", &read("src/lib.rs"), Some(modules::PURE)));
    assert_clean(modules::undenied("sim/src/lib.rs", &read("sim/src/lib.rs"), None));
}

#[test]
fn files_are_short() {
    assert_clean(shape::long_files(&source::rust_files(), LONG_FILES));
}

#[test]
fn functions_are_short() {
    assert_clean(shape::long_functions(&source::rust_files(), LONG_FUNCTIONS));
}

#[test]
fn no_path_of_a_machine_is_named() {
    let files = source::text_files();
    assert!(files.iter().any(|(path, _)| path == "Cargo.toml"), "the walk finds the tree");
    assert_clean(files.iter().flat_map(|(path, text)| words::machine_paths(path, text)).collect());
}

#[test]
fn traps_never_decide_how_a_script_ends() {
    let files = source::text_files();
    assert!(files.iter().any(|(path, _)| path == ".ci/run"), "the walk finds the scripts");
    assert_clean(
        files.iter().flat_map(|(path, text)| scripts::failing_traps(path, text)).collect(),
    );
}

#[test]
fn toolchain_is_the_same_everywhere() {
    let mut prose = vec![("CONTRIBUTING.md", read("CONTRIBUTING.md"))];
    if source::root().join("README.md").exists() {
        prose.push(("README.md", read("README.md")));
    }
    assert_clean(depend::toolchain(&read("rust-toolchain.toml"), &read("Cargo.toml"), &prose));
}

#[test]
fn what_a_machine_lacks_is_named_in_one_line() {
    let demo = "Rust 1.95 (https://rustup.rs), a C compiler, Python 3.10 to 3.14 with venv, an OpenSSH client, \
                rsync, uptime, unshare and mount; on Debian, as root: apt-get install gcc libc6-dev python3 python3-venv \
                openssh-client rsync procps util-linux mount";
    let bare =
        "debootstrap, bubblewrap; on Debian, as root: apt-get install debootstrap bubblewrap";

    for (command, all) in [("demo", demo), ("bare", bare)] {
        let said = depend::lacking(command);

        assert_eq!(said, format!("setup: missing for `make {command}`: {all}\n"));
    }
}

#[test]
fn dependencies_are_allowed() {
    assert_clean(depend::offences(&read("deny.toml"), &depend::packages()));
}
