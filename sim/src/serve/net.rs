//! The API of private networks beyond our vocabulary: members and addresses.
//!
//! What changes a network is told to its connections.

use std::net::IpAddr;

use axum::{
    body::Body,
    http::{Method, Response},
};
use ray_on_golem::yagna::wire;
use serde_json::{Value, json};

use super::{
    State,
    api::{Ask, plain},
    document, reply,
};
use crate::yagna::SimYagna;

/// Answers a request to the API of private networks.
pub(super) async fn answer(state: &State, ask: &Ask, path: &[&str]) -> Response<Body> {
    match (ask.method.clone(), path) {
        (Method::GET, ["net", "status"]) => reply::message(404, "Network not found"),
        (Method::GET, ["net", id]) => {
            let inner = state.daemon.look();
            match inner.yagna.network(id) {
                Some(book) => reply::json(200, &wire::network(&book.network)),
                None => missing(&inner.yagna, id),
            }
        }
        (Method::GET, ["net", id, "nodes"]) => {
            let inner = state.daemon.look();
            let Some(book) = inner.yagna.network(id) else { return missing(&inner.yagna, id) };
            let nodes = book.nodes.iter().map(|(ip, node)| json!({ "id": node, "ip": ip }));
            reply::json(200, &Value::Array(nodes.collect()))
        }
        (Method::GET, ["net", id, "addresses"]) => {
            state.tunnels.settled(id).await;
            let inner = state.daemon.look();
            let Some(book) = inner.yagna.network(id) else { return missing(&inner.yagna, id) };
            let ip = format!("{}/{}", book.own(), book.prefix);
            reply::json(200, &json!([{ "ip": ip }]))
        }
        (Method::POST, ["net", id, "addresses"]) => add_address(state, ask, id),
        (Method::DELETE, ["net", id]) => {
            let answer = plain(state, ask).await;
            if state.daemon.look().yagna.network(id).is_none() {
                state.tunnels.remove(id);
            }
            answer
        }
        (Method::POST, ["net", id, "nodes"]) | (Method::DELETE, ["net", id, "nodes", _]) => {
            let answer = plain(state, ask).await;
            state.tunnels.members_changed(id);
            answer
        }
        _ => plain(state, ask).await,
    }
}

/// What is said of a network that is not there.
pub(super) fn missing(yagna: &SimYagna, id: &str) -> Response<Body> {
    reply::whole(document::refused(&yagna.no_network(id)))
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
    let Ok(ip) = text.parse::<IpAddr>() else {
        return reply::message(400, "Invalid IP address: invalid IP address syntax");
    };
    let inner = state.daemon.look();
    let Some(book) = inner.yagna.network(id) else { return missing(&inner.yagna, id) };
    if !book.holds(ip) {
        return reply::message(400, &format!("Network not found for IP address: {ip}"));
    }
    reply::json(200, &Value::Null)
}
