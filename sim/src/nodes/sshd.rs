//! The ssh server of a local node, in the node's first process.
//!
//! OpenSSH's own server needs more user ids than a namespace of an ordinary user has. This one lets in the keys of
//! `authorized_keys`, as root, and serves commands, terminals, and forwarded ports.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt as _,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use russh::{
    Channel, ChannelMsg, ChannelOpenFailure, MethodKind,
    keys::{Algorithm, PrivateKey, load_secret_key, ssh_key::LineEnding},
    server::{
        self, Auth, ChannelOpenHandle, Handle, Handler, Msg, Session, VerifiedPublicKey, run_stream,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    task::{AbortHandle, JoinHandle},
};

use super::{
    keys,
    orders::Ground,
    reaper::Reaper,
    session,
    stall::{Flow, Switch},
};

const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";
const AUTHORIZED_KEYS: &str = "/root/.ssh/authorized_keys";
/// Chunks of at most 32 KiB that wait for a slow reader. The connection reads on meanwhile, since what a reader waits
/// for may come behind them.
pub(super) const QUEUE_CHUNKS: usize = 2048;

/// What the server finds in its node.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// What its files are on.
    pub(super) ground: Ground,
    /// The node's address.
    pub(super) address: Ipv4Addr,
    /// The variables of every process.
    pub(super) environment: Vec<(String, String)>,
}

/// What a session starts its processes with.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) reaper: Reaper,
    pub(super) surroundings: Surroundings,
}

/// The server.
#[derive(Debug)]
pub(super) struct Sshd {
    launcher: Arc<Launcher>,
    switch: Switch,
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl Sshd {
    /// A server that does not listen yet; it leaves its host key where an image's server has it.
    pub(super) fn new(reaper: Reaper, surroundings: Surroundings) -> io::Result<Self> {
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519);
        let key = key.map_err(io::Error::other)?;
        let secret = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        let host_key = surroundings.ground.at(HOST_KEY);
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&host_key)?;
        io::Write::write_all(&mut file, secret.as_bytes())?;
        let public = key.public_key().to_openssh().map_err(io::Error::other)?;
        fs::write(host_key.with_extension("pub"), format!("{public}\n"))?;
        let launcher = Arc::new(Launcher { reaper, surroundings });
        Ok(Self { launcher, switch: Switch::default(), listening: Mutex::default() })
    }

    /// Listens, with the host key that is on the disk now. Sessions that are open stay so.
    pub(super) async fn start(&self) -> io::Result<()> {
        let mut listening = self.listening.lock().await;
        if let Some(old) = listening.take() {
            old.abort();
            // It ends as cancelled, and has given its port back then.
            let _ = old.await;
        }
        self.switch.turn(Flow::Open);
        let Surroundings { ground, address, .. } = &self.launcher.surroundings;
        let key = load_secret_key(ground.at(HOST_KEY), None).map_err(io::Error::other)?;
        let config = Arc::new(server::Config {
            keys: vec![key],
            methods: (&[MethodKind::PublicKey][..]).into(),
            auth_rejection_time: Duration::ZERO,
            inactivity_timeout: None,
            nodelay: true,
            ..server::Config::default()
        });
        let address = ground.directory().map_or(Ipv4Addr::UNSPECIFIED, |_| *address);
        let listener = TcpListener::bind((address, ground.ssh_port())).await?;
        let (launcher, switch) = (Arc::clone(&self.launcher), self.switch.clone());
        *listening = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (config, stream) = (Arc::clone(&config), switch.guard(stream));
                let visitor =
                    Visitor { launcher: Arc::clone(&launcher), forwards: BTreeMap::new() };
                tokio::spawn(async move {
                    // A client that breaks the protocol loses its connection, and that is all.
                    if let Ok(session) = run_stream(config, stream, visitor).await {
                        let _ = session.await;
                    }
                });
            }
        }));
        Ok(())
    }

    /// Falls silent, or speaks again.
    pub(super) fn stall(&self, is_stalled: bool) {
        self.switch.turn(if is_stalled { Flow::Stalled } else { Flow::Open });
    }
}

impl Surroundings {
    /// The address that is the node's own where its loopback is the host's; its services may listen there.
    fn own_loopback(&self, host: &str) -> Option<Ipv4Addr> {
        let is_loopback = matches!(host, "localhost" | "127.0.0.1");
        self.ground.directory().filter(|_| is_loopback).map(|_| self.address)
    }
}

