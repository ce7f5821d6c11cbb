//! The funds of a survey: a small allocation, only so that demands can name a payment platform.
//!
//! Nothing is ever paid from it. A wallet that cannot back it is no reason not to look at the
//! market: the platform can be named by our bare address as well.

use crate::{
    core::{
        Purpose, TimerKey,
        backoff::Backoff,
        effects::Effects,
        output::Notice,
        planted::Bug,
        record::CommonRecord,
        sweep::{Item, Sweeper},
    },
    units::{Glm, Span, Timestamp},
    yagna::{
        AllocationId, CallError, Decorations, Identity, PlatformId, Request, Response,
        request::Endpoint,
    },
};

const PATIENCE: Span = Span::secs(15);
const CREATE_TRIES: u32 = 3;
const STRUGGLING_AFTER: u32 = 3;

/// What the calls for funds are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum FundsCall {
    Create,
    Decorate,
    Identify,
}

/// An allocation on its way to being useful.
#[derive(Debug)]
pub(in crate::core) struct Funds {
    platform: PlatformId,
    amount: Glm,
    lives_until: Timestamp,
    stage: Stage,
    failures: u32,
    /// Creations with an unknown or failed outcome.
    doubts: u32,
}

#[derive(Clone, Debug)]
enum Stage {
    Creating { mark: Timestamp },
    Decorating { mark: Timestamp, allocation: AllocationId },
    Identifying,
    Ready { mark: Option<Timestamp> },
    Closed,
}

impl Funds {
    /// Sets `amount` aside; the daemon releases it by itself at `lives_until` or a little later.
    pub(in crate::core) fn open(
        fx: &mut Effects,
        platform: PlatformId,
        amount: Glm,
        lives_until: Timestamp,
    ) -> Self {
        let mut funds =
            Self { platform, amount, lives_until, stage: Stage::Closed, failures: 0, doubts: 0 };
        funds.create(fx);
        funds
    }

    pub(in crate::core) fn is_funded(&self) -> bool {
        match self.stage {
            Stage::Ready { mark } => mark.is_some(),
            Stage::Creating { .. }
            | Stage::Decorating { .. }
            | Stage::Identifying
            | Stage::Closed => false,
        }
    }

    /// Whether it is known what there is to give back.
    pub(in crate::core) fn is_settled(&self) -> bool {
        match self.stage {
            Stage::Creating { .. } => false,
            Stage::Decorating { .. } | Stage::Identifying | Stage::Ready { .. } | Stage::Closed => {
                true
            }
        }
    }

    /// Takes a reply; hands out the decorations once they are known.
    pub(in crate::core) fn on_reply(
        &mut self,
        fx: &mut Effects,
        call: FundsCall,
        result: Result<Response, CallError>,
        sweeper: &mut Sweeper,
    ) -> Option<Decorations> {
        match (call, self.stage.clone(), result) {
            (FundsCall::Create, Stage::Creating { mark }, result) => {
                self.on_created(fx, mark, result, sweeper);
                None
            }
            (
                FundsCall::Decorate,
                Stage::Decorating { mark, .. },
                Ok(Response::Decorations(decorations)),
            ) => {
                self.stage = Stage::Ready { mark: Some(mark) };
                Some(decorations)
            }
            (FundsCall::Identify, Stage::Identifying, Ok(Response::Identity(identity))) => {
                self.stage = Stage::Ready { mark: None };
                Some(bare(&self.platform, &identity))
            }
            // Closed while the call was under way: what it made is found by its mark.
            (FundsCall::Create, Stage::Closed, _) => None,
            (_, _, Ok(_)) => {
                self.again(fx, "an answer to another question");
                None
            }
            (_, _, Err(error)) => {
                self.again(fx, &error.to_string());
                None
            }
        }
    }

    /// Asks again, after a failure.
    pub(in crate::core) fn on_timer(&mut self, fx: &mut Effects) {
        match self.stage.clone() {
            Stage::Creating { .. } => self.create(fx),
            Stage::Decorating { allocation, .. } => decorate(fx, allocation),
            Stage::Identifying => identify(fx),
            Stage::Ready { .. } | Stage::Closed => {}
        }
    }

    /// Asks for nothing any more; a call that is under way is still waited for.
    pub(in crate::core) fn stop(&mut self, fx: &mut Effects) {
        let waits_to_retry = fx.timers.due(&TimerKey::Funds).is_some();
        fx.timers.cancel(&TimerKey::Funds);
        if waits_to_retry && !self.is_settled() {
            self.stage = Stage::Closed;
        }
    }

