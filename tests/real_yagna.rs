//! The lab of `tests/lab`: a real daemon comes up, answers as the real daemon does, and goes.

#![expect(clippy::disallowed_types, reason = "talks to a real daemon in real time")]

mod lab;

use std::time::Duration;

use reqwest::{Client, StatusCode};

use crate::lab::{Lab, Market, network::Link};

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

#[tokio::test]
async fn daemons_of_two_labs_meet_on_a_central_net() {
    let requestor = Lab::start_central(&Market::empty());
    let provider = requestor.join(&Market::of(1, 1));
    let demands = format!("{}/market-api/v1/demands", requestor.facts().api_url);
    let subnet = "(golem.node.debug.subnet=public)";
    let demand = serde_json::json!({
        "properties": { "golem.node.debug.subnet": "public", "golem.srv.comp.expiration": 4_102_444_800_000_u64 },
        "constraints": subnet,
    });
    let key = &requestor.facts().app_key;

    let posted = client().post(&demands).bearer_auth(key).body(demand.to_string());
    let posted = posted.header("content-type", "application/json").send().await.expect("answers");
    let id: String = serde_json::from_str(&posted.text().await.expect("text")).expect("an id");
    let mut events = serde_json::Value::Null;
    // An offer takes a few seconds from one daemon to the other.
    for _ in 0..12 {
        let poll = format!("{demands}/{id}/events?timeout=5&maxEvents=1");
        let answer = client().get(poll).bearer_auth(key).send().await.expect("answers");
        events = serde_json::from_str(&answer.text().await.expect("text")).expect("JSON");
        if events[0].is_object() {
            break;
        }
    }

    let seller = provider.facts().identities[0].id.as_str();
    assert_eq!(events[0]["proposal"]["issuerId"], seller, "{events}");
}

#[tokio::test]
async fn nodes_of_a_central_net_are_reached_and_can_be_cut_off() {
    let lab = Lab::start_central(&Market::empty());
    let node = lab.node("alice");
    let facts = lab.facts();
    let (network, ip, port) = (&node.network, node.ip, node.port("echo"));
    let way = format!("{}/net-api/v2/vpn/net/{network}/tcp/{ip}/{port}", facts.api_url);
    // As a websocket does; the daemon answers when the node does.
    let knock = async || {
        let request = client().get(&way).bearer_auth(&facts.app_key);
        let request = request.header("connection", "upgrade").header("upgrade", "websocket");
        let request = request.header("sec-websocket-version", "13");
        let request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        request.send().await.expect("answers").status()
    };

    let before = knock().await;
    lab.link(&node, Link { is_silent: Some(true), ..Link::default() });
    let silent = knock().await;
    let counted = lab.seen(&node);
    lab.link(&node, Link { is_silent: Some(false), ..Link::default() });
    let after = knock().await;

    assert_eq!(before, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(silent, StatusCode::GATEWAY_TIMEOUT);
    assert!(counted.received > 0 && counted.sent > 0 && counted.lost > 0, "{counted:?}");
    assert_eq!(after, StatusCode::SWITCHING_PROTOCOLS);
}
