//! A node in a private network of a daemon, and a client of its websocket.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use golem_sim::{
    nodes::LocalSetup,
    serve::{Nodes, Patience},
};
use ray_on_golem::yagna::{ActivityId, NetworkPath, Request, Response};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::block_in_place,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::{
    lab::{self, Market, network::Link},
    local_node,
    served_lab::{self, HONEST},
};

/// What the real daemon says now and then of an open port: that it is closed, or, when the machine is busy, that it has not
/// answered in time.
const NOT_YET: [u16; 2] = [400, 504];
/// So often such a port is tried.
const OPEN_TRIES: u32 = 5;

/// How long something may take on a machine that does other things, too.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Which daemon it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// The simulated one behind a socket, with a local node.
    Http,
    /// A real one on a central net, with a node whose TCP is the kernel's.
    Real,
}

/// A node, its network, and its daemon; all end with it.
pub(crate) struct Site {
    url: String,
    pub(super) key: String,
    pub(super) network: String,
    ip: String,
    node: String,
    ports: BTreeMap<String, u16>,
    daemon: Daemon,
    client: reqwest::Client,
}

enum Daemon {
    Http { lab: Box<served_lab::Lab>, activity: ActivityId },
    Real { lab: Box<lab::Lab>, node: lab::network::Node },
}

