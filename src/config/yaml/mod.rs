//! YAML text as a tree in which every value knows its line, and a reader that names what is wrong.
//!
//! The one door to the YAML library. [`parse`] keeps the limits: any bytes give a tree or one
//! sentence, never a panic, and never more memory than a small multiple of [`SIZE_MAX`]. It knows
//! nothing of cluster files: [`Section`] and [`Field`] serve every YAML file of the project.

mod loose;
mod scalar;
mod section;
mod tree;

use std::fmt;

use thiserror::Error;

pub use section::{Field, Place, Section};

/// The largest text that is read, in bytes.
pub const SIZE_MAX: usize = 1 << 20;
/// The deepest nesting that is read.
pub const DEPTH_MAX: usize = 64;

/// One value of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where the value begins.
    pub mark: Mark,
    /// The value.
    pub value: Value,
}

/// What a value is, as YAML 1.1 readers such as Ray's see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `~`, or `null`.
    Null,
    /// Text, a number, or a flag; which one it is depends on who asks.
    Scalar {
        /// The text without its quotes.
        text: String,
        /// Whether it is text by its quotes, its block style, or its tag.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file; keys are unique.
    Map(Vec<Entry>),
}

/// One key of a map and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub mark: Mark,
    /// What it says.
    pub value: Node,
}

/// A place in the text; both counts begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Mark {
    /// The place of what was never a line of text.
    pub const NOWHERE: Self = Self { line: 0, column: 0 };
}

/// What is wrong with a YAML text, as one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct YamlError {
    /// Where it is wrong; nowhere if the whole text is.
    pub mark: Option<Mark>,
    /// The path of the key that it is about; empty if it is about the text itself.
    pub key: String,
    /// What is wrong, and what to write.
    pub what: String,
}

/// Reads one YAML document.
///
/// Anchors, aliases, and `<<` merges are expanded, within a limit. Text that Ray would read
/// differently from one reader to the next is refused: duplicate keys, keys that are not text,
/// several documents.
///
/// # Errors
///
/// Says what is wrong and on which line; bytes of any kind are safe to pass.
pub fn parse(bytes: &[u8]) -> Result<Node, YamlError> {
    if bytes.len() > SIZE_MAX {
        let what = format!(
            "the file has {} bytes, and at most {SIZE_MAX} are read; is it really a YAML file?",
            bytes.len()
        );
        return Err(YamlError::whole(what));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = line_at(bytes, error.valid_up_to());
            let what = "the text is not UTF-8; save the file with UTF-8 encoding";
            return Err(YamlError::at(Mark { line, column: 1 }, what));
        }
    };
    refuse_control_characters(text)?;
    tree::read(text)
}

impl YamlError {
    /// An error of the text as a whole.
    #[must_use]
    pub fn whole(what: impl Into<String>) -> Self {
        Self { mark: None, key: String::new(), what: what.into() }
    }

    /// An error of the text at `mark`, about no key.
    #[must_use]
    pub fn at(mark: Mark, what: impl Into<String>) -> Self {
        Self { mark: Some(mark), key: String::new(), what: what.into() }
    }

    /// The sentence with the name of its file in front: `scenario.yaml:14: nodes: …`.
    #[must_use]
    pub fn in_file(&self, file: &str) -> String {
        match self.mark {
            Some(mark) if mark != Mark::NOWHERE => {
                format!("{file}:{}: {}", mark.line, self.sentence())
            }
            Some(_) | None => format!("{file}: {}", self.sentence()),
        }
    }

    fn sentence(&self) -> String {
        if self.key.is_empty() {
            return self.what.clone();
        }
        format!("{}: {}", self.key, self.what)
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mark {
            Some(mark) => write!(f, "line {}: {}", mark.line, self.sentence()),
            None => f.write_str(&self.sentence()),
        }
    }
}

