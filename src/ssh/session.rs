//! One ssh connection to a node: to look whether it answers, to run a command, to bring a file.
//!
//! A login has a deadline and tells how far it came. The key that the node shows must be the one that it
//! was seen with before; the first one is kept once a login with it succeeded.

use std::{
    borrow::Cow,
    fmt,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    ChannelMsg, Disconnect,
    client::{self, Handle},
    keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate},
};
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use super::{
    host_keys::{HostKeys, HostKeysError},
    keys::KeyPair,
    quote::quoted,
    tunnel::Inbound,
};
use crate::{
    core::ids::NodeId,
    network::{Leash, WayError, Ways},
    units::Span,
    yagna::NetworkId,
};

/// The most that is kept of what a command writes, for each of its two streams.
const OUTPUT_MAX: usize = 1 << 20;

/// The most that is shown of what a command complained about.
const COMPLAINT_MAX: usize = 300;

/// What a command wrote may follow its exit status, but something that it left behind may hold its
/// output open for ever.
const AFTER_EXIT: Duration = Duration::from_secs(2);

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often a node is asked whether it is there, unless it is said otherwise. After three questions
/// without an answer the connection is over.
pub(super) const KEEPALIVE: Span = Span::secs(10);

/// Asked of a node to see whether commands run.
const TRIVIAL: &str = "true";

/// How to get into a node.
#[derive(Clone, Debug)]
pub struct Login {
    /// The ways to nodes.
    pub ways: Ways,
    /// The private network.
    pub network: NetworkId,
    /// The node's address in it.
    pub ip: Ipv4Addr,
    /// Where its ssh service listens.
    pub port: u16,
    /// The user to be there.
    pub user: String,
    /// What opens the node.
    pub key: KeyPair,
    /// The node, whose host key is looked up.
    pub node: NodeId,
    /// The host keys of its cluster.
    pub hosts: HostKeys,
}

/// An ssh connection that is logged in. Dropping it cuts it.
pub struct Session {
    handle: Handle<Client>,
    /// Closed with the connection; it then says why.
    over: watch::Receiver<String>,
    leash: Leash,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code; none if a signal ended it.
    pub code: Option<u32>,
    /// What it wrote, up to 1 MiB.
    pub stdout: Vec<u8>,
    /// What it complained about, up to 1 MiB.
    pub stderr: Vec<u8>,
}

/// A file to bring to a node.
#[derive(Clone, PartialEq, Eq)]
pub struct Upload {
    /// Where it shall be; directories are made if need be.
    pub path: String,
    /// Its permissions, such as `0o600`.
    pub mode: u32,
    /// Its content; debug output does not show it.
    pub bytes: Vec<u8>,
}

/// Why something could not be done on a node.
#[derive(Debug, Error)]
pub enum SshError {
    /// There is no connection.
    #[error(transparent)]
    Way(#[from] WayError),
    /// The node does not have the key that it had.
    #[error(
        "{node} shows another host key ({seen}) than before ({known}): somebody else may answer in \
         its place"
    )]
    OtherHostKey {
        /// The node.
        node: NodeId,
        /// The fingerprint of the key that it must have.
        known: String,
        /// The fingerprint of the key that it has.
        seen: String,
    },
    /// The node does not take our key.
    #[error("the ssh service refuses the key of `{user}`")]
    KeyRefused {
        /// The user that we wanted to be.
        user: String,
    },
    /// It took too long.
    #[error("no answer within {patience} while {doing}")]
    Silent {
        /// What was tried.
        doing: &'static str,
        /// How long was waited.
        patience: Span,
    },
    /// The connection broke, or the node said something else.
    #[error("the connection failed while {doing}: {why}")]
    Broken {
        /// What was tried.
        doing: &'static str,
        /// What happened.
        why: String,
    },
    /// A connection that was well is over.
    #[error("the ssh connection is lost: {why}")]
    Lost {
        /// What happened.
        why: String,
    },
    /// The node does not give the port.
    #[error("port {port} of the node is taken")]
    PortTaken {
        /// Which port.
        port: u16,
    },
    /// A command failed.
    #[error("{doing} failed on the node: {why}")]
    Failed {
        /// What was tried.
        doing: String,
        /// What the command said, or how it ended.
        why: String,
    },
    /// The host key could not be kept.
    #[error(transparent)]
    HostKeys(#[from] HostKeysError),
}

