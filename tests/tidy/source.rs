//! The tree as the rules see it: Rust text with code, comments, and literals told apart.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Directories that hold Rust code of ours.
const CODE: [&str; 4] = ["src", "sim", "tests", "benches"];

/// What a character of Rust text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// One Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root, with forward slashes.
    pub(crate) path: String,
    /// The text with comments and literals blanked; lines keep their numbers.
    pub(crate) code: String,
    /// The comments alone; lines keep their numbers.
    pub(crate) comments: String,
}

impl Source {
    /// Takes the text apart.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let kinds = classify(&text.chars().collect::<Vec<_>>());
        let only = |wanted: Kind| {
            let marked = text.chars().zip(&kinds);
            marked.map(|(c, kind)| if *kind == wanted || c == '\n' { c } else { ' ' }).collect()
        };
        Self { path: path.to_owned(), code: only(Kind::Code), comments: only(Kind::Comment) }
    }

    /// The code without tests: up to the test module at the end, and nothing of a test file.
    pub(crate) fn product(&self) -> &str {
        let is_product = self.path.starts_with("src/") || self.path.starts_with("sim/src/");
        let is_test = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        if !is_product || is_test {
            return "";
        }
        let ends = self.code.match_indices("#[cfg(test)]\nmod ").find(|(at, _)| {
            let line = self.code[*at..].lines().nth(1).unwrap_or_default();
            line.trim_end().ends_with('{')
        });
        ends.map_or(&self.code, |(at, _)| &self.code[..at])
    }
}

/// The project's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files of ours.
pub(crate) fn rust_files() -> Vec<Source> {
    let files = text_files();
    let ours = |path: &str| CODE.iter().any(|top| path.starts_with(&format!("{top}/")));
    let rust = files.iter().filter(|(path, _)| path.ends_with(".rs") && ours(path));
    rust.map(|(path, text)| Source::new(path, text)).collect()
}

/// All text files of the tree, hidden ones included, in order of their paths.
pub(crate) fn text_files() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    walk(root(), &mut paths);
    paths.sort();
    let texts = paths.into_iter().filter_map(|path| {
        let name = path.strip_prefix(root()).expect("the walk starts at the root");
        let text = fs::read_to_string(&path).ok()?;
        Some((name.to_string_lossy().replace('\\', "/"), text))
    });
    texts.collect()
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the tree is readable") {
        let path = entry.expect("the tree is readable").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        // Cargo marks its directories, whatever they are called.
        let is_ours = name != ".git" && name != "target" && !path.join("CACHEDIR.TAG").exists();
        if path.is_dir() && is_ours {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn classify(text: &[char]) -> Vec<Kind> {
    let mut kinds = Vec::with_capacity(text.len());
    while kinds.len() < text.len() {
        let at = kinds.len();
        let (kind, length) = token(&text[at..]);
        kinds.resize(text.len().min(at + length), kind);
    }
    kinds
}

/// The kind of what begins here, and its length.
fn token(rest: &[char]) -> (Kind, usize) {
    let head = |index: usize| rest.get(index).copied().unwrap_or('\0');
    match head(0) {
        '/' if head(1) == '/' => {
            let line = rest.iter().position(|c| *c == '\n');
            (Kind::Comment, line.unwrap_or(rest.len()))
        }
        '/' if head(1) == '*' => (Kind::Comment, block_comment(rest)),
        '"' => (Kind::Literal, quoted(rest, '"')),
        // A tick begins a character, or else a lifetime.
        '\'' if head(1) == '\\' || head(2) == '\'' => (Kind::Literal, quoted(rest, '\'')),
        'r' => raw_string(rest).map_or((Kind::Code, 1), |length| (Kind::Literal, length)),
        _ => (Kind::Code, 1),
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of a raw string, or nothing if this `r` begins something else.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.resize(1 + hashes, '#');
    let body = &rest[2 + hashes..];
    let length = body.windows(end.len()).position(|window| window == end);
    Some(2 + hashes + length.unwrap_or(body.len()) + end.len())
}

/// Says whether a character may stand in a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn literals_and_comments_are_not_code() {
    let text = r##"let a = "x // \" y"; // note "z"
let b = r#"raw " one"#; let c = '"'; let d: &'static str = b"bytes";
/* block /* nested */ still */ let e = '\'';"##;

    let source = Source::new("a.rs", text);

    let code: Vec<&str> = source.code.split_whitespace().collect();
    let expected = "let a = ; let b = ; let c = ; let d: &'static str = b ; let e = ;";
    assert_eq!(code.join(" "), expected);
    let comments: Vec<&str> = source.comments.split_whitespace().collect();
    assert_eq!(comments.join(" "), r#"// note "z" /* block /* nested */ still */"#);
    assert_eq!(source.code.lines().count(), 3);
}

#[test]
fn tests_are_not_product() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod more {\n}\n";

    assert!(Source::new("src/a.rs", text).product().trim_end().ends_with("fn b() {}"));
    assert_eq!(Source::new("src/a/tests.rs", text).product(), "");
    assert_eq!(Source::new("tests/a.rs", text).product(), "");
}
