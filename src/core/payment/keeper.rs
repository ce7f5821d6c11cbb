//! Keeps what a cluster is paid from: one allocation, as large as the budget, that never lapses
//! while it is needed and never outlives it (M8, M10).

use crate::{
    core::{
        Purpose,
        backoff::Backoff,
        cluster::{
            ClusterCall, ClusterTimer,
            record::{ClusterRecord, FundsFact},
            state::Funds,
        },
        effects::Effects,
        ids::ClusterId,
        output::Notice,
        payment::ledger,
        planted::Bug,
        timer_of,
    },
    units::{Glm, Span, Timestamp},
    yagna::{
        Allocation, AllocationId, BatchCycle, CallError, Decorations, Request, Response, Status,
    },
};

/// The daemon releases the allocation by itself after this time, should we never come back.
const LIFE: Span = Span::days(3);
/// It is renewed when less than this is left.
const RENEW_BEFORE: Span = Span::days(2);
const PATIENCE: Span = Span::secs(15);
/// What we sent may still reach the daemon for so long.
const DOUBT: Span = Span::secs(15);
const STRUGGLING_AFTER: u32 = 2;
/// After so many failures in a row an allocation whose release the daemon refuses is left to its time-out.
const RELEASE_TRIES: u32 = 8;

/// What the calls about funds are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum KeeperCall {
    Create,
    /// Is what we asked for there?
    Find,
    /// Is ours still there, by this id or by another one?
    Check,
    Amend,
    Decorate,
    Release,
    /// When does the daemon pay?
    Cycle,
    /// Change when the daemon pays.
    Align,
}

/// Keeps the funds of one cluster.
#[derive(Debug)]
pub(in crate::core) struct Keeper {
    cluster: ClusterId,
    decorations: Option<Decorations>,
    is_busy: bool,
    is_checking: bool,
    is_closing: bool,
    failures: u32,
    /// Why the funds cannot be had, if they cannot.
    trouble: Option<String>,
    is_aligned: bool,
    /// How the daemon paid before we changed it.
    cycle_before: Option<BatchCycle>,
    asked: Option<(Timestamp, Glm)>,
    /// Whether the daemon has refused to release it.
    is_refused: bool,
    /// Whether the daemon may have another amount than the books, since its last answer is missing.
    is_unsure: bool,
}