/// A websocket.
pub(super) struct Socket(pub(super) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Site {
    /// A site of its own.
    pub(crate) async fn start(arm: Arm) -> Self {
        // Another case of this process may have installed it, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        match arm {
            Arm::Http => Self::http(client).await,
            Arm::Real => block_in_place(|| Self::real(client)),
        }
    }

    async fn http(client: reqwest::Client) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_ray-on-golem")).with_file_name("golem-sim");
        let setup = LocalSetup { program: Some(program), ..LocalSetup::default() };
        let nodes = Nodes::Local(Box::new(setup));
        let lab = served_lab::Lab::serve(HONEST, nodes, Patience::default()).await;
        let (ip, gateway) = ([192, 168, 0, 0].into(), [192, 168, 0, 1].into());
        let create = Request::CreateNetwork { path: NetworkPath::Daemon, ip, prefix: 24, gateway };
        let network = match lab.call(create).await {
            Ok(Response::NetworkCreated(network)) => network,
            other => panic!("{other:?}"),
        };
        let (provider, activity) = lab.rent().await;
        local_node::bring_up(&lab, &lab.client, &network, &provider, &activity).await;
        Self {
            url: lab.server.url(),
            key: served_lab::KEY.to_owned(),
            network: network.id.to_string(),
            ip: local_node::IP.to_string(),
            node: provider.to_string(),
            ports: local_node::PORTS.map(|(name, port)| (name.to_owned(), port)).into(),
            daemon: Daemon::Http { lab: Box::new(lab), activity },
            client,
        }
    }

    fn real(client: reqwest::Client) -> Self {
        let lab = lab::Lab::start_central(&Market::empty());
        let node = lab.node("alice");
        let ports = local_node::PORTS.map(|(name, _)| (name.to_owned(), node.port(name)));
        Self {
            url: lab.facts().api_url.trim_end_matches('/').to_owned(),
            key: lab.facts().app_key.clone(),
            network: node.network.clone(),
            ip: node.ip.to_string(),
            node: node.node_id.clone(),
            ports: ports.into(),
            daemon: Daemon::Real { lab: Box::new(lab), node },
            client,
        }
    }

    /// The port of a service of the node.
    pub(super) fn port(&self, service: &str) -> u16 {
        self.ports[service]
    }

    /// Where the websocket to a port of the node is.
    pub(super) fn path(&self, port: u16) -> String {
        format!("/net-api/v2/vpn/net/{}/tcp/{}/{port}", self.network, self.ip)
    }

    /// Opens a websocket to a service of the node.
    pub(super) async fn open(&self, service: &str) -> Socket {
        for _ in 0..OPEN_TRIES {
            match self.try_open_port(self.port(service)).await {
                Err(Error::Http(refused)) if NOT_YET.contains(&refused.status().as_u16()) => {}
                opened => return opened.expect("the node answers"),
            }
        }
        panic!("the port is not opened in {OPEN_TRIES} tries");
    }

    pub(super) async fn try_open_port(&self, port: u16) -> Result<Socket, Error> {
        self.try_open(&self.path(port), true).await
    }

    pub(super) async fn try_open(&self, path: &str, has_key: bool) -> Result<Socket, Error> {
        let url = format!("{}{path}", self.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        if has_key {
            let bearer = format!("Bearer {}", self.key).parse().expect("a word");
            request.headers_mut().insert("Authorization", bearer);
        }
        connect_async(request).await.map(|(socket, _)| Socket(socket))
    }

    /// Asks the daemon; the status and the text.
    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        self.ask(reqwest::Method::GET, path, None).await
    }

    /// Asks for a websocket by hand, with headers changed, or left out where they are empty; the status and the text.
    pub(super) async fn knock(&self, path: &str, changed: &[(&str, &str)]) -> (u16, String) {
        let bearer = format!("Bearer {}", self.key);
        let usual = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Authorization", bearer.as_str()),
        ];
        let mut headers = BTreeMap::from(usual);
        headers.extend(changed.iter().copied());
        // The daemon takes no second request on a connection that asked for another protocol.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build();
        let client = client.expect("a client");
        let mut request = client.get(format!("{}{path}", self.url)).timeout(PATIENCE);
        for (name, value) in headers {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.expect("the daemon answers");
        let status = answer.status().as_u16();
        // What follows a switch of protocols is no text, and has no end.
        let text = if status == 101 { String::new() } else { answer.text().await.expect("text") };
        (status, text)
    }

    /// Sends a document that is not read.
    pub(super) async fn post(&self, path: &str) -> (u16, String) {
        self.ask(reqwest::Method::POST, path, None).await
    }

    /// Asks the daemon to remove something; the status and the text.
    pub(super) async fn delete(&self, path: &str) -> (u16, String) {
        self.ask(reqwest::Method::DELETE, path, None).await
    }

    /// Lets the node join the network again.
    pub(super) async fn add_node(&self) {
        assert_eq!(self.try_add_node().await.0, 200);
    }

    /// Asks the daemon to let the node join the network; the status and the text.
    pub(super) async fn try_add_node(&self) -> (u16, String) {
        let path = format!("{}/net-api/v2/vpn/net/{}/nodes", self.url, self.network);
        let node = format!(r#"{{"id": "{}", "ip": "{}"}}"#, self.node, self.ip);
        let request = self.client.post(path).bearer_auth(&self.key).timeout(PATIENCE);
        let request = request.header("Content-Type", "application/json").body(node);
        let answer = request.send().await.expect("the daemon answers");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    /// A connection to the daemon that answers no pings, on which a websocket has been asked for.
    pub(super) async fn mute(&self, path: &str) -> TcpStream {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("the daemon listens");
        let key = &self.key;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {key}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("the daemon reads");
        stream
    }

    /// Opens a websocket to a service of the node as `open` does, and reads no more than the head of the answer.
    pub(super) async fn open_mute(&self, service: &str) -> TcpStream {
        for _ in 0..OPEN_TRIES {
            let mut stream = self.mute(&self.path(self.port(service))).await;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(
                    timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("a head"),
                );
            }
            let head = String::from_utf8_lossy(&head);
            if !NOT_YET.iter().any(|status| head.starts_with(&format!("HTTP/1.1 {status} "))) {
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                return stream;
            }
        }
        panic!("the port is not opened in {OPEN_TRIES} tries");
    }

    /// Where the websocket to a port of another address is.
    pub(super) fn path_to(&self, ip: &str, port: &str) -> String {
        format!("/net-api/v2/vpn/net/{}/tcp/{ip}/{port}", self.network)
    }

    /// The address of the node.
    pub(super) fn ip(&self) -> &str {
        &self.ip
    }

    /// How many connections to a service the node has, as it sees it.
    pub(super) async fn count(&self, service: &str) -> u64 {
        let mut socket = self.open("count").await;
        socket.send(&self.port(service).to_be_bytes()).await;
        let count = socket.next().await;
        String::from_utf8_lossy(&count).parse().expect("a number")
    }

    /// How many connections to a service the node's system has, which is asked through the activity. A node of the real
    /// daemon's lab that runs no commands cannot be asked.
    pub(super) async fn established(&self, service: &str) -> Option<u64> {
        let Daemon::Http { lab, activity } = &self.daemon else { return None };
        let count = format!("grep -c ':{:04X} .* 01 ' /proc/net/tcp || true", self.port(service));
        let results = lab.results(activity, vec![served_lab::sh(&count)]).await;
        let said = results.last().and_then(|result| result.stdout.clone()).expect("a number");
        Some(said.trim().parse().expect("a number"))
    }

    /// Takes the node out of the network.
    pub(super) async fn remove_node(&self) {
        let path = format!("/net-api/v2/vpn/net/{}/nodes/{}", self.network, self.node);
        assert_eq!(self.delete(&path).await.0, 200);
    }

    pub(super) async fn remove_network(&self) {
        let path = format!("/net-api/v2/vpn/net/{}", self.network);
        assert_eq!(self.delete(&path).await.0, 200);
    }

    /// Lets the node be gone, without a word of it.
    pub(super) async fn kill_node(&self) {
        match &self.daemon {
            Daemon::Http { activity, .. } => {
                let path = format!("/sim/nodes/{activity}");
                let kill = Some(r#"{"kill": true}"#);
                assert_eq!(self.ask(reqwest::Method::POST, &path, kill).await.0, 200);
            }
            Daemon::Real { lab, node } => {
                let (lag, loss_permille, reorder_permille) = (None, None, None);
                let silent = Link { lag, loss_permille, reorder_permille, is_silent: Some(true) };
                block_in_place(|| lab.link(node, silent));
            }
        }
    }

    /// Ends it.
    pub(crate) async fn end(self) {
        match self.daemon {
            Daemon::Http { lab, .. } => lab.server.end().await,
            Daemon::Real { lab, .. } => block_in_place(|| drop(lab)),
        }
    }

    async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&'static str>,
    ) -> (u16, String) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        request = request.bearer_auth(&self.key).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        let answer = request.send().await.expect("the daemon answers");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }
}

