//! A node: a real ssh server in this process. Its commands run in a shell here, with a home directory
//! of their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use russh::{
    Channel, ChannelId, ChannelMsg,
    keys::{Algorithm, PrivateKey, PublicKey},
    server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream, copy, copy_bidirectional},
    net::TcpStream,
    process::Command,
    sync::watch,
};

pub(crate) struct Node {
    authorized: PublicKey,
    host_key: Mutex<PrivateKey>,
    home: TempDir,
    /// Where connections to the node's own ports go.
    services: Mutex<BTreeMap<u32, SocketAddr>>,
    /// Who carries which port away from the node.
    forwards: watch::Sender<BTreeMap<u32, Handle>>,
    /// Ports that are taken by somebody else.
    taken: Mutex<BTreeSet<u32>>,
    /// Whether commands begin and never end.
    stalls: AtomicBool,
    /// How many commands have ended.
    ended: watch::Sender<usize>,
}

impl Node {
    pub(crate) fn new(authorized: &str) -> Arc<Self> {
        Arc::new(Self {
            authorized: PublicKey::from_openssh(authorized).expect("a public key"),
            host_key: Mutex::new(new_key()),
            home: tempfile::tempdir().expect("a directory"),
            services: Mutex::default(),
            forwards: watch::Sender::default(),
            taken: Mutex::default(),
            stalls: AtomicBool::default(),
            ended: watch::Sender::default(),
        })
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The public half of its host key, as its file has it.
    pub(crate) fn host_key(&self) -> String {
        let key = self.host_key.lock().expect("nobody panics").public_key().to_openssh();
        key.expect("a sound key")
    }

    /// Another machine answers from now on.
    pub(crate) fn replace(&self) {
        *self.host_key.lock().expect("nobody panics") = new_key();
    }

    pub(crate) fn stall(&self) {
        self.stalls.store(true, Ordering::SeqCst);
    }

    /// Waits until so many commands have ended.
    pub(crate) async fn has_ended(&self, commands: usize) {
        let mut ended = self.ended.subscribe();
        ended.wait_for(|count| *count >= commands).await.expect("the node lives");
    }

    pub(crate) fn offer(&self, port: u16, at: SocketAddr) {
        self.services.lock().expect("nobody panics").insert(port.into(), at);
    }

    pub(crate) fn take(&self, port: u16) {
        self.taken.lock().expect("nobody panics").insert(port.into());
    }

    pub(crate) fn give_back(&self, port: u16) {
        self.taken.lock().expect("nobody panics").remove(&port.into());
    }

    /// Connects to a port of the node that somebody carries away.
    pub(crate) async fn dial(&self, port: u16) -> Option<Channel<Msg>> {
        let handle = self.forwards.borrow().get(&port.into())?.clone();
        handle.channel_open_forwarded_tcpip("127.0.0.1", port.into(), "127.0.0.1", 5).await.ok()
    }

    /// How many channels it can open to the other side of this port's tunnel, of all kinds that nobody has asked for.
    pub(crate) async fn intrude(&self, port: u16) -> usize {
        let handle = self.forwards.borrow().get(&port.into()).expect("a tunnel").clone();
        let opened = [
            handle.channel_open_session().await,
            handle.channel_open_agent().await,
            handle.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 5).await,
            handle.channel_open_direct_streamlocal("/run/socket").await,
            handle.channel_open_forwarded_streamlocal("/run/socket").await,
            handle.channel_open_x11("127.0.0.1", 5).await,
        ];
        opened.iter().filter(|channel| channel.is_ok()).count()
    }

    /// A new connection to the ssh service.
    pub(crate) fn connect(self: &Arc<Self>) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 << 10);
        let config = server::Config {
            keys: vec![self.host_key.lock().expect("nobody panics").clone()],
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            ..server::Config::default()
        };
        let guest = Guest { node: Arc::clone(self), channels: BTreeMap::new() };
        tokio::spawn(async move {
            // Connections end in all ways.
            if let Ok(session) = server::run_stream(Arc::new(config), far, guest).await {
                let _ = session.await;
            }
        });
        near
    }
}

fn new_key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).expect("a key")
}

struct Guest {
    node: Arc<Node>,
    channels: BTreeMap<ChannelId, Channel<Msg>>,
}

impl server::Handler for Guest {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let is_known = key.public_key.key_data() == self.node.authorized.key_data();
        Ok(if user == "root" && is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let channel = self.channels.remove(&id).expect("it was opened");
        session.channel_success(id)?;
        let command = String::from_utf8(command.to_vec()).expect("commands are text");
        let node = Arc::clone(&self.node);
        tokio::spawn(async move {
            if node.stalls.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            run(&command, node.home(), channel).await;
            node.ended.send_modify(|count| *count += 1);
        });
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, russh::Error> {
        let is_taken = self.node.taken.lock().expect("nobody panics").contains(port);
        if is_taken || address != "127.0.0.1" {
            return Ok(false);
        }
        let (handle, port) = (session.handle(), *port);
        self.node.forwards.send_modify(|forwards| {
            forwards.insert(port, handle);
        });
        Ok(true)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let service = self.node.services.lock().expect("nobody panics").get(&port).copied();
        let Some(service) = service.filter(|_| host == "127.0.0.1") else { return Ok(()) };
        tokio::spawn(async move {
            let mut socket = TcpStream::connect(service).await.expect("the test listens");
            reply.accept().await;
            // Connections end in all ways.
            let _ = copy_bidirectional(&mut socket, &mut channel.into_stream()).await;
        });
        Ok(())
    }
}

/// Runs a command as sshd does.
async fn run(command: &str, home: &Path, channel: Channel<Msg>) {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("there is a shell");
    let mut stdin = child.stdin.take();
    let (mut stdout, mut stderr) =
        (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let (mut read, write) = channel.split();
    let feed = async {
        loop {
            match read.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    let Some(pipe) = &mut stdin else { continue };
                    if pipe.write_all(&data).await.is_err() {
                        stdin = None;
                    }
                }
                Some(ChannelMsg::Eof) => stdin = None,
                Some(_) => {}
                // The connection was cut: the command's input ends, as with sshd.
                None => break stdin = None,
            }
        }
        std::future::pending::<()>().await;
    };
    let tell = async {
        let (mut out, mut complaints) = (write.make_writer(), write.make_writer_ext(Some(1)));
        // The client may be gone.
        let _ = tokio::join!(copy(&mut stdout, &mut out), copy(&mut stderr, &mut complaints));
        let status = child.wait().await.expect("it was started");
        if let Some(code) = status.code() {
            let _ = write.exit_status(code.try_into().expect("codes are small")).await;
        }
        let _ = write.eof().await;
        let _ = write.close().await;
    };
    tokio::select! {
        () = feed => {}
        () = tell => {}
    }
}
