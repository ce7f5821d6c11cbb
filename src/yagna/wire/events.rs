//! The events of a demand.
//!
//! What they carry was written by strangers, and the daemon forgets events as it sends them: a bad
//! one is reported as [`DemandEvent::Unreadable`] and never spoils the rest of its page.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::documents::{Epoch, Instant, bounded};
use crate::yagna::{
    ids::{ProposalId, ProviderId, checked, checked_if_any},
    model::{DemandBody, DemandEvent, Properties, Proposal, ProposalState, Rejection},
    words,
};

const PROPOSAL_EVENT: &str = "ProposalEvent";
const REJECTED_EVENT: &str = "ProposalRejectedEvent";

/// Reads a page of events one by one, so that a bad one does not lose the others: the daemon
/// forgets them all as it sends them.
///
/// Elements are kept as raw text first. A page read as one tree of values could be spoilt by a
/// single provider: by depth, or by the object keys that `serde_json` keeps for its own use.
pub(super) fn read_events(text: &str) -> Result<Vec<DemandEvent>, serde_json::Error> {
    let events: Vec<&RawValue> = serde_json::from_str(text)?;
    Ok(events.into_iter().map(|event| read_event(event.get())).collect())
}

/// Writes an event. One that could not be read becomes one of a kind that is not known.
pub(super) fn write_event(event: &DemandEvent) -> Value {
    match event {
        DemandEvent::Proposal(proposal) => serde_json::json!({
            "eventType": PROPOSAL_EVENT,
            "eventDate": Instant(proposal.timestamp),
            "proposal": ProposalDocument::from(proposal.as_ref()),
        }),
        DemandEvent::Rejected { proposal, reason } => {
            let mut document = serde_json::json!({
                "eventType": REJECTED_EVENT,
                "eventDate": Epoch,
                "proposalId": proposal,
            });
            if let Some(reason) = reason {
                document["reason"] = write_reason(reason);
            }
            document
        }
        DemandEvent::Unreadable(kind) => {
            serde_json::json!({ "eventType": kind, "eventDate": Epoch })
        }
    }
}

/// Writes a proposal outside of an event.
pub(super) fn write_proposal(proposal: &Proposal) -> Value {
    serde_json::json!(ProposalDocument::from(proposal))
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProposalDocument {
    properties: Properties,
    constraints: String,
    #[serde(deserialize_with = "checked")]
    proposal_id: ProposalId,
    #[serde(deserialize_with = "checked")]
    issuer_id: ProviderId,
    state: ProposalState,
    timestamp: Instant,
    #[serde(default, deserialize_with = "checked_if_any", skip_serializing_if = "Option::is_none")]
    prev_proposal_id: Option<ProposalId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventKind {
    event_type: String,
}

#[derive(Deserialize)]
struct ProposalEventDocument {
    proposal: ProposalDocument,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RejectedEventDocument<'a> {
    #[serde(deserialize_with = "checked")]
    proposal_id: ProposalId,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
}

/// The parts of a reason that matter; a provider may write anything into them.
#[derive(Deserialize)]
struct ReasonDocument {
    message: Option<Value>,
    #[serde(rename = "golem.proposal.rejection.is-final")]
    is_final: Option<Value>,
}

fn read_event(text: &str) -> DemandEvent {
    let kind = match serde_json::from_str::<EventKind>(text) {
        Ok(EventKind { event_type }) => event_type,
        Err(error) => {
            return DemandEvent::Unreadable(bounded(format!("an event without a type: {error}")));
        }
    };
    let event = match kind.as_str() {
        PROPOSAL_EVENT => serde_json::from_str::<ProposalEventDocument>(text)
            .map(|event| DemandEvent::Proposal(Box::new(event.proposal.into()))),
        REJECTED_EVENT => serde_json::from_str::<RejectedEventDocument<'_>>(text).map(|event| {
            DemandEvent::Rejected {
                proposal: event.proposal_id,
                reason: event.reason.map(|reason| read_reason(reason.get())),
            }
        }),
        _ => return DemandEvent::Unreadable(bounded(kind)),
    };
    event.unwrap_or_else(|error| DemandEvent::Unreadable(bounded(format!("{kind}: {error}"))))
}

fn read_reason(text: &str) -> Rejection {
    let Ok(reason) = serde_json::from_str::<ReasonDocument>(text) else {
        return Rejection::default();
    };
    Rejection {
        message: reason.message.as_ref().and_then(Value::as_str).map(words::reason),
        is_final: reason.is_final.as_ref().and_then(Value::as_bool),
    }
}

fn write_reason(reason: &Rejection) -> Value {
    let mut document = serde_json::json!({});
    if let Some(message) = &reason.message {
        document["message"] = message.as_str().into();
    }
    if let Some(is_final) = reason.is_final {
        document["golem.proposal.rejection.is-final"] = is_final.into();
    }
    document
}

impl From<ProposalDocument> for Proposal {
    fn from(document: ProposalDocument) -> Self {
        let ProposalDocument { properties, constraints, .. } = document;
        Self {
            id: document.proposal_id,
            issuer: document.issuer_id,
            state: document.state,
            timestamp: document.timestamp.0,
            previous: document.prev_proposal_id,
            body: DemandBody { properties, constraints },
        }
    }
}

impl From<&Proposal> for ProposalDocument {
    fn from(proposal: &Proposal) -> Self {
        let Proposal { id, issuer, state, timestamp, previous, body } = proposal.clone();
        Self {
            properties: body.properties,
            constraints: body.constraints,
            proposal_id: id,
            issuer_id: issuer,
            state,
            timestamp: Instant(timestamp),
            prev_proposal_id: previous,
        }
    }
}
