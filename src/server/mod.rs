//! The webserver: what Ray's node provider and people ask, answered from the manager's board.
//!
//! ```text
//!   provider, CLI --token--> router of users --+
//!                                              +--> api: board (reads), Handle::ask (changes)
//!   head ---tunnel--token--> router of heads --+
//! ```
//!
//! Reads never wait for the machine or the daemon. Every route needs a token, but `/` and `/prove`, by which a client
//! learns whether it may send one; a head's token reaches its own cluster only. Bad requests are answered with 4xx and a sentence, always.

mod allowance;
mod api;
pub mod auth;
pub mod bills;
mod check;
pub mod document;
mod error;
mod events;
mod law;
mod listen;
mod metrics;
mod openapi;
mod page;
pub mod proof;
mod purchase;
pub mod route;
mod usage;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, any, on},
};
use tokio::sync::watch;

pub use allowance::Allowances;
pub use api::bills_can_wait_until;
pub use error::ApiError;
pub use listen::{Listening, serve};
pub use openapi::document as openapi_document;
pub use purchase::Images;
pub use usage::Usage;

use crate::driver::{
    commands::Commands, log::Log, manager::Handle, providers::Refresh, simulated::Simulated,
    wallet::Wallet,
};
use auth::{Caller, Guard, HeadTokens, Token};
use bills::Bills;
use document::{RootDocument, Way};
use listen::Peer;
use proof::Place;
use route::{Route, Verb};

/// Everything that the routes work with.
pub struct App {
    /// The way to the manager.
    pub handle: Handle,
    /// What was set at the start.
    pub settings: Settings,
    /// Where images are looked up.
    pub images: Images,
    /// The way to have the machine told the latest about providers.
    pub providers: Refresh,
    /// The wallet.
    pub wallet: Wallet,
    /// The way to run commands on nodes.
    pub commands: Commands,
    /// The simulated network in the daemon's place, if there is one.
    pub simulated: Option<Simulated>,
    /// The tokens of heads.
    pub heads: HeadTokens,
    /// What heads keep busy.
    pub allowances: Allowances,
    /// What closed clusters have cost.
    pub bills: Bills,
    /// Problems that are not of one cluster, such as missing gas.
    pub alerts: Alerts,
    /// The way to stop.
    pub stop: Stop,
    /// The use of clusters.
    pub usage: Usage,
    /// The log.
    pub log: Log,
}

/// What was set at the start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data directory.
    pub data: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// Whether clients may shut the webserver down when their cluster is over.
    pub self_shutdown: bool,
    /// Whether the registry may count look-ups.
    pub registry_stats: bool,
    /// Who may ask.
    pub guard: Guard,
    /// Who has this may read the numbers for Prometheus.
    pub metrics_token: Token,
}

/// Problems that are not of one cluster, as sentences, and whether the daemon answers; its clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Alerts(Arc<Mutex<(Vec<String>, Option<bool>)>>);

/// How the webserver is told to stop; its clones are the same.
#[derive(Clone, Debug)]
pub struct Stop {
    order: Arc<watch::Sender<Option<End>>>,
    is_stopping: Arc<AtomicBool>,
}

/// How the webserver ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After this time, with all clusters: it waits until they are settled.
    AllClusters(Duration),
    /// At once; nodes go on, and the next webserver goes on with them.
    KeepingClusters,
}

impl Alerts {
    /// Replaces them all.
    pub fn set(&self, alerts: Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = alerts;
    }

    /// Them all.
    #[must_use]
    pub fn get(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Notes whether the daemon has answered.
    pub fn note_daemon(&self, is_up: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(is_up);
    }

    /// Whether the daemon has answered, once it was asked.
    #[must_use]
    pub fn is_daemon_up(&self) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self { order: Arc::new(watch::Sender::new(None)), is_stopping: Arc::default() }
    }
}

