//! How a call can fail: three classes, because they ask for three different reactions.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::words;

/// An HTTP status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Status(pub u16);

impl Status {
    /// What was asked for is as it was.
    pub const NOT_MODIFIED: Self = Self(304);
    /// The daemon cannot read the request, or an id in it.
    pub const BAD_REQUEST: Self = Self(400);
    /// No app-key, or one that the daemon does not know.
    pub const UNAUTHORIZED: Self = Self(401);
    /// No such thing.
    pub const NOT_FOUND: Self = Self(404);
    /// It did not happen in time; ask again.
    pub const TIMEOUT: Self = Self(408);
    /// It was there once.
    pub const GONE: Self = Self(410);
    /// The daemon did it, but the provider has not said that it knows.
    pub const GATEWAY_TIMEOUT: Self = Self(504);
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallError {
    /// The daemon answered with a documented refusal: it did not happen, or it is over.
    Rejected {
        /// The status, 400 to 499.
        status: Status,
        /// The body as the daemon wrote it; 4 KiB at most.
        body: String,
    },
    /// Certainly not executed: no connection, or the request was not written.
    NotSent {
        /// What stood in the way.
        why: String,
    },
    /// May have been executed.
    Unknown(Doubt),
}

/// What makes the outcome of a call unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// No answer within our patience.
    TimedOut,
    /// The connection ended after the request was written.
    Closed {
        /// What was seen.
        why: String,
    },
    /// The daemon failed while it worked on it.
    Failed {
        /// The status, 500 to 599, or one that nobody expects.
        status: Status,
        /// The body as the daemon wrote it; 4 KiB at most.
        body: String,
    },
    /// The daemon said that it was done, in words that cannot be read.
    Garbled {
        /// What could not be read.
        why: String,
    },
}

impl CallError {
    /// Whether the daemon refused with this status.
    #[must_use]
    pub fn is_refusal(&self, wanted: Status) -> bool {
        match self {
            Self::Rejected { status, .. } => *status == wanted,
            Self::NotSent { .. } | Self::Unknown(_) => false,
        }
    }

    /// Whether the daemon says that what was asked for by its id is not there, or that the id is none.
    #[must_use]
    pub fn is_unknown_id(&self) -> bool {
        let statuses = [Status::BAD_REQUEST, Status::NOT_FOUND, Status::GONE];
        statuses.into_iter().any(|status| self.is_refusal(status))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { status, body } => write!(f, "{status}: {}", words::reason(body)),
            Self::NotSent { why } => write!(f, "Request not sent: {why}"),
            Self::Unknown(Doubt::TimedOut) => f.write_str("Request timed out"),
            Self::Unknown(Doubt::Closed { why }) => write!(f, "Connection closed: {why}"),
            Self::Unknown(Doubt::Failed { status, body }) => {
                write!(f, "{status}: {}", words::reason(body))
            }
            Self::Unknown(Doubt::Garbled { why }) => write!(f, "Answer not understood: {why}"),
        }
    }
}

impl CallError {
    /// What stood in the way, for a sentence: of a document that the daemon answered with, what it says to
    /// people.
    #[must_use]
    pub fn said(&self) -> String {
        let (Self::Rejected { status, body } | Self::Unknown(Doubt::Failed { status, body })) =
            self
        else {
            return self.to_string();
        };
        let document: Option<Value> = serde_json::from_str(body).ok();
        let said = |key| document.as_ref()?.get(key)?.as_str().map(words::reason);
        match said("message").or_else(|| said("detail")) {
            Some(said) => format!("{status}: {said}"),
            None => self.to_string(),
        }
    }
}

impl std::error::Error for CallError {}
