//! One input of a machine that keeps a cluster of a thousand running nodes.
//!
//! The cluster lives on the simulated network, with nothing between it and the machine, so that inputs
//! come as they do in an ordinary hour. First the distribution over all inputs of ten such minutes is
//! printed, with the time of `handle` and of taking its outputs; then criterion looks at each kind.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use golem_sim::{
    drill::character::Character,
    fault::Faults,
    plan,
    scenario::{Daemon, Scenario},
    world::BEGINNING,
    yagna::{RequestNo, SimYagna, books::SshAnswer},
};
use ray_on_golem::{
    core::{
        Command, Input, Machine, NodeRequest, Output, Probe,
        cluster::{
            plan::{ClusterName, ClusterPlan, NodeKind, NodeOrder, Tags},
            state::NodeState,
        },
        ids::{CallId, RequestId},
        market::spec::NodeSpec,
        reputation::Reputation,
        rng::Seed,
    },
    units::{Glm, Span, Timestamp},
    yagna::{CallError, Doubt, PlatformId, Response, Status},
};

const NODES: u32 = 1_000;
/// Providers that there are more than nodes.
const SPARE: u32 = 200;
/// So many nodes are asked for at a time.
const STEP: u32 = 100;
const HOP: Span = Span::millis(1);
const SSH_TIME: Span = Span::secs(1);
const WATCHED: Span = Span::mins(10);

/// What kind of input it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A timer.
    Elapsed,
    /// The outcome of a look over ssh.
    Probe,
    /// How an activity is.
    Activity,
    /// A page of debit-note events.
    NoteEvents,
    /// A debit note.
    Note,
    /// A debit note is accepted.
    Accepted,
    /// A page of agreement events.
    AgreementEvents,
    /// Everything else.
    Other,
}

enum Event {
    Reply(CallId, Box<Result<Response, CallError>>),
    Probed(Input),
}

/// A machine, a daemon, and nothing between them.
struct Bench {
    now: Timestamp,
    machine: Machine,
    daemon: SimYagna,
    calls: BTreeMap<RequestNo, CallId>,
    events: BTreeMap<(Timestamp, u64), Event>,
    numbered: u64,
}

impl Bench {
    fn new() -> Self {
        let scenario = Scenario {
            about: String::new(),
            daemon: Daemon {
                wallet: Glm::from_whole(1_000_000),
                warm: 1_000_000,
                ..Daemon::default()
            },
            populations: vec![Character::Honest.population(NODES + SPARE)],
            faults: Faults::default(),
        };
        Self {
            now: BEGINNING,
            machine: Machine::new(Seed::new(1), BEGINNING),
            daemon: SimYagna::new(&scenario, Seed::new(1), BEGINNING),
            calls: BTreeMap::new(),
            events: BTreeMap::new(),
            numbered: 0,
        }
    }

    /// A thousand nodes, up and in their everyday.
    fn running() -> Self {
        let mut bench = Self::new();
        bench.request(NodeKind::Head, 1);
        let mut wanted = 1;
        while wanted < NODES {
            let count = STEP.min(NODES - wanted);
            bench.request(NodeKind::Worker, count);
            wanted += count;
            while bench.up() < wanted as usize {
                bench.step();
            }
        }
        bench
    }

    fn up(&self) -> usize {
        let clusters = self.machine.view().durable().clusters().values();
        let nodes = clusters.flat_map(|cluster| cluster.nodes.values());
        nodes.filter(|node| node.state == NodeState::Running).count()
    }

    fn request(&mut self, kind: NodeKind, count: u32) {
        let spec = NodeSpec { priority_subnet_tag: None, ..plan::spec() };
        let request = NodeRequest {
            key: None,
            cluster: ClusterName::from("bench"),
            only_for: None,
            plan: ClusterPlan {
                platform: PlatformId::from("erc20-hoodi-tglm"),
                total_budget: Glm::from_whole(100_000),
                max_glm_per_hour: None,
                autostop: None,
                law: None,
                ssh_public_key: "ssh-ed25519 AAAA bench".to_owned(),
                reputation: Reputation::default(),
                network: None,
                network_path: None,
            },
            order: NodeOrder { kind, spec, image: plan::image("bench"), count, tags: Tags::new() },
        };
        let command = Command::RequestNodes(Box::new(request));
        self.feed(Input::Requested { id: RequestId(self.numbered), command });
    }

    /// Lets the next thing happen; the kind and the time of the input, if it was one.
    fn step(&mut self) -> Option<(Kind, Duration)> {
        let event = self.events.keys().next().map(|(at, _)| *at);
        let timer = self.machine.poll_timeout().map(|(at, _)| at);
        let next = [event, timer, self.daemon.poll_timeout()].into_iter().flatten().min();
        self.now = self.now.max(next.expect("a cluster that runs waits for something"));
        if event.is_some_and(|at| at <= self.now) {
            let (_, event) = self.events.pop_first().expect("it was there");
            return Some(match event {
                Event::Reply(call, result) => self.feed(Input::Replied { call, result: *result }),
                Event::Probed(input) => self.feed(input),
            });
        }
        if self.daemon.poll_timeout().is_some_and(|at| at <= self.now) {
            self.daemon.elapse(self.now);
            self.collect();
            return None;
        }
        Some(self.feed(Input::Elapsed))
    }

