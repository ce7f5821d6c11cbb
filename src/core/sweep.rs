//! Ends what we made at the daemon and do not want any more, until it is proven to be gone (K2, M8).
//!
//! A thing whose creation is in doubt is looked for by its mark, but only after the request for it
//! can no longer land: a listing that is taken too early proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Purpose, TimerKey, backoff::Backoff, effects::Effects, market::demand::EXPIRATION,
    output::Notice, planted::Bug, record::CommonRecord,
};
use crate::{
    units::{Span, Timestamp},
    yagna::{Allocation, CallError, Request, Response, Status, Subscription, request::Endpoint},
};

/// The shell has closed the connection by then, and the daemon has finished or dropped the request.
const DOUBT: Span = Span::secs(15);
const PATIENCE: Span = Span::secs(5);
const STRUGGLING_AFTER: u32 = 3;

/// Something of ours at the daemon, by its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A published demand.
    Demand(Timestamp),
    /// An allocation.
    Allocation(Timestamp),
}

/// What the sweeper's calls are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SweepCall {
    End(Item),
    Look(Item),
}

/// Everything that is to be ended.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    unwanted: BTreeMap<Item, u32>,
}

impl Sweeper {
    /// Takes everything that a dead process left behind.
    pub(super) fn adopt(&mut self, fx: &mut Effects) {
        let demands = fx.durable().demands().keys().copied().map(Item::Demand);
        let allocations = fx.durable().allocations().keys().copied().map(Item::Allocation);
        for item in demands.chain(allocations).collect::<BTreeSet<_>>() {
            self.discard(fx, item);
        }
    }

    /// Ends this item, however long it takes.
    pub(super) fn discard(&mut self, fx: &mut Effects, item: Item) {
        if self.unwanted.insert(item, 0).is_some() {
            return;
        }
        match self.stand(fx, item) {
            Stand::Gone => {
                self.unwanted.remove(&item);
            }
            Stand::InDoubt => fx.wake(TimerKey::Sweep(item), fx.now.plus(DOUBT)),
            Stand::There(request) => {
                fx.call(Purpose::Sweep(SweepCall::End(item)), request, PATIENCE);
            }
        }
    }

    pub(super) fn on_timer(&mut self, fx: &mut Effects, item: Item) {
        if !self.unwanted.contains_key(&item) {
            return;
        }
        if fx.planted(Bug::TimerStuck) {
            fx.wake(TimerKey::Sweep(item), fx.now);
        }
        match self.stand(fx, item) {
            Stand::Gone => {
                self.unwanted.remove(&item);
            }
            Stand::InDoubt => {
                let request = match item {
                    Item::Demand(_) => Request::ListDemands,
                    Item::Allocation(_) => Request::ListAllocations,
                };
                fx.call(Purpose::Sweep(SweepCall::Look(item)), request, PATIENCE);
            }
            Stand::There(request) => {
                fx.call(Purpose::Sweep(SweepCall::End(item)), request, PATIENCE);
            }
        }
    }

    pub(super) fn on_reply(
        &mut self,
        fx: &mut Effects,
        call: SweepCall,
        result: Result<Response, CallError>,
    ) {
        match (call, result) {
            (SweepCall::End(item), Ok(_)) => self.ended(fx, item),
            (SweepCall::End(item), Err(error))
                if error.is_refusal(Status::NOT_FOUND) || error.is_refusal(Status::GONE) =>
            {
                self.ended(fx, item);
            }
            (SweepCall::Look(item), Ok(Response::Demands(found))) => {
                self.found_demand(fx, item, &found);
            }
            (SweepCall::Look(item), Ok(Response::Allocations(found))) => {
                self.found_allocation(fx, item, &found);
            }
            (SweepCall::Look(item), Ok(_)) => self.again(fx, item, "an answer to another question"),
            (SweepCall::End(item) | SweepCall::Look(item), Err(error)) => {
                self.again(fx, item, &error.to_string());
            }
        }
    }

