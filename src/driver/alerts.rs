//! Problems with payments that only the daemon sees: no gas, no tokens, a chain that does not answer.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use url::Url;

use super::{cli::DaemonCli, log::Log, payments::Payments, wallet::Wallet};
use crate::{
    config::networks,
    http::{Outgoing, Transport, TransportError},
    server::Alerts,
    units::Span,
    yagna::{AppKey, Endpoints, wire::Method},
};

const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Each of so many times the wallet is looked at, too: that asks the chain.
const LOOKS_AT_WALLET: u64 = 10;
const PATIENCE: Span = Span::secs(15);
/// So long a chain may take for the balance of an account.
const CHAIN_PATIENCE: Duration = Duration::from_secs(30);
const WHO: &str = "payments";

/// Looks at the daemon's payments now and then.
#[derive(Debug)]
pub struct Watch {
    transport: Transport,
    url: Url,
    key: AppKey,
    wallet: Wallet,
    alerts: Alerts,
    log: Log,
}

impl Watch {
    /// A watch that keeps `alerts` up to date; the daemon is asked for the balance of `wallet`.
    ///
    /// # Errors
    ///
    /// If no connections can be made.
    pub fn new(
        endpoints: &Endpoints,
        key: AppKey,
        wallet: &Wallet,
        alerts: Alerts,
        log: Log,
    ) -> Result<Self, TransportError> {
        let base = endpoints.payment_api();
        let transport = Transport::direct(base.scheme() == "https")?;
        let mut url = base.clone();
        url.set_path(&format!("{}/payments/status", base.path().trim_end_matches('/')));
        Ok(Self { transport, url, key, wallet: wallet.clone(), alerts, log })
    }

    /// The payments of the same daemon.
    #[must_use]
    pub fn payments(&self) -> Payments {
        let mut url = self.url.clone();
        url.set_path(self.url.path().trim_end_matches("/status"));
        Payments::new(self.transport.clone(), url, self.key.clone())
    }

    /// Never returns.
    pub async fn keep(self) {
        let mut known = Vec::new();
        for look in 1_u64.. {
            let problems = self.look().await;
            self.alerts.note_daemon(problems.is_some());
            // A daemon that does not answer is told of elsewhere.
            if let Some(problems) = problems {
                for problem in problems.iter().filter(|problem| !known.contains(*problem)) {
                    self.log.warn(WHO, problem);
                }
                self.alerts.set(problems.clone());
                known = problems;
            }
            if look.is_multiple_of(LOOKS_AT_WALLET) {
                self.wallet.look_again().await;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) -> Option<Vec<String>> {
        let outgoing = Outgoing {
            method: Method::Get,
            url: self.url.clone(),
            bearer: Some(self.key.as_str()),
            headers: &[],
            body: None,
        };
        let response = self.transport.send(outgoing, PATIENCE).await.ok()?;
        let problems: Vec<Value> = serde_json::from_slice(&response.body).ok()?;
        let mut told = Vec::new();
        for problem in &problems {
            if !self.is_over(problem).await {
                told.push(sentence(problem));
            }
        }
        Some(told)
    }

    /// Whether the daemon tells of what is over: after an outage of a chain it does so until it is restarted (seen on
    /// 0.17.6), while the chain answers it.
    async fn is_over(&self, problem: &Value) -> bool {
        if problem["kind"] != "RpcError" {
            return false;
        }
        let Some(network) = problem["network"].as_str().and_then(networks::find) else {
            return false;
        };
        let mut words = DaemonCli::payment("status", Some(&self.wallet.address), network);
        words.push("--json");
        self.wallet.cli.json::<Value>(&words, CHAIN_PATIENCE).await.is_ok()
    }
}

/// A problem in the daemon's words, as a sentence.
fn sentence(problem: &Value) -> String {
    let text = |key: &str| match problem.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "?".to_owned(),
    };
    let network = text("network");
    match text("kind").as_str() {
        "InsufficientGas" => format!(
            "The wallet {} cannot pay for gas on `{network}`; about {} is needed",
            text("address"),
            text("neededGasEst")
        ),
        "InsufficientToken" => format!(
            "The wallet {} has not enough GLM on `{network}`; about {} is needed",
            text("address"),
            text("neededTokenEst")
        ),
        "InvalidChainId" => format!("The daemon does not know the chain {}", text("chainId")),
        "CantSign" => {
            format!("The daemon cannot sign for {} on `{network}`; unlock it", text("address"))
        }
        "TxStuck" => format!("A payment is stuck on `{network}`"),
        "RpcError" => format!("The chain `{network}` does not answer the daemon"),
        other => format!("The daemon has trouble with payments on `{network}`: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sentence;

    #[test]
    fn problems_become_sentences() {
        let gas = json!({"kind": "InsufficientGas", "driver": "erc20", "network": "polygon",
            "address": "0x1", "neededGasEst": "0.02"});

        assert_eq!(
            sentence(&gas),
            "The wallet 0x1 cannot pay for gas on `polygon`; about 0.02 is needed"
        );
        let strange = json!({"kind": "Moon", "network": "hoodi"});
        assert_eq!(sentence(&strange), "The daemon has trouble with payments on `hoodi`: Moon");
    }
}
