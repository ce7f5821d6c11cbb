//! The wallet, by the daemon's command line: how much is in it, and tokens from the faucet of a testnet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{self, Arc, PoisonError},
    time::Duration,
};

use serde_json::Value;
use thiserror::Error;
use tokio::{sync::Mutex, time::sleep, time::timeout};

pub use super::cli::DaemonCli;
use super::{
    cli::{CliFailure, Identity},
    log::Log,
};
use crate::{
    config::{PaymentNetwork, networks},
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

/// The wallet of our identity; its clones are the same.
#[derive(Clone, Debug)]
pub struct Wallet {
    pub(super) address: String,
    pub(super) cli: DaemonCli,
    log: Log,
    /// The networks whose faucet was asked since the process began. Who holds it is alone.
    funded: Arc<Mutex<BTreeSet<&'static str>>>,
    /// What it held when it was looked at last, by network.
    held: Arc<sync::Mutex<BTreeMap<&'static str, Holding>>>,
}

/// What is in the wallet on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// GLM.
    pub glm: Glm,
    /// The token that transactions are paid with, and how much of it there is, if the daemon says so.
    pub gas: Option<(String, Glm)>,
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
    #[error(transparent)]
    Failed(#[from] CliFailure),
    /// A password keeps the wallet from paying.
    #[error("{}; {}", locked(address).0, locked(address).1)]
    Locked {
        /// Which one.
        address: String,
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
        Self { address, cli, log, funded: Arc::default(), held: Arc::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it held when it was looked at last, by network.
    #[must_use]
    pub fn holdings(&self) -> BTreeMap<&'static str, Holding> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks again at what it holds, on the networks where that was of interest before.
    pub(super) async fn look_again(&self) {
        for name in self.holdings().into_keys() {
            if let Some(network) = networks::find(name) {
                // What was known last stays where the daemon does not say.
                let _ = self.document(network).await;
            }
        }
    }

    /// How much is in it. On a testnet with a faucet it is funded first, if it is low; once in the
    /// life of this process.
    ///
    /// # Errors
    ///
    /// If the daemon does not say, or if there are no tokens where they cost nothing.
    pub async fn status(&self, network: PaymentNetwork) -> Result<WalletStatus, WalletError> {
        self.refuse_if_locked().await?;
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
        let table = self.cli.run(&self.words("status", network), STATUS_PATIENCE).await?;
        Ok(WalletStatus { table, document })
    }

    /// A daemon whose wallet was locked while it ran answers everything as before, and signs nothing any more.
    async fn refuse_if_locked(&self) -> Result<(), WalletError> {
        // A daemon that does not say that its wallet is locked is asked for its tokens, and says then what is wrong.
        let Ok(identities) = self.cli.identities(STATUS_PATIENCE).await else { return Ok(()) };
        let is_ours = |identity: &Identity| identity.address.eq_ignore_ascii_case(&self.address);
        match identities.iter().any(|identity| is_ours(identity) && identity.is_locked()) {
            true => Err(WalletError::Locked { address: self.address.clone() }),
            false => Ok(()),
        }
    }

    async fn fund(&self, network: PaymentNetwork, before: Value) -> Result<Value, WalletError> {
        let PaymentNetwork { name, driver, .. } = network;
        self.log.info(WHO, &format!("Asking the faucet of `{driver}/{name}` for tokens..."));
        let funded = timeout(FUND_PATIENCE, async {
            if let Err(error) = self.cli.run(&self.words("fund", network), FUND_PATIENCE).await {
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
        let mut words = self.words("status", network);
        words.push("--json");
        let document = self.cli.json(&words, STATUS_PATIENCE).await?;
        let held = Holding { glm: amount(&document), gas: gas(&document) };
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(network.name, held);
        Ok(document)
    }

    fn words<'a>(&'a self, verb: &'a str, network: PaymentNetwork) -> Vec<&'a str> {
        DaemonCli::payment(verb, Some(&self.address), network)
    }
}

/// What is said of a wallet that a password keeps from paying, with the cure.
#[must_use]
pub fn locked(address: &str) -> (String, String) {
    let what = format!("the wallet {address} of the daemon is locked by a password");
    (what, "unlock it with `yagna id unlock`".to_owned())
}

/// What the wallet holds; nothing if the daemon does not say.
fn amount(document: &Value) -> Glm {
    decimal(&document["amount"]).unwrap_or(Glm::ZERO)
}

/// What the wallet holds to pay transactions with. It has as many decimals as GLM.
fn gas(document: &Value) -> Option<(String, Glm)> {
    let gas = &document["gas"];
    let token = gas["currency_short_name"].as_str().unwrap_or("gas").to_owned();
    Some((token, decimal(&gas["balance"])?))
}

fn decimal(amount: &Value) -> Option<Glm> {
    let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
    Glm::parse(&text, Rounding::Down).ok()
}