impl Stop {
    /// From now on nodes are neither started nor ended by request.
    pub fn order(&self, end: End) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.order.send_replace(Some(end));
    }

    /// Whether it was ordered.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Waits until it is ordered; the delay is still to be waited for.
    pub async fn ordered(&self) -> End {
        let mut order = self.order.subscribe();
        match order.wait_for(Option::is_some).await.map(|order| *order) {
            Ok(Some(end)) => end,
            // We hold the other end.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl App {
    /// The webserver as `/` shows it.
    #[must_use]
    pub fn root(&self) -> RootDocument {
        let board = self.handle.board();
        let of_clusters = board.warnings().into_iter();
        let of_clusters =
            of_clusters.map(|(at, what)| format!("{} {what}", crate::driver::clock::written(at)));
        let caveat = self.simulated.as_ref().and_then(Simulated::caveat).map(str::to_owned);
        RootDocument {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            datadir: self.settings.data.display().to_string(),
            simulated: self.simulated.is_some(),
            shutting_down: self.stop.is_ordered() || board.is_shutting_down,
            self_shutdown: self.settings.self_shutdown,
            server_warnings: of_clusters.chain(self.alerts.get()).chain(caveat).collect(),
        }
    }

    /// What leads ssh to nodes.
    #[must_use]
    pub fn way(&self) -> Way<'_> {
        Way { program: &self.settings.program, data: &self.settings.data }
    }
}

/// The router for users.
pub fn users(app: &Arc<App>) -> Router {
    router(app, Gate::Users)
}

/// The router for heads: it knows them by their tokens, and nothing but what they need.
pub fn heads(app: &Arc<App>) -> Router {
    router(app, Gate::Heads)
}

/// By which port a request comes.
#[derive(Clone, Copy, Debug)]
enum Gate {
    Users,
    Heads,
}

fn router(app: &Arc<App>, gate: Gate) -> Router {
    let mut router = Router::new();
    for route in Route::ALL.into_iter().filter(|route| gate.has(*route)) {
        let app = Arc::clone(app);
        let answer = move |request: Request| {
            let app = Arc::clone(&app);
            async move { answer(&app, route, gate, request).await }
        };
        let method = match route.verb() {
            Verb::Any => any(answer),
            Verb::Get => on(MethodFilter::GET, answer),
            Verb::Post => on(MethodFilter::POST, answer),
        };
        for path in route.paths() {
            router = router.route(path, method.clone());
        }
    }
    let refuse = |app: &Arc<App>, error: ApiError| {
        let app = Arc::clone(app);
        move |request: Request| {
            let admitted = gate.admit(&app, None, &request);
            let refused = admitted.map_or_else(|refusal| refusal, |_| error);
            async move { unread(&request, refused.into_response()) }
        }
    };
    router
        .method_not_allowed_fallback(refuse(app, ApiError::MethodNotAllowed))
        .fallback(refuse(app, ApiError::NotFound))
}

async fn answer(app: &App, route: Route, gate: Gate, mut request: Request) -> Response<Body> {
    let caller = match gate.admit(app, Some(route), &request) {
        Ok(caller) => caller,
        Err(error) => return unread(&request, error.into_response()),
    };
    if let Caller::Head { cluster, .. } = &caller {
        app.allowances.turn(*cluster).await;
    }
    let place = gate.place(&request);
    if route == Route::Root && caller == Caller::User && page::is_wanted(request.headers()) {
        return page::response().unwrap_or_else(IntoResponse::into_response);
    }
    let body = match route.verb() {
        Verb::Post => std::mem::take(request.body_mut()),
        Verb::Any | Verb::Get => Body::empty(),
    };
    let answered = api::answer(app, &caller, place, route, body).await;
    unread(&request, answered.unwrap_or_else(IntoResponse::into_response))
}

