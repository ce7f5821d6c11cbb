//! Drills: a plan is run on clusters, with faults first, then without, and then everything must end.

use std::collections::BTreeSet;

use ray_on_golem::{
    core::{
        Answer, Command, NodeRequest,
        cluster::{
            plan::{ClusterName, NodeKind, NodeOrder},
            state::{ClusterState, Network, NodeState},
        },
        ids::NodeId,
        payment::ledger,
        planted::Bug,
        rng::Seed,
    },
    units::{Glm, Span, Timestamp},
    yagna::NetworkPath,
};

pub mod character;
pub mod generate;
pub mod plan;
pub mod shrink;

pub(crate) mod known;

mod autoscaler;
mod disk;
mod engine;
mod measure;
mod requests;
mod trace;

pub(crate) use autoscaler::AUTOSCALER_TICK;
pub(crate) use engine::PLATFORM;
pub use engine::{BEGINNING, Engine, Setup, Told};
pub use generate::Mode;
pub use plan::{Choosing, Looks, Op, Plan};
pub(crate) use requests::shape;

use character::Character;
use plan::milli;

use crate::{
    checker::{Phase, Violation},
    fault::OutageKind,
    meter::Measures,
    policy::Policy,
    provider,
    scenario::{Bus, Daemon, Scenario},
};

/// A node that is asked for in fair times is up, or given up with a reason, within this time (V1).
const START_WITHIN: Span = Span::mins(21);
/// A cluster that is to end has ended within this time (V4), as far as providers let it.
const END_WITHIN: Span = Span::mins(16);
/// Providers that answer let everything end within this time.
const GONE_WITHIN: Span = Span::mins(30);
/// After the last operation faults go on for so long.
const TAIL: Span = Span::secs(90);
/// Somebody who blacklists a provider does so for this time.
const BLOCK: Span = Span::mins(10);
/// What a drill came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// Required situations that were reached.
    pub marks: BTreeSet<&'static str>,
    /// Inputs that the machine took.
    pub steps: u64,
    /// How often the process was started again.
    pub lives: u32,
    /// What happened, if that was asked for.
    pub told: Vec<Told>,
    /// What was spent.
    pub spent: Glm,
    /// How soon nodes were up, how long, and what they cost.
    pub measures: Measures,
    /// When it was over, since the beginning.
    pub ended: Span,
}

/// A plan at work.
struct Drill<'a> {
    plan: &'a Plan,
    engine: Engine,
    policy: Option<Policy>,
    /// Which of the two clusters requests are about.
    current: usize,
    /// How many workers Ray's autoscaler keeps up, if it runs.
    kept: Option<u32>,
    /// What the autoscalers of heads say of the load.
    looks: Looks,
    latest: Option<NodeRequest>,
    keys: u32,
    is_shut_down: bool,
}

impl Plan {
    /// Runs it; with a story if that is asked for.
    #[must_use]
    pub fn run(&self, bug: Option<Bug>, is_told: bool) -> Outcome {
        let mut drill = self.begin(None, bug, is_told);
        drill.engine.run_for(TAIL);
        drill.engine.heal();
        drill.demand_progress();
        drill.end_everything();
        drill.outcome()
    }

    /// Runs it for its numbers: only what it asks for is done, and then everything ends.
    #[must_use]
    pub fn measure(&self) -> Outcome {
        self.measure_as(None)
    }

    /// The same, where one of the machine's policies decides.
    pub(crate) fn measure_with(&self, policy: Policy) -> Outcome {
        self.measure_as(Some(policy))
    }

    fn measure_as(&self, policy: Option<Policy>) -> Outcome {
        let mut drill = self.begin(policy, None, false);
        drill.engine.heal();
        drill.end_everything();
        drill.outcome()
    }

