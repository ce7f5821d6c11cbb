//! What can go wrong for a user, with a hint at what to do.

use thiserror::Error;

use super::exit::Exit;
use crate::{
    config::ConfigError, core::survey::SurveyError, doctor::Finding, driver::DriverError,
    driver::binding::BindingError, registry::RegistryError, reputation::StoreError,
};

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CliError {
    /// The cluster file, or the node type in it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An argument, beyond what the argument parser checks.
    #[error("{0}")]
    Argument(String),
    /// The registry does not know the image.
    #[error("{0}")]
    Image(RegistryError),
    /// Something outside is not there or not well.
    #[error("{what}")]
    Environment {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// What was started did not come up, or has ended; the sentence says all that is known.
    #[error("{0}")]
    Broken(String),
    /// The machine is not as a cluster needs it.
    #[error("{}", unfit(.0))]
    Unfit(Vec<Finding>),
    /// What stands in the way was told as data.
    #[error("this machine has not all that a cluster needs")]
    Told,
    /// What is wrong in the cluster file was told as data.
    #[error("no cluster comes up from this file as it is")]
    FileTold,
    /// The survey came to nothing.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// Interrupted before it could clean up.
    #[error("interrupted before everything was undone")]
    Interrupted,
    /// The webserver was not ended, by its own word or the user's.
    #[error("the webserver runs on")]
    Declined,
    /// There was nobody to answer a question.
    #[error("aborted: there is no terminal to ask on")]
    Aborted,
    /// The output, or a file of ours, could not be written or read.
    #[error("cannot write or read what is needed: {0}")]
    Output(#[from] std::io::Error),
}

/// The data directory belongs to another network or identity, or may.
impl From<BindingError> for CliError {
    fn from(error: BindingError) -> Self {
        let hint = match &error {
            BindingError::Other { .. } => {
                "go on with what it belongs to (`ray-on-golem start`, with `--sim` or with the app-key of that identity in \
                 `YAGNA_APPKEY`), and end its clusters there; or choose another data directory with `--datadir`"
            }
            BindingError::Unknown { .. } => {
                "set `YAGNA_APPKEY` to a key of the identity that has rented them, or choose another data directory with \
                 `--datadir`; if that daemon has lost its books, `ray-on-golem start --rebind` goes on without them"
            }
            BindingError::Unsaid { .. } => "try again when the daemon is well; nothing was changed",
            BindingError::Io { .. } => {
                "look whether you may write there, and whether the disk is full"
            }
        };
        Self::Environment { what: chain(&error), hint: hint.to_owned() }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::Missing { .. } => "`ray-on-golem reputation update` fetches scores",
            StoreError::Newer { .. } => "update this program, or name another `--datadir`",
            StoreError::Sqlite { .. } | StoreError::Io { .. } => {
                "look whether you may write there, and whether the disk is full"
            }
        };
        Self::Environment { what: error.to_string(), hint: hint.to_owned() }
    }
}

impl From<DriverError> for CliError {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Survey(error) => Self::Survey(error),
            DriverError::Interrupted => Self::Interrupted,
        }
    }
}

/// An error with all that caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut what = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        what = format!("{what}: {cause}");
        source = cause.source();
    }
    what
}

/// What is wrong, each with its cure.
fn unfit(findings: &[Finding]) -> String {
    findings.iter().map(Finding::sentence).collect::<Vec<_>>().join("\nerror: ")
}

impl CliError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Argument(_) | Self::FileTold => Exit::Usage,
            Self::Image(RegistryError::Unknown(_)) => Exit::Usage,
            Self::Image(RegistryError::Unavailable(_) | RegistryError::Unusable { .. })
            | Self::Environment { .. }
            | Self::Broken(_)
            | Self::Unfit(_)
            | Self::Told
            | Self::Survey(SurveyError::Unauthorized(_)) => Exit::Environment,
            Self::Survey(SurveyError::Busy) | Self::Declined | Self::Aborted | Self::Output(_) => {
                Exit::Failure
            }
            Self::Interrupted => Exit::Interrupted,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Environment { hint, .. } => Some(hint),
            Self::Survey(SurveyError::Unauthorized(_)) => {
                Some("set `YAGNA_APPKEY` to a key of `yagna app-key list`")
            }
            Self::Image(RegistryError::Unavailable(_)) => {
                Some("check the connection, or set `GOLEM_REGISTRY_URL`")
            }
            Self::Image(RegistryError::Unknown(_)) => {
                Some("correct `image_tag` or `image_hash` in the cluster file")
            }
            Self::Image(RegistryError::Unusable { .. })
            | Self::Config(_)
            | Self::Argument(_)
            | Self::Broken(_)
            | Self::Unfit(_)
            | Self::Told
            | Self::FileTold
            | Self::Survey(SurveyError::Busy)
            | Self::Interrupted
            | Self::Declined
            | Self::Aborted
            | Self::Output(_) => None,
        }
    }
}
