//! The JSON documents of debit notes, invoices, what happens to them, and when they are paid.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
};
use serde_json::{Value, json, value::RawValue};

use super::documents::{Amount, Epoch, Instant};
use crate::{
    units::{Span, Timestamp},
    yagna::{
        ids::{
            ActivityId, AgreementId, AllocationId, DebitNoteId, FromWire, InvoiceId, PlatformId,
            ProviderId, checked,
        },
        model::{
            BatchCycle, BillEvent, BillEventKind, BilledAmount, DebitNote, DocumentState, Invoice,
            RejectionReason,
        },
    },
};

/// The body of `PUT /allocations/{id}`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Amendment {
    pub(super) total_amount: Amount,
    pub(super) timeout: Option<Instant>,
}

/// The body of an acceptance.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Acceptance {
    pub(super) total_amount_accepted: Billed,
    pub(super) allocation_id: AllocationId,
}

/// The body of a rejection.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RejectionDocument {
    pub(super) rejection_reason: String,
    pub(super) total_amount_accepted: Billed,
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// An amount in the daemon's own words: text, or a number from other writers.
pub(super) struct Billed(pub(super) BilledAmount);

/// The document of a [`DebitNote`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NoteDocument {
    #[serde(deserialize_with = "checked")]
    debit_note_id: DebitNoteId,
    #[serde(deserialize_with = "checked")]
    issuer_id: ProviderId,
    /// As all that is skipped here, demanded by the readers of other clients only.
    #[serde(skip_deserializing)]
    recipient_id: &'static str,
    #[serde(default)]
    payee_addr: String,
    #[serde(skip_deserializing)]
    payer_addr: &'static str,
    #[serde(deserialize_with = "checked")]
    payment_platform: PlatformId,
    timestamp: Instant,
    #[serde(deserialize_with = "checked")]
    agreement_id: AgreementId,
    #[serde(deserialize_with = "checked")]
    activity_id: ActivityId,
    total_amount_due: Billed,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment_due_date: Option<Instant>,
    status: Status,
}

/// The document of an [`Invoice`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InvoiceDocument {
    #[serde(deserialize_with = "checked")]
    invoice_id: InvoiceId,
    #[serde(deserialize_with = "checked")]
    issuer_id: ProviderId,
    #[serde(skip_deserializing)]
    recipient_id: &'static str,
    #[serde(default)]
    payee_addr: String,
    #[serde(skip_deserializing)]
    payer_addr: &'static str,
    #[serde(deserialize_with = "checked")]
    payment_platform: PlatformId,
    timestamp: Instant,
    #[serde(deserialize_with = "checked")]
    agreement_id: AgreementId,
    #[serde(default)]
    activity_ids: Vec<ActivityId>,
    amount: Billed,
    payment_due_date: Instant,
    status: Status,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Issued,
    Received,
    Accepted,
    Rejected,
    Failed,
    Settled,
    Cancelled,
}

/// The document of a [`BatchCycle`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CycleDocument {
    #[serde(skip_deserializing)]
    node_id: &'static str,
    #[serde(deserialize_with = "checked")]
    platform: PlatformId,
    interval_sec: Option<u64>,
    #[serde(skip_deserializing)]
    cron: Option<String>,
    #[serde(default)]
    extra_pay_time_sec: u64,
    #[serde(skip_deserializing)]
    max_interval_sec: Option<u64>,
    #[serde(default)]
    next_process: Option<Instant>,
    #[serde(skip_deserializing)]
    last_process: Option<Epoch>,
}

/// The body of `POST /batchCycle`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewCycle {
    pub(super) platform: PlatformId,
    pub(super) interval_sec: u64,
    pub(super) extra_pay_time_sec: u64,
}

/// What a note's id is called, and how its events begin.
pub(super) const NOTE: (&str, &str) = ("debitNoteId", "DebitNote");
/// What an invoice's id is called, and how its events begin.
pub(super) const INVOICE: (&str, &str) = ("invoiceId", "Invoice");

