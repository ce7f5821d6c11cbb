//! The requestor's side: requests are written, responses are read.
//!
//! A status says which of the three classes an outcome belongs to; a body never does.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    HttpRequest, HttpResponse, MARKET_PREFIX, Method, PAYMENT_PREFIX,
    documents::{
        AllocationDocument, Amount, DecorationsDocument, IdentityDocument, Instant,
        SubscriptionDocument, bounded, write,
    },
    events::read_events,
    target::{escape, write_seconds},
};
use crate::{
    units::Timestamp,
    yagna::{
        error::{CallError, Doubt},
        ids::{PlatformId, ProposalId, SubscriptionId},
        request::Request,
        response::Response,
    },
};

/// Writes a request.
#[must_use]
pub fn encode_request(request: &Request) -> HttpRequest {
    HttpRequest { method: method(request), path: path(request), body: body(request) }
}

/// Reads the response to `request`.
///
/// # Errors
///
/// 4xx is a refusal. 5xx and every status that nobody expects leave the outcome unknown, and so
/// does a success whose body cannot be read.
pub fn decode_response(request: &Request, response: &HttpResponse) -> Result<Response, CallError> {
    let status = response.status;
    match status.0 {
        200 | 201 | 204 => read(request, &response.body)
            .map_err(|why| CallError::Unknown(Doubt::Garbled { why: bounded(why) })),
        400..=499 => Err(CallError::Rejected { status, body: said(&response.body) }),
        _ => Err(CallError::Unknown(Doubt::Failed { status, body: said(&response.body) })),
    }
}

/// The body of `POST /allocations`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewAllocation<'a> {
    payment_platform: &'a PlatformId,
    total_amount: Amount,
    timeout: Option<Instant>,
    make_deposit: bool,
}

/// The body of a rejection.
#[derive(Serialize)]
struct Reason<'a> {
    message: &'a str,
}

fn method(request: &Request) -> Method {
    match request {
        Request::WhoAmI
        | Request::ListAllocations
        | Request::DecorateDemand { .. }
        | Request::ListDemands
        | Request::CollectEvents { .. } => Method::Get,
        Request::CreateAllocation { .. }
        | Request::Subscribe { .. }
        | Request::CounterProposal { .. }
        | Request::RejectProposal { .. } => Method::Post,
        Request::ReleaseAllocation { .. } | Request::Unsubscribe { .. } => Method::Delete,
        _ => todo!(),
    }
}

fn path(request: &Request) -> String {
    match request {
        Request::WhoAmI => "/me".to_owned(),
        Request::CreateAllocation { .. } | Request::ListAllocations => {
            format!("{PAYMENT_PREFIX}/allocations")
        }
        Request::ReleaseAllocation { allocation } => {
            format!("{PAYMENT_PREFIX}/allocations/{}", escape(allocation.as_str()))
        }
        Request::DecorateDemand { allocation } => {
            let id = escape(allocation.as_str());
            format!("{PAYMENT_PREFIX}/demandDecorations?allocationIds={id}")
        }
        Request::Subscribe { .. } | Request::ListDemands => format!("{MARKET_PREFIX}/demands"),
        Request::Unsubscribe { subscription } => demand_path(subscription),
        Request::CollectEvents { subscription, timeout, max_events } => {
            let (demand, seconds) = (demand_path(subscription), write_seconds(*timeout));
            format!("{demand}/events?timeout={seconds}&maxEvents={max_events}")
        }
        Request::CounterProposal { subscription, proposal, .. } => {
            proposal_path(subscription, proposal)
        }
        Request::RejectProposal { subscription, proposal, .. } => {
            format!("{}/reject", proposal_path(subscription, proposal))
        }
        _ => todo!(),
    }
}

fn demand_path(subscription: &SubscriptionId) -> String {
    format!("{MARKET_PREFIX}/demands/{}", escape(subscription.as_str()))
}

fn proposal_path(subscription: &SubscriptionId, proposal: &ProposalId) -> String {
    format!("{}/proposals/{}", demand_path(subscription), escape(proposal.as_str()))
}

fn body(request: &Request) -> Option<Vec<u8>> {
    match request {
        Request::CreateAllocation { platform, total, timeout } => Some(write(&NewAllocation {
            payment_platform: platform,
            total_amount: Amount(*total),
            // Without one the daemon takes some ten years, which is its "never".
            timeout: (*timeout != Timestamp::NEVER).then_some(Instant(*timeout)),
            make_deposit: false,
        })),
        Request::Subscribe { demand: body } | Request::CounterProposal { body, .. } => {
            Some(write(body.as_ref()))
        }
        Request::RejectProposal { reason, .. } => Some(write(&Reason { message: reason })),
        Request::WhoAmI
        | Request::ListAllocations
        | Request::ReleaseAllocation { .. }
        | Request::DecorateDemand { .. }
        | Request::ListDemands
        | Request::Unsubscribe { .. }
        | Request::CollectEvents { .. } => None,
        _ => todo!(),
    }
}

fn read(request: &Request, body: &[u8]) -> Result<Response, String> {
    let response = match request {
        Request::WhoAmI => Response::Identity(document::<IdentityDocument>(body)?.into()),
        Request::CreateAllocation { .. } => {
            Response::AllocationCreated(document::<AllocationDocument>(body)?.into())
        }
        Request::ListAllocations => {
            let allocations: Vec<AllocationDocument> = document(body)?;
            Response::Allocations(allocations.into_iter().map(Into::into).collect())
        }
        // The status says it all; the body is `null`, or empty.
        Request::ReleaseAllocation { .. } => Response::AllocationReleased,
        Request::DecorateDemand { .. } => {
            Response::Decorations(document::<DecorationsDocument>(body)?.into())
        }
        Request::Subscribe { .. } => Response::Subscribed(document(body)?),
        Request::ListDemands => {
            let demands: Vec<SubscriptionDocument> = document(body)?;
            Response::Demands(demands.into_iter().map(Into::into).collect())
        }
        Request::Unsubscribe { .. } => Response::Unsubscribed,
        Request::CollectEvents { .. } => {
            let text = str::from_utf8(body).map_err(|error| error.to_string())?;
            Response::Events(read_events(text).map_err(|error| error.to_string())?)
        }
        Request::CounterProposal { .. } => Response::Countered(document(body)?),
        Request::RejectProposal { .. } => Response::ProposalRejected,
        _ => todo!(),
    };
    Ok(response)
}

fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// An error body as the daemon wrote it: users know its words from elsewhere.
fn said(body: &[u8]) -> String {
    bounded(String::from_utf8_lossy(body).into_owned())
}
