//! How providers write bills: debit notes while an activity runs, an invoice when all is over.

use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{BilledAmount, DebitNote, DebitNoteId, DocumentState, Invoice, InvoiceId, PlatformId},
};

use super::{Due, bill::Bills};
use crate::{
    provider::{
        deal::{self, Deal},
        identity,
    },
    scenario::{Amounts, Conduct, Invoices, Notes, Payee},
    yagna::{SimYagna, books::ActivityBook},
};

/// The provider agent's own interval, for who does not ask for another one.
const INTERVAL: Span = Span::secs(120);
const FLOOD_INTERVAL: Span = Span::secs(1);
/// Time to pay an invoice.
const INVOICE_TERM: Span = Span::hours(24);
/// How long ago the bills of a provider that asks for the past were due.
const PAST: Span = Span::mins(10);
/// A zombie writes so many debit notes after the end.
const ZOMBIE_NOTES: u64 = 10;
/// Whoever else a bill may name is far from all providers.
const STRANGER: u64 = u64::MAX - 1;

/// What a provider remembers of the bills for an activity.
#[derive(Clone, Copy, Debug)]
pub(in crate::yagna) struct Written {
    notes: u64,
    /// Debit notes after the end.
    late_notes: u64,
    /// The largest amount so far: the daemon of the provider refuses an invoice below it.
    highest: Glm,
    last_payable: Timestamp,
}

impl SimYagna {
    /// A new activity: its first debit note follows at the next interval from the approval on.
    pub(in crate::yagna) fn begin_notes(&mut self, now: Timestamp, activity: usize) {
        let agreement = self.activities.units[activity].agreement;
        let approved = self.agreements.books[agreement].approved.unwrap_or(now);
        self.written.push(Written {
            notes: 0,
            late_notes: 0,
            highest: Glm::ZERO,
            last_payable: approved,
        });
        let deal = &self.agreements.signings[agreement].deal;
        if writes_notes(deal) {
            self.agenda.add(next_note(deal, approved, now), Due::NoteWritten { activity });
        }
    }

    /// An activity ended: its provider writes the last debit note.
    pub(in crate::yagna) fn bill_activity_end(&mut self, now: Timestamp, activity: usize) {
        let agreement = self.activities.units[activity].agreement;
        let deal = &self.agreements.signings[agreement].deal;
        let is_gone = self.agreements.books[agreement].is_provider_gone;
        if writes_notes(deal) && !deal.conduct().is_zombie && !is_gone {
            self.write_note(now, activity, true);
        }
    }

    /// An agreement is over: its provider writes the invoice.
    pub(in crate::yagna) fn bill_the_end(&mut self, now: Timestamp, agreement: usize) {
        let conduct = self.agreements.signings[agreement].deal.conduct();
        let copies = match conduct.invoices {
            Invoices::Regular => 1,
            Invoices::Twice => 2,
            Invoices::Never | Invoices::Early => 0,
        };
        for nth in 0..copies {
            let deal = &self.agreements.signings[agreement].deal;
            let after = deal.secs("invoice", nth, &deal.conduct().invoice_after);
            self.write_invoice(now, now.plus(after), agreement);
        }
    }

    pub(super) fn on_note_written(&mut self, now: Timestamp, activity: usize) {
        let agreement = self.activities.units[activity].agreement;
        let is_over = self.activities.books[activity].ended.is_some();
        let (deal, book) =
            (&self.agreements.signings[agreement].deal, &self.agreements.books[agreement]);
        let is_zombie = deal.conduct().is_zombie;
        let written = &mut self.written[activity];
        written.late_notes += u64::from(is_over);
        if book.is_provider_gone || (is_over && !is_zombie) || written.late_notes > ZOMBIE_NOTES {
            return;
        }
        let next = next_note(deal, book.approved.unwrap_or(now), now);
        self.agenda.add(next, Due::NoteWritten { activity });
        let is_early = deal.conduct().invoices == Invoices::Early && written.notes == 0;
        self.write_note(now, activity, false);
        if is_early {
            self.write_invoice(now, now, agreement);
        }
    }

    /// A provider looks whether it was accepted: our word may have reached it, or not.
    pub(super) fn on_note_deadline(&mut self, now: Timestamp, note: usize) {
        let bills = &self.payment.bills;
        let facts = bills.note_facts[note];
        let is_settled = bills.notes[note].note.state == DocumentState::Settled;
        if !is_settled && facts.learnt.is_none_or(|learnt| learnt > now) {
            self.lose_patience(now, facts.agreement, "DebitNotesDeadline");
        }
    }

    pub(super) fn on_payment_deadline(&mut self, now: Timestamp, note: usize) {
        let facts = self.payment.bills.note_facts[note];
        if self.payment.bills.notes[note].note.state != DocumentState::Settled {
            self.lose_patience(now, facts.agreement, "DebitNoteNotPaid");
        }
    }

    fn lose_patience(&mut self, now: Timestamp, agreement: usize, code: &str) {
        if self.agreements.signings[agreement].deal.conduct().terminates_unaccepted {
            self.terminate_by_provider(now, agreement, code);
        }
    }

