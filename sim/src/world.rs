//! The machine and the simulated daemon in one loop, under virtual time.
//!
//! Everything that a network does to a call happens here: latency, loss, refusals, garbage, outages.
//! The world is a shell like the production driver; it follows the contract of `Machine`, and it is
//! nasty where the contract allows it: it answers abandoned calls, and lets requests of a dead
//! process land late.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{
        Answer, Command, Durable, Input, Machine, Notice, Output, Record,
        ids::{CallId, RequestId},
        planted::Bug,
        rng::{Seed, fingerprint},
        survey::{SurveyError, SurveyPlan, SurveyReport},
    },
    units::{Span, Timestamp},
    yagna::{CallError, Doubt, Request, Response, Status, request::Endpoint},
};

use crate::{
    auditor::{Auditor, Violation},
    fault::{Fate, OutageKind},
    scenario::{Scenario, distribution::ONE},
    wire,
    yagna::{RequestNo, SimYagna},
};

/// When virtual time begins: 2026-01-01T00:00:00Z.
pub const BEGINNING: Timestamp = Timestamp::from_unix_micros(1_767_225_600_000_000);

/// A survey ends within this time after the time that it was asked for (V4).
const ENDING_MAX: Span = Span::secs(41);
/// A crashed process is started again after this time.
const RESTART_AFTER: Span = Span::secs(2);
/// A request of a dead process may still land for so long.
const LATE_MAX: Span = Span::secs(10);
/// What is left after a crash is ended within this time, once the daemon is well.
const SWEEP_MAX: Span = Span::mins(10);

/// An audited run that takes more inputs than this turns in circles.
const STEPS_MAX: u64 = 500_000;

/// How to run a world.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The network.
    pub scenario: Scenario,
    /// What all randomness grows from.
    pub seed: Seed,
    /// Whether an auditor looks at each step.
    pub is_audited: bool,
    /// Whether calls pass through their wire form.
    pub is_wired: bool,
    /// Whether to keep a hash of each step.
    pub is_traced: bool,
    /// A bug to plant; only with the feature `planted`.
    pub bug: Option<Bug>,
    /// End the survey after this time.
    pub end_after: Option<Span>,
    /// Crash the process when it is about to make its nth call.
    pub crash_at_call: Option<u64>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// The answer; none if the process crashed.
    pub answer: Option<Result<Box<SurveyReport>, SurveyError>>,
    /// What the user was told, and when.
    pub notices: Vec<(Timestamp, Notice)>,
    /// Broken invariants, the first one first.
    pub violations: Vec<Violation>,
    /// Inputs that the machine took.
    pub steps: u64,
    /// Calls that the machine made.
    pub calls: u64,
    /// When it was over.
    pub ended: Timestamp,
    /// The rolling hash after each step, if traced.
    pub trace: Vec<u64>,
}

/// The machine, the daemon, and what lies between them.
pub struct World {
    setup: Setup,
    now: Timestamp,
    machine: Machine,
    daemon: SimYagna,
    queue: BTreeMap<(Timestamp, u64), Event>,
    queued: u64,
    /// How often the process was started.
    life: u32,
    open: BTreeMap<CallId, Open>,
    by_request: BTreeMap<RequestNo, (u32, CallId)>,
    next_request: u64,
    tries: BTreeMap<Endpoint, u64>,
    durable: Durable,
    auditor: Auditor,
    run: Run,
    /// The answer must be there by then.
    due: Timestamp,
}

/// A call under way.
struct Open {
    request: Request,
    fate: Fate,
    arrived: Option<RequestNo>,
}

enum Event {
    Arrive { life: u32, call: CallId, request: Box<Request> },
    Deliver { life: u32, call: CallId, result: Box<Result<Response, CallError>> },
    TimeOut { life: u32, call: CallId },
    OutageBegins(OutageKind),
    EndSurvey,
    Restart,
}

const SURVEY: RequestId = RequestId(1);
const END_SURVEY: RequestId = RequestId(2);

