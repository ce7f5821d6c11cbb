//! Reads typed values out of the tree and says what is wrong with them, by key and line.
//!
//! ```
//! use ray_on_golem::config::yaml::{self, Section};
//!
//! let root = yaml::parse(b"nodes: 3\n")?;
//! let section = Section::new(&root, "")?;
//! section.deny_unknown(&["nodes", "seed"])?;
//! let nodes: u32 = section.required("nodes")?.whole(1..=100)?;
//! let seed: Option<u64> = section.read("seed", |seed| seed.whole(0..=u64::MAX))?;
//!
//! assert_eq!((nodes, seed), (3, None));
//! # Ok::<(), yaml::YamlError>(())
//! ```

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::scalar::Resolved;
use super::{Entry, Mark, Node, Value, YamlError, quote};
use crate::units::money::parse_scaled;
use crate::units::{Glm, ParseGlmError, Rounding};

/// A map of the file, to be read key by key.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    place: Place,
    entries: &'a [Entry],
}

/// A value of the file, to be read as one type or another.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    place: Place,
    node: &'a Node,
}

/// Where something stands: the path of its key, such as `provider.parameters`, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path of the key; empty for the whole file.
    pub path: String,
    /// Where the key begins, or the value if it stands in a list.
    pub mark: Mark,
}

impl<'a> Section<'a> {
    /// The map `node`, whose keys are named with `path` in front.
    ///
    /// # Errors
    ///
    /// If the node is not a map.
    pub fn new(node: &'a Node, path: &str) -> Result<Self, YamlError> {
        Field { place: Place { path: path.to_owned(), mark: node.mark }, node }.section()
    }

    /// Where the section stands.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// If the key is missing or has no value.
    pub fn required(&self, key: &str) -> Result<Field<'a>, YamlError> {
        if let Some(field) = self.optional(key) {
            return Ok(field);
        }
        Err(match self.get(key) {
            Some(field) => field.error("has no value; write one"),
            None => self.place.join(key).error("is missing; add it"),
        })
    }

    /// The value of `key`, if it is there and not null.
    #[must_use]
    pub fn optional(&self, key: &str) -> Option<Field<'a>> {
        self.get(key).filter(|field| !field.is_null())
    }

    /// The value of `key`, if it is there; it may be null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Field<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.field(entry))
    }

    /// What `read` makes of the value of `key`, if it is there and not null.
    ///
    /// # Errors
    ///
    /// As `read`.
    pub fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Field<'a>) -> Result<T, YamlError>,
    ) -> Result<Option<T>, YamlError> {
        self.optional(key).map(|field| read(&field)).transpose()
    }

    /// All keys and their values, in the order of the file.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> + '_ {
        self.entries.iter().map(|entry| (entry.key.as_str(), self.field(entry)))
    }

    /// Refuses the first key that is none of `known`, and says which one was meant.
    ///
    /// # Errors
    ///
    /// If there is such a key.
    pub fn deny_unknown(&self, known: &[&str]) -> Result<(), YamlError> {
        let Some(entry) = self.entries.iter().find(|entry| !known.contains(&entry.key.as_str()))
        else {
            return Ok(());
        };
        let hint = hint(&entry.key, known);
        Err(self.field(entry).place.error(format!("unknown key; {hint}")))
    }

    /// The whole section as JSON, for what is passed on without being understood.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        self.entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
    }

    fn field(&self, entry: &'a Entry) -> Field<'a> {
        let place = Place { mark: entry.mark, ..self.place.join(&entry.key) };
        Field { place, node: &entry.value }
    }
}

impl<'a> Field<'a> {
    /// Where the value stands.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The value as it is.
    #[must_use]
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    /// The error that this value is wrong: `what` says how, and what to write.
    #[must_use]
    pub fn error(&self, what: impl Into<String>) -> YamlError {
        self.place.error(what)
    }