impl Socket {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.send(Message::Binary(bytes.to_vec().into())).await.expect("it is open");
    }

    /// Waits for a message; what the node says meanwhile.
    pub(super) async fn until(&mut self, is_it: impl Fn(&Message) -> bool) -> Vec<u8> {
        let mut said = Vec::new();
        let wait = async {
            while let Some(message) = self.0.next().await {
                let message = message.expect("it is open");
                if is_it(&message) {
                    return;
                }
                if let Message::Binary(bytes) = message {
                    said.extend_from_slice(&bytes);
                }
            }
            panic!("it ended");
        };
        timeout(PATIENCE, wait).await.expect("in time");
        said
    }

    /// The next bytes of the node.
    pub(super) async fn next(&mut self) -> Vec<u8> {
        let wait = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Binary(bytes))) => return bytes.to_vec(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("in time")
    }

    /// So many bytes of the node.
    pub(super) async fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend(self.next().await);
        }
        assert_eq!(bytes.len(), length);
        bytes
    }

    /// What an echo says to one frame.
    pub(super) async fn echo(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes).await;
        self.read(bytes.len()).await
    }

    /// What comes until the end, which is no farewell.
    pub(super) async fn until_end(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        let end = async {
            while let Some(Ok(message)) = self.0.next().await {
                match message {
                    Message::Binary(bytes) => said.extend_from_slice(&bytes),
                    Message::Close(_) => panic!("the daemon says no farewell"),
                    Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                }
            }
        };
        timeout(PATIENCE, end).await.expect("in time");
        said
    }
}

/// The status and the text of a refusal.
pub(super) fn refusal(error: &Error) -> (u16, String) {
    let Error::Http(answer) = error else { panic!("{error}") };
    let body = answer.body().as_deref().unwrap_or_default();
    (answer.status().as_u16(), String::from_utf8_lossy(body).into_owned())
}

/// Bytes whose order matters, different for each seed.
pub(super) fn pattern(size: usize, seed: u64) -> Vec<u8> {
    let word =
        |at: usize| (at as u64 + (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    (0..size.div_ceil(8)).flat_map(word).take(size).collect()
}

/// The hash as the services of a node tell it.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a string takes all");
    }
    text
}
