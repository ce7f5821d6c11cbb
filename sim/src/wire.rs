//! Calls in their wire form: the codec runs under the same seeds as everything else, with no socket.

use ray_on_golem::yagna::{CallError, Request, Response, wire};

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
    let written = wire::encode_response(match reply {
        Ok(response) => Ok(response),
        Err(refusal) => Err((refusal.status, &refusal.body)),
    });
    wire::decode_response(request, &written)
}
