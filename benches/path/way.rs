//! Ways to a node, and how long bytes take on each.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{net::TcpStream, task::block_in_place, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Bytes, Message, client::IntoClientRequest as _},
};

use crate::{
    lab::{
        Lab, Market,
        kernel::KernelTcp,
        network::{Link, Node},
    },
    proxy::{Services, bytes, size},
};

/// What follows a download: its hash.
const HASH_LENGTH: usize = 64;
/// The largest frame that the daemon takes.
const FRAME_MAX: usize = 64 << 10;
/// A websocket into which all is poured at once may come to a trickle; it counts as if it was done by then.
const TRICKLE: Duration = Duration::from_secs(30);
const NETWORK: &str = "0123456789abcdef0123456789abcdef";
const PROVIDER: &str = "0x00000000000000000000000000000000000000b1";
const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

/// A way to a node.
pub(crate) enum Way<'a> {
    /// The product's `ssh-proxy`, whichever way it goes.
    Product(&'a dyn Services),
    /// A websocket of the daemon, frames as fast as they go. They arrive in any order.
    Websocket(&'a mut Websocket),
    /// The kernel's TCP, over the daemon's bus.
    Kernel(&'a mut Kernel),
}

/// A daemon with a node that is reached by the daemon's websocket.
pub(crate) struct Websocket {
    base: String,
    node: Node,
    lab: Lab,
}

/// A daemon with a node that is reached by the kernel's TCP.
pub(crate) struct Kernel {
    tcp: KernelTcp,
    node: Node,
    lab: Lab,
}

impl Way<'_> {
    /// How long it takes until the node has so many bytes, a new connection included.
    pub(crate) async fn up(&mut self, length: usize) -> Duration {
        match self {
            Way::Product(services) => {
                let content = bytes(length, 1);
                let start = Instant::now();
                let mut proxy = services.proxy("swallow");
                proxy.talk(&size(length), 8, 1).await;
                proxy.talk(&content, length, 1).await;
                start.elapsed()
            }
            Way::Websocket(websocket) => websocket.up(length).await,
            Way::Kernel(kernel) => block_in_place(|| kernel.tcp.up(length)),
        }
    }

    /// How long it takes until so many bytes of the node are here.
    pub(crate) async fn down(&mut self, length: usize) -> Duration {
        match self {
            Way::Product(services) => {
                let start = Instant::now();
                services.proxy("give").talk(&size(length), 8, length + HASH_LENGTH).await;
                start.elapsed()
            }
            Way::Websocket(websocket) => websocket.down(length).await,
            Way::Kernel(kernel) => block_in_place(|| kernel.tcp.down(length)),
        }
    }

    /// How long a byte takes there and back, so many times.
    pub(crate) async fn echoes(&mut self, times: usize) -> Vec<Duration> {
        let mut took = Vec::with_capacity(times);
        match self {
            Way::Product(services) => {
                let mut proxy = services.proxy("echo");
                // The first one waits for the connection.
                proxy.talk(b"x", 1, 1).await;
                for _ in 0..times {
                    let start = Instant::now();
                    proxy.talk(b"x", 1, 1).await;
                    took.push(start.elapsed());
                }
            }
            Way::Websocket(websocket) => {
                let mut socket = websocket.open("echo").await;
                for _ in 0..times {
                    let start = Instant::now();
                    say(&mut socket, b"x").await;
                    hear(&mut socket, 1).await;
                    took.push(start.elapsed());
                }
            }
            Way::Kernel(kernel) => {
                took.extend((0..=times).map(|_| block_in_place(|| kernel.tcp.echo())).skip(1));
            }
        }
        took
    }
}

impl Websocket {
    pub(crate) fn start() -> Self {
        let lab = Lab::start_central(&Market::empty());
        let node = lab.node("by-websocket");
        let api = lab.facts().api_url.trim_end_matches('/').replacen("http", "ws", 1);
        let base = format!("{api}/net-api/v2/vpn/net/{}", node.network);
        Self { base, node, lab }
    }

    async fn up(&mut self, length: usize) -> Duration {
        let content = bytes(length, 1);
        if let Ok(took) = timeout(TRICKLE, self.pour(&content)).await {
            return took;
        }
        // The daemon goes on with it, and connects to nothing else meanwhile.
        *self = block_in_place(Self::start);
        TRICKLE
    }

    async fn pour(&self, content: &[u8]) -> Duration {
        let length = content.len();
        let start = Instant::now();
        let mut socket = self.open("swallow").await;
        say(&mut socket, &size(length)).await;
        hear(&mut socket, 1).await;
        let (mut sink, mut stream) = socket.split();
        let send = async {
            for frame in content.chunks(FRAME_MAX) {
                let frame = Message::Binary(Bytes::copy_from_slice(frame));
                sink.send(frame).await.expect("the daemon takes all");
            }
        };
        // Pings are answered where something is read.
        let told =
            async { while !stream.next().await.expect("no end").expect("no error").is_binary() {} };
        tokio::join!(send, told);
        start.elapsed()
    }

    async fn down(&self, length: usize) -> Duration {
        let start = Instant::now();
        let mut socket = self.open("give").await;
        say(&mut socket, &size(length)).await;
        hear(&mut socket, length + HASH_LENGTH).await;
        start.elapsed()
    }

    async fn open(&self, service: &str) -> Socket {
        let url = format!("{}/tcp/{}/{}", self.base, self.node.ip, self.node.port(service));
        let mut request = url.into_client_request().expect("an address");
        let bearer = format!("Bearer {}", self.lab.facts().app_key).parse().expect("a word");
        request.headers_mut().insert("Authorization", bearer);
        connect_async(request).await.expect("the node listens").0
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn say(socket: &mut Socket, bytes: &[u8]) {
    let frame = Message::Binary(Bytes::copy_from_slice(bytes));
    socket.send(frame).await.expect("the daemon takes it");
}

async fn hear(socket: &mut Socket, length: usize) {
    let mut heard = 0;
    while heard < length {
        let message = socket.next().await.expect("no end").expect("no error");
        if message.is_binary() {
            heard += message.len();
        }
    }
}

impl Kernel {
    pub(crate) fn start() -> Self {
        let lab = Lab::start_central(&Market::empty());
        let node = lab.node_in("by-kernel", NETWORK, IP, PROVIDER);
        Self { tcp: lab.kernel_tcp(&node), node, lab }
    }

    pub(crate) fn name(&self) -> String {
        format!("the kernel's TCP ({}) over the bus", self.tcp.congestion_control)
    }

    /// Changes what the way to the node is like.
    pub(crate) fn shape(&self, link: Link) {
        self.lab.link(&self.node, link);
    }
}
