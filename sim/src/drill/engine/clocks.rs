//! Two clocks: the manager's, and the one by which the daemon dates what it tells.
//!
//! Virtual time is the manager's. What the daemon says of instants is moved by the difference on its way, and so are the
//! instants after which it is asked.

#![expect(clippy::wildcard_enum_match_arm, reason = "few replies are dated")]

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{CallError, Request, Response},
};

/// By how much the manager's clock is ahead of the daemon's, or behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    micros: i64,
}

impl Difference {
    /// So many minutes ahead, or behind.
    pub(super) const fn minutes(minutes: i64) -> Self {
        Self { micros: minutes.saturating_mul(60_000_000) }
    }

    /// Whether both clocks say the same.
    pub(super) const fn is_none(self) -> bool {
        self.micros == 0
    }

    /// Whether the daemon's clock was set back to come from this difference to the other one.
    pub(super) const fn grows_to(self, other: Self) -> bool {
        other.micros > self.micros
    }

    /// A request as the daemon understands it.
    pub(super) fn ask(self, request: &mut Request) {
        if let Request::CollectAgreementEvents { after, .. }
        | Request::CollectDebitNoteEvents { after, .. }
        | Request::CollectInvoiceEvents { after, .. }
        | Request::ListDebitNotes { after }
        | Request::ListInvoices { after } = request
        {
            *after = moved(*after, self.micros);
        }
    }

    /// A reply as the daemon dates it.
    pub(super) fn tell(self, result: &mut Result<Response, CallError>) {
        let Ok(response) = result else { return };
        for at in instants(response) {
            *at = moved(*at, self.micros.saturating_neg());
        }
    }
}

/// The beginning of time is the same for all.
fn moved(at: Timestamp, micros: i64) -> Timestamp {
    let span = Span::micros(micros.unsigned_abs());
    match at {
        Timestamp::EPOCH => at,
        _ if micros < 0 => at.minus(span),
        _ => at.plus(span),
    }
}

fn instants(response: &mut Response) -> Vec<&mut Timestamp> {
    match response {
        Response::AgreementEvents(events) => events.iter_mut().map(|it| &mut it.at).collect(),
        Response::DebitNoteEvents(events) => events.iter_mut().map(|it| &mut it.at).collect(),
        Response::InvoiceEvents(events) => events.iter_mut().map(|it| &mut it.at).collect(),
        Response::DebitNotes(notes) => notes.iter_mut().map(|it| &mut it.timestamp).collect(),
        Response::Invoices(invoices) => invoices.iter_mut().map(|it| &mut it.timestamp).collect(),
        Response::DebitNote(note) => vec![&mut note.timestamp],
        Response::Invoice(invoice) => vec![&mut invoice.timestamp],
        Response::Agreements(found) => found.iter_mut().map(|it| &mut it.timestamp).collect(),
        _ => Vec::new(),
    }
}