    /// Text; a number is text too, as it is written.
    ///
    /// # Errors
    ///
    /// If it is not, or if it is empty.
    pub fn text(&self) -> Result<&'a str, YamlError> {
        match self.resolved() {
            Some((text, Resolved::Text)) if text.trim().is_empty() => {
                Err(self.error("is empty; write some text"))
            }
            Some((text, Resolved::Text | Resolved::Whole(_) | Resolved::Decimal(_))) => Ok(text),
            Some((text, Resolved::Flag(_) | Resolved::NotFinite | Resolved::Null)) => {
                let shown = quote(text);
                Err(self.error(format!("{shown} is not text; put it in quotes if it is meant so")))
            }
            None => Err(self.wrong_type("text")),
        }
    }

    /// Text as it is written between quotes, be it empty, and otherwise as [`Self::text`] has it.
    ///
    /// # Errors
    ///
    /// If it is no text.
    pub fn verbatim(&self) -> Result<&'a str, YamlError> {
        match &self.node.value {
            Value::Scalar { text, quoted: true } => Ok(text),
            Value::Scalar { .. } | Value::Null | Value::List(_) | Value::Map(_) => self.text(),
        }
    }

    /// A flag: `true` or `false`, or one of their other names.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub fn flag(&self) -> Result<bool, YamlError> {
        match self.resolved() {
            Some((_, Resolved::Flag(flag))) => Ok(flag),
            _ => Err(self.wrong_type("`true` or `false`")),
        }
    }

    /// A whole number within `range`.
    ///
    /// # Errors
    ///
    /// If it is not one.
    pub fn whole<T>(&self, range: RangeInclusive<T>) -> Result<T, YamlError>
    where
        T: Copy + Display + PartialOrd + TryFrom<i128>,
    {
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        let whole = match self.resolved() {
            Some((_, Resolved::Whole(whole))) => whole,
            Some((text, Resolved::Text)) => {
                text.parse().map_err(|_| self.wrong_type(&expected()))?
            }
            _ => return Err(self.wrong_type(&expected())),
        };
        match T::try_from(whole) {
            Ok(value) if range.contains(&value) => Ok(value),
            Ok(_) | Err(_) => Err(self.wrong_type(&expected())),
        }
    }

    /// An amount of GLM, of any size.
    ///
    /// # Errors
    ///
    /// If it is not a number, or below zero.
    pub fn decimal(&self, rounding: Rounding) -> Result<Glm, YamlError> {
        let text = self.decimal_text()?;
        Glm::parse(&text, rounding).map_err(|error| self.not_a_quantity(error))
    }

    /// A number that is not below zero, counted in units of 10^-`decimals`.
    ///
    /// # Errors
    ///
    /// If it is not such a number.
    pub fn scaled(&self, decimals: usize, rounding: Rounding) -> Result<u128, YamlError> {
        let text = self.decimal_text()?;
        parse_scaled(&text, decimals, rounding).map_err(|error| self.not_a_quantity(error))
    }

    /// The values of a list.
    ///
    /// # Errors
    ///
    /// If it is not a list.
    pub fn list(&self) -> Result<Vec<Self>, YamlError> {
        let Value::List(items) = &self.node.value else {
            return Err(self.wrong_type("a list, such as `[a, b]`"));
        };
        let item = |(position, node): (usize, &'a Node)| {
            let path = format!("{}[{position}]", self.place.path);
            Self { place: Place { path, mark: node.mark }, node }
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// A map; nothing counts as an empty one.
    ///
    /// # Errors
    ///
    /// If it is not a map.
    pub fn section(&self) -> Result<Section<'a>, YamlError> {
        let place = self.place.clone();
        match &self.node.value {
            Value::Map(entries) => Ok(Section { place, entries }),
            Value::Null => Ok(Section { place, entries: &[] }),
            Value::Scalar { .. } | Value::List(_) => {
                Err(self.wrong_type("a map, such as `{key: value}`"))
            }
        }
    }

    /// One of a few words.
    ///
    /// # Errors
    ///
    /// If it is none of `words`; says which one was meant.
    pub fn one_of(&self, words: &[&str]) -> Result<&'a str, YamlError> {
        let text = self.text()?;
        if words.contains(&text) {
            return Ok(text);
        }
        Err(self.unknown_word(words))
    }

    /// The error that this text is none of `words`; says which one was meant, and lists them.
    #[must_use]
    pub fn unknown_word(&self, words: &[&str]) -> YamlError {
        let meant = match &self.node.value {
            Value::Scalar { text, .. } => nearest(text, words),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        let meant = meant.map_or_else(String::new, |word| format!("did you mean `{word}`? "));
        self.error(format!("{} is not known; {meant}{}", self.shown(), list_known(words)))
    }

    fn resolved(&self) -> Option<(&'a str, Resolved)> {
        match &self.node.value {
            Value::Scalar { text, quoted } => Some((text, Resolved::of(text, *quoted))),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Underscores between digits are allowed by YAML 1.1, and unknown to the readers of decimals.
    fn decimal_text(&self) -> Result<String, YamlError> {
        match self.resolved() {
            Some((_, Resolved::Whole(whole))) => Ok(whole.to_string()),
            Some((_, Resolved::Decimal(decimal))) => Ok(decimal),
            Some((text, Resolved::Text)) => Ok(text.to_owned()),
            Some((_, Resolved::NotFinite | Resolved::Flag(_) | Resolved::Null)) | None => {
                Err(self.wrong_type("a number, such as `0.5`"))
            }
        }
    }

    fn not_a_quantity(&self, error: ParseGlmError) -> YamlError {
        match error {
            ParseGlmError::NotANumber => self.wrong_type("a number, such as `0.5`"),
            ParseGlmError::Negative => {
                self.error(format!("{} is below zero; write 0 or more", self.shown()))
            }
            ParseGlmError::TooLarge => {
                self.error(format!("{} is far too large; write a smaller number", self.shown()))
            }
            ParseGlmError::TooPrecise => {
                self.error(format!("{} has too many decimals; write fewer", self.shown()))
            }
        }
    }

    fn wrong_type(&self, expected: &str) -> YamlError {
        self.error(format!("{} does not fit here; write {expected}", self.shown()))
    }

    /// The value for a sentence: a scalar as it is written, anything else by its kind.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.node.value {
            Value::Scalar { text, .. } => quote(text),
            Value::Null | Value::List(_) | Value::Map(_) => self.node.kind().to_owned(),
        }
    }
}

