//! The pure, deterministic state machine that does everything; see [`Machine`].

use std::collections::VecDeque;

pub mod autostop;
pub mod backoff;
pub mod cluster;
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

mod effects;
mod payment;

pub use input::{Command, Input};
pub use output::{Answer, Notice, Output};
pub use record::{Durable, Record};

use effects::Effects;
use ids::{CallId, MarketId, RequestId};
use market::{MarketCall, MarketTimer};
use payment::funds::FundsCall;
use planted::{Bug, Planted};
use rng::Seed;
use survey::{Survey, SurveyError, SurveyProgress};
use sweep::{Item, SweepCall, Sweeper};

use crate::{
    units::Timestamp,
    yagna::{CallError, Response, Status},
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
}

/// Why a call was made, so that its reply finds its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Funds(FundsCall),
    Sweep(SweepCall),
    Market(MarketId, MarketCall),
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
    sweeper: Sweeper,
    outbox: VecDeque<Output>,
}

/// What can be looked at without asking: no input, no record.
#[derive(Clone, Copy)]
pub struct View<'a>(&'a Machine);

/// How much of each bounded thing there is (B1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Calls whose reply is awaited.
    pub calls: usize,
    /// Armed timers.
    pub timers: usize,
    /// Offers remembered, in the fullest market.
    pub offers: usize,
    /// Negotiations, in the busiest market.
    pub negotiations: usize,
    /// Things that are being ended.
    pub unwanted: usize,
}

impl Machine {
    /// A machine that starts from nothing.
    #[must_use]
    pub fn new(seed: Seed, now: Timestamp) -> Self {
        Self::recover(seed, Durable::default(), now)
    }

    /// A machine that goes on after a crash; `durable` is the fold of the journal.
    ///
    /// A survey does not outlive its process: what is left of one is ended.
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
            sweeper: Sweeper::default(),
            outbox: VecDeque::new(),
        };
        machine.sweeper.adopt(&mut machine.fx);
        machine.outbox.extend(machine.fx.take());
        machine
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
            Input::Probed { .. } => {}
            Input::Elapsed => self.on_elapsed(),
        }
        self.advance_survey();
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
            | Command::Shutdown => {}
        }
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

impl<'a> View<'a> {
    /// The durable state.
    #[must_use]
    pub fn durable(self) -> &'a Durable {
        self.0.fx.durable()
    }

    /// How far the running survey is.
    #[must_use]
    pub fn survey(self) -> Option<SurveyProgress> {
        self.0.survey.as_ref().map(Survey::progress)
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_idle(self) -> bool {
        self.0.survey.is_none() && self.0.sweeper.is_done()
    }

    /// How much of each bounded thing there is.
    #[must_use]
    pub fn load(self) -> Load {
        let markets = self.0.survey.iter().flat_map(|survey| survey.markets.values());
        let (offers, negotiations) = markets.fold((0, 0), |(offers, negotiations), market| {
            (offers.max(market.pool_size()), negotiations.max(market.negotiations()))
        });
        Load {
            calls: self.0.fx.calls_in_flight(),
            timers: self.0.fx.timers.len(),
            offers,
            negotiations,
            unwanted: self.0.sweeper.len(),
        }
    }
}
