//! The daemon's bus: a socket where clients register names and call each other's, and where frames of private networks
//! go to nodes and come from them.
//!
//! `router` knows the clients, their names, and calls without a reply; it decides and does no I/O. A `station` is a
//! node as its private network sees it: what it is sent ends in the TCP of `ray_on_golem::tcp`, and each connection is
//! joined with the node itself. Stations outlive the daemon, as nodes do.

mod router;
mod station;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ray_on_golem::yagna::{
    ActivityId, Deployment, NetworkId, ProviderId,
    bus::{BusAddress, Call, Decoder, Hello, Packet, Reply, identity, socket},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use self::{
    router::{Line, Router},
    station::{Station, StationPlan},
};
use super::{ServeError, daemon::Life, world};
use crate::nodes::NodeHost;

/// Packets that wait for a client; more are lost.
const OUTGOING_MAX: usize = 4096;
/// What is read, and written, in one go.
const CHUNK: usize = 64 << 10;
/// Clients are asked so often whether they are there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// They are not if nothing was heard of them for so long.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// A socket that cannot be had now may be had later.
const LISTENS_EVERY: Duration = Duration::from_millis(100);

const BAD_REQUEST: u32 = 400;
const FAILURE: u32 = 500;

/// The bus.
#[derive(Debug)]
pub(super) struct Bus {
    identity: ProviderId,
    host: NodeHost,
    /// Whether nodes are reached over it.
    has_nodes: bool,
    router: Mutex<Router>,
    stations: Mutex<BTreeMap<(ProviderId, NetworkId), Station>>,
}

/// Where its socket is. The socket is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// The directory that was made for it.
    own: Option<PathBuf>,
}

/// Whom a call is for.
enum Receiver {
    /// The daemon itself, about its identities.
    Identity,
    /// A node's end of a private network.
    Station(ProviderId, NetworkId, Service),
    /// A client, which sees this address.
    Client(Line, String),
    /// No service has such an address.
    Nothing,
}

/// What of a node's end of a private network is called.
#[derive(Clone, Copy)]
enum Service {
    Frames,
    Members,
}

impl Place {
    /// The place at `path`, or one of its own.
    ///
    /// # Errors
    ///
    /// If another bus is there, or no directory can be made.
    pub(super) async fn find(path: Option<PathBuf>) -> Result<Self, ServeError> {
        if let Some(path) = path {
            if socket::connect(&path).await.is_ok() {
                return Err(ServeError::BusTaken { path });
            }
            return Ok(Self { path, own: None });
        }
        let own = std::env::temp_dir().join(format!("golem-sim-{:016x}", rand::random::<u64>()));
        let made = fs::DirBuilder::new().mode(0o700).create(&own);
        let path = own.join("gsb.sock");
        made.map_err(|source| ServeError::Bus { path: path.clone(), source })?;
        Ok(Self { path, own: Some(own) })
    }

    /// Listens there.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made.
    pub(super) fn listen(&self) -> Result<UnixListener, ServeError> {
        socket::listen(&self.path)
            .map_err(|source| ServeError::Bus { path: self.path.clone(), source })
    }

    pub(super) fn address(&self) -> BusAddress {
        BusAddress::Unix(self.path.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Either may be gone already.
        let _ = fs::remove_file(&self.path);
        if let Some(own) = &self.own {
            let _ = fs::remove_dir(own);
        }
    }
}

impl Bus {
    /// The bus of the daemon that has this `identity`, with the nodes of `host`, if it is to reach them.
    pub(super) fn new(identity: ProviderId, host: NodeHost, has_nodes: bool) -> Self {
        let (router, stations) = (Mutex::default(), Mutex::default());
        Self { identity, host, has_nodes, router, stations }
    }

    /// A node has started: its ends of private networks listen from here on.
    pub(super) fn attach(
        self: &Arc<Self>,
        activity: &ActivityId,
        provider: &ProviderId,
        networks: &[Deployment],
    ) {
        if !self.has_nodes {
            return;
        }
        for deployment in networks {
            let station = Station::start(StationPlan {
                bus: Arc::downgrade(self),
                host: self.host.clone(),
                activity: activity.clone(),
                provider: provider.clone(),
                deployment: deployment.clone(),
            });
            let key = (provider.clone(), deployment.network.clone());
            self.stations().insert(key, station);
        }
    }

    /// A node has ended, and says nothing more.
    pub(super) fn detach(&self, activity: &str) {
        self.stations().retain(|_, station| station.activity().as_str() != activity);
    }

    /// A frame of a node for a member of its network.
    fn push(&self, network: &NetworkId, from: &ProviderId, to: &ProviderId, frame: Vec<u8>) {
        if *to != self.identity {
            let stations = self.stations();
            if let Some(station) = stations.get(&(to.clone(), network.clone())) {
                station.take(from, frame);
            }
            return;
        }
        let address = format!("/public/vpn/{network}/raw");
        let mut router = self.router();
        if let Some(line) = router.find(&address) {
            let (caller, id) = (from.to_string(), router.fresh_id());
            let call = Call { caller, address, id, data: frame, no_reply: true };
            router.send(line, &Packet::Call(call));
        }
    }

    /// Takes a packet of a client.
    fn take(&self, line: Line, packet: Packet) {
        if let Packet::Call(call) = packet {
            self.call(line, call);
            return;
        }
        self.router().take(line, packet);
    }