    /// Gives the funds back.
    pub(in crate::core) fn close(&mut self, fx: &mut Effects, sweeper: &mut Sweeper) {
        fx.timers.cancel(&TimerKey::Funds);
        let mark = match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Creating { mark } | Stage::Decorating { mark, .. } => Some(mark),
            Stage::Ready { mark } => mark,
            Stage::Identifying | Stage::Closed => None,
        };
        if let Some(mark) = mark
            && !fx.planted(Bug::AllocationLeaked)
        {
            sweeper.discard(fx, Item::Allocation(mark));
        }
    }

    fn create(&mut self, fx: &mut Effects) {
        let mark = fx.durable().fresh_allocation_mark(self.lives_until);
        self.stage = Stage::Creating { mark };
        fx.record_common(CommonRecord::AllocationIntended { mark });
        let request = Request::CreateAllocation {
            platform: self.platform.clone(),
            total: self.amount,
            timeout: mark,
        };
        fx.call(Purpose::Funds(FundsCall::Create), request, PATIENCE);
    }

    fn on_created(
        &mut self,
        fx: &mut Effects,
        mark: Timestamp,
        result: Result<Response, CallError>,
        sweeper: &mut Sweeper,
    ) {
        match result {
            Ok(Response::AllocationCreated(allocation)) => {
                let allocation = allocation.id;
                fx.record_common(CommonRecord::AllocationCreated {
                    mark,
                    allocation: allocation.clone(),
                });
                self.failures = 0;
                self.stage = Stage::Decorating { mark, allocation: allocation.clone() };
                decorate(fx, allocation);
            }
            Ok(_) => {
                sweeper.discard(fx, Item::Allocation(mark));
                self.again(fx, "an answer to another question");
            }
            Err(error @ CallError::Rejected { .. }) => {
                fx.record_common(CommonRecord::AllocationEnded { mark });
                self.do_without(fx, &error);
            }
            Err(error @ CallError::NotSent { .. }) => {
                fx.record_common(CommonRecord::AllocationEnded { mark });
                self.again(fx, &error.to_string());
            }
            Err(error @ CallError::Unknown(_)) => {
                sweeper.discard(fx, Item::Allocation(mark));
                self.doubts += 1;
                if self.doubts >= CREATE_TRIES {
                    self.do_without(fx, &error);
                } else {
                    self.again(fx, &error.to_string());
                }
            }
        }
    }

    fn do_without(&mut self, fx: &mut Effects, error: &CallError) {
        fx.notify(Notice::Unfunded { why: error.to_string() });
        self.stage = Stage::Identifying;
        identify(fx);
    }

    fn again(&mut self, fx: &mut Effects, why: &str) {
        self.failures += 1;
        let pause = Backoff::DAEMON.pause(self.failures, fx.seed, "funds", 0);
        let again_at = fx.now.plus(pause);
        if self.failures == STRUGGLING_AFTER {
            let endpoint = match self.stage {
                Stage::Creating { .. } | Stage::Ready { .. } | Stage::Closed => {
                    Endpoint::CreateAllocation
                }
                Stage::Decorating { .. } => Endpoint::DecorateDemand,
                Stage::Identifying => Endpoint::WhoAmI,
            };
            fx.notify(Notice::Struggling { endpoint, why: why.to_owned(), again_at });
        }
        fx.wake(TimerKey::Funds, again_at);
    }
}

fn decorate(fx: &mut Effects, allocation: AllocationId) {
    fx.call(Purpose::Funds(FundsCall::Decorate), Request::DecorateDemand { allocation }, PATIENCE);
}

fn identify(fx: &mut Effects) {
    fx.call(Purpose::Funds(FundsCall::Identify), Request::WhoAmI, PATIENCE);
}

/// What the daemon would say of an allocation on this platform, made from our address alone.
fn bare(platform: &PlatformId, identity: &Identity) -> Decorations {
    let address = format!("golem.com.payment.platform.{platform}.address");
    let constraint = format!("({address}=*)");
    Decorations {
        properties: vec![
            (address, identity.id.to_string()),
            ("golem.com.payment.protocol.version".to_owned(), "3".to_owned()),
        ],
        constraints: vec![constraint, "(golem.com.payment.protocol.version>1)".to_owned()],
    }
}
