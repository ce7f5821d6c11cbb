//! Ends what we made at the daemon and do not want any more, until it is proven to be gone (K2, M8).
//!
//! A thing whose creation is in doubt is looked for by its mark, but only after the request for it
//! can no longer land: a listing that is taken too early proves nothing. A thing that the daemon refuses to end is
//! looked for in the same way, since it may have another id than the one that was told. What the daemon lists, and
//! still refuses to end, is left to the time at which it ends by itself.

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
/// The daemon ends every demand after this time, whatever it says.
const DEMAND_LASTS: Span = Span::hours(1);
const STRUGGLING_AFTER: u32 = 3;
const REFUSED: &str = "it is listed, and its end is refused";

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
    unwanted: BTreeMap<Item, Unwanted>,
}

/// How far the end of an item is.
#[derive(Clone, Copy, Debug)]
struct Unwanted {
    /// Failures in a row.
    failures: u32,
    /// When the daemon ends it by itself.
    lasts_until: Timestamp,
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
        let lasts_until = match item {
            // What was asked for is with the daemon after a while, if it is so at all.
            Item::Demand(_) => fx.now.plus(DOUBT).plus(DEMAND_LASTS),
            Item::Allocation(mark) => mark,
        };
        if self.unwanted.contains_key(&item) {
            return;
        }
        self.unwanted.insert(item, Unwanted { failures: 0, lasts_until });
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
            Stand::InDoubt => look(fx, item),
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
            (SweepCall::End(item), Err(error)) if error.is_refusal(Status::GONE) => {
                self.ended(fx, item);
            }
            (SweepCall::End(item), Err(CallError::Rejected { .. }))
                if fx.planted(Bug::RefusalIsEnd) =>
            {
                self.ended(fx, item);
            }
            (SweepCall::End(item), Err(CallError::Rejected { .. })) => look(fx, item),
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
        left.into_iter()
            .map(|(item, unwanted)| {
                fx.timers.cancel(&TimerKey::Sweep(item));
                left_behind(item, unwanted.lasts_until)
            })
            .collect()
    }

    /// What is not ended yet, and until when it may last.
    pub(super) fn left(&self) -> impl Iterator<Item = Notice> {
        self.unwanted.iter().map(|(item, unwanted)| left_behind(*item, unwanted.lasts_until))
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
        let known = fx.durable().demands().get(&mark).cloned().flatten();
        match ours {
            Some(demand) if known.as_ref() == Some(&demand.id) => self.again(fx, item, REFUSED),
            Some(demand) => {
                let subscription = demand.id.clone();
                fx.record_common(CommonRecord::DemandPublished { mark, subscription });
                self.on_timer(fx, item);
            }
            None => self.ended(fx, item),
        }
    }

    fn found_allocation(&mut self, fx: &mut Effects, item: Item, found: &[Allocation]) {
        let Item::Allocation(mark) = item else { return };
        let known = fx.durable().allocations().get(&mark).cloned().flatten();
        match found.iter().find(|allocation| allocation.timeout == Some(mark)) {
            Some(ours) if known.as_ref() == Some(&ours.id) => self.again(fx, item, REFUSED),
            Some(ours) => {
                let allocation = ours.id.clone();
                fx.record_common(CommonRecord::AllocationCreated { mark, allocation });
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
        let Some(unwanted) = self.unwanted.get_mut(&item) else { return };
        unwanted.failures += 1;
        let Unwanted { failures, lasts_until } = *unwanted;
        if fx.now >= lasts_until {
            fx.notify(left_behind(item, lasts_until));
            self.ended(fx, item);
            return;
        }
        let ordinal = match item {
            Item::Demand(mark) | Item::Allocation(mark) => mark.as_unix_micros(),
        };
        let pause = Backoff::DAEMON.pause(failures, fx.seed, "sweep", ordinal);
        let again_at = fx.now.plus(pause).min(lasts_until);
        if failures == STRUGGLING_AFTER {
            let endpoint = match item {
                Item::Demand(_) => Endpoint::Unsubscribe,
                Item::Allocation(_) => Endpoint::ReleaseAllocation,
            };
            fx.notify(Notice::Struggling { endpoint, why: why.to_owned(), again_at });
        }
        fx.wake(TimerKey::Sweep(item), again_at);
    }
}

/// Looks for something by its mark.
fn look(fx: &mut Effects, item: Item) {
    let request = match item {
        Item::Demand(_) => Request::ListDemands,
        Item::Allocation(_) => Request::ListAllocations,
    };
    fx.call(Purpose::Sweep(SweepCall::Look(item)), request, PATIENCE);
}

fn left_behind(item: Item, until: Timestamp) -> Notice {
    let what = match item {
        Item::Demand(_) => "a published demand",
        Item::Allocation(_) => "an allocation",
    };
    Notice::LeftBehind { what: what.to_owned(), until }
}

/// Where an unwanted item stands, and what would end it.
enum Stand {
    Gone,
    InDoubt,
    There(Request),
}