/// One connection.
struct Visitor {
    launcher: Arc<Launcher>,
    /// Ports that are forwarded to the client, by the address and port that it asked for.
    forwards: BTreeMap<(String, u32), AbortHandle>,
}

impl Drop for Visitor {
    fn drop(&mut self) {
        for listening in self.forwards.values() {
            listening.abort();
        }
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let file = self.launcher.surroundings.ground.at(AUTHORIZED_KEYS);
        let known = fs::read_to_string(file).unwrap_or_default();
        let is_known =
            keys::in_text(&known).iter().any(|known| known.key_data() == key.public_key.key_data());
        Ok(if is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        tokio::spawn(session::serve(channel, session.handle(), Arc::clone(&self.launcher)));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (host, port) = (host_to_connect.to_owned(), u16::try_from(port_to_connect));
        let own = self.launcher.surroundings.own_loopback(host_to_connect);
        tokio::spawn(async move {
            let connected = match (port, own) {
                (Ok(port), Some(own)) if let Ok(stream) = TcpStream::connect((own, port)).await => {
                    Some(stream)
                }
                (Ok(port), _) => TcpStream::connect((host.as_str(), port)).await.ok(),
                (Err(_), _) => None,
            };
            match connected {
                Some(stream) => {
                    reply.accept().await;
                    relay(channel, stream).await;
                }
                None => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let Ok(wanted) = u16::try_from(*port) else { return Ok(false) };
        // As OpenSSH does unless it is told otherwise: whatever the client asks for, only the node itself gets in.
        let inside = self.launcher.surroundings.own_loopback("localhost");
        let inside = inside.unwrap_or(Ipv4Addr::LOCALHOST);
        let Ok(listener) = TcpListener::bind((inside, wanted)).await else {
            return Ok(false);
        };
        let Ok(bound) = listener.local_addr() else { return Ok(false) };
        *port = u32::from(bound.port());
        let key = (address.to_owned(), *port);
        let accepting = tokio::spawn(accept_for(listener, key.clone(), session.handle()));
        self.forwards.insert(key, accepting.abort_handle());
        Ok(true)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let listening = self.forwards.remove(&(address.to_owned(), port));
        let is_known = listening.is_some();
        if let Some(listening) = listening {
            listening.abort();
        }
        Ok(is_known)
    }
}

/// Hands the connections to a forwarded port to the client that asked for it.
async fn accept_for(listener: TcpListener, (address, port): (String, u32), client: Handle) {
    while let Ok((stream, peer)) = listener.accept().await {
        let (address, client) = (address.clone(), client.clone());
        tokio::spawn(async move {
            let (host, from) = (IpAddr::to_string(&peer.ip()), u32::from(peer.port()));
            // A client that refuses closes the stream.
            if let Ok(channel) =
                client.channel_open_forwarded_tcpip(address, port, host, from).await
            {
                relay(channel, stream).await;
            }
        });
    }
}

/// Carries bytes both ways until both ends have said their last.
async fn relay(channel: Channel<Msg>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (mut incoming, outgoing) = channel.split();
    let (mut reader, mut writer) = stream.into_split();
    let (queue, mut queued) = mpsc::channel::<Bytes>(QUEUE_CHUNKS);
    let inward = async {
        let mut queue = Some(queue);
        while let Some(message) = incoming.wait().await {
            if let ChannelMsg::Data { data } = message {
                if let Some(queue) = &queue {
                    // The writer is gone when the stream is broken.
                    let _ = queue.send(data).await;
                }
            } else if let ChannelMsg::Eof = message {
                queue = None;
            } else if let ChannelMsg::Close = message {
                return;
            }
        }
    };
    let writing = async {
        while let Some(bytes) = queued.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    let reading = async {
        let mut chunk = vec![0; 32 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut chunk).await {
            if outgoing.data_bytes(chunk[..count].to_vec()).await.is_err() {
                return;
            }
        }
        let _ = outgoing.eof().await;
    };
    tokio::select! {
        () = inward => {}
        ((), ()) = async { tokio::join!(writing, reading) } => {}
    }
    let _ = outgoing.close().await;
}
