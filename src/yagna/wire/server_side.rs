//! The daemon's side: requests are read, responses are written, with the daemon's own statuses.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    HttpRequest, HttpResponse, JSON, Method,
    documents::{
        AllocationDocument, Amount, DecorationsDocument, IdentityDocument, Instant,
        SubscriptionDocument, bounded, write,
    },
    events::write_event,
    target::{Target, read_seconds},
};
use crate::{
    units::{Span, Timestamp},
    yagna::{
        error::Status, ids::PlatformId, model::DemandBody, request::Request, response::Response,
    },
};

/// The platform of an allocation that names none: the daemon's default, on a retired network.
const DEFAULT_PLATFORM: &str = "erc20-holesky-tglm";

const PROBLEM_JSON: &str = "application/problem+json";

const EVENTS_TIMEOUT: Span = Span::secs(5);
const EVENTS_MAX: u8 = 20;

/// What the daemon answers to a request that it cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The status.
    pub status: Status,
    /// What is wrong with it; empty if the daemon does not know the path.
    pub body: String,
}

/// Reads a request as the daemon does, with the daemon's defaults for what may be left out.
///
/// # Errors
///
/// Says what to answer to a request that is none of ours, or that the daemon would not understand.
pub fn decode_request(request: &HttpRequest) -> Result<Request, Malformed> {
    let target =
        Target::read(&request.path).ok_or_else(|| bad_request("Path deserialize error"))?;
    let segments: Vec<&str> = target.segments.iter().map(String::as_str).collect();
    if segments.contains(&"") {
        return Err(not_found());
    }
    match segments.as_slice() {
        ["me"] => match request.method {
            Method::Get => Ok(Request::WhoAmI),
            Method::Post | Method::Delete => Err(not_found()),
        },
        ["payment-api", "v1", rest @ ..] => decode_payment(request, rest, &target),
        ["market-api", "v1", rest @ ..] => decode_market(request, rest, &target),
        _ => Err(not_found()),
    }
}

/// Writes a response, or a refusal.
#[must_use]
pub fn encode_response(outcome: Result<&Response, (Status, &str)>) -> HttpResponse {
    let response = match outcome {
        Ok(response) => response,
        Err((status, body)) => return encode_refusal(status, body),
    };
    match response {
        Response::Identity(identity) => json(200, &IdentityDocument::from(identity)),
        Response::AllocationCreated(allocation) => json(201, &AllocationDocument::from(allocation)),
        Response::Allocations(allocations) => {
            json(200, &allocations.iter().map(AllocationDocument::from).collect::<Vec<_>>())
        }
        Response::AllocationReleased => json(200, &Value::Null),
        Response::Decorations(decorations) => json(200, &DecorationsDocument::from(decorations)),
        Response::Subscribed(subscription) => json(201, subscription),
        Response::Demands(demands) => {
            json(200, &demands.iter().map(SubscriptionDocument::from).collect::<Vec<_>>())
        }
        Response::Events(events) => json(200, &events.iter().map(write_event).collect::<Vec<_>>()),
        Response::Countered(proposal) => json(200, proposal),
        Response::Unsubscribed | Response::ProposalRejected => {
            HttpResponse { status: Status(204), content_type: None, body: Vec::new() }
        }
        _ => todo!(),
    }
}

/// Writes a refusal: plain text for a bad app-key, a JSON object as it is, and other text as the
/// message of the usual error body.
#[must_use]
pub fn encode_refusal(status: Status, body: &str) -> HttpResponse {
    if status == Status::UNAUTHORIZED {
        let content_type = Some("text/plain; charset=utf-8".to_owned());
        return HttpResponse { status, content_type, body: body.into() };
    }
    match serde_json::from_str::<Map<String, Value>>(body) {
        Ok(document) => {
            let kind = if document.contains_key("type") { PROBLEM_JSON } else { JSON };
            HttpResponse { status, content_type: Some(kind.to_owned()), body: body.into() }
        }
        Err(_) => {
            let message = (!body.is_empty()).then_some(body);
            json(status.0, &serde_json::json!({ "message": message }))
        }
    }
}

/// The body of `POST /allocations`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAllocation {
    payment_platform: Option<Value>,
    total_amount: Amount,
    timeout: Option<Instant>,
}

/// The body of a rejection, unless it is `null`.
#[derive(Deserialize)]
struct Reason {
    message: Option<String>,
}

