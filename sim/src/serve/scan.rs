//! Looks at the market without a demand, in all forms that the daemon has for them.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{Method, Response, header},
};
use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{PublishedOffer, ScanId, wire},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use super::{
    State,
    api::Ask,
    daemon::Inner,
    market::{is_hex, seconds},
    reply,
};
use crate::yagna::Refusal;

/// Whoever waits for offers is told of them this often.
const LOOKS_EVERY: Duration = Duration::from_millis(500);
const TIMEOUT: Span = Span::secs(5);
/// A look that names no time lasts this long after it was last used.
const LASTS: Span = Span::mins(5);
const OFFERS_MAX: usize = 500;
/// As many come at once where they are streamed.
const PAGE: usize = 100;
/// Whoever reads more slowly is waited for.
const FRAMES_MAX: usize = 64;

/// What is asked for.
#[derive(Deserialize)]
struct NewScan {
    r#type: Kind,
    constraints: Option<String>,
    timeout: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Offer,
    Demand,
}

/// Answers a request about looks at the market; `path` begins after `scan`.
pub(super) async fn answer(state: Arc<State>, ask: &Ask, path: &[&str]) -> Response<Body> {
    match (ask.method.clone(), path) {
        (Method::POST, []) => begin(&state, ask),
        (Method::GET, [id, "events"]) => events(state, ask, &ScanId::from(*id)).await,
        (Method::DELETE, [id]) => match state.daemon.look().yagna.end_scan(&ScanId::from(*id)) {
            Ok(()) => reply::empty(204),
            Err(refusal) => refused(&refusal),
        },
        _ => reply::empty(404),
    }
}

fn begin(state: &State, ask: &Ask) -> Response<Body> {
    let NewScan { r#type, constraints, timeout } = match serde_json::from_slice(&ask.body) {
        Ok(wanted) => wanted,
        Err(error) => return reply::message(400, &format!("Json deserialize error: {error}")),
    };
    let mut inner = state.daemon.look();
    let now = inner.now();
    let lasts = timeout.map_or(LASTS, Span::secs);
    let is_of_offers = matches!(r#type, Kind::Offer);
    match inner.yagna.begin_scan(now, constraints.as_deref(), is_of_offers, lasts) {
        Ok(scan) => reply::json(201, &json!(scan)),
        Err(refusal) => refused(&refusal),
    }
}

async fn events(state: Arc<State>, ask: &Ask, id: &ScanId) -> Response<Body> {
    let most = match ask.value("maxEvents").map(str::parse::<usize>) {
        None => OFFERS_MAX,
        Some(Ok(most)) => most,
        Some(Err(error)) => {
            return reply::text(400, &format!("Query deserialize error: {error}"));
        }
    };
    let Some(timeout) = ask.value("timeout").map_or(Some(TIMEOUT), seconds) else {
        return reply::text(400, "Query deserialize error: invalid float literal");
    };
    let peer = ask.value("peerId");
    if peer.is_some_and(|peer| !peer.strip_prefix("0x").is_some_and(|rest| is_hex(rest, 40))) {
        return reply::text(400, "Query deserialize error: invalid format");
    }
    if let Err(refusal) = state.daemon.look().touch(id) {
        return refused(&refusal);
    }
    if let Some(peer) = peer {
        // The peer itself is asked, each time anew.
        return match state.daemon.look().offers_of(id, peer) {
            Ok(offers) => reply::json(200, &Value::Array(offers)),
            Err(refusal) => refused(&refusal),
        };
    }
    let accepted = ask.headers.get(header::ACCEPT);
    if accepted.is_some_and(|kind| kind == reply::EVENT_STREAM) {
        return stream(state, id.clone());
    }
    if most == 0 {
        return reply::json(200, &json!([]));
    }
    let deadline = Instant::now() + Duration::from_micros(timeout.as_micros());
    loop {
        let offers = match state.daemon.look().new_offers(id, most) {
            Ok(offers) => offers,
            Err(refusal) => return refused(&refusal),
        };
        if !offers.is_empty() || Instant::now() >= deadline {
            return reply::json(200, &Value::Array(offers));
        }
        tokio::time::sleep_until((Instant::now() + LOOKS_EVERY).min(deadline)).await;
    }
}

/// Offers as they come, until nobody reads them or the look is over.
fn stream(state: Arc<State>, id: ScanId) -> Response<Body> {
    let (frames, news) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(async move {
        loop {
            let page = state.daemon.look().new_offers(&id, PAGE);
            let Ok(offers) = page else { return };
            let is_all = offers.len() < PAGE;
            for offer in offers {
                let frame = Bytes::from(format!("event: offer\ndata: {offer}\n\n"));
                if frames.send(frame).await.is_err() {
                    return;
                }
            }
            let nap = if is_all { LOOKS_EVERY } else { Duration::ZERO };
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                () = frames.closed() => return,
            }
        }
    });
    reply::stream(news)
}

fn refused(refusal: &Refusal) -> Response<Body> {
    reply::whole(wire::encode_refusal(refusal.status, &refusal.body))
}

impl Inner {
    /// Keeps a look at the market alive.
    fn touch(&mut self, id: &ScanId) -> Result<(), Refusal> {
        let now = self.now();
        self.yagna.touch_scan(now, id)
    }

    /// Offers that a look has not shown yet.
    fn new_offers(&mut self, id: &ScanId, most: usize) -> Result<Vec<Value>, Refusal> {
        let (now, started) = (self.now(), self.started);
        let offers = self.yagna.scan_page(now, id, most)?;
        Ok(offers.into_iter().map(|offer| written(offer, started)).collect())
    }

    /// All offers of a provider that a look is interested in.
    fn offers_of(&self, id: &ScanId, provider: &str) -> Result<Vec<Value>, Refusal> {
        let offers = self.yagna.offers_of(id, provider)?;
        Ok(offers.into_iter().map(|offer| written(offer, self.started)).collect())
    }
}

/// Other readers demand to know when an offer was published.
fn written(offer: PublishedOffer, published: Timestamp) -> Value {
    wire::published_offer(&PublishedOffer { timestamp: published, ..offer })
}
