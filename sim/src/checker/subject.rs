//! What checkers of several families need to know: who is who in the daemon's books.

use std::collections::BTreeMap;

use ray_on_golem::{
    units::{Glm, Span},
    yagna::{ActivityId, AgreementId, DebitNoteId, InvoiceId},
};

use crate::yagna::{SimYagna, books::AgreementBook};

/// Finds entries of the daemon's books by id; the books only grow.
#[derive(Debug, Default)]
pub(super) struct Index {
    agreements: BTreeMap<AgreementId, usize>,
    notes: BTreeMap<DebitNoteId, usize>,
    invoices: BTreeMap<InvoiceId, usize>,
    activities: BTreeMap<ActivityId, usize>,
}

impl Index {
    /// Takes up what was added to the books.
    pub(super) fn catch_up(&mut self, daemon: &SimYagna) {
        for (nth, book) in daemon.agreements().iter().enumerate().skip(self.agreements.len()) {
            self.agreements.insert(book.id.clone(), nth);
        }
        for (nth, book) in daemon.activities().iter().enumerate().skip(self.activities.len()) {
            self.activities.insert(book.id.clone(), nth);
        }
        for (nth, book) in daemon.notes().iter().enumerate().skip(self.notes.len()) {
            self.notes.insert(book.note.id.clone(), nth);
        }
        for (nth, book) in daemon.invoices().iter().enumerate().skip(self.invoices.len()) {
            self.invoices.insert(book.invoice.id.clone(), nth);
        }
    }

    pub(super) fn agreement(&self, id: &AgreementId) -> Option<usize> {
        self.agreements.get(id).copied()
    }

    pub(super) fn note(&self, id: &DebitNoteId) -> Option<usize> {
        self.notes.get(id).copied()
    }

    pub(super) fn invoice(&self, id: &InvoiceId) -> Option<usize> {
        self.invoices.get(id).copied()
    }

    pub(super) fn activity(&self, id: &ActivityId) -> Option<usize> {
        self.activities.get(id).copied()
    }
}

/// What a node under this agreement costs in a second when all its CPUs are busy.
pub(super) fn full_load(book: &AgreementBook) -> Glm {
    book.cpu_second.times(u64::from(book.threads)).plus(book.env_second)
}

/// What a node under this agreement costs for so long when all its CPUs are busy, start included.
pub(super) fn full_cost(book: &AgreementBook, elapsed: Span) -> Glm {
    let running = full_load(book).scaled_up(elapsed.as_micros(), 1_000_000).unwrap_or(Glm::MAX);
    book.start.plus(running)
}

/// Whether nothing can run or be billed under it any more, as the daemon sees it.
pub(super) fn is_over(book: &AgreementBook) -> bool {
    book.ended.is_some()
}
