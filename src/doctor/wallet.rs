//! The daemon's wallet: which one our key stands for, whether it can sign, and what is in it.

use serde_json::Value;
use tokio::join;

use super::{
    Finding, Scene,
    daemon::{self, CLI_PATIENCE},
};
use crate::{
    config::PaymentNetwork,
    driver::{
        cli::{CliFailure, DaemonCli, Identity, ListedKey},
        known::Known,
    },
    units::{Glm, Rounding, Span},
    yagna::{AppKey, CallError, Client, Request, Response, Status, Yagna},
};

const PATIENCE: Span = Span::secs(5);

pub(super) async fn check(scene: &Scene, known: &Known, thoroughly: bool) -> Vec<Finding> {
    let (identities, keys) =
        join!(known.cli.identities(CLI_PATIENCE), known.cli.keys(CLI_PATIENCE));
    let funds = async |account| match thoroughly {
        true => funds(known, scene.network, account).await,
        false => None,
    };
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) if known.key.is_none() => return vec![no_keys(&error)],
        Err(_) => Vec::new(),
    };
    let wanted = &scene.daemon.key.name;
    let listed = keys.iter().find(|key| key.name == *wanted);
    let Some(key) = known.key.clone().or_else(|| AppKey::new(&listed?.key).ok()) else {
        let what = format!("there is no app-key `{wanted}`; the webserver makes it");
        let default = identities.iter().flatten().find(|it| it.is_default());
        let funds = funds(default.map(|it| it.address.as_str())).await;
        let findings = [Some(Finding::note("app-key", what)), default.map(lock), funds];
        return findings.into_iter().flatten().collect();
    };
    let mut findings = Vec::new();
    let identity = match identity(known, key.clone()).await {
        Ok(identity) => identity,
        Err(finding) => return vec![finding],
    };
    findings.push(bus(&keys, &key, &identity));
    let of_key = identities.iter().flatten().find(|it| it.address.eq_ignore_ascii_case(&identity));
    findings.extend(of_key.map(lock));
    findings.extend(funds(Some(&identity)).await);
    findings
}

fn lock(identity: &Identity) -> Finding {
    match identity.is_locked() {
        true => daemon::locked(identity),
        false => Finding::good("wallet", format!("{} is not locked", identity.address)),
    }
}

/// The identity that the key stands for, by the daemon's REST API.
async fn identity(known: &Known, key: AppKey) -> Result<String, Finding> {
    let url = known.endpoints.base.as_str().trim_end_matches('/');
    let bad = |error: String| {
        let what = format!("the daemon at {url} does not say whose the app-key is: {error}");
        Finding::bad("app-key", what, "see whether `YAGNA_API_URL` is right")
    };
    let client =
        Client::new(known.endpoints.clone(), key).map_err(|error| bad(error.to_string()))?;
    match client.call(Request::WhoAmI, PATIENCE).await {
        Ok(Response::Identity(identity)) => Ok(identity.id.to_string()),
        Ok(_) => Err(bad("an answer to something else".to_owned())),
        Err(CallError::Rejected { status: Status::UNAUTHORIZED, .. }) => {
            let what = format!("the daemon at {url} does not know the app-key");
            let cure = "set `YAGNA_APPKEY` to a key of `yagna app-key list`; if it is one, `GSB_URL` and \
                        `YAGNA_API_URL` lead to two different daemons";
            Err(Finding::bad("app-key", what, cure))
        }
        Err(error) => Err(bad(error.to_string())),
    }
}

/// The daemon of the bus has the key that the daemon of the REST API knows, if they are one.
fn bus(keys: &[ListedKey], key: &AppKey, identity: &str) -> Finding {
    let listed = keys.iter().find(|listed| listed.key == key.as_str());
    match listed {
        Some(listed) => {
            let what = format!("`{}` of {identity}, on the bus and by REST", listed.name);
            Finding::good("app-key", what)
        }
        None if keys.is_empty() => {
            let what =
                format!("a key of {identity}; no daemon on the bus (`GSB_URL`) tells its keys");
            let cure = "set `GSB_URL` to the bus of this daemon: its wallet is asked there";
            Finding::bad("app-key", what, cure)
        }
        None => {
            let what = "the daemon of the bus does not have the app-key that the daemon of the REST API knows: they are \
                        two daemons";
            let cure =
                "let `GSB_URL` and `YAGNA_API_URL` lead to one of them, and end the other one";
            Finding::bad("app-key", what, cure)
        }
    }
}

fn no_keys(error: &CliFailure) -> Finding {
    let cure = "set `YAGNA_APPKEY`, or `GSB_URL` to the bus of the daemon";
    Finding::bad("app-key", format!("the daemon does not tell its keys: {error}"), cure)
}

/// What is in the wallet; nothing is said if the daemon's program does not know the network, which its version says.
async fn funds(known: &Known, network: PaymentNetwork, account: Option<&str>) -> Option<Finding> {
    let PaymentNetwork { name, token, .. } = network;
    let mut words = DaemonCli::payment("status", account, network);
    words.push("--json");
    let document: Value = match known.cli.json(&words, CLI_PATIENCE).await {
        Ok(document) => document,
        Err(error) => {
            let cure = "see whether the daemon reaches the chain: `yagna payment status` says more";
            return Some(Finding::bad("funds", error.to_string(), cure));
        }
    };
    let amount = number(&document["amount"]);
    let gas = &document["gas"];
    let gas_name = gas["currency_short_name"].as_str().unwrap_or("gas");
    let gas_amount = number(&gas["balance"]);
    let what = format!(
        "{} {token} and {} {gas_name} on `{name}`",
        amount.unwrap_or(Glm::ZERO),
        gas_amount.unwrap_or(Glm::ZERO)
    );
    let has_tokens = amount.is_some_and(|amount| amount > Glm::ZERO);
    let has_gas = gas.is_null() || gas_amount.is_none_or(|amount| amount > Glm::ZERO);
    Some(match (has_tokens && has_gas, network.fundable) {
        (true, _) => Finding::good("funds", what),
        (false, true) => Finding::note(
            "funds",
            format!("{what}; `ray up` asks the faucet for tokens, which takes minutes"),
        ),
        (false, false) => {
            let cure = format!("send {token} and {gas_name} to the wallet");
            Finding::bad("funds", what, cure)
        }
    })
}

fn number(value: &Value) -> Option<Glm> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Glm::parse(&text, Rounding::Down).ok()
}
