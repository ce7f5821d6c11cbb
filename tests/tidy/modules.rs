//! Rules about modules: which may import which, and which lints they deny.

use crate::source::{Source, is_word};

/// The pure modules of the library.
pub(crate) const PURE: &[&str] =
    &["config", "core", "journal", "recording", "tcp", "units", "yagna"];

/// What each pure module, what keeps data for one, and the ways to a node may import of ours, besides themselves.
const BELOW: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("tcp", &["units"]),
    ("yagna", &["units"]),
    ("core", &["units", "yagna"]),
    ("journal", &["units", "core"]),
    ("recording", &["units", "yagna", "core"]),
    ("config", &["units", "core"]),
    ("sqlite", &["units"]),
    ("bills", &["units", "yagna", "core", "sqlite"]),
    ("reputation", &["units", "yagna", "core", "config", "http", "sqlite"]),
    ("files", &["core"]),
    ("network", &["units", "yagna", "tcp", "files"]),
    ("ssh", &["units", "yagna", "core", "files", "network"]),
];

/// The daemon's and the registry's clients: shell, though they stand in a pure directory.
const SHELL: &[&str] = &[
    "src/yagna/bus/client.rs",
    "src/yagna/bus/socket.rs",
    "src/yagna/client.rs",
    "src/yagna/vpn.rs",
    "src/yagna/vpn/order.rs",
];

/// The shells of the simulator.
const SIM_SHELL: &[&str] = &["nodes", "serve"];

const BANS: [&str; 2] = ["clippy::disallowed_methods", "clippy::disallowed_types"];

/// Imports against the direction of the layers.
pub(crate) fn upward_imports(source: &Source) -> Vec<String> {
    let Some((module, below)) = BELOW.iter().find(|(module, _)| within(&source.path, module))
    else {
        return Vec::new();
    };
    if SHELL.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let mut named = children(&source.code, "crate");
    named.extend(climbed(source));
    let upward = named.into_iter().filter(|(_, name)| name != module && !below.contains(&&**name));
    upward.map(|(line, name)| format!("{}:{line}: imports `{name}`", source.path)).collect()
}

/// Modules of a crate root that do not deny the bans of `clippy.toml`. With `only`, those modules and
/// both bans; without, all modules but the shells, and the methods at least.
pub(crate) fn undenied(path: &str, text: &str, only: Option<&[&str]>) -> Vec<String> {
    let bans = if only.is_some() { &BANS[..] } else { &BANS[..1] };
    let lines: Vec<&str> = text.lines().collect();
    let mut offences = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let declared = line.trim_start_matches("pub ").strip_prefix("mod ");
        let Some(name) = declared.and_then(|rest| rest.strip_suffix(';')) else { continue };
        let attributes = lines[..index].iter().rev().take_while(|line| line.starts_with("#["));
        let denied: String = attributes.filter(|line| line.contains("deny(")).copied().collect();
        let is_asked =
            only.map_or_else(|| !SIM_SHELL.contains(&name), |names| names.contains(&name));
        if is_asked && !bans.iter().all(|ban| denied.contains(ban)) {
            offences.push(format!("{path}:{}: `{name}` does not deny the bans", index + 1));
        }
    }
    offences
}

/// The names that follow `root::`, braces opened, with their lines from 1.
pub(crate) fn children(code: &str, root: &str) -> Vec<(usize, String)> {
    let prefix = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&prefix) {
        if !code[..at].chars().next_back().is_some_and(|c| is_word(c) || c == '$' || c == ':') {
            names(code, at + prefix.len(), &mut found);
        }
    }
    found
}

/// One name, or the first names in a pair of braces.
fn names(code: &str, at: usize, found: &mut Vec<(usize, String)>) {
    let line = |at: usize| code[..at].matches('\n').count() + 1;
    let word = |at: usize| code[at..].chars().take_while(|c| is_word(*c)).collect::<String>();
    if !code[at..].starts_with('{') {
        found.push((line(at), word(at)));
        return;
    }
    let (mut depth, mut fresh) = (0_usize, false);
    for (offset, c) in code[at..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if fresh && is_word(c) => found.push((line(at + offset), word(at + offset))),
            _ => (),
        }
        fresh = depth == 1 && (c == '{' || c == ',' || (fresh && c.is_whitespace()));
        if depth == 0 {
            break;
        }
    }
}

/// The names reached through so many `super` that they are at the crate root.
fn climbed(source: &Source) -> Vec<(usize, String)> {
    let inside = source.path.trim_start_matches("src/").trim_end_matches(".rs");
    let depth = inside.trim_end_matches("/mod").split('/').count();
    let product = source.product().len();
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("super::") {
        if source.code[..at].ends_with("super::") {
            continue;
        }
        let chain = source.code[at..].split("super::").take_while(|part| part.is_empty()).count();
        // A test module inside the file is one step deeper.
        let nested = usize::from(product > 0 && at > product);
        if chain >= depth + nested {
            names(&source.code, at + chain * "super::".len(), &mut found);
        }
    }
    found
}

fn within(path: &str, module: &str) -> bool {
    let inside = path.strip_prefix("src/").and_then(|rest| rest.strip_prefix(module));
    inside.is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
}

#[test]
fn upward_imports_are_seen() {
    let text = "use crate::{\n    cli::Printer,\n    units::{Glm, Span},\n};\nfn a(b: crate::driver::B) {}\n";

    assert_eq!(
        upward_imports(&Source::new("src/core/market/a.rs", text)),
        ["src/core/market/a.rs:2: imports `cli`", "src/core/market/a.rs:5: imports `driver`"]
    );
    assert_eq!(upward_imports(&Source::new("src/driver/a.rs", text)), [""; 0]);
}

#[test]
fn climbing_past_the_root_is_seen() {
    let climbs = "use super::driver;\n";

    assert_eq!(
        upward_imports(&Source::new("src/units/mod.rs", climbs)),
        ["src/units/mod.rs:1: imports `driver`"]
    );
    assert_eq!(upward_imports(&Source::new("src/units/a.rs", climbs)), [""; 0]);
    let twice = "use super::super::{cli, units};\n";
    assert_eq!(
        upward_imports(&Source::new("src/units/a.rs", twice)),
        ["src/units/a.rs:1: imports `cli`"]
    );
}

#[test]
fn missing_denial_is_seen() {
    let text = "#[deny(clippy::disallowed_methods)]\npub mod units;\npub mod cli;\n";

    assert_eq!(
        undenied("src/lib.rs", text, Some(PURE)),
        ["src/lib.rs:2: `units` does not deny the bans"]
    );
    assert_eq!(undenied("lib.rs", text, None), ["lib.rs:3: `cli` does not deny the bans"]);
}
