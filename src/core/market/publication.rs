//! Keeps a demand published while the market is open (K2), and takes what happens to it.
//!
//! The daemon forgets a demand after one hour. A successor is published well before, and both are
//! listened to until the elder's negotiations are over: there is no gap.

use std::{collections::BTreeMap, sync::Arc};

use super::{Market, MarketCall, MarketTimer};
use crate::{
    core::{
        backoff::Backoff,
        effects::Effects,
        ids::{CallId, Generation},
        market::demand,
        output::Notice,
        planted::Bug,
        record::CommonRecord,
        sweep::{Item, Sweeper},
    },
    units::{Span, Timestamp},
    yagna::{
        CallError, DemandBody, DemandEvent, Request, Response, Status, SubscriptionId,
        request::Endpoint,
    },
};

/// The daemon ends a demand after an hour; its successor takes over from here.
const REFRESH_AFTER: Span = Span::mins(45);
const RETIRE_AFTER: Span = Span::mins(55);
/// What the demand says about its own end; long, because agreements inherit it.
const EXPIRES_AFTER: Span = Span::days(365);
const SUBSCRIBE_PATIENCE: Span = Span::secs(10);
const POLL_TIMEOUT: Span = Span::secs(5);
const POLL_MARGIN: Span = Span::secs(5);
/// The most that the daemon hands out at once.
const POLL_EVENTS_MAX: u8 = 100;
/// An empty answer that comes sooner than this was not worth a poll.
const POLL_WORTH: Span = Span::secs(1);
/// After so many failures in a row the user is told.
const STRUGGLING_AFTER: u32 = 3;

/// The demand's generations and how their publication goes.
#[derive(Debug, Default)]
pub(super) struct Publication {
    generations: BTreeMap<Generation, Published>,
    /// The generation that is being published, and its mark and body.
    pending: Option<(Generation, Timestamp, Arc<DemandBody>)>,
    failures: u32,
    /// Why it cannot be published, if it cannot.
    trouble: Option<String>,
    next: u32,
}

#[derive(Debug)]
struct Published {
    mark: Timestamp,
    subscription: SubscriptionId,
    body: Arc<DemandBody>,
    poll: Option<CallId>,
    polled_at: Timestamp,
    failures: u32,
}

impl Publication {
    pub(super) fn subscription(&self, generation: Generation) -> Option<&SubscriptionId> {
        self.generations.get(&generation).map(|published| &published.subscription)
    }

    /// Why no demand is published, if none is and the daemon has said why.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref().filter(|_| self.generations.is_empty())
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn body(&self, generation: Generation) -> Option<&Arc<DemandBody>> {
        self.generations.get(&generation).map(|published| &published.body)
    }
}

impl Market {
    /// Publishes the next generation of the demand.
    pub(super) fn publish(&mut self, fx: &mut Effects) {
        if !self.open || self.publication.pending.is_some() {
            return;
        }
        let mark = fx.durable().fresh_demand_mark(fx.now.plus(EXPIRES_AFTER));
        let body = demand::body(&self.spec, &self.subnet_tag, &self.image, &self.decorations, mark);
        let body = Arc::new(body);
        let generation = Generation(self.publication.next);
        self.publication.next += 1;
        self.publication.pending = Some((generation, mark, Arc::clone(&body)));
        fx.record_common(CommonRecord::DemandIntended { mark });
        let request = Request::Subscribe { demand: body };
        fx.call(self.purpose(MarketCall::Subscribe(generation)), request, SUBSCRIBE_PATIENCE);
    }

    pub(super) fn on_subscribed(
        &mut self,
        fx: &mut Effects,
        generation: Generation,
        result: Result<Response, CallError>,
        sweeper: &mut Sweeper,
    ) {
        let Some((_, mark, body)) = self.publication.pending.take_if(|(it, ..)| *it == generation)
        else {
            return;
        };
        match result {
            Ok(Response::Subscribed(subscription)) => {
                let id = subscription.clone();
                fx.record_common(CommonRecord::DemandPublished { mark, subscription: id });
                self.publication.failures = 0;
                self.publication.trouble = None;
                if !self.open {
                    sweeper.discard(fx, Item::Demand(mark));
                    return;
                }
                let published = Published {
                    mark,
                    subscription,
                    body,
                    poll: None,
                    polled_at: fx.now,
                    failures: 0,
                };
                self.publication.generations.insert(generation, published);
                self.retire_elders(fx, generation, sweeper);
                let refresh_after =
                    if fx.planted(Bug::LateRefresh) { Span::mins(61) } else { REFRESH_AFTER };
                self.wake(fx, MarketTimer::Publish, fx.now.plus(refresh_after));
                self.wake(fx, MarketTimer::Retire(generation), fx.now.plus(RETIRE_AFTER));
                self.poll(fx, generation);
            }
            Ok(_) => self.publish_failed(fx, "an answer to another question"),
            Err(error) => {
                match &error {
                    CallError::Rejected { .. } | CallError::NotSent { .. } => {
                        fx.record_common(CommonRecord::DemandEnded { mark });
                    }
                    CallError::Unknown(_) if fx.planted(Bug::DoubtForgotten) => {
                        fx.record_common(CommonRecord::DemandEnded { mark });
                    }
                    CallError::Unknown(_) => sweeper.discard(fx, Item::Demand(mark)),
                }
                self.publish_failed(fx, &error.to_string());
            }
        }
    }

    fn publish_failed(&mut self, fx: &mut Effects, why: &str) {
        self.publication.failures += 1;
        self.publication.trouble = Some(why.to_owned());
        let failures = self.publication.failures;
        let pause = Backoff::DAEMON.pause(failures, fx.seed, "publish", u64::from(self.id.0));
        let again_at = fx.now.plus(pause);
        self.complain(fx, Endpoint::Subscribe, failures, why, again_at);
        self.wake(fx, MarketTimer::Publish, again_at);
    }

