//! Exit codes of `golem-sim`: part of the interface, documented here and in the README.

use std::process::ExitCode;

use ray_on_golem::cli;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked, and everything held.
    Passed,
    /// A safety invariant is broken, or it failed in a way that nobody foresaw.
    Safety,
    /// What was typed, or what a file says, is wrong.
    Usage,
    /// A liveness invariant is broken, or something that it needs is not there.
    Liveness,
    /// A required situation was not met.
    NotReached,
    /// The machine acts differently from a recording.
    Differs,
    /// It was interrupted.
    Interrupted,
}

impl Exit {
    /// Every exit code but that of a bug, which is 101.
    pub(crate) const ALL: [Self; 7] = [
        Self::Passed,
        Self::Safety,
        Self::Usage,
        Self::Liveness,
        Self::NotReached,
        Self::Differs,
        Self::Interrupted,
    ];

    /// The code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Safety => 1,
            Self::Usage => 2,
            Self::Liveness => 3,
            Self::NotReached => 4,
            Self::Differs => 5,
            Self::Interrupted => 130,
        }
    }

    /// What it means, in a line.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Passed => "success: everything held",
            Self::Safety => {
                "a safety invariant is broken; or an unforeseen failure, such as a full disk"
            }
            Self::Usage => "wrong arguments, or an error in a file",
            Self::Liveness => {
                "something did not happen that must; or something needed is not there"
            }
            Self::NotReached => "a situation that `--require-marks` asks for was not met",
            Self::Differs => "what is replayed acts differently today",
            Self::Interrupted => "interrupted",
        }
    }

    /// How a run ended that broke this invariant.
    pub(crate) fn of_invariant(invariant: &str) -> Self {
        if invariant.starts_with('V') { Self::Liveness } else { Self::Safety }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Errors end with the codes that the product has for them.
impl From<cli::exit::Exit> for Exit {
    fn from(exit: cli::exit::Exit) -> Self {
        match exit {
            cli::exit::Exit::Success => Self::Passed,
            cli::exit::Exit::Failure => Self::Safety,
            cli::exit::Exit::Usage => Self::Usage,
            cli::exit::Exit::Environment => Self::Liveness,
            cli::exit::Exit::Interrupted => Self::Interrupted,
        }
    }
}

/// The table of exit codes, for `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        text.push_str(&format!("  {:>3}  {}\n", exit.code(), exit.meaning()));
    }
    text.push_str("  101  a bug; please report it");
    text
}
