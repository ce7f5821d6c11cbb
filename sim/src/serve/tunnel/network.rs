//! What the connections of one private network share.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ray_on_golem::core::rng::Seed;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

/// TCP connections of a network at once, those among them that a client has left. The real daemon has no such limit: it
/// goes on until its memory, or its time for new ones, is over.
const CONNECTIONS_MAX: usize = 4_096;
/// Networks that are remembered.
const NETWORKS_MAX: usize = 1_000;
/// An address is asked for again when nothing was heard of it for so long.
const TRUST: Duration = Duration::from_secs(60);
/// Addresses are asked for so often, one at a time.
const ASKS_EVERY_MS: u64 = 1_000;
/// More addresses without a node do not hold up a connection for longer.
const ASKED_MAX: u64 = 9;

/// All networks that connections were made into.
#[derive(Debug)]
pub(in crate::serve) struct Tunnels {
    seed: Seed,
    networks: Mutex<BTreeMap<String, Arc<Network>>>,
}

/// One network.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) seed: Seed,
    id: String,
    state: Mutex<State>,
    /// Rung when a frame waits no more.
    taken: Notify,
    room: Arc<Semaphore>,
    /// Held by the connection whose client takes a frame: one that does not read holds up all others.
    pub(super) reading: tokio::sync::Mutex<()>,
    /// Told when a node joins the network or leaves it.
    members: watch::Sender<()>,
    is_removed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    connections: u64,
    frames: u64,
    /// Frames of clients that wait to be taken.
    waiting: BTreeSet<u64>,
    /// When something was last heard of an address.
    heard: BTreeMap<Ipv4Addr, Instant>,
    /// Connections that wait for an address without a node.
    in_vain: u64,
}

/// A connection of a network, by its number.
#[derive(Clone, Debug)]
pub(super) struct Slot(pub(super) String);

/// A frame that waits to be taken.
#[derive(Debug)]
pub(super) struct Waiting {
    network: Arc<Network>,
    number: u64,
}

/// A connection that waits for an address without a node.
#[derive(Debug)]
pub(super) struct InVain<'a>(&'a Network);

impl Tunnels {
    /// No connections; what is drawn for them comes from `seed`.
    pub(in crate::serve) fn new(seed: Seed) -> Self {
        Self { seed, networks: Mutex::default() }
    }

    /// Waits until the frames are taken that wait now: the network has one line for all that it does.
    pub(in crate::serve) async fn settled(&self, network: &str) {
        let found = self.lock().get(network).cloned();
        if let Some(network) = found {
            network.settled().await;
        }
    }

    /// A node has joined a network or left it.
    pub(in crate::serve) fn members_changed(&self, network: &str) {
        if let Some(network) = self.lock().get(network) {
            network.members.send_replace(());
        }
    }

    /// A network is removed, and all its connections end.
    pub(in crate::serve) fn remove(&self, network: &str) {
        if let Some(network) = self.lock().remove(network) {
            network.is_removed.send_replace(true);
        }
    }

    pub(super) fn network(&self, id: &str) -> Arc<Network> {
        let mut networks = self.lock();
        if networks.len() >= NETWORKS_MAX {
            networks.retain(|_, network| Arc::strong_count(network) > 1);
        }
        let fresh = || {
            Arc::new(Network {
                seed: self.seed,
                id: id.to_owned(),
                state: Mutex::default(),
                taken: Notify::new(),
                room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
                reading: tokio::sync::Mutex::default(),
                members: watch::Sender::default(),
                is_removed: watch::Sender::default(),
            })
        };
        Arc::clone(networks.entry(id.to_owned()).or_insert_with(fresh))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Network>>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network {
    /// A number for a new connection.
    pub(super) fn slot(&self) -> Slot {
        let mut state = self.lock();
        state.connections += 1;
        Slot(format!("{} {}", self.id, state.connections))
    }

    /// How long a connection waits until its address is asked for.
    pub(super) fn delay(&self, slot: &Slot, ip: Ipv4Addr) -> Duration {
        let state = self.lock();
        let is_known = state.heard.get(&ip).is_some_and(|heard| heard.elapsed() < TRUST);
        let others = state.in_vain.min(ASKED_MAX);
        if is_known || others == 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(self.seed.below(others * ASKS_EVERY_MS, &slot.0, 0, 1))
    }

    /// Something was heard of an address.
    pub(super) fn heard(&self, ip: Ipv4Addr) {
        self.lock().heard.insert(ip, Instant::now());
    }

    /// An address is asked for that has no node.
    pub(super) fn asks_in_vain(&self) -> InVain<'_> {
        self.lock().in_vain += 1;
        InVain(self)
    }

    /// Waits until there is room for one more connection.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.room).acquire_owned().await;
        room.expect("the semaphore is never closed")
    }

    /// A frame waits from here on until the guard is dropped.
    pub(super) fn wait(self: &Arc<Self>) -> Waiting {
        let mut state = self.lock();
        state.frames += 1;
        let number = state.frames;
        state.waiting.insert(number);
        Waiting { network: Arc::clone(self), number }
    }

    /// Word of nodes that join and leave.
    pub(super) fn members(&self) -> watch::Receiver<()> {
        self.members.subscribe()
    }

    /// Ends when the network is removed.
    pub(super) async fn removed(&self) {
        // The sender is this network's own.
        let _ = self.is_removed.subscribe().wait_for(|is_removed| *is_removed).await;
    }

    async fn settled(&self) {
        let last = self.lock().frames;
        loop {
            let taken = self.taken.notified();
            if self.lock().waiting.first().is_none_or(|first| *first > last) {
                return;
            }
            taken.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.network.lock().waiting.remove(&self.number);
        self.network.taken.notify_waiters();
    }
}

impl Drop for InVain<'_> {
    fn drop(&mut self) {
        self.0.lock().in_vain -= 1;
    }
}
