//! Looks at each step of a world with books of its own, and says which invariant is broken.
//!
//! A checker never asks the machine what it thinks of money or of the market: prices, caps, and
//! sums are computed here anew, from the daemon's books and from what went over the wire. There is
//! one file for each family of invariants of `ARCHITECTURE.md`.

use ray_on_golem::{
    core::{Durable, Input, Machine, Output},
    units::Timestamp,
    yagna::{CallError, Request, Response},
};

mod api;
mod bounds;
mod health;
mod lifecycle;
mod market;
mod money;
mod recovery;
mod situations;
mod subject;

pub use situations::SITUATIONS;

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

/// All families of invariants.
pub struct Checkers(Vec<Box<dyn Checker>>);

impl Checkers {
    /// Checkers of a run that begins.
    #[must_use]
    pub fn new() -> Self {
        Self(vec![
            Box::new(recovery::Recovery::default()),
            Box::new(money::Money::default()),
            Box::new(lifecycle::Lifecycle::default()),
            Box::new(health::Health::default()),
            Box::new(market::Market::default()),
            Box::new(api::Api::default()),
            Box::new(bounds::Bounds::default()),
            Box::new(situations::Situations::default()),
        ])
    }
}

impl Default for Checkers {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker for Checkers {
    fn on_input(&mut self, scene: &Scene<'_>, input: &Input, findings: &mut Findings) {
        for checker in &mut self.0 {
            checker.on_input(scene, input, findings);
        }
    }

    fn on_output(&mut self, scene: &Scene<'_>, output: &Output, findings: &mut Findings) {
        for checker in &mut self.0 {
            checker.on_output(scene, output, findings);
        }
    }

    fn on_result(
        &mut self,
        scene: &Scene<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        findings: &mut Findings,
    ) {
        for checker in &mut self.0 {
            checker.on_result(scene, request, result, findings);
        }
    }

    fn on_step(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        for checker in &mut self.0 {
            checker.on_step(scene, findings);
        }
    }

    fn on_crash(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        for checker in &mut self.0 {
            checker.on_crash(scene, findings);
        }
    }

    fn on_recovery(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        for checker in &mut self.0 {
            checker.on_recovery(scene, findings);
        }
    }

    fn on_phase(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        for checker in &mut self.0 {
            checker.on_phase(scene, findings);
        }
    }

    fn at_end(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        for checker in &mut self.0 {
            checker.at_end(scene, findings);
        }
    }
}