/// Reads a list of bills one by one: what one provider wrote must not hide the bills of the others. A bill that cannot
/// be read cannot be decided either.
pub(super) fn read_list<Document: DeserializeOwned, Bill: From<Document>>(
    body: &[u8],
) -> Result<Vec<Bill>, String> {
    let bills: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let read = |bill: &RawValue| serde_json::from_str::<Document>(bill.get()).ok();
    Ok(bills.into_iter().filter_map(read).map(Bill::from).collect())
}

/// Reads a page of events about bills of one kind. Providers choose the ids: events of bills without a proper one are
/// left out.
pub(super) fn read_events<Id: FromWire>(
    body: &[u8],
    (key, prefix): (&str, &str),
) -> Result<Vec<BillEvent<Id>>, String> {
    let events: Vec<Value> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let read = |event: &Value| {
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        let date = event.get("eventDate")?;
        let at = Instant::deserialize(date).ok()?.0;
        let kind = text("eventType")?;
        let kind = match kind.strip_prefix(prefix) {
            Some("ReceivedEvent") => BillEventKind::Received,
            Some("AcceptedEvent") => BillEventKind::Accepted,
            Some("RejectedEvent") => BillEventKind::Rejected,
            Some("CancelledEvent") => BillEventKind::Cancelled,
            Some("SettledEvent") => BillEventKind::Settled,
            Some(_) | None => BillEventKind::Other(kind.to_owned()),
        };
        Some(Id::from_wire(text(key)?).map(|id| BillEvent { id, at, kind }))
    };
    let page: Option<Vec<Option<BillEvent<Id>>>> = events.iter().map(read).collect();
    let page =
        page.ok_or_else(|| format!("an event without `{key}`, `eventDate`, or `eventType`"))?;
    Ok(page.into_iter().flatten().collect())
}

/// Writes an event about a bill.
pub(super) fn write_event(
    id: &str,
    at: Timestamp,
    kind: &BillEventKind,
    (key, prefix): (&str, &str),
) -> Value {
    let kind = match kind {
        BillEventKind::Received => format!("{prefix}ReceivedEvent"),
        BillEventKind::Accepted => format!("{prefix}AcceptedEvent"),
        BillEventKind::Rejected => format!("{prefix}RejectedEvent"),
        BillEventKind::Cancelled => format!("{prefix}CancelledEvent"),
        BillEventKind::Settled => format!("{prefix}SettledEvent"),
        BillEventKind::Other(kind) => kind.clone(),
    };
    json!({ key: id, "eventDate": Instant(at), "eventType": kind })
}

/// The daemon's word for a reason.
pub(super) const fn reason_word(reason: RejectionReason) -> &'static str {
    match reason {
        RejectionReason::UnsolicitedService => "UNSOLICITED_SERVICE",
        RejectionReason::BadService => "BAD_SERVICE",
        RejectionReason::IncorrectAmount => "INCORRECT_AMOUNT",
    }
}

/// The reason that a word of the daemon means.
pub(super) fn read_reason(word: &str) -> Option<RejectionReason> {
    [
        RejectionReason::UnsolicitedService,
        RejectionReason::BadService,
        RejectionReason::IncorrectAmount,
    ]
    .into_iter()
    .find(|reason| reason_word(*reason) == word)
}

/// The answer to a change of the cycle: a refusal comes with the status of a success.
pub(super) fn read_cycle_set(body: &[u8]) -> Result<Result<(), String>, String> {
    let document: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match (document.get("Ok"), document.get("Err")) {
        (_, Some(error)) => Ok(Err(error.to_string())),
        (Some(_), None) => Ok(Ok(())),
        (None, None) => Err("neither `Ok` nor `Err`".to_owned()),
    }
}

