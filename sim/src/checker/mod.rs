//! Looks at each step of a world with books of its own, and says which invariant is broken.
//!
//! A checker never asks the machine what it thinks of money or of the market: prices, caps, and
//! sums are computed here anew, from the daemon's books and from what went over the wire. There is
//! one file for each family of invariants of `ARCHITECTURE.md`; [`INVARIANTS`] lists them all.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each family looks at the few requests and records that concern it"
)]

mod api;
mod bills;
mod bounds;
mod catalogue;
mod clusters;
mod facts;
mod growth;
mod health;
mod law;
mod ledger;
mod lifecycle;
mod liveness;
mod market;
mod money;
mod negotiation;
mod newcomers;
mod oracle;
mod ray;
mod recovery;
mod situations;
mod subject;
mod usage;
mod waiting;
mod way;

pub use catalogue::{INVARIANTS, Kind};
pub use situations::SITUATIONS;

use facts::Facts;
use ray_on_golem::{
    core::{Durable, Input, Machine, Output},
    units::{Span, Timestamp},
    yagna::{CallError, Request, Response},
};

use crate::yagna::SimYagna;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its id.
    pub invariant: &'static str,
    /// When it was seen.
    pub at: Timestamp,
    /// What was seen.
    pub what: String,
}

/// What a checker may look at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Virtual time.
    pub now: Timestamp,
    /// The machine.
    pub machine: &'a Machine,
    /// The fold of what was written to the simulated disk.
    pub durable: &'a Durable,
    /// The daemon, and the network behind it.
    pub daemon: &'a SimYagna,
    /// Where the run stands.
    pub phase: Phase,
    /// How often the process was started before.
    pub life: u32,
    /// Whether the daemon dates by the same clock.
    pub has_one_clock: bool,
    /// Whether the daemon has told wrong ids.
    pub has_lied: bool,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Things go wrong.
    Faulty,
    /// Nothing goes wrong from here on; what is asked for must come true in bounded time.
    Fair,
    /// Everything was asked to end.
    Ending,
}

/// What checkers have to say.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Broken invariants, the first one first.
    pub violations: Vec<Violation>,
    /// Required situations that were reached, by name.
    pub marks: std::collections::BTreeSet<&'static str>,
}

