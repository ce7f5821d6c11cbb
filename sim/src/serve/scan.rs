//! A look at the market without a demand: offers as the daemon hears of them, each once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{Method, Response, header},
};
use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::wire,
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
use crate::{
    provider::{Draft, Offer},
    yagna::constraint::Constraint,
};

/// More looks at the market than this end the oldest one.
const SCANS_MAX: usize = 100;
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

/// Looks at the market, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Scans {
    open: BTreeMap<u64, Scan>,
    next: u64,
}

#[derive(Debug)]
struct Scan {
    filter: Constraint,
    /// The daemon keeps no demands to look at.
    is_of_offers: bool,
    /// Which offers were shown, by their numbers.
    seen: Vec<bool>,
    lasts: Span,
    ends: Timestamp,
}

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

/// There is no such look.
struct Unknown;

/// Answers a request about looks at the market; `path` begins after `scan`.
pub(super) async fn answer(state: Arc<State>, ask: &Ask, path: &[&str]) -> Response<Body> {
    match (ask.method.clone(), path) {
        (Method::POST, []) => begin(&state, ask),
        (Method::GET, [id, "events"]) => events(state, ask, id).await,
        (Method::DELETE, [id]) => {
            let number = id.parse::<u64>().ok();
            match number.and_then(|number| state.daemon.look().scans.open.remove(&number)) {
                Some(_) => reply::empty(204),
                None => unknown(id),
            }
        }
        _ => reply::empty(404),
    }
}

fn begin(state: &State, ask: &Ask) -> Response<Body> {
    let NewScan { r#type, constraints, timeout } = match serde_json::from_slice(&ask.body) {
        Ok(wanted) => wanted,
        Err(error) => return reply::message(400, &format!("Json deserialize error: {error}")),
    };
    let filter = constraints.map_or(Constraint::All(Vec::new()), |it| Constraint::parse(&it));
    let mut inner = state.daemon.look();
    let now = inner.now();
    let scans = &mut inner.scans;
    let number = scans.next;
    // One that cannot be begun has its number, too.
    scans.next += 1;
    if filter == Constraint::Never {
        return reply::message(400, "Invalid constraint. It cannot be read");
    }
    let lasts = timeout.map_or(LASTS, Span::secs);
    let is_of_offers = matches!(r#type, Kind::Offer);
    scans.open.retain(|_, scan| scan.ends > now);
    let ends = now.plus(lasts);
    scans.open.insert(number, Scan { filter, is_of_offers, seen: Vec::new(), lasts, ends });
    if scans.open.len() > SCANS_MAX {
        scans.open.pop_first();
    }
    reply::json(201, &json!(number.to_string()))
}

async fn events(state: Arc<State>, ask: &Ask, id: &str) -> Response<Body> {
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
    let number = match id.parse::<u64>() {
        Ok(number) if state.daemon.look().touch(number).is_ok() => number,
        Ok(_) | Err(_) => return unknown(id),
    };
    if let Some(peer) = peer {
        // The peer itself is asked, each time anew.
        let offers = state.daemon.look().offers_of(number, peer);
        return offers.map_or_else(|Unknown| unknown(id), |all| reply::json(200, &json!(all)));
    }
    let accepted = ask.headers.get(header::ACCEPT);
    if accepted.is_some_and(|kind| kind == reply::EVENT_STREAM) {
        return stream(state, number);
    }
    if most == 0 {
        return reply::json(200, &json!([]));
    }
    let deadline = Instant::now() + Duration::from_micros(timeout.as_micros());
    loop {
        let Ok(offers) = state.daemon.look().new_offers(number, most) else { return unknown(id) };
        if !offers.is_empty() || Instant::now() >= deadline {
            return reply::json(200, &Value::Array(offers));
        }
        tokio::time::sleep_until((Instant::now() + LOOKS_EVERY).min(deadline)).await;
    }
}

/// Offers as they come, until nobody reads them or the look is over.
fn stream(state: Arc<State>, number: u64) -> Response<Body> {
    let (frames, news) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(async move {
        loop {
            let page = state.daemon.look().new_offers(number, PAGE);
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

fn unknown(id: &str) -> Response<Body> {
    reply::message(404, &format!("Iterator with id \"{id}\" not found"))
}

impl Scans {
    /// Nothing of them outlives the daemon.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Inner {
    /// Keeps a look at the market alive.
    fn touch(&mut self, number: u64) -> Result<(), Unknown> {
        let now = self.now();
        let scan = self.scans.open.get_mut(&number).filter(|scan| scan.ends > now);
        let scan = scan.ok_or(Unknown)?;
        scan.ends = now.plus(scan.lasts);
        Ok(())
    }

    /// Offers that a look has not shown yet.
    fn new_offers(&mut self, number: u64, most: usize) -> Result<Vec<Value>, Unknown> {
        self.touch(number)?;
        let Self { yagna, scans, started, .. } = self;
        let scan = scans.open.get_mut(&number).ok_or(Unknown)?;
        let mut offers = Vec::new();
        for (offer, known) in yagna.known_offers().filter(|_| scan.is_of_offers) {
            if offers.len() == most {
                break;
            }
            if scan.seen.len() <= offer {
                scan.seen.resize(offer + 1, false);
            }
            let is_new = !std::mem::replace(&mut scan.seen[offer], true);
            if is_new && scan.filter.accepts(known) {
                offers.push(document(&yagna.offer_id(offer), known, *started));
            }
        }
        Ok(offers)
    }

    /// All offers of a provider that a look is interested in.
    fn offers_of(&self, number: u64, provider: &str) -> Result<Vec<Value>, Unknown> {
        let scan = self.scans.open.get(&number).ok_or(Unknown)?;
        let own = self.yagna.known_offers();
        let own = own.filter(|(_, offer)| offer.provider.as_str() == provider);
        let wanted = own.filter(|(_, offer)| scan.filter.accepts(*offer));
        let written = |(number, offer): (usize, &Offer)| {
            document(&self.yagna.offer_id(number), offer, self.started)
        };
        Ok(wanted.map(written).collect())
    }
}

fn document(id: &impl serde::Serialize, offer: &Offer, published: Timestamp) -> Value {
    json!({
        "properties": offer.properties(&Draft::default()),
        "constraints": offer.constraints(),
        "offerId": id,
        "providerId": offer.provider,
        "timestamp": wire::instant(published),
    })
}
