//! The machine, the daemon, and what lies between them, under virtual time.
//!
//! The engine is a shell like the production driver: it follows the contract of `Machine`, and it is
//! nasty where the contract allows it. It answers abandoned calls, lets requests of a dead process
//! land late, and kills the process at any output.

mod clocks;
mod transport;

use std::{collections::BTreeMap, sync::Arc};

use ray_on_golem::{
    core::{
        Answer, Command, Durable, Input, Machine, Notice, Output,
        ids::{CallId, ProbeId, RequestId},
        planted::Bug,
        reputation::Reputation,
        rng::Seed,
    },
    units::{Span, Timestamp},
    yagna::{
        CallError, Doubt, PlatformId, ProviderId, Request, Response, Status, request::Endpoint,
    },
};

use clocks::Difference;

use super::{disk::Disk, measure::Follower};
use crate::{
    checker::{Checker, Checkers, Findings, Phase, Scene, Violation},
    fault::{Fate, Faults, OutageKind},
    scenario::Scenario,
    yagna::{RequestNo, SimYagna},
};

/// Where all clusters of drills pay.
pub(crate) const PLATFORM: &str = "erc20-hoodi-tglm";
/// When virtual time begins: 2026-01-01T00:00:00Z.
pub const BEGINNING: Timestamp = crate::world::BEGINNING;
/// A crashed process is started again after this time.
const RESTART_AFTER: Span = Span::secs(2);
/// A request of a dead process may still land for so long.
const LATE_MAX: Span = Span::secs(10);
/// Events of scans have numbers from here on, which no other event ever has.
const ASIDE: u64 = 1 << 63;
/// More steps than this at one instant turn in circles.
const STEPS_PER_INSTANT_MAX: u32 = 20_000;

/// How to build an engine.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The network.
    pub scenario: Scenario,
    /// What all randomness grows from.
    pub seed: Seed,
    /// Whether calls pass through their wire form.
    pub is_wired: bool,
    /// A bug to plant; only with the feature `planted`.
    pub bug: Option<Bug>,
    /// Chances in a million that the process dies at an output.
    pub crash_chance: u64,
    /// Whether every step is told.
    pub is_told: bool,
}

/// Something that happened, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: String,
}

/// The machine, the daemon, and what lies between them.
pub struct Engine {
    setup: Setup,
    pub(super) now: Timestamp,
    pub(super) machine: Machine,
    pub(super) daemon: SimYagna,
    faults: Faults,
    queue: BTreeMap<(Timestamp, u64), Event>,
    queued: u64,
    /// Events of scans are numbered apart.
    aside: u64,
    pub(super) life: u32,
    is_dead: bool,
    open: BTreeMap<CallId, Open>,
    by_request: BTreeMap<RequestNo, (u32, CallId)>,
    next_request: u64,
    next_command: u64,
    tries: BTreeMap<Endpoint, u64>,
    pub(super) disk: Disk,
    checkers: Checkers,
    pub(super) phase: Phase,
    pub(super) findings: Findings,
    pub(super) answers: BTreeMap<RequestId, Answer>,
    pub(super) notices: Vec<(Timestamp, Notice)>,
    pub(super) told: Vec<Told>,
    pub(super) steps: u64,
    outputs: u64,
    /// Die at the nth output from now.
    pub(super) crash_in: Option<u64>,
    outage: Option<(Timestamp, OutageKind)>,
    pub(super) follower: Follower,
    /// What the store knows of providers; it outlives the process.
    known: Reputation,
    at_instant: (Timestamp, u32),
    /// Between the manager's clock and the daemon's.
    clocks: Difference,
    /// Whether the daemon has told wrong ids.
    has_lied: bool,
    /// Whether the daemon's clock was set back while the process was dead.
    was_set_back: bool,
}

/// A call under way.
struct Open {
    request: Arc<Request>,
    fate: Fate,
    arrived: Option<RequestNo>,
}

enum Event {
    Arrive { life: u32, call: CallId, request: Arc<Request> },
    Deliver { life: u32, call: CallId, result: Box<Result<Response, CallError>> },
    TimeOut { life: u32, call: CallId },
    Probed { life: u32, probe: ProbeId, outcome: Result<(), String> },
    OutageBegins(Timestamp, OutageKind),
    Start,
}

