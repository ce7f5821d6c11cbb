//! The lab of `tests/lab`: a real daemon comes up, answers as the real daemon does, and goes.

#![expect(clippy::disallowed_types, reason = "talks to a real daemon in real time")]

mod lab;

use std::time::Duration;

use reqwest::{Client, StatusCode};

use crate::lab::{Lab, Market};

/// A client as the product builds it: no TLS provider is chosen by default.
fn client() -> Client {
    // A second test of this process finds the provider installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(10)).build().expect("the client is sound")
}

#[tokio::test]
async fn daemon_answers_to_its_key_only() {
    let lab = Lab::start(&Market::empty());
    let me = format!("{}/me", lab.facts().api_url);

    let known = client().get(&me).bearer_auth(&lab.facts().app_key).send().await.expect("answers");
    let unknown = client().get(&me).send().await.expect("answers");

    assert_eq!(known.status(), StatusCode::OK);
    let body: serde_json::Value =
        serde_json::from_str(&known.text().await.expect("text")).expect("JSON");
    assert_eq!(body["identity"], lab.facts().node_id.as_str());
    assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.text().await.expect("text"), "Missing application key");
}

#[tokio::test]
async fn restart_keeps_address_and_key() {
    let lab = Lab::start(&Market::empty());
    let me = format!("{}/me", lab.facts().api_url);

    lab.kill();
    let gone = client().get(&me).bearer_auth(&lab.facts().app_key).send().await;
    lab.restart();
    let back = client().get(&me).bearer_auth(&lab.facts().app_key).send().await.expect("answers");

    assert!(gone.expect_err("nobody listens").is_connect());
    assert_eq!(back.status(), StatusCode::OK);
}

#[tokio::test]
async fn registry_knows_golem_tags_only() {
    let lab = Lab::start(&Market::of(1, 1));
    let info = format!("{}/v1/image/info?count=true&tag=", lab.facts().registry_url);

    let known = client().get(format!("{info}golem/ray-on-golem:1")).send().await.expect("answers");
    let unknown = client().get(format!("{info}nobody/nothing:1")).send().await.expect("answers");

    assert_eq!(known.status(), StatusCode::OK);
    let image: serde_json::Value =
        serde_json::from_str(&known.text().await.expect("text")).expect("JSON");
    assert_eq!(image["sha3"].as_str().map(str::len), Some(56));
    assert!(image["http"].as_str().is_some_and(|url| url.starts_with("http://")));
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert_eq!(lab.facts().identities.len(), 1);
}
