//! The websocket into a private network, with the faults of the real one (0.17.6).
//!
//! - Frames of a client that wait together overtake each other (`order`); a client that waits until the network has
//!   answered a question after each frame keeps their order.
//! - A node's end is not passed on: pings go on, and the websocket ends when the node answers a later frame by a reset.
//! - A websocket that ends leaves the node's connection open, until the node or the network ends; so does a request that
//!   is refused because it asks for no websocket. A node learns of it when it says something.
//! - One client that does not read holds up all connections of its network.
//! - What a node does not read is taken all the same, up to [`TAKEN_MAX`].
//! - Addresses without a node hold up connections to others: addresses are asked for once a second.
//! - A node that is gone is silent, and its connections end after two minutes; so are those of one that left the network.
//!
//! What is drawn is drawn from the seed, by the numbers of networks, connections, and frames.

mod handshake;
mod network;
mod order;
mod wire;

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
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use ray_on_golem::yagna::wire as http_wire;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, ReadHalf},
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, interval, sleep, sleep_until, timeout, timeout_at},
};

pub(super) use network::Tunnels;

use self::{
    network::{Network, Slot},
    wire::{Near, TAKEN_MAX},
};
use super::{State, daemon::Life, reply};
use crate::nodes::Wire;

/// A place that does not answer is given up after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that comes from a node in one frame: a segment. The real daemon gathers up to fourteen of them at times.
const FRAME_LENGTH: usize = 1346;
/// The most that is taken in one frame.
const FRAME_MAX: usize = 64 << 10;

/// Where a websocket is to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    network: String,
    ip: String,
    port: String,
}

/// How the node's side of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeSide {
    /// It may say something.
    Speaks,
    /// It has ended its direction, which the client is not told.
    Finished,
    /// It has reset the connection.
    Reset,
    /// It is gone, or no member any more.
    Silent,
}

/// Whose side of a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Node,
}

/// Where a request for a websocket wants to go, if it is one.
pub(super) fn place_of(parts: &Parts) -> Option<Place> {
    let (segments, _) = http_wire::take_apart(parts.uri.path())?;
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
    if let Some(refusal) = unknown(&state, &network) {
        return refusal;
    }
    let ip = match ip.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip,
        Ok(IpAddr::V6(ip)) if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() => {
            return reply::message(400, &format!("IP address not allowed: {ip}"));
        }
        Ok(IpAddr::V6(_)) => {
            sleep(CONNECT_TIMEOUT).await;
            return reply::empty(504);
        }
        Err(_) => return reply::message(400, "Invalid IP address: invalid IP address syntax"),
    };
    // Nodes that are plain processes have loopback addresses, which a real one has not.
    let is_own = ip.is_loopback() && state.host.network().is_none();
    if is_own || ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() {
        return reply::message(400, &format!("IP address not allowed: {ip}"));
    }
    if port == 0 {
        return reply::message(400, "Connection error: unaddressable destination");
    }
    let tunnels = state.tunnels.network(&network);
    let slot = tunnels.slot();
    // Who leaves from here on is heard of.
    let members = tunnels.members();
    sleep(tunnels.delay(&slot, ip)).await;
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let connecting = async {
        if !is_member(&state, &network, ip) {
            return Err(io::Error::from(io::ErrorKind::HostUnreachable));
        }
        let room = tunnels.room().await;
        Ok((state.host.connect(&network, ip, port).await?, room))
    };
    let (node, room) = match timeout_at(deadline, connecting).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tunnels.heard(ip);
            return reply::message(400, "Socket closed");
        }
        Ok(Err(_)) | Err(_) => {
            let _asked = tunnels.asks_in_vain();
            sleep_until(deadline).await;
            return reply::empty(504);
        }
    };
    tunnels.heard(ip);
    if let Err(why) = handshake::check(&mut parts.headers) {
        let mut life = state.daemon.life();
        tokio::spawn(async move {
            let (mut from_node, mut near) = Near::new(node, Arc::clone(&tunnels), slot);
            left(&mut from_node, &mut near, &mut life, &tunnels).await;
            drop(room);
        });
        return reply::message(400, &format!("Request error: {why}"));
    }
    let upgrade = match WebSocketUpgrade::from_request_parts(parts, &()).await {
        Ok(upgrade) => upgrade.max_frame_size(FRAME_MAX).max_message_size(FRAME_MAX),
        Err(rejection) => return rejection.into_response(),
    };
    let life = state.daemon.life();
    let tunnel = Tunnel { state, life, members, network, tunnels, ip, slot, room };
    upgrade.on_upgrade(move |socket| tunnel.run(socket, node))
}

/// What is said of a network that is not there: an identity that has another one may not use it.
fn unknown(state: &State, network: &str) -> Option<Response<Body>> {
    let inner = state.daemon.look();
    if inner.yagna.network(network).is_some() {
        return None;
    }
    let has_another = inner.yagna.networks().iter().any(|book| book.removed.is_none());
    Some(if has_another { reply::empty(403) } else { reply::message(404, "Network not found") })
}

/// Whether a node has joined the network at an address.
fn is_member(state: &State, network: &str, ip: Ipv4Addr) -> bool {
    let inner = state.daemon.look();
    let book = inner.yagna.network(network);
    book.is_some_and(|book| book.nodes.iter().any(|(member, _)| *member == ip))
}