    /// Gives the machine one input, and does what it wants.
    fn feed(&mut self, input: Input) -> (Kind, Duration) {
        let kind = Kind::of(&input);
        let started = Instant::now();
        self.machine.handle(self.now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| self.machine.poll_output()).collect();
        let took = started.elapsed();
        for output in outputs {
            self.execute(output);
        }
        (kind, took)
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::Call { call, request, .. } => {
                let number = RequestNo(self.numbered);
                self.numbered += 1;
                self.calls.insert(number, call);
                self.daemon.handle(self.now, number, &request);
                self.collect();
            }
            Output::Abandon { call } => {
                let why = "abandoned".to_owned();
                let error = CallError::Unknown(Doubt::Closed { why });
                self.later(HOP, Event::Reply(call, Box::new(Err(error))));
            }
            Output::Probe { probe, what: Probe::Ssh { network, ip, .. }, patience } => {
                let (after, outcome) = match self.daemon.ssh(self.now, &network, ip) {
                    SshAnswer::Up => (SSH_TIME, Ok(())),
                    SshAnswer::Refused => (SSH_TIME, Err("refused".to_owned())),
                    SshAnswer::Silent => (patience, Err("no answer".to_owned())),
                };
                self.later(after, Event::Probed(Input::Probed { probe, outcome }));
            }
            Output::Persist { .. } | Output::Answer { .. } | Output::Notify(_) | Output::Saw(_) => {
            }
        }
    }

    fn collect(&mut self) {
        while let Some((number, reply)) = self.daemon.poll_reply() {
            let Some(call) = self.calls.remove(&number) else { continue };
            let result = reply.map_err(|refusal| {
                if refusal.status < Status(500) {
                    CallError::Rejected { status: refusal.status, body: refusal.body }
                } else {
                    let (status, body) = (refusal.status, refusal.body);
                    CallError::Unknown(Doubt::Failed { status, body })
                }
            });
            self.later(HOP, Event::Reply(call, Box::new(result)));
        }
    }

    fn later(&mut self, after: Span, event: Event) {
        self.events.insert((self.now.plus(after), self.numbered), event);
        self.numbered += 1;
    }
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Elapsed,
        Self::Probe,
        Self::Activity,
        Self::NoteEvents,
        Self::Note,
        Self::Accepted,
        Self::AgreementEvents,
        Self::Other,
    ];

    const fn of(input: &Input) -> Self {
        match input {
            Input::Elapsed => Self::Elapsed,
            Input::Probed { .. } => Self::Probe,
            Input::Replied { result: Ok(Response::ActivityState(_)), .. } => Self::Activity,
            Input::Replied { result: Ok(Response::DebitNoteEvents(_)), .. } => Self::NoteEvents,
            Input::Replied { result: Ok(Response::DebitNote(_)), .. } => Self::Note,
            Input::Replied { result: Ok(Response::AgreementEvents(_)), .. } => {
                Self::AgreementEvents
            }
            Input::Replied { result: Ok(Response::DebitNoteAccepted), .. } => Self::Accepted,
            Input::Replied { .. } | Input::Requested { .. } => Self::Other,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Elapsed => "a timer",
            Self::Probe => "a look over ssh",
            Self::Activity => "an activity's state",
            Self::NoteEvents => "debit-note events",
            Self::Note => "a debit note",
            Self::Accepted => "an accepted debit note",
            Self::AgreementEvents => "agreement events",
            Self::Other => "anything else",
        })
    }
}

/// The inputs of ten minutes, one by one.
#[expect(clippy::print_stdout, reason = "the table is what this benchmark is for")]
fn distribution(bench: &mut Bench) {
    let until = bench.now.plus(WATCHED);
    let mut times: BTreeMap<Kind, Vec<Duration>> = BTreeMap::new();
    while bench.now < until {
        if let Some((kind, took)) = bench.step() {
            times.entry(kind).or_default().push(took);
        }
    }
    println!("{:<24}{:>8}{:>12}{:>12}{:>12}", "input", "count", "median", "p99", "longest");
    let mut all: Vec<Duration> = times.values().flatten().copied().collect();
    for (kind, mut times) in times {
        line(&kind.to_string(), &mut times);
    }
    line("all", &mut all);
}

#[expect(clippy::print_stdout, reason = "the table is what this benchmark is for")]
fn line(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| {
        let place = (times.len() * percent).div_ceil(100).max(1) - 1;
        times.get(place).map_or(0, Duration::as_nanos)
    };
    let of = |percent| format!("{} ns", at(percent));
    println!("{name:<24}{:>8}{:>12}{:>12}{:>12}", times.len(), of(50), of(99), of(100));
}

fn inputs(criterion: &mut Criterion) {
    let mut bench = Bench::running();
    distribution(&mut bench);
    let mut group = criterion.benchmark_group(format!("{NODES} running nodes"));
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(5));
    for wanted in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Other) {
        group.bench_function(wanted.to_string(), |bencher| {
            bencher.iter_custom(|count| {
                let (mut left, mut total) = (count, Duration::ZERO);
                while left > 0 {
                    if let Some((kind, took)) = bench.step()
                        && kind == wanted
                    {
                        (left, total) = (left - 1, total + took);
                    }
                }
                total
            });
        });
    }
    group.finish();
}

criterion_group!(benches, inputs);
criterion_main!(benches);
