//! What only the daemon knows of payments is told to the user.
#![expect(clippy::disallowed_methods, reason = "runs a program")]

use std::{fs, process::Command, time::Duration};

use axum::{Router, http::HeaderMap, routing::get};
use ray_on_golem::{
    driver::{alerts::Watch, cli::DaemonCli, log::Log, wallet::Wallet},
    server::Alerts,
    yagna::{AppKey, Endpoints},
};
use tempfile::TempDir;
use url::Url;

/// What a watch tells when the daemon tells of `trouble`, and the daemon's command line runs `script`.
struct Told {
    home: TempDir,
    sentences: Vec<String>,
    log: String,
}

async fn told(trouble: &'static str, script: &str) -> Told {
    let answer = move |headers: HeaderMap| async move {
        assert_eq!(headers["authorization"], "Bearer the-key");
        trouble
    };
    let router = Router::new().route("/payment-api/v1/payments/status", get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let home = tempfile::tempdir().expect("a directory");
    let (draft, binary) = (home.path().join("draft"), home.path().join("yagna"));
    let asked = home.path().join("asked");
    let script = format!("#!/bin/sh\necho \"$*\" >> {}\n{script}\n", asked.display());
    fs::write(&draft, script).expect("a writable directory");
    // Written by a process of its own: one that another test starts meanwhile would hold a file of ours open, and what
    // is open for writing cannot be run.
    let installed = Command::new("install").arg("--mode=755").args([&draft, &binary]).status();
    assert!(installed.expect("`install` is a usual program").success());
    let path = home.path().join("log");
    let log = Log::to_file(&path).expect("a writable directory");
    let (alerts, key) = (Alerts::default(), AppKey::new("the-key").expect("a word"));
    let endpoints = Endpoints::from(url.parse::<Url>().expect("an address"));
    let cli = DaemonCli { binary, environment: Vec::new() };
    let wallet = Wallet::new("0xabc".to_owned(), cli, log.clone());
    let watch = Watch::new(&endpoints, key, &wallet, alerts.clone(), log);

    let is_told = async {
        while alerts.get().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = watch.expect("plain HTTP").keep() => panic!("it never returns"),
        () = is_told => {}
    }
    serving.abort();
    Told { sentences: alerts.get(), log: fs::read_to_string(path).expect("a log"), home }
}

#[tokio::test]
async fn gas_and_tokens_that_are_missing_are_told_in_the_log_and_in_the_status() {
    let trouble = r#"[
        {"kind": "InsufficientGas", "driver": "erc20", "network": "hoodi", "address": "0x1", "neededGasEst": "0.02"},
        {"kind": "InsufficientToken", "driver": "erc20", "network": "hoodi", "address": "0x1", "neededTokenEst": "3"}]"#;

    let told = told(trouble, "exit 1").await;

    let sentences = [
        "The wallet 0x1 cannot pay for gas on `hoodi`; about 0.02 is needed",
        "The wallet 0x1 has not enough GLM on `hoodi`; about 3 is needed",
    ];
    assert_eq!(told.sentences, sentences);
    for sentence in sentences {
        assert_eq!(told.log.matches(sentence).count(), 1, "{}", told.log);
    }
    assert!(!told.home.path().join("asked").exists(), "nothing else is asked of the daemon");
}

#[tokio::test]
async fn a_chain_that_answers_again_is_not_warned_of() {
    let trouble = r#"[
        {"kind": "RpcError", "driver": "erc20", "network": "hoodi"},
        {"kind": "TxStuck", "driver": "erc20", "network": "hoodi"}]"#;

    let over = told(trouble, r#"echo '{"amount": "1"}'"#).await;
    let lasting = told(trouble, "exit 1").await;

    let (silent, stuck) =
        ("The chain `hoodi` does not answer the daemon", "A payment is stuck on `hoodi`");
    assert_eq!(over.sentences, [stuck]);
    assert_eq!(lasting.sentences, [silent, stuck]);
    let asked = fs::read_to_string(over.home.path().join("asked")).expect("it was asked");
    let words = "payment status --network hoodi --driver erc20 --account 0xabc --json";
    assert_eq!(asked.trim(), words);
}
