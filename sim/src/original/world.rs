//! Coroutines over virtual time, in front of a simulated daemon.
//!
//! The original is a program of coroutines, so its model is one, too. A task runs until it waits: for an
//! instant, for an answer of the daemon, or for another task. There is one thread, nothing but waiting
//! takes time, and what is due at one instant happens in a fixed order: so a seed has one course.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    net::Ipv4Addr,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    task::{Context, Poll, Wake, Waker},
};

use ray_on_golem::{
    core::rng::Seed,
    units::{Span, Timestamp},
    yagna::{NetworkId, Request},
};

use crate::{
    scenario::{Distribution, Scenario, distribution::ONE},
    yagna::{Reply, RequestNo, SimYagna, books::SshAnswer},
};

/// A look over ssh that is answered takes so long, as in drills of the machine.
const SSH_TIME: Span = Span::millis(1_100);
/// A look that nothing comes back from. The original has no limit of its own (§8); that the connection
/// breaks so soon favours it.
const SSH_SILENCE: Span = Span::secs(10);

/// A coroutine.
pub(super) type Coroutine = Pin<Box<dyn Future<Output = ()>>>;

/// Time, the daemon, and what lies between it and the tasks.
pub(super) struct World {
    now: Cell<Timestamp>,
    pub(super) daemon: RefCell<SimYagna>,
    pub(super) seed: Seed,
    latency_ms: Distribution,
    agenda: RefCell<BTreeMap<(Timestamp, u64), Due>>,
    ordinals: Cell<u64>,
    calls: RefCell<BTreeMap<RequestNo, Call>>,
    begun: RefCell<Vec<(TaskId, Coroutine)>>,
    ended: RefCell<Vec<TaskId>>,
}

/// Runs tasks.
pub(super) struct Executor {
    world: Rc<World>,
    tasks: BTreeMap<TaskId, (Coroutine, Waker)>,
    /// Tasks that can go on, in the order in which they could.
    ready: Receiver<TaskId>,
    sender: Sender<TaskId>,
}

/// A task that was begun.
#[derive(Clone)]
pub(super) struct Task {
    id: TaskId,
    world: Rc<World>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TaskId(u64);

/// Somebody waits for an answer of the daemon.
#[derive(Default)]
struct Call {
    has_arrived: bool,
    reply: Option<Reply>,
    waker: Option<Waker>,
}

enum Due {
    Wakes(Waker),
    Arrives(RequestNo, Box<Request>),
    Answered(RequestNo, Box<Reply>),
}

/// Says which task can go on.
struct Alarm {
    task: TaskId,
    ready: Sender<TaskId>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        // The executor may be gone already, and its tasks with it.
        let _ = self.ready.send(self.task);
    }
}

impl World {
    pub(super) fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// Begins a task.
    pub(super) fn spawn(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) -> Task {
        let id = TaskId(self.ordinal());
        self.begun.borrow_mut().push((id, Box::pin(work)));
        Task { id, world: Rc::clone(self) }
    }

