//! Exit codes: part of the interface, documented here and in the README.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Success,
    /// It failed in a way that nobody foresaw.
    Failure,
    /// What was typed, or what a file says, is wrong.
    Usage,
    /// Something that it needs is not there, does not answer, or is another user's: the daemon, the registry, a sibling
    /// program, the webserver's port.
    Environment,
    /// It was interrupted twice.
    Interrupted,
}

impl Exit {
    /// Every exit code but that of a bug, which is 101.
    pub const ALL: [Self; 5] =
        [Self::Success, Self::Failure, Self::Usage, Self::Environment, Self::Interrupted];

    /// The code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::Interrupted => 130,
        }
    }

    /// What it means, in a line.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "success, also when Ctrl-C ended a survey early",
            Self::Failure => {
                "a question was answered with no; or an unforeseen failure, such as a full disk"
            }
            Self::Usage => "wrong arguments, or an error in a file",
            Self::Environment => {
                "what is needed is missing, mute, or not ours (daemon, program, port); or clusters are left"
            }
            Self::Interrupted => "interrupted twice, without cleaning up",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table of exit codes, for `--help`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        text.push_str(&format!("  {:>3}  {}\n", exit.code(), exit.meaning()));
    }
    text.push_str("  101  a bug; please report it");
    text
}
