//! Sockets: who is let in, for how long, and how a connection ends.
//!
//! While the daemon is away nobody listens, and all connections are closed: a client is told by the
//! system. A client that is slow with its request is not waited for.

use std::{
    io,
    net::{SocketAddr, TcpListener as BlockingListener},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{State, api, daemon::Life, reply::Severed};

/// More connections wait until others end.
const CONNECTIONS_MAX: usize = 4_096;
/// A port that somebody else took while the daemon was away is asked for again this often.
const LISTENS_EVERY: Duration = Duration::from_millis(100);
/// A socket that cannot be had now may be had later.
const ACCEPTS_AFTER: Duration = Duration::from_millis(50);
/// What is under way at the end may take this long.
const GRACE: Duration = Duration::from_secs(1);

/// Why a connection ends without an answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is closed in place of an answer")]
struct Closed;

/// Takes connections until the end.
pub(super) async fn accept(first: BlockingListener, address: SocketAddr, state: Arc<State>) {
    let mut life = state.daemon.life();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut listener = TcpListener::from_std(first).ok();
    loop {
        let now = *life.borrow_and_update();
        match now {
            Life::Over => break,
            Life::Down(_) => {
                listener = None;
                connections.abort_all();
                if life.changed().await.is_err() {
                    break;
                }
                continue;
            }
            Life::Up(_) => {}
        }
        let Some(open) = &listener else {
            listener = listen_again(address).await;
            continue;
        };
        tokio::select! {
            changed = life.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            Some(Err(error)) = connections.join_next(), if !connections.is_empty() => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
            taken = take(open, &room) => {
                let Some((stream, place)) = taken else { continue };
                let serving = serve(stream, Arc::clone(&state), life.clone(), now);
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, all_ended).await;
}

async fn take(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(_) => {
            tokio::time::sleep(ACCEPTS_AFTER).await;
            None
        }
    }
}

/// The address again, after an outage.
async fn listen_again(address: SocketAddr) -> Option<TcpListener> {
    let listener: io::Result<TcpListener> = TcpListener::bind(address).await;
    if listener.is_err() {
        tokio::time::sleep(LISTENS_EVERY).await;
    }
    listener.ok()
}

/// Serves one connection until it ends, or the daemon does.
async fn serve(stream: TcpStream, state: Arc<State>, mut life: watch::Receiver<Life>, born: Life) {
    // A small answer must not wait for the next one.
    let _ = stream.set_nodelay(true);
    let head = state.patience.head;
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { answer(state, request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let changed = async {
        while *life.borrow_and_update() == born && life.changed().await.is_ok() {}
        *life.borrow()
    };
    let present = tokio::select! {
        // How a connection ended is of no interest: the client is gone.
        _ = connection.as_mut() => return,
        present = changed => present,
    };
    if present == Life::Over {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(GRACE, connection).await;
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
    let asks_for_another = says(request.headers(), &header::CONNECTION, "upgrade");
    let mut response = api::answer(state, request.map(Body::new)).await;
    // The real daemon takes no second request on a connection that asked for another protocol (seen on 0.17.6).
    if asks_for_another && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if response.extensions().get::<Severed>().is_some() { Err(Closed) } else { Ok(response) }
}

/// Whether a header has a word among its own, in letters of any size.
pub(super) fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
}
