//! The one `SimYagna`, behind one lock, as time passes.
//!
//! A call goes in under the lock and its answer comes out of a channel of its own; nothing waits
//! while it holds the lock. Whoever goes away has its request cancelled. The task [`Daemon::keep_time`]
//! sleeps until the daemon has something to do, and is woken when that becomes earlier.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ray_on_golem::{
    core::rng::Seed,
    driver::clock::Clock,
    units::{Span, Timestamp},
    yagna::{Endpoint, PlatformId, Request, Status},
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::document::{self, Patches};
use crate::{
    fault::{Fate, Faults, Outage, OutageKind},
    scenario::Scenario,
    yagna::{Errand, Outcome, Refusal, Reply, RequestNo, SimYagna, Source, errand::CommandPlace},
};

/// So many calls are remembered for `/sim/trace`.
const TRACE_LENGTH: usize = 1_000;
/// Nothing is slept through for longer, whatever the clock of the machine does.
const NAP_MAX: Duration = Duration::from_secs(1);
/// There are nine networks.
const PLATFORMS_MAX: usize = 32;
const PLATFORM_LENGTH_MAX: usize = 64;

/// Whether the API is there. A new number means that all connections of before are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It listens.
    Up(u64),
    /// It does not.
    Down(u64),
    /// It ends for good.
    Over,
}

/// The daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    inner: Mutex<Inner>,
    wake: Notify,
    /// Told whenever something may have happened.
    news: Arc<Notify>,
    life: watch::Sender<Life>,
}

/// An answer and what its document needs beyond it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) patches: Patches,
    /// What the network does to it.
    pub(super) fate: Fate,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The connection is closed.
    Closed,
    /// Nothing ever comes.
    Silent,
}

/// One call, for `/sim/trace`.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    pub(super) began: Timestamp,
    pub(super) took: Span,
    pub(super) endpoint: Endpoint,
    pub(super) status: u16,
}

/// What is seen and changed under the lock.
pub(super) struct Inner {
    pub(super) yagna: SimYagna,
    pub(super) faults: Faults,
    pub(super) trace: VecDeque<Traced>,
    pub(super) started: Timestamp,
    /// Platforms whose wallet was opened by hand since the daemon started.
    opened: BTreeSet<PlatformId>,
    /// How many allocations there were when it started.
    allocated_before: usize,
    clock: Clock,
    now: Timestamp,
    seed: Seed,
    next: u64,
    waiters: BTreeMap<RequestNo, Waiter>,
    /// How often each endpoint was called.
    tries: BTreeMap<Endpoint, u64>,
    /// When the clock's task wakes up by itself.
    alarm: Timestamp,
    outage: Option<OutageKind>,
    lives: u64,
    is_over: bool,
    /// Whoever carries out what activities ask for takes all of it at once; an activity asks for one
    /// thing at a time, so that the channel needs no bound.
    host: mpsc::UnboundedSender<Errand>,
    news: Arc<Notify>,
}

struct Waiter {
    to: oneshot::Sender<(Reply, Patches)>,
    began: Timestamp,
    endpoint: Endpoint,
}

/// A request under way; dropped early, it is cancelled.
struct Ticket<'a> {
    daemon: &'a Daemon,
    number: RequestNo,
    is_answered: bool,
}

impl Daemon {
    /// A daemon, and what its activities ask for.
    pub(super) fn new(scenario: &Scenario, seed: Seed) -> (Self, mpsc::UnboundedReceiver<Errand>) {
        let mut clock = Clock::default();
        let now = clock.now();
        let (host, errands) = mpsc::unbounded_channel();
        let mut yagna = SimYagna::new(scenario, seed, now);
        yagna.host_outside();
        yagna.forget_history();
        let news = Arc::new(Notify::new());
        let inner = Inner {
            yagna,
            faults: scenario.faults.clone(),
            trace: VecDeque::new(),
            started: now,
            opened: BTreeSet::new(),
            allocated_before: 0,
            clock,
            now,
            seed,
            next: 0,
            waiters: BTreeMap::new(),
            tries: BTreeMap::new(),
            alarm: now,
            outage: None,
            lives: 0,
            is_over: false,
            host,
            news: Arc::clone(&news),
        };
        let life = watch::Sender::new(Life::Up(0));
        (Self { inner: Mutex::new(inner), wake: Notify::new(), news, life }, errands)
    }