impl Keeper {
    pub(in crate::core) fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            decorations: None,
            is_busy: false,
            is_checking: false,
            is_closing: false,
            failures: 0,
            trouble: None,
            is_aligned: false,
            cycle_before: None,
            asked: None,
            is_refused: false,
            is_unsure: false,
        }
    }

    /// What a demand must say to be paid from it, once that is known.
    pub(in crate::core) fn decorations(&self) -> Option<&Decorations> {
        self.decorations.as_ref().filter(|_| !self.is_closing)
    }

    /// Whether bills can be paid.
    pub(in crate::core) fn is_ready(&self) -> bool {
        self.decorations().is_some()
    }

    /// What the daemon said when the funds could not be had last.
    pub(in crate::core) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What to pay from.
    pub(in crate::core) fn allocation(&self, fx: &Effects) -> Option<AllocationId> {
        match &fx.cluster(self.cluster).funds {
            Funds::Set { allocation, .. } => Some(allocation.clone()),
            Funds::None | Funds::Intended { .. } => None,
        }
    }

    /// Goes on after a crash.
    pub(in crate::core) fn recover(&mut self, fx: &mut Effects) {
        match fx.cluster(self.cluster).funds {
            Funds::Intended { .. } => self.wake(fx, fx.now.plus(DOUBT)),
            Funds::Set { .. } => {
                self.is_unsure = true;
                self.check(fx);
            }
            Funds::None => {}
        }
    }

    /// Sees to it that there are funds, as large as they may be.
    pub(in crate::core) fn tend(&mut self, fx: &mut Effects) {
        if self.is_busy || self.is_checking || self.is_closing {
            return;
        }
        let state = fx.cluster(self.cluster);
        let waits = fx.timers.due(&timer_of(self.cluster, ClusterTimer::Funds));
        match &state.funds {
            Funds::None if waits.is_none() => self.create(fx),
            Funds::Set { allocation, .. } if self.decorations.is_none() => {
                let allocation = allocation.clone();
                if waits.is_none() {
                    self.ask(fx, KeeperCall::Decorate, Request::DecorateDemand { allocation });
                }
            }
            Funds::Set { .. } => {
                if waits.is_none() {
                    self.renew(fx);
                }
                self.align(fx);
            }
            Funds::None | Funds::Intended { .. } => {}
        }
    }

    /// The daemon says that it does not know the allocation: it lapsed, or another program released it, or the daemon
    /// has told us a wrong id.
    pub(in crate::core) fn check(&mut self, fx: &mut Effects) {
        if !self.is_checking {
            self.is_checking = true;
            self.call(fx, KeeperCall::Check, Request::ListAllocations);
        }
    }

    /// Gives everything back, however long it takes.
    pub(in crate::core) fn close(&mut self, fx: &mut Effects) {
        self.is_closing = true;
        self.restore_cycle(fx);
        if !self.is_busy && !self.is_checking {
            self.release(fx);
        }
    }

    pub(in crate::core) fn on_timer(&mut self, fx: &mut Effects) {
        if self.is_busy || self.is_checking {
            return;
        }
        match fx.cluster(self.cluster).funds {
            Funds::Intended { .. } => self.ask(fx, KeeperCall::Find, Request::ListAllocations),
            Funds::Set { .. } | Funds::None if self.is_closing => self.release(fx),
            Funds::Set { .. } | Funds::None => {}
        }
    }

    pub(in crate::core) fn on_reply(
        &mut self,
        fx: &mut Effects,
        call: KeeperCall,
        result: Result<Response, CallError>,
    ) {
        if let (KeeperCall::Create | KeeperCall::Find | KeeperCall::Decorate, Err(error)) =
            (call, &result)
        {
            self.trouble = Some(error.said());
        }
        match call {
            KeeperCall::Check => self.is_checking = false,
            KeeperCall::Cycle | KeeperCall::Align => {}
            KeeperCall::Create
            | KeeperCall::Find
            | KeeperCall::Amend
            | KeeperCall::Decorate
            | KeeperCall::Release => self.is_busy = false,
        }
        match call {
            KeeperCall::Create => self.on_created(fx, result),
            KeeperCall::Find => self.on_found(fx, result),
            KeeperCall::Check => self.on_checked(fx, result),
            KeeperCall::Amend => self.on_amended(fx, result),
            KeeperCall::Decorate => self.on_decorated(fx, result),
            KeeperCall::Release => self.on_released(fx, &result),
            KeeperCall::Cycle => self.on_cycle(fx, result),
            KeeperCall::Align => {}
        }
        if self.is_closing && !self.is_busy && !self.is_checking {
            self.release_unless_waiting(fx);
        }
    }

    fn create(&mut self, fx: &mut Effects) {
        let state = fx.cluster(self.cluster);
        let base = ledger::spent(state);
        let total = state.budget.minus(base);
        let mark = fx.durable().fresh_allocation_mark(fx.now.plus(LIFE));
        self.note(fx, FundsFact::Intended { mark, total, base });
        let platform = fx.cluster(self.cluster).plan.platform.clone();
        let request = Request::CreateAllocation { platform, total, timeout: mark };
        self.ask(fx, KeeperCall::Create, request);
    }

    fn on_created(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let Funds::Intended { mark, total, .. } = fx.cluster(self.cluster).funds else { return };
        match result {
            Ok(Response::AllocationCreated(allocation)) => {
                self.failures = 0;
                self.trouble = None;
                self.note(fx, FundsFact::Set { mark, allocation: allocation.id, total });
            }
            Err(error @ CallError::Rejected { .. }) => {
                self.note(fx, FundsFact::Ended);
                self.later(fx, Some(&error));
            }
            Err(CallError::NotSent { .. }) => {
                self.note(fx, FundsFact::Ended);
                self.later(fx, None);
            }
            Err(CallError::Unknown(_)) if fx.planted(Bug::FundsDoubtForgotten) => {
                self.note(fx, FundsFact::Ended);
                self.later(fx, None);
            }
            Ok(_) | Err(CallError::Unknown(_)) => self.wake(fx, fx.now.plus(DOUBT)),
        }
    }

    fn on_found(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let Funds::Intended { mark, total, .. } = fx.cluster(self.cluster).funds else { return };
        match result {
            Ok(Response::Allocations(found)) => match find(&found, mark) {
                Some(ours) => {
                    let allocation = ours.id.clone();
                    self.note(fx, FundsFact::Set { mark, allocation, total });
                }
                None => self.note(fx, FundsFact::Ended),
            },
            Ok(_) | Err(_) => self.later(fx, None),
        }
    }

    fn on_checked(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let Funds::Set { mark, allocation, total, .. } = fx.cluster(self.cluster).funds.clone()
        else {
            return;
        };
        let Ok(Response::Allocations(found)) = result else {
            self.later(fx, None);
            return;
        };
        if found.iter().any(|it| it.id == allocation) {
            if std::mem::take(&mut self.is_refused) {
                self.refused_for_good(fx, mark);
            }
        } else if let Some(ours) = find(&found, mark) {
            self.note(fx, FundsFact::Set { mark, allocation: ours.id.clone(), total });
        } else {
            self.note(fx, FundsFact::Ended);
            self.decorations = None;
        }
    }

    /// The daemon lists the allocation, and refuses to release it: it ends by itself when its time is over.
    fn refused_for_good(&mut self, fx: &mut Effects, mark: Timestamp) {
        self.later(fx, None);
        if self.failures >= RELEASE_TRIES {
            fx.notify(Notice::LeftBehind { what: "an allocation".to_owned(), until: mark });
            self.note(fx, FundsFact::Ended);
        }
    }

    /// Follows the budget, and prolongs the allocation in time.
    fn renew(&mut self, fx: &mut Effects) {
        let state = fx.cluster(self.cluster);
        let Funds::Set { mark, allocation, total, base } = &state.funds else { return };
        let wanted = state.budget.minus(*base);
        let is_old = mark.since(fx.now) < RENEW_BEFORE;
        let is_less = wanted < *total;
        if !is_old && *total == wanted && !self.is_unsure
            || is_less && fx.planted(Bug::FundsOnlyGrow)
        {
            return;
        }
        let (allocation, before) = (allocation.clone(), *mark);
        let timeout =
            if is_old { fx.durable().fresh_allocation_mark(fx.now.plus(LIFE)) } else { *mark };
        self.is_unsure = true;
        self.asked = Some((timeout, wanted));
        if is_less {
            // It may be done though nobody says so: from now on no more is counted on.
            let (allocation, total) = (allocation.clone(), wanted);
            self.note(fx, FundsFact::Set { mark: before, allocation, total });
        }
        let request = Request::AmendAllocation { allocation, total: wanted, timeout };
        self.ask(fx, KeeperCall::Amend, request);
    }

    fn on_amended(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let Some((mark, total)) = self.asked.take() else { return };
        match result {
            Ok(_) => {
                if let Some(allocation) = self.allocation(fx) {
                    self.failures = 0;
                    self.trouble = None;
                    self.is_unsure = false;
                    self.note(fx, FundsFact::Set { mark, allocation, total });
                }
            }
            Err(error) if error.is_refusal(Status::NOT_FOUND) => self.check(fx),
            Err(error) => self.later(fx, Some(&error)),
        }
    }

    fn on_decorated(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        match result {
            Ok(Response::Decorations(decorations)) => {
                self.failures = 0;
                self.trouble = None;
                self.decorations = Some(decorations);
            }
            Err(error) if error.is_refusal(Status::NOT_FOUND) => self.check(fx),
            Ok(_) | Err(_) => self.later(fx, None),
        }
    }

    fn release(&mut self, fx: &mut Effects) {
        if let Some(allocation) = self.allocation(fx) {
            self.ask(fx, KeeperCall::Release, Request::ReleaseAllocation { allocation });
        }
    }

    fn release_unless_waiting(&mut self, fx: &mut Effects) {
        if fx.timers.due(&timer_of(self.cluster, ClusterTimer::Funds)).is_none() {
            self.release(fx);
        }
    }

    fn on_released(&mut self, fx: &mut Effects, result: &Result<Response, CallError>) {
        match result {
            Ok(_) => self.note(fx, FundsFact::Ended),
            Err(error) if error.is_refusal(Status::GONE) || fx.planted(Bug::RefusalIsEnd) => {
                self.note(fx, FundsFact::Ended);
            }
            Err(CallError::Rejected { .. }) => {
                self.is_refused = true;
                self.check(fx);
            }
            Err(CallError::NotSent { .. } | CallError::Unknown(_)) => self.later(fx, None),
        }
    }

    /// A daemon that pays once a day loses providers that want their money sooner: see once whether
    /// it pays often enough.
    fn align(&mut self, fx: &mut Effects) {
        if self.is_aligned {
            return;
        }
        self.is_aligned = true;
        let platform = fx.cluster(self.cluster).plan.platform.clone();
        self.call(fx, KeeperCall::Cycle, Request::GetBatchCycle { platform });
    }

    fn on_cycle(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let Ok(Response::BatchCycle(cycle)) = result else {
            // The daemon is too old to have one, or in trouble: asked again with the next change.
            self.is_aligned = !matches!(result, Err(CallError::NotSent { .. }));
            return;
        };
        let state = fx.cluster(self.cluster);
        let timeouts = state.shapes.iter().map(|shape| shape.spec.payment_interval.minimal);
        let Some(timeout) = timeouts.min() else { return };
        let Some(interval) = cycle.interval else { return };
        if interval.plus(cycle.extra_time) <= timeout {
            return;
        }
        let shorter = timeout.over(3).max(Span::secs(5));
        let extra_time = timeout.over(6).max(Span::secs(5));
        let name = state.name.clone();
        let what = format!(
            "the daemon pays every {interval}, which is too seldom for providers that want to be \
             paid within {timeout}; it pays every {shorter} while the cluster runs"
        );
        fx.notify(Notice::Cluster { cluster: name, what });
        let platform = cycle.platform.clone();
        self.cycle_before = Some(cycle);
        let request = Request::SetBatchCycle { platform, interval: shorter, extra_time };
        self.call(fx, KeeperCall::Align, request);
    }

    fn restore_cycle(&mut self, fx: &mut Effects) {
        if let Some(BatchCycle { platform, interval: Some(interval), extra_time, .. }) =
            self.cycle_before.take()
        {
            let request = Request::SetBatchCycle { platform, interval, extra_time };
            self.call(fx, KeeperCall::Align, request);
        }
    }

    fn later(&mut self, fx: &mut Effects, error: Option<&CallError>) {
        self.failures = self.failures.saturating_add(1);
        let nth = u64::from(self.cluster.0);
        let pause = Backoff::DAEMON.pause(self.failures, fx.seed, "funds", nth);
        self.wake(fx, fx.now.plus(pause));
        if let Some(error) = error
            && self.failures == STRUGGLING_AFTER
        {
            let cluster = fx.cluster(self.cluster).name.clone();
            let what = format!("the budget cannot be set aside: {error}");
            let record = ClusterRecord::Warned { at: fx.now, warning: what.clone() };
            fx.record_cluster(self.cluster, record);
            fx.notify(Notice::Cluster { cluster, what });
        }
    }

    fn ask(&mut self, fx: &mut Effects, call: KeeperCall, request: Request) {
        self.is_busy = true;
        self.call(fx, call, request);
    }

    fn call(&self, fx: &mut Effects, call: KeeperCall, request: Request) {
        fx.call(Purpose::Cluster(self.cluster, ClusterCall::Funds(call)), request, PATIENCE);
    }

    fn note(&self, fx: &mut Effects, fact: FundsFact) {
        fx.record_cluster(self.cluster, ClusterRecord::Funds(fact));
    }

    fn wake(&self, fx: &mut Effects, at: Timestamp) {
        fx.wake(timer_of(self.cluster, ClusterTimer::Funds), at);
    }
}

fn find(found: &[Allocation], mark: Timestamp) -> Option<&Allocation> {
    found.iter().find(|allocation| allocation.timeout == Some(mark))
}
