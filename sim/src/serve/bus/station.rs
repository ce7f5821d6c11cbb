//! A node as its private network sees it: frames come, and its TCP answers them.
//!
//! A connection that a member wants is made when the node itself takes it: a port where nothing listens refuses, and a
//! node that is gone is silent. Both directions are then joined with the node's, their ends included.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use ray_on_golem::{
    network::End,
    tcp::{Knock, Stack, StackPlan, source},
    yagna::{
        ActivityId, Deployment, NetworkId, ProviderId,
        bus::control::{Answer, Control},
    },
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use super::Bus;
use crate::nodes::NodeHost;

/// Frames that wait to be taken; more are lost, as on any network.
const FRAMES_MAX: usize = 1024;
/// A node that takes a connection does so within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A node's end of a private network. It falls silent when it is dropped.
#[derive(Debug)]
pub(super) struct Station {
    activity: ActivityId,
    network: NetworkId,
    end: Arc<End>,
    members: Members,
    frames: mpsc::Sender<(ProviderId, Vec<u8>)>,
    task: AbortHandle,
}

/// What a station is made of.
#[derive(Debug)]
pub(super) struct StationPlan {
    pub(super) bus: Weak<Bus>,
    pub(super) host: NodeHost,
    pub(super) activity: ActivityId,
    pub(super) provider: ProviderId,
    pub(super) deployment: Deployment,
}

/// The others, as the node was told or has seen. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Members(Arc<Mutex<BTreeMap<Ipv4Addr, ProviderId>>>);

impl Station {
    /// A station that listens.
    pub(super) fn start(plan: StationPlan) -> Self {
        let StationPlan { bus, host, activity, provider, deployment } = plan;
        let Deployment { network, mask, node_ip, nodes, .. } = deployment;
        let prefix = u8::try_from(mask.to_bits().count_ones()).expect("at most 32");
        let end = End::new(StackPlan { address: node_ip, prefix, seed: rand::random() });
        let members = Members::default();
        {
            let mut stack = end.lock();
            stack.listen();
            for (ip, node) in nodes {
                stack.add(ip);
                members.lock().insert(ip, node);
            }
        }
        let (frames, incoming) = mpsc::channel(FRAMES_MAX);
        let driver = Driver {
            bus,
            host,
            provider,
            network: network.clone(),
            address: node_ip,
            end: Arc::clone(&end),
            members: members.clone(),
            incoming,
            talks: JoinSet::new(),
        };
        let task = tokio::spawn(driver.run()).abort_handle();
        Self { activity, network, end, members, frames, task }
    }

    /// The node's activity.
    pub(super) fn activity(&self) -> &ActivityId {
        &self.activity
    }

    /// Takes a frame of another member.
    pub(super) fn take(&self, from: &ProviderId, frame: Vec<u8>) {
        // A station that is behind loses some.
        let _ = self.frames.try_send((from.clone(), frame));
    }

    /// Does what is said about members, and answers it.
    pub(super) fn obey(&self, said: &[u8]) -> Vec<u8> {
        let unknown = || Answer::Refused(String::new());
        let answer = match Control::read(said) {
            Some(Control::AddNodes { network_id, nodes }) if network_id == self.network => {
                let nodes = nodes.into_iter().map(|(ip, node)| Some((ip.parse().ok()?, node)));
                nodes.collect::<Option<Vec<_>>>().map_or_else(unknown, |nodes| self.add(nodes))
            }
            Some(Control::RemoveNodes { network_id, node_ids }) if network_id == self.network => {
                let mut members = self.members.lock();
                let before = members.len();
                members.retain(|ip, node| {
                    let stays = !node_ids.contains(node);
                    if !stays {
                        self.end.with(|stack| stack.remove(*ip));
                    }
                    stays
                });
                if members.len() == before { unknown() } else { Answer::Done }
            }
            Some(Control::AddNodes { .. } | Control::RemoveNodes { .. }) | None => unknown(),
        };
        answer.to_bytes(said)
    }

