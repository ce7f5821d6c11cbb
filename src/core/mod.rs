//! The pure, deterministic state machine that does everything; see [`Machine`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

pub mod autostop;
pub mod backoff;
pub mod cluster;
pub mod experience;
pub mod ids;
pub mod input;
pub mod market;
pub mod output;
pub mod planted;
pub mod record;
pub mod reputation;
pub mod rng;
pub mod survey;
pub mod sweep;
pub mod timers;

pub mod payment;

mod effects;
mod memory;
mod view;

pub use input::{Command, Input, NodeRequest};
pub use output::{Answer, Notice, Output, Probe, RequestError};
pub use record::{Durable, JournalId, Record, Snapshot};
pub use view::{Load, View};

use cluster::{
    Cluster, ClusterCall, ClusterTimer, answer_unknown,
    law::Law,
    plan::ClusterName,
    record::{ClusterRecord, EndReason},
};
use effects::Effects;
use ids::{CallId, ClusterId, MarketId, NodeId, ProbeId, RequestId};
use market::{MarketCall, MarketTimer};
use payment::funds::FundsCall;
use planted::{Bug, Planted};
use record::CommonRecord;
use reputation::Reputation;
use rng::Seed;
use survey::{Survey, SurveyError};
use sweep::{Item, SweepCall, Sweeper};

use crate::{
    units::{Glm, Span, Timestamp},
    yagna::{CallError, PlatformId, Response, SessionId, Status},
};

/// What the machine waits for; timers of the same instant fire in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKey {
    /// The next stage of the survey.
    Survey,
    /// Ask for funds again.
    Funds,
    /// End something of ours, or look for it.
    Sweep(Item),
    /// Something of a market.
    Market(MarketId, MarketTimer),
    /// Something of a cluster.
    Cluster(ClusterId, ClusterTimer),
    /// A shutdown has taken long enough.
    Shutdown,
}

/// A shutdown is over by then, whatever the daemon, providers, and clocks do (V4): a cluster winds up before that, and
/// what it gives back has two minutes to go.
const SHUTDOWN_WITHIN: Span = cluster::WIND_UP_AFTER.plus(Span::mins(2));

/// Why a call was made, so that its reply finds its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Funds(FundsCall),
    Sweep(SweepCall),
    Market(MarketId, MarketCall),
    Cluster(ClusterId, ClusterCall),
    /// Whatever comes back, nothing depends on it.
    Forgotten,
}

/// The timer of a cluster.
const fn timer_of(cluster: ClusterId, timer: ClusterTimer) -> TimerKey {
    TimerKey::Cluster(cluster, timer)
}

/// The whole behaviour of the product, without clock, randomness, or I/O of its own.
///
/// # Contract
///
/// 1. [`handle`](Self::handle) one input, then drain [`poll_output`](Self::poll_output) to `None`,
///    then the next. An assertion enforces it.
/// 2. Execute outputs in order. [`Output::Persist`] is a barrier: what it says must be durable
///    before any later output is executed.
/// 3. After the drain, sleep until [`poll_timeout`](Self::poll_timeout) or until the next input;
///    then `handle(now, Input::Elapsed)` or that input. A spurious `Elapsed` is harmless. After
///    `handle(t, Elapsed)` the next deadline is later than `t`.
/// 4. Time does not go back: an earlier `now` is read as the latest one.
/// 5. Answer each [`Output::Call`] exactly once, the shell's own time-out included, unless the
///    process dies. A reply that nobody waits for is ignored.
///
/// Durable state changes only by [`Durable::apply`], live and in recovery.
pub struct Machine {
    fx: Effects,
    survey: Option<Survey>,
    clusters: BTreeMap<ClusterId, Cluster>,
    sweeper: Sweeper,
    /// What is known about providers, by payment platform.
    reputation: BTreeMap<PlatformId, Arc<Reputation>>,
    is_shutting_down: bool,
    /// Whether the shutdown has taken too long: what is left is told, and goes on at the next start.
    has_given_up: bool,
    outbox: VecDeque<Output>,
}