impl Node {
    /// The tree of a JSON value; nothing in it has a line. Its depth is the caller's to bound.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        let scalar = |text: String, quoted| Value::Scalar { text, quoted };
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(flag) => scalar(flag.to_string(), false),
            serde_json::Value::Number(number) => scalar(number.to_string(), false),
            serde_json::Value::String(text) => scalar(text.clone(), true),
            serde_json::Value::Array(items) => {
                Value::List(items.iter().map(Self::from_json).collect())
            }
            serde_json::Value::Object(map) => {
                let entry = |(key, value): (&String, _)| Entry {
                    key: key.clone(),
                    mark: Mark::NOWHERE,
                    value: Self::from_json(value),
                };
                Value::Map(map.iter().map(entry).collect())
            }
        };
        Self { mark: Mark::NOWHERE, value }
    }

    /// What kind of value this is, for a sentence about a wrong one: `a list`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar { text, quoted } => scalar::Resolved::of(text, *quoted).kind(),
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The same value as JSON, for what is passed on without being understood.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Scalar { text, quoted } => scalar::Resolved::of(text, *quoted).to_json(text),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
            }
        }
    }
}

/// Quotes user text for a sentence: one line, and not too long.
pub(super) fn quote(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut shown: String =
        text.chars().take(SHOWN_MAX).flat_map(|character| character.escape_debug()).collect();
    // `escape_debug` escapes quotes too, which reads badly between backticks.
    shown = shown.replace("\\'", "'").replace("\\\"", "\"");
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn line_at(bytes: &[u8], position: usize) -> usize {
    bytes.iter().take(position).filter(|byte| **byte == b'\n').count() + 1
}

/// The YAML library takes a NUL for the end of the text, which would hide what follows.
fn refuse_control_characters(text: &str) -> Result<(), YamlError> {
    let allowed = |character: char| !character.is_control() || "\t\n\r\u{85}".contains(character);
    let Some(position) = text.find(|character| !allowed(character)) else {
        return Ok(());
    };
    let line = line_at(text.as_bytes(), position);
    let what = "the text has a control character, which YAML does not allow; remove it";
    Err(YamlError::at(Mark { line, column: 1 }, what))
}

#[cfg(test)]
mod tests {
    use super::{Node, SIZE_MAX, Section, parse};
    use crate::units::{Glm, Rounding};

    #[track_caller]
    fn refused(text: impl AsRef<[u8]>) -> String {
        parse(text.as_ref()).expect_err("text that is refused").in_file("a.yaml")
    }

    #[track_caller]
    fn read(text: &str) -> Node {
        parse(text.as_bytes()).expect("text that is read")
    }

    #[test]
    fn every_refusal_names_the_line_and_what_to_do() {
        let sentences = [
            refused(b"a: 1\nb: \xff\n"),
            refused(b"a: 1\0b\n"),
            refused(""),
            refused("# nothing\n"),
            refused("a:\n\tb: 1\n"),
            refused("a:\n  b: 1\n\tc: 2\n"),
            refused("a:\n- b: 1\n\t c: 2\n"),
            refused("a: 1\nb: 2\na: 3\n"),
            refused("a: 1\n---\nb: 2\n"),
            refused("1: a\n"),
            refused("on: a\n"),
            refused("? [a, b]\n: c\n"),
            refused("a: &x [*x]\n"),
            refused("a: *x\n"),
            refused("a: !!python/object:os.system {}\n"),
            refused("a: {<<: 5}\n"),
            refused("a: [1, 2\nb: 3\n"),
            refused("a: 'b\n"),
            refused("a: b: c\n"),
            refused("a: @b\n"),
            refused("a\nb: 1\n"),
            refused("a: 1\n b: 2\n"),
        ];
        insta::assert_snapshot!(sentences.join("\n"));
    }

    #[test]
    fn huge_and_nested_text_is_refused_at_once() {
        assert!(refused("[".repeat(10_000_000)).contains("1048576 are read"));
        for deep in ["[", "{a: ", "- ", "? ", "[{", "- ? "] {
            let text = deep.repeat(SIZE_MAX / deep.len());
            assert!(parse(text.as_bytes()).is_err(), "{deep}");
        }
        let laughs: String = std::iter::once("a0: &a0 [lol, lol]\n".to_owned())
            .chain((1..40).map(|level| {
                let alias = format!("*a{}", level - 1);
                format!("a{level}: &a{level} [{alias}, {alias}, {alias}, {alias}]\n")
            }))
            .collect();
        assert!(refused(&laughs).contains("once its aliases are expanded"), "{}", refused(&laughs));
        let keys: String = (0..100_000).map(|key| format!("k{key}:\n")).collect();
        assert!(refused(&keys).contains("more than 1024 keys"));
    }

    #[test]
    fn anchors_and_merges_are_expanded_and_own_keys_win() {
        let root = read("base: &base {x: 1, y: 2}\nother:\n  y: 3\n  <<: *base\n  z: [*base]\n");

        let json = root.to_json().to_string();

        assert_eq!(json, r#"{"base":{"x":1,"y":2},"other":{"x":1,"y":3,"z":[{"x":1,"y":2}]}}"#);
    }

    #[test]
    fn brackets_may_close_at_the_begin_of_a_line() {
        let root = read(
            "a:\n  b: {\n  # a comment\n}\n  c: [\n1,\n  two, { x: 'é\n  y'\n}\n]\nd: [\n]\ne:\n  f: 5\n",
        );

        let json = root.to_json().to_string();

        assert_eq!(json, r#"{"a":{"b":{},"c":[1,"two",{"x":"é y"}]},"d":[],"e":{"f":5}}"#);
        assert_eq!(
            refused("a: {\n}\nb: [\n1,\n2\n"),
            "a.yaml:6: this is not valid YAML: while parsing a flow sequence, expected ',' or ']'"
        );
        let slow = format!("a: [\n{}]\n", "1,\n".repeat(SIZE_MAX / 4));
        assert!(parse(slow.as_bytes()).is_err());
    }

    #[test]
    fn values_are_read_by_type() {
        let root = read("port: 4_578\nname: 2.9\non_: yes\nprice: 1e-3\nurls: [a, 'b']\nnone: ~\n");
        let section = Section::new(&root, "").expect("a map");

        assert_eq!(section.required("port").and_then(|port| port.whole(1..=u16::MAX)), Ok(4578));
        assert_eq!(section.required("name").and_then(|name| name.text()), Ok("2.9"));
        assert_eq!(section.required("on_").and_then(|flag| flag.flag()), Ok(true));
        assert_eq!(
            section.required("price").and_then(|price| price.decimal(Rounding::Exact)),
            Ok(Glm::from_atto(1_000_000_000_000_000))
        );
        assert!(section.optional("none").is_none());
        assert!(section.get("none").is_some());
    }

    #[test]
    fn wrong_values_are_refused_by_key_and_line() {
        let root = read("a:\n  port: 99999\n  name: no\n  urls: x\n  price: -1\n  cost: .nan\n");
        let section = Section::new(&root, "").and_then(|root| root.required("a")?.section());
        let section = section.expect("a map");
        let field = |key: &str| section.required(key).expect("a key");

        let sentences = [
            section.deny_unknown(&["prot", "name", "urls", "price", "cost"]),
            section.deny_unknown(&["something", "else"]),
            section.required("seed").map(drop),
            field("port").whole(1..=u16::MAX).map(drop),
            field("name").text().map(drop),
            field("urls").list().map(drop),
            field("urls").section().map(drop),
            field("urls").one_of(&["y", "z"]).map(drop),
            field("price").decimal(Rounding::Up).map(drop),
            field("cost").scaled(6, Rounding::Up).map(drop),
        ]
        .map(|result| result.expect_err("a wrong value").in_file("a.yaml"));
        insta::assert_snapshot!(sentences.join("\n"));
    }
}
