//! The simulated daemon: the same verbs as the machine, no clock and no I/O of its own.
//!
//! It answers as yagna 0.17.6 does, words included, and drives the providers behind it. Each of its
//! parts keeps its own state and says what it does with it; what is due is kept in one `Agenda`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub mod books;
pub mod constraint;
pub mod errand;
pub mod view;

mod activity;
mod agenda;
mod agreement;
mod arrival;
mod batch;
mod desk;
mod exe_unit;
mod ids;
mod log;
mod market;
mod network;
mod payment;
mod scan;
mod script;

pub(crate) use agenda::Agenda;

use activity::Activities;
use agenda::Due;
use agreement::Agreements;
use ids::Ids;
use market::Market;
use network::Networks;
use payment::{Payment, Written};
use ray_on_golem::{
    core::rng::Seed,
    units::{Glm, Timestamp},
    yagna::{Identity, ProviderId, Response, Status},
};

pub use batch::{BatchEvent, EventKind, Outcome, Source};
pub use errand::Errand;
pub use market::{ChainBook, ChainEnd, DemandBook, DemandEnd};
pub use payment::AllocationBook;
pub use script::RunningCommand;

use books::{ActivityBook, AgreementBook, InvoiceBook, NetworkBook, NoteBook, PaymentBook};

use crate::{
    provider,
    scenario::{Bus, Scenario},
};

/// Numbers a request to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestNo(pub u64);

/// How the daemon refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: Status,
    /// The body, as the daemon words it.
    pub body: String,
}

/// What the daemon answers.
pub type Reply = Result<Response, Refusal>;

/// Our own identity is the network's last node.
const OURSELVES: u64 = u64::MAX;

/// The daemon and the network behind it.
pub struct SimYagna {
    identity: Identity,
    ids: Ids,
    market: Market,
    agreements: Agreements,
    activities: Activities,
    networks: Networks,
    payment: Payment,
    scans: scan::Scans,
    /// What the providers of all activities remember of their bills.
    written: Vec<Written>,
    agenda: Agenda,
    /// Requests that are answered later.
    open: BTreeSet<RequestNo>,
    replies: VecDeque<(RequestNo, Reply)>,
    /// Whether commands are carried out outside.
    is_hosted: bool,
    errands: VecDeque<Errand>,
}