/// One family of invariants.
pub trait Checker {
    /// The machine is about to be given an input.
    fn on_input(&mut self, _scene: &Scene<'_>, _input: &Input, _findings: &mut Findings) {}

    /// The machine wants this done; everything before it was done.
    fn on_output(&mut self, _scene: &Scene<'_>, _output: &Output, _findings: &mut Findings) {}

    /// The answer to a request of this life is about to reach the machine.
    fn on_result(
        &mut self,
        _scene: &Scene<'_>,
        _request: &Request,
        _result: &Result<Response, CallError>,
        _findings: &mut Findings,
    ) {
    }

    /// An input was handled, and all its outputs were done.
    fn on_step(&mut self, _scene: &Scene<'_>, _findings: &mut Findings) {}

    /// The process died; what it was told to do and had not done is lost.
    fn on_crash(&mut self, _scene: &Scene<'_>, _findings: &mut Findings) {}

    /// The process was started again and has recovered; its first outputs were done.
    fn on_recovery(&mut self, _scene: &Scene<'_>, _findings: &mut Findings) {}

    /// The run entered another phase.
    fn on_phase(&mut self, _scene: &Scene<'_>, _findings: &mut Findings) {}

    /// The run is over.
    fn at_end(&mut self, _scene: &Scene<'_>, _findings: &mut Findings) {}
}

impl Findings {
    fn violate(&mut self, invariant: &'static str, at: Timestamp, what: impl Into<String>) {
        self.violations.push(Violation { invariant, at, what: what.into() });
    }

    fn reach(&mut self, situation: &'static str) {
        self.marks.insert(situation);
    }
}

/// What a family looks at: the scene, and what all families know.
#[derive(Clone, Copy)]
struct Look<'a> {
    scene: &'a Scene<'a>,
    facts: &'a Facts,
}

impl Look<'_> {
    const fn now(&self) -> Timestamp {
        self.scene.now
    }
}

/// One family of invariants; what it looks at has been entered into the common books before.
trait Family {
    fn on_input(&mut self, _look: &Look<'_>, _input: &Input, _findings: &mut Findings) {}

    fn on_output(&mut self, _look: &Look<'_>, _output: &Output, _findings: &mut Findings) {}

    fn on_result(
        &mut self,
        _look: &Look<'_>,
        _request: &Request,
        _result: &Result<Response, CallError>,
        _findings: &mut Findings,
    ) {
    }

    fn on_step(&mut self, _look: &Look<'_>, _findings: &mut Findings) {}

    /// From time to time, for what only time breaks.
    fn on_round(&mut self, _look: &Look<'_>, _findings: &mut Findings) {}

    fn on_crash(&mut self, _look: &Look<'_>, _findings: &mut Findings) {}

    fn on_recovery(&mut self, _look: &Look<'_>, _findings: &mut Findings) {}

    fn at_end(&mut self, _look: &Look<'_>, _findings: &mut Findings) {}
}

/// A round is made when so many steps were made since the last one and this time has passed, and in
/// any case when the longer one has: deadlines are minutes, and a look at everything is not free.
const ROUND_STEPS: u32 = 16;
const ROUND_TIME: Span = Span::secs(1);
const ROUND_TIME_MAX: Span = Span::secs(10);

/// All families of invariants.
#[derive(Default)]
pub struct Checkers {
    facts: Facts,
    recovery: recovery::Recovery,
    money: money::Money,
    bills: bills::Bills,
    lifecycle: lifecycle::Lifecycle,
    health: health::Health,
    market: market::Market,
    negotiation: negotiation::Negotiation,
    api: api::Api,
    bounds: bounds::Bounds,
    liveness: liveness::Liveness,
    waiting: waiting::Waiting,
    ways: way::Ways,
    usage: usage::Usage,
    laws: law::Laws,
    growth: growth::Growth,
    situations: situations::Situations,
    steps: u32,
    rounded: Option<Timestamp>,
    is_down: bool,
}

impl Checkers {
    /// Checkers of a run that begins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn each(&mut self, scene: &Scene<'_>, mut tell: impl FnMut(&mut dyn Family, &Look<'_>)) {
        let look = Look { scene, facts: &self.facts };
        tell(&mut self.recovery, &look);
        tell(&mut self.money, &look);
        tell(&mut self.bills, &look);
        tell(&mut self.lifecycle, &look);
        tell(&mut self.health, &look);
        tell(&mut self.market, &look);
        tell(&mut self.negotiation, &look);
        tell(&mut self.api, &look);
        tell(&mut self.bounds, &look);
        tell(&mut self.liveness, &look);
        tell(&mut self.waiting, &look);
        tell(&mut self.ways, &look);
        tell(&mut self.usage, &look);
        tell(&mut self.laws, &look);
        tell(&mut self.growth, &look);
        tell(&mut self.situations, &look);
    }
}

impl Checker for Checkers {
    fn on_input(&mut self, scene: &Scene<'_>, input: &Input, findings: &mut Findings) {
        self.facts.on_input(scene, input);
        self.each(scene, |family, look| family.on_input(look, input, findings));
    }

    fn on_output(&mut self, scene: &Scene<'_>, output: &Output, findings: &mut Findings) {
        self.facts.on_output(scene, output);
        self.each(scene, |family, look| family.on_output(look, output, findings));
    }

    fn on_result(
        &mut self,
        scene: &Scene<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        findings: &mut Findings,
    ) {
        self.facts.on_result(scene, request, result);
        self.each(scene, |family, look| family.on_result(look, request, result, findings));
    }

    fn on_step(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.each(scene, |family, look| family.on_step(look, findings));
        self.steps += 1;
        let since = self.rounded.map_or(ROUND_TIME_MAX, |last| scene.now.since(last));
        if since >= ROUND_TIME_MAX || (since >= ROUND_TIME && self.steps >= ROUND_STEPS) {
            (self.steps, self.rounded) = (0, Some(scene.now));
            self.round(scene, findings);
        }
    }

    fn on_crash(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.is_down = true;
        self.facts.on_crash();
        self.each(scene, |family, look| family.on_crash(look, findings));
    }

    fn on_recovery(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.is_down = false;
        self.each(scene, |family, look| family.on_recovery(look, findings));
    }

    fn on_phase(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.facts.on_phase(scene);
        // A process that died in the middle of a step is no longer what is on its disk.
        if !self.is_down {
            self.round(scene, findings);
        }
    }

    fn at_end(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.round(scene, findings);
        self.each(scene, |family, look| family.at_end(look, findings));
    }
}

impl Checkers {
    fn round(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.facts.on_round(scene);
        self.each(scene, |family, look| family.on_round(look, findings));
    }
}
