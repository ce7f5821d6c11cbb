//! The wallet, by the daemon's command line: how much is in it, and tokens from the faucet of a testnet.

use std::{collections::BTreeSet, path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use thiserror::Error;
use tokio::{process::Command, sync::Mutex, time::sleep, time::timeout};

use super::{appkey::last_words, log::Log};
use crate::{
    config::PaymentNetwork,
    units::{Glm, Rounding},
};

/// How long the daemon may take to say how much there is.
const STATUS_PATIENCE: Duration = Duration::from_secs(30);
/// How long the faucet may take, and the tokens to arrive.
const FUND_PATIENCE: Duration = Duration::from_secs(5 * 60);
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// With less than this a testnet's faucet is asked.
const LOW: Glm = Glm::from_whole(1);
const WHO: &str = "wallet";

/// The daemon's command line.
#[derive(Clone, Debug)]
pub struct DaemonCli {
    /// The program.
    pub binary: PathBuf,
    /// What it needs to know beside our own environment.
    pub environment: Vec<(String, String)>,
}

/// The wallet of our identity.
#[derive(Debug)]
pub struct Wallet {
    address: String,
    cli: DaemonCli,
    log: Log,
    /// The networks whose faucet was asked since the process began. Who holds it is alone.
    funded: Mutex<BTreeSet<&'static str>>,
}

/// How much is in the wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletStatus {
    /// The daemon's table, for people.
    pub table: String,
    /// The daemon's words for programs.
    pub document: Value,
}

/// Why the wallet cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WalletError {
    /// The daemon's command line failed.
    #[error("`{command}` failed: {why}")]
    Failed {
        /// What was run.
        command: String,
        /// The last thing that it said.
        why: String,
    },
    /// There are no tokens, and the faucet gave none.
    #[error("Can't prepare `{driver}/{network}` funds! {why}")]
    NotFunded {
        /// The driver.
        driver: &'static str,
        /// The network.
        network: &'static str,
        /// What the faucet said.
        why: String,
    },
}

impl Wallet {
    /// The wallet at `address`.
    #[must_use]
    pub fn new(address: String, cli: DaemonCli, log: Log) -> Self {
        Self { address, cli, log, funded: Mutex::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How much is in it. On a testnet with a faucet it is funded first, if it is low; once in the
    /// life of this process.
    ///
    /// # Errors
    ///
    /// If the daemon does not say, or if there are no tokens where they cost nothing.
    pub async fn status(&self, network: PaymentNetwork) -> Result<WalletStatus, WalletError> {
        let mut document = self.document(network).await?;
        if network.fundable && amount(&document) < LOW {
            let mut funded = self.funded.lock().await;
            // Somebody may have waited for the faucet before us.
            document = self.document(network).await?;
            if amount(&document) < LOW && !funded.contains(network.name) {
                document = self.fund(network, document).await?;
                funded.insert(network.name);
            }
        }
        let table = self.run(&arguments("status", network, &[]), STATUS_PATIENCE).await?;
        Ok(WalletStatus { table, document })
    }

    async fn fund(&self, network: PaymentNetwork, before: Value) -> Result<Value, WalletError> {
        let PaymentNetwork { name, driver, .. } = network;
        self.log.info(WHO, &format!("Asking the faucet of `{driver}/{name}` for tokens..."));
        let funded = timeout(FUND_PATIENCE, async {
            if let Err(error) = self.run(&arguments("fund", network, &[]), FUND_PATIENCE).await {
                return match amount(&before) > Glm::ZERO {
                    true => {
                        self.log.warn(WHO, &format!("the faucet gives nothing: {error}"));
                        Ok(before)
                    }
                    false => Err(error.to_string()),
                };
            }
            loop {
                let document = self.document(network).await.map_err(|error| error.to_string())?;
                if amount(&document) > Glm::ZERO {
                    self.log.info(WHO, &format!("The wallet has {} GLM", amount(&document)));
                    return Ok(document);
                }
                sleep(LOOK_EVERY).await;
            }
        });
        let why = match funded.await {
            Ok(Ok(document)) => return Ok(document),
            Ok(Err(why)) => why,
            Err(_) => "Timeout of `0:05:00` reached.".to_owned(),
        };
        Err(WalletError::NotFunded { driver, network: name, why })
    }

    async fn document(&self, network: PaymentNetwork) -> Result<Value, WalletError> {
        let arguments = arguments("status", network, &["--json"]);
        let text = self.run(&arguments, STATUS_PATIENCE).await?;
        serde_json::from_str(&text).map_err(|error| WalletError::Failed {
            command: self.shown(&arguments),
            why: format!("its answer is not understood: {error}"),
        })
    }

    async fn run(&self, arguments: &[&str], patience: Duration) -> Result<String, WalletError> {
        let failed = |why: String| WalletError::Failed { command: self.shown(arguments), why };
        let running = Command::new(&self.cli.binary)
            .args(arguments)
            .envs(self.cli.environment.iter().cloned())
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
        format!("{} {}", self.cli.binary.display(), arguments.join(" "))
    }
}

fn arguments<'a>(verb: &'a str, network: PaymentNetwork, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["payment", verb, "--network", network.name, "--driver", network.driver];
    all.extend(more);
    all
}

/// What the wallet holds; nothing if the daemon does not say.
fn amount(document: &Value) -> Glm {
    let text = document
        .get("amount")
        .map(|amount| amount.as_str().map_or_else(|| amount.to_string(), str::to_owned));
    text.and_then(|text| Glm::parse(&text, Rounding::Down).ok()).unwrap_or(Glm::ZERO)
}