impl SimYagna {
    /// A daemon that starts at `now` in the network of `scenario`.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: Seed, now: Timestamp) -> Self {
        let id = provider::identity(seed, OURSELVES);
        let mut agenda = Agenda::default();
        Self {
            ids: Ids(seed),
            market: Market::new(scenario, seed, now, &mut agenda),
            agreements: Agreements::default(),
            activities: Activities::default(),
            networks: Networks { books: Vec::new(), bus: scenario.daemon.bus },
            payment: Payment::new(id.as_str(), &scenario.daemon, seed),
            scans: scan::Scans::default(),
            written: Vec::new(),
            identity: Identity {
                id,
                name: "autoconfigured".to_owned(),
                role: "manager".to_owned(),
            },
            agenda,
            open: BTreeSet::new(),
            replies: VecDeque::new(),
            is_hosted: false,
            errands: VecDeque::new(),
        }
    }

    /// The client went away; what its request did stays done.
    pub fn cancel(&mut self, id: RequestNo) {
        self.market.cancel(id);
        if self.agreements.cancel(id) || self.activities.cancel(id) || self.payment.bills.cancel(id)
        {
            self.open.remove(&id);
        }
    }

    /// Lets happen what is due at `now`.
    pub fn elapse(&mut self, now: Timestamp) {
        while let Some((at, due)) = self.agenda.take(now) {
            match due {
                Due::Market(due) => {
                    let agreements = &self.agreements;
                    let is_taken = |provider: &ProviderId| agreements.is_taken(provider);
                    let replies = self.market.happen(at, due, is_taken, &mut self.agenda);
                    self.replies.extend(replies);
                }
                Due::Agreement(due) => self.on_agreement(at, due),
                Due::Activity(due) => self.on_activity(at, due),
                Due::Payment(due) => self.on_payment(at, due),
                Due::Scan(due) => self.on_scan_due(at, due),
                Due::Answer(request, reply) => self.answer(request, *reply),
            }
        }
        self.payment.allocations.expire(now);
    }

    /// The next answer.
    pub fn poll_reply(&mut self) -> Option<(RequestNo, Reply)> {
        self.replies.pop_front()
    }

    /// When something happens next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.agenda.next()
    }

    /// The daemon ends and starts again: demands, negotiations, offers, and private networks are
    /// forgotten, open requests are never answered, everything else stays. Offers come back with
    /// broadcasts.
    pub fn restart(&mut self, now: Timestamp) {
        self.replies.clear();
        self.open.clear();
        self.agenda.forget();
        self.market.forget(now, &mut self.agenda);
        self.scans.forget();
        self.agreements.forget_polls();
        self.activities.forget_polls();
        self.networks.forget(now);
        self.payment.bills.forget_polls();
    }

    /// What becomes of private networks that are carried over the daemon's bus.
    #[must_use]
    pub fn bus(&self) -> Bus {
        self.networks.bus
    }

    /// Our identity.
    #[must_use]
    pub fn identity(&self) -> &ProviderId {
        &self.identity.id
    }

    /// Every demand there ever was, for an auditor.
    #[must_use]
    pub fn demands(&self) -> &[DemandBook] {
        self.market.books()
    }

    /// Every offer that our daemon knows now, for an auditor.
    pub(crate) fn offers(&self) -> impl Iterator<Item = &provider::Offer> {
        self.market.known_offers()
    }

    /// Every negotiation there ever was, for an auditor; counted anew by each call.
    #[must_use]
    pub fn chains(&self) -> Vec<ChainBook> {
        self.market.chains()
    }

    /// How many counter-proposals and rejections reached the daemon about each provider's offers,
    /// for an auditor; counted anew by each call.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<ProviderId, u64> {
        self.market.calls()
    }

    /// Every allocation there ever was, for an auditor.
    #[must_use]
    pub fn allocations(&self) -> &[AllocationBook] {
        self.payment.allocations.books()
    }

    /// Every agreement there ever was, for an auditor.
    #[must_use]
    pub fn agreements(&self) -> &[AgreementBook] {
        &self.agreements.books
    }

    /// Every activity there ever was at a provider, for an auditor.
    #[must_use]
    pub fn activities(&self) -> &[ActivityBook] {
        &self.activities.books
    }

    /// Every private network there ever was, for an auditor.
    #[must_use]
    pub fn networks(&self) -> &[NetworkBook] {
        &self.networks.books
    }

    /// Every debit note that ever reached the daemon, for an auditor.
    #[must_use]
    pub fn notes(&self) -> &[NoteBook] {
        &self.payment.bills.notes
    }

    /// Every invoice that ever reached the daemon, for an auditor.
    #[must_use]
    pub fn invoices(&self) -> &[InvoiceBook] {
        &self.payment.bills.invoices
    }

    /// Every payment that ever left the wallet, for an auditor.
    #[must_use]
    pub fn payments(&self) -> &[PaymentBook] {
        &self.payment.bills.payments
    }

    /// What the wallet holds.
    #[must_use]
    pub fn wallet(&self) -> Glm {
        self.payment.wallet
    }

    /// Keeps a request open while a provider is asked; tells when it is reached.
    fn keep_open(&mut self, now: Timestamp, request: RequestNo) -> Timestamp {
        self.open.insert(request);
        now.plus(self.market.hop())
    }

    /// Answers a request that was kept open, once.
    fn answer(&mut self, request: RequestNo, reply: Reply) {
        if self.open.remove(&request) {
            self.replies.push_back((request, reply));
        }
    }

    fn answer_at(&mut self, at: Timestamp, request: RequestNo, reply: Reply) {
        self.agenda.add(at, Due::Answer(request, Box::new(reply)));
    }

    /// Answers when what a provider says `now` has come back.
    fn answer_back(&mut self, now: Timestamp, request: RequestNo, reply: Reply) {
        let at = now.plus(self.market.hop());
        self.answer_at(at, request, reply);
    }
}

/// A refusal with the daemon's usual error body.
pub(crate) fn refuse(status: u16, message: &str) -> Refusal {
    let body = serde_json::json!({ "message": message }).to_string();
    Refusal { status: Status(status), body }
}
