//! The API of private networks beyond our vocabulary: members and addresses.
//!
//! What changes a network is told to its connections.

use std::net::Ipv4Addr;

use axum::{
    body::{Body, Bytes},
    http::{Method, Response},
};
use ray_on_golem::yagna::wire;
use serde_json::{Value, json};

use super::{
    State,
    api::{Ask, plain},
    reply,
};

/// Answers a request to the API of private networks.
pub(super) async fn answer(state: &State, ask: &Ask, path: &[&str]) -> Response<Body> {
    match (ask.method.clone(), path) {
        (Method::POST, ["net"]) => plain(state, &with_prefix(ask)).await,
        (Method::GET, ["net", "status"]) => reply::message(404, "Network not found"),
        (Method::GET, ["net", id]) => {
            let inner = state.daemon.look();
            match inner.yagna.network(id) {
                Some(book) => reply::json(200, &wire::network(&book.network)),
                None => reply::empty(403),
            }
        }
        (Method::GET, ["net", id, "nodes"]) => {
            let inner = state.daemon.look();
            let Some(book) = inner.yagna.network(id) else { return reply::empty(403) };
            let nodes = book.nodes.iter().map(|(ip, node)| json!({ "id": node, "ip": ip }));
            reply::json(200, &Value::Array(nodes.collect()))
        }
        (Method::GET, ["net", id, "addresses"]) => {
            state.tunnels.settled(id).await;
            let inner = state.daemon.look();
            let Some(book) = inner.yagna.network(id) else { return reply::empty(403) };
            let own = Ipv4Addr::from_bits(book.address.to_bits().saturating_add(1));
            let prefix = book.network.mask.to_bits().count_ones();
            reply::json(200, &json!([{ "ip": format!("{own}/{prefix}") }]))
        }
        (Method::POST, ["net", id, "addresses"]) => add_address(state, ask, id),
        (Method::DELETE, ["net", id]) => {
            let answer = plain(state, ask).await;
            if state.daemon.look().yagna.network(id).is_none() {
                state.tunnels.remove(id);
            }
            answer
        }
        (Method::DELETE, ["net", id, "nodes", _]) => {
            let answer = plain(state, ask).await;
            state.tunnels.member_left(id);
            answer
        }
        _ => plain(state, ask).await,
    }
}

/// How the daemon stands in the network.
pub(super) fn status(state: &State) -> Response<Body> {
    let id = state.daemon.look().yagna.identity().clone();
    let document =
        json!({ "nodeId": id, "listenIp": "127.0.0.1:11500", "publicIp": null, "sessions": 0 });
    reply::json(200, &document)
}

/// Our own address is the first of its network, and there already.
fn add_address(state: &State, ask: &Ask, id: &str) -> Response<Body> {
    let document: Value = match serde_json::from_slice(&ask.body) {
        Ok(document) => document,
        Err(error) => return reply::text(400, &format!("Json deserialize error: {error}")),
    };
    let Some(text) = document.get("ip").and_then(Value::as_str) else {
        return reply::text(400, "Json deserialize error: missing field `ip`");
    };
    let Ok(ip) = text.parse::<Ipv4Addr>() else {
        return reply::message(400, "Invalid IP address: invalid IP address syntax");
    };
    let inner = state.daemon.look();
    let Some(book) = inner.yagna.network(id) else { return reply::empty(403) };
    if ip.to_bits() & book.network.mask.to_bits() != book.address.to_bits() {
        return reply::message(400, &format!("Network not found for IP address: {ip}"));
    }
    reply::json(200, &Value::Null)
}

/// The request with a mask that is given beside the address as the length of a prefix.
fn with_prefix(ask: &Ask) -> Ask {
    let mut ask = ask.clone();
    let Ok(Value::Object(mut document)) = serde_json::from_slice(&ask.body) else { return ask };
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    let (Some(ip), Some(mask)) = (text("ip"), text("mask")) else { return ask };
    if let (Ok(mask), false) = (mask.parse::<Ipv4Addr>(), ip.contains('/')) {
        let cidr = format!("{ip}/{}", mask.to_bits().count_ones());
        document.insert("ip".to_owned(), json!(cidr));
        ask.body = Bytes::from(Value::Object(document).to_string());
    }
    ask
}
