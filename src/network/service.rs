//! All private networks of our own: what the machine asks about them is answered as the daemon does.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::Notify,
    task::{AbortHandle, spawn_blocking},
    time::timeout,
};

use super::{
    live::Live,
    registry::{Entry, Registry, RegistryError, Tell},
    stream::NodeStream,
    teller,
};
use crate::{
    tcp::{Broken, ConnectError},
    units::Span,
    yagna::{
        CallError, Deployment, Network, NetworkId, NetworkPath, ProviderId, Request, Response,
        Status,
        bus::{BusAddress, Link},
    },
};

const ONLY_IPV4: &str = "A network over the bus has addresses of IPv4 only";

/// The private networks of a data directory. Clones are the same; [`Networks::end`] ends them.
#[derive(Clone, Debug)]
pub struct Networks(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    /// Where the daemon's bus is; none if there is none to be used.
    bus: Option<BusAddress>,
    state: Mutex<State>,
    changed: Notify,
    /// Writers of the file take turns.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    registry: Registry,
    live: BTreeMap<NetworkId, Running>,
}

#[derive(Debug)]
struct Running {
    live: Arc<Live>,
    teller: AbortHandle,
}

/// How a network is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether the daemon's bus is reached.
    pub link: Link,
    /// Connections to its nodes.
    pub connections: usize,
    /// How much its members do not know of each other.
    pub untold: usize,
}

/// Why there is no connection to a node.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// There is no such network.
    #[error("the private network of the cluster is not known any more")]
    NoNetwork,
    /// It cannot be made from here.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The node does not listen there, or reset it.
    #[error("the node at {0} refuses the connection")]
    Refused(SocketAddrV4),
    /// It took too long.
    #[error("no connection to {to} within {patience}")]
    TimedOut {
        /// Where to.
        to: SocketAddrV4,
        /// How long was waited.
        patience: Span,
    },
    /// The daemon is away.
    #[error("the daemon's bus cannot be reached: {0}")]
    NoBus(String),
}

impl Networks {
    /// Goes on with the networks of the data directory `data`, over the bus at `bus`. Without one they are known, and
    /// nothing is carried.
    ///
    /// # Errors
    ///
    /// If its file is not understood.
    pub fn open(data: &Path, bus: Option<BusAddress>) -> Result<Self, RegistryError> {
        let registry = Registry::open(data)?;
        let state = Mutex::new(State { registry, live: BTreeMap::new() });
        let (changed, turn) = (Notify::new(), tokio::sync::Mutex::default());
        let networks = Self(Arc::new(Inner { bus, state, changed, turn }));
        networks.follow();
        Ok(networks)
    }

    /// The bus that carries them.
    #[must_use]
    pub fn bus(&self) -> Option<&BusAddress> {
        self.0.bus.as_ref()
    }

    /// Whether a network is one of these.
    #[must_use]
    pub fn has(&self, network: &NetworkId) -> bool {
        self.0.state().registry.networks().contains_key(network)
    }

    /// Our own address in a network.
    #[must_use]
    pub fn address(&self, network: &NetworkId) -> Option<Ipv4Addr> {
        Some(self.0.state().registry.networks().get(network)?.address)
    }

    /// How a network is.
    #[must_use]
    pub fn health(&self, network: &NetworkId) -> Option<Health> {
        let state = self.0.state();
        let live = &state.live.get(network)?.live;
        let link = live.bus.link().borrow().clone();
        let untold = state.registry.networks().get(network)?.untold();
        Some(Health { link, connections: live.connections(), untold })
    }

    /// Answers a request about networks; `None` if it is about something else, or about a network that is none of
    /// these. A network is created once for each gateway.
    pub async fn serve(&self, request: &Request) -> Option<Result<Response, CallError>> {
        if let Request::CreateNetwork { path: NetworkPath::Bus, ip, prefix, gateway } = request {
            let created = match (ip, gateway) {
                (IpAddr::V4(ip), IpAddr::V4(gateway)) => self.create(*ip, *prefix, *gateway).await,
                (IpAddr::V4(_) | IpAddr::V6(_), _) => Err(refused(400, ONLY_IPV4)),
            };
            return Some(created.map(Response::NetworkCreated));
        }
        if let Request::ListNetworks = request {
            return Some(Ok(Response::Networks(self.list())));
        }
        if let Request::RemoveNetwork { network } = request
            && self.has(network)
        {
            let id = network.clone();
            let removed = self.change(move |networks| Ok(networks.remove(&id))).await;
            return Some(removed.map(|_| Response::NetworkRemoved));
        }
        if let Request::AddNode { network, provider, ip } = request
            && self.has(network)
        {
            let IpAddr::V4(ip) = *ip else {
                return Some(Err(refused(400, ONLY_IPV4)));
            };
            let provider = provider.clone();
            let joined = self.change_one(network.clone(), move |it| it.join(ip, &provider));
            return Some(joined.await.map(|()| Response::NodeAdded));
        }
        if let Request::RemoveNode { network, provider } = request
            && self.has(network)
        {
            let provider = provider.clone();
            let left = self.change_one(network.clone(), move |it| {
                it.leave(&provider);
                Ok(())
            });
            return Some(left.await.map(|()| Response::NodeRemoved));
        }
        None
    }

