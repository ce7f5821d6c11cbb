//! The daemon's payments: allocations, bills, what we accept of them, and what leaves the wallet.

mod accept;
mod allocation;
mod bill;
mod cycle;
mod writer;

use ray_on_golem::{
    core::rng::Seed,
    units::{Glm, Timestamp},
    yagna::{DebitNote, Invoice, PlatformId, Status},
};

pub use allocation::AllocationBook;
pub(super) use writer::Written;

use super::{Refusal, RequestNo, SimYagna, ids::Ids};
use crate::scenario::Daemon;
use accept::Acceptance;
use allocation::Allocations;
use bill::Bills;
use cycle::{Cycles, Order};

/// What will happen to bills and payments.
#[derive(Debug)]
pub(crate) enum Due {
    /// A provider writes the next debit note for an activity.
    NoteWritten { activity: usize },
    /// A debit note reaches our daemon.
    NoteArrives { agreement: usize, activity: usize, note: Box<DebitNote> },
    /// A provider looks whether a debit note was accepted.
    NoteDeadline(usize),
    /// A provider looks whether a debit note was paid.
    PaymentDeadline(usize),
    /// An invoice reaches our daemon.
    InvoiceArrives { agreement: usize, invoice: Box<Invoice> },
    /// An acceptance ends: its provider has acknowledged it, or has not in time.
    AcceptEnds(Box<Acceptance>),
    /// The daemon looks for events again, for somebody who waits.
    PollLooks(RequestNo),
    /// Somebody has waited long enough for events.
    PollEnds(RequestNo),
    /// What was accepted on a platform is ordered to be paid.
    Cycle { platform: PlatformId, planned: Timestamp },
    /// A payment leaves the wallet.
    Pays(Box<Order>),
    /// A payment is confirmed.
    Settles(Box<Order>),
}

impl Due {
    /// Whether it happens whatever becomes of our daemon: on the network, or from its disk.
    pub(crate) const fn outlives_the_daemon(&self) -> bool {
        match self {
            Self::NoteWritten { .. }
            | Self::NoteArrives { .. }
            | Self::NoteDeadline(_)
            | Self::PaymentDeadline(_)
            | Self::InvoiceArrives { .. }
            | Self::AcceptEnds(_)
            | Self::Cycle { .. }
            | Self::Pays(_)
            | Self::Settles(_) => true,
            Self::PollLooks(_) | Self::PollEnds(_) => false,
        }
    }
}

/// Everything that the payment service keeps on disk.
#[derive(Debug)]
pub(super) struct Payment {
    pub(super) allocations: Allocations,
    pub(super) bills: Bills,
    pub(super) cycles: Cycles,
    /// What the wallet holds.
    pub(super) wallet: Glm,
}

impl Payment {
    pub(super) fn new(address: &str, daemon: &Daemon, seed: Seed) -> Self {
        Self {
            allocations: Allocations::new(address, Ids(seed)),
            bills: Bills::default(),
            cycles: Cycles::new(daemon),
            wallet: daemon.wallet,
        }
    }
}

impl SimYagna {
    /// Something is due.
    pub(super) fn on_payment(&mut self, now: Timestamp, due: Due) {
        match due {
            Due::NoteWritten { activity } => self.on_note_written(now, activity),
            Due::NoteArrives { agreement, activity, note } => {
                self.on_note_arrived(now, agreement, activity, *note);
            }
            Due::NoteDeadline(note) => self.on_note_deadline(now, note),
            Due::PaymentDeadline(note) => self.on_payment_deadline(now, note),
            Due::InvoiceArrives { agreement, invoice } => {
                self.on_invoice_arrived(now, agreement, *invoice);
            }
            Due::AcceptEnds(acceptance) => self.on_accept_ended(*acceptance),
            Due::PollLooks(request) | Due::PollEnds(request) => self.end_bill_poll(request),
            Due::Cycle { platform, planned } => self.on_cycle(now, &platform, planned),
            Due::Pays(order) => self.on_paid(now, order),
            Due::Settles(order) => self.on_settled(now, &order),
        }
    }
}

fn not_found() -> Refusal {
    Refusal { status: Status::NOT_FOUND, body: "{\"message\":null}".to_owned() }
}