impl Place {
    /// The error that what stands here is wrong.
    #[must_use]
    pub fn error(&self, what: impl Into<String>) -> YamlError {
        YamlError { mark: Some(self.mark), key: self.path.clone(), what: what.into() }
    }

    /// The place of `key` inside of this one; at the same line until the key is found.
    #[must_use]
    pub fn join(&self, key: &str) -> Self {
        let key = quote(key).trim_matches('`').to_owned();
        let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
        Self { path, mark: self.mark }
    }
}

/// `did you mean …`, or everything that is known if nothing is near.
fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => list_known(known),
    }
}

fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    const COMPARED_MAX: usize = 64;
    if word.len() > COMPARED_MAX {
        return None;
    }
    // A key that was cut short or drawn out, such as `duration` for `duration_hours`.
    let is_part = |candidate: &str| candidate.starts_with(word) || word.starts_with(candidate);
    let part = known.iter().find(|candidate| word.len() >= 4 && is_part(candidate));
    if let Some(candidate) = part {
        return Some(*candidate);
    }
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    let (distance, candidate) =
        known.iter().map(|candidate| (distance(candidate), *candidate)).min()?;
    let is_near = distance <= (candidate.len() / 3).clamp(1, 4) && distance < word.len();
    is_near.then_some(candidate)
}

fn list_known(known: &[&str]) -> String {
    if let [only] = known {
        return format!("write `{only}`");
    }
    let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
    format!("known here: {}", known.join(", "))
}
