//! A port and its connections: bounded in number, and each bounded in what it may keep us waiting for.
//!
//! Any program on this machine can connect. A connection by which no token was shown yet is a *stranger*: it has a short life
//! and a place among few, the oldest of which gives way to the next one. So strangers, however many there are and whatever
//! they do or leave undone, never keep out who has a token.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use super::{
    allowance::{Allowances, Place},
    error::ApiError,
};
use crate::core::ids::ClusterId;

/// Connections at once by which a token was shown; who comes later waits in the system's queue.
const AUTHENTICATED_MAX: usize = 512;
/// Connections at once by which none was shown yet.
const STRANGERS_MAX: usize = 128;
/// A connection has this time to show a token.
const STRANGER_LIFE: Duration = Duration::from_secs(30);
/// The head of a request comes within this time, also the next one of a connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// What is written is taken, piece by piece, within this time.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// Connections have this time to end when the server ends.
const GRACE: Duration = Duration::from_secs(5);
/// After a failed `accept`, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A port that is listened on.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

/// The other end of a connection; each of its requests has it as an extension.
#[derive(Debug)]
pub(super) struct Peer {
    /// The port that it has connected to.
    pub(super) port: u16,
    is_authenticated: AtomicBool,
    /// Its place among the connections of its head.
    place: Mutex<Option<Place>>,
}

/// The connections of a port.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// Those by which no token was shown, the oldest first.
    strangers: VecDeque<(Arc<Peer>, AbortHandle)>,
}

impl Listening {
    /// Listens on a port of this machine alone; 0 is any free one.
    ///
    /// # Errors
    ///
    /// If the port is taken, or may not be used.
    pub async fn on(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Peer {
    fn of(port: u16) -> Self {
        Self { port, is_authenticated: AtomicBool::new(false), place: Mutex::default() }
    }

    /// It has shown a token, or none is asked for.
    pub(super) fn authenticate(&self) {
        self.is_authenticated.store(true, Ordering::Relaxed);
    }

    /// It has shown the token of a head, which may have so many connections.
    pub(super) fn take_place(
        &self,
        allowances: &Allowances,
        cluster: ClusterId,
    ) -> Result<(), ApiError> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = Some(allowances.place(cluster).ok_or(ApiError::Crowded)?);
        }
        self.authenticate();
        Ok(())
    }

    fn is_stranger(&self) -> bool {
        !self.is_authenticated.load(Ordering::Relaxed)
    }
}

impl Connections {
    /// Whether another one may come: there is always room for a stranger.
    fn have_room(&mut self) -> bool {
        self.settle();
        self.tasks.len() - self.strangers.len() < AUTHENTICATED_MAX
    }

    /// Forgets who is no stranger any more.
    fn settle(&mut self) {
        self.strangers.retain(|(peer, task)| peer.is_stranger() && !task.is_finished());
    }

    fn add(&mut self, peer: Arc<Peer>, serving: impl Future<Output = ()> + Send + 'static) {
        self.settle();
        if self.strangers.len() >= STRANGERS_MAX {
            self.drop_oldest_stranger();
        }
        let task = self.tasks.spawn(serving);
        self.strangers.push_back((peer, task));
    }

    fn drop_oldest_stranger(&mut self) {
        self.settle();
        if let Some((_, task)) = self.strangers.pop_front() {
            task.abort();
        }
    }
}

/// Serves until `end` becomes true, then gives the connections a moment to end.
pub async fn serve(listening: Listening, router: Router, mut end: watch::Receiver<bool>) {
    let port = listening.address.port();
    let mut connections = Connections::default();
    loop {
        let has_room = connections.have_room();
        let accepted = tokio::select! {
            () = ended(&mut end) => break,
            Some(_) = connections.tasks.join_next(), if !connections.tasks.is_empty() => continue,
            accepted = listening.listener.accept(), if has_room => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Answers are small and complete: waiting for more to send only costs time.
                drop(stream.set_nodelay(true));
                let peer = Arc::new(Peer::of(port));
                let serving = connection(stream, router.clone(), Arc::clone(&peer), end.clone());
                connections.add(peer, serving);
            }
            Err(_) => {
                connections.drop_oldest_stranger();
                sleep(PAUSE).await;
            }
        }
    }
    drop(listening);
    drop(timeout(GRACE, async { while connections.tasks.join_next().await.is_some() {} }).await);
}

/// Waits for the end; who would order it may be gone, which is one, too.
async fn ended(end: &mut watch::Receiver<bool>) {
    drop(end.wait_for(|end| *end).await);
}

/// Waits until a stranger has had its time; for ever, if it is none any more.
async fn overstayed(peer: &Peer) {
    sleep(STRANGER_LIFE).await;
    if !peer.is_stranger() {
        std::future::pending().await
    }
}

/// What goes wrong with a connection is its client's business.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    router: Router,
    peer: Arc<Peer>,
    mut end: watch::Receiver<bool>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_PATIENCE));
    let routes = TowerToHyperService::new(router);
    let of_peer = Arc::clone(&peer);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&of_peer));
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        served = &mut connection => drop(served),
        () = overstayed(&peer) => {}
        () = ended(&mut end) => {
            connection.as_mut().graceful_shutdown();
            drop(timeout(GRACE, connection).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        sync::watch,
        task::JoinHandle,
        time::{Instant, sleep},
    };

    use super::{HEAD_PATIENCE, Peer, STRANGER_LIFE, WRITE_PATIENCE, connection};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    struct Served {
        client: DuplexStream,
        serving: JoinHandle<()>,
        _end: watch::Sender<bool>,
    }

    /// A connection through which so much fits before it is read.
    fn served(is_authenticated: bool, room: usize) -> Served {
        let (client, server) = duplex(room);
        let peer = Peer::of(1);
        if is_authenticated {
            peer.authenticate();
        }
        let router = Router::new().route("/", get(async || "x".repeat(1_000)));
        let (end, ended) = watch::channel(false);
        let serving = tokio::spawn(connection(server, router, Arc::new(peer), ended));
        Served { client, serving, _end: end }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_has_a_short_life_whatever_it_does() {
        let began = Instant::now();
        let silent = served(false, 10_000);
        let mut busy = served(false, 10_000);
        let mut deaf = served(false, 100);
        deaf.client.write_all(REQUEST).await.expect("written");
        let asking = tokio::spawn(async move {
            let mut answer = [0; 1_000];
            while busy.client.write_all(REQUEST).await.is_ok()
                && busy.client.read(&mut answer).await.is_ok_and(|length| length > 0)
            {
                sleep(STRANGER_LIFE / 10).await;
            }
        });

        for serving in [silent.serving, busy.serving, deaf.serving] {
            serving.await.expect("no panic");
            assert_eq!(began.elapsed(), STRANGER_LIFE);
        }
        asking.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_shown_a_token_has_time_between_requests_and_must_read() {
        let began = Instant::now();
        let idle = served(true, 10_000);
        let mut deaf = served(true, 100);
        sleep(HEAD_PATIENCE / 2).await;
        deaf.client.write_all(REQUEST).await.expect("written");

        idle.serving.await.expect("no panic");
        assert_eq!(began.elapsed(), HEAD_PATIENCE);
        deaf.serving.await.expect("no panic");
        assert_eq!(began.elapsed(), HEAD_PATIENCE / 2 + WRITE_PATIENCE);
    }
}
