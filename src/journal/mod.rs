//! The journal: facts as lines of text, and the state that they fold to. No files here.
//!
//! A line is one batch of records, or a snapshot that stands for all lines before it:
//!
//! ```text
//! {"sum":"90f1c8d2","line":{"version":1,"seq":0,"at":1767225600000000,"records":[…]}}
//! ```
//!
//! `sum` is the CRC-32 of the text of `line`. A last line that is torn was never acted upon, because
//! effects wait for it; it is dropped. Any other damage is refused: going on without a fact could
//! leak a machine.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{
    core::{Durable, JournalId, Record, Snapshot},
    units::Timestamp,
};

/// The version that is written. Readers know every version up to it.
pub const VERSION: u32 = 1;
/// A journal is written anew, as one snapshot, when it has so many lines after the last one.
const COMPACT_AFTER: u64 = 2_000;

/// Writes the lines of one journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    next: u64,
}

/// What reading a journal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Continues the journal.
    pub writer: Writer,
    /// How many bytes of it are sound; what follows must be cut off.
    pub sound: usize,
    /// Lines since the last snapshot.
    pub lines: u64,
    /// What was dropped from the end, in words.
    pub torn: Option<String>,
}

/// Why a journal cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "line {line} of the journal {what}; restore it from a backup, or move the file away and end \
     what it was about by hand"
)]
pub struct Damage {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

#[derive(Serialize)]
struct Sealed<'a> {
    sum: String,
    line: &'a RawValue,
}

#[derive(Deserialize)]
struct Opened<'a> {
    sum: &'a str,
    #[serde(borrow)]
    line: &'a RawValue,
}

#[derive(Serialize)]
struct LineOut<'a> {
    version: u32,
    seq: u64,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<&'a [Record]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<&'a Snapshot>,
}

#[derive(Deserialize)]
struct LineIn {
    version: u32,
    seq: u64,
    #[serde(default)]
    records: Vec<Record>,
    snapshot: Option<Snapshot>,
}

impl Writer {
    /// A writer of a journal that is empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: 0 }
    }

    /// The line for a batch of records, with its end.
    pub fn batch(&mut self, at: Timestamp, records: &[Record]) -> Vec<u8> {
        self.line(at, Some(records), None)
    }

    /// The line for a snapshot, with its end: a journal may begin with it.
    pub fn snapshot(&mut self, at: Timestamp, snapshot: &Snapshot) -> Vec<u8> {
        self.line(at, None, Some(snapshot))
    }

    fn line(
        &mut self,
        at: Timestamp,
        records: Option<&[Record]>,
        snapshot: Option<&Snapshot>,
    ) -> Vec<u8> {
        let line = LineOut { version: VERSION, seq: self.next, at, records, snapshot };
        self.next = self.next.saturating_add(1);
        let line = serde_json::value::to_raw_value(&line)
            .expect("records have text keys and write without failing");
        let sum = format!("{:08x}", crc32fast::hash(line.get().as_bytes()));
        let mut bytes = serde_json::to_vec(&Sealed { sum, line: &line })
            .expect("a line of JSON in a line of JSON is JSON");
        bytes.push(b'\n');
        bytes
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads a journal into the state; bytes of any shape are safe to pass.
///
/// # Errors
///
/// Says which line is damaged, and how. The state is then of no use.
pub fn read(journal: JournalId, bytes: &[u8], into: &mut Durable) -> Result<Found, Damage> {
    let mut found = Found { writer: Writer::new(), sound: 0, lines: 0, torn: None };
    let mut number = 0;
    while found.sound < bytes.len() {
        number += 1;
        let rest = &bytes[found.sound..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let text = end.map_or(rest, |end| &rest[..end]);
        let is_last = end.is_none_or(|end| end + 1 == rest.len());
        match check(journal, text, found.writer.next) {
            Ok(line) if end.is_some() => {
                found.writer.next = found.writer.next.max(line.seq).saturating_add(1);
                found.lines += 1;
                if let Some(snapshot) = line.snapshot {
                    into.restore(snapshot);
                    found.lines = 0;
                }
                for record in &line.records {
                    into.apply(record);
                }
                found.sound += text.len() + 1;
            }
            // Whole but for its end: nobody can have acted upon it.
            Ok(_) => {
                found.torn = Some("the end of its last line is missing".to_owned());
                break;
            }
            Err(Flaw::Torn(what)) if is_last => {
                found.torn = Some(what);
                break;
            }
            Err(Flaw::Torn(what) | Flaw::Wrong(what)) => {
                return Err(Damage { line: number, what });
            }
        }
    }
    Ok(found)
}

/// Whether a journal with so many lines after its last snapshot should be written anew.
#[must_use]
pub const fn is_long(lines: u64) -> bool {
    lines >= COMPACT_AFTER
}

enum Flaw {
    /// As if it had not been written to its end.
    Torn(String),
    /// Written to its end, and wrong.
    Wrong(String),
}

fn check(journal: JournalId, text: &[u8], next: u64) -> Result<LineIn, Flaw> {
    let opened: Opened<'_> = serde_json::from_slice(text)
        .map_err(|error| Flaw::Torn(format!("is not a line of a journal ({error})")))?;
    let sum = format!("{:08x}", crc32fast::hash(opened.line.get().as_bytes()));
    if sum != opened.sum {
        return Err(Flaw::Torn("does not have the checksum that it says".to_owned()));
    }
    let line: LineIn = match serde_json::from_str(opened.line.get()) {
        Ok(line) => line,
        Err(error) => return Err(Flaw::Wrong(not_understood(opened.line.get(), &error))),
    };
    if line.version == 0 || line.version > VERSION {
        return Err(Flaw::Wrong(unknown_version(line.version)));
    }
    // A journal that was written anew begins with a snapshot, which may have any number.
    if line.seq != next && !(next == 0 && line.snapshot.is_some()) {
        return Err(Flaw::Wrong(format!("has the number {}, after {next} lines", line.seq)));
    }
    let is_ours = line.records.iter().all(|record| record.journal() == journal)
        && line.snapshot.as_ref().is_none_or(|snapshot| snapshot.journal() == journal);
    if !is_ours {
        return Err(Flaw::Wrong("belongs to another journal".to_owned()));
    }
    Ok(line)
}

/// A line that a later program wrote is not damaged, only too young.
fn not_understood(line: &str, error: &serde_json::Error) -> String {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    match serde_json::from_str::<Version>(line) {
        Ok(Version { version }) if version > VERSION => unknown_version(version),
        Ok(_) | Err(_) => format!("cannot be understood ({error})"),
    }
}

fn unknown_version(version: u32) -> String {
    format!("is of version {version}, and this program knows versions up to {VERSION}")
}
