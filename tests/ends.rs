//! What the daemon refuses to end is found by its mark, or left at a known time, and told.
#![expect(clippy::wildcard_enum_match_arm, reason = "the daemon refuses all but a few requests")]

use std::collections::VecDeque;

use ray_on_golem::{
    core::{
        Durable, Input, Machine, Notice, Output, Record, ids::CallId, record::CommonRecord,
        rng::Seed,
    },
    units::{Glm, Span, Timestamp},
    yagna::{
        Allocation, AllocationId, CallError, DemandBody, Request, Response, Status, Subscription,
        SubscriptionId,
    },
};

const EXPIRATION: &str = "golem.srv.comp.expiration";
const START: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);
const RIGHT_DEMAND: &str = "0123456789abcdef0123456789abcdef-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const RIGHT_ALLOCATION: &str = "5a3c6f0e-9d1b-4c7a-8e2f-0123456789ab";

#[test]
fn a_demand_with_a_wrong_id_is_found_by_its_mark() {
    // As journals have it that were written before ids were checked.
    let mark = START.plus(Span::days(365));
    let mut stage = Stage::after([
        CommonRecord::DemandIntended { mark },
        CommonRecord::DemandPublished { mark, subscription: SubscriptionId::from("../me") },
    ]);
    let mut ended = false;
    let answer = |request: &Request| match request {
        Request::ListDemands => {
            let mut body = DemandBody::default();
            body.properties.set(EXPIRATION, mark.as_unix_millis());
            Ok(Response::Demands(vec![Subscription { id: RIGHT_DEMAND.into(), body }]))
        }
        Request::Unsubscribe { subscription } if subscription.as_str() == RIGHT_DEMAND => {
            ended = true;
            Ok(Response::Unsubscribed)
        }
        _ => Err(refused(400)),
    };

    let notices = stage.run(START.plus(Span::mins(5)), answer);

    assert!(ended);
    assert!(stage.machine.view().durable().is_clean());
    assert_eq!(notices, []);
}

#[test]
fn an_allocation_of_another_id_than_was_told_is_released() {
    let mark = START.plus(Span::days(3));
    let mut stage = Stage::after(told(mark, "5a3c6f0e-9d1b-4c7a-8e2f-ba9876543210"));
    let mut released = false;
    let answer = |request: &Request| match request {
        Request::ListAllocations => Ok(Response::Allocations(vec![allocation(mark)])),
        Request::ReleaseAllocation { allocation } if allocation.as_str() == RIGHT_ALLOCATION => {
            released = true;
            Ok(Response::AllocationReleased)
        }
        _ => Err(refused(404)),
    };

    stage.run(START.plus(Span::mins(5)), answer);

    assert!(released);
    assert!(stage.machine.view().durable().is_clean());
}

#[test]
fn what_the_daemon_never_ends_is_left_when_its_time_is_over_and_told() {
    let mark = START.plus(Span::hours(5));
    let mut stage = Stage::after(told(mark, RIGHT_ALLOCATION));
    let answer = |request: &Request| match request {
        Request::ListAllocations => Ok(Response::Allocations(vec![allocation(mark)])),
        _ => Err(refused(400)),
    };

    let before = stage.run(mark.minus(Span::TICK), answer);
    assert!(!stage.machine.view().is_idle());
    let after = stage.run(mark.plus(Span::mins(1)), answer);

    let is_left =
        |notice: &Notice| matches!(notice, Notice::LeftBehind { until, .. } if *until == mark);
    assert!(!before.iter().any(is_left), "{before:?}");
    assert!(after.iter().any(is_left), "{after:?}");
    assert!(stage.machine.view().is_idle());
}

/// A machine that goes on where one has died, and a daemon that answers a second later.
struct Stage {
    machine: Machine,
    now: Timestamp,
    open: VecDeque<(Timestamp, CallId, Result<Response, CallError>)>,
}

impl Stage {
    fn after(records: impl IntoIterator<Item = CommonRecord>) -> Self {
        let mut durable = Durable::default();
        for record in records {
            durable.apply(&Record::Common(record));
        }
        let machine = Machine::recover(Seed::new(1), durable, START);
        Self { machine, now: START, open: VecDeque::new() }
    }

    /// Lets time pass until then; what the machine has told is given back.
    fn run(
        &mut self,
        until: Timestamp,
        mut answer: impl FnMut(&Request) -> Result<Response, CallError>,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        loop {
            while let Some(output) = self.machine.poll_output() {
                match output {
                    Output::Call { call, request, .. } => {
                        let at = self.now.plus(Span::secs(1));
                        self.open.push_back((at, call, answer(&request)));
                    }
                    Output::Notify(notice) => notices.push(notice),
                    Output::Persist { .. }
                    | Output::Answer { .. }
                    | Output::Abandon { .. }
                    | Output::Probe { .. }
                    | Output::Saw(_) => {}
                }
            }
            let timer = self.machine.poll_timeout().map(|(at, _)| at);
            let reply = self.open.front().map(|(at, _, _)| *at);
            match [timer, reply].into_iter().flatten().min() {
                Some(next) if next <= until => self.now = self.now.max(next),
                Some(_) | None => return notices,
            }
            match self.open.pop_front_if(|(at, _, _)| *at <= self.now) {
                Some((_, call, result)) => {
                    self.machine.handle(self.now, Input::Replied { call, result });
                }
                None => self.machine.handle(self.now, Input::Elapsed),
            }
        }
    }
}

fn told(mark: Timestamp, id: &str) -> [CommonRecord; 2] {
    [
        CommonRecord::AllocationIntended { mark },
        CommonRecord::AllocationCreated { mark, allocation: AllocationId::from(id) },
    ]
}

fn allocation(mark: Timestamp) -> Allocation {
    Allocation {
        id: RIGHT_ALLOCATION.into(),
        address: String::new(),
        platform: "erc20-hoodi-tglm".into(),
        total: Glm::from_whole(1),
        spent: Glm::ZERO,
        remaining: Glm::from_whole(1),
        timeout: Some(mark),
    }
}

fn refused(status: u16) -> CallError {
    CallError::Rejected { status: Status(status), body: String::new() }
}
