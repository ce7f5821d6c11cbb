//! The simulated daemon: the same verbs as the machine, no clock and no I/O of its own.
//!
//! It answers as yagna 0.17.6 does, words included, and drives the providers behind it. Identity,
//! allocations, and the market up to negotiation are simulated.

use std::collections::{BTreeMap, VecDeque};

pub mod constraint;

mod arrival;
mod market;
mod payment;

use market::{Due, Market};
use payment::Payment;
use ray_on_golem::{
    core::rng::Seed,
    units::Timestamp,
    yagna::{Identity, ProviderId, Request, Response, Status},
};

pub use market::{ChainBook, ChainEnd, DemandBook, DemandEnd};
pub use payment::AllocationBook;

use crate::{provider, scenario::Scenario};

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
    market: Market,
    payment: Payment,
    agenda: Agenda,
    replies: VecDeque<(RequestNo, Reply)>,
}

/// What will happen, in order; ties in the order in which they were entered.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    due: BTreeMap<(Timestamp, u64), Due>,
    next: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Timestamp, due: Due) {
        self.due.insert((at, self.next), due);
        self.next += 1;
    }
}

impl SimYagna {
    /// A daemon that starts at `now` in the network of `scenario`.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: Seed, now: Timestamp) -> Self {
        let id = provider::identity(seed, OURSELVES);
        let mut agenda = Agenda::default();
        Self {
            market: Market::new(scenario, seed, now, &mut agenda),
            payment: Payment::new(id.as_str(), scenario.daemon.wallet, seed),
            identity: Identity {
                id,
                name: "autoconfigured".to_owned(),
                role: "manager".to_owned(),
            },
            agenda,
            replies: VecDeque::new(),
        }
    }

    /// Takes a request; its reply comes out of [`Self::poll_reply`], perhaps later.
    pub fn handle(&mut self, now: Timestamp, id: RequestNo, request: &Request) {
        self.payment.expire(now);
        let reply = match request {
            Request::WhoAmI => Ok(Response::Identity(self.identity.clone())),
            Request::CreateAllocation { platform, total, timeout } => {
                self.payment.create(now, platform, *total, *timeout)
            }
            Request::ListAllocations => Ok(Response::Allocations(self.payment.list())),
            Request::ReleaseAllocation { allocation } => self.payment.release(allocation),
            Request::DecorateDemand { allocation } => self.payment.decorate(allocation),
            Request::Subscribe { demand } => {
                Ok(self.market.subscribe(now, demand, &mut self.agenda))
            }
            Request::ListDemands => Ok(self.market.list()),
            Request::Unsubscribe { subscription } => {
                let (reply, cut_off) = self.market.unsubscribe(now, subscription);
                self.replies.extend(cut_off);
                reply
            }
            Request::CollectEvents { subscription, timeout, max_events } => {
                let reply = self.market.collect(
                    now,
                    id,
                    subscription,
                    *timeout,
                    *max_events,
                    &mut self.agenda,
                );
                match reply {
                    Some(reply) => reply,
                    None => return,
                }
            }
            Request::CounterProposal { subscription, proposal, body } => {
                let agenda = &mut self.agenda;
                match self.market.counter(now, id, subscription, proposal, body, agenda) {
                    Some(reply) => reply,
                    None => return,
                }
            }
            Request::RejectProposal { subscription, proposal, .. } => {
                self.market.reject(subscription, proposal)
            }
            _ => todo!(),
        };
        self.replies.push_back((id, reply));
    }

    /// The client went away; what its request did stays done.
    pub fn cancel(&mut self, id: RequestNo) {
        self.market.cancel(id);
    }

    /// Lets happen what is due at `now`.
    pub fn elapse(&mut self, now: Timestamp) {
        while let Some(entry) = self.agenda.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, _), due) = entry.remove_entry();
            self.replies.extend(self.market.happen(at, due, &mut self.agenda));
        }
        self.payment.expire(now);
    }

    /// The next answer.
    pub fn poll_reply(&mut self) -> Option<(RequestNo, Reply)> {
        self.replies.pop_front()
    }

    /// When something happens next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.agenda.due.keys().next().map(|(at, _)| *at)
    }

    /// The daemon ends and starts again: demands, negotiations, and offers are forgotten, open
    /// requests are never answered, allocations stay. Offers come back with broadcasts.
    pub fn restart(&mut self, now: Timestamp) {
        self.replies.clear();
        self.agenda.due.retain(|_, due| due.outlives_the_daemon());
        self.market.forget(now, &mut self.agenda);
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
        self.payment.books()
    }
}

/// A refusal with the daemon's usual error body.
pub(crate) fn refuse(status: u16, message: &str) -> Refusal {
    let body = serde_json::json!({ "message": message }).to_string();
    Refusal { status: Status(status), body }
}
