//! The simulated daemon as a server: the same `SimYagna` in real time behind the daemon's REST API.
//!
//! It is a shell: sockets, the clock, and tasks are here, decisions are not. `daemon` owns the one
//! `SimYagna` behind one lock and lets time pass, `connection` takes sockets, `api` finds out what
//! is asked, and the files beside it answer what our own vocabulary does not have. What flows to nodes goes by `tunnel`, the
//! websockets into private networks, and by `bus`, the daemon's bus.
//!
//! Kernel scheduling decides about the order of what arrives at the same time, so a served
//! simulation is not deterministic; its providers still are what scenario and seed make them.
//!
//! A panic anywhere ends the server ([`Server::died`]): what it would tell from then on is worth nothing.

mod activity;
mod api;
mod bus;
mod connection;
mod daemon;
mod document;
mod host;
mod keys;
mod market;
mod net;
mod payment;
mod registry;
mod reply;
mod scan;
mod services;
mod settlement;
mod transfer;
mod tunnel;
mod world;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ray_on_golem::{core::rng::Seed, yagna::bus::BusAddress};
use thiserror::Error;
use tokio::{
    net::UnixListener,
    task::{JoinError, JoinHandle},
};

pub use keys::Keys;

use crate::{
    nodes::{LocalSetup, NodeError, NodeHost},
    scenario::{self, Scenario},
};
use bus::{Bus, Place};
use daemon::Daemon;
use host::{Hands, Hosting, Substance};
use services::Services;
use tunnel::Tunnels;

/// Open connections get this long to finish what they do, at the end.
const GRACE: Duration = Duration::from_secs(2);

/// What to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The network.
    pub scenario: Scenario,
    /// What all randomness of the network grows from.
    pub seed: Seed,
    /// Provider durations are divided by it.
    pub haste: u64,
    /// Where to listen; 0 is any free port.
    pub port: u16,
    /// Who may ask.
    pub keys: Keys,
    /// What activities are.
    pub nodes: Nodes,
    /// How long a client is waited for.
    pub patience: Patience,
    /// Where the socket of its bus is to be, which its user alone can open; in a directory of its own if it is not said.
    pub bus: Option<PathBuf>,
}

/// How long a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The head of a request must be there within this time; so must the next one on a connection.
    pub head: Duration,
    /// A body must be there within this time.
    pub body: Duration,
    /// On a websocket something must be heard within this time; pings are sent twice as often.
    pub silence: Duration,
    /// A node that is gone is waited for so long on a websocket.
    pub node: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { head: seconds(60), body: seconds(20), silence: seconds(10), node: seconds(120) }
    }
}

/// What an activity is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// It pretends: an ssh server answers, and every command succeeds.
    Virtual,
    /// It is a real node on this host, in namespaces of its own.
    Local(Box<LocalSetup>),
    /// It is a group of processes of this host, for want of namespaces.
    Processes(Box<LocalSetup>),
    /// It is in namespaces where the host allows them, and a group of processes where not.
    Best(Box<LocalSetup>),
}

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Somebody else has the port.
    #[error("port {port} of 127.0.0.1 is taken; choose another one by `--port`, or 0 for any")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The port cannot be had for another reason.
    #[error("cannot listen on port {port} of 127.0.0.1")]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else has the place of the bus.
    #[error("a daemon listens at `{}` already; choose another place by `--bus`", path.display())]
    BusTaken {
        /// The place.
        path: PathBuf,
    },
    /// The bus cannot be had for another reason.
    #[error("cannot listen at `{}`", path.display())]
    Bus {
        /// The place.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// This host does not let us make nodes.
    #[error("cannot make nodes on this host: {0}")]
    Nodes(#[from] NodeError),
}

/// A server that runs; it ends when this is dropped, and gracefully by [`Self::end`].
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    host: NodeHost,
    caveat: Option<String>,
    clock: JoinHandle<()>,
    hosting: JoinHandle<()>,
    doors: JoinHandle<()>,
    /// Who takes the clients of the bus; it never ends if the scenario has none.
    bus: JoinHandle<()>,
    bus_place: Option<Arc<Place>>,
}

/// What every request can reach.
#[derive(Debug)]
struct State {
    daemon: Arc<Daemon>,
    host: NodeHost,
    /// What is less true about nodes, and why, if anything is.
    caveat: Option<String>,
    keys: Keys,
    patience: Patience,
    services: Arc<Services>,
    bus: Arc<Bus>,
    tunnels: Tunnels,
}

/// Where clients come in, and who may.
struct Doors {
    listener: TcpListener,
    address: SocketAddr,
    patience: Patience,
    keys: Keys,
}

