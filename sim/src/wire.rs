//! Calls in their wire form: the codec runs under the same seeds as everything else, with no socket.

use ray_on_golem::yagna::{CallError, Request, Response, wire};
use serde_json::Value;

use crate::yagna::Reply;

/// The request after a trip over the wire.
///
/// # Panics
///
/// If a server could not read what the client wrote: the two halves of the codec disagree.
pub(crate) fn pass_request(request: &Request) -> Request {
    let written = wire::encode_request(request);
    let mut read = wire::decode_request(&written).expect("a server reads what a client writes");
    if let (Request::CreateNetwork { path: asked, .. }, Request::CreateNetwork { path, .. }) =
        (request, &mut read)
    {
        // A network over the bus is made by the shell: the daemon's API has no word for it.
        *path = *asked;
    }
    read
}

/// The reply after a trip over the wire.
pub(crate) fn pass_reply(request: &Request, reply: &Reply) -> Result<Response, CallError> {
    wire::decode_response(request, &write(reply))
}

/// The same, with ids that are none, or that name nothing.
pub(crate) fn pass_wrong_reply(
    request: &Request,
    reply: &Reply,
    how: u64,
) -> Result<Response, CallError> {
    let mut written = write(reply);
    if reply.is_ok() {
        spoil_body(&mut written.body, how);
    }
    wire::decode_response(request, &written)
}

/// Spoils the ids in the body of a good reply.
pub(crate) fn spoil_body(body: &mut Vec<u8>, how: u64) {
    if let Ok(mut document) = serde_json::from_slice(body) {
        spoil(&mut document, how);
        *body = document.to_string().into_bytes();
    }
}

fn write(reply: &Reply) -> wire::HttpResponse {
    wire::encode_response(match reply {
        Ok(response) => Ok(response),
        Err(refusal) => Err((refusal.status, &refusal.body)),
    })
}

/// What a document is named by, the most telling first.
const NAMES: [&str; 8] = [
    "debitNoteId",
    "invoiceId",
    "allocationId",
    "demandId",
    "proposalId",
    "activityId",
    "agreementId",
    "id",
];

/// Spoils what a reply, and each document in it, is named by.
fn spoil(document: &mut Value, how: u64) {
    match document {
        Value::String(id) => *id = wrong(id, how),
        Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, how)),
        Value::Object(fields) => {
            let name = NAMES.into_iter().find(|name| fields.contains_key(*name));
            if let Some(Value::String(id)) = name.and_then(|name| fields.get_mut(name)) {
                *id = wrong(id, how);
            } else if let Some(inner) = fields.get_mut("proposal") {
                spoil(inner, how);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An id of another form, or one of the same form that names nothing.
fn wrong(id: &str, how: u64) -> String {
    match how % 4 {
        0 => String::new(),
        1 => format!("../{id}"),
        _ => {
            // This one is a digit in each form, and none of the number that the id ends with.
            let other = |digit: char| if digit == '7' { '8' } else { '7' };
            let spoilt = |(nth, digit)| if nth == 9 { other(digit) } else { digit };
            id.chars().enumerate().map(spoilt).collect()
        }
    }
}
