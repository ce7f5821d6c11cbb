//! The websocket into a private network, with the faults of the real one (0.17.6).
//!
//! - Frames of a client that wait together overtake each other (`order`); a client that waits until the network has
//!   answered a question after each frame keeps their order.
//! - A node's end is not passed on: pings go on, and the websocket ends when the node answers a later frame by a reset.
//! - A websocket that ends leaves the node's connection open, until the node ends it; so does a request that is refused
//!   because it asks for no websocket. A node learns of it when it says something, and not at all once the network is gone.
//! - One client that does not read holds up all connections of its network.
//! - What a node does not read is taken all the same, up to [`TAKEN_MAX`].
//! - An address without a node holds up connections to addresses that nothing was heard of, as long as it is asked for.
//! - A node that is gone is silent, and its connections end after two minutes; so are those of one that left the network.
//!
//! What is drawn is drawn from the seed, by the numbers of networks, connections, and frames.

mod handshake;
mod network;
mod order;
mod unfragmented;
mod wire;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{Method, Response, request::Parts},
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ray_on_golem::yagna::wire as http_wire;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, ReadHalf},
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, interval, sleep, sleep_until, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

pub(super) use network::Tunnels;

use self::{
    network::{Network, Slot},
    unfragmented::Unfragmented,
    wire::{Near, TAKEN_MAX},
};
use super::{State, daemon::Life, net, reply};
use crate::nodes::Wire;

/// A place that does not answer is given up after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that comes from a node in one frame: a segment. The real daemon gathers up to fourteen of them at times.
const FRAME_LENGTH: usize = 1346;
/// The most that is taken in one frame.
const FRAME_MAX: usize = 64 << 10;

/// The daemon's end of a websocket.
type WebSocket = WebSocketStream<Unfragmented<TokioIo<Upgraded>>>;

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
    /// The network is removed, or the daemon has ended.
    Network,
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
    let ip = match address_of(&state, &network, &ip, port).await {
        Ok(ip) => ip,
        Err(refusal) => return refusal,
    };
    let tunnels = state.tunnels.network(&network);
    let slot = tunnels.slot();
    // Who leaves from here on is heard of.
    let members = tunnels.members();
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let connecting = async {
        let _turn = tunnels.turn_to_ask(ip).await;
        let connected = match is_member(&state, &network, ip) {
            true => state.host.connect(&network, ip, port).await,
            false => Err(io::ErrorKind::HostUnreachable.into()),
        };
        match connected {
            Ok(node) => {
                tunnels.heard(ip);
                Ok((node, tunnels.room().await))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tunnels.heard(ip);
                Err(reply::message(400, "Socket closed"))
            }
            // No answer comes, and the address is asked for until the time is over.
            Err(_) => std::future::pending().await,
        }
    };
    let (node, room) = match timeout_at(deadline, connecting).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(refusal)) => return refusal,
        Err(_) => return reply::empty(504),
    };
    let (answer, upgrade) = match handshake::open(parts) {
        Ok(opened) => opened,
        Err(why) => {
            let mut life = state.daemon.life();
            tokio::spawn(async move {
                let (mut from_node, mut near) = Near::new(node, Arc::clone(&tunnels), slot);
                left(&mut from_node, &mut near, &mut life, &tunnels).await;
                drop(room);
            });
            return reply::message(400, &format!("Request error: {why}"));
        }
    };
    let life = state.daemon.life();
    let tunnel = Tunnel { state, life, members, network, tunnels, ip, slot, room };
    tokio::spawn(async move {
        // A client that is gone before it has its answer has no websocket.
        let Ok(upgraded) = upgrade.await else { return };
        let stream = Unfragmented::new(TokioIo::new(upgraded));
        let limits = WebSocketConfig::default()
            .max_frame_size(Some(FRAME_MAX))
            .max_message_size(Some(FRAME_MAX));
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
        tunnel.run(socket, node).await;
    });
    answer
}

/// Which address a request means, if a connection to it may be tried at all.
async fn address_of(
    state: &State,
    network: &str,
    ip: &str,
    port: u16,
) -> Result<Ipv4Addr, Response<Body>> {
    if let Some(refusal) = unknown(state, network) {
        return Err(refusal);
    }
    let ip = match ip.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip,
        Ok(IpAddr::V6(ip)) if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() => {
            return Err(reply::message(400, &format!("IP address not allowed: {ip}")));
        }
        Ok(IpAddr::V6(_)) => {
            sleep(CONNECT_TIMEOUT).await;
            return Err(reply::empty(504));
        }
        Err(_) => {
            let why = "Invalid IP address: invalid IP address syntax";
            return Err(reply::message(400, why));
        }
    };
    // Nodes that are plain processes have loopback addresses, which a real one has not.
    let is_own = ip.is_loopback() && state.host.network().is_none();
    if is_own || ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() {
        return Err(reply::message(400, &format!("IP address not allowed: {ip}")));
    }
    match port {
        0 => Err(reply::message(400, "Connection error: unaddressable destination")),
        _ => Ok(ip),
    }
}

/// What is said of a network that is not there.
fn unknown(state: &State, network: &str) -> Option<Response<Body>> {
    let inner = state.daemon.look();
    let is_there = inner.yagna.network(network).is_some();
    (!is_there).then(|| net::missing(&inner.yagna, network))
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
        let (hear, heard) = watch::channel(Instant::now());
        let mut life = self.life.clone();
        let ended = tokio::select! {
            () = upstream(from_client, &near, hear) => Side::Client,
            ended = self.downstream(&mut from_node, &near, to_client, heard) => ended,
            () = network_ends(&mut life, &self.tunnels) => Side::Network,
        };
        if ended == Side::Client {
            left(&mut from_node, &mut near, &mut self.life, &self.tunnels).await;
        }
        if ended == Side::Network {
            forgotten(&mut from_node, &mut self.life).await;
        }
        drop(self.room);
    }

    /// From the node to the client, with pings, until one of them is gone.
    async fn downstream(
        &self,
        from_node: &mut ReadHalf<Box<dyn Wire>>,
        near: &Near,
        mut client: SplitSink<WebSocket, Message>,
        heard: watch::Receiver<Instant>,
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
                // It is looked at here alone: a client that does not take a frame is waited for without an end.
                _ = pings.tick() => {
                    if heard.borrow().elapsed() > patience.silence {
                        return Side::Client;
                    }
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
        () = drain => return,
        () = broken => return,
        () = network_ends(life, tunnels) => {}
    }
    forgotten(node, life).await;
}

/// A connection whose network is no more: the node is never told, and keeps it until it ends by itself.
async fn forgotten(node: &mut (impl AsyncRead + Unpin), life: &mut watch::Receiver<Life>) {
    let mut unread = vec![0; FRAME_LENGTH];
    let drain = async { while let Ok(1..) = node.read(&mut unread).await {} };
    tokio::select! {
        () = drain => {}
        // Who would tell of it is gone as well.
        _ = life.wait_for(|life| *life == Life::Over) => {}
    }
}

/// From the client to the node, however slow that is.
async fn upstream(mut client: SplitStream<WebSocket>, near: &Near, heard: watch::Sender<Instant>) {
    while let Some(Ok(message)) = client.next().await {
        heard.send_replace(Instant::now());
        match message {
            Message::Binary(bytes) => near.take(bytes),
            Message::Text(text) => near.take(text.into()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            // It is answered when the next one is asked for, and there is no next one.
            Message::Close(_) => {}
        }
        if near.unread() > TAKEN_MAX {
            return;
        }
    }
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