    /// Waits for so long.
    pub(super) async fn sleep(&self, span: Span) {
        let until = self.now().plus(span);
        let mut is_set = false;
        poll_fn(|context| {
            if self.now() >= until {
                return Poll::Ready(());
            }
            if !is_set {
                self.enqueue(until, Due::Wakes(context.waker().clone()));
                is_set = true;
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits for something, but not longer than so; what is not done by then is dropped.
    pub(super) async fn within<T>(&self, span: Span, work: impl Future<Output = T>) -> Option<T> {
        let (mut work, mut end) = (pin!(work), pin!(self.sleep(span)));
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => end.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    /// Asks the daemon, and waits for the answer.
    pub(super) async fn call(&self, request: Request) -> Reply {
        let number = RequestNo(self.ordinal());
        let at = self.now().plus(self.latency());
        self.enqueue(at, Due::Arrives(number, Box::new(request)));
        self.calls.borrow_mut().insert(number, Call::default());
        let _open = OpenCall { world: self, number };
        poll_fn(|context| {
            let mut calls = self.calls.borrow_mut();
            let call = calls.get_mut(&number).expect("it is open");
            call.waker = Some(context.waker().clone());
            call.reply.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Looks at a node over ssh; tells whether a command ran there.
    pub(super) async fn ssh(&self, network: &NetworkId, ip: Ipv4Addr) -> bool {
        let answer = self.daemon.borrow().ssh(self.now(), network, ip);
        match answer {
            SshAnswer::Up | SshAnswer::Refused => self.sleep(SSH_TIME).await,
            SshAnswer::Silent => self.sleep(SSH_SILENCE).await,
        }
        answer == SshAnswer::Up
    }

    fn latency(&self) -> Span {
        let billionths = self.latency_ms.sample(self.seed, "latency", self.ordinals.get(), 0);
        Span::micros((billionths / (ONE / 1_000)).max(1))
    }

    fn ordinal(&self) -> u64 {
        let ordinal = self.ordinals.get();
        self.ordinals.set(ordinal + 1);
        ordinal
    }

    fn enqueue(&self, at: Timestamp, due: Due) {
        let ordinal = self.ordinal();
        self.agenda.borrow_mut().insert((at, ordinal), due);
    }

    fn next_instant(&self) -> Option<Timestamp> {
        let own = self.agenda.borrow().keys().next().map(|(at, _)| *at);
        own.into_iter().chain(self.daemon.borrow().poll_timeout()).min()
    }

    /// Lets happen one thing that is due.
    fn step(&self) {
        let due = self.agenda.borrow_mut().first_entry().and_then(|entry| {
            let is_due = entry.key().0 <= self.now();
            is_due.then(|| entry.remove())
        });
        match due {
            None => {
                self.daemon.borrow_mut().elapse(self.now());
                self.collect_replies();
            }
            Some(Due::Wakes(waker)) => waker.wake(),
            Some(Due::Arrives(number, request)) => {
                self.daemon.borrow_mut().handle(self.now(), number, &request);
                match self.calls.borrow_mut().get_mut(&number) {
                    Some(call) => call.has_arrived = true,
                    // Sent, and given up before it arrived.
                    None => self.daemon.borrow_mut().cancel(number),
                }
                self.collect_replies();
            }
            Some(Due::Answered(number, reply)) => {
                if let Some(call) = self.calls.borrow_mut().get_mut(&number) {
                    call.reply = Some(*reply);
                    call.waker.take().into_iter().for_each(Waker::wake);
                }
            }
        }
    }

    fn collect_replies(&self) {
        loop {
            let reply = self.daemon.borrow_mut().poll_reply();
            let Some((number, reply)) = reply else { return };
            let at = self.now().plus(self.latency());
            self.enqueue(at, Due::Answered(number, Box::new(reply)));
        }
    }
}

/// Tells the daemon when nobody waits for an answer any more.
struct OpenCall<'a> {
    world: &'a World,
    number: RequestNo,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        let call = self.world.calls.borrow_mut().remove(&self.number);
        if call.is_some_and(|call| call.has_arrived && call.waker.is_some()) {
            self.world.daemon.borrow_mut().cancel(self.number);
        }
    }
}

impl Task {
    /// Drops what the task has not done yet.
    pub(super) fn abort(&self) {
        self.world.ended.borrow_mut().push(self.id);
    }
}

impl Executor {
    pub(super) fn new(scenario: &Scenario, seed: Seed, start: Timestamp) -> Self {
        let (sender, ready) = channel();
        let world = World {
            now: Cell::new(start),
            daemon: RefCell::new(SimYagna::new(scenario, seed, start)),
            seed,
            latency_ms: scenario.daemon.latency_ms.clone(),
            agenda: RefCell::default(),
            ordinals: Cell::new(0),
            calls: RefCell::default(),
            begun: RefCell::default(),
            ended: RefCell::default(),
        };
        Self { world: Rc::new(world), tasks: BTreeMap::new(), ready, sender }
    }

    pub(super) const fn world(&self) -> &Rc<World> {
        &self.world
    }

    /// Lets time pass until something is so, but not longer than until then; says whether it is so.
    pub(super) fn run_until(&mut self, until: Timestamp, is_so: impl Fn() -> bool) -> bool {
        loop {
            self.run_ready();
            if is_so() {
                return true;
            }
            match self.world.next_instant() {
                Some(next) if next <= until => {
                    self.world.now.set(self.world.now().max(next));
                    self.world.step();
                }
                Some(_) | None => break,
            }
        }
        self.world.now.set(self.world.now().max(until));
        false
    }

    /// Runs every task that can go on, until each of them waits.
    fn run_ready(&mut self) {
        loop {
            for (id, work) in self.world.begun.take() {
                let alarm = Alarm { task: id, ready: self.sender.clone() };
                self.tasks.insert(id, (work, Arc::new(alarm).into()));
                // The receiver is our own.
                let _ = self.sender.send(id);
            }
            for id in self.world.ended.take() {
                self.tasks.remove(&id);
            }
            let Ok(id) = self.ready.try_recv() else { return };
            let Some((mut work, waker)) = self.tasks.remove(&id) else { continue };
            if work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                self.tasks.insert(id, (work, waker));
            }
        }
    }
}
