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
    /// Held by the connection whose address is asked for: one without a node holds up those to others.
    asking: tokio::sync::Mutex<()>,
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
                asking: tokio::sync::Mutex::default(),
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

    /// Waits until an address may be asked for, which the guard is for; none is needed where something was heard of it.
    /// The real daemon asks at most once a second, and the connection that asked before is the one that asks again.
    pub(super) async fn turn_to_ask(
        &self,
        ip: Ipv4Addr,
    ) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if self.is_known(ip) {
            return None;
        }
        let turn = self.asking.lock().await;
        // It may have answered another connection meanwhile.
        (!self.is_known(ip)).then_some(turn)
    }

    fn is_known(&self, ip: Ipv4Addr) -> bool {
        self.lock().heard.get(&ip).is_some_and(|heard| heard.elapsed() < TRUST)
    }

    /// Something was heard of an address.
    pub(super) fn heard(&self, ip: Ipv4Addr) {
        self.lock().heard.insert(ip, Instant::now());
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt as _;
    use ray_on_golem::core::rng::Seed;

    use super::Tunnels;

    #[tokio::test]
    async fn an_address_that_is_asked_for_holds_up_those_that_nothing_was_heard_of() {
        let network = Tunnels::new(Seed::new(1)).network("n");
        let [silent, known, fresh] = [1, 2, 3].map(|last| Ipv4Addr::new(10, 0, 0, last));
        network.heard(known);

        let asking = network.turn_to_ask(silent).await;

        assert!(asking.is_some());
        assert!(network.turn_to_ask(known).await.is_none(), "it need not be asked for");
        assert!(network.turn_to_ask(fresh).now_or_never().is_none(), "it waits");
        drop(asking);
        assert!(network.turn_to_ask(fresh).await.is_some());
    }
}