    /// Its operations.
    fn begin(&self, policy: Option<Policy>, bug: Option<Bug>, is_told: bool) -> Drill<'_> {
        let (scenario, seed) = (self.scenario(), Seed::new(self.seed));
        let knowledge = policy.map(|policy| policy.knowledge(&scenario, seed));
        let setup = Setup {
            scenario,
            seed,
            is_wired: self.is_wired,
            bug,
            crash_chance: self.crash_chance,
            is_told,
        };
        let mut drill = Drill {
            plan: self,
            engine: Engine::new(setup),
            policy,
            current: 0,
            kept: None,
            looks: Looks::Never,
            latest: None,
            keys: 0,
            is_shut_down: false,
        };
        if let Some(knowledge) = knowledge {
            drill.engine.know(knowledge);
        }
        for op in &self.ops {
            drill.perform(*op);
        }
        drill
    }

    /// The network of the plan.
    pub(crate) fn scenario(&self) -> Scenario {
        let characters = self.market.iter().map(|(it, count)| it.population(*count));
        let others = self.populations.iter().map(|it| it.population.clone());
        let populations = characters.chain(others).collect();
        Scenario {
            about: "a plan".to_owned(),
            daemon: Daemon {
                wallet: self.wallet(),
                warm: 1_000_000,
                bus: self.bus,
                ..Daemon::default()
            },
            populations,
            faults: self.faults.clone(),
        }
    }
}

