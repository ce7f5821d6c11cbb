//! Builds the tree from the events of the YAML library.
//!
//! Without recursion, and with a budget for what aliases may expand to: a text of a few hundred
//! bytes can otherwise ask for more memory than there is.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::loose::LooseText;
use super::scalar::Resolved;
use super::{DEPTH_MAX, Entry, Mark, Node, Value, YamlError, quote};

/// What the tree may weigh, in bytes of text and [`NODE_WEIGHT`] for each value.
const WEIGHT_MAX: usize = 16 << 20;
/// How many keys one map may have; a search among its keys is linear.
const KEYS_MAX: usize = 1024;
/// About what a value costs in memory.
const NODE_WEIGHT: usize = 64;

/// Reads the one document in `text`.
pub(super) fn read(text: &str) -> Result<Node, YamlError> {
    let mut loose = LooseText::new(text);
    let root = loop {
        match build(&loose) {
            Ok(root) => break root,
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Unreadable(error)) => {
                if !loose.push(&error) {
                    return Err(explain(&error, loose.mark(*error.marker()), text));
                }
            }
        }
    };
    match root {
        Some(Node { value: Value::Null, .. }) | None => {
            Err(YamlError::whole("the file is empty; there is nothing to read in it"))
        }
        Some(root) => Ok(root),
    }
}

/// Why there is no tree: by the library's word, or by ours.
enum Failure {
    Unreadable(ScanError),
    Refused(YamlError),
}

fn build(loose: &LooseText) -> Result<Option<Node>, Failure> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(loose.text());
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(Failure::Unreadable)?;
        builder.take(event, loose.mark(span.start)).map_err(Failure::Refused)?;
    }
    Ok(builder.root)
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    weight: usize,
}

/// A list or map whose end has not been seen.
struct Open {
    mark: Mark,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, merged: Vec<Node>, key: Option<Key> },
}

struct Key {
    text: String,
    mark: Mark,
    /// `<<`, which merges other maps into this one.
    merges: bool,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<(), YamlError> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                let what = "a second YAML document begins here; keep one document in the file";
                Err(YamlError::at(mark, what))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => self.alias(anchor, mark),
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = is_text(style, tag.as_deref(), mark)?;
                self.scalar(text.into_owned(), quoted, anchor, mark)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", mark)?;
                self.open(Inside::List(Vec::new()), anchor, mark)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", mark)?;
                let inside = Inside::Map { entries: Vec::new(), merged: Vec::new(), key: None };
                self.open(inside, anchor, mark)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn open(&mut self, inside: Inside, anchor: usize, mark: Mark) -> Result<(), YamlError> {
        self.refuse_as_key(mark)?;
        self.weigh(NODE_WEIGHT, mark)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(mark));
        }
        self.open.push(Open { mark, anchor, inside });
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(Open { mark, anchor, inside }) = self.open.pop() else {
            return Ok(());
        };
        let value = match inside {
            Inside::List(items) => Value::List(items),
            Inside::Map { entries, merged, key: _ } => Value::Map(merge(merged, entries)?),
        };
        self.complete(Node { mark, value }, anchor)
    }

    fn scalar(
        &mut self,
        text: String,
        quoted: bool,
        anchor: usize,
        mark: Mark,
    ) -> Result<(), YamlError> {
        self.weigh(NODE_WEIGHT + text.len(), mark)?;
        let resolved = Resolved::of(&text, quoted);
        if let Some(Open { inside: Inside::Map { entries, key: key @ None, .. }, .. }) =
            self.open.last_mut()
        {
            if resolved != Resolved::Text {
                let what = format!(
                    "the key {} is {}, and a key must be text; put it in quotes",
                    quote(&text),
                    resolved.kind()
                );
                return Err(YamlError::at(mark, what));
            }
            if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                return Err(duplicate(&text, first.mark, mark));
            }
            if entries.len() >= KEYS_MAX {
                let what = format!("the map has more than {KEYS_MAX} keys; make it smaller");
                return Err(YamlError::at(mark, what));
            }
            let merges = text == "<<" && !quoted;
            *key = Some(Key { text, mark, merges });
            return Ok(());
        }
        let value = match resolved {
            Resolved::Null => Value::Null,
            Resolved::Flag(_)
            | Resolved::Whole(_)
            | Resolved::Decimal(_)
            | Resolved::NotFinite
            | Resolved::Text => Value::Scalar { text, quoted },
        };
        self.complete(Node { mark, value }, anchor)
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(), YamlError> {
        self.refuse_as_key(mark)?;
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(YamlError::at(mark, "this alias stands inside of what it refers to"));
        };
        let (weight, height) = measure(&node);
        self.weigh(weight, mark)?;
        if self.open.len() + height > DEPTH_MAX {
            return Err(too_deep(mark));
        }
        self.complete(node, 0)
    }

    /// Puts a finished value where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        if anchor != 0 {
            self.weigh(measure(&node).0, node.mark)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { inside: Inside::List(items), .. }) => items.push(node),
            Some(Open { inside: Inside::Map { entries, merged, key }, .. }) => match key.take() {
                Some(Key { merges: true, .. }) => merged.push(node),
                Some(Key { text, mark, merges: false }) => {
                    entries.push(Entry { key: text, mark, value: node });
                }
                None => return Err(YamlError::at(node.mark, "a value without a key")),
            },
        }
        Ok(())
    }

    fn refuse_as_key(&self, mark: Mark) -> Result<(), YamlError> {
        if matches!(self.open.last(), Some(Open { inside: Inside::Map { key: None, .. }, .. })) {
            let what = "a key must be text, not a list, a map, or an alias";
            return Err(YamlError::at(mark, what));
        }
        Ok(())
    }

    fn weigh(&mut self, weight: usize, mark: Mark) -> Result<(), YamlError> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX {
            let what = "the file is too large once its aliases are expanded; make it shorter";
            return Err(YamlError::at(mark, what));
        }
        Ok(())
    }
}

