//! Virtual nodes: an ssh server in this process that lets in whom the bootstrap script names, and
//! pretends to have run whatever it is told.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use russh::{
    Channel, ChannelId, MethodKind,
    keys::{Algorithm, PrivateKey, PublicKey},
    server::{self, Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey},
};
use tokio::io::duplex;

use super::{
    Finished, NodeError, NodeSpec, SSH_PORT, Wire, keys,
    stall::{Flow, Switch},
};

/// How much the files of a node may have, all together.
const FILES_BYTES_MAX: usize = 64 << 20;
/// How much an in-memory connection holds in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// The virtual nodes of a host.
#[derive(Debug, Default)]
pub(super) struct VirtualNodes {
    running: Mutex<BTreeMap<String, Node>>,
}

#[derive(Debug)]
struct Node {
    spec: NodeSpec,
    keys: Arc<Mutex<Vec<PublicKey>>>,
    config: Arc<server::Config>,
    /// Files that were copied to it.
    files: BTreeMap<String, Vec<u8>>,
    /// All connections since the ssh server was last started, if it was.
    ssh: Option<Switch>,
}

impl VirtualNodes {
    pub(super) fn start(&self, spec: NodeSpec) -> Result<(), NodeError> {
        let mut running = self.lock();
        if running.contains_key(&spec.activity) {
            return Err(NodeError::Taken(spec.activity));
        }
        let at = (&spec.network, spec.address);
        if running.values().any(|node| (&node.spec.network, node.spec.address) == at) {
            return Err(NodeError::Taken(spec.address.to_string()));
        }
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(|error| {
            NodeError::Broken { activity: spec.activity.clone(), reason: error.to_string() }
        })?;
        let config = server::Config {
            keys: vec![key],
            methods: (&[MethodKind::PublicKey][..]).into(),
            auth_rejection_time: Duration::ZERO,
            inactivity_timeout: None,
            ..server::Config::default()
        };
        let node = Node {
            spec,
            keys: Arc::default(),
            config: Arc::new(config),
            files: BTreeMap::new(),
            ssh: None,
        };
        running.insert(node.spec.activity.clone(), node);
        Ok(())
    }

    pub(super) fn run(
        &self,
        activity: &str,
        program: &str,
        args: &[String],
    ) -> Result<Finished, NodeError> {
        self.with(activity, |node| {
            for text in args {
                node.keys
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(keys::in_text(text));
            }
            let mentions =
                |what: &str| program.contains(what) || args.iter().any(|text| text.contains(what));
            let is_started = mentions("service ssh start")
                || mentions("service ssh restart")
                || mentions("sshd");
            if is_started && let Some(switch) = node.ssh.replace(Switch::default()) {
                switch.turn(Flow::Cut);
            }
            let is_asked = mentions("cat /etc/ssh/ssh_host_ed25519_key.pub");
            let host_key = if is_asked { node.host_key() } else { String::new() };
            Finished { stdout: host_key.into_bytes(), ..Finished::default() }
        })
    }

    pub(super) fn write(&self, activity: &str, path: &str, bytes: &[u8]) -> Result<(), NodeError> {
        self.with(activity, |node| {
            let others = node.files.iter().filter(|(name, _)| *name != path);
            let used: usize = others.map(|(_, bytes)| bytes.len()).sum();
            if used + bytes.len() > FILES_BYTES_MAX {
                return Err(broken(activity, format!("writing `{path}`: no space left on device")));
            }
            node.files.insert(path.to_owned(), bytes.to_vec());
            Ok(())
        })?
    }

    pub(super) fn read(&self, activity: &str, path: &str) -> Result<Vec<u8>, NodeError> {
        self.with(activity, |node| {
            let found = node.files.get(path).cloned();
            found.ok_or_else(|| broken(activity, format!("reading `{path}`: no such file")))
        })?
    }

    pub(super) fn connect(
        &self,
        network: &str,
        address: Ipv4Addr,
        port: u16,
    ) -> io::Result<Box<dyn Wire>> {
        let running = self.lock();
        let found = running
            .values()
            .find(|node| node.spec.network == network && node.spec.address == address)
            .ok_or(io::ErrorKind::HostUnreachable)?;
        let switch = match &found.ssh {
            Some(switch) if port == SSH_PORT => switch.clone(),
            Some(_) | None => return Err(io::ErrorKind::ConnectionRefused.into()),
        };
        let (near, far) = duplex(PIPE_BYTES);
        let visitor = Visitor { keys: Arc::clone(&found.keys) };
        let config = Arc::clone(&found.config);
        tokio::spawn(async move {
            // A client that breaks the protocol loses its connection, and that is all.
            if let Ok(session) = server::run_stream(config, switch.guard(far), visitor).await {
                let _ = session.await;
            }
        });
        Ok(Box::new(near))
    }

    pub(super) fn has(&self, network: &str, address: Ipv4Addr) -> bool {
        let at = (network, address);
        self.lock().values().any(|node| (node.spec.network.as_str(), node.spec.address) == at)
    }

    pub(super) fn stop(&self, activity: &str) {
        if let Some(node) = self.lock().remove(activity) {
            node.cut();
        }
    }

    pub(super) fn stall_ssh(&self, activity: &str, is_stalled: bool) -> Result<(), NodeError> {
        self.with(activity, |node| {
            if let Some(switch) = &node.ssh {
                switch.turn(if is_stalled { Flow::Stalled } else { Flow::Open });
            }
        })
    }

    /// A disk that nobody writes to may be as full as it likes.
    pub(super) fn fill_disk(&self, activity: &str, _is_full: bool) -> Result<(), NodeError> {
        self.with(activity, |_| ())
    }

    pub(super) fn end(&self) {
        for node in std::mem::take(&mut *self.lock()).into_values() {
            node.cut();
        }
    }

    fn with<T>(&self, activity: &str, act: impl FnOnce(&mut Node) -> T) -> Result<T, NodeError> {
        let mut running = self.lock();
        let node = running.get_mut(activity);
        node.map(act).ok_or_else(|| NodeError::Unknown(activity.to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// The public half of its host key, as its file has it.
    fn host_key(&self) -> String {
        let keys = self.config.keys.iter().filter_map(|key| key.public_key().to_openssh().ok());
        keys.map(|key| format!("{key}\n")).collect()
    }

    fn cut(&self) {
        if let Some(switch) = &self.ssh {
            switch.turn(Flow::Cut);
        }
    }
}

fn broken(activity: &str, reason: String) -> NodeError {
    NodeError::Broken { activity: activity.to_owned(), reason }
}

/// One connection to a virtual node.
struct Visitor {
    keys: Arc<Mutex<Vec<PublicKey>>>,
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let offered = key.public_key.key_data();
        let is_known = keys.is_empty() || keys.iter().any(|known| known.key_data() == offered);
        Ok(if is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        mut channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        // What the client sends is read to its end, so that it never waits for room.
        tokio::spawn(async move { while channel.wait().await.is_some() {} });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }
}