/// One websocket.
struct Tunnel {
    state: Arc<State>,
    life: watch::Receiver<Life>,
    members: watch::Receiver<()>,
    network: String,
    tunnels: Arc<Network>,
    ip: Ipv4Addr,
    slot: Slot,
    room: OwnedSemaphorePermit,
}

impl Tunnel {
    /// Passes bytes both ways until one side ends, the network is removed, or the daemon ends.
    async fn run(mut self, socket: WebSocket, node: Box<dyn Wire>) {
        let slot = self.slot.clone();
        let (mut from_node, mut near) = Near::new(node, Arc::clone(&self.tunnels), slot);
        let (to_client, from_client) = socket.split();
        let (hear, heard) = watch::channel(());
        let mut life = self.life.clone();
        let ended = tokio::select! {
            // A client that was silent for too long is not pinged again.
            biased;
            () = upstream(from_client, &near, hear) => Side::Client,
            () = silent(heard, self.state.patience.silence) => Side::Client,
            ended = self.downstream(&mut from_node, &near, to_client) => ended,
            () = network_ends(&mut life, &self.tunnels) => Side::Node,
        };
        if ended == Side::Client {
            left(&mut from_node, &mut near, &mut self.life, &self.tunnels).await;
        }
        drop(self.room);
    }

    /// From the node to the client, with pings, until one of them is gone.
    async fn downstream(
        &self,
        from_node: &mut ReadHalf<Box<dyn Wire>>,
        near: &Near,
        mut client: SplitSink<WebSocket, Message>,
    ) -> Side {
        let patience = self.state.patience;
        let mut pings = interval(patience.silence / 2);
        pings.tick().await;
        let mut members = self.members.clone();
        let (mut node, mut since) = (NodeSide::Speaks, Instant::now());
        let mut buffer = vec![0; FRAME_LENGTH];
        let mut unsent: Option<Bytes> = None;
        loop {
            let speaks = node == NodeSide::Speaks && unsent.is_none();
            let seen = tokio::select! {
                read = from_node.read(&mut buffer), if speaks => match read {
                    Ok(length @ 1..) => {
                        unsent = Some(Bytes::copy_from_slice(&buffer[..length]));
                        continue;
                    }
                    Ok(0) => NodeSide::Finished,
                    Err(_) => NodeSide::Reset,
                },
                () = near.broken(), if node != NodeSide::Silent => NodeSide::Reset,
                changed = members.changed() => match changed {
                    Ok(()) => node,
                    Err(_) => return Side::Node,
                },
                () = sleep_until(since + patience.node), if node == NodeSide::Silent => {
                    return Side::Node;
                }
                turn = self.tunnels.reading.lock(), if unsent.is_some() => {
                    let frame = unsent.take().expect("it is there");
                    let sent = client.send(Message::Binary(frame)).await;
                    drop(turn);
                    if sent.is_err() {
                        return Side::Client;
                    }
                    continue;
                }
                _ = pings.tick() => {
                    if client.send(Message::Ping(Bytes::new())).await.is_err() {
                        return Side::Client;
                    }
                    continue;
                }
            };
            if node == NodeSide::Silent {
                if self.is_there().await {
                    node = NodeSide::Speaks;
                }
                continue;
            }
            if !self.is_there().await {
                (node, since) = (NodeSide::Silent, Instant::now());
            } else if seen == NodeSide::Reset {
                return Side::Node;
            } else {
                node = seen;
            }
        }
    }

    /// Whether the node is there, and in the network.
    async fn is_there(&self) -> bool {
        is_member(&self.state, &self.network, self.ip)
            && self.state.host.has(&self.network, self.ip).await
    }
}

/// A connection that no client has any more: the node is told when it says something, which is thrown away.
async fn left(
    node: &mut (impl AsyncRead + Unpin),
    near: &mut Near,
    life: &mut watch::Receiver<Life>,
    tunnels: &Network,
) {
    let mut unread = vec![0; FRAME_LENGTH];
    let broken = near.broken();
    let drain = async {
        while let Ok(1..) = node.read(&mut unread).await {
            near.end();
        }
    };
    tokio::select! {
        () = drain => {}
        () = broken => {}
        () = network_ends(life, tunnels) => {}
    }
}

/// From the client to the node, however slow that is.
async fn upstream(mut client: SplitStream<WebSocket>, near: &Near, heard: watch::Sender<()>) {
    while let Some(Ok(message)) = client.next().await {
        heard.send_replace(());
        match message {
            Message::Binary(bytes) => near.take(bytes),
            Message::Text(text) => near.take(text.into()),
            Message::Ping(_) | Message::Pong(_) => {}
            // It is answered when the next one is asked for, and there is no next one.
            Message::Close(_) => {}
        }
        if near.unread() > TAKEN_MAX {
            return;
        }
    }
}

/// Ends when nothing was heard of a client for so long.
async fn silent(mut heard: watch::Receiver<()>, silence: Duration) {
    while timeout(silence, heard.changed()).await.is_ok_and(|changed| changed.is_ok()) {}
}

/// Ends with the network, or with the daemon's life.
async fn network_ends(life: &mut watch::Receiver<Life>, tunnels: &Network) {
    let present = *life.borrow();
    let ended = async { while life.changed().await.is_ok() && *life.borrow() == present {} };
    tokio::select! {
        () = ended => {}
        () = tunnels.removed() => {}
    }
}
