//! A survey: the pipeline of a cluster, stopped before anything is signed.
//!
//! It funds, opens its markets, gathers for the time asked for, tells every provider that it may go,
//! withdraws, gives the funds back, and then answers. It ends in bounded time whatever the daemon
//! does (V4): what could not be undone by then is named.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    TimerKey,
    effects::Effects,
    ids::{MarketId, RequestId},
    market::{
        Goal, Market, MarketPlan,
        appraisal::Appraisal,
        funnel::Funnel,
        limits::Limits,
        spec::{Image, NodeSpec},
        supply::Supply,
    },
    output::{Answer, Notice, Output},
    payment::funds::Funds,
    planted::Bug,
    reputation::Reputation,
    sweep::Sweeper,
};
use crate::{
    units::{Glm, Span, Timestamp},
    yagna::{Decorations, PlatformId},
};

/// After the time asked for, providers are told that they may go.
const SETTLE_TIME: Span = Span::secs(10);
/// Then the demands and the funds are given back.
const SWEEP_TIME: Span = Span::secs(30);
/// What is set aside outlives the survey by so much, should we not be able to give it back.
const FUNDS_OUTLIVE: Span = Span::mins(5);

/// What to survey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyPlan {
    /// The node shape.
    pub spec: NodeSpec,
    /// Its image.
    pub image: Image,
    /// Where we would pay.
    pub platform: PlatformId,
    /// How much to set aside for the time of the survey.
    pub funds: Glm,
    /// How long to gather.
    pub duration: Span,
    /// What is known about providers.
    pub reputation: Reputation,
    /// Negotiations side by side, for each market.
    pub parallel: usize,
    /// Offers remembered, for each market.
    pub pool_capacity: usize,
    /// Whether the report tells what became of each offer.
    #[serde(default)]
    pub explains: bool,
}

/// What a survey found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyReport {
    /// How long it gathered.
    pub gathered: Span,
    /// Whether it was ended before its time.
    pub ended_early: bool,
    /// Whether an allocation backed it.
    pub funded: bool,
    /// What was found on each subnet; the first is the one of `subnet_tag`.
    pub markets: Vec<MarketReport>,
    /// What could not be undone, and what ends it.
    pub left_behind: Vec<Notice>,
}

/// What a survey found on one subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketReport {
    /// The subnet.
    pub subnet_tag: String,
    /// The limits that were applied, in order.
    pub limits: Limits,
    /// How many offers came how far.
    pub funnel: Funnel,
    /// What could be hired.
    pub supply: Vec<Supply>,
    /// What became of each offer, if that was asked for.
    pub appraisals: Vec<Appraisal>,
}

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SurveyError {
    /// One survey at a time.
    #[error("another survey is running")]
    Busy,
    /// The daemon does not accept our app-key.
    #[error("the daemon refused the app-key: {0}")]
    Unauthorized(String),
}

/// How far a running survey is, for progress displays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurveyProgress {
    /// When it stops gathering.
    pub until: Timestamp,
    /// Whether it has stopped.
    pub is_ending: bool,
    /// Offers so far, on all subnets.
    pub initial: u64,
    /// Negotiations under way.
    pub negotiating: u64,
    /// Agreed on so far.
    pub agreed: u64,
    /// Failed so far.
    pub failed: u64,
}

/// A running survey.
pub(super) struct Survey {
    request: RequestId,
    plan: SurveyPlan,
    started: Timestamp,
    until: Timestamp,
    ended: Option<Timestamp>,
    stage: Stage,
    pub(super) funds: Funds,
    pub(super) markets: BTreeMap<MarketId, Market>,
    was_funded: bool,
    error: Option<SurveyError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Gathering,
    Settling,
    Sweeping,
}

impl Survey {
    pub(super) fn start(fx: &mut Effects, request: RequestId, plan: SurveyPlan) -> Self {
        let until = fx.now.plus(plan.duration);
        let lives_until = until.plus(SETTLE_TIME).plus(SWEEP_TIME).plus(FUNDS_OUTLIVE);
        fx.wake(TimerKey::Survey, until);
        let funds = Funds::open(fx, plan.platform.clone(), plan.funds, lives_until);
        Self {
            request,
            plan,
            started: fx.now,
            until,
            ended: None,
            stage: Stage::Gathering,
            funds,
            markets: BTreeMap::new(),
            was_funded: false,
            error: None,
        }
    }