    /// Asks what happened to one generation; exactly one such call is open at a time.
    pub(super) fn poll(&mut self, fx: &mut Effects, generation: Generation) {
        let purpose = self.purpose(MarketCall::Poll(generation));
        let Some(published) = self.publication.generations.get_mut(&generation) else { return };
        if published.poll.is_some() {
            return;
        }
        let request = Request::CollectEvents {
            subscription: published.subscription.clone(),
            timeout: if fx.planted(Bug::PollImpatient) { Span::millis(100) } else { POLL_TIMEOUT },
            max_events: POLL_EVENTS_MAX,
        };
        published.polled_at = fx.now;
        published.poll = Some(fx.call(purpose, request, POLL_TIMEOUT.plus(POLL_MARGIN)));
    }

    pub(super) fn on_polled(
        &mut self,
        fx: &mut Effects,
        generation: Generation,
        result: Result<Response, CallError>,
        sweeper: &mut Sweeper,
    ) {
        let Some(published) = self.publication.generations.get_mut(&generation) else { return };
        published.poll = None;
        let is_worth =
            fx.now.since(published.polled_at) >= POLL_WORTH || fx.planted(Bug::PollImpatient);
        match result {
            Ok(Response::Events(events)) if !events.is_empty() || is_worth => {
                published.failures = 0;
                self.on_events(fx, generation, events);
                self.poll(fx, generation);
            }
            Ok(Response::Events(_)) => self.poll_failed(fx, generation, "nothing, at once"),
            Ok(_) => self.poll_failed(fx, generation, "an answer to another question"),
            Err(error) if error.is_refusal(Status::NOT_FOUND) || error.is_refusal(Status::GONE) => {
                self.on_demand_lost(fx, generation, sweeper);
            }
            Err(error) => {
                self.has_lost_events |= matches!(error, CallError::Unknown(_));
                self.poll_failed(fx, generation, &error.to_string());
                self.watch_for_famine(fx);
            }
        }
        self.release_early(fx);
    }

    fn poll_failed(&mut self, fx: &mut Effects, generation: Generation, why: &str) {
        let Some(published) = self.publication.generations.get_mut(&generation) else { return };
        published.failures += 1;
        let failures = published.failures;
        if fx.planted(Bug::PollHammered) {
            self.poll(fx, generation);
            return;
        }
        let pause = Backoff::DAEMON.pause(failures, fx.seed, "poll", u64::from(generation.0));
        let again_at = fx.now.plus(pause);
        self.complain(fx, Endpoint::CollectEvents, failures, why, again_at);
        self.wake(fx, MarketTimer::Poll(generation), again_at);
    }

    fn on_events(&mut self, fx: &mut Effects, generation: Generation, events: Vec<DemandEvent>) {
        for event in events {
            self.on_event(fx, generation, event);
        }
        self.dispatch(fx);
    }

    /// The daemon does not know the demand any more: it restarted, or the demand was too old. Or it has told a wrong id:
    /// the sweeper looks.
    fn on_demand_lost(&mut self, fx: &mut Effects, generation: Generation, sweeper: &mut Sweeper) {
        let Some(published) = self.publication.generations.remove(&generation) else { return };
        sweeper.discard(fx, Item::Demand(published.mark));
        self.lose_chains(fx, generation);
        if self.open && self.publication.generations.is_empty() {
            fx.notify(Notice::DemandLost);
            self.publish(fx);
        }
    }

    /// Gives up generations that a younger one has replaced and in which nothing is negotiated.
    fn retire_elders(&mut self, fx: &mut Effects, heir: Generation, sweeper: &mut Sweeper) {
        let idle: Vec<Generation> = self
            .publication
            .generations
            .keys()
            .copied()
            .filter(|generation| *generation < heir && !self.is_negotiating_in(*generation))
            .collect();
        for generation in idle {
            self.retire(fx, generation, sweeper);
        }
    }

    /// Withdraws one generation, negotiations or not.
    pub(super) fn retire(
        &mut self,
        fx: &mut Effects,
        generation: Generation,
        sweeper: &mut Sweeper,
    ) {
        let Some(published) = self.publication.generations.remove(&generation) else { return };
        if let Some(call) = published.poll {
            fx.abandon(call);
        }
        fx.timers.cancel(&self.timer(MarketTimer::Retire(generation)));
        fx.timers.cancel(&self.timer(MarketTimer::Poll(generation)));
        self.lose_chains(fx, generation);
        if !fx.planted(Bug::DemandLeaked) {
            sweeper.discard(fx, Item::Demand(published.mark));
        }
        if self.open && self.publication.generations.is_empty() {
            self.publish(fx);
        }
    }

    /// Withdraws all generations, and with them what is still open.
    pub(in crate::core) fn withdraw(&mut self, fx: &mut Effects, sweeper: &mut Sweeper) {
        fx.timers.cancel(&self.timer(MarketTimer::Publish));
        if let Some((_, mark, _)) = self.publication.pending.take() {
            sweeper.discard(fx, Item::Demand(mark));
        }
        let generations: Vec<Generation> = self.publication.generations.keys().copied().collect();
        for generation in generations {
            self.retire(fx, generation, sweeper);
        }
    }

    fn complain(
        &self,
        fx: &mut Effects,
        endpoint: Endpoint,
        failures: u32,
        why: &str,
        again_at: Timestamp,
    ) {
        if failures == STRUGGLING_AFTER {
            fx.notify(Notice::Struggling { endpoint, why: why.to_owned(), again_at });
        }
    }
}
