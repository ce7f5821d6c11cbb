//! A network as it runs: one stack, one client of the bus, and the task that joins them.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{end::End, registry::Entry, stream::NodeStream};
use crate::{
    tcp::{Broken, ConnectError, Stack, StackPlan, source},
    yagna::{
        NetworkId, ProviderId,
        bus::{Bus, BusAddress, BusPlan, Call, Link},
    },
};

/// Frames that wait to be taken: those that come when it is full are lost, as on any network.
const INCOMING_MAX: usize = 1024;
/// How long the last resets may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A running network. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Live {
    shared: Arc<Shared>,
    pub(super) bus: Bus,
    task: AbortHandle,
}

/// What the task and those who connect share.
struct Shared {
    end: Arc<End>,
    members: Mutex<BTreeMap<Ipv4Addr, Place>>,
    /// Rung when there is no connection.
    idle: Notify,
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
        let (members, idle) = (Mutex::default(), Notify::new());
        let shared = Arc::new(Shared { end: End::new(plan), members, idle });
        let driver = Driver { shared: Arc::clone(&shared), bus: bus.clone(), frames };
        let task = tokio::spawn(driver.run()).abort_handle();
        let live = Self { shared, bus, task };
        live.follow(id, entry);
        live
    }

    /// Lets the stack have the members of the entry.
    pub(super) fn follow(&self, id: &NetworkId, entry: &Entry) {
        let mut members = self.shared.members();
        let mut stack = self.shared.end.lock();
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
        drop(stack);
        // The resets of those who are gone are sent.
        self.shared.end.with(|_| ());
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
        let end = &self.shared.end;
        let stream = end.stream(end.with(|stack| stack.connect(to))?);
        Ok(async move {
            stream.made().await?;
            Ok(stream)
        })
    }

    /// Connections that are open, or still ending.
    pub(super) fn connections(&self) -> usize {
        self.shared.end.lock().connections()
    }

    /// Resets all connections, and waits until the nodes have been told.
    pub(super) async fn reset(&self) {
        self.shared.end.with(Stack::abandon);
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
        self.shared.end.with(Stack::abandon);
        self.task.abort();
    }
}

impl Shared {
    fn members(&self) -> MutexGuard<'_, BTreeMap<Ipv4Addr, Place>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names on the bus are a secret.
        f.write_str("Shared")
    }
}

/// The task of a network.
struct Driver {
    shared: Arc<Shared>,
    bus: Bus,
    frames: mpsc::Receiver<Call>,
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
                () = self.shared.end.woken() => {}
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
        let end = &self.shared.end;
        let now = end.now();
        let members = self.shared.members();
        let mut stack = end.lock();
        let mut next = first;
        for _ in 0..INCOMING_MAX {
            let Some(call) = next.take().or_else(|| self.frames.try_recv().ok()) else { break };
            if is_of_member(&call, &members) {
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
                return (end.until(deadline), is_full);
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
