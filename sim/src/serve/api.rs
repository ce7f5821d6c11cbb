//! What is asked, and who answers it.
//!
//! A request that our own vocabulary has is decoded, handed to the daemon, and encoded. What other
//! clients ask for beside it is answered by the file of its API.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Method, Request, Response, header, request::Parts},
};
use http_body_util::BodyExt;
use ray_on_golem::yagna::{
    self, Response as Told,
    wire::{self, HttpRequest, Malformed},
};

use super::{
    State, activity,
    daemon::{Answer, Lost},
    document, market, net, payment, registry, reply, services, tunnel, world,
};
use crate::fault::{Fate, OutageKind};

/// The daemon's limit on JSON.
const BODY_MAX: usize = 2 << 20;
/// A body beyond the limit is read up to here, so that its writer gets to read the refusal.
const DRAINED_MAX: usize = 64 << 20;

/// A request that was read.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Path and query, as they were written.
    pub(super) target: String,
    /// The path, taken apart and decoded.
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A body that was read to its end.
enum Collected {
    Whole(Bytes),
    /// It has so many bytes, which are not kept.
    TooLarge(usize),
}

/// Answers one request.
pub(super) async fn answer(state: Arc<State>, request: Request<Body>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path.starts_with("/sim/") {
        // The world is its user's: others of the machine reach the port, too.
        if let Err(refusal) = authorize(&state, &parts) {
            return refusal;
        }
        return match read(&state, &parts, body).await {
            Ok(ask) if path == "/sim/app-keys" => world::app_keys(&state, &ask),
            Ok(ask) => world::answer(&state, &ask).await,
            Err(refusal) => refusal,
        };
    }
    if path.starts_with(registry::PREFIX) {
        return match read(&state, &parts, body).await {
            Ok(ask) => registry::answer(&ask),
            Err(refusal) => refusal,
        };
    }
    if state.daemon.look().outage() == Some(OutageKind::Hang) {
        return reply::silent().await;
    }
    if let Some(response) = open_to_all(&state, &parts) {
        return response;
    }
    if let Err(refusal) = authorize(&state, &parts) {
        return refusal;
    }
    if let Some(place) = tunnel::place_of(&parts) {
        return tunnel::connect(state, &mut parts, place).await;
    }
    if let Some(id) = services::socket_of(&parts) {
        return services::connect(state, &mut parts, &id).await;
    }
    match read(&state, &parts, body).await {
        Ok(ask) => dispatch(state, ask).await,
        Err(refusal) => refusal,
    }
}

/// What the daemon tells to everybody.
fn open_to_all(state: &State, parts: &Parts) -> Option<Response<Body>> {
    let path = parts.uri.path();
    if let Some(rest) = path.strip_prefix("/metrics-api") {
        let is_there = matches!(rest, "/v1/expose" | "/v1/sorted") && parts.method == Method::GET;
        return Some(match is_there {
            true => reply::text(200, &world::metrics(state)),
            false => reply::empty(404),
        });
    }
    match path {
        "/version/get" => Some(reply::json(200, &world::version(state))),
        "/dashboard" => Some(reply::text(404, "404 Not Found")),
        _ => None,
    }
}

/// Hands a request of our own vocabulary to the daemon.
pub(super) async fn plain(state: &State, ask: &Ask) -> Response<Body> {
    match decode(ask) {
        Ok(request) => respond(call(state, &request).await, |_| {}).await,
        Err(refusal) => refusal,
    }
}

/// Reads a request of our own vocabulary.
pub(super) fn decode(ask: &Ask) -> Result<yagna::Request, Response<Body>> {
    let Some(method) = wire::Method::from_name(ask.method.as_str()) else {
        return Err(reply::empty(404));
    };
    let body = Some(ask.body.to_vec()).filter(|body| !body.is_empty());
    let request = HttpRequest { method, path: ask.target.clone(), headers: &[], body };
    wire::decode_request(&request).map_err(|malformed| refuse(ask, &malformed))
}

/// Makes one call.
pub(super) async fn call(state: &State, request: &yagna::Request) -> Result<Answer, Lost> {
    state.daemon.call(request).await
}

/// Writes what became of a call; `change` may change what the daemon told.
pub(super) async fn respond(
    outcome: Result<Answer, Lost>,
    change: impl FnOnce(&mut Told),
) -> Response<Body> {
    let mut answer = match outcome {
        Ok(answer) => answer,
        Err(Lost::Closed) => return reply::severed(),
        Err(Lost::Silent) => return reply::silent().await,
    };
    if let Ok(told) = &mut answer.reply {
        change(told);
    }
    let mut encoded = document::encode(&answer);
    match answer.fate {
        Fate::Closed => reply::halved(encoded),
        Fate::Garbled => reply::garbled(),
        Fate::WrongIds(how) => {
            if answer.reply.is_ok() {
                crate::wire::spoil_body(&mut encoded.body, how);
            }
            reply::whole(encoded)
        }
        Fate::Through | Fate::Refused | Fate::RequestLost | Fate::Failed | Fate::ReplyLost => {
            reply::whole(encoded)
        }
    }
}

/// The refusal of a request that is not understood, in the words and the form of its API.
pub(super) fn refuse(ask: &Ask, malformed: &Malformed) -> Response<Body> {
    reply::whole(wire::encode_malformed(&ask.target, malformed))
}

impl Ask {
    /// The first value of `key` in the query.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The path as words to match on.
    pub(super) fn path(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }
}