    fn write_note(&mut self, now: Timestamp, activity: usize, is_last: bool) {
        let agreement = self.activities.units[activity].agreement;
        let book = &self.activities.books[activity];
        let deal = &self.agreements.signings[agreement].deal;
        let written = &mut self.written[activity];
        let amount = deal.billed(written.notes, claimed(book, deal.conduct(), now));
        let term = deal.terms.payment_timeout.map(Span::secs);
        let is_payable =
            term.is_some_and(|term| is_last || now.since(written.last_payable) >= term);
        if is_payable {
            written.last_payable = now;
        }
        let payment_due = match term {
            _ if deal.conduct().is_past_due => Some(now.minus(PAST)),
            Some(term) if is_payable => Some(now.plus(term)),
            Some(_) | None => None,
        };
        written.notes += 1;
        written.highest = written.highest.max(amount);
        let (payee, platform) = payee(deal, self.ids.0);
        let note = DebitNote {
            id: DebitNoteId::from(""),
            issuer: deal.provider().clone(),
            payee,
            platform,
            timestamp: whole_millis(now),
            agreement: book.agreement.clone(),
            activity: book.id.clone(),
            total_due: match deal.conduct().amounts {
                Amounts::Negative => BilledAmount::new(&format!("-{amount}")),
                Amounts::Honest | Amounts::Times(_) | Amounts::Adds(_) | Amounts::Falling => {
                    BilledAmount::from(amount)
                }
            },
            payment_due,
            state: DocumentState::Received,
        };
        let copies = if deal.conduct().notes == Notes::Twice { 2 } else { 1 };
        for _ in 0..copies {
            let at = now.plus(self.market.hop());
            let note = Box::new(note.clone());
            self.agenda.add(at, Due::NoteArrives { agreement, activity, note });
        }
    }

    /// Writes an invoice `now` and sends it `at` that time.
    fn write_invoice(&mut self, now: Timestamp, at: Timestamp, agreement: usize) {
        let deal = &self.agreements.signings[agreement].deal;
        let mut activities = Vec::new();
        let mut amount = Glm::ZERO;
        for (number, unit) in self.activities.units.iter().enumerate() {
            if unit.agreement == agreement {
                let book = &self.activities.books[number];
                activities.push(book.id.clone());
                let billed = deal.billed(0, claimed(book, deal.conduct(), now));
                amount = amount.plus(billed.max(self.written[number].highest));
            }
        }
        let (payee, platform) = payee(deal, self.ids.0);
        let invoice = Box::new(Invoice {
            id: InvoiceId::from(""),
            issuer: deal.provider().clone(),
            payee,
            platform,
            timestamp: whole_millis(at),
            agreement: self.agreements.books[agreement].id.clone(),
            activities,
            amount: BilledAmount::from(amount),
            payment_due: if deal.conduct().is_past_due {
                at.minus(PAST)
            } else {
                at.plus(INVOICE_TERM)
            },
            state: DocumentState::Received,
        });
        let at = at.plus(self.market.hop());
        self.agenda.add(at, Due::InvoiceArrives { agreement, invoice });
    }
}

impl Bills {
    /// The first invoice of an agreement, which is the one that the daemon asks about.
    pub(super) fn first_invoice(&self, agreement: usize) -> Option<&Invoice> {
        let place = self.invoice_agreements.iter().position(|it| *it == agreement)?;
        Some(&self.invoices[place].invoice)
    }
}

/// Whoever cannot accept debit notes gets none.
fn writes_notes(deal: &Deal) -> bool {
    deal.conduct().notes != Notes::Never && deal.terms.accept_timeout.is_some()
}

/// The next multiple of the interval, counted from the approval.
fn next_note(deal: &Deal, approved: Timestamp, now: Timestamp) -> Timestamp {
    let interval = match deal.conduct().notes {
        Notes::Flood => FLOOD_INTERVAL,
        Notes::Regular | Notes::Never | Notes::Twice => {
            deal.terms.note_interval.map_or(INTERVAL, |secs| Span::secs(secs.max(1)))
        }
    };
    let passed = now.since(approved).as_micros() / interval.as_micros().max(1);
    approved.plus(interval.times(passed + 1))
}

/// What a provider says that an activity has cost.
fn claimed(book: &ActivityBook, conduct: &Conduct, now: Timestamp) -> Glm {
    if conduct.is_zombie {
        return deal::cost(book.start, book.per_second, book.created, now);
    }
    book.cost(now)
}

fn payee(deal: &Deal, seed: ray_on_golem::core::rng::Seed) -> (String, PlatformId) {
    let own = deal.provider().as_str().to_owned();
    match deal.conduct().payee {
        Payee::Own => (own, deal.platform.clone()),
        Payee::Stranger => (identity(seed, STRANGER).as_str().to_owned(), deal.platform.clone()),
        Payee::OtherPlatform => {
            let polygon = PlatformId::from("erc20-polygon-glm");
            let other = if deal.platform == polygon {
                PlatformId::from("erc20-mainnet-glm")
            } else {
                polygon
            };
            (own, other)
        }
    }
}

/// Documents carry milliseconds only.
fn whole_millis(at: Timestamp) -> Timestamp {
    Timestamp::from_unix_micros(at.as_unix_millis() * 1_000)
}
