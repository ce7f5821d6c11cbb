//! A network as it runs: one stack, one client of the bus, and the task that joins them.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{registry::Entry, stream::NodeStream};
use crate::{
    tcp::{Broken, ConnectError, ConnectionId, Stack, StackPlan, source},
    units::{Span, Timestamp},
    yagna::{
        NetworkId, ProviderId,
        bus::{Bus, BusAddress, BusPlan, Call, Link},
    },
};

/// Frames that wait to be taken: those that come when it is full are lost, as on any network.
const INCOMING_MAX: usize = 1024;
/// A stack that can send nothing still looks at its clock so often.
const IDLE: Duration = Duration::from_secs(1);
/// How long the last resets may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A running network. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Live {
    shared: Arc<Shared>,
    pub(super) bus: Bus,
    task: AbortHandle,
}

/// What the task and the streams of a network share.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    wake: Notify,
    /// Rung when there is no connection.
    idle: Notify,
}

struct Inner {
    stack: Stack,
    members: BTreeMap<Ipv4Addr, Place>,
}

/// Where a member is.
struct Place {
    provider: ProviderId,
    /// The name on the bus that its frames go to.
    raw: String,
}

impl Live {
    pub(super) fn start(id: &NetworkId, entry: &Entry, address: BusAddress) -> Self {
        let (incoming, frames) = mpsc::channel(INCOMING_MAX);
        let names = ["raw", "VpnControl"];
        let services = names.map(|name| format!("/public/vpn/{id}/{name}")).to_vec();
        // Two lives of this process have the same one, so that the later one ends the earlier.
        let instance = md5::compute(format!("ray-on-golem {id}")).0;
        let bus = Bus::start(BusPlan { address, instance, services }, incoming);
        let plan = StackPlan { address: entry.address, prefix: entry.prefix, seed: rand::random() };
        let clock = Clock::default();
        let stack = Stack::new(plan, clock.now());
        let inner = Mutex::new(Inner { stack, members: BTreeMap::new() });
        let shared = Arc::new(Shared { inner, wake: Notify::new(), idle: Notify::new() });
        let driver = Driver { shared: Arc::clone(&shared), bus: bus.clone(), frames, clock };
        let task = tokio::spawn(driver.run()).abort_handle();
        let live = Self { shared, bus, task };
        live.follow(id, entry);
        live
    }

    /// Lets the stack have the members of the entry.
    pub(super) fn follow(&self, id: &NetworkId, entry: &Entry) {
        let mut inner = self.shared.lock();
        let Inner { stack, members } = &mut *inner;
        let wanted: BTreeMap<Ipv4Addr, &ProviderId> = entry.members().collect();
        members.retain(|ip, place| {
            let stays = wanted.get(ip) == Some(&&place.provider);
            if !stays {
                stack.remove(*ip);
            }
            stays
        });
        for (ip, provider) in wanted {
            stack.add(ip);
            members.entry(ip).or_insert_with(|| Place {
                provider: provider.clone(),
                raw: format!("/udp/net/{provider}/vpn/{id}/raw"),
            });
        }
        drop(inner);
        self.shared.wake.notify_one();
    }

    /// Begins a connection, and waits until it is made; it is reset if nobody waits any more.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or the node refuses it.
    pub(super) fn connect(
        &self,
        to: SocketAddrV4,
    ) -> Result<impl Future<Output = Result<NodeStream, Broken>> + Send + use<>, ConnectError> {
        let id = self.shared.with(|stack| stack.connect(to))?;
        let stream = NodeStream::new(Arc::clone(&self.shared), id);
        let shared = Arc::clone(&self.shared);
        Ok(async move {
            made(&shared, id).await?;
            Ok(stream)
        })
    }

    /// Connections that are open, or still ending.
    pub(super) fn connections(&self) -> usize {
        self.shared.lock().stack.connections()
    }

