//! Rules about words: what pure code, product code, and all code must not say.

use crate::modules;
use crate::source::{Source, is_word};

/// Files and directories in pure directories that are not pure: they do the I/O.
const SHELL: &[&str] = &[
    "sim/src/crew.rs",
    "sim/src/drills.rs",
    "sim/src/exit.rs",
    "sim/src/main.rs",
    "sim/src/nodes/",
    "sim/src/replays.rs",
    "sim/src/reports.rs",
    "sim/src/serve/",
    "sim/src/service.rs",
    "sim/src/stand_in/",
    "sim/src/station.rs",
    "src/yagna/bus/client.rs",
    "src/yagna/bus/socket.rs",
    "src/yagna/client.rs",
    "src/yagna/vpn.rs",
    "src/yagna/vpn/order.rs",
];

/// Modules of the standard library with effects, or with clocks.
const EFFECTS: &[&str] = &["env", "fs", "process", "thread", "time"];

/// Here coroutines run over virtual time, by an executor that is pure itself.
const COROUTINES: &str = "sim/src/original/";

/// Sockets by name: the addresses in `std::net` are pure.
const IMPURE: &[&str] = &[
    "tokio",
    "reqwest",
    "HashMap",
    "HashSet",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
];

/// Words of coroutines, which elsewhere need a runtime.
const ASYNCHRONOUS: &[&str] = &["async", "await"];

const GLOBAL: &[&str] = &["static mut", "OnceLock", "OnceCell", "LazyLock", "thread_local"];

const UNFINISHED_PROSE: &[&str] = &["FIXME", "TODO", "XXX"];
const UNFINISHED_CODE: &[&str] = &["todo!", "unimplemented!", "#[ignore", "#[allow", "#![allow"];

/// Directories of people and of builds; written in two parts so that this file passes.
const MACHINE: &[&str] =
    &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/tm", "p/wt")];

/// Paths that a rented machine has, not ours.
const REMOTE: &[&str] = &[
    concat!("/ro", "ot/.ssh"),
    concat!("/ro", "ot/.bashrc"),
    concat!("/ro", "ot/.local"),
    concat!("/ro", "ot/$file"),
    concat!("/ro", "ot/; fi"),
];

/// Words of effects in pure code.
pub(crate) fn impure(source: &Source) -> Vec<String> {
    if !is_pure(&source.path) {
        return Vec::new();
    }
    let mut words = lines_with(&source.code, IMPURE);
    if !source.path.starts_with(COROUTINES) {
        words.extend(lines_with(&source.code, ASYNCHRONOUS));
    }
    let effects = modules::children(&source.code, "std");
    let effects = effects.into_iter().filter(|(_, name)| EFFECTS.contains(&name.as_str()));
    let all = words.into_iter().chain(effects.map(|(line, name)| (line, format!("std::{name}"))));
    all.map(|(line, word)| format!("{}:{line}: `{word}` in pure code", source.path)).collect()
}

/// State that outlives its owner.
pub(crate) fn global_state(source: &Source) -> Vec<String> {
    if source.product().is_empty() {
        return Vec::new();
    }
    let found = lines_with(&source.code, GLOBAL).into_iter();
    found.map(|(line, word)| format!("{}:{line}: global state, `{word}`", source.path)).collect()
}

/// Work put off, tests and lints switched off.
pub(crate) fn unfinished(source: &Source) -> Vec<String> {
    let mut found = lines_with(&source.comments, UNFINISHED_PROSE);
    found.extend(lines_with(&source.code, UNFINISHED_CODE));
    let all = found.into_iter();
    all.map(|(line, word)| format!("{}:{line}: unfinished, `{word}`", source.path)).collect()
}

/// `unwrap` in product code: it hides the invariant that `expect` states.
pub(crate) fn unwrapped(source: &Source) -> Vec<String> {
    let found = lines_with(source.product(), &[".unwrap()"]).into_iter();
    found
        .map(|(line, _)| format!("{}:{line}: `unwrap`; state why by `expect`", source.path))
        .collect()
}

