//! The Python original's policy, for comparison: what Ray on Golem 0.13 (with golem-core 0.7.8) does for
//! nodes, in front of the simulated daemon and measured by the same meter as the machine.
//!
//! Only what determines time and money is modelled, from the demand to the last bill. A paragraph sign
//! cites a section of the notes on the original from which this was written, by what each section is
//! about: §1 start, §2 allocation, §3 demand, §4 stacks, §5 proposals, §6 negotiation, §7 agreement, §8
//! node, §9 monitors, §10 payments, §11 stop. Weaknesses have the numbers of the list of those: 2
//! listeners that die, 3 stacks that stay stopped, 7 starts without end, 14 choice.
//!
//! Where it differs from the original, it favours the original:
//!
//! - It computes in no time, and what it polls in its own memory (every 100 ms) it hears of at once.
//! - Announcing all nodes again after each start is one call, not one for each node.
//! - What has no limit in time at all (§8: a look over ssh that nothing comes back from) ends.
//! - It is compared where the daemon is sound. There the original would lose whole clusters: it remembers
//!   nothing after a crash, and its listeners do not survive a daemon that restarts.
//! - A user is at hand who asks for a head again as soon as the last one is gone, and who waits until the
//!   cluster has ended before that (the original mixes both up otherwise).
//! - Bills have no usage counters in the simulation, so that it never mistakes them.
//! - Images are there at once, and its reputation data is never out of date.

mod bill;
mod buffer;
mod cluster;
mod demand;
mod monitor;
mod negotiation;
mod node;
mod payment;
mod score;
mod service;
mod stack;
mod sync;
mod world;

#[cfg(test)]
mod tests;

use std::rc::Rc;

use ray_on_golem::{
    core::{cluster::plan::NodeKind, rng::Seed},
    units::{Glm, Span, Timestamp},
};

use crate::{
    drill::{AUTOSCALER_TICK, BEGINNING, Op, Outcome, PLATFORM, Plan, plan::milli, shape},
    plan::image,
    policy::Policy,
};
use cluster::Cluster;
use service::Service;
use world::Executor;

/// The daemon's answers are of the kind of their requests.
const MISMATCH: &str = "an answer is of the kind of its request";
/// A cluster that is to end has ended after this time.
const END_WITHIN: Span = Span::hours(1);

/// A user and Ray's autoscaler, and the original between them and the daemon.
struct User<'a> {
    plan: &'a Plan,
    executor: Executor,
    service: Rc<Service>,
    cluster: Rc<Cluster>,
    clusters: u64,
    /// How many workers Ray's autoscaler keeps up, if it runs.
    kept: Option<u32>,
}

/// What a user does to a cluster that grows; the original is compared on nothing else.
enum Deed {
    Request(NodeKind, u32),
    Scale(u32),
    Keep(u32),
    Wait(Span),
}

impl Deed {
    fn of(op: Op) -> Option<Self> {
        match op {
            Op::Head => Some(Self::Request(NodeKind::Head, 1)),
            Op::Request(count) => Some(Self::Request(NodeKind::Worker, count)),
            Op::Scale(count) => Some(Self::Scale(count)),
            Op::Keep(count) => Some(Self::Keep(count)),
            Op::Wait(secs) => Some(Self::Wait(Span::secs(secs))),
            Op::Repeat
            | Op::Misuse
            | Op::Terminate(_)
            | Op::TerminateUnknown
            | Op::TerminateAgain(_)
            | Op::Tag(_)
            | Op::Budget(_)
            | Op::Down
            | Op::Switch
            | Op::Shutdown
            | Op::Crash(_)
            | Op::Restart(_)
            | Op::Suspend(_)
            | Op::Block(_)
            | Op::Forget
            | Op::RayFails(_)
            | Op::RayStarts
            | Op::Looks(_)
            | Op::Connect(_)
            | Op::Betray(_)
            | Op::Law(_)
            | Op::Clock(_) => None,
        }
    }
}

/// Whether the original is compared on plans with this operation.
pub(crate) fn knows(op: Op) -> bool {
    Deed::of(op).is_some()
}

/// What a plan comes to in numbers if the original's policy decides.
pub(crate) fn measure(plan: &Plan) -> Outcome {
    let mut user = User::begin(plan);
    user.live();
    let now = user.now();
    let daemon = user.service.world.daemon.borrow();
    let spent = daemon.allocations().iter().map(|book| book.allocation.spent);
    Outcome {
        spent: spent.fold(Glm::ZERO, Glm::plus),
        measures: user.service.meter.borrow().read(now, &daemon),
        ended: now.since(BEGINNING),
        ..Outcome::default()
    }
}

impl<'a> User<'a> {
    fn begin(plan: &'a Plan) -> Self {
        let (scenario, seed) = (plan.scenario(), Seed::new(plan.seed));
        let reputation = Policy::Original.knowledge(&scenario, seed);
        let executor = Executor::new(&scenario, seed, BEGINNING);
        let service = Service::new(executor.world(), PLATFORM, reputation);
        let cluster = Cluster::start(&service, 0, milli(plan.budget));
        Self { plan, executor, service, cluster, clusters: 1, kept: None }
    }

    /// Does all that the plan asks for, from the first call to the last bill.
    fn live(&mut self) {
        self.open();
        for deed in self.plan.ops.iter().filter_map(|op| Deed::of(*op)) {
            self.perform(deed);
        }
        self.end();
    }

    fn now(&self) -> Timestamp {
        self.service.world.now()
    }

    fn run_for(&mut self, span: Span) {
        let until = self.now().plus(span);
        self.executor.run_until(until, || false);
    }

    fn open(&mut self) {
        let service = Rc::clone(&self.service);
        self.service.world.spawn(async move { service.open().await });
        self.run_for(Span::secs(1));
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Request(kind, count) => self.request(kind, count),
            Deed::Scale(count) => self.scale(count),
            Deed::Keep(count) => self.kept = Some(count),
            Deed::Wait(span) => self.wait(span),
        }
    }

    fn request(&mut self, kind: NodeKind, count: u32) {
        if count > 0 && self.cluster.is_running() {
            self.cluster.request(kind, &shape(kind), &image("drill"), count);
        }
    }

    /// Ray's autoscaler asks for what is missing.
    fn scale(&mut self, wanted: u32) {
        let live = u32::try_from(self.cluster.live(NodeKind::Worker)).unwrap_or(u32::MAX);
        self.request(NodeKind::Worker, wanted.saturating_sub(live));
    }

    fn wait(&mut self, span: Span) {
        let until = self.now().plus(span);
        while let Some(workers) = self.kept
            && self.now() < until
        {
            self.keep(workers);
            self.run_for(AUTOSCALER_TICK.min(until.since(self.now())));
        }
        self.run_for(until.since(self.now()));
    }

    /// A cluster that has ended is begun anew.
    fn keep(&mut self, workers: u32) {
        if self.cluster.is_stopped() {
            let budget = milli(self.plan.budget);
            self.cluster = Cluster::start(&self.service, self.clusters, budget);
            self.clusters += 1;
        }
        if self.cluster.live(NodeKind::Head) == 0 {
            self.request(NodeKind::Head, 1);
        }
        self.scale(workers);
    }

    fn end(&mut self) {
        self.service.world.spawn(Rc::clone(&self.cluster).stop());
        let cluster = Rc::clone(&self.cluster);
        let until = self.now().plus(END_WITHIN);
        self.executor.run_until(until, || cluster.is_stopped());
    }
}
