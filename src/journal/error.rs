//! What can be wrong with a journal, and what to do about it.

use std::fmt;

use thiserror::Error;

use super::FORMAT;
use crate::core::record::JournalId;

/// Why a journal is not read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line} of {} {fault}; {}", named(*journal), fault.advice())]
pub struct JournalError {
    /// Which journal.
    pub journal: JournalId,
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It is not as it was written, and no crash explains it.
    #[error("is damaged")]
    Damaged,
    /// Lines are missing, or there twice.
    #[error("has the number {found} where {expected} is due")]
    Gap {
        /// The number after the one before.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// It belongs somewhere else.
    #[error("belongs to {}", named(*found))]
    Foreign {
        /// Where it belongs.
        found: JournalId,
    },
    /// The cluster's first record is missing.
    #[error("speaks of a cluster that was never opened")]
    NoBeginning,
    /// A format that is not known.
    #[error("has the format {found}, and only formats up to {FORMAT} are known")]
    Format {
        /// The format that it names.
        found: u32,
    },
    /// It is what was written, and still not understood.
    #[error("is not understood ({why})")]
    Unreadable {
        /// What is wrong.
        why: String,
    },
}

/// A last line that a crash has torn: what it said was never acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Of which journal.
    pub journal: JournalId,
    /// Which line, from 1.
    pub line: usize,
    /// How many bytes of it there are.
    pub len: usize,
}

/// How people are told of a journal.
#[must_use]
pub fn named(journal: JournalId) -> String {
    match journal {
        JournalId::Common => "the common journal".to_owned(),
        JournalId::Cluster(id) => format!("the journal of cluster {}", id.0),
    }
}

impl Fault {
    const fn advice(&self) -> &'static str {
        match self {
            Self::Damaged | Self::Gap { .. } | Self::Foreign { .. } | Self::NoBeginning => {
                "put back a good copy of it, or move the `journal` directory away and end at the \
                 daemon by hand what is left there"
            }
            Self::Format { .. } | Self::Unreadable { .. } => {
                "start the version of `ray-on-golem` that wrote it, or a later one"
            }
        }
    }
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { journal, line, len } = self;
        let journal = named(*journal);
        write!(
            f,
            "line {line}, the last of {journal}, was torn by a crash; its {len} bytes are dropped"
        )
    }
}