impl<'de> Deserialize<'de> for Billed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(BilledAmount::new(&text))),
            Value::Number(number) => Ok(Self(BilledAmount::new(number.as_str()))),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(de::Error::custom("an amount: not a number"))
            }
        }
    }
}

impl Serialize for Billed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl From<NoteDocument> for DebitNote {
    fn from(document: NoteDocument) -> Self {
        Self {
            id: document.debit_note_id,
            issuer: document.issuer_id,
            payee: document.payee_addr,
            platform: document.payment_platform,
            timestamp: document.timestamp.0,
            agreement: document.agreement_id,
            activity: document.activity_id,
            total_due: document.total_amount_due.0,
            payment_due: document.payment_due_date.map(|at| at.0),
            state: document.status.into(),
        }
    }
}

impl From<&DebitNote> for NoteDocument {
    fn from(note: &DebitNote) -> Self {
        let note = note.clone();
        Self {
            debit_note_id: note.id,
            issuer_id: note.issuer,
            recipient_id: "",
            payee_addr: note.payee,
            payer_addr: "",
            payment_platform: note.platform,
            timestamp: Instant(note.timestamp),
            agreement_id: note.agreement,
            activity_id: note.activity,
            total_amount_due: Billed(note.total_due),
            payment_due_date: note.payment_due.map(Instant),
            status: note.state.into(),
        }
    }
}

impl From<InvoiceDocument> for Invoice {
    fn from(document: InvoiceDocument) -> Self {
        Self {
            id: document.invoice_id,
            issuer: document.issuer_id,
            payee: document.payee_addr,
            platform: document.payment_platform,
            timestamp: document.timestamp.0,
            agreement: document.agreement_id,
            activities: document.activity_ids,
            amount: document.amount.0,
            payment_due: document.payment_due_date.0,
            state: document.status.into(),
        }
    }
}

impl From<&Invoice> for InvoiceDocument {
    fn from(invoice: &Invoice) -> Self {
        let invoice = invoice.clone();
        Self {
            invoice_id: invoice.id,
            issuer_id: invoice.issuer,
            recipient_id: "",
            payee_addr: invoice.payee,
            payer_addr: "",
            payment_platform: invoice.platform,
            timestamp: Instant(invoice.timestamp),
            agreement_id: invoice.agreement,
            activity_ids: invoice.activities,
            amount: Billed(invoice.amount),
            payment_due_date: Instant(invoice.payment_due),
            status: invoice.state.into(),
        }
    }
}

impl From<Status> for DocumentState {
    fn from(status: Status) -> Self {
        match status {
            Status::Issued => Self::Issued,
            Status::Received => Self::Received,
            Status::Accepted => Self::Accepted,
            Status::Rejected => Self::Rejected,
            Status::Failed => Self::Failed,
            Status::Settled => Self::Settled,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

impl From<DocumentState> for Status {
    fn from(state: DocumentState) -> Self {
        match state {
            DocumentState::Issued => Self::Issued,
            DocumentState::Received => Self::Received,
            DocumentState::Accepted => Self::Accepted,
            DocumentState::Rejected => Self::Rejected,
            DocumentState::Failed => Self::Failed,
            DocumentState::Settled => Self::Settled,
            DocumentState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<CycleDocument> for BatchCycle {
    fn from(document: CycleDocument) -> Self {
        Self {
            platform: document.platform,
            interval: document.interval_sec.map(Span::secs),
            extra_time: Span::secs(document.extra_pay_time_sec),
            next: document.next_process.map(|at| at.0),
        }
    }
}

impl From<&BatchCycle> for CycleDocument {
    fn from(cycle: &BatchCycle) -> Self {
        Self {
            node_id: "",
            platform: cycle.platform.clone(),
            interval_sec: cycle.interval.map(Span::as_secs),
            cron: None,
            extra_pay_time_sec: cycle.extra_time.as_secs(),
            max_interval_sec: cycle.interval.map(Span::as_secs),
            next_process: cycle.next.map(Instant),
            last_process: None,
        }
    }
}
