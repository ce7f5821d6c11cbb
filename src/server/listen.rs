//! A port and its connections: bounded in number, and each bounded in what it may keep us waiting for.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Connections at once; who comes later waits in the system's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// The head of a request comes within this time, also the next one of a connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
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

/// Serves until `end` becomes true, then gives the connections a moment to end.
pub async fn serve(listening: Listening, router: Router, mut end: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = ended(&mut end) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listening.listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                // Answers are small and complete: waiting for more to send only costs time.
                drop(stream.set_nodelay(true));
                let service = TowerToHyperService::new(router.clone());
                let end = end.clone();
                connections.spawn(async move {
                    connection(stream, service, end).await;
                    drop(permit);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
    drop(listening);
    drop(timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await);
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Waits for the end; who would order it may be gone, which is one, too.
async fn ended(end: &mut watch::Receiver<bool>) {
    drop(end.wait_for(|end| *end).await);
}

/// What goes wrong with a connection is its client's business.
async fn connection(
    stream: tokio::net::TcpStream,
    service: TowerToHyperService<Router>,
    mut end: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        served = &mut connection => drop(served),
        () = ended(&mut end) => {
            connection.as_mut().graceful_shutdown();
            drop(timeout(GRACE, connection).await);
        }
    }
}