impl Engine {
    /// An engine at its beginning.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut engine = Self {
            now: BEGINNING,
            machine: boot(&setup, Durable::default(), BEGINNING, 0),
            daemon: SimYagna::new(&setup.scenario, setup.seed, BEGINNING),
            faults: setup.scenario.faults.clone(),
            queue: BTreeMap::new(),
            queued: 0,
            aside: 0,
            life: 0,
            is_dead: false,
            open: BTreeMap::new(),
            by_request: BTreeMap::new(),
            next_request: 0,
            next_command: 0,
            tries: BTreeMap::new(),
            disk: Disk::default(),
            checkers: Checkers::new(),
            phase: Phase::Faulty,
            findings: Findings::default(),
            answers: BTreeMap::new(),
            notices: Vec::new(),
            told: Vec::new(),
            steps: 0,
            outputs: 0,
            crash_in: None,
            outage: None,
            follower: Follower::default(),
            known: Reputation::default(),
            at_instant: (BEGINNING, 0),
            clocks: Difference::default(),
            has_lied: false,
            was_set_back: false,
            setup,
        };
        for outage in engine.faults.outages.clone() {
            let begins = BEGINNING.plus(outage.at);
            engine.enqueue(
                false,
                begins,
                Event::OutageBegins(begins.plus(outage.lasts), outage.kind),
            );
        }
        engine.drain();
        engine
    }

    /// Asks the machine; nothing happens while the process is dead.
    pub fn command(&mut self, command: Command) -> Option<RequestId> {
        if self.is_dead {
            return None;
        }
        let id = RequestId(self.next_command);
        self.next_command += 1;
        self.feed(Input::Requested { id, command });
        Some(id)
    }

    /// Blacklists a provider until then.
    pub fn block(&mut self, provider: ProviderId, until: Timestamp) {
        self.known.0.entry(provider).or_default().blacklisted_until = Some(until);
        self.inform();
    }

    /// The store knows this of providers from now on.
    pub(super) fn know(&mut self, reputation: Reputation) {
        self.known = reputation;
        self.inform();
    }

    /// Tells the machine what the store knows.
    fn inform(&mut self) {
        if !self.known.0.is_empty() {
            let reputation = Arc::new(self.known.clone());
            self.command(Command::Inform { platform: PlatformId::from(PLATFORM), reputation });
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Span) {
        let until = self.now.plus(span);
        self.run_until(until, |_| false);
    }

    /// Lets time pass until something is so, but not longer than until then; says whether it is so.
    pub fn run_until(&mut self, until: Timestamp, is_so: impl Fn(&Self) -> bool) -> bool {
        while !self.is_broken() {
            if !self.is_dead && is_so(self) {
                return true;
            }
            match self.next_instant() {
                Some(next) if next <= until => {
                    self.now = self.now.max(next);
                    self.step();
                }
                Some(_) | None => break,
            }
        }
        self.now = self.now.max(until);
        !self.is_dead && is_so(self)
    }

    /// Whether going on makes no sense.
    pub fn is_broken(&self) -> bool {
        !self.findings.violations.is_empty()
    }

    /// The machine sleeps, daemon and all, while the network goes on.
    pub fn suspend(&mut self, span: Span) {
        self.now = self.now.plus(span);
        self.daemon.elapse(self.now);
        self.collect_replies();
    }

    /// From now on the manager's clock is so many minutes ahead of the daemon's, or behind it.
    pub fn set_clock(&mut self, minutes: i64) {
        let clocks = Difference::minutes(minutes);
        self.was_set_back |= self.clocks.grows_to(clocks);
        self.clocks = clocks;
        self.tell_of_clock();
    }

    /// The shell sees that a clock was set back, or finds journals from the future.
    fn tell_of_clock(&mut self) {
        if self.was_set_back && self.command(Command::ClockSetBack).is_some() {
            self.was_set_back = false;
        }
    }

    /// The daemon throws away its agreements.
    pub fn forget_agreements(&mut self) {
        self.daemon.forget_agreements(self.now);
    }

    /// The daemon is away from now on, for so long.
    pub fn begin_outage(&mut self, lasts: Span, kind: OutageKind) {
        let until = self.now.plus(lasts);
        self.on_outage(until, kind);
    }

    /// Nothing goes wrong from here on.
    pub fn heal(&mut self) {
        self.faults = Faults::default();
        self.setup.crash_chance = 0;
        self.crash_in = None;
        self.outage = None;
        self.queue.retain(|_, event| !matches!(event, Event::OutageBegins(..)));
        self.enter(Phase::Fair);
    }

    /// The run enters another phase.
    pub fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.check(|checkers, scene, findings| checkers.on_phase(scene, findings));
    }

    /// The run is over.
    pub fn finish(&mut self) {
        if !self.is_dead && !self.is_broken() {
            self.check(|checkers, scene, findings| checkers.at_end(scene, findings));
        }
    }

    fn check(&mut self, look: impl FnOnce(&mut Checkers, &Scene<'_>, &mut Findings)) {
        let scene = Scene {
            now: self.now,
            machine: &self.machine,
            durable: self.disk.durable(),
            daemon: &self.daemon,
            phase: self.phase,
            life: self.life,
            has_one_clock: self.clocks.is_none(),
            has_lied: self.has_lied,
        };
        look(&mut self.checkers, &scene, &mut self.findings);
    }

    fn next_instant(&self) -> Option<Timestamp> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let machine = self.machine.poll_timeout().map(|(at, _)| at).filter(|_| !self.is_dead);
        [queued, machine, self.daemon.poll_timeout()].into_iter().flatten().min()
    }

    /// Lets happen what is due, in a fixed order: deliveries, the daemon, the machine's timers.
    fn step(&mut self) {
        if self.at_instant.0 == self.now {
            self.at_instant.1 += 1;
            if self.at_instant.1 > STEPS_PER_INSTANT_MAX {
                self.violate("B2", "steps without end at one instant".to_owned());
                return;
            }
        } else {
            self.at_instant = (self.now, 0);
        }
        let due = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now);
        if let Some(entry) = due {
            let event = entry.remove();
            self.happen(event);
            return;
        }
        if self.daemon.poll_timeout().is_some_and(|at| at <= self.now) {
            self.daemon.elapse(self.now);
            self.collect_replies();
            return;
        }
        if !self.is_dead {
            self.feed(Input::Elapsed);
            if let Some((at, key)) = self.machine.poll_timeout()
                && at <= self.now
                && !self.is_dead
            {
                let what = format!("{key:?} is due again at the instant at which it fired");
                self.violate("B2", what);
            }
        }
    }

    fn violate(&mut self, invariant: &'static str, what: String) {
        self.findings.violations.push(Violation { invariant, at: self.now, what });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { life, call, request } => self.arrive(life, call, &request),
            Event::Deliver { life, call, result } if life == self.life => {
                self.deliver(call, *result);
            }
            Event::TimeOut { life, call } if life == self.life => {
                if let Some(open) = self.open.get(&call) {
                    if let Some(number) = open.arrived {
                        self.daemon.cancel(number);
                        self.by_request.remove(&number);
                    }
                    self.deliver(call, Err(CallError::Unknown(Doubt::TimedOut)));
                }
            }
            Event::Probed { life, probe, outcome } if life == self.life => {
                self.feed(Input::Probed { probe, outcome });
            }
            Event::Deliver { .. } | Event::TimeOut { .. } | Event::Probed { .. } => {}
            Event::OutageBegins(until, kind) => self.on_outage(until, kind),
            Event::Start => self.start(),
        }
    }

    fn deliver(&mut self, call: CallId, result: Result<Response, CallError>) {
        let Some(open) = self.open.remove(&call) else { return };
        self.check(|checkers, scene, findings| {
            checkers.on_result(scene, &open.request, &result, findings);
        });
        if self.setup.is_told && !is_idle(&result) {
            let what = format!("{} {}", open.request.endpoint().name(), brief(&result));
            self.tell(what);
        }
        self.feed(Input::Replied { call, result });
    }

    /// Gives the machine one input, executes what it wants, and lets the checkers look.
    fn feed(&mut self, input: Input) {
        if self.is_dead {
            return;
        }
        self.steps += 1;
        self.check(|checkers, scene, findings| checkers.on_input(scene, &input, findings));
        self.machine.handle(self.now, input);
        self.drain();
        if !self.is_dead {
            self.check(|checkers, scene, findings| checkers.on_step(scene, findings));
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            if self.must_die(&output) {
                self.crash(Some(&output));
                return;
            }
            self.check(|checkers, scene, findings| checkers.on_output(scene, &output, findings));
            match output {
                Output::Persist { journal, records } => {
                    if self.setup.is_told {
                        for record in &records {
                            if let Some(what) = super::trace::of_record(record) {
                                self.tell(what);
                            }
                        }
                    }
                    self.follower.on_records(self.now, &records);
                    if let Err(what) = self.disk.append(self.now, journal, &records) {
                        self.violate("R7", what);
                    }
                }
                Output::Answer { id, answer } => {
                    if self.answers.insert(id, answer).is_some() {
                        self.violate("A5", format!("{id:?} is answered twice"));
                    }
                }
                Output::Call { call, request, patience } => self.call(call, request, patience),
                Output::Abandon { call } => self.abandon(call),
                Output::Probe { probe, what, patience } => self.probe(probe, &what, patience),
                Output::Notify(notice) => {
                    if self.setup.is_told {
                        self.tell(format!("told: {notice}"));
                    }
                    self.notices.push((self.now, notice));
                }
                Output::Saw(sighting) => {
                    let standing = self.known.0.entry(sighting.provider).or_default();
                    let own = standing.experience.get_or_insert_default();
                    Arc::make_mut(own).add(&sighting.what, self.now);
                }
            }
        }
    }

    /// The process may die before any output, ten times as likely when money is at stake.
    fn must_die(&mut self, output: &Output) -> bool {
        // Nothing depends on it, so that dying before it is dying before the next one.
        let is_idle = match output {
            Output::Saw(_) | Output::Notify(Notice::Waiting { .. }) => true,
            Output::Call { request, .. } => transport::is_scan(request.endpoint()),
            Output::Persist { .. }
            | Output::Answer { .. }
            | Output::Abandon { .. }
            | Output::Probe { .. }
            | Output::Notify(_) => false,
        };
        if is_idle {
            return false;
        }
        self.outputs += 1;
        if let Some(left) = &mut self.crash_in {
            if *left == 0 {
                self.crash_in = None;
                return true;
            }
            *left -= 1;
        }
        if self.setup.crash_chance == 0 {
            return false;
        }
        let is_money = match output {
            Output::Call { request, .. } => matches!(
                request.endpoint(),
                Endpoint::CreateAllocation
                    | Endpoint::ConfirmAgreement
                    | Endpoint::CreateActivity
                    | Endpoint::AcceptDebitNote
                    | Endpoint::AcceptInvoice
            ),
            Output::Persist { .. }
            | Output::Answer { .. }
            | Output::Abandon { .. }
            | Output::Probe { .. }
            | Output::Notify(_)
            | Output::Saw(_) => false,
        };
        let chance = self.setup.crash_chance * if is_money { 10 } else { 1 };
        self.setup.seed.below(1_000_000, "crash", self.outputs, 0) < chance
    }

    /// The process dies here: outputs that were not executed are lost, requests that were sent land
    /// late, and nobody waits for their replies.
    pub fn crash(&mut self, at: Option<&Output>) {
        if self.is_dead {
            return;
        }
        if let Some(Output::Persist { journal, records }) = at {
            let part = self.setup.seed.draw("tear", self.outputs, 0);
            if part.is_multiple_of(2) {
                self.disk.tear(self.now, *journal, records, part / 2);
            }
        }
        self.check(|checkers, scene, findings| checkers.on_crash(scene, findings));
        let late: Vec<(Timestamp, u64)> = self
            .queue
            .iter()
            .filter(|((_, number), event)| matches!(event, Event::Arrive { .. }) && *number < ASIDE)
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            if let Some(event) = self.queue.remove(&key) {
                let delay = self.setup.seed.below(LATE_MAX.as_micros(), "late", key.1, 0);
                self.enqueue(false, self.now.plus(Span::micros(delay)), event);
            }
        }
        if self.setup.is_told {
            self.tell("the manager is killed".to_owned());
        }
        self.life += 1;
        self.is_dead = true;
        self.open.clear();
        self.enqueue(false, self.now.plus(RESTART_AFTER), Event::Start);
    }

    fn start(&mut self) {
        let durable = match self.disk.read() {
            Ok((durable, torn)) => {
                if torn > 0 {
                    self.findings.marks.insert("torn journal");
                }
                durable
            }
            Err(why) => {
                self.violate("R3", why);
                return;
            }
        };
        self.is_dead = false;
        self.machine = boot(&self.setup, durable, self.now, self.life);
        self.drain();
        if !self.is_dead {
            self.check(|checkers, scene, findings| checkers.on_recovery(scene, findings));
        }
        self.inform();
        self.tell_of_clock();
    }

    fn enqueue(&mut self, is_aside: bool, at: Timestamp, event: Event) {
        let number = if is_aside { ASIDE + self.aside } else { self.queued };
        self.queue.insert((at, number), event);
        *(if is_aside { &mut self.aside } else { &mut self.queued }) += 1;
    }

    pub(super) fn tell(&mut self, what: String) {
        self.told.push(Told { at: self.now, what });
    }
}

fn is_idle(result: &Result<Response, CallError>) -> bool {
    match result {
        Ok(Response::Events(events)) => events.is_empty(),
        Ok(Response::AgreementEvents(events)) => events.is_empty(),
        Ok(Response::DebitNoteEvents(events)) => events.is_empty(),
        Ok(Response::InvoiceEvents(events)) => events.is_empty(),
        Ok(_) => false,
        Err(error) => error.is_refusal(Status::TIMEOUT),
    }
}

fn brief(result: &Result<Response, CallError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("failed: {error}"),
    }
}

#[cfg(feature = "planted")]
fn boot(setup: &Setup, durable: Durable, now: Timestamp, life: u32) -> Machine {
    let seed = Seed::new(setup.seed.draw("life", u64::from(life), 0));
    match setup.bug {
        Some(bug) => Machine::with_bug(seed, bug, durable, now),
        None => Machine::recover(seed, durable, now),
    }
}

#[cfg(not(feature = "planted"))]
fn boot(setup: &Setup, durable: Durable, now: Timestamp, life: u32) -> Machine {
    let seed = Seed::new(setup.seed.draw("life", u64::from(life), 0));
    Machine::recover(seed, durable, now)
}