    /// The demands can be paid for: open a market for each subnet.
    pub(super) fn on_funded(&mut self, fx: &mut Effects, decorations: &Decorations) {
        if self.stage != Stage::Gathering {
            return;
        }
        self.was_funded = self.funds.is_funded();
        let spec = Arc::new(self.plan.spec.clone());
        let reputation = Arc::new(self.plan.reputation.clone());
        let subnets =
            [Some(&self.plan.spec.subnet_tag), self.plan.spec.priority_subnet_tag.as_ref()];
        for subnet_tag in subnets.into_iter().flatten() {
            let id = fx.fresh_market();
            let plan = MarketPlan {
                goal: Goal::Survey,
                spec: Arc::clone(&spec),
                subnet_tag: subnet_tag.clone(),
                image: self.plan.image.clone(),
                platform: self.plan.platform.clone(),
                decorations: decorations.clone(),
                reputation: Arc::clone(&reputation),
                parallel: self.plan.parallel,
                pool_capacity: self.plan.pool_capacity,
                explains: self.plan.explains,
            };
            self.markets.insert(id, Market::open(fx, id, plan));
        }
    }

    /// Stops gathering, for the user's or for an error's sake; harmless when it has stopped.
    pub(super) fn end(&mut self, fx: &mut Effects, error: Option<SurveyError>) {
        if self.stage != Stage::Gathering {
            return;
        }
        self.error = error;
        self.stage = Stage::Settling;
        self.ended = Some(fx.now);
        self.funds.stop(fx);
        for market in self.markets.values_mut() {
            market.close(fx);
        }
        fx.wake(TimerKey::Survey, fx.now.plus(SETTLE_TIME));
    }

    pub(super) fn on_timer(&mut self, fx: &mut Effects, sweeper: &mut Sweeper) -> bool {
        match self.stage {
            Stage::Gathering => self.end(fx, None),
            Stage::Settling => self.sweep(fx, sweeper),
            Stage::Sweeping => return true,
        }
        false
    }

    /// Goes on to the next stage when this one has nothing left to do; true when all is done.
    pub(super) fn advance(&mut self, fx: &mut Effects, sweeper: &mut Sweeper) -> bool {
        let is_settled = self.funds.is_settled() && self.markets.values().all(Market::is_settled);
        if self.stage == Stage::Settling && is_settled {
            self.sweep(fx, sweeper);
        }
        self.stage == Stage::Sweeping && sweeper.is_done()
    }

    fn sweep(&mut self, fx: &mut Effects, sweeper: &mut Sweeper) {
        self.stage = Stage::Sweeping;
        for market in self.markets.values_mut() {
            market.withdraw(fx, sweeper);
        }
        self.funds.close(fx, sweeper);
        if fx.planted(Bug::EndUnbounded) {
            fx.timers.cancel(&TimerKey::Survey);
        } else {
            fx.wake(TimerKey::Survey, fx.now.plus(SWEEP_TIME));
        }
    }

    /// Answers; the survey is over.
    pub(super) fn finish(mut self, fx: &mut Effects, sweeper: &mut Sweeper) {
        fx.timers.cancel(&TimerKey::Survey);
        let left_behind = sweeper.give_up(fx);
        for notice in &left_behind {
            fx.notify(notice.clone());
        }
        let id = self.request;
        let result = match self.error.take() {
            Some(error) => Err(error),
            None => Ok(Box::new(self.report(left_behind))),
        };
        fx.emit(Output::Answer { id, answer: Answer::Surveyed(result) });
    }

    fn report(self, left_behind: Vec<Notice>) -> SurveyReport {
        let ended = self.ended.unwrap_or(self.until);
        let markets = self.markets.into_values().map(Market::into_report).collect();
        SurveyReport {
            gathered: ended.since(self.started),
            ended_early: ended < self.until,
            funded: self.was_funded,
            markets,
            left_behind,
        }
    }

    pub(super) fn progress(&self) -> SurveyProgress {
        let mut progress = SurveyProgress {
            until: self.until,
            is_ending: self.stage != Stage::Gathering,
            initial: 0,
            negotiating: 0,
            agreed: 0,
            failed: 0,
        };
        for market in self.markets.values() {
            let funnel = market.funnel();
            progress.initial += funnel.initial;
            progress.negotiating += u64::try_from(market.negotiations()).unwrap_or(u64::MAX);
            progress.agreed += funnel.agreed;
            progress.failed += funnel.failures.values().sum::<u64>();
        }
        progress
    }
}