/// The entries of `<<` first, as Ray's reader has them; keys of the map itself win over them.
fn merge(merged: Vec<Node>, own: Vec<Entry>) -> Result<Vec<Entry>, YamlError> {
    let mut entries: Vec<Entry> = Vec::new();
    for node in merged {
        let mark = node.mark;
        let maps = match node.value {
            Value::List(items) => items,
            value @ (Value::Null | Value::Scalar { .. } | Value::Map(_)) => {
                vec![Node { mark, value }]
            }
        };
        for map in maps {
            let Value::Map(others) = map.value else {
                let what = "`<<` takes a map or a list of maps, such as `<<: *name`";
                return Err(YamlError::at(map.mark, what));
            };
            for other in others {
                if !entries.iter().any(|entry| entry.key == other.key) {
                    entries.push(other);
                }
                if entries.len() > KEYS_MAX {
                    let what = format!("`<<` merges more than {KEYS_MAX} keys; make it smaller");
                    return Err(YamlError::at(mark, what));
                }
            }
        }
    }
    for entry in own {
        match entries.iter_mut().find(|other| other.key == entry.key) {
            Some(other) => *other = entry,
            None => entries.push(entry),
        }
    }
    Ok(entries)
}

/// The weight and the height of a tree; recursion is bounded by [`DEPTH_MAX`].
fn measure(node: &Node) -> (usize, usize) {
    let children: Vec<(usize, &Node)> = match &node.value {
        Value::Null => return (NODE_WEIGHT, 0),
        Value::Scalar { text, .. } => return (NODE_WEIGHT + text.len(), 0),
        Value::List(items) => items.iter().map(|item| (0, item)).collect(),
        Value::Map(entries) => {
            entries.iter().map(|entry| (entry.key.len() + NODE_WEIGHT, &entry.value)).collect()
        }
    };
    children.into_iter().fold((NODE_WEIGHT, 1), |(weight, height), (key_weight, child)| {
        let (child_weight, child_height) = measure(child);
        (weight + key_weight + child_weight, height.max(child_height + 1))
    })
}

/// Whether a scalar is text by its style or tag, so that `"true"` is not a flag.
fn is_text(style: ScalarStyle, tag: Option<&Tag>, mark: Mark) -> Result<bool, YamlError> {
    let Some(tag) = tag else {
        return Ok(match style {
            ScalarStyle::Plain => false,
            ScalarStyle::SingleQuoted
            | ScalarStyle::DoubleQuoted
            | ScalarStyle::Literal
            | ScalarStyle::Folded => true,
        });
    };
    match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
        (true, "str") => Ok(true),
        (true, "int" | "float" | "bool" | "null") => Ok(false),
        _ => Err(unknown_tag(tag, mark)),
    }
}

fn refuse_tag(tag: Option<&Tag>, allowed: &str, mark: Mark) -> Result<(), YamlError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == allowed) => {
            Err(unknown_tag(tag, mark))
        }
        Some(_) | None => Ok(()),
    }
}

fn unknown_tag(tag: &Tag, mark: Mark) -> YamlError {
    let what = format!("the tag {} is not known; write the value without it", quote(&tag.suffix));
    YamlError::at(mark, what)
}

fn duplicate(key: &str, first: Mark, second: Mark) -> YamlError {
    let what = format!(
        "the key {} stands on line {} and again on line {}; keep one of them",
        quote(key),
        first.line,
        second.line
    );
    YamlError::at(second, what)
}

fn too_deep(mark: Mark) -> YamlError {
    YamlError::at(mark, format!("nesting is deeper than {DEPTH_MAX} levels; make it flatter"))
}

/// The library's words for a tab depend on where it stands; a user needs one sentence.
fn explain(error: &ScanError, mark: Mark, text: &str) -> YamlError {
    if let Some(line) = indented_by_tab(text, mark.line) {
        let what = "a tab is used for indentation, which YAML does not allow; use spaces";
        return YamlError::at(Mark { line, column: 1 }, what);
    }
    match error.info() {
        "recursion limit exceeded" => too_deep(mark),
        info => YamlError::at(mark, format!("this is not valid YAML: {info}")),
    }
}

/// The line of the error if it begins with a tab, or a line beside it, where the cause may be.
fn indented_by_tab(text: &str, line: usize) -> Option<usize> {
    let begins_with_tab = |line: usize| {
        let text = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
        text.chars().take_while(|character| character.is_whitespace()).any(|blank| blank == '\t')
    };
    [line, line.saturating_add(1), line.saturating_sub(1)]
        .into_iter()
        .find(|line| *line > 0 && begins_with_tab(*line))
}
