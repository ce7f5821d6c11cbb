//! The market API beyond our vocabulary: nested properties, single proposals, filters of lists, and
//! the order in which the daemon looks at what is wrong.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{Method, Response},
};
use ray_on_golem::{
    units::{Rounding, Span, Timestamp, money::parse_scaled},
    yagna::{Properties, Response as Told, wire},
};
use serde_json::{Map, Value, json};

use super::{
    State,
    api::{self, Ask, plain},
    reply, scan,
};

const STATES: [&str; 7] =
    ["Proposal", "Pending", "Cancelled", "Rejected", "Approved", "Expired", "Terminated"];
const EVENTS_MAX: usize = 100;

/// Answers a request to the market API.
pub(super) async fn answer(state: Arc<State>, ask: &Ask, path: &[&str]) -> Response<Body> {
    let state = match path {
        ["scan", rest @ ..] => return scan::answer(state, ask, rest).await,
        _ => state.as_ref(),
    };
    match (ask.method.clone(), path) {
        (Method::POST, ["demands"] | ["demands", _, "proposals", _]) => {
            plain(state, &flattened(ask)).await
        }
        (Method::GET, ["demands", demand, "proposals", proposal]) => {
            let found = state.daemon.look().yagna.proposal(&(*demand).into(), &(*proposal).into());
            match found {
                Ok(proposal) => reply::json(200, &wire::proposal(&proposal)),
                Err(refusal) => reply::whole(wire::encode_refusal(refusal.status, &refusal.body)),
            }
        }
        (Method::GET, ["agreements"]) => list(state, ask).await,
        (Method::GET, ["agreements", id, "terminate", "reason"]) => reason(state, id),
        (Method::GET, ["agreementEvents"]) => events(state, ask).await,
        _ => match check_agreement(ask, path) {
            Some(refusal) => refusal,
            None => plain(state, ask).await,
        },
    }
}

/// The agreements of all states and times, or of those that were asked for.
async fn list(state: &State, ask: &Ask) -> Response<Body> {
    let wanted = ask.value("state").map(ToOwned::to_owned);
    if let Some(word) = wanted.as_deref().filter(|word| !STATES.contains(word)) {
        let names: Vec<String> = STATES.iter().map(|name| format!("`{name}`")).collect();
        let text = format!(
            "Query deserialize error: unknown variant `{word}`, expected one of {}",
            names.join(", ")
        );
        return reply::text(400, &text);
    }
    let (after, before) = match (date(ask, "afterDate"), date(ask, "beforeDate")) {
        (Ok(after), Ok(before)) => (after, before),
        (Err(refusal), _) | (_, Err(refusal)) => return refusal,
    };
    let request = match api::decode(ask) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let outcome = api::call(state, &request).await;
    let daemon = &state.daemon;
    api::respond(outcome, |told| {
        let Told::Agreements(found) = told else { return };
        let inner = daemon.look();
        found.retain(|summary| {
            let is_in_state = wanted.as_ref().is_none_or(|wanted| {
                let view = inner.yagna.agreement(&summary.id);
                view.is_some_and(|view| format!("{:?}", view.book.state) == *wanted)
            });
            is_in_state
                && after.is_none_or(|after| summary.timestamp > after)
                && before.is_none_or(|before| summary.timestamp < before)
        });
    })
    .await
}

fn date(ask: &Ask, key: &str) -> Result<Option<Timestamp>, Response<Body>> {
    let Some(text) = ask.value(key) else { return Ok(None) };
    let read = wire::read_instant(text);
    read.map(Some).ok_or_else(|| {
        reply::text(400, "Query deserialize error: input contains invalid characters")
    })
}

fn reason(state: &State, id: &str) -> Response<Body> {
    if let Some(why) = no_agreement(id) {
        let text = format!("Failed to get Agreement [{id}]. Error: Invalid Agreement id: {why}.");
        return reply::message(500, &text);
    }
    let inner = state.daemon.look();
    match inner.yagna.termination(&id.into()) {
        Some(event) => reply::json(200, &wire::agreement_event(&event)),
        None if inner.yagna.agreement(&id.into()).is_some() => {
            reply::message(400, &format!("Agreement [P-{id}] not terminated yet."))
        }
        None => reply::message(404, &format!("Agreement [{id}] not found.")),
    }
}

async fn events(state: &State, ask: &Ask) -> Response<Body> {
    let most = match ask.value("maxEvents").map(str::parse::<usize>) {
        None => EVENTS_MAX,
        Some(Ok(most @ 1..=EVENTS_MAX)) => most,
        Some(Ok(most)) => {
            let text = format!("Invalid maxEvents '{most}', should be between 1 and 100.");
            return reply::message(400, &text);
        }
        Some(Err(error)) => {
            return reply::text(400, &format!("Query deserialize error: {error}"));
        }
    };
    match api::decode(&without_empty_session(ask)) {
        Ok(request) => {
            let outcome = api::call(state, &request).await;
            api::respond(outcome, |told| {
                if let Told::AgreementEvents(events) = told {
                    events.truncate(most);
                }
            })
            .await
        }
        Err(refusal) => refusal,
    }
}

