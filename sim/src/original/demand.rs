//! One demand, published anew each hour (§3.5), and what its events bring.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use ray_on_golem::{
    core::market::{demand, offer::Offer},
    units::{Span, Timestamp},
    yagna::{
        DemandBody, DemandEvent, PlatformId, Proposal, ProposalId, ProposalState, Request,
        Response, SubscriptionId,
    },
};

use super::{
    payment::Payments,
    service::Service,
    stack::Shape,
    sync::{Condition, Queue},
    world::Task,
};

/// How long a demand lives at the daemon.
const LIFE: Span = Span::hours(1);
/// What is said of how long nodes are wanted (§3.1).
const EXPIRES_AFTER: Span = Span::days(365);
/// How events are asked for (§3.5).
const EVENTS_TIMEOUT: Span = Span::secs(5);
const EVENTS_MAX: u8 = 10;

/// The demand of a stack, in all its generations.
pub(super) struct Demand {
    shape: Rc<Shape>,
    /// Offers that the daemon has matched.
    pub(super) initial: Queue<Match>,
    /// What providers said to our proposals, by ours; nothing is a refusal.
    answers: RefCell<BTreeMap<ProposalId, Option<Match>>>,
    answered: Condition,
    generations: RefCell<Vec<Rc<Generation>>>,
    tasks: RefCell<Vec<Task>>,
}

/// A demand as it is published once.
pub(super) struct Generation {
    pub(super) id: SubscriptionId,
    pub(super) body: Arc<DemandBody>,
    since: Timestamp,
}

/// A proposal, what it says, and the demand that it is for.
#[derive(Clone)]
pub(super) struct Match {
    pub(super) proposal: Rc<Proposal>,
    pub(super) offer: Rc<Offer>,
    pub(super) demand: Rc<Generation>,
}

impl Match {
    /// Reads a proposal; one that has no price is of no use (§5).
    pub(super) fn read(
        proposal: Proposal,
        platform: &PlatformId,
        demand: &Rc<Generation>,
    ) -> Option<Self> {
        let offer = Rc::new(Offer::read(&proposal, platform).ok()?);
        Some(Self { proposal: Rc::new(proposal), offer, demand: Rc::clone(demand) })
    }

    /// How long it is kept: 0.8 of what is left of its hour, or its demand's (§5).
    pub(super) fn life(&self, now: Timestamp) -> Span {
        let ends = self.proposal.timestamp.min(self.demand.since).plus(LIFE);
        ends.since(now).times(4).over(5)
    }
}

impl Demand {
    pub(super) fn new(shape: &Rc<Shape>) -> Rc<Self> {
        Rc::new(Self {
            shape: Rc::clone(shape),
            initial: Queue::default(),
            answers: RefCell::default(),
            answered: Condition::default(),
            generations: RefCell::default(),
            tasks: RefCell::default(),
        })
    }

    pub(super) fn start(self: &Rc<Self>, service: &Rc<Service>, payments: &Rc<Payments>) {
        let work = Self::refresh(Rc::clone(self), Rc::clone(service), Rc::clone(payments));
        self.tasks.borrow_mut().push(service.world.spawn(work));
    }

    pub(super) async fn stop(&self, service: &Service) {
        self.tasks.take().iter().for_each(Task::abort);
        let ids: Vec<SubscriptionId> =
            self.generations.take().iter().map(|generation| generation.id.clone()).collect();
        for subscription in ids {
            // Old generations are unknown to the daemon by now.
            let _ = service.world.call(Request::Unsubscribe { subscription }).await;
        }
    }

    /// What the provider says to a proposal of ours; nothing is a refusal.
    pub(super) async fn answer(&self, ours: &ProposalId) -> Option<Match> {
        self.answered.until(|| self.answers.borrow_mut().remove(ours)).await
    }

    /// Publishes the demand whenever its hour is over. A failure ends it for good.
    async fn refresh(self: Rc<Self>, service: Rc<Service>, payments: Rc<Payments>) {
        loop {
            let Some(generation) = self.publish(&service, &payments).await else { return };
            let ends = generation.since.plus(LIFE);
            self.generations.borrow_mut().push(Rc::clone(&generation));
            let reads = Self::read(Rc::clone(&self), Rc::clone(&service), generation);
            self.tasks.borrow_mut().push(service.world.spawn(reads));
            service.world.sleep(ends.since(service.world.now())).await;
        }
    }

    async fn publish(&self, service: &Service, payments: &Payments) -> Option<Rc<Generation>> {
        let allocation = payments.allocation(service).await;
        let reply = service.world.call(Request::DecorateDemand { allocation }).await;
        let Ok(Response::Decorations(decorations)) = reply else { return None };
        let expires = service.world.now().plus(EXPIRES_AFTER);
        let Shape { spec, subnet, image } = &*self.shape;
        let body = Arc::new(demand::body(spec, subnet, image, &decorations, expires));
        let request = Request::Subscribe { demand: Arc::clone(&body) };
        let Ok(Response::Subscribed(id)) = service.world.call(request).await else { return None };
        Some(Rc::new(Generation { id, body, since: service.world.now() }))
    }

    /// Takes the events of one generation until it is over.
    async fn read(self: Rc<Self>, service: Rc<Service>, generation: Rc<Generation>) {
        loop {
            let request = Request::CollectEvents {
                subscription: generation.id.clone(),
                timeout: EVENTS_TIMEOUT,
                max_events: EVENTS_MAX,
            };
            let Ok(Response::Events(events)) = service.world.call(request).await else { return };
            for event in events {
                if self.take(&service, &generation, event).is_none() {
                    return;
                }
            }
        }
    }

    /// Nothing is the end: a refusal without a reason kills the reader (weakness 2).
    fn take(
        &self,
        service: &Service,
        generation: &Rc<Generation>,
        event: DemandEvent,
    ) -> Option<()> {
        match event {
            DemandEvent::Proposal(proposal) => {
                let (state, previous) = (proposal.state, proposal.previous.clone());
                let read = Match::read(*proposal, &service.platform, generation);
                if state == ProposalState::Initial {
                    read.into_iter().for_each(|offer| self.initial.push(offer));
                } else {
                    self.answers.borrow_mut().insert(previous?, read);
                    self.answered.notify();
                }
            }
            DemandEvent::Rejected { proposal, reason } => {
                reason?.message?;
                self.answers.borrow_mut().insert(proposal, None);
                self.answered.notify();
            }
            DemandEvent::Unreadable(_) => return None,
        }
        Some(())
    }
}