/// Looks whether a node lets us in and runs commands.
///
/// # Errors
///
/// If it does not, or not within `patience`; the text says how far it came.
pub async fn probe(login: &Login, patience: Span) -> Result<(), SshError> {
    let deadline = Deadline::of(patience);
    let session = Session::enter(login, deadline, KEEPALIVE, None).await?;
    session.command(TRIVIAL, b"", deadline).await?.succeeded(TRIVIAL)?;
    session.close().await;
    Ok(())
}

impl Session {
    /// Logs in to a node.
    ///
    /// # Errors
    ///
    /// If the node does not let us in within `patience`.
    pub async fn open(login: &Login, patience: Span) -> Result<Self, SshError> {
        Self::enter(login, Deadline::of(patience), KEEPALIVE, None).await
    }

    /// Runs a command in the user's shell, with `stdin` as its input.
    ///
    /// # Errors
    ///
    /// If it does not end within `patience`, or the connection breaks. A command that fails is no
    /// error here: [`Finished::succeeded`] makes it one.
    pub async fn run(
        &self,
        command: &str,
        stdin: &[u8],
        patience: Span,
    ) -> Result<Finished, SshError> {
        self.command(command, stdin, Deadline::of(patience)).await
    }

    /// Brings a file to the node: whole or not at all. Its content goes through the connection only.
    ///
    /// # Errors
    ///
    /// If it is not there within `patience`.
    pub async fn upload(&self, upload: &Upload, patience: Span) -> Result<(), SshError> {
        let script = upload.script();
        let finished = self.command(&script, &upload.bytes, Deadline::of(patience)).await?;
        finished.succeeded(&format!("the upload of `{}`", upload.path))
    }

    /// Says farewell.
    pub async fn close(self) {
        // It may be over already.
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
        let _ = timeout(FAREWELL, self.handle).await;
        self.leash.release();
    }

    pub(super) async fn enter(
        login: &Login,
        deadline: Deadline,
        keepalive: Span,
        inbound: Option<Inbound>,
    ) -> Result<Self, SshError> {
        let stream =
            login.ways.connect(&login.network, login.ip, login.port, deadline.patience).await?;
        // Whatever ends this future early ends the connection, too.
        let leash = stream.leash();
        let known = login.hosts.of(login.node);
        let seen = Seen::default();
        let (alive, over) = watch::channel(String::new());
        let client = Client { known: known.clone(), seen: Seen::clone(&seen), inbound, alive };
        let config = Arc::new(config(known.as_ref(), keepalive));
        let connecting = client::connect_stream(config, stream, client);
        let mut handle = match deadline.within("shaking hands", connecting).await {
            Err(SshError::Broken { doing, why }) => {
                return Err(login
                    .stranger(known.as_ref(), &seen)
                    .unwrap_or(SshError::Broken { doing, why }));
            }
            other => other?,
        };
        login.authenticate(&mut handle, deadline).await?;
        let session = Self { handle, over, leash };
        if let Some(key) = take(&seen) {
            login.hosts.pin(login.node, login.ip, &key)?;
        }
        Ok(session)
    }

    pub(super) const fn handle(&self) -> &Handle<Client> {
        &self.handle
    }

    /// Waits until the connection is over, and says why.
    pub(super) async fn over(&self) -> SshError {
        let mut over = self.over.clone();
        while over.changed().await.is_ok() {}
        let why = over.borrow().clone();
        SshError::Lost { why }
    }