    /// Adds members one after the other; those before one whose address is taken are there.
    fn add(&self, nodes: Vec<(Ipv4Addr, ProviderId)>) -> Answer {
        let mut members = self.members.lock();
        for (ip, node) in nodes {
            if members.contains_key(&ip) {
                return Answer::Taken;
            }
            members.insert(ip, node);
            self.end.with(|stack| stack.add(ip));
        }
        Answer::Done
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Members {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Ipv4Addr, ProviderId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of a station.
struct Driver {
    bus: Weak<Bus>,
    host: NodeHost,
    provider: ProviderId,
    network: NetworkId,
    address: Ipv4Addr,
    end: Arc<End>,
    members: Members,
    incoming: mpsc::Receiver<(ProviderId, Vec<u8>)>,
    /// Connections, and tries to make one.
    talks: JoinSet<()>,
}

impl Driver {
    async fn run(mut self) {
        let mut first = None;
        loop {
            let deadline = self.work(first.take());
            tokio::select! {
                frame = self.incoming.recv() => match frame {
                    Some(frame) => first = Some(frame),
                    None => return,
                },
                () = self.end.woken() => {}
                Some(_) = self.talks.join_next(), if !self.talks.is_empty() => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Takes what has come, and sends what there is. Says when to do so again.
    fn work(&mut self, first: Option<(ProviderId, Vec<u8>)>) -> Instant {
        let now = self.end.now();
        let mut next = first;
        let mut knocks = Vec::new();
        let deadline = {
            let mut members = self.members.lock();
            let mut stack = self.end.lock();
            for _ in 0..FRAMES_MAX {
                let Some((from, frame)) = next.take().or_else(|| self.incoming.try_recv().ok())
                else {
                    break;
                };
                learn(&mut members, &mut stack, from, &frame);
                stack.take(now, &frame);
            }
            let frames = stack.flush(now);
            knocks.extend(std::iter::from_fn(|| stack.next_knock()));
            let sent = frames.into_iter().filter_map(|(to, frame)| {
                let node = members.get(&to)?.clone();
                Some((node, frame))
            });
            let sent: Vec<(ProviderId, Vec<u8>)> = sent.collect();
            if let Some(bus) = self.bus.upgrade() {
                let deadline = stack.deadline();
                drop((members, stack));
                for (to, frame) in sent {
                    bus.push(&self.network, &self.provider, &to, frame);
                }
                deadline
            } else {
                None
            }
        };
        for knock in knocks {
            let node = (self.host.clone(), self.network.clone(), self.address);
            self.talks.spawn(talk(Arc::clone(&self.end), node, knock));
        }
        self.end.until(deadline)
    }
}

/// A node takes who sends a frame for a member, if it knows no other one there.
fn learn(
    members: &mut BTreeMap<Ipv4Addr, ProviderId>,
    stack: &mut Stack,
    from: ProviderId,
    frame: &[u8],
) {
    if let Some(ip) = source(frame).filter(|ip| !ip.is_unspecified()) {
        members.entry(ip).or_insert_with(|| {
            stack.add(ip);
            from
        });
    }
}

/// One connection, from the wish for it to its end.
async fn talk(end: Arc<End>, node: (NodeHost, NetworkId, Ipv4Addr), knock: Knock) {
    let (host, network, address) = node;
    let connecting = host.connect(network.as_str(), address, knock.port());
    let mut wire = match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(wire)) => wire,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return end.with(|stack| stack.refuse(knock));
        }
        Ok(Err(_)) | Err(_) => return end.with(|stack| stack.ignore(knock)),
    };
    let Some(id) = end.with(|stack| stack.admit(knock)) else { return };
    let mut stream = end.stream(id);
    if stream.made().await.is_ok() {
        // An error of one side resets the other one, when both are dropped.
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut wire).await;
    }
}