impl Drill<'_> {
    fn perform(&mut self, op: Op) {
        if self.engine.is_broken() {
            return;
        }
        match op {
            Op::Head => self.request(NodeKind::Head, 1),
            Op::Request(count) => self.request(NodeKind::Worker, count),
            Op::Scale(count) => self.scale(count),
            Op::Keep(count) => self.kept = Some(count),
            Op::Repeat => self.repeat(|order| order),
            Op::Misuse => self.repeat(|order| NodeOrder {
                count: order.count.checked_add(1).unwrap_or(1),
                ..order
            }),
            Op::Terminate(place) => {
                self.terminate(place, |state| state <= NodeState::Running);
            }
            Op::TerminateAgain(place) => {
                self.terminate(place, |state| state > NodeState::Running);
            }
            Op::TerminateUnknown => {
                let cluster = self.name();
                let node = NodeId(1_000_000);
                self.engine.command(Command::TerminateNode { cluster, node });
            }
            Op::Tag(place) => {
                let live = self.nodes(|state| state <= NodeState::Running);
                if !live.is_empty() {
                    self.say_of_ray(live[place as usize % live.len()], &format!("{place}"));
                }
            }
            Op::Budget(thousandths) => {
                let (cluster, total) = (self.name(), milli(thousandths));
                self.engine.command(Command::SetBudget { cluster, total });
            }
            Op::Down => {
                let cluster = self.name();
                self.engine.command(Command::EndCluster { cluster });
            }
            Op::Switch => self.current = 1 - self.current,
            Op::Shutdown => self.shut_down(),
            Op::Wait(secs) => self.wait(Span::secs(secs)),
            Op::Crash(outputs) => self.engine.crash_in = Some(outputs),
            Op::Restart(secs) => {
                self.engine.begin_outage(Span::secs(secs), OutageKind::Restart);
            }
            Op::Suspend(minutes) => self.engine.suspend(Span::mins(minutes)),
            Op::Block(place) => self.block(place),
            Op::Forget => self.engine.forget_agreements(),
            Op::RayFails(count) => self.ray_fails(count),
            Op::RayStarts => {
                if let Some(head) = self.live(NodeKind::Head).first() {
                    self.say_of_ray(*head, "up-to-date");
                }
            }
            Op::Looks(looks) => self.looks = looks,
            Op::Connect(connections) => {
                let cluster = self.name();
                self.engine.command(Command::Connected { cluster, connections });
            }
            Op::Betray(way) => self.betray(way),
            Op::Law(workers) => {
                let (cluster, law) = (self.name(), Box::new(self.law(workers)));
                self.engine.command(Command::SetLaw { cluster, law });
            }
            Op::Clock(minutes) => self.engine.set_clock(minutes),
        }
    }

    fn name(&self) -> ClusterName {
        ClusterName::from(["alpha", "beta"][self.current])
    }

    fn state(&self) -> Option<&ClusterState> {
        let name = self.name();
        let clusters = self.engine.machine.view().durable().clusters().values();
        clusters.rev().find(|cluster| cluster.name == name && cluster.ending.is_none())
    }

    /// The nodes of the current cluster that are in such a state.
    fn nodes(&self, is_such: fn(NodeState) -> bool) -> Vec<NodeId> {
        let Some(state) = self.state() else { return Vec::new() };
        let such = state.nodes.iter().filter(|(_, node)| is_such(node.state));
        such.map(|(id, _)| *id).collect()
    }

    /// The nodes of a kind that come up, or are up.
    fn live(&self, kind: NodeKind) -> Vec<NodeId> {
        let nodes = self.state().into_iter().flat_map(|state| &state.nodes);
        let live = nodes.filter(|(_, node)| node.kind == kind && node.state <= NodeState::Running);
        live.map(|(id, _)| *id).collect()
    }

    /// Ends the node of a place among those that are in such a state.
    fn terminate(&mut self, place: u32, is_such: fn(NodeState) -> bool) {
        let nodes = self.nodes(is_such);
        if !nodes.is_empty() {
            let node = nodes[place as usize % nodes.len()];
            let cluster = self.name();
            self.engine.command(Command::TerminateNode { cluster, node });
        }
    }

    /// Somebody blacklists a provider for a while.
    fn block(&mut self, place: u32) {
        let providers: u32 = self.plan.market.values().sum();
        if providers > 0 {
            let nth = u64::from(place % providers);
            let provider = provider::identity(Seed::new(self.plan.seed), nth);
            let until = self.engine.now.plus(BLOCK);
            self.engine.block(provider, until);
        }
    }

    fn shut_down(&mut self) {
        if self.engine.command(Command::Shutdown).is_some() {
            self.is_shut_down = true;
        }
    }

    /// In fair times every node that is asked for comes up, or is given up for a reason that holds.
    fn demand_progress(&mut self) {
        if self.engine.is_broken() {
            return;
        }
        let since = self.engine.now;
        self.engine.run_until(since.plus(Span::secs(30)), |_| false);
        let has_head = self.state().is_some_and(|state| {
            state
                .nodes
                .values()
                .any(|node| node.kind == NodeKind::Head && node.state <= NodeState::Running)
        });
        if !has_head {
            self.request(NodeKind::Head, 1);
        }
        self.request(NodeKind::Worker, 1);
        let was_crowded = self.is_crowded();
        let until = self.engine.now.plus(START_WITHIN);
        self.engine.run_until(until, |engine| !has_pending(engine));
        self.check_progress(since, was_crowded);
        if !self.engine.is_broken() {
            self.engine.run_for(Span::mins(7));
        }
    }

    /// V1, and V5: what did not come up has a reason that holds.
    fn check_progress(&mut self, since: Timestamp, was_crowded: bool) {
        if self.engine.is_broken() {
            return;
        }
        if has_pending(&self.engine) {
            self.violate("V1", "a node is neither up nor given up".to_owned());
            return;
        }
        let is_excused = was_crowded || self.is_crowded() || self.is_excused();
        let durable = self.engine.machine.view().durable();
        let failed = durable.clusters().values().find_map(|cluster| {
            let (id, node) = cluster.nodes.iter().find(|(_, node)| {
                node.asked >= since
                    && node.state > NodeState::Running
                    && node.log.iter().any(|line| line.contains("not ready within"))
            })?;
            let last = node.log.iter().rev().nth(1).cloned().unwrap_or_default();
            Some(format!("{id} of {} did not come up; before that: {last}", cluster.name))
        });
        if let Some(what) = failed
            && !is_excused
        {
            self.violate("V5", what);
        }
    }

    /// Whether there are few honest providers for the nodes of all clusters.
    fn is_crowded(&self) -> bool {
        let durable = self.engine.machine.view().durable();
        let honest = self.plan.market.get(&Character::Honest).copied().unwrap_or(0);
        let busy: usize = durable.clusters().values().map(|it| it.nodes.len()).sum();
        (honest as usize) < busy + 3
    }

    /// An independent look at whether nodes could have come up: money, and a network that is there.
    fn is_excused(&self) -> bool {
        let durable = self.engine.machine.view().durable();
        let is_poor = self.plan.wallet < 1_000_000 || self.plan.max_per_hour.is_some();
        let is_short = durable.clusters().values().any(|cluster| {
            matches!(cluster.network, Network::Lost { .. })
                || ledger::committed(cluster).plus(Glm::from_whole(1)) > cluster.budget
        });
        // Providers are left alone for a while after a failure, whoever's it was.
        let was_faulty = self.plan.faults != crate::fault::Faults::default()
            || self.plan.crash_chance > 0
            || self.plan.market.len() > 1
            || self.plan.ops.iter().any(|op| {
                matches!(
                    op,
                    Op::Crash(_)
                        | Op::Restart(_)
                        | Op::Suspend(_)
                        | Op::Clock(_)
                        | Op::Forget
                        | Op::RayFails(_)
                )
            });
        let has_no_way = self.plan.path == Some(NetworkPath::Bus) && self.plan.bus != Bus::Good;
        is_poor || is_short || was_faulty || has_no_way
    }

    /// Everything is asked to end, and nothing must be left.
    fn end_everything(&mut self) {
        if self.engine.is_broken() {
            return;
        }
        self.engine.enter(Phase::Ending);
        self.shut_down();
        self.request(NodeKind::Worker, 1);
        let until = self.engine.now.plus(END_WITHIN);
        self.engine.run_until(until, |engine| engine.machine.view().is_idle());
        if self.engine.is_broken() {
            return;
        }
        if let Some(what) = left(&self.engine) {
            self.violate("V4", what);
            return;
        }
        let until = self.engine.now.plus(GONE_WITHIN);
        self.engine.run_until(until, |engine| engine.machine.view().is_idle());
        self.engine.finish();
    }

    fn violate(&mut self, invariant: &'static str, what: String) {
        let at = self.engine.now;
        self.engine.findings.violations.push(Violation { invariant, at, what });
    }

    fn outcome(self) -> Outcome {
        let engine = self.engine;
        let spent = engine.daemon.allocations().iter().map(|book| book.allocation.spent);
        Outcome {
            violation: engine.findings.violations.first().cloned(),
            spent: spent.fold(Glm::ZERO, Glm::plus),
            marks: engine.findings.marks,
            steps: engine.steps,
            lives: engine.life,
            told: engine.told,
            measures: engine.follower.read(engine.now, &engine.daemon),
            ended: engine.now.since(BEGINNING),
        }
    }
}