    fn call(&self, line: Line, call: Call) {
        let (code, data) = match self.receiver(&call.address) {
            Receiver::Client(other, address) => {
                self.router().pass(line, other, Call { address, ..call });
                return;
            }
            Receiver::Identity => match identity::asked(&call.data) {
                Some(wanted) => (0, identity::answer(&self.identity, &wanted)),
                None => (FAILURE, b"the question is not understood".to_vec()),
            },
            Receiver::Station(provider, network, service) => {
                match (self.stations().get(&(provider, network)), service) {
                    (Some(station), Service::Frames) => {
                        station.take(&self.identity, call.data);
                        (0, Vec::new())
                    }
                    (Some(station), Service::Members) => (0, station.obey(&call.data)),
                    (None, _) => (BAD_REQUEST, b"no such node".to_vec()),
                }
            }
            Receiver::Nothing => (BAD_REQUEST, b"no such service".to_vec()),
        };
        if !call.no_reply {
            let reply = Reply { id: call.id, code, is_partial: false, data };
            self.router().send(line, &Packet::Reply(reply));
        }
    }

    fn receiver(&self, address: &str) -> Receiver {
        if address == identity::GET {
            return Receiver::Identity;
        }
        let parts: Vec<&str> = address.split('/').collect();
        let (["", "net", provider, rest @ ..] | ["", _, "net", provider, rest @ ..]) =
            parts.as_slice()
        else {
            return self.client(address);
        };
        if *provider == self.identity.as_str() {
            return self.client(&format!("/public/{}", rest.join("/")));
        }
        let station = |network: &str, of| Receiver::Station((*provider).into(), network.into(), of);
        match rest {
            ["vpn", network, "raw"] => station(network, Service::Frames),
            ["vpn", network, "VpnControl"] => station(network, Service::Members),
            _ => Receiver::Nothing,
        }
    }

    fn client(&self, address: &str) -> Receiver {
        let line = self.router().find(address);
        line.map_or(Receiver::Nothing, |line| Receiver::Client(line, address.to_owned()))
    }

    fn router(&self) -> MutexGuard<'_, Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stations(&self) -> MutexGuard<'_, BTreeMap<(ProviderId, NetworkId), Station>> {
        self.stations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes clients until the end. While the daemon is away none is, and all connections are closed.
pub(super) async fn accept(
    bus: Arc<Bus>,
    first: UnixListener,
    place: Arc<Place>,
    mut life: watch::Receiver<Life>,
) {
    let mut clients = JoinSet::new();
    let mut listener = Some(first);
    loop {
        let now = *life.borrow_and_update();
        if !matches!(now, Life::Up(_)) {
            listener = None;
            clients.abort_all();
        }
        match (now, &listener) {
            (Life::Over, _) => return,
            (Life::Down(_), _) => {
                if life.changed().await.is_err() {
                    return;
                }
            }
            (Life::Up(_), None) => {
                listener = place.listen().ok();
                if listener.is_none() {
                    sleep(LISTENS_EVERY).await;
                }
            }
            (Life::Up(_), Some(open)) => tokio::select! {
                changed = life.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(ended) = clients.join_next(), if !clients.is_empty() => {
                    if let Err(error) = ended
                        && let Ok(panic) = error.try_into_panic()
                    {
                        std::panic::resume_unwind(panic);
                    }
                }
                taken = open.accept() => match taken {
                    Ok((stream, _)) => {
                        clients.spawn(serve(Arc::clone(&bus), stream));
                    }
                    Err(_) => sleep(LISTENS_EVERY).await,
                },
            },
        }
    }
}

/// A client's place in the router, as long as it is connected.
struct Seat<'a> {
    bus: &'a Bus,
    line: Line,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.bus.router().leave(self.line);
    }
}

/// Talks with one client until it goes.
async fn serve(bus: Arc<Bus>, stream: UnixStream) {
    let (mut reader, writer) = stream.into_split();
    let mut decoder = Decoder::default();
    // How it ends is of no interest: the client is gone, or speaks in riddles.
    let Ok(Packet::Hello(hello)) = next(&mut reader, &mut decoder).await else { return };
    let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
    let line = bus.router().join(hello.instance, outgoing);
    let seat = Seat { bus: &bus, line };
    let (name, version) = ("golem-sim".to_owned(), world::VERSION.to_owned());
    let ours = Packet::Hello(Hello { name, version, instance: rand::random() });
    bus.router().send(line, &ours);
    let read = async {
        while let Ok(packet) = next(&mut reader, &mut decoder).await {
            bus.take(line, packet);
        }
    };
    tokio::select! {
        () = read => {}
        _ = write(writer, queue) => {}
    }
    drop(seat);
}

async fn next(reader: &mut OwnedReadHalf, decoder: &mut Decoder) -> io::Result<Packet> {
    let mut bytes = vec![0; CHUNK];
    loop {
        if let Some(packet) = decoder.next_packet().map_err(io::Error::other)? {
            return Ok(packet);
        }
        match timeout(SILENCE_MAX, reader.read(&mut bytes)).await?? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => decoder.extend(&bytes[..length]),
        }
    }
}

/// Writes what waits for a client, until its line is closed.
async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut pings = interval(PING_EVERY);
    pings.tick().await;
    loop {
        let mut bytes = tokio::select! {
            packet = queue.recv() => match packet {
                Some(packet) => packet,
                None => return Ok(()),
            },
            _ = pings.tick() => Packet::Ping.to_bytes(),
        };
        while bytes.len() < CHUNK
            && let Ok(packet) = queue.try_recv()
        {
            bytes.extend(packet);
        }
        writer.write_all(&bytes).await?;
    }
}
