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
    agreements_seen: usize,
    notes: BTreeMap<DebitNoteId, usize>,
    notes_seen: usize,
    invoices: BTreeMap<InvoiceId, usize>,
    invoices_seen: usize,
    activities: BTreeMap<ActivityId, usize>,
    activities_seen: usize,
}

impl Index {
    pub(super) fn agreement(&mut self, daemon: &SimYagna, id: &AgreementId) -> Option<usize> {
        let books = daemon.agreements();
        for (nth, book) in books.iter().enumerate().skip(self.agreements_seen) {
            self.agreements.insert(book.id.clone(), nth);
        }
        self.agreements_seen = books.len();
        self.agreements.get(id).copied()
    }

    pub(super) fn note(&mut self, daemon: &SimYagna, id: &DebitNoteId) -> Option<usize> {
        let books = daemon.notes();
        for (nth, book) in books.iter().enumerate().skip(self.notes_seen) {
            self.notes.insert(book.note.id.clone(), nth);
        }
        self.notes_seen = books.len();
        self.notes.get(id).copied()
    }

    pub(super) fn invoice(&mut self, daemon: &SimYagna, id: &InvoiceId) -> Option<usize> {
        let books = daemon.invoices();
        for (nth, book) in books.iter().enumerate().skip(self.invoices_seen) {
            self.invoices.insert(book.invoice.id.clone(), nth);
        }
        self.invoices_seen = books.len();
        self.invoices.get(id).copied()
    }

    pub(super) fn activity(&mut self, daemon: &SimYagna, id: &ActivityId) -> Option<usize> {
        let books = daemon.activities();
        for (nth, book) in books.iter().enumerate().skip(self.activities_seen) {
            self.activities.insert(book.id.clone(), nth);
        }
        self.activities_seen = books.len();
        self.activities.get(id).copied()
    }
}

/// What a node under this agreement costs for so long when all its CPUs are busy, start included.
pub(super) fn full_cost(book: &AgreementBook, elapsed: Span) -> Glm {
    let per_second = book.cpu_second.times(u64::from(book.threads)).plus(book.env_second);
    let running = per_second.scaled_up(elapsed.as_micros(), 1_000_000).unwrap_or(Glm::MAX);
    book.start.plus(running)
}

/// Whether nothing can run or be billed under it any more, as the daemon sees it.
pub(super) fn is_over(book: &AgreementBook) -> bool {
    book.ended.is_some()
}