impl Machine {
    /// A machine that starts from nothing.
    #[must_use]
    pub fn new(seed: Seed, now: Timestamp) -> Self {
        Self::recover(seed, Durable::default(), now)
    }

    /// A machine that goes on after a crash; `durable` is the fold of the journal.
    ///
    /// A survey does not outlive its process: what is left of one is ended. Clusters go on where
    /// they were.
    #[must_use]
    pub fn recover(seed: Seed, durable: Durable, now: Timestamp) -> Self {
        Self::build(seed, Planted::default(), durable, now)
    }

    /// As [`Machine::recover`], with a bug planted.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn with_bug(seed: Seed, bug: Bug, durable: Durable, now: Timestamp) -> Self {
        Self::build(seed, Planted::new(bug), durable, now)
    }

    fn build(seed: Seed, planted: Planted, durable: Durable, now: Timestamp) -> Self {
        let mut machine = Self {
            fx: Effects::new(seed, planted, durable, now),
            survey: None,
            clusters: BTreeMap::new(),
            sweeper: Sweeper::default(),
            reputation: BTreeMap::new(),
            is_shutting_down: false,
            has_given_up: false,
            outbox: VecDeque::new(),
        };
        machine.sweeper.adopt(&mut machine.fx);
        machine.bury_stillborn();
        let clusters: Vec<ClusterId> = machine.fx.durable().clusters().keys().copied().collect();
        for id in clusters {
            let cluster = Cluster::recover(&mut machine.fx, id);
            machine.clusters.insert(id, cluster);
        }
        machine.tend_clusters();
        machine.outbox.extend(machine.fx.take());
        machine
    }

    /// Nothing was done for a cluster of which only the beginning was written.
    fn bury_stillborn(&mut self) {
        let found: Vec<(ClusterId, ClusterName)> =
            self.fx.durable().stillborn().map(|(id, name)| (id, name.clone())).collect();
        for (cluster, name) in found {
            let next_node = self.fx.durable().next_node(&name);
            self.fx.record_common(CommonRecord::ClusterClosed { cluster, name, next_node });
        }
    }

    /// Takes one input.
    ///
    /// # Panics
    ///
    /// If outputs of the previous call have not been drained.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        assert!(self.outbox.is_empty(), "drain poll_output before the next handle");
        self.fx.now = self.fx.now.max(now);
        match input {
            Input::Requested { id, command } => self.on_request(id, command),
            Input::Replied { call, result } => self.on_reply(call, result),
            Input::Probed { probe, outcome } => self.on_probed(probe, outcome),
            Input::Elapsed => self.on_elapsed(),
        }
        self.advance_survey();
        self.tend_clusters();
        self.outbox.extend(self.fx.take());
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// The next deadline, and what it is for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, TimerKey)> {
        self.fx.timers.next().map(|(at, key)| (at, *key))
    }

    /// What can be looked at without asking.
    #[must_use]
    pub const fn view(&self) -> View<'_> {
        View(self)
    }

    fn on_request(&mut self, id: RequestId, command: Command) {
        match command {
            Command::Survey(plan) if self.survey.is_none() => {
                self.survey = Some(Survey::start(&mut self.fx, id, *plan));
            }
            Command::Survey(_) => {
                let answer = Answer::Surveyed(Err(SurveyError::Busy));
                self.fx.emit(Output::Answer { id, answer });
            }
            Command::EndSurvey => {
                if let Some(survey) = &mut self.survey {
                    survey.end(&mut self.fx, None);
                }
                let answer = Answer::Ending(self.survey.is_some());
                if !self.fx.planted(Bug::AnswerForgotten) {
                    self.fx.emit(Output::Answer { id, answer });
                }
            }
            Command::RequestNodes(_)
            | Command::TerminateNode { .. }
            | Command::SetTags { .. }
            | Command::EndCluster { .. }
            | Command::SetBudget { .. }
            | Command::SetLaw { .. }
            | Command::HeadLooked { .. }
            | Command::Connected { .. }
            | Command::Inform { .. }
            | Command::ClockSetBack
            | Command::Shutdown => {
                let answer = self.answer(command);
                self.fx.emit(Output::Answer { id, answer });
            }
        }
    }

    /// Does what is asked of clusters, and says what to answer.
    fn answer(&mut self, command: Command) -> Answer {
        match command {
            Command::RequestNodes(request)
                if self.is_shutting_down && !self.fx.planted(Bug::ShutdownIgnored) =>
            {
                answer_unknown(&Command::RequestNodes(request), RequestError::ShuttingDown)
            }
            Command::RequestNodes(request) => {
                let current = self.current(&request.cluster);
                let id = match request.only_for {
                    Some(id) => current.filter(|current| *current == id),
                    None => Some(self.cluster_for(&request)),
                };
                let fx = &mut self.fx;
                let cluster = id.and_then(|id| self.clusters.get_mut(&id));
                let nodes = cluster.map(|cluster| cluster.request_nodes(fx, &request));
                Answer::NodesRequested(nodes.unwrap_or(Err(RequestError::UnknownCluster)))
            }
            Command::TerminateNode { cluster, node } => {
                Answer::NodeTerminated(
                    self.with_node(&cluster, node, |it, fx| it.terminate_node(fx, node)),
                )
            }
            Command::SetTags { cluster, node, tags } => {
                Answer::TagsSet(
                    self.with_node(&cluster, node, |it, fx| it.set_tags(fx, node, tags)),
                )
            }
            Command::EndCluster { cluster } => match self.current(&cluster) {
                Some(id) => {
                    if let Some(cluster) = self.clusters.get_mut(&id) {
                        cluster.end(&mut self.fx, EndReason::Asked);
                    }
                    Answer::ClusterEnding(Ok(()))
                }
                None => Answer::ClusterEnding(Err(RequestError::UnknownCluster)),
            },
            Command::SetBudget { cluster, total } => {
                Answer::BudgetSet(self.set_budget(&cluster, total))
            }
            Command::SetLaw { cluster, law } => Answer::LawSet(self.set_law(&cluster, *law)),
            Command::HeadLooked { cluster, has_load } => {
                self.note_usage(&cluster, |it, fx| it.on_look(fx, has_load))
            }
            Command::Connected { cluster, connections } => {
                self.note_usage(&cluster, |it, fx| it.on_connections(fx, connections))
            }
            Command::Inform { platform, reputation } => {
                self.fx.memory.forget(&platform);
                for cluster in self.clusters.values_mut() {
                    cluster.inform(&mut self.fx, &platform, &reputation);
                }
                self.reputation.insert(platform, reputation);
                Answer::Informed
            }
            Command::ClockSetBack => {
                for cluster in self.clusters.values_mut() {
                    cluster.read_again(&mut self.fx);
                }
                Answer::Informed
            }
            Command::Shutdown => {
                self.shut_down();
                Answer::ShuttingDown
            }
            Command::Survey(_) | Command::EndSurvey => Answer::Ending(false),
        }
    }

    fn set_budget(&mut self, name: &ClusterName, total: Glm) -> Result<(), RequestError> {
        let id = self.current(name).ok_or(RequestError::UnknownCluster)?;
        let cluster = self.clusters.get_mut(&id).ok_or(RequestError::UnknownCluster)?;
        cluster.set_budget(&mut self.fx, total)
    }

    fn set_law(&mut self, name: &ClusterName, law: Law) -> Result<(), RequestError> {
        let id = self.current(name).ok_or(RequestError::UnknownCluster)?;
        let cluster = self.clusters.get(&id).ok_or(RequestError::UnknownCluster)?;
        cluster.set_law(&mut self.fx, law);
        Ok(())
    }

    /// Ends all clusters; requests for nodes are refused from now on.
    fn shut_down(&mut self) {
        if !self.is_shutting_down && !self.fx.planted(Bug::ShutdownEndless) {
            self.fx.wake(TimerKey::Shutdown, self.fx.now.plus(SHUTDOWN_WITHIN));
        }
        self.is_shutting_down = true;
        for cluster in self.clusters.values_mut() {
            cluster.end(&mut self.fx, EndReason::Shutdown);
        }
    }

    /// The cluster that a request belongs to; one that ends is succeeded by a new one.
    fn cluster_for(&mut self, request: &NodeRequest) -> ClusterId {
        if let Some(id) = self.current(&request.cluster) {
            return id;
        }
        let fx = &mut self.fx;
        let (id, name) = (fx.durable().next_cluster(), request.cluster.clone());
        let first_node = match fx.planted(Bug::NodeIdsReused) {
            true => NodeId(0),
            false => fx.durable().next_node(&name),
        };
        let drawn =
            |nth| fx.seed.draw("session", fx.now.as_unix_micros(), u64::from(id.0) << 8 | nth);
        let session = SessionId::from(format!("{:016x}{:016x}", drawn(0), drawn(1)));
        fx.record_common(CommonRecord::ClusterOpened { cluster: id, name: name.clone() });
        let plan = Box::new(request.plan.clone());
        let opened = ClusterRecord::Opened { name, session, plan, at: fx.now, first_node };
        fx.record_cluster(id, opened);
        let mut cluster = Cluster::open(fx, id);
        let platform = &request.plan.platform;
        if let Some(reputation) = self.reputation.get(platform) {
            cluster.inform(fx, platform, reputation);
        }
        self.clusters.insert(id, cluster);
        id
    }

    /// The cluster of this name that does not end.
    fn current(&self, name: &ClusterName) -> Option<ClusterId> {
        let mut clusters = self.fx.durable().clusters().iter().rev();
        clusters.find(|(_, it)| it.name == *name && it.ending.is_none()).map(|(id, _)| *id)
    }

    /// Tells the cluster of this name what was heard of its use.
    fn note_usage(
        &mut self,
        name: &ClusterName,
        note: impl FnOnce(&mut Cluster, &mut Effects),
    ) -> Answer {
        let id = self.current(name);
        let cluster = id.and_then(|id| self.clusters.get_mut(&id));
        let noted = cluster.map(|cluster| note(cluster, &mut self.fx));
        Answer::UsageNoted(noted.ok_or(RequestError::UnknownCluster))
    }

    /// Does something with a node, in whichever cluster of that name it is.
    fn with_node<T>(
        &mut self,
        name: &ClusterName,
        node: NodeId,
        act: impl FnOnce(&mut Cluster, &mut Effects) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let mut of_name =
            self.fx.durable().clusters().iter().rev().filter(|(_, it)| it.name == *name).peekable();
        if of_name.peek().is_none() {
            return Err(RequestError::UnknownCluster);
        }
        let id = of_name.find(|(_, it)| it.nodes.contains_key(&node)).map(|(id, _)| *id);
        let cluster = id.and_then(|id| self.clusters.get_mut(&id));
        cluster.map_or(Err(RequestError::UnknownNode), |cluster| act(cluster, &mut self.fx))
    }

    fn on_probed(&mut self, probe: ProbeId, outcome: Result<(), String>) {
        if let Some(Purpose::Cluster(id, call)) = self.fx.finish_probe(probe)
            && let Some(cluster) = self.clusters.get_mut(&id)
        {
            cluster.on_probed(&mut self.fx, call, outcome);
        }
    }

    /// Lets every cluster react to what changed in it; closes those of which nothing is left.
    fn tend_clusters(&mut self) {
        let (fx, sweeper) = (&mut self.fx, &mut self.sweeper);
        self.clusters.retain(|_, cluster| !cluster.tend(fx, sweeper));
    }

    fn on_reply(&mut self, call: CallId, result: Result<Response, CallError>) {
        let Some(purpose) = self.fx.finish(call) else {
            return;
        };
        if let (Err(error), Some(survey)) = (&result, &mut self.survey)
            && error.is_refusal(Status::UNAUTHORIZED)
        {
            survey.end(&mut self.fx, Some(SurveyError::Unauthorized(error.to_string())));
        }
        match purpose {
            Purpose::Sweep(call) => self.sweeper.on_reply(&mut self.fx, call, result),
            Purpose::Funds(call) => {
                let Some(survey) = &mut self.survey else { return };
                let decorations =
                    survey.funds.on_reply(&mut self.fx, call, result, &mut self.sweeper);
                if let Some(decorations) = decorations {
                    survey.on_funded(&mut self.fx, &decorations);
                }
            }
            Purpose::Cluster(id, call) => {
                if let Some(cluster) = self.clusters.get_mut(&id) {
                    cluster.on_reply(&mut self.fx, call, result);
                }
            }
            Purpose::Forgotten => {}
            Purpose::Market(id, call) if self.owner(id).is_some() => {
                let (fx, sweeper) = (&mut self.fx, &mut self.sweeper);
                let owner = self.clusters.values_mut().find(|cluster| cluster.has_market(id));
                if let Some(cluster) = owner {
                    cluster.on_market_reply(fx, id, call, result, sweeper);
                }
            }
            Purpose::Market(id, call) => {
                let market = self.survey.as_mut().and_then(|survey| survey.markets.get_mut(&id));
                if let Some(market) = market {
                    market.on_reply(&mut self.fx, call, result, &mut self.sweeper);
                }
            }
        }
    }

    fn on_elapsed(&mut self) {
        // Each timer fires at most once, so that a handler that arms one again cannot hold us here.
        for _ in 0..self.fx.timers.len() {
            let Some(key) = self.fx.timers.pop_due(self.fx.now) else { break };
            match key {
                TimerKey::Survey => self.on_survey_timer(),
                TimerKey::Funds => {
                    if let Some(survey) = &mut self.survey {
                        survey.funds.on_timer(&mut self.fx);
                    }
                }
                TimerKey::Sweep(item) => self.sweeper.on_timer(&mut self.fx, item),
                TimerKey::Shutdown => self.give_up(),
                TimerKey::Cluster(id, timer) => {
                    if let Some(cluster) = self.clusters.get_mut(&id) {
                        cluster.on_timer(&mut self.fx, timer);
                    }
                }
                TimerKey::Market(id, timer) if self.owner(id).is_some() => {
                    let (fx, sweeper) = (&mut self.fx, &mut self.sweeper);
                    let owner = self.clusters.values_mut().find(|cluster| cluster.has_market(id));
                    if let Some(cluster) = owner {
                        cluster.on_market_timer(fx, id, timer, sweeper);
                    }
                }
                TimerKey::Market(id, timer) => {
                    let market =
                        self.survey.as_mut().and_then(|survey| survey.markets.get_mut(&id));
                    if let Some(market) = market {
                        market.on_timer(&mut self.fx, timer, &mut self.sweeper);
                    }
                }
            }
        }
    }

    /// Says what a shutdown has not ended in its time. The journals keep it: the next start goes on with it.
    fn give_up(&mut self) {
        self.has_given_up = true;
        let left: Vec<Notice> = self
            .clusters
            .values()
            .filter_map(|it| it.left(&self.fx))
            .chain(self.sweeper.left())
            .collect();
        for notice in left {
            self.fx.notify(notice);
        }
    }

    fn owner(&self, market: MarketId) -> Option<ClusterId> {
        self.clusters.iter().find(|(_, cluster)| cluster.has_market(market)).map(|(id, _)| *id)
    }

    fn on_survey_timer(&mut self) {
        if let Some(mut survey) = self.survey.take() {
            if survey.on_timer(&mut self.fx, &mut self.sweeper) {
                survey.finish(&mut self.fx, &mut self.sweeper);
            } else {
                self.survey = Some(survey);
            }
        }
    }

    fn advance_survey(&mut self) {
        if let Some(mut survey) = self.survey.take() {
            if survey.advance(&mut self.fx, &mut self.sweeper) {
                survey.finish(&mut self.fx, &mut self.sweeper);
            } else {
                self.survey = Some(survey);
            }
        }
    }
}
