//! A port that is carried through ssh for as long as it is wanted.
//!
//! A tunnel has a connection of its own, so that a slow one holds up no other. It is made again after
//! every loss, for ever, with a pause that grows while it fails; [`Tunnel::state`] tells how it stands.
//! Ports are opened on loopback only, here and on the node.
//!
//! A node may not have noticed that the last connection is gone, and its ssh service still hold the
//! port. Each connection leaves the number of its server process in a file of the user's, and the next
//! one ends that process when the port is not free.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use russh::{
    Channel, ChannelOpenFailure,
    client::{ChannelOpenHandle, Msg},
};
use thiserror::Error;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::session::{Deadline, KEEPALIVE, Login, Session, SshError};
use crate::units::Span;

/// How many connections a tunnel carries at once; more are refused.
const CONNECTIONS_MAX: usize = 256;

/// How long a step of making a tunnel may take.
const PATIENCE: Span = Span::secs(30);

/// How long a connection to a port here may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The pause after the system could give no connection, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the end of a tunnel may take.
const FAREWELL: Duration = Duration::from_secs(5);

const LOOPBACK: &str = "127.0.0.1";

/// What is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Who connects to `127.0.0.1:port` on the node is connected to `to` here.
    Reverse {
        /// The port on the node.
        port: u16,
        /// Where somebody listens here.
        to: SocketAddr,
    },
    /// Who connects to `127.0.0.1:port` here is connected to `127.0.0.1:to` on the node.
    Local {
        /// The port here; 0 lets the system choose.
        port: u16,
        /// The port on the node.
        to: u16,
    },
}

/// How a tunnel deals with trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The pause after the first failure; it doubles with each further one.
    pub pause_min: Span,
    /// The longest pause.
    pub pause_max: Span,
    /// How often the node is asked whether it is there; it is gone after three questions.
    pub keepalive: Span,
}

/// A tunnel that is kept. Dropping it ends it, too.
#[derive(Debug)]
pub struct Tunnel {
    state: watch::Receiver<TunnelState>,
    stop: watch::Sender<()>,
    keeper: JoinHandle<()>,
    local: Option<SocketAddr>,
}

/// How a tunnel stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelState {
    /// Whether it carries connections.
    pub is_up: bool,
    /// How often it came up.
    pub times_up: u64,
    /// How many attempts failed since it was last up.
    pub failures: u64,
    /// Why it was last lost, or could not be made.
    pub why: Option<String>,
}

/// Why a tunnel is not even tried.
#[derive(Debug, Error)]
pub enum TunnelError {
    /// The port here is not free.
    #[error("cannot listen on 127.0.0.1:{port}; choose another port or end what listens there")]
    PortTaken {
        /// Which port.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Default for Pace {
    fn default() -> Self {
        Self { pause_min: Span::millis(500), pause_max: Span::secs(30), keepalive: KEEPALIVE }
    }
}

impl Tunnel {
    /// Begins to keep a tunnel. The state tells when it is up.
    ///
    /// # Errors
    ///
    /// If the port here is not free.
    pub async fn start(login: Login, forward: Forward, pace: Pace) -> Result<Self, TunnelError> {
        let listener = match forward {
            Forward::Reverse { .. } => None,
            Forward::Local { port, .. } => {
                let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
                Some(bound.map_err(|source| TunnelError::PortTaken { port, source })?)
            }
        };
        let local = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let (reporter, state) = watch::channel(TunnelState::default());
        let (stop, stopped) = watch::channel(());
        let keeper = Keeper { login, forward, pace, listener, reporter };
        let keeper = tokio::spawn(keeper.keep(stopped));
        Ok(Self { state, stop, keeper, local })
    }

    /// How it stands, now and from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<TunnelState> {
        self.state.clone()
    }

    /// Where it listens here, if it does.
    #[must_use]
    pub const fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Whether nobody keeps it any more: it died of a bug.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.keeper.is_finished()
    }

    /// Ends it, and with it what it carries.
    pub async fn end(self) {
        drop(self.stop);
        let cut = self.keeper.abort_handle();
        if timeout(FAREWELL, self.keeper).await.is_err() {
            cut.abort();
        }
    }
}

struct Keeper {
    login: Login,
    forward: Forward,
    pace: Pace,
    listener: Option<TcpListener>,
    reporter: watch::Sender<TunnelState>,
}

impl Keeper {
    async fn keep(self, mut stopped: watch::Receiver<()>) {
        let mut pause = self.pace.pause_min;
        loop {
            let made = tokio::select! {
                made = self.make() => made,
                never = self.refuse() => match never {},
                () = gone(&mut stopped) => return,
            };
            let error = match made {
                Ok(session) => {
                    pause = self.pace.pause_min;
                    self.is_up();
                    tokio::select! {
                        lost = self.carry(&session) => lost,
                        () = gone(&mut stopped) => return session.close().await,
                    }
                }
                Err(error) => error,
            };
            self.is_down(&error);
            tokio::select! {
                () = sleep(Duration::from_micros(pause.as_micros())) => {}
                never = self.refuse() => match never {},
                () = gone(&mut stopped) => return,
            }
            pause = pause.times(2).min(self.pace.pause_max);
        }
    }