fn has_pending(engine: &Engine) -> bool {
    let clusters = engine.machine.view().durable().clusters().values();
    clusters.flat_map(|cluster| cluster.nodes.values()).any(|node| node.state == NodeState::Pending)
}

/// What a manager that ends still holds.
fn left(engine: &Engine) -> Option<String> {
    let daemon = &engine.daemon;
    if let Some(book) = daemon.allocations().iter().find(|book| !book.is_released) {
        return Some(format!("allocation {} is still set aside", book.allocation.id));
    }
    if let Some(book) = daemon.networks().iter().find(|book| book.removed.is_none()) {
        return Some(format!("network {} is still there", book.network.id));
    }
    if let Some(book) = daemon.demands().iter().find(|book| book.end.is_none()) {
        return Some(format!("demand {} is still published", book.id));
    }
    let clusters = engine.machine.view().durable().clusters().values();
    let node = clusters
        .flat_map(|cluster| &cluster.nodes)
        .find(|(_, node)| node.state < NodeState::Terminated);
    node.map(|(id, _)| format!("{id} has not ended"))
}

/// Whether an answer is a refusal.
#[must_use]
pub fn is_refusal(answer: &Answer) -> bool {
    matches!(answer, Answer::NodesRequested(Err(_)) | Answer::NodeTerminated(Err(_)))
}