/// An empty session is nobody's; to us, who do not write one, it stands for all.
pub(super) fn without_empty_session(ask: &Ask) -> Ask {
    let mut ask = ask.clone();
    if ask.value("appSessionId") == Some("") {
        ask.target = ask.target.replacen("appSessionId=", "appSessionId=%00", 1);
    }
    ask
}

/// Seconds with decimals.
pub(super) fn seconds(text: &str) -> Option<Span> {
    let micros = parse_scaled(text, 6, Rounding::Down).ok()?;
    u64::try_from(micros).ok().map(Span::micros)
}

/// The request with the properties of its body as flat, dotted keys.
fn flattened(ask: &Ask) -> Ask {
    let mut ask = ask.clone();
    let Ok(Value::Object(mut document)) = serde_json::from_slice(&ask.body) else { return ask };
    let Some(Value::Object(properties)) = document.get("properties") else { return ask };
    if properties.values().any(Value::is_object) {
        let mut flat = Map::new();
        flatten("", properties, &mut flat);
        document.insert("properties".to_owned(), json!(Properties(flat)));
        ask.body = Bytes::from(Value::Object(document).to_string());
    }
    ask
}

fn flatten(prefix: &str, properties: &Map<String, Value>, flat: &mut Map<String, Value>) {
    for (key, value) in properties {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) => flatten(&key, inner, flat),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                flat.insert(key, value.clone());
            }
        }
    }
}

/// Refuses ids in a path that cannot be any, before anything else of the request is looked at.
pub(super) fn check_path(method: &Method, path: &[&str]) -> Option<Response<Body>> {
    let (demand, proposal) = match (method.as_str(), path) {
        ("DELETE", ["demands", demand]) | ("GET", ["demands", demand, "events"]) => (demand, None),
        ("GET" | "POST", ["demands", demand, "proposals", proposal])
        | ("POST", ["demands", demand, "proposals", proposal, "reject"]) => {
            (demand, Some(proposal))
        }
        _ => return None,
    };
    let what = match proposal {
        _ if !is_subscription(demand) => {
            format!("Subscription id [{demand}] has invalid format.")
        }
        Some(id) if !is_proposal(id) => format!("Id [{id}] has invalid format."),
        Some(_) | None => return None,
    };
    let text = json!({ "message": format!("Path deserialize error: {what}") }).to_string();
    Some(reply::text(400, &text))
}

/// Refuses ids of agreements and proposals that cannot be any, where the rest can be read.
fn check_agreement(ask: &Ask, path: &[&str]) -> Option<Response<Body>> {
    if path.first() == Some(&"agreements")
        && let Err(refusal) = api::decode(ask)
    {
        return Some(refusal);
    }
    match path {
        ["agreements", id, rest @ ..] => {
            let word = if rest == ["wait"] { "agreement" } else { "Agreement" };
            let why = no_agreement(id)?;
            Some(reply::message(400, &format!("Invalid {word} id. {why}.")))
        }
        ["agreements"] if ask.method == Method::POST => {
            let document: Value = serde_json::from_slice(&ask.body).ok()?;
            let id = document.get("proposalId")?.as_str()?;
            let text = format!("Invalid Agreement id. Id [{id}] has invalid format.");
            (!is_proposal(id)).then(|| reply::message(400, &text))
        }
        _ => None,
    }
}

/// Why this is no id of an agreement.
fn no_agreement(id: &str) -> Option<String> {
    if is_hex(id, 64) {
        return None;
    }
    let is_hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let why =
        if is_hexadecimal { "has invalid format" } else { "contains non hexadecimal characters" };
    Some(format!("Id [{id}] {why}"))
}

fn is_subscription(id: &str) -> bool {
    id.split_once('-').is_some_and(|(random, hash)| is_hex(random, 32) && is_hex(hash, 64))
}

fn is_proposal(id: &str) -> bool {
    let hash = id.strip_prefix("R-").or_else(|| id.strip_prefix("P-"));
    hash.is_some_and(|hash| is_hex(hash, 64))
}

pub(super) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{flatten, is_proposal, is_subscription};

    #[test]
    fn nested_properties_become_dotted_keys() {
        let nested = json!({ "golem": { "srv": { "comp": { "expiration": 1 } } }, "a.b": [2] });
        let mut flat = Map::new();

        flatten("", nested.as_object().expect("an object"), &mut flat);

        let wanted = json!({ "golem.srv.comp.expiration": 1, "a.b": [2] });
        assert_eq!(Value::Object(flat), wanted);
    }

    #[test]
    fn ids_have_a_form() {
        let hash = "0".repeat(64);

        assert!(is_subscription(&format!("{}-{hash}", &hash[..32])));
        assert!(!is_subscription("xyz"));
        assert!(is_proposal(&format!("R-{hash}")));
        assert!(!is_proposal(&hash));
    }
}