    async fn make(&self) -> Result<Session, SshError> {
        let inbound = match self.forward {
            Forward::Reverse { to, .. } => Some(Inbound::new(to)),
            Forward::Local { .. } => None,
        };
        let deadline = Deadline::of(PATIENCE);
        let session = Session::enter(&self.login, deadline, self.pace.keepalive, inbound).await?;
        match self.forward {
            Forward::Reverse { port, .. } => claim(&session, port, deadline).await?,
            Forward::Local { .. } => {}
        }
        Ok(session)
    }

    /// Carries connections until the session is over.
    async fn carry(&self, session: &Session) -> SshError {
        match (&self.listener, self.forward) {
            (Some(listener), Forward::Local { to, .. }) => tokio::select! {
                never = outbound(listener, session, to) => match never {},
                lost = session.over() => lost,
            },
            (None | Some(_), Forward::Local { .. } | Forward::Reverse { .. }) => {
                session.over().await
            }
        }
    }

    /// Who connects while the tunnel is down learns so at once.
    async fn refuse(&self) -> Infallible {
        let Some(listener) = &self.listener else { return pending().await };
        loop {
            match listener.accept().await {
                Ok(connection) => drop(connection),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn is_up(&self) {
        self.reporter.send_modify(|state| {
            state.is_up = true;
            state.times_up = state.times_up.saturating_add(1);
            state.failures = 0;
        });
    }

    fn is_down(&self, error: &SshError) {
        self.reporter.send_modify(|state| {
            if !state.is_up {
                state.failures = state.failures.saturating_add(1);
            }
            state.is_up = false;
            state.why = Some(error.to_string());
        });
    }
}

/// Where connections go that come from the node.
#[derive(Clone, Debug)]
pub(super) struct Inbound {
    to: SocketAddr,
    room: Arc<Semaphore>,
}

impl Inbound {
    fn new(to: SocketAddr) -> Self {
        Self { to, room: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }

    /// Carries one connection, beside all others.
    pub(super) fn take(&self, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            // A reply that is dropped is a refusal.
            return;
        };
        let to = self.to;
        tokio::spawn(async move {
            let _place = place;
            let Ok(Ok(mut socket)) = timeout(CONNECT, TcpStream::connect(to)).await else {
                return reply.reject(ChannelOpenFailure::ConnectFailed).await;
            };
            reply.accept().await;
            // How a connection ends is the affair of its two ends.
            let _ = copy_bidirectional(&mut socket, &mut channel.into_stream()).await;
        });
    }
}

/// Opens the port on the node.
async fn claim(session: &Session, port: u16, deadline: Deadline) -> Result<(), SshError> {
    let mark = format!("\"$HOME/.ray_on_golem_tunnel_{port}\"");
    let asked = async {
        match session.handle().tcpip_forward(LOOPBACK, u32::from(port)).await {
            Ok(_) => Ok(true),
            Err(russh::Error::RequestDenied) => Ok(false),
            Err(error) => Err(error),
        }
    };
    if !deadline.within("asking for a port of the node", asked).await? {
        // A connection that the node does not know to be over has it. The next attempt finds it free.
        let evict = format!(
            "p=$(cat {mark}) && case $(cat /proc/$p/comm) in sshd*) kill $p;; esac; rm -f {mark}"
        );
        // Where that is not possible the node gives the port back by itself, later.
        let _ = session.command(&evict, b"", deadline).await;
        return Err(SshError::PortTaken { port });
    }
    // Where no command runs there is nothing to evict.
    let _ = session.command(&format!("echo $PPID > {mark}"), b"", deadline).await;
    Ok(())
}

/// Carries connections from here to the node.
async fn outbound(listener: &TcpListener, session: &Session, to: u16) -> Infallible {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, from)) => connections.push(convey(session, socket, from, to)),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(()) = connections.next(), if !connections.is_empty() => {}
        }
    }
}

async fn convey(session: &Session, mut socket: TcpStream, from: SocketAddr, to: u16) {
    let (origin, port) = (from.ip().to_string(), u32::from(from.port()));
    let opening = session.handle().channel_open_direct_tcpip(LOOPBACK, u32::from(to), origin, port);
    let Ok(Ok(channel)) = timeout(CONNECT, opening).await else { return };
    // How a connection ends is the affair of its two ends.
    let _ = copy_bidirectional(&mut socket, &mut channel.into_stream()).await;
}

/// Waits until nobody wants the tunnel any more.
async fn gone(stopped: &mut watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use tokio::{sync::watch, task::yield_now};

    use super::{Tunnel, TunnelState};

    #[tokio::test]
    async fn a_tunnel_whose_keeper_dies_is_dead() {
        let (_reporter, state) = watch::channel(TunnelState::default());
        let (stop, _stopped) = watch::channel(());
        let keeper = tokio::spawn(async { panic!("a bug of the keeper") });

        let tunnel = Tunnel { state, stop, keeper, local: None };

        while !tunnel.is_dead() {
            yield_now().await;
        }
    }
}