    /// Resets all connections, and waits until the nodes have been told.
    pub(super) async fn reset(&self) {
        self.shared.with(Stack::abandon);
        let told = async {
            loop {
                let idle = self.shared.idle.notified();
                if self.connections() == 0 {
                    break;
                }
                idle.await;
            }
            // What is in the queue of the bus is on the socket then.
            self.bus.drained().await;
        };
        // A daemon that is away takes nothing.
        let _ = timeout(FAREWELL, told).await;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.with(Stack::abandon);
        self.task.abort();
    }
}

impl Shared {
    /// Does something with the stack, and has its frames sent.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Stack) -> T) -> T {
        let outcome = act(&mut self.lock().stack);
        self.wake.notify_one();
        outcome
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names on the bus are a secret.
        f.write_str("Shared")
    }
}

async fn made(shared: &Shared, id: ConnectionId) -> Result<(), Broken> {
    std::future::poll_fn(|cx| shared.lock().stack.poll_connected(id, cx)).await
}

/// The task of a network.
struct Driver {
    shared: Arc<Shared>,
    bus: Bus,
    frames: mpsc::Receiver<Call>,
    clock: Clock,
}

impl Driver {
    async fn run(mut self) {
        let mut link = self.bus.link();
        let mut first = None;
        loop {
            let is_up = *link.borrow_and_update() == Link::Up;
            let (deadline, is_full) = self.work(first.take(), is_up);
            tokio::select! {
                call = self.frames.recv() => first = call,
                () = self.shared.wake.notified() => {}
                () = self.bus.room(), if is_full => {}
                changed = link.changed() => {
                    // The task of the bus is gone only when all of it is.
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Takes what has come, and sends what there is. Says when to do so again, and whether the bus is full.
    fn work(&mut self, first: Option<Call>, is_up: bool) -> (Instant, bool) {
        let now = self.clock.now();
        let mut inner = self.shared.lock();
        let Inner { stack, members } = &mut *inner;
        let mut next = first;
        for _ in 0..INCOMING_MAX {
            let Some(call) = next.take().or_else(|| self.frames.try_recv().ok()) else { break };
            if is_of_member(&call, members) {
                stack.take(now, &call.data);
            }
        }
        stack.set_up(is_up);
        loop {
            stack.poll(now);
            let mut is_full = false;
            let mut sent = 0;
            while is_up && stack.has_frame() {
                let Some(room) = self.bus.try_room() else {
                    is_full = true;
                    break;
                };
                let Some((to, frame)) = stack.next_frame() else { break };
                sent += 1;
                if let Some(place) = members.get(&to) {
                    room.push(&place.raw, frame);
                }
            }
            // What was sent made room for more.
            if sent == 0 || is_full {
                if stack.connections() == 0 {
                    self.shared.idle.notify_waiters();
                }
                let deadline = if is_full { None } else { stack.deadline() };
                return (self.clock.instant(deadline), is_full);
            }
        }
    }
}

/// Whether a frame comes from whom it says: a node cannot speak for another one.
fn is_of_member(call: &Call, members: &BTreeMap<Ipv4Addr, Place>) -> bool {
    let is_frame = call.address.ends_with("/raw");
    let place = source(&call.data).and_then(|ip| members.get(&ip));
    is_frame && place.is_some_and(|place| call.caller.contains(place.provider.as_str()))
}

/// The time of a stack: it begins somewhere, and only goes on.
#[derive(Clone, Copy)]
struct Clock {
    began: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { began: Instant::now() }
    }
}

impl Clock {
    fn now(&self) -> Timestamp {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Timestamp::EPOCH.plus(Span::micros(micros))
    }

    fn instant(&self, at: Option<Timestamp>) -> Instant {
        let idle = Instant::now() + IDLE;
        at.map_or(idle, |at| {
            let micros = at.since(Timestamp::EPOCH).as_micros();
            (self.began + Duration::from_micros(micros)).min(idle)
        })
    }
}