    /// Whether everything is ended.
    pub(super) fn is_done(&self) -> bool {
        self.unwanted.is_empty()
    }

    /// How many items are left.
    pub(super) fn len(&self) -> usize {
        self.unwanted.len()
    }

    /// Stops trying; tells what is left behind, and until when.
    pub(super) fn give_up(&mut self, fx: &mut Effects) -> Vec<Notice> {
        let left = std::mem::take(&mut self.unwanted);
        left.into_keys()
            .map(|item| {
                fx.timers.cancel(&TimerKey::Sweep(item));
                match item {
                    Item::Demand(_) => Notice::LeftBehind {
                        what: "a published demand".to_owned(),
                        // The daemon ends every demand after an hour.
                        until: fx.now.plus(Span::hours(1)),
                    },
                    Item::Allocation(mark) => {
                        Notice::LeftBehind { what: "an allocation".to_owned(), until: mark }
                    }
                }
            })
            .collect()
    }

    fn stand(&self, fx: &Effects, item: Item) -> Stand {
        let request =
            match item {
                Item::Demand(mark) => {
                    fx.durable().demands().get(&mark).map(|id| {
                        id.clone().map(|subscription| Request::Unsubscribe { subscription })
                    })
                }
                Item::Allocation(mark) => fx.durable().allocations().get(&mark).map(|id| {
                    id.clone().map(|allocation| Request::ReleaseAllocation { allocation })
                }),
            };
        match request {
            None => Stand::Gone,
            Some(None) => Stand::InDoubt,
            Some(Some(request)) => Stand::There(request),
        }
    }

    fn found_demand(&mut self, fx: &mut Effects, item: Item, found: &[Subscription]) {
        let Item::Demand(mark) = item else { return };
        let millis = mark.as_unix_millis().to_string();
        let ours = found
            .iter()
            .find(|demand| demand.body.properties.number(EXPIRATION) == Some(millis.as_str()));
        match ours {
            Some(demand) => {
                fx.record_common(CommonRecord::DemandPublished {
                    mark,
                    subscription: demand.id.clone(),
                });
                self.on_timer(fx, item);
            }
            None => self.ended(fx, item),
        }
    }

    fn found_allocation(&mut self, fx: &mut Effects, item: Item, found: &[Allocation]) {
        let Item::Allocation(mark) = item else { return };
        match found.iter().find(|allocation| allocation.timeout == Some(mark)) {
            Some(ours) => {
                fx.record_common(CommonRecord::AllocationCreated {
                    mark,
                    allocation: ours.id.clone(),
                });
                self.on_timer(fx, item);
            }
            None => self.ended(fx, item),
        }
    }

    fn ended(&mut self, fx: &mut Effects, item: Item) {
        self.unwanted.remove(&item);
        match item {
            Item::Demand(mark) => fx.record_common(CommonRecord::DemandEnded { mark }),
            Item::Allocation(mark) => fx.record_common(CommonRecord::AllocationEnded { mark }),
        }
    }

    fn again(&mut self, fx: &mut Effects, item: Item, why: &str) {
        let Some(failures) = self.unwanted.get_mut(&item) else { return };
        *failures += 1;
        let ordinal = match item {
            Item::Demand(mark) | Item::Allocation(mark) => mark.as_unix_micros(),
        };
        let pause = Backoff::DAEMON.pause(*failures, fx.seed, "sweep", ordinal);
        let again_at = fx.now.plus(pause);
        if *failures == STRUGGLING_AFTER {
            let endpoint = match item {
                Item::Demand(_) => Endpoint::Unsubscribe,
                Item::Allocation(_) => Endpoint::ReleaseAllocation,
            };
            fx.notify(Notice::Struggling { endpoint, why: why.to_owned(), again_at });
        }
        fx.wake(TimerKey::Sweep(item), again_at);
    }
}

/// Where an unwanted item stands, and what would end it.
enum Stand {
    Gone,
    InDoubt,
    There(Request),
}