    /// Makes one call.
    pub(super) async fn call(&self, request: &Request) -> Result<Answer, Lost> {
        let (sender, receiver) = oneshot::channel();
        let (number, fate) = {
            let mut inner = self.look();
            match inner.outage {
                Some(OutageKind::Hang) => return Err(Lost::Silent),
                Some(OutageKind::Restart | OutageKind::Down) => return Err(Lost::Closed),
                None => {}
            }
            let fate = inner.fate(request.endpoint());
            match fate {
                Fate::Refused => return Err(Lost::Closed),
                Fate::RequestLost => return Err(Lost::Silent),
                Fate::Failed => return Ok(Answer::failed()),
                Fate::Through
                | Fate::ReplyLost
                | Fate::Closed
                | Fate::Garbled
                | Fate::WrongIds(_) => {}
            }
            let number = inner.handle(request, sender);
            if inner.next_instant() < inner.alarm {
                self.wake.notify_one();
            }
            (number, fate)
        };
        let mut ticket = Ticket { daemon: self, number, is_answered: false };
        let answer = receiver.await;
        ticket.is_answered = true;
        match (answer, fate) {
            (Err(_), _) => Err(Lost::Closed),
            (Ok(_), Fate::ReplyLost) => Err(Lost::Silent),
            (Ok((reply, patches)), fate) => Ok(Answer { reply, patches, fate }),
        }
    }

    /// The daemon at the present instant.
    pub(super) fn look(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.now = inner.clock.now();
        inner
    }

