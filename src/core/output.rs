//! What to do.

use std::fmt;

use super::{
    ids::{CallId, RequestId},
    record::Record,
    survey::{SurveyError, SurveyReport},
};
use crate::{
    units::{Span, Timestamp},
    yagna::{Request, request::Endpoint},
};

/// Everything the machine causes, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Append and sync before executing any later output.
    Persist(Vec<Record>),
    /// The one answer to a request.
    Answer {
        /// Which request.
        id: RequestId,
        /// What to tell.
        answer: Answer,
    },
    /// One request to the daemon; exactly one `Replied` comes back, or the process dies.
    Call {
        /// Names the reply.
        call: CallId,
        /// What to ask.
        request: Request,
        /// How long to wait before the outcome counts as unknown.
        patience: Span,
    },
    /// Nobody waits for this call's reply any more; stopping it is best effort.
    Abandon {
        /// Which call.
        call: CallId,
    },
    /// Something that the user should know.
    Notify(Notice),
}

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To `Survey`.
    Surveyed(Result<Box<SurveyReport>, SurveyError>),
    /// To `EndSurvey`: whether a survey was running.
    Ending(bool),
}

/// Something that the user should know; it asks for no reaction of the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The wallet cannot back an allocation; the survey goes on with the bare address.
    Unfunded {
        /// What the daemon said.
        why: String,
    },
    /// Calls to an endpoint of the daemon keep failing; they are tried again.
    Struggling {
        /// Which endpoint.
        endpoint: Endpoint,
        /// The latest failure.
        why: String,
        /// When it is tried again.
        again_at: Timestamp,
    },
    /// The daemon lost our demand (it restarted, or the demand was too old); it is published anew.
    DemandLost,
    /// Something could not be undone in time; it ends by itself.
    LeftBehind {
        /// What it is.
        what: String,
        /// When it ends by itself.
        until: Timestamp,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfunded { why } => {
                write!(f, "no allocation ({why}); the survey goes on without one")
            }
            Self::Struggling { endpoint, why, .. } => {
                write!(f, "the daemon fails at {}, trying again ({why})", endpoint.name())
            }
            Self::DemandLost => f.write_str("the daemon lost our demand, publishing it again"),
            Self::LeftBehind { what, .. } => {
                write!(f, "could not undo {what}; the daemon ends it by itself")
            }
        }
    }
}
