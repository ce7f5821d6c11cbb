//! The daemon's command line, as a program that answers in JSON over the daemon's bus.
//!
//! The bus is a socket of its own (`GSB_URL`), beside the REST API: a daemon whose wallet is locked answers on the
//! bus alone, and two daemons can be mixed up when one has the bus and the other one the REST API.

use std::{env, path::PathBuf, process::Stdio, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{process::Command, time::timeout};

use super::appkey::last_words;
use crate::{
    config::PaymentNetwork,
    units::Span,
    yagna::bus::{self, BadBusAddress, BusAddress},
};

/// Where there is no daemon this is known at once; a busy one takes its time for the first words.
const GREETING_PATIENCE: Span = Span::secs(5);
/// So many app-keys are looked at.
const KEYS_PER_PAGE: &str = "100";

/// The daemon's command line.
#[derive(Clone, Debug)]
pub struct DaemonCli {
    /// The program.
    pub binary: PathBuf,
    /// What it needs to know beside our own environment.
    pub environment: Vec<(String, String)>,
}

/// Why the daemon's command line did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{command}` failed: {why}")]
pub struct CliFailure {
    /// What was run.
    pub command: String,
    /// The last thing that it said.
    pub why: String,
}

/// An identity of the daemon: also the address of a wallet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// Its address.
    pub address: String,
    /// Not empty if it is the one that is used where none is named.
    default: String,
    /// Not empty if it is locked by a password.
    locked: String,
}

/// An app-key as the daemon lists it.
#[derive(Clone, Deserialize)]
pub struct ListedKey {
    /// Its name.
    pub name: String,
    /// The key itself; it must not be printed.
    pub key: String,
    /// The identity that it stands for.
    pub id: String,
}

impl DaemonCli {
    /// What it says of itself, such as `yagna 0.17.6 (a98d28015 2026-03-13)`. Needs no daemon.
    ///
    /// # Errors
    ///
    /// If there is no such program, or it is none of the kind.
    pub async fn version(&self, patience: Duration) -> Result<String, CliFailure> {
        let text = self.run(&["--version"], patience).await?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// The identities of the daemon on the bus. A daemon that waits for its wallet to be unlocked tells them, too.
    ///
    /// # Errors
    ///
    /// If no daemon is on the bus.
    pub async fn identities(&self, patience: Duration) -> Result<Vec<Identity>, CliFailure> {
        self.json(&["id", "list", "--json"], patience).await
    }

    /// The first hundred app-keys of the daemon on the bus.
    ///
    /// # Errors
    ///
    /// If no daemon is on the bus, or its wallet is locked since it was started.
    pub async fn keys(&self, patience: Duration) -> Result<Vec<ListedKey>, CliFailure> {
        // The first page is 1; see `appkey`.
        let arguments = ["app-key", "list", "--json", "--page", "1", "--per-page", KEYS_PER_PAGE];
        self.json(&arguments, patience).await
    }

    /// The words for what is asked of a wallet on a network, such as its `status`. Without an account the default
    /// identity's is meant, which may be another one than that of an app-key.
    #[must_use]
    pub fn payment<'a>(
        verb: &'a str,
        account: Option<&'a str>,
        PaymentNetwork { name, driver, .. }: PaymentNetwork,
    ) -> Vec<&'a str> {
        let mut words = vec!["payment", verb, "--network", name, "--driver", driver];
        words.extend(account.into_iter().flat_map(|account| ["--account", account]));
        words
    }

    /// The JSON that it answers with.
    ///
    /// # Errors
    ///
    /// If it fails, or answers something else.
    pub async fn json<T: DeserializeOwned>(
        &self,
        arguments: &[&str],
        patience: Duration,
    ) -> Result<T, CliFailure> {
        let text = self.run(arguments, patience).await?;
        serde_json::from_str(&text).map_err(|error| CliFailure {
            command: self.shown(arguments),
            why: format!("its answer is not understood: {error}"),
        })
    }

    /// What it writes to its standard output.
    ///
    /// # Errors
    ///
    /// If it cannot be run, does not end in time, or fails.
    pub async fn run(&self, arguments: &[&str], patience: Duration) -> Result<String, CliFailure> {
        let failed = |why: String| CliFailure { command: self.shown(arguments), why };
        let running = Command::new(&self.binary)
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match timeout(patience, running).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("no answer within {} s", patience.as_secs()))),
        };
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(failed(last_words(&output))),
        }
    }

    fn shown(&self, arguments: &[&str]) -> String {
        format!("{} {}", self.binary.display(), arguments.join(" "))
    }
}

impl Identity {
    /// Whether it is the one that is used where none is named.
    #[must_use]
    pub fn is_default(&self) -> bool {
        !self.default.is_empty()
    }

    /// Whether a password keeps it from signing.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        !self.locked.is_empty()
    }
}

/// Where the environment says that the bus is.
///
/// # Errors
///
/// If `GSB_URL` is no address.
pub fn bus_address() -> Result<BusAddress, BadBusAddress> {
    match env::var("GSB_URL").ok().filter(|url| !url.is_empty()) {
        Some(named) => named.parse(),
        None => Ok(BusAddress::default()),
    }
}

/// Whether some daemon answers on the bus that the environment names. The command line takes a second to find that
/// there is none; a connection takes no time.
pub async fn is_on_bus() -> bool {
    let Ok(address) = bus_address() else { return false };
    bus::answers(&address, GREETING_PATIENCE).await.is_ok()
}
