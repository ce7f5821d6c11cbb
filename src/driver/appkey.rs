//! The app-key: as given, or from the daemon's own command line.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{process::Command, time::timeout};

use crate::yagna::client::{AppKey, BadAppKey};

/// The name of the app-key that is used, and created if it is not there.
pub const DEFAULT_NAME: &str = "ray-on-golem";

/// The daemon's command line, if nothing else is given.
pub const DEFAULT_BINARY: &str = "yagna";

/// Without a daemon the command gives up after a second or two by itself.
const PATIENCE: Duration = Duration::from_secs(30);

const KEYS_PER_PAGE: usize = 100;
const PAGES_MAX: usize = 100;

/// Where the app-key comes from.
#[derive(Clone, Debug)]
pub struct AppKeySource {
    /// The key itself (`YAGNA_APPKEY`); empty counts as not given.
    pub given: Option<String>,
    /// The daemon's command line (`YAGNA_PATH`).
    pub binary: PathBuf,
    /// The name of the key to use (`YAGNA_APPNAME`).
    pub name: String,
}

/// Why there is no app-key.
#[derive(Debug, Error)]
pub enum AppKeyError {
    /// The key that was given cannot be one.
    #[error("`YAGNA_APPKEY` is not usable")]
    Given(#[source] BadAppKey),
    /// There is no such program.
    #[error("{}; {}", missing(binary).0, missing(binary).1)]
    Missing {
        /// What was to be run.
        binary: PathBuf,
    },
    /// The daemon's command line could not be started.
    #[error("cannot run `{}`; set `YAGNA_PATH` to Golem's daemon", binary.display())]
    NotStarted {
        /// What was to be run.
        binary: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daemon's command line did not end.
    #[error("`{command}` did not end within {} s", PATIENCE.as_secs())]
    TimedOut {
        /// What was run.
        command: String,
    },
    /// The daemon's command line failed.
    #[error("`{command}` failed ({why}); is the daemon running? `yagna service run` starts it")]
    Failed {
        /// What was run.
        command: String,
        /// The last thing that it said.
        why: String,
    },
    /// The daemon's command line answered something that is not understood.
    #[error("`{command}` answered what cannot be understood: {why}")]
    Garbled {
        /// What was run.
        command: String,
        /// What is wrong with the answer.
        why: String,
    },
}

impl AppKeySource {
    /// Finds the app-key, or creates it.
    ///
    /// # Errors
    ///
    /// Says what to do if there is no key to be had.
    pub async fn find(&self) -> Result<AppKey, AppKeyError> {
        match self.given.as_deref().map(str::trim) {
            Some(given) if !given.is_empty() => AppKey::new(given).map_err(AppKeyError::Given),
            Some(_) | None => match self.listed().await? {
                Some(key) => Ok(key),
                None => self.created().await,
            },
        }
    }

    /// Looks for our name page by page.
    ///
    /// Pages count from 1, and none before that is asked for: in yagna 0.17.6 that ends the service of
    /// app-keys until the daemon restarts. A key given at the daemon's start-up is on every page, also
    /// beyond the last, so that the list is over when a page has nothing new.
    async fn listed(&self) -> Result<Option<AppKey>, AppKeyError> {
        let mut seen = BTreeSet::new();
        for page in 1..=PAGES_MAX {
            let (page, per_page) = (page.to_string(), KEYS_PER_PAGE.to_string());
            let arguments = ["app-key", "list", "--json", "--page", &page, "--per-page", &per_page];
            let entries: Vec<Entry> = self.run(&arguments).await?;
            if let Some(entry) = entries.iter().find(|entry| entry.name == self.name) {
                return self.key(&entry.key, &arguments).map(Some);
            }
            let seen_before = seen.len();
            seen.extend(entries.into_iter().map(|entry| entry.key));
            if seen.len() == seen_before {
                break;
            }
        }
        Ok(None)
    }

    async fn created(&self) -> Result<AppKey, AppKeyError> {
        let arguments = ["app-key", "create", &self.name, "--json"];
        let key: String = self.run(&arguments).await?;
        self.key(&key, &arguments)
    }

    fn key(&self, text: &str, arguments: &[&str]) -> Result<AppKey, AppKeyError> {
        AppKey::new(text).map_err(|error| AppKeyError::Garbled {
            command: shown(&self.binary, arguments),
            why: error.to_string(),
        })
    }

    async fn run<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, AppKeyError> {
        let command = || shown(&self.binary, arguments);
        let running = Command::new(&self.binary)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match timeout(PATIENCE, running).await {
            Ok(Ok(output)) => output,
            Ok(Err(source)) if source.kind() == io::ErrorKind::NotFound => {
                return Err(AppKeyError::Missing { binary: self.binary.clone() });
            }
            Ok(Err(source)) => {
                return Err(AppKeyError::NotStarted { binary: self.binary.clone(), source });
            }
            Err(_) => return Err(AppKeyError::TimedOut { command: command() }),
        };
        if !output.status.success() {
            return Err(AppKeyError::Failed { command: command(), why: last_words(&output) });
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| AppKeyError::Garbled { command: command(), why: error.to_string() })
    }
}

/// An app-key as the daemon lists it.
#[derive(Deserialize)]
struct Entry {
    name: String,
    key: String,
}

/// What is said where there is no daemon to be run, with the cure.
#[must_use]
pub fn missing(binary: &Path) -> (String, String) {
    let what = format!("there is no program `{}`, which is Golem's daemon", binary.display());
    let cure = "install it by `pip install golem-node`, or set `YAGNA_PATH` to where it is, or do without it on a \
                simulated network: `ray-on-golem start --sim`";
    (what, cure.to_owned())
}

fn shown(binary: &Path, arguments: &[&str]) -> String {
    format!("{} {}", binary.display(), arguments.join(" "))
}

/// What the daemon's command line complained of: the last line that says so, which a stack may follow, or else the
/// last one; the exit status if there is none.
pub(super) fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let complaint = |line: &'_ str| {
        let rest = line.strip_prefix("Error: ").or_else(|| line.strip_prefix("error: "));
        rest.map(str::to_owned)
    };
    let complaint = lines.clone().find_map(complaint);
    let last = || lines.next().map(str::to_owned);
    complaint.or_else(last).unwrap_or_else(|| output.status.to_string())
}
