//! What happened.

use super::{
    ids::{CallId, RequestId},
    survey::SurveyPlan,
};
use crate::yagna::{CallError, Response};

/// Everything the machine reacts to.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Somebody asks for something; exactly one answer follows.
    Requested {
        /// Names the answer.
        id: RequestId,
        /// What is asked.
        command: Command,
    },
    /// A call ended, or the shell's patience with it.
    Replied {
        /// Which call.
        call: CallId,
        /// How it ended.
        result: Result<Response, CallError>,
    },
    /// Time passed; sent when the next deadline is due. A spurious one is harmless.
    Elapsed,
}

/// What can be asked of the machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Learn what the market offers; answered when the survey is over and cleaned up.
    Survey(Box<SurveyPlan>),
    /// End the running survey now, with the report so far.
    EndSurvey,
}