impl Server {
    /// Begins to serve.
    ///
    /// # Errors
    ///
    /// If the port cannot be had, or the host does not let us make nodes.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start(options: Options) -> Result<Self, ServeError> {
        let Options { mut scenario, seed, haste, port, keys, nodes, patience, bus } = options;
        let listener = listen(port)?;
        let place = match scenario.daemon.bus {
            scenario::Bus::Absent => None,
            scenario::Bus::Deaf | scenario::Bus::Good => Some(Arc::new(Place::find(bus).await?)),
        };
        let listening = place.map(|place| place.listen().map(|clients| (place, clients)));
        let bus = listening.transpose()?;
        let address =
            listener.local_addr().map_err(|source| ServeError::Listen { port, source })?;
        scenario.hasten(haste);
        let hosting = Hosting::of(nodes).await?;
        if hosting.substance == Substance::Real {
            scenario.leave_running_to_nodes();
        }
        let doors = Doors { listener, address, patience, keys };
        Ok(Self::begin(&scenario, seed, hosting, doors, bus))
    }

    /// Begins all that goes on beside each other. As no coroutine this is compiled here, and not once more by each caller.
    fn begin(
        scenario: &Scenario,
        seed: Seed,
        hosting: Hosting,
        doors: Doors,
        clients: Option<(Arc<Place>, UnixListener)>,
    ) -> Self {
        let Hosting { host, caveat, substance } = hosting;
        let Doors { listener, address, patience, keys } = doors;
        let (daemon, errands) = Daemon::new(scenario, seed);
        let daemon = Arc::new(daemon);
        let services = Arc::new(Services::default());
        let identity = daemon.look().yagna.identity().clone();
        let has_nodes = scenario.daemon.bus == scenario::Bus::Good;
        let place = clients.as_ref().map(|(place, _)| Arc::clone(place));
        let bus = Arc::new(Bus::new(identity.as_str().into(), host.clone(), has_nodes));
        let hands = Hands {
            daemon: Arc::clone(&daemon),
            host: host.clone(),
            substance,
            services: Arc::clone(&services),
            bus: Arc::clone(&bus),
        };
        let hosting = tokio::spawn(host::carry_out(hands, errands));
        let clock = tokio::spawn(Arc::clone(&daemon).keep_time());
        let (life, serving) = (daemon.life(), Arc::clone(&bus));
        let clients = tokio::spawn(async move {
            match clients {
                Some((place, first)) => bus::accept(serving, first, place, life).await,
                None => std::future::pending().await,
            }
        });
        let state = Arc::new(State {
            daemon,
            host: host.clone(),
            caveat: caveat.clone(),
            keys,
            patience,
            services,
            bus,
            tunnels: Tunnels::new(seed),
        });
        let doors = tokio::spawn(connection::accept(listener, address, Arc::clone(&state)));
        Self { address, state, host, caveat, clock, hosting, doors, bus: clients, bus_place: place }
    }

    /// What is less true about its nodes than it could be, as one line, if anything is.
    #[must_use]
    pub fn caveat(&self) -> Option<&str> {
        self.caveat.as_deref()
    }

    /// The address of the API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its bus is, if it has one.
    #[must_use]
    pub fn bus(&self) -> Option<BusAddress> {
        self.bus_place.as_ref().map(|place| place.address())
    }

    /// The keys that it lets in.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.state.keys
    }

    /// Waits until a part of the server has died, which is a bug.
    pub async fn died(&mut self) -> JoinError {
        let ended = tokio::select! {
            ended = &mut self.clock => ended,
            ended = &mut self.hosting => ended,
            ended = &mut self.doors => ended,
            ended = &mut self.bus => ended,
        };
        match ended {
            Err(error) => error,
            // What ends as it should leaves nothing to wait for.
            Ok(()) => std::future::pending().await,
        }
    }

    /// Takes no more requests, and lets those under way come to their end for a moment.
    pub async fn end(mut self) {
        self.state.daemon.close();
        let _ = tokio::time::timeout(GRACE, &mut self.doors).await;
        self.hosting.abort();
        self.bus.abort();
        // Its socket is gone then.
        let _ = (&mut self.bus).await;
        self.host.end().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.doors.abort();
        self.bus.abort();
        self.hosting.abort();
        self.clock.abort();
    }
}

fn listen(port: u16) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            ServeError::PortTaken { port }
        } else {
            ServeError::Listen { port, source }
        }
    })?;
    listener.set_nonblocking(true).map_err(|source| ServeError::Listen { port, source })?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::{Keys, Nodes, Options, Patience, Server};
    use crate::scenario::Scenario;

    #[tokio::test]
    async fn a_part_that_dies_is_noticed() {
        let options = Options {
            scenario: Scenario::parse(b"populations: []").expect("a scenario"),
            seed: ray_on_golem::core::rng::Seed::new(1),
            haste: 1,
            port: 0,
            keys: Keys::new("key"),
            nodes: Nodes::Virtual,
            patience: Patience::default(),
            bus: None,
        };
        let mut server = Server::start(options).await.expect("a free port");

        server.clock.abort();

        assert!(server.died().await.is_cancelled());
    }
}
