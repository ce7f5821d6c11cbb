//! The journal as text: what a line says, and what a file of lines folds to.
//!
//! A journal is NDJSON. Each line is one batch of records that became durable together, or the fold
//! of all lines before it:
//!
//! ```text
//! {"crc32":"7f3a90c1","format":1,"seq":12,"at":1700000000000000,"records":[…]}
//! {"crc32":"05bb27de","format":1,"seq":13,"at":1700000000000000,"snapshot":{…}}
//! ```
//!
//! The checksum is over everything between it and the end of the line. Sequence numbers have no
//! gaps; they begin with 0, or with the snapshot that replaced what was before. A crash can tear
//! nothing but the last line, so a bad last line is dropped and told (R3), and everything else that is
//! wrong is refused. What was written in an older format is still read (R5).
//!
//! Files are the shell's: see `driver::journal`.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod error;
mod line;

pub use error::{Fault, JournalError, TornTail, named};

use crate::{
    core::record::{Durable, JournalId, Record, Snapshot},
    units::Timestamp,
};
use line::Content;

/// The format of lines that are written.
///
/// 2 knows which provider to take (`choice` of a node's specification) and several agreements for one
/// node that are signed at once (`hedges`). 3 knows who is still to leave the private network (`left`,
/// `leaving`). 4 knows who carries the frames of the private network (`path`, `network_path`, `settled`). 5 knows what a
/// head may ask for (`law`, `law-set`). What an older one leaves out means what it meant then.
pub const FORMAT: u32 = 5;

/// A journal gets shorter after so many lines. A node gives some ten lines to come and go, and some
/// two per bill: this many take a cluster of a thousand nodes some minutes, and a fraction of a
/// second to be read again.
const LINES_BEFORE_SNAPSHOT: u64 = 10_000;
/// Or after so many bytes: lines are as long as what a head sticks on its nodes.
const BYTES_BEFORE_SNAPSHOT: u64 = 8 << 20;

/// Gives the lines of one journal their sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    next_seq: u64,
}

/// What a journal has grown by since its beginning, or since the last snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Lines.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What was found in a journal beside its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The sequence number of the next line.
    pub next_seq: u64,
    /// The bytes that are good; what is behind them is to be cut off.
    pub valid_len: usize,
    /// What it has grown by.
    pub growth: Growth,
    /// When the latest line was written.
    pub written: Timestamp,
    /// A last line that a crash has torn.
    pub torn: Option<TornTail>,
}

/// What one line of a journal says.
#[derive(Clone, Copy, Debug)]
pub enum Said<'a> {
    /// What became durable together.
    Records(&'a [Record]),
    /// What all lines before it fold to.
    Snapshot(&'a Snapshot),
}

impl Growth {
    /// A line of so many bytes was written.
    pub const fn add(&mut self, bytes: u64) {
        self.lines = self.lines.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether the journal is to be replaced by the snapshot that it folds to.
    #[must_use]
    pub const fn is_due(self) -> bool {
        self.lines >= LINES_BEFORE_SNAPSHOT || self.bytes >= BYTES_BEFORE_SNAPSHOT
    }
}

/// Folds one journal into `into`; the bytes may be of any shape.
///
/// # Errors
///
/// If anything but the last line is wrong: a journal that is not understood as a whole must not be
/// acted upon. What `into` holds then is of no use.
pub fn read(journal: JournalId, bytes: &[u8], into: &mut Durable) -> Result<Reading, JournalError> {
    read_each(journal, bytes, into, &mut |_, _, _| {})
}

/// As [`read`]; `hear` is told what each line says, by its number and with the instant at which it was written.
///
/// # Errors
///
/// As [`read`].
pub fn read_each(
    journal: JournalId,
    bytes: &[u8],
    into: &mut Durable,
    hear: &mut dyn FnMut(u64, Timestamp, Said<'_>),
) -> Result<Reading, JournalError> {
    let mut reading = Reading {
        next_seq: 0,
        valid_len: 0,
        growth: Growth::default(),
        written: Timestamp::EPOCH,
        torn: None,
    };
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').zip(1..).peekable();
    while let Some((text, line)) = lines.next() {
        let refuse = |fault| JournalError { journal, line, fault };
        let Some(body) = line::checked(text) else {
            if lines.peek().is_some() || (line == 1 && !line::may_be_first(text)) {
                return Err(refuse(Fault::Damaged));
            }
            reading.torn = Some(TornTail { journal, line, len: text.len() });
            break;
        };
        let (seq, at, content) = line::read(text, body).map_err(refuse)?;
        let is_first_snapshot = line == 1 && matches!(content, Content::Snapshot(_));
        if seq != reading.next_seq && !is_first_snapshot {
            return Err(refuse(Fault::Gap { expected: reading.next_seq, found: seq }));
        }
        match content {
            Content::Records(records) => {
                fold(journal, &records, into).map_err(refuse)?;
                hear(seq, at, Said::Records(&records));
                reading.growth.add(text.len() as u64);
            }
            Content::Snapshot(snapshot) => {
                belongs(journal, journal_of(&snapshot)).map_err(refuse)?;
                hear(seq, at, Said::Snapshot(&snapshot));
                into.restore(*snapshot);
                reading.growth = Growth::default();
            }
        }
        reading.written = reading.written.max(at);
        reading.next_seq = seq.saturating_add(1);
        reading.valid_len = reading.valid_len.saturating_add(text.len());
    }
    Ok(reading)
}

/// The journal that a snapshot is of.
#[must_use]
pub const fn journal_of(snapshot: &Snapshot) -> JournalId {
    match snapshot {
        Snapshot::Common(_) => JournalId::Common,
        Snapshot::Cluster(id, _) => JournalId::Cluster(*id),
    }
}

impl Writer {
    /// Goes on with this sequence number; a new journal begins with 0.
    #[must_use]
    pub const fn new(next_seq: u64) -> Self {
        Self { next_seq }
    }

    /// The number of the next line.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The line for records that become durable together.
    #[must_use]
    pub fn batch(&mut self, at: Timestamp, records: &[Record]) -> Vec<u8> {
        line::write(self.take_seq(), at, "records", &records)
    }

    /// The line that stands for all lines before it.
    #[must_use]
    pub fn snapshot(&mut self, at: Timestamp, snapshot: &Snapshot) -> Vec<u8> {
        line::write(self.take_seq(), at, "snapshot", snapshot)
    }

    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq = seq.saturating_add(1);
        seq
    }
}

fn fold(journal: JournalId, records: &[Record], into: &mut Durable) -> Result<(), Fault> {
    for record in records {
        belongs(journal, record.journal())?;
        into.apply(record);
        // Facts of a cluster that was never opened would be lost without a word.
        if let JournalId::Cluster(id) = journal
            && into.cluster(id).is_none()
        {
            return Err(Fault::NoBeginning);
        }
    }
    Ok(())
}

fn belongs(journal: JournalId, found: JournalId) -> Result<(), Fault> {
    if found == journal { Ok(()) } else { Err(Fault::Foreign { found }) }
}
