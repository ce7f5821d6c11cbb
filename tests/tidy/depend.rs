//! Rules about what the project is built from: licences, bans, sources, and the toolchain.
//!
//! The lists are those of `deny.toml`, so that `cargo deny check` says the same; these checks need
//! nothing but cargo.

use std::{env, process::Command};

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// One package of the tree, for any platform.
#[derive(Debug)]
pub(crate) struct Package {
    name: String,
    licence: Option<String>,
    source: Option<String>,
}

/// Asks cargo for all packages of the lock file.
pub(crate) fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(crate::source::root())
        .output()
        .expect("cargo runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let read = packages.iter().map(|package| Package {
        name: text(&package["name"]).expect("a package has a name"),
        licence: text(&package["license"]),
        source: text(&package["source"]),
    });
    read.collect()
}

/// What `.ci/needs` says of a command where there is no program at all.
pub(crate) fn lacking(command: &str) -> String {
    let shell = env::split_paths(&env::var_os("PATH").expect("there is a path"))
        .map(|directory| directory.join("bash"))
        .find(|path| path.exists())
        .expect("there is a shell");
    let output = Command::new(shell)
        .args([".ci/needs", command])
        .current_dir(crate::source::root())
        .env_clear()
        .env("PATH", "/nowhere")
        .output()
        .expect("the shell runs");
    assert_eq!(output.status.code(), Some(1), "nothing is there");
    String::from_utf8(output.stderr).expect("it is text")
}

/// Packages that `deny.toml` does not let in.
pub(crate) fn offences(deny: &str, packages: &[Package]) -> Vec<String> {
    let licences = list(deny, "licenses", "allow");
    let banned = list(deny, "bans", "deny");
    let mut offences = Vec::new();
    for Package { name, licence, source } in packages {
        let expression = licence.as_deref().unwrap_or("no licence");
        if !allows(expression, &licences) {
            offences.push(format!("{name}: licence {expression}"));
        }
        if banned.contains(name) {
            offences.push(format!("{name}: banned"));
        }
        if source.as_deref().is_some_and(|source| source != CRATES_IO) {
            offences.push(format!("{name}: does not come from crates.io"));
        }
    }
    offences
}

/// Places that disagree about the version of Rust.
pub(crate) fn toolchain(pinned: &str, manifest: &str, prose: &[(&str, String)]) -> Vec<String> {
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let minimum = value(manifest, "rust-version");
    let channel = value(pinned, "channel");
    let mut offences = Vec::new();
    if minimum.is_empty() || !format!("{channel}.").starts_with(&format!("{minimum}.")) {
        offences.push(format!("rust-toolchain.toml says {channel}, Cargo.toml says {minimum}"));
    }
    let silent = prose.iter().filter(|(_, text)| !text.contains(&format!("Rust {minimum}")));
    offences.extend(silent.map(|(name, _)| format!("{name} does not say `Rust {minimum}`")));
    offences
}

/// The strings of a list in a section: as much TOML as `deny.toml` uses.
fn list(toml: &str, section: &str, key: &str) -> Vec<String> {
    let header = format!("[{section}]\n");
    let body = toml.split_once(&header).map_or("", |(_, rest)| rest);
    let body = body.split("\n[").next().unwrap_or_default();
    let list = body.split_once(&format!("{key} = [")).map_or("", |(_, rest)| rest);
    let list = list.split_once("\n]").map_or(list, |(inside, _)| inside);
    let lines = list.lines().filter(|line| !line.trim_start().starts_with('#'));
    // The first string of a line is the name; a reason may follow it.
    lines.filter_map(|line| line.split('"').nth(1)).map(ToOwned::to_owned).collect()
}

/// Says whether a licence expression can be met by the licences in the list.
fn allows(expression: &str, licences: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    any(&mut words, licences) && words.is_empty()
}

/// Alternatives. The words are in reverse, so that the next one is the last.
fn any(words: &mut Vec<&str>, licences: &[String]) -> bool {
    let mut met = all(words, licences);
    while words.last() == Some(&"OR") {
        words.pop();
        met |= all(words, licences);
    }
    met
}

fn all(words: &mut Vec<&str>, licences: &[String]) -> bool {
    let mut met = one(words, licences);
    while words.last() == Some(&"AND") {
        words.pop();
        met &= one(words, licences);
    }
    met
}

fn one(words: &mut Vec<&str>, licences: &[String]) -> bool {
    let word = words.pop().unwrap_or_default();
    if word == "(" {
        let met = any(words, licences);
        return words.pop() == Some(")") && met;
    }
    if words.last() == Some(&"WITH") {
        words.pop();
        let exception = words.pop().unwrap_or_default();
        return licences.contains(&format!("{word} WITH {exception}"));
    }
    licences.iter().any(|licence| licence == word)
}

#[cfg(test)]
const SAMPLE: &str = "[licenses]\nallow = [\n  \"MIT\",\n  \"Apache-2.0 WITH LLVM-exception\",\n]\n\
    [bans]\ndeny = [\n  { crate = \"openssl\", reason = \"rustls\" },\n]\n";

#[test]
fn strange_packages_are_seen() {
    let package = |name: &str, licence: Option<&str>, source: Option<&str>| Package {
        name: name.to_owned(),
        licence: licence.map(ToOwned::to_owned),
        source: source.map(ToOwned::to_owned),
    };
    let packages = [
        package("fine", Some("MIT"), Some(CRATES_IO)),
        package("closed", Some("Proprietary"), None),
        package("mute", None, Some(CRATES_IO)),
        package("openssl", Some("MIT"), Some(CRATES_IO)),
        package("forked", Some("MIT"), Some("git+https://example.org/forked")),
    ];

    assert_eq!(
        offences(SAMPLE, &packages),
        [
            "closed: licence Proprietary",
            "mute: licence no licence",
            "openssl: banned",
            "forked: does not come from crates.io",
        ]
    );
}

#[test]
fn licence_expressions_are_understood() {
    let licences = list(SAMPLE, "licenses", "allow");

    for good in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(MIT OR X) AND MIT", "X AND Y OR MIT"] {
        assert!(allows(good, &licences), "{good}");
    }
    assert!(allows("Apache-2.0 WITH LLVM-exception", &licences));
    for bad in ["Apache-2.0", "MIT AND X", "(MIT OR X) AND X", "MIT WITH X", "", "MIT MIT", "(MIT"]
    {
        assert!(!allows(bad, &licences), "{bad}");
    }
}

#[test]
fn disagreement_about_the_toolchain_is_seen() {
    let manifest = "rust-version = \"1.95\"\n";
    let prose = [("README.md", "needs Rust 1.95".to_owned()), ("OTHER.md", "Rust 1.90".to_owned())];

    assert_eq!(toolchain("channel = \"1.95.0\"\n", manifest, &prose[..1]), [""; 0]);
    assert_eq!(
        toolchain("channel = \"1.9.5\"\n", manifest, &prose),
        [
            "rust-toolchain.toml says 1.9.5, Cargo.toml says 1.95",
            "OTHER.md does not say `Rust 1.95`",
        ]
    );
}
