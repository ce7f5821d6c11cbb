//! The two buffers of proposals (§5): offers, scored and sorted; and drafts, in the order in which
//! negotiations ended.

use std::{cell::Cell, rc::Rc};

use ray_on_golem::{
    core::{
        market::{limits::Limits, offer::Offer, spec::NodeSpec},
        rng::fingerprint,
    },
    units::{Span, Timestamp},
    yagna::Request,
};

use super::{
    demand::{Demand, Match},
    negotiation::negotiate,
    score::{self, Facts},
    service::Service,
    stack::Shape,
    sync::{Charges, Queue, Semaphore},
};

const OFFERS_MIN: usize = 50;
const OFFERS_MAX: usize = 1_000;
/// Offers are scored when the filler has nothing to do, or after so long.
const DEBOUNCE: Span = Span::secs(10);
const DRAFTS_MAX: usize = 4;
const MILLION: u64 = 1_000_000;

/// Offers, best first.
pub(super) struct Offers {
    shape: Rc<Shape>,
    demand: Rc<Demand>,
    limits: Limits,
    raw: Queue<Match>,
    /// Until when each is kept.
    scored: Queue<(Timestamp, Match)>,
    charges: Charges,
    passes: Cell<u64>,
}

/// Drafts, ready to be signed.
pub(super) struct Drafts {
    offers: Rc<Offers>,
    items: Queue<Match>,
    charges: Charges,
    gets: Semaphore,
}

impl Offers {
    pub(super) fn new(shape: &Rc<Shape>, demand: &Rc<Demand>) -> Rc<Self> {
        let offers = Self {
            shape: Rc::clone(shape),
            demand: Rc::clone(demand),
            limits: Limits::new(&shape.spec.limits),
            raw: Queue::default(),
            scored: Queue::default(),
            charges: Charges::default(),
            passes: Cell::new(0),
        };
        offers.request();
        Rc::new(offers)
    }

    pub(super) fn spec(&self) -> &NodeSpec {
        &self.shape.spec
    }

    pub(super) const fn demand(&self) -> &Rc<Demand> {
        &self.demand
    }

    /// The best offer of the latest pass. What is near its end is dropped.
    pub(super) async fn get(&self, service: &Service) -> Match {
        let now = service.world.now();
        self.scored.take_if(|(ends, _)| *ends <= now);
        if self.size() == 0 {
            self.request();
        }
        let (_, offer) = self.scored.pop().await;
        if self.size() < OFFERS_MIN {
            self.request();
        }
        offer
    }

    /// Takes offers that pass the limits, one after the other.
    pub(super) async fn fill(self: Rc<Self>, service: Rc<Service>) {
        loop {
            self.charges.take().await;
            loop {
                let offer = self.demand.initial.pop().await;
                if self.passes_limits(&offer, &service) {
                    self.raw.push(offer);
                    break;
                }
            }
            self.charges.fill();
        }
    }

    /// Scores what has come together with all that is left.
    pub(super) async fn score(self: Rc<Self>, service: Rc<Service>) {
        loop {
            self.raw.filled().await;
            service.world.within(DEBOUNCE, self.charges.filled()).await;
            let mut batch = self.raw.take_all();
            let now = service.world.now();
            let kept = self.scored.take_all().into_iter().filter(|(ends, _)| *ends > now);
            batch.extend(kept.map(|(_, offer)| offer));
            self.passes.set(self.passes.get() + 1);
            let facts: Vec<Facts> = batch.iter().map(|offer| self.facts(offer, &service)).collect();
            let mut ranked: Vec<(i128, Match)> =
                score::scores(&facts).into_iter().zip(batch).collect();
            // Stable, as the original's is.
            ranked.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
            let kept = ranked.into_iter().map(|(_, offer)| (now.plus(offer.life(now)), offer));
            self.scored.replace(kept.collect());
        }
    }

    fn size(&self) -> usize {
        self.raw.len() + self.scored.len()
    }

    fn request(&self) {
        let counted = self.raw.len() + self.charges.missing();
        self.charges.add(OFFERS_MAX.saturating_sub(counted));
    }

    /// The blacklist and the price limits (§5).
    fn passes_limits(&self, offer: &Match, service: &Service) -> bool {
        let Offer { provider, price, threads, .. } = &*offer.offer;
        !service.reputation.is_blacklisted(provider, service.world.now())
            && self.limits.exceeded(price, *threads).is_none()
    }

    fn facts(&self, offer: &Match, service: &Service) -> Facts {
        let Offer { price, threads, .. } = &*offer.offer;
        let usage = self.shape.spec.limits.per_cpu_expected_usage;
        let cost = usage.and_then(|usage| price.per_cpu_cost(*threads, &usage));
        let name = fingerprint(offer.proposal.id.as_str().as_bytes());
        let chance = service.world.seed.below(MILLION, "original", name, self.passes.get());
        Facts {
            cost,
            reputation: service.reputation.score(&offer.proposal.issuer).unwrap_or(0),
            chance: u32::try_from(chance).unwrap_or(u32::MAX),
        }
    }
}

impl Drafts {
    /// How many negotiate side by side.
    pub(super) const FILLERS: usize = 4;

    pub(super) fn new(offers: &Rc<Offers>) -> Rc<Self> {
        Rc::new(Self {
            offers: Rc::clone(offers),
            items: Queue::default(),
            charges: Charges::default(),
            gets: Semaphore::new(DRAFTS_MAX),
        })
    }

    /// The first draft that was negotiated.
    pub(super) async fn get(&self) -> Match {
        let _permit = self.gets.acquire().await;
        if self.items.len() == 0 {
            self.request();
        }
        self.items.pop().await
    }

    /// Negotiates on demand.
    pub(super) async fn fill(self: Rc<Self>, service: Rc<Service>) {
        loop {
            self.charges.take().await;
            let draft = negotiate(&service, &self.offers).await;
            service.world.spawn(Self::expire(Rc::clone(&self), Rc::clone(&service), draft.clone()));
            self.items.push(draft);
            self.charges.fill();
        }
    }

    fn request(&self) {
        let counted = self.items.len() + self.charges.missing();
        self.charges.add(DRAFTS_MAX.saturating_sub(counted));
    }

    /// A draft that nobody signs goes back, and another one is asked for.
    async fn expire(self: Rc<Self>, service: Rc<Service>, draft: Match) {
        service.world.sleep(draft.life(service.world.now())).await;
        let gone = self.items.take_if(|item| item.proposal.id == draft.proposal.id);
        for item in gone {
            let request = Request::RejectProposal {
                subscription: item.demand.id.clone(),
                proposal: item.proposal.id.clone(),
                reason: "Proposal no longer needed due to its near expiration.".to_owned(),
            };
            let _ = service.world.call(request).await;
            self.request();
        }
    }
}