impl World {
    /// A world at its beginning.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let daemon = SimYagna::new(&setup.scenario, setup.seed, BEGINNING);
        let machine = boot(&setup, Durable::default(), BEGINNING);
        let run = Run {
            answer: None,
            notices: Vec::new(),
            violations: Vec::new(),
            steps: 0,
            calls: 0,
            ended: BEGINNING,
            trace: Vec::new(),
        };
        let mut world = Self {
            auditor: Auditor::new(setup.scenario.faults.is_calm()),
            setup,
            now: BEGINNING,
            machine,
            daemon,
            queue: BTreeMap::new(),
            queued: 0,
            life: 0,
            open: BTreeMap::new(),
            by_request: BTreeMap::new(),
            next_request: 0,
            tries: BTreeMap::new(),
            durable: Durable::default(),
            run,
            due: BEGINNING,
        };
        for outage in world.setup.scenario.faults.outages.clone() {
            world.enqueue(BEGINNING.plus(outage.at), Event::OutageBegins(outage.kind));
        }
        world
    }

    /// Runs one survey to its end.
    #[must_use]
    pub fn survey(mut self, plan: SurveyPlan) -> Run {
        let planned = match self.setup.end_after {
            Some(end) => end.min(plan.duration),
            None => plan.duration,
        };
        self.due = BEGINNING.plus(planned).plus(ENDING_MAX);
        if let Some(after) = self.setup.end_after {
            self.enqueue(BEGINNING.plus(after), Event::EndSurvey);
        }
        self.auditor.expect(&plan, BEGINNING, planned);
        let command = Command::Survey(Box::new(plan));
        self.feed(Input::Requested { id: SURVEY, command });
        while !self.is_over() {
            let Some(next) = self.next_instant() else { break };
            self.now = self.now.max(next);
            if self.setup.is_audited && self.run.steps > STEPS_MAX {
                self.run.violations.push(Violation::new("B2", self.now, "steps without end"));
                break;
            }
            if self.now > self.due && self.run.answer.is_none() {
                self.run.violations.push(Violation::new("V4", self.now, "no answer in time"));
                break;
            }
            self.step();
        }
        self.finish()
    }

    fn is_over(&self) -> bool {
        (self.run.answer.is_some() || self.life > 0)
            && self.machine.view().is_idle()
            && !self.queue.values().any(|event| matches!(event, Event::Restart))
    }

    fn next_instant(&self) -> Option<Timestamp> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let machine = self.machine.poll_timeout().map(|(at, _)| at);
        [queued, machine, self.daemon.poll_timeout()].into_iter().flatten().min()
    }

    /// Lets happen what is due, in a fixed order: deliveries, the daemon, the machine's timers.
    fn step(&mut self) {
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
        self.feed(Input::Elapsed);
        if let Some((at, key)) = self.machine.poll_timeout()
            && at <= self.now
        {
            let what = format!("{key:?} is due again at the instant at which it fired");
            self.run.violations.push(Violation::new("B2", self.now, what));
            // Going on would never end.
            self.due = BEGINNING;
        }
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
            Event::Deliver { .. } | Event::TimeOut { .. } => {}
            Event::OutageBegins(kind) => self.begin_outage(kind),
            Event::EndSurvey => {
                self.feed(Input::Requested { id: END_SURVEY, command: Command::EndSurvey });
                self.auditor.on_end_asked(self.now, &mut self.run.violations);
            }
            Event::Restart => {
                self.machine = boot(&self.setup, self.durable.clone(), self.now);
                self.drain();
            }
        }
    }

    fn arrive(&mut self, life: u32, call: CallId, request: &Request) {
        if let Some(outage) = self.outage() {
            match outage {
                OutageKind::Hang => {}
                OutageKind::Restart | OutageKind::Down => {
                    let why = "connection reset".to_owned();
                    self.reply_later(life, call, Err(CallError::Unknown(Doubt::Closed { why })));
                }
            }
            return;
        }
        let number = RequestNo(self.next_request);
        self.next_request += 1;
        self.by_request.insert(number, (life, call));
        if life == self.life
            && let Some(open) = self.open.get_mut(&call)
        {
            open.arrived = Some(number);
        }
        self.daemon.handle(self.now, number, request);
        self.collect_replies();
    }

    fn collect_replies(&mut self) {
        while let Some((number, reply)) = self.daemon.poll_reply() {
            let Some((life, call)) = self.by_request.remove(&number) else { continue };
            if life != self.life {
                continue;
            }
            let Some(open) = self.open.get(&call) else { continue };
            let result = match open.fate {
                Fate::ReplyLost => continue,
                Fate::Closed => {
                    let why = "connection closed before message completed".to_owned();
                    Err(CallError::Unknown(Doubt::Closed { why }))
                }
                Fate::Garbled => {
                    Err(CallError::Unknown(Doubt::Garbled { why: "not JSON".to_owned() }))
                }
                Fate::WrongIds(how) => wire::pass_wrong_reply(&open.request, &reply, how),
                Fate::Through | Fate::Refused | Fate::RequestLost | Fate::Failed
                    if self.setup.is_wired =>
                {
                    wire::pass_reply(&open.request, &reply)
                }
                Fate::Through | Fate::Refused | Fate::RequestLost | Fate::Failed => {
                    reply.map_err(|refusal| {
                        if refusal.status < Status(500) {
                            CallError::Rejected { status: refusal.status, body: refusal.body }
                        } else {
                            let (status, body) = (refusal.status, refusal.body);
                            CallError::Unknown(Doubt::Failed { status, body })
                        }
                    })
                }
            };
            self.reply_later(life, call, result);
        }
    }

    fn begin_outage(&mut self, kind: OutageKind) {
        if kind == OutageKind::Restart {
            self.daemon.restart(self.now);
        }
        if kind == OutageKind::Hang {
            return;
        }
        let arrived: Vec<CallId> = self
            .open
            .iter()
            .filter(|(_, open)| open.arrived.is_some())
            .map(|(call, _)| *call)
            .collect();
        for call in arrived {
            let why = "connection reset".to_owned();
            if let Some(number) = self.open.get(&call).and_then(|open| open.arrived) {
                self.daemon.cancel(number);
                self.by_request.remove(&number);
            }
            self.reply_later(self.life, call, Err(CallError::Unknown(Doubt::Closed { why })));
        }
    }

    fn deliver(&mut self, call: CallId, result: Result<Response, CallError>) {
        let Some(open) = self.open.remove(&call) else { return };
        if self.setup.is_audited {
            self.auditor.on_result(self.now, &open.request, &result);
        }
        self.feed(Input::Replied { call, result });
    }

    /// Gives the machine one input, executes what it wants, and lets the auditor look.
    fn feed(&mut self, input: Input) {
        self.run.steps += 1;
        if self.setup.is_traced {
            self.trace(&format!("{} {input:?}", self.now.as_unix_micros()));
        }
        self.machine.handle(self.now, input);
        self.drain();
        if self.setup.is_audited {
            self.auditor.on_step(self.now, &self.machine, &self.durable, &mut self.run.violations);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            if self.setup.is_traced {
                self.trace(&format!("{output:?}"));
            }
            match output {
                Output::Persist { records, .. } => self.persist(&records),
                Output::Probe { .. } | Output::Saw(_) => {}
                Output::Answer { id, answer } => self.answered(id, answer),
                Output::Call { call, request, patience } => {
                    self.run.calls += 1;
                    if self.setup.crash_at_call == Some(self.run.calls) {
                        self.crash();
                        return;
                    }
                    self.start(call, request, patience);
                }
                Output::Abandon { call } => {
                    // Nobody waits for it; a reply that comes all the same must do no harm.
                    let why = "abandoned".to_owned();
                    if let Some(number) = self.open.get(&call).and_then(|open| open.arrived) {
                        self.daemon.cancel(number);
                        self.by_request.remove(&number);
                    }
                    let result = Err(CallError::Unknown(Doubt::Closed { why }));
                    self.reply_later(self.life, call, result);
                }
                Output::Notify(notice) => self.run.notices.push((self.now, notice)),
            }
        }
    }

    fn persist(&mut self, records: &[Record]) {
        for record in records {
            self.durable.apply(record);
        }
    }

    fn start(&mut self, call: CallId, request: Request, patience: Span) {
        let endpoint = request.endpoint();
        let nth = self.tries.entry(endpoint).or_insert(0);
        *nth += 1;
        let fate = self.setup.scenario.faults.fate(self.setup.seed, endpoint, *nth);
        if self.setup.is_audited {
            self.auditor.on_call(self.now, &request, &self.durable, &mut self.run.violations);
        }
        let request = if self.setup.is_wired { wire::pass_request(&request) } else { request };
        let is_refused = fate == Fate::Refused
            || matches!(self.outage(), Some(OutageKind::Restart | OutageKind::Down));
        let at = self.now.plus(self.latency());
        if is_refused {
            let why = "connection refused".to_owned();
            let result = Box::new(Err(CallError::NotSent { why }));
            self.enqueue(at, Event::Deliver { life: self.life, call, result });
        } else if fate == Fate::Failed {
            let body = "{\"message\":\"Internal error\"}".to_owned();
            let error = CallError::Unknown(Doubt::Failed { status: Status(500), body });
            self.enqueue(
                at,
                Event::Deliver { life: self.life, call, result: Box::new(Err(error)) },
            );
        } else if fate != Fate::RequestLost {
            let boxed = Box::new(request.clone());
            self.enqueue(at, Event::Arrive { life: self.life, call, request: boxed });
        }
        self.enqueue(self.now.plus(patience), Event::TimeOut { life: self.life, call });
        self.open.insert(call, Open { request, fate, arrived: None });
    }

    fn answered(&mut self, id: RequestId, answer: Answer) {
        match answer {
            Answer::Surveyed(result) if id == SURVEY => {
                if self.run.answer.is_some() {
                    self.run.violations.push(Violation::new("A5", self.now, "answered twice"));
                }
                self.run.answer = Some(result);
            }
            Answer::Surveyed(_) | Answer::Ending(_) => self.auditor.on_end_answered(),
            Answer::NodesRequested(_)
            | Answer::NodeTerminated(_)
            | Answer::TagsSet(_)
            | Answer::UsageNoted(_)
            | Answer::ClusterEnding(_)
            | Answer::BudgetSet(_)
            | Answer::LawSet(_)
            | Answer::Informed
            | Answer::ShuttingDown => {}
        }
    }

    /// The process dies here: outputs that were not executed are lost, requests that were sent land
    /// late, and nobody waits for their replies.
    fn crash(&mut self) {
        let late: Vec<(Timestamp, u64)> = self
            .queue
            .iter()
            .filter(|(_, event)| matches!(event, Event::Arrive { .. }))
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            if let Some(event) = self.queue.remove(&key) {
                let delay = self.setup.seed.below(LATE_MAX.as_micros(), "late", key.1, 0);
                self.enqueue(self.now.plus(Span::micros(delay)), event);
            }
        }
        self.life += 1;
        self.open.clear();
        self.due = self.now.plus(SWEEP_MAX);
        self.auditor.on_crash();
        self.machine = boot(&self.setup, Durable::default(), self.now);
        self.enqueue(self.now.plus(RESTART_AFTER), Event::Restart);
    }

    fn reply_later(&mut self, life: u32, call: CallId, result: Result<Response, CallError>) {
        let at = self.now.plus(self.latency());
        self.enqueue(at, Event::Deliver { life, call, result: Box::new(result) });
    }

    fn enqueue(&mut self, at: Timestamp, event: Event) {
        self.queue.insert((at, self.queued), event);
        self.queued += 1;
    }

    fn latency(&self) -> Span {
        let spread = &self.setup.scenario.daemon.latency_ms;
        let billionths = spread.sample(self.setup.seed, "latency", self.queued, 0);
        Span::micros((billionths / (ONE / 1_000)).max(1))
    }

    fn outage(&self) -> Option<OutageKind> {
        self.setup.scenario.faults.outage(BEGINNING, self.now).map(|outage| outage.kind)
    }

    fn trace(&mut self, text: &str) {
        let last = self.run.trace.last().copied().unwrap_or(0);
        self.run.trace.push(last.rotate_left(5) ^ fingerprint(text.as_bytes()));
    }

    fn finish(mut self) -> Run {
        if self.setup.is_audited {
            self.auditor.at_end(self.now, &self.daemon, &mut self.run);
        }
        self.run.ended = self.now;
        self.run
    }
}

#[cfg(feature = "planted")]
fn boot(setup: &Setup, durable: Durable, now: Timestamp) -> Machine {
    match setup.bug {
        Some(bug) => Machine::with_bug(setup.seed, bug, durable, now),
        None => Machine::recover(setup.seed, durable, now),
    }
}

#[cfg(not(feature = "planted"))]
fn boot(setup: &Setup, durable: Durable, now: Timestamp) -> Machine {
    Machine::recover(setup.seed, durable, now)
}