    /// Lets happen what is due, for ever.
    pub(super) async fn keep_time(self: Arc<Self>) {
        loop {
            let nap = {
                let mut inner = self.look();
                inner.advance();
                let life = inner.life();
                self.life.send_if_modified(|now| std::mem::replace(now, life) != life);
                let nap = Duration::from_micros(inner.next_instant().since(inner.now).as_micros());
                let nap = nap.min(NAP_MAX);
                inner.alarm = inner.now.plus(Span::micros(nap.as_micros() as u64));
                nap
            };
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Whether the API is there, now and later.
    pub(super) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// Changes what disturbs the way to the daemon, and lets an outage begin.
    ///
    /// # Errors
    ///
    /// If `change` refuses; then nothing is changed.
    pub(super) fn disturb<E>(
        &self,
        change: impl FnOnce(&Faults) -> Result<(Faults, Option<(OutageKind, Span)>), E>,
    ) -> Result<(), E> {
        {
            let mut inner = self.look();
            let (faults, begins) = change(&inner.faults)?;
            inner.faults = faults;
            let at = inner.now.since(inner.started);
            inner.faults.outages.extend(begins.map(|(kind, lasts)| Outage { at, lasts, kind }));
            inner.advance();
            let life = inner.life();
            self.life.send_if_modified(|now| std::mem::replace(now, life) != life);
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Tells whenever something may have happened.
    pub(super) fn news(&self) -> &Notify {
        &self.news
    }

    /// A command of an activity has written something.
    pub(super) fn errand_wrote(&self, command: &CommandPlace, source: Source, bytes: &[u8]) {
        let mut inner = self.look();
        let now = inner.now;
        inner.yagna.errand_wrote(now, command, source, bytes);
        inner.deliver();
    }

    /// A command of an activity was carried out.
    pub(super) fn errand_done(&self, command: &CommandPlace, outcome: Outcome) {
        {
            let mut inner = self.look();
            let now = inner.now;
            inner.yagna.elapse(now);
            inner.yagna.errand_done(now, command, outcome);
            inner.deliver();
        }
        self.wake.notify_one();
    }

    /// Takes no more connections, for good.
    pub(super) fn close(&self) {
        self.look().is_over = true;
        self.life.send_replace(Life::Over);
    }
}

impl Inner {
    /// The present.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The outage that there is now.
    pub(super) fn outage(&self) -> Option<OutageKind> {
        self.outage
    }

    /// How many requests wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// The platforms whose wallet was used since the daemon started.
    pub(super) fn accounts(&self) -> BTreeSet<PlatformId> {
        let since = &self.yagna.allocations()[self.allocated_before..];
        let used = since.iter().map(|book| book.allocation.platform.clone());
        self.opened.iter().cloned().chain(used).collect()
    }

    /// Opens the wallet on a platform, if there is one.
    pub(super) fn open_account(&mut self, platform: PlatformId) {
        let has_room = self.opened.len() < PLATFORMS_MAX;
        if has_room && platform.as_str().len() <= PLATFORM_LENGTH_MAX {
            self.opened.insert(platform);
        }
    }

    fn handle(&mut self, request: &Request, to: oneshot::Sender<(Reply, Patches)>) -> RequestNo {
        let number = RequestNo(self.next);
        self.next += 1;
        let endpoint = request.endpoint();
        self.waiters.insert(number, Waiter { to, began: self.now, endpoint });
        self.yagna.elapse(self.now);
        self.yagna.handle(self.now, number, request);
        self.deliver();
        number
    }

    fn advance(&mut self) {
        self.yagna.elapse(self.now);
        self.deliver();
        let present = self.faults.outage(self.started, self.now).map(|outage| outage.kind);
        if present != self.outage {
            self.change_outage(present);
        }
        let passed = self.now.since(self.started);
        self.faults.outages.retain(|outage| passed < outage.at.plus(outage.lasts));
    }

    fn change_outage(&mut self, present: Option<OutageKind>) {
        self.outage = present;
        match present {
            Some(OutageKind::Restart) => {
                self.yagna.restart(self.now);
                self.waiters.clear();
                self.opened.clear();
                self.allocated_before = self.yagna.allocations().len();
                self.lives += 1;
            }
            Some(OutageKind::Down) => {
                for number in std::mem::take(&mut self.waiters).into_keys() {
                    self.yagna.cancel(number);
                }
                self.lives += 1;
            }
            Some(OutageKind::Hang) | None => {}
        }
    }

    fn life(&self) -> Life {
        match self.outage {
            _ if self.is_over => Life::Over,
            Some(OutageKind::Restart | OutageKind::Down) => Life::Down(self.lives),
            Some(OutageKind::Hang) | None => Life::Up(self.lives),
        }
    }

    fn deliver(&mut self) {
        while let Some(errand) = self.yagna.poll_errand() {
            // At the end nobody carries out anything any more.
            let _ = self.host.send(errand);
        }
        while let Some((number, reply)) = self.yagna.poll_reply() {
            let Some(Waiter { to, began, endpoint }) = self.waiters.remove(&number) else {
                continue;
            };
            let patches = document::patches(&reply, &self.yagna, self.now);
            let status = reply.as_ref().map_or_else(|refusal| refusal.status.0, |_| 200);
            self.note(Traced { began, took: self.now.since(began), endpoint, status });
            // Whoever asked may be gone.
            let _ = to.send((reply, patches));
        }
        self.news.notify_waiters();
    }

    fn note(&mut self, traced: Traced) {
        if self.trace.len() == TRACE_LENGTH {
            self.trace.pop_front();
        }
        self.trace.push_back(traced);
    }

    fn fate(&mut self, endpoint: Endpoint) -> Fate {
        let nth = self.tries.entry(endpoint).or_insert(0);
        *nth += 1;
        self.faults.fate(self.seed, endpoint, *nth)
    }

    /// When something happens next.
    fn next_instant(&self) -> Timestamp {
        let edges = self.faults.outages.iter().flat_map(|outage| {
            let begins = self.started.plus(outage.at);
            [begins, begins.plus(outage.lasts)]
        });
        let edge = edges.filter(|at| *at > self.now).min();
        edge.into_iter().chain(self.yagna.poll_timeout()).min().unwrap_or(Timestamp::NEVER)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Answer {
    fn failed() -> Self {
        let body = "{\"message\":\"Internal error\"}".to_owned();
        let refusal = Refusal { status: Status(500), body };
        Self { reply: Err(refusal), patches: Patches::default(), fate: Fate::Failed }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            let mut inner = self.daemon.look();
            inner.waiters.remove(&self.number);
            inner.yagna.cancel(self.number);
        }
    }
}
