//! The commands of the pages for users are commands that there are: programs take their arguments, and files and
//! targets that they name exist. What they do is tested where it is done.
#![expect(clippy::disallowed_methods, reason = "reads the tree, and runs programs for their help")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::{Parser, error::ErrorKind};
use ray_on_golem::cli::Cli;

const PAGES: [&str; 3] = ["README.md", "CONTRIBUTING.md", "fixtures/apps/README.md"];

/// Ray's commands that a page may name; each has a cluster file as its first argument.
const RAY: [&str; 9] = [
    "attach",
    "dashboard",
    "down",
    "exec",
    "get-head-ip",
    "rsync-down",
    "rsync-up",
    "submit",
    "up",
];

/// A line of a block of commands.
struct Line {
    place: String,
    words: Vec<String>,
}

#[test]
fn every_command_of_the_pages_is_one() {
    let lines: Vec<Line> = PAGES.into_iter().flat_map(lines).collect();

    let wrong: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let what = check(&line.words).err()?;
            Some(format!("{}: `{}`: {what}", line.place, line.words.join(" ")))
        })
        .collect();

    assert!(lines.len() > 40, "there are commands: {}", lines.len());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn what_is_no_command_is_seen() {
    for wrong in [
        "ray-on-golem begin",
        "ray-on-golem status --jsn",
        "golem-sim run --seeds 7",
        "make everything",
        "cargo test --test nothing",
        "ray up fixtures/cluster/nothing.yaml",
        "ray hire fixtures/cluster/demo.yaml",
        "cp fixtures/nothing.yaml x",
        "rm -rf x",
    ] {
        assert!(check(&words(wrong)).is_err(), "{wrong}");
    }
}

fn check(words: &[String]) -> Result<(), String> {
    let [program, rest @ ..] = words else { return Ok(()) };
    for word in rest.iter().filter(|word| word.starts_with("fixtures/")) {
        exists(word)?;
    }
    let argument = |nth: usize| rest.get(nth).map_or("", String::as_str);
    match program.as_str() {
        "ray-on-golem" => match Cli::try_parse_from(words).map_err(|error| error.kind()) {
            Ok(_) | Err(ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
            Err(kind) => Err(kind.to_string()),
        },
        "golem-sim" => explains(sibling("golem-sim"), rest),
        "yagna" => explains(root().join("target/real-yagna/venv/bin/yagna"), rest),
        "make" => has_line("Makefile", &format!("{}:", argument(0))),
        "cargo" => named(rest),
        "ray" if RAY.contains(&argument(0)) => match argument(1) {
            // What the user makes of one of ours.
            "my-cluster.yaml" => Ok(()),
            file => exists(file),
        },
        "cp" | "pip" | "python" | "python3" | "source" => Ok(()),
        // Of a block that begins with what it stands for.
        "lab=tests/real_yagna/lab.py" | "$lab" => Ok(()),
        // Files of this repository, by a path in it.
        path if path.contains('/') => exists(path),
        other => Err(format!("`{other}` is not known here")),
    }
}

/// Whether a program takes these arguments; asked for help, it does nothing else.
fn explains(program: PathBuf, arguments: &[String]) -> Result<(), String> {
    let output = Command::new(&program).args(arguments).arg("--help").output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Whether the tests, benches, and packages exist that cargo is told of.
fn named(arguments: &[String]) -> Result<(), String> {
    for pair in arguments.windows(2) {
        let [option, name] = pair else { continue };
        let there = match option.as_str() {
            "--test" => vec![format!("tests/{name}.rs"), format!("tests/{name}/main.rs")],
            "--bench" => vec![
                format!("benches/{name}.rs"),
                format!("benches/{name}/main.rs"),
                format!("sim/benches/{name}.rs"),
            ],
            _ => continue,
        };
        if !there.iter().any(|path| root().join(path).exists()) {
            return Err(format!("there is no `{name}`"));
        }
    }
    Ok(())
}

fn exists(path: &str) -> Result<(), String> {
    // What is built, and what a program is told to write.
    let is_made = path.starts_with("target/") || path.contains('*');
    match is_made || root().join(path).exists() {
        true => Ok(()),
        false => Err(format!("there is no `{path}`")),
    }
}

fn has_line(file: &str, beginning: &str) -> Result<(), String> {
    let text = fs::read_to_string(root().join(file)).expect("a file of ours");
    match text.lines().any(|line| line.starts_with(beginning)) {
        true => Ok(()),
        false => Err(format!("{file} has no `{beginning}`")),
    }
}

/// The commands of a page: its blocks of shell, and the commands of its tables.
fn lines(page: &str) -> Vec<Line> {
    let text = fs::read_to_string(root().join(page)).expect("a page of ours");
    let (mut found, mut is_shell) = (Vec::new(), false);
    for (nth, line) in text.lines().enumerate() {
        let mut add = |command: &str| {
            let place = format!("{page}:{}", nth + 1);
            // Ids are cut short for readers.
            let command = command.replace("0x…", &format!("0x{}", "0".repeat(40)));
            found.push(Line { place, words: words(&command) });
        };
        if line.starts_with("```") {
            is_shell = line == "```sh";
        } else if is_shell {
            add(line);
        } else if line.starts_with('|') {
            let begins = |code: &&str| {
                ["cargo bench ", "cargo test ", "make ", "ray-on-golem "]
                    .iter()
                    .any(|it| code.starts_with(it))
            };
            line.split('`').skip(1).step_by(2).filter(begins).for_each(&mut add);
        }
    }
    // A placeholder in capitals stands for a name that the user knows.
    found.retain(|line| !line.words.is_empty() && !line.words.contains(&"NAME".to_owned()));
    found
}

/// The words of a line as a shell has them, up to its comment and its first `;`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ';') => break,
            (None, ' ') => words.extend(word.take()),
            (Some(_) | None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A program that is built beside this test.
fn sibling(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ray-on-golem")).with_file_name(name)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