/// Whoever sends what is not read must not send another request behind it: the connection ends.
fn unread(request: &Request, mut response: Response<Body>) -> Response<Body> {
    if !request.body().is_end_stream() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Gate {
    /// Whether a route is there.
    const fn has(self, route: Route) -> bool {
        match self {
            Self::Users => true,
            Self::Heads => route.is_for_heads(),
        }
    }

    /// Who asks; a connection by which a token was shown is a stranger's no more.
    fn admit(self, app: &App, route: Option<Route>, request: &Request) -> Result<Caller, ApiError> {
        let caller = match self {
            Self::Users => admit_user(app, route, request),
            Self::Heads => admit_head(app, route, request),
        }?;
        if !route.is_some_and(Route::is_open)
            && let Some(peer) = request.extensions().get::<Arc<Peer>>()
        {
            match &caller {
                Caller::Head { cluster, .. } => peer.take_place(&app.allowances, *cluster)?,
                Caller::User | Caller::Nobody | Caller::Scraper => peer.authenticate(),
            }
        }
        Ok(caller)
    }

    /// For whom a proof is.
    fn place(self, request: &Request) -> Place {
        let peer = request.extensions().get::<Arc<Peer>>();
        match self {
            Self::Users => Place::Users { port: peer.map_or(0, |peer| peer.port) },
            Self::Heads => Place::Heads,
        }
    }
}

fn admit_user(app: &App, route: Option<Route>, request: &Request) -> Result<Caller, ApiError> {
    let guard = &app.settings.guard;
    let is_anonymous = matches!(guard, Guard::Anyone(_));
    if !is_anonymous && guard.admits(authorization(request)) {
        return Ok(Caller::User);
    }
    if route == Some(Route::Metrics) && app.settings.metrics_token.is_shown(authorization(request))
    {
        return Ok(Caller::Scraper);
    }
    if !is_anonymous && !route.is_some_and(Route::is_open) {
        return Err(ApiError::Unauthorized);
    }
    match is_from_elsewhere(request.headers()) {
        true => Err(ApiError::Forbidden("pages of other servers may not ask this one")),
        false => Ok(Caller::User),
    }
}

/// Whether a page of somebody else has a browser ask. Any page can send to this port, and one whose name
/// was made to lead to this machine can read the answer, too. Only the token tells them apart for certain;
/// without it these headers do, which no page can set.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_ours = ["127.0.0.1", "localhost"].contains(&name);
    let is_of_our_page =
        |origin: &HeaderValue| origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes());
    !is_ours || !headers.get_all(header::ORIGIN).iter().all(is_of_our_page)
}

fn admit_head(app: &App, route: Option<Route>, request: &Request) -> Result<Caller, ApiError> {
    // A token of a cluster that is over opens nothing any more.
    let board = app.handle.board();
    let is_there = |caller: &Caller| match caller {
        Caller::Head { cluster, .. } => board.clusters.contains_key(cluster),
        Caller::User | Caller::Nobody | Caller::Scraper => false,
    };
    match app.heads.caller(authorization(request)).filter(is_there) {
        Some(caller) => Ok(caller),
        None if route.is_some_and(Route::is_open) => Ok(Caller::Nobody),
        None => Err(ApiError::Unauthorized),
    }
}

fn authorization(request: &Request) -> Option<&str> {
    request.headers().get(header::AUTHORIZATION)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::is_from_elsewhere;

    #[test]
    fn pages_of_others_are_known_by_their_headers() {
        let headers = |host: &'static str, origin: Option<&'static str>| {
            let host = (header::HOST, HeaderValue::from_static(host));
            let origin = origin.map(|it| (header::ORIGIN, HeaderValue::from_static(it)));
            HeaderMap::from_iter([host].into_iter().chain(origin))
        };

        for ours in ["127.0.0.1:4578", "localhost:4578", "localhost"] {
            assert!(!is_from_elsewhere(&headers(ours, None)), "{ours}");
        }
        assert!(!is_from_elsewhere(&HeaderMap::new()), "no browser is so old");
        let of_our_page = headers("127.0.0.1:4578", Some("http://127.0.0.1:4578"));
        assert!(!is_from_elsewhere(&of_our_page));
        for other in ["http://127.0.0.1:4579", "https://127.0.0.1:4578", "http://127.0.0.1", "null"]
        {
            assert!(is_from_elsewhere(&headers("127.0.0.1:4578", Some(other))), "{other}");
        }
        assert!(is_from_elsewhere(&headers("127.0.0.1:4578", Some("https://evil.example"))));
        assert!(is_from_elsewhere(&headers("evil.example:4578", None)));
        assert!(is_from_elsewhere(&headers("127.0.0.1.evil.example", None)));
    }
}
