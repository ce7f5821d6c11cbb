//! The JSON documents of agreements and of what happens to them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::documents::{Epoch, Instant};
use crate::yagna::{
    ids::{AgreementId, ProposalId, ProviderId, SessionId, checked},
    model::{
        Agreement, AgreementEvent, AgreementEventKind, AgreementState, AgreementSummary,
        DemandBody, Properties,
    },
    words,
};

/// The body of `POST /agreements`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewAgreement {
    pub(super) proposal_id: ProposalId,
    pub(super) valid_to: Instant,
}

/// The body of a request that says why, unless it is `null`.
#[derive(Serialize, Deserialize)]
pub(super) struct Reason {
    pub(super) message: String,
}

/// The document of an [`Agreement`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgreementDocument {
    #[serde(deserialize_with = "checked")]
    agreement_id: AgreementId,
    demand: DemandDocument,
    offer: OfferDocument,
    /// Demanded by the readers of other clients.
    #[serde(skip_deserializing)]
    valid_to: Epoch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approved_date: Option<Instant>,
    state: AgreementState,
    #[serde(skip_deserializing)]
    timestamp: Epoch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app_session_id: Option<SessionId>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DemandDocument {
    properties: Properties,
    constraints: String,
    #[serde(skip_deserializing)]
    demand_id: &'static str,
    #[serde(skip_deserializing)]
    requestor_id: &'static str,
    #[serde(skip_deserializing)]
    timestamp: Epoch,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfferDocument {
    properties: Properties,
    constraints: String,
    #[serde(skip_deserializing)]
    offer_id: &'static str,
    #[serde(deserialize_with = "checked")]
    provider_id: ProviderId,
    #[serde(skip_deserializing)]
    timestamp: Epoch,
}

/// The document of an [`AgreementSummary`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SummaryDocument {
    #[serde(deserialize_with = "checked")]
    id: AgreementId,
    timestamp: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approved_date: Option<Instant>,
    role: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventDocument {
    event_type: String,
    event_date: Instant,
    #[serde(deserialize_with = "checked")]
    agreement_id: AgreementId,
    #[serde(default)]
    terminator: Option<String>,
    #[serde(default)]
    reason: Option<Value>,
}

const REQUESTOR: &str = "Requestor";
const CODE: &str = "golem.provider.code";

/// Reads a page of events one by one: the daemon keeps them, and one that cannot be read would spoil each page that it
/// is on.
pub(super) fn read_events(body: &[u8]) -> Result<Vec<AgreementEvent>, serde_json::Error> {
    let events: Vec<&RawValue> = serde_json::from_slice(body)?;
    let read = |event: &RawValue| serde_json::from_str::<EventDocument>(event.get()).ok();
    Ok(events.into_iter().filter_map(read).map(Into::into).collect())
}

/// Writes an event.
pub(super) fn write_event(event: &AgreementEvent) -> Value {
    let said = |reason: &Option<String>| reason.as_ref().map(|text| json!({ "message": text }));
    let (kind, reason) = match &event.kind {
        AgreementEventKind::Approved => ("AgreementApprovedEvent", None),
        AgreementEventKind::Rejected { reason } => ("AgreementRejectedEvent", said(reason)),
        AgreementEventKind::Cancelled { reason } => ("AgreementCancelledEvent", said(reason)),
        AgreementEventKind::Terminated { reason, code, .. } => {
            let mut text = said(reason);
            if let Some(code) = code {
                text.get_or_insert_with(|| json!({}))[CODE] = json!(code);
            }
            ("AgreementTerminatedEvent", text)
        }
        AgreementEventKind::Other(kind) => (kind.as_str(), None),
    };
    let mut document = json!({
        "eventType": kind,
        "eventDate": Instant(event.at),
        "agreementId": event.agreement,
    });
    if let Some(reason) = reason {
        document["reason"] = reason;
    }
    if let AgreementEventKind::Terminated { by_requestor, .. } = event.kind {
        let who = if by_requestor { REQUESTOR } else { "Provider" };
        document["terminator"] = json!(who);
        document["signature"] = json!("");
    }
    document
}

impl From<EventDocument> for AgreementEvent {
    fn from(document: EventDocument) -> Self {
        let text = |key: &str| {
            let value = document.reason.as_ref()?.get(key)?;
            value.as_str().map(words::reason)
        };
        let reason = text("message");
        let kind = match document.event_type.as_str() {
            "AgreementApprovedEvent" => AgreementEventKind::Approved,
            "AgreementRejectedEvent" => AgreementEventKind::Rejected { reason },
            "AgreementCancelledEvent" => AgreementEventKind::Cancelled { reason },
            "AgreementTerminatedEvent" => AgreementEventKind::Terminated {
                by_requestor: document.terminator.as_deref() == Some(REQUESTOR),
                reason,
                code: text(CODE),
            },
            _ => AgreementEventKind::Other(words::reason(&document.event_type)),
        };
        Self { agreement: document.agreement_id, at: document.event_date.0, kind }
    }
}

impl From<AgreementDocument> for Agreement {
    fn from(document: AgreementDocument) -> Self {
        let AgreementDocument { agreement_id, demand, offer, approved_date, state, .. } = document;
        Self {
            id: agreement_id,
            provider: offer.provider_id,
            state,
            approved: approved_date.map(|at| at.0),
            session: document.app_session_id,
            demand: DemandBody { properties: demand.properties, constraints: demand.constraints },
            offer: DemandBody { properties: offer.properties, constraints: offer.constraints },
        }
    }
}

impl From<&Agreement> for AgreementDocument {
    fn from(agreement: &Agreement) -> Self {
        let Agreement { id, provider, state, approved, session, demand, offer } = agreement.clone();
        Self {
            agreement_id: id,
            demand: DemandDocument {
                properties: demand.properties,
                constraints: demand.constraints,
                demand_id: "",
                requestor_id: "",
                timestamp: Epoch,
            },
            offer: OfferDocument {
                properties: offer.properties,
                constraints: offer.constraints,
                offer_id: "",
                provider_id: provider,
                timestamp: Epoch,
            },
            valid_to: Epoch,
            approved_date: approved.map(Instant),
            state,
            timestamp: Epoch,
            app_session_id: session,
        }
    }
}

impl From<SummaryDocument> for AgreementSummary {
    fn from(document: SummaryDocument) -> Self {
        Self {
            id: document.id,
            timestamp: document.timestamp.0,
            approved: document.approved_date.map(|at| at.0),
            is_requestor: document.role == REQUESTOR,
        }
    }
}

impl From<&AgreementSummary> for SummaryDocument {
    fn from(summary: &AgreementSummary) -> Self {
        let role = if summary.is_requestor { REQUESTOR } else { "Provider" };
        Self {
            id: summary.id.clone(),
            timestamp: Instant(summary.timestamp),
            approved_date: summary.approved.map(Instant),
            role: role.to_owned(),
        }
    }
}
