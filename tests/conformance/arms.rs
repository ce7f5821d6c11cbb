//! The two arms: whoever answers requests.

use std::time::Instant;

use golem_sim::{
    scenario::Scenario,
    world::BEGINNING,
    yagna::{RequestNo, SimYagna},
};
use ray_on_golem::{
    core::rng::Seed,
    units::{Span, Timestamp},
    yagna::{AppKey, CallError, Client, Doubt, Request, Response, Status, Yagna},
};

use crate::lab::{Lab, Market};

/// Longer than any answer takes.
const PATIENCE: Span = Span::secs(30);

/// Whoever answers requests.
pub(crate) trait Arm {
    /// Makes one call; tells how it ended, and how long it took.
    fn timed(&mut self, request: Request) -> (Result<Response, CallError>, Span);

    /// The present, by the arm's clock.
    fn now(&self) -> Timestamp;

    /// A subnet that no other case uses.
    fn subnet(&self) -> &'static str;

    /// Makes one call.
    fn call(&mut self, request: Request) -> Result<Response, CallError> {
        self.timed(request).0
    }
}

/// The simulated daemon in virtual time.
pub(crate) struct Sim {
    daemon: SimYagna,
    now: Timestamp,
    next: u64,
}

impl Sim {
    /// A fresh daemon with four offers, one of which refuses.
    pub(crate) fn new() -> Self {
        let text = "
            daemon: { warm: 1 }
            populations:
              - { name: good, count: 1, offers: 3 }
              - { name: bad, count: 1, behaviour: { refuses: Node is busy. } }";
        let scenario = Scenario::parse(text.as_bytes()).expect("a scenario");
        let daemon = SimYagna::new(&scenario, Seed::new(1), BEGINNING);
        Self { daemon, now: BEGINNING, next: 0 }
    }
}

impl Arm for Sim {
    fn timed(&mut self, request: Request) -> (Result<Response, CallError>, Span) {
        let (id, started) = (RequestNo(self.next), self.now);
        self.next += 1;
        self.daemon.handle(self.now, id, &request);
        loop {
            if let Some((number, reply)) = self.daemon.poll_reply() {
                assert_eq!(number, id, "an answer that nobody asked for");
                let result = reply.map_err(|refusal| {
                    let (status, body) = (refusal.status, refusal.body);
                    if status < Status(500) {
                        CallError::Rejected { status, body }
                    } else {
                        CallError::Unknown(Doubt::Failed { status, body })
                    }
                });
                return (result, self.now.since(started));
            }
            let next = self.daemon.poll_timeout().expect("something happens until it answers");
            self.now = self.now.max(next);
            self.daemon.elapse(self.now);
        }
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn subnet(&self) -> &'static str {
        "public"
    }
}

/// A real daemon and its stand-in providers; they end with it.
pub(crate) struct Real {
    lab: Lab,
    runtime: tokio::runtime::Runtime,
}

/// One case's view of the real daemon.
pub(crate) struct RealArm<'a> {
    client: Client,
    runtime: &'a tokio::runtime::Runtime,
}

impl Real {
    /// A daemon with four offers, one of which refuses.
    pub(crate) fn start() -> Self {
        let lab = Lab::start(&Market { refuse_every: 4, ..Market::of(1, 4) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { lab, runtime: runtime.expect("a runtime") }
    }

    /// A client for one case.
    pub(crate) fn arm(&self) -> RealArm<'_> {
        let facts = self.lab.facts();
        let url: url::Url = facts.api_url.parse().expect("the lab tells its address");
        let key = AppKey::new(&facts.app_key).expect("the lab tells its key");
        let client = Client::new(url, key).expect("a client");
        RealArm { client, runtime: &self.runtime }
    }
}

impl Arm for RealArm<'_> {
    fn timed(&mut self, request: Request) -> (Result<Response, CallError>, Span) {
        let started = Instant::now();
        let result = self.runtime.block_on(self.client.call(request, PATIENCE));
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        (result, Span::micros(micros))
    }

    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let micros = since.expect("after 1970").as_micros();
        Timestamp::from_unix_micros(u64::try_from(micros).expect("before the year 586,000"))
    }

    fn subnet(&self) -> &'static str {
        "public"
    }
}