async fn dispatch(state: Arc<State>, ask: Ask) -> Response<Body> {
    let path = ask.path();
    if let ["market-api", "v1", rest @ ..] = path.as_slice()
        && let Some(refusal) = market::check_path(&ask.method, rest)
    {
        return refusal;
    }
    if has_document(&ask.method, &path)
        && let Some(refusal) = check_content_type(&ask)
    {
        return refusal;
    }
    match path.as_slice() {
        ["market-api", "v1", rest @ ..] => market::answer(state.clone(), &ask, rest).await,
        ["activity-api", "v1", rest @ ..] => activity::answer(state.clone(), &ask, rest).await,
        ["payment-api", "v1", rest @ ..] => payment::answer(&state, &ask, rest).await,
        ["net-api", "v2", "vpn", rest @ ..] | ["net-api", "v1", rest @ ..] => {
            net::answer(&state, &ask, rest).await
        }
        ["gsb-api", "v1", rest @ ..] => services::answer(&state, &ask, rest),
        ["net-api", "v2", "net", "status"] if ask.method == Method::GET => net::status(&state),
        ["healthcheck"] if ask.method == Method::GET => {
            reply::json(200, &serde_json::json!({ "status": "ok" }))
        }
        ["me"] => me(&state, &ask).await,
        _ => reply::empty(404),
    }
}

/// Who asks, under the name of the key that was used.
async fn me(state: &State, ask: &Ask) -> Response<Body> {
    let name =
        key_of(&ask.headers, ask.value("authToken")).and_then(|key| state.keys.name_of(&key));
    match decode(ask) {
        Ok(request) => {
            respond(call(state, &request).await, |told| {
                if let (Told::Identity(identity), Some(name)) = (told, name) {
                    identity.name = name;
                }
            })
            .await
        }
        Err(refusal) => refusal,
    }
}

fn authorize(state: &State, parts: &Parts) -> Result<(), Response<Body>> {
    let target = parts.uri.path_and_query().and_then(|target| wire::take_apart(target.as_str()));
    let mut query = target.into_iter().flat_map(|(_, query)| query);
    let token = query.find_map(|(name, value)| (name == "authToken").then_some(value));
    match key_of(&parts.headers, token.as_deref()) {
        None => Err(reply::text(401, "Missing application key")),
        Some(key) if state.keys.name_of(&key).is_none() => {
            Err(reply::text(401, "Invalid application key"))
        }
        Some(_) => Ok(()),
    }
}

fn key_of(headers: &HeaderMap, token: Option<&str>) -> Option<String> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    bearer.or(token).map(ToOwned::to_owned)
}

/// Whether a request has a body that is read.
fn has_document(method: &Method, path: &[&str]) -> bool {
    matches!(
        (method.as_str(), path),
        ("POST", ["market-api", "v1", "demands" | "agreements" | "scan"])
            | ("POST", ["market-api", "v1", "demands", _, "proposals", _])
            | ("POST", ["market-api", "v1", "demands", _, "proposals", _, "reject"])
            | ("POST", ["market-api", "v1", "agreements", _, "cancel" | "terminate"])
            | ("POST", ["activity-api", "v1", "activity"])
            | ("POST", ["activity-api", "v1", "activity", _, "exec"])
            | ("POST", ["payment-api", "v1", "allocations" | "batchCycle"])
            | ("PUT", ["payment-api", "v1", "allocations", _])
            | ("POST", ["payment-api", "v1", "debitNotes" | "invoices", _, "accept" | "reject"])
            | ("POST", ["net-api", "v2", "vpn", "net"] | ["net-api", "v1", "net"])
            | ("POST", ["net-api", "v2", "vpn", "net", _, "nodes" | "addresses"])
            | ("POST", ["net-api", "v1", "net", _, "nodes" | "addresses"])
            | ("POST", ["gsb-api", "v1", "services"])
    )
}

/// Refuses a body that does not say that it is JSON.
fn check_content_type(ask: &Ask) -> Option<Response<Body>> {
    let kind = ask.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if kind == "application/json" || kind.ends_with("+json") {
        return None;
    }
    let is_market = ask.segments.first().is_some_and(|api| api == "market-api");
    let words = "Content type error";
    Some(if is_market { reply::message(400, words) } else { reply::text(400, words) })
}

async fn read(state: &State, parts: &Parts, body: Body) -> Result<Ask, Response<Body>> {
    let body = tokio::time::timeout(state.patience.body, collect(body)).await;
    let body = match body {
        Ok(Ok(Collected::Whole(body))) => body,
        Ok(Ok(Collected::TooLarge(length))) => return Err(too_large(parts.uri.path(), length)),
        Ok(Err(refusal)) => return Err(refusal),
        Err(_) => return Err(reply::severed()),
    };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let Some((segments, query)) = wire::take_apart(&target) else {
        return Err(reply::text(400, "Path deserialize error"));
    };
    let (method, headers) = (parts.method.clone(), parts.headers.clone());
    Ok(Ask { method, target, segments, query, headers, body })
}

/// The whole body, or the length of one that is too large.
async fn collect(mut body: Body) -> Result<Collected, Response<Body>> {
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(reply::severed()) };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > DRAINED_MAX {
            return Err(reply::severed());
        }
        if length <= BODY_MAX {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
        }
    }
    Ok(if length <= BODY_MAX {
        Collected::Whole(bytes.into())
    } else {
        Collected::TooLarge(length)
    })
}

/// The market refuses what is too large as it refuses every body that it cannot read.
fn too_large(path: &str, length: usize) -> Response<Body> {
    let text =
        format!("JSON payload ({length} bytes) is larger than allowed (limit: {BODY_MAX} bytes).");
    if path.starts_with("/market-api/") {
        reply::message(400, &text)
    } else {
        reply::text(413, &text)
    }
}