/// Absolute paths of one machine.
pub(crate) fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let mut offences = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = REMOTE.iter().fold(line.to_owned(), |line, path| line.replace(path, ""));
        if MACHINE.iter().any(|start| line.contains(start)) {
            offences.push(format!("{path}:{}: a path of one machine", index + 1));
        }
    }
    offences
}

fn is_pure(path: &str) -> bool {
    let directories = modules::PURE.iter().map(|module| format!("src/{module}/"));
    let mut pure = directories.chain(["sim/src/".to_owned()]);
    let is_shell = SHELL.iter().any(|shell| path.starts_with(shell));
    pure.any(|directory| path.starts_with(&directory)) && !is_shell
}

/// Line numbers from 1 and the words found there, whole words only.
fn lines_with(text: &str, words: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let present = words.iter().filter(|word| has_word(line, word));
        found.extend(present.map(|word| (index + 1, (*word).to_owned())));
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let joins = |outer: Option<char>, inner: Option<char>| {
        outer.is_some_and(is_word) && inner.is_some_and(is_word)
    };
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !joins(before, word.chars().next()) && !joins(after, word.chars().next_back())
    })
}

#[test]
fn effects_are_seen_in_pure_code_only() {
    let text =
        "use std::{\n    fmt,\n    time::Instant,\n};\nfn a() { std::thread::yield_now() }\n";
    let more = "// tokio\nlet a = \"reqwest\"; let asynchronous = 1; b.await;\n";

    assert_eq!(
        impure(&Source::new("src/core/a.rs", text)),
        [
            "src/core/a.rs:3: `std::time` in pure code",
            "src/core/a.rs:5: `std::thread` in pure code"
        ]
    );
    assert_eq!(
        impure(&Source::new("sim/src/a.rs", more)),
        ["sim/src/a.rs:2: `await` in pure code"]
    );
    assert_eq!(impure(&Source::new("sim/src/original/a.rs", more)), [""; 0]);
    assert_eq!(impure(&Source::new("sim/src/original/a.rs", text)).len(), 2);
    assert_eq!(impure(&Source::new("src/yagna/client.rs", text)), [""; 0]);
    assert_eq!(impure(&Source::new("src/driver/a.rs", text)), [""; 0]);
}

#[test]
fn global_state_is_seen() {
    let text = "static A: OnceLock<u8> = OnceLock::new();\nthread_local! {}\nstatic mut B: u8 = 0;";

    assert_eq!(global_state(&Source::new("src/a.rs", text)).len(), 3);
}

#[test]
fn unfinished_work_is_seen() {
    let text = "// FIXME: later\nfn a() { todo!() }\n#[ignore]\n#[allow(dead_code)]\n/// `XXX`\n";

    let offences = unfinished(&Source::new("tests/a.rs", text));

    assert_eq!(offences.len(), 5, "{offences:?}");
    assert_eq!(unfinished(&Source::new("a.rs", "let todo = \"TODO\";")), [""; 0]);
}

#[test]
fn unwrap_is_seen_outside_tests_only() {
    let text = "fn a() { b.unwrap(); }\n#[cfg(test)]\nmod tests {\n    fn c() { d.unwrap() }\n}\n";

    let offences = unwrapped(&Source::new("src/a.rs", text));

    assert_eq!(offences, ["src/a.rs:1: `unwrap`; state why by `expect`"]);
}

#[test]
fn machine_paths_are_seen() {
    let text = concat!("a = /ho", "me/me/x\nb = /ro", "ot/.ssh/id\nc = /tm", "p/wt/lab\n");

    assert_eq!(
        machine_paths("Makefile", text),
        ["Makefile:1: a path of one machine", "Makefile:3: a path of one machine"]
    );
}