    /// What a node of one of these networks must be deployed with: us, `requestor`, among the others, for a node
    /// answers whom it knows. What it knows from then on is noted.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub async fn deploy(
        &self,
        deployment: &mut Deployment,
        requestor: &ProviderId,
    ) -> Result<(), CallError> {
        let Some(address) = self.address(&deployment.network) else { return Ok(()) };
        deployment.nodes.retain(|(ip, _)| *ip != address);
        deployment.nodes.insert(0, (address, requestor.clone()));
        let (ip, nodes) = (deployment.node_ip, deployment.nodes.clone());
        let note = move |entry: &mut Entry| {
            entry.deployed(ip, &nodes);
            Ok(())
        };
        self.change_one(deployment.network.clone(), note).await
    }

    /// Connects to a node, but waits no longer than `patience`.
    ///
    /// # Errors
    ///
    /// If there is no such node, or it refuses, or it does not answer.
    pub async fn connect(
        &self,
        network: &NetworkId,
        to: SocketAddrV4,
        patience: Span,
    ) -> Result<NodeStream, NetworkError> {
        let live = {
            let state = self.0.state();
            Arc::clone(&state.live.get(network).ok_or(NetworkError::NoNetwork)?.live)
        };
        let connecting = live.connect(to)?;
        match timeout(Duration::from_micros(patience.as_micros()), connecting).await {
            Ok(made) => made.map_err(|Broken| NetworkError::Refused(to)),
            Err(_) => match live.bus.link().borrow().clone() {
                Link::Up => Err(NetworkError::TimedOut { to, patience }),
                Link::Down { why } => Err(NetworkError::NoBus(why)),
            },
        }
    }

    /// Ends: all connections are reset, and the nodes told so as far as they can be reached.
    pub async fn end(&self) {
        let live = std::mem::take(&mut self.0.state().live);
        for running in live.into_values() {
            running.teller.abort();
            running.live.reset().await;
        }
    }

    fn list(&self) -> Vec<Network> {
        self.0.state().registry.networks().iter().map(|(id, it)| it.told_as(id)).collect()
    }

    async fn create(
        &self,
        ip: Ipv4Addr,
        prefix: u8,
        gateway: Ipv4Addr,
    ) -> Result<Network, CallError> {
        // Below it is no room for us, a gateway, and a node.
        if !(1..=29).contains(&prefix) {
            return Err(refused(400, &format!("Invalid network: {ip}/{prefix}")));
        }
        self.change(move |networks| {
            if let Some((id, entry)) = networks.iter().find(|(_, it)| it.gateway == gateway) {
                return Ok(entry.told_as(id));
            }
            let id = NetworkId::from(format!("{:032x}", rand::random::<u128>()));
            let entry = Entry::new(ip, prefix, gateway);
            let network = entry.told_as(&id);
            networks.insert(id, entry);
            Ok(network)
        })
        .await
    }

    async fn change_one<T: Send + 'static>(
        &self,
        id: NetworkId,
        change: impl FnOnce(&mut Entry) -> Result<T, String> + Send + 'static,
    ) -> Result<T, CallError> {
        self.change(move |networks| {
            let entry = networks.get_mut(&id).ok_or_else(|| refused(404, "Network not found"))?;
            change(entry).map_err(|why| refused(400, &why))
        })
        .await
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut BTreeMap<NetworkId, Entry>) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let outcome = self.0.change(change).await;
        self.follow();
        outcome.map_err(|error| CallError::NotSent { why: error.to_string() })?
    }

    /// Lets what runs be what the registry says.
    fn follow(&self) {
        let mut state = self.0.state();
        let State { registry, live } = &mut *state;
        let networks = registry.networks();
        live.retain(|id, running| {
            let stays = networks.contains_key(id);
            if !stays {
                running.teller.abort();
            }
            stays
        });
        for (id, entry) in networks {
            if let Some(running) = live.get(id) {
                running.live.follow(id, entry);
                continue;
            }
            let Some(bus) = &self.0.bus else { continue };
            let started = Live::start(id, entry, bus.clone());
            let telling = teller::keep(Arc::downgrade(&self.0), id.clone(), started.bus.clone());
            let teller = tokio::spawn(telling).abort_handle();
            live.insert(id.clone(), Running { live: Arc::new(started), teller });
        }
        drop(state);
        self.0.changed.notify_waiters();
    }
}

impl Inner {
    /// What the members of a network must be told; none if there is no such network.
    pub(super) fn tells(&self, network: &NetworkId) -> Option<Vec<Tell>> {
        Some(self.state().registry.networks().get(network)?.tells().collect())
    }

    /// Ends when something has changed after this was called.
    pub(super) fn changed(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let inner = Arc::clone(self);
        let mut notified = Box::pin(async move { inner.changed.notified().await });
        // It counts from here on.
        let waker = std::task::Waker::noop();
        let _ = notified.as_mut().poll(&mut std::task::Context::from_waker(waker));
        notified
    }

    /// Notes what a member knows. If that cannot be kept, the member is told once more after a restart.
    pub(super) async fn told(
        self: &Arc<Self>,
        network: &NetworkId,
        tell: &Tell,
        known: Option<&ProviderId>,
    ) {
        let (network, tell, known) = (network.clone(), tell.clone(), known.cloned());
        let note = move |networks: &mut BTreeMap<NetworkId, Entry>| {
            if let Some(entry) = networks.get_mut(&network) {
                entry.told(&tell.to, tell.ip, known.as_ref());
            }
        };
        let _ = self.change(note).await;
    }

    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut BTreeMap<NetworkId, Entry>) -> T + Send + 'static,
    ) -> Result<T, RegistryError> {
        let _turn = self.turn.lock().await;
        let mut registry = self.state().registry.clone();
        let written = spawn_blocking(move || {
            let outcome = registry.change(change);
            (registry, outcome)
        });
        let (registry, outcome) = written.await.expect("a change of the registry does not panic");
        self.state().registry = registry;
        outcome
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(status: u16, body: &str) -> CallError {
    CallError::Rejected { status: Status(status), body: body.to_owned() }
}
