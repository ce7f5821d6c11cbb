//! What only the daemon knows of payments is told to the user.

use std::time::Duration;

use axum::{Router, http::HeaderMap, routing::get};
use ray_on_golem::{
    driver::{alerts::Watch, log::Log},
    server::Alerts,
    yagna::{AppKey, Endpoints},
};
use url::Url;

const TROUBLE: &str = r#"[
    {"kind": "InsufficientGas", "driver": "erc20", "network": "hoodi", "address": "0x1", "neededGasEst": "0.02"},
    {"kind": "InsufficientToken", "driver": "erc20", "network": "hoodi", "address": "0x1", "neededTokenEst": "3"}]"#;

#[tokio::test]
async fn gas_and_tokens_that_are_missing_are_told_in_the_log_and_in_the_status() {
    let router = Router::new().route(
        "/payment-api/v1/payments/status",
        get(|headers: HeaderMap| async move {
            assert_eq!(headers["authorization"], "Bearer the-key");
            TROUBLE
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("log");
    let log = Log::to_file(&path).expect("a writable directory");
    let (alerts, key) = (Alerts::default(), AppKey::new("the-key").expect("a word"));
    let endpoints = Endpoints::from(url.parse::<Url>().expect("an address"));
    let watch = Watch::new(&endpoints, key, alerts.clone(), log).expect("plain HTTP");

    let told = async {
        while alerts.get().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = watch.keep() => panic!("it never returns"),
        () = told => {}
    }
    serving.abort();

    let sentences = [
        "The wallet 0x1 cannot pay for gas on `hoodi`; about 0.02 is needed",
        "The wallet 0x1 has not enough GLM on `hoodi`; about 3 is needed",
    ];
    assert_eq!(alerts.get(), sentences);
    let said = std::fs::read_to_string(path).expect("a log");
    for sentence in sentences {
        assert_eq!(said.matches(sentence).count(), 1, "{said}");
    }
}
