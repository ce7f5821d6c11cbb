//! The API of private networks beyond our vocabulary: members, addresses, and the websocket.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{
        FromRequestParts,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{Method, Response, request::Parts},
    response::IntoResponse,
};
use bytes::BytesMut;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use ray_on_golem::yagna::wire;
use serde_json::{Value, json};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::watch,
};

use super::{
    State,
    api::{Ask, plain},
    daemon::Life,
    reply,
};
use crate::nodes::Wire;

/// A place that does not answer is given up after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Whether a network is still there is looked at this often.
const LOOKS_EVERY: Duration = Duration::from_secs(5);
/// The most that is sent in one frame.
const FRAME_LENGTH: usize = 16 << 10;
/// The most that is taken in one message.
const MESSAGE_MAX: usize = 1 << 20;

/// Where a websocket is to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    network: String,
    ip: String,
    port: String,
}

/// Whether a client is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    /// It has just said something.
    Heard,
    /// What it said is still on its way to the node.
    Deaf,
}

/// Answers a request to the API of private networks.
pub(super) async fn answer(state: &State, ask: &Ask, path: &[&str]) -> Response<Body> {
    match (ask.method.clone(), path) {
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
            let inner = state.daemon.look();
            let Some(book) = inner.yagna.network(id) else { return reply::empty(403) };
            let ip = format!("{}/{}", book.own(), book.prefix);
            reply::json(200, &json!([{ "ip": ip }]))
        }
        (Method::POST, ["net", id, "addresses"]) => add_address(state, ask, id),
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

/// Where a request for a websocket wants to go, if it is one.
pub(super) fn socket_place(parts: &Parts) -> Option<Place> {
    let (segments, _) = wire::take_apart(parts.uri.path())?;
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (["net-api", "v2", "vpn", rest @ ..] | ["net-api", "v1", rest @ ..]) = path.as_slice()
    else {
        return None;
    };
    let ["net", network, "tcp", ip, port] = rest else { return None };
    if parts.method != Method::GET {
        return None;
    }
    let [network, ip, port] = [network, ip, port].map(|part| (*part).to_owned());
    Some(Place { network, ip, port })
}

/// Connects to a node, and passes on what is sent to it and what comes from it.
pub(super) async fn connect(state: Arc<State>, parts: &mut Parts, place: Place) -> Response<Body> {
    let Place { network, ip, port } = place;
    let Ok(port) = port.parse::<u16>() else {
        return reply::text(404, &format!("can not parse \"{port}\" to a u16"));
    };
    if state.daemon.look().yagna.network(&network).is_none() {
        return reply::empty(403);
    }
    let Ok(ip) = ip.parse::<Ipv4Addr>() else {
        return reply::message(400, "Invalid IP address: invalid IP address syntax");
    };
    if port == 0 {
        return reply::message(400, "Connection error: unaddressable destination");
    }
    let deadline = tokio::time::Instant::now() + CONNECT_TIMEOUT;
    let connecting = state.host.connect(&network, ip, port);
    let wire = match tokio::time::timeout_at(deadline, connecting).await {
        Ok(Ok(wire)) => wire,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return reply::message(400, &format!("Connection to {ip}:{port} refused"));
        }
        Ok(Err(_)) | Err(_) => {
            // Nobody is there to say that nobody is there.
            tokio::time::sleep_until(deadline).await;
            return reply::empty(504);
        }
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(parts, &()).await {
        Ok(upgrade) => upgrade.max_message_size(MESSAGE_MAX),
        Err(rejection) => return rejection.into_response(),
    };
    let life = state.daemon.life();
    upgrade.on_upgrade(move |socket| pass(socket, wire, state, network, life))
}

/// Passes bytes both ways until one side ends, the network is removed, or the daemon ends.
async fn pass(
    socket: WebSocket,
    wire: Box<dyn Wire>,
    state: Arc<State>,
    network: String,
    mut life: watch::Receiver<Life>,
) {
    let (to_client, from_client) = socket.split();
    let (from_node, to_node) = tokio::io::split(wire);
    let (alive, heard) = watch::channel(Hearing::Heard);
    let present = *life.borrow();
    let gone = async {
        loop {
            let nap = tokio::time::sleep(LOOKS_EVERY);
            tokio::select! {
                changed = life.changed() => {
                    if changed.is_err() || *life.borrow() != present {
                        return;
                    }
                }
                () = nap => {
                    if state.daemon.look().yagna.network(&network).is_none() {
                        return;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = upstream(from_client, to_node, alive) => {}
        () = downstream(from_node, to_client, heard, state.patience.silence) => {}
        () = gone => {}
    }
}

/// From the client to the node.
async fn upstream(
    mut client: SplitStream<WebSocket>,
    mut node: WriteHalf<Box<dyn Wire>>,
    alive: watch::Sender<Hearing>,
) {
    while let Some(Ok(message)) = client.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Ping(_) | Message::Pong(_) => {
                alive.send_replace(Hearing::Heard);
                continue;
            }
            Message::Close(_) => return,
        };
        // A node that is slow is waited for, and the client with it.
        alive.send_replace(Hearing::Deaf);
        if node.write_all(&bytes).await.is_err() || node.flush().await.is_err() {
            return;
        }
        alive.send_replace(Hearing::Heard);
    }
}

/// From the node to the client, with pings. A client that is silent for too long is dropped.
async fn downstream(
    mut node: ReadHalf<Box<dyn Wire>>,
    mut client: SplitSink<WebSocket, Message>,
    mut heard: watch::Receiver<Hearing>,
    silence: Duration,
) {
    let mut buffer = BytesMut::with_capacity(FRAME_LENGTH);
    let mut pings = tokio::time::interval(silence / 2);
    pings.tick().await;
    let mut last_heard = tokio::time::Instant::now();
    loop {
        buffer.reserve(FRAME_LENGTH);
        let message = tokio::select! {
            read = node.read_buf(&mut buffer) => match read {
                Ok(1..) => Message::Binary(buffer.split().freeze()),
                Ok(0) | Err(_) => {
                    // The client learns that the node has closed.
                    let _ = client.send(Message::Close(None)).await;
                    return;
                }
            },
            changed = heard.changed() => {
                if changed.is_err() {
                    return;
                }
                last_heard = tokio::time::Instant::now();
                continue;
            }
            _ = pings.tick() => {
                let is_listened_to = *heard.borrow() == Hearing::Heard;
                if is_listened_to && last_heard.elapsed() > silence {
                    return;
                }
                Message::Ping(Bytes::new())
            }
        };
        // A client that takes nothing is silent, too.
        let sent = tokio::time::timeout(silence, client.send(message)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
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
    let Some(book) = inner.yagna.network(id) else { return reply::empty(403) };
    if !book.holds(ip) {
        return reply::message(400, &format!("Network not found for IP address: {ip}"));
    }
    reply::json(200, &Value::Null)
}