    pub(super) async fn command(
        &self,
        command: &str,
        stdin: &[u8],
        deadline: Deadline,
    ) -> Result<Finished, SshError> {
        let doing = "asking for a command";
        let channel = deadline.within(doing, self.handle.channel_open_session()).await?;
        deadline.within(doing, channel.exec(true, command)).await?;
        deadline.within("a command runs", converse(channel, stdin)).await
    }
}

impl Finished {
    /// Makes an error of a command that failed; `doing` says what it was for.
    ///
    /// # Errors
    ///
    /// If the exit code is not 0.
    pub fn succeeded(&self, doing: &str) -> Result<(), SshError> {
        if self.code == Some(0) {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&self.stderr);
        let mut why: String = complaint.trim().chars().take(COMPLAINT_MAX).collect();
        if why.is_empty() {
            why = match self.code {
                Some(code) => format!("exit code {code}"),
                None => "ended by a signal".to_owned(),
            };
        }
        Err(SshError::Failed { doing: doing.to_owned(), why })
    }
}

impl Upload {
    /// A script that takes the content as its input. The size is compared: the input of a command
    /// ends also when its connection is cut.
    fn script(&self) -> String {
        let Self { path, mode, bytes } = self;
        let directory = path.rsplit_once('/').map_or(".", |(directory, _)| directory);
        let directory = quoted(if directory.is_empty() { "/" } else { directory });
        let (path, draft) = (quoted(path), quoted(&format!("{path}.new")));
        let length = bytes.len();
        format!(
            "set -e; umask 022; mkdir -p {directory}; rm -f {draft}; (umask 077; cat > {draft}); \
             if [ $(wc -c < {draft}) -ne {length} ]; then rm -f {draft}; echo 'cut short' >&2; exit \
             1; fi; chmod {mode:o} {draft}; mv -f {draft} {path}"
        )
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?})", self.leash)
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({}, {:o}, {} bytes)", self.path, self.mode, self.bytes.len())
    }
}

impl Login {
    async fn authenticate(
        &self,
        handle: &mut Handle<Client>,
        deadline: Deadline,
    ) -> Result<(), SshError> {
        let doing = "logging in";
        let key = self.key.key();
        let hash = if key.algorithm().is_rsa() {
            let best = deadline.within(doing, handle.best_supported_rsa_hash()).await?;
            best.unwrap_or(Some(HashAlg::Sha256))
        } else {
            None
        };
        let key = PrivateKeyWithHashAlg::new(key, hash);
        let answer =
            deadline.within(doing, handle.authenticate_publickey(self.user.as_str(), key)).await?;
        if answer.success() {
            return Ok(());
        }
        Err(SshError::KeyRefused { user: self.user.clone() })
    }

    /// The error if the node showed another key than the known one.
    fn stranger(&self, known: Option<&PublicKey>, seen: &Seen) -> Option<SshError> {
        let (known, seen) = (known?, take(seen)?);
        (known.key_data() != seen.key_data()).then(|| SshError::OtherHostKey {
            node: self.node,
            known: known.fingerprint(HashAlg::Sha256).to_string(),
            seen: seen.fingerprint(HashAlg::Sha256).to_string(),
        })
    }
}

/// The key that the node showed.
type Seen = Arc<Mutex<Option<PublicKey>>>;