fn decode_payment(
    request: &HttpRequest,
    path: &[&str],
    target: &Target,
) -> Result<Request, Malformed> {
    match (request.method, path) {
        (Method::Get, ["allocations"]) => Ok(Request::ListAllocations),
        (Method::Post, ["allocations"]) => {
            let NewAllocation { payment_platform, total_amount, timeout } = document(request)?;
            Ok(Request::CreateAllocation {
                platform: platform(payment_platform)?,
                total: total_amount.0,
                timeout: timeout.map_or(Timestamp::NEVER, |timeout| timeout.0),
            })
        }
        (Method::Delete, ["allocations", allocation]) => {
            Ok(Request::ReleaseAllocation { allocation: (*allocation).into() })
        }
        (Method::Get, ["demandDecorations"]) => {
            let mut ids = target.values("allocationIds");
            match (ids.next(), ids.next()) {
                (Some(allocation), None) => {
                    Ok(Request::DecorateDemand { allocation: allocation.into() })
                }
                (None, _) => bad_query("missing field `allocationIds`"),
                (Some(_), Some(_)) => bad_query("duplicate field `allocationIds`"),
            }
        }
        (Method::Get | Method::Post | Method::Delete, _) => Err(not_found()),
    }
}

fn decode_market(
    request: &HttpRequest,
    path: &[&str],
    target: &Target,
) -> Result<Request, Malformed> {
    match (request.method, path) {
        (Method::Get, ["demands"]) => Ok(Request::ListDemands),
        (Method::Post, ["demands"]) => {
            Ok(Request::Subscribe { demand: Arc::new(document::<DemandBody>(request)?) })
        }
        (Method::Delete, ["demands", subscription]) => {
            Ok(Request::Unsubscribe { subscription: (*subscription).into() })
        }
        (Method::Get, ["demands", subscription, "events"]) => Ok(Request::CollectEvents {
            subscription: (*subscription).into(),
            timeout: events_timeout(target)?,
            max_events: max_events(target)?,
        }),
        (Method::Post, ["demands", subscription, "proposals", proposal]) => {
            Ok(Request::CounterProposal {
                subscription: (*subscription).into(),
                proposal: (*proposal).into(),
                body: Arc::new(document::<DemandBody>(request)?),
            })
        }
        (Method::Post, ["demands", subscription, "proposals", proposal, "reject"]) => {
            let reason: Option<Reason> = document(request)?;
            Ok(Request::RejectProposal {
                subscription: (*subscription).into(),
                proposal: (*proposal).into(),
                reason: reason.and_then(|reason| reason.message).unwrap_or_default(),
            })
        }
        (Method::Get | Method::Post | Method::Delete, _) => Err(not_found()),
    }
}

/// Reads a platform: text, or an object of its parts of which the token follows from the network.
fn platform(value: Option<Value>) -> Result<PlatformId, Malformed> {
    let parts = match value {
        None | Some(Value::Null) => return Ok(DEFAULT_PLATFORM.into()),
        Some(Value::String(text)) => return Ok(text.into()),
        Some(Value::Object(parts)) => parts,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            return Err(bad_request("paymentPlatform must be text or an object"));
        }
    };
    let part = |key: &str| parts.get(key).and_then(Value::as_str);
    let driver = part("driver").unwrap_or("erc20");
    let network = part("network").unwrap_or("holesky");
    let token = part("token").unwrap_or(match network {
        "mainnet" | "polygon" => "glm",
        _ => "tglm",
    });
    Ok(format!("{driver}-{network}-{token}").into())
}

fn events_timeout(target: &Target) -> Result<Span, Malformed> {
    match target.values("timeout").next() {
        None => Ok(EVENTS_TIMEOUT),
        Some(text) => read_seconds(text).map_or_else(|| bad_query("invalid float literal"), Ok),
    }
}

fn max_events(target: &Target) -> Result<u8, Malformed> {
    let Some(text) = target.values("maxEvents").next() else {
        return Ok(EVENTS_MAX);
    };
    match text.parse() {
        Ok(number @ 1..=100) => Ok(number),
        Ok(_) | Err(_) => {
            let why = format!("Invalid maxEvents '{text}', should be between 1 and 100.");
            Err(Malformed { status: Status(400), body: bounded(why) })
        }
    }
}

fn document<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Malformed> {
    serde_json::from_slice(request.body.as_deref().unwrap_or_default())
        .map_err(|error| bad_request(&format!("Json deserialize error: {error}")))
}

fn json(status: u16, document: &impl Serialize) -> HttpResponse {
    let content_type = Some(JSON.to_owned());
    HttpResponse { status: Status(status), content_type, body: write(document) }
}

fn bad_query<T>(why: &str) -> Result<T, Malformed> {
    Err(bad_request(&format!("Query deserialize error: {why}")))
}

fn bad_request(why: &str) -> Malformed {
    Malformed { status: Status(400), body: bounded(why.to_owned()) }
}

fn not_found() -> Malformed {
    Malformed { status: Status::NOT_FOUND, body: String::new() }
}
