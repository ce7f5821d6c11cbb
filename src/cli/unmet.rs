//! Why our webserver was not met at its port, and what to do about it.

use std::io::{self, ErrorKind};

use super::{
    error::CliError,
    web::{TOKEN_VARIABLE, Web},
};
use crate::{
    doctor::port,
    driver::process::Process,
    server::auth::TOKEN_FILE,
    yagna::{CallError, Doubt},
};

/// Why our webserver was not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    /// No program listens.
    Absent,
    /// What listens does not answer.
    Mute,
    /// What listens has not shown that it knows our token. It was not sent.
    Unproven,
}

impl Unmet {
    /// Why there is no connection.
    pub(super) fn of(error: &io::Error) -> Self {
        if error.kind() == ErrorKind::ConnectionRefused { Self::Absent } else { Self::Mute }
    }

    /// As an error of what needs the webserver.
    pub(super) fn error(self, web: &Web) -> CliError {
        let process = Process::of(&web.data);
        let (what, hint) = match process {
            Some(process) => match web.refuse_elsewhere(process) {
                Err(elsewhere) => return elsewhere,
                Ok(()) => self.of_process(web, process),
            },
            None => self.of_port(web),
        };
        CliError::Environment { what, hint }
    }

    /// The webserver of the data directory runs, and is not met.
    fn of_process(self, web: &Web, process: Process) -> (String, String) {
        let who = format!("the webserver of `{}` (pid {})", web.data.display(), process.pid);
        match self {
            Self::Absent => (
                format!("{who} runs and does not listen on {}", web.url()),
                "it may have been started just now; `ray-on-golem stop` ends it".to_owned(),
            ),
            Self::Mute => (
                format!("{who} runs and does not answer on {}", web.url()),
                "`ray-on-golem stop` ends it by its pid, and `ray-on-golem restart` puts another one in its place"
                    .to_owned(),
            ),
            Self::Unproven => (
                format!("{who} runs, and what listens on {} does not show that it knows its token", web.url()),
                "one of an earlier version does not: `ray-on-golem restart` puts this version in its place, and clusters \
                 go on"
                    .to_owned(),
            ),
        }
    }

    fn of_port(self, web: &Web) -> (String, String) {
        let (port, elsewhere) = (web.port, port::CURE);
        if self != Self::Absent
            && let Some(theirs) = port::of_another_user(port)
        {
            return theirs;
        }
        match self {
            Self::Absent => (
                format!("there is no webserver at {}", web.url()),
                "`ray-on-golem start` starts it".to_owned(),
            ),
            Self::Mute => (
                format!("{} listens on 127.0.0.1:{port} and does not answer", port::listener(port)),
                format!("end it, or {elsewhere}"),
            ),
            Self::Unproven => (
                format!(
                    "{} listens on 127.0.0.1:{port} and does not show that it knows the token in `{}`, which was not sent",
                    port::listener(port),
                    web.data.join(TOKEN_FILE).display()
                ),
                format!(
                    "if it is your webserver, name its data directory with `--datadir`, or the file of its token in \
                     `{TOKEN_VARIABLE}`; if not, {elsewhere}"
                ),
            ),
        }
    }
}

impl From<&CallError> for Unmet {
    /// What an answer to a first question is worth that is none.
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Unknown(Doubt::TimedOut | Doubt::Closed { .. }) => Self::Mute,
            CallError::Rejected { .. }
            | CallError::NotSent { .. }
            | CallError::Unknown(Doubt::Failed { .. } | Doubt::Garbled { .. }) => Self::Unproven,
        }
    }
}