/// What the library asks during a connection.
#[derive(Debug)]
pub(super) struct Client {
    known: Option<PublicKey>,
    seen: Seen,
    /// Where connections go that come from the node.
    inbound: Option<Inbound>,
    /// Goes with the connection, and says why it went.
    alive: watch::Sender<String>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Ok(false);
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        Ok(self.known.as_ref().is_none_or(|known| known.key_data() == key.key_data()))
    }

    async fn disconnected(
        &mut self,
        reason: client::DisconnectReason<russh::Error>,
    ) -> Result<(), russh::Error> {
        let why = match &reason {
            client::DisconnectReason::ReceivedDisconnect(said) => said.message.clone(),
            client::DisconnectReason::Error(error) => error.to_string(),
        };
        self.alive.send_replace(why);
        match reason {
            client::DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            client::DisconnectReason::Error(error) => Err(error),
        }
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: russh::Channel<client::Msg>,
        _connected_address: &str,
        _connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        match &self.inbound {
            Some(inbound) => inbound.take(channel, reply),
            None => drop(reply),
        }
        Ok(())
    }

    // A node opens no channel but those of a tunnel that was asked for: a reply that is dropped refuses. russh accepts by
    // default, and keeps each.

    async fn server_channel_open_session(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _socket_path: &str,
        _reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _socket_path: &str,
        _reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: russh::Channel<client::Msg>,
        _originator_address: &str,
        _originator_port: u32,
        _reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }
}

/// A point in time by which all must be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    patience: Span,
}

impl Deadline {
    pub(super) fn of(patience: Span) -> Self {
        Self { at: Instant::now() + Duration::from_micros(patience.as_micros()), patience }
    }

    pub(super) async fn within<T, E: fmt::Display>(
        self,
        doing: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, SshError> {
        match timeout_at(self.at, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(SshError::Broken { doing, why: error.to_string() }),
            Err(_) => Err(SshError::Silent { doing, patience: self.patience }),
        }
    }
}

fn take(seen: &Seen) -> Option<PublicKey> {
    seen.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn config(known: Option<&PublicKey>, keepalive: Span) -> client::Config {
    let mut config = client::Config {
        keepalive_interval: Some(Duration::from_micros(keepalive.as_micros())),
        keepalive_max: 3,
        ..client::Config::default()
    };
    if let Some(known) = known {
        // A node has keys of several kinds, and shows one of the kind that it is asked for. RSA is
        // one kind with several hashes.
        let wanted = known.algorithm();
        let is_rsa = wanted.clone().is_rsa();
        let all = config.preferred.key.iter().cloned();
        let same: Vec<Algorithm> =
            all.filter(|one| *one == wanted || (is_rsa && one.clone().is_rsa())).collect();
        if !same.is_empty() {
            config.preferred.key = Cow::Owned(same);
        }
    }
    config
}

/// Gives a command its input and takes its output until it has ended.
async fn converse(
    channel: russh::Channel<client::Msg>,
    stdin: &[u8],
) -> Result<Finished, russh::Error> {
    let (mut read, write) = channel.split();
    let giving = async {
        write.data(stdin).await?;
        write.eof().await
    };
    tokio::pin!(giving);
    let (mut is_given, mut has_ended) = (false, false);
    let mut finished = Finished { code: None, stdout: Vec::new(), stderr: Vec::new() };
    loop {
        let next = async {
            if has_ended {
                timeout(AFTER_EXIT, read.wait()).await.ok().flatten()
            } else {
                read.wait().await
            }
        };
        let message = tokio::select! {
            message = next => message,
            // A command may end without taking all of its input.
            _ = &mut giving, if !is_given => {
                is_given = true;
                continue;
            }
        };
        match message {
            Some(ChannelMsg::Data { data }) => keep(&mut finished.stdout, &data),
            Some(ChannelMsg::ExtendedData { data, .. }) => keep(&mut finished.stderr, &data),
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                finished.code = Some(exit_status);
                has_ended = true;
            }
            Some(ChannelMsg::ExitSignal { .. }) => has_ended = true,
            Some(ChannelMsg::Failure) => return Err(russh::Error::RequestDenied),
            Some(ChannelMsg::Close) | None if has_ended => return Ok(finished),
            Some(ChannelMsg::Close) | None => return Err(russh::Error::Disconnect),
            Some(_) => {}
        }
    }
}

fn keep(kept: &mut Vec<u8>, more: &[u8]) {
    let room = OUTPUT_MAX.saturating_sub(kept.len());
    kept.extend_from_slice(&more[..more.len().min(room)]);
}
