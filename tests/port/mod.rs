//! The simulated daemon in the process of the test, by the wall clock: what the product's loop talks
//! with where no socket is needed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use golem_sim::{
    scenario::Scenario,
    yagna::{Reply, RequestNo, SimYagna},
};
use ray_on_golem::{
    core::rng::Seed,
    driver::{
        clock::{nap, now},
        probe::{Prober, Target},
    },
    units::{Span, Timestamp},
    yagna::{
        CallError, Doubt, Request, Yagna,
        wire::{self, HttpResponse},
    },
};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// A simulated daemon that runs by the wall clock; its clones are the same.
#[derive(Clone)]
pub(crate) struct SimPort(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    wake: Notify,
}

struct State {
    daemon: SimYagna,
    waiting: BTreeMap<RequestNo, oneshot::Sender<Reply>>,
    next: u64,
}

impl SimPort {
    /// The daemon of a scenario, and the task that moves it on.
    pub(crate) fn start(scenario: &str) -> (Self, JoinHandle<()>) {
        let scenario = Scenario::parse(scenario.as_bytes()).expect("a sound scenario");
        let daemon = SimYagna::new(&scenario, Seed::new(1), now());
        let state = State { daemon, waiting: BTreeMap::new(), next: 0 };
        let port = Self(Arc::new(Inner { state: Mutex::new(state), wake: Notify::new() }));
        let moved = port.clone();
        (port, tokio::spawn(async move { moved.run().await }))
    }

    async fn run(self) {
        loop {
            let next = {
                let mut state = self.state();
                state.daemon.elapse(now());
                state.answer();
                state.daemon.poll_timeout().unwrap_or(Timestamp::NEVER)
            };
            tokio::select! {
                () = nap(now(), next) => {}
                () = self.0.wake.notified() => {}
            }
        }
    }

    /// The daemon as it is.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&SimYagna) -> T) -> T {
        look(&self.state().daemon)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panics with it")
    }
}

impl State {
    fn answer(&mut self) {
        while let Some((request, reply)) = self.daemon.poll_reply() {
            if let Some(waiting) = self.waiting.remove(&request) {
                drop(waiting.send(reply));
            }
        }
    }
}

impl Yagna for SimPort {
    async fn exchange(&self, request: &Request, patience: Span) -> Result<HttpResponse, CallError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state();
            let id = RequestNo(state.next);
            state.next += 1;
            state.waiting.insert(id, sender);
            state.daemon.handle(now(), id, request);
            state.answer();
        }
        self.0.wake.notify_one();
        let patience = Duration::from_micros(patience.as_micros());
        let Ok(Ok(reply)) = timeout(patience, receiver).await else {
            return Err(CallError::Unknown(Doubt::TimedOut));
        };
        Ok(wire::encode_response(match &reply {
            Ok(response) => Ok(response),
            Err(refusal) => Err((refusal.status, &refusal.body)),
        }))
    }
}

/// Sees every node well, and remembers what it was to look at.
#[derive(Clone, Default)]
pub(crate) struct AllWell(Arc<Mutex<Vec<Target>>>);

impl AllWell {
    /// What there was to look at.
    pub(crate) fn targets(&self) -> Vec<Target> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

impl Prober for AllWell {
    async fn probe(&self, target: Target, _: Span) -> Result<(), String> {
        self.0.lock().expect("nobody panics with it").push(target);
        Ok(())
    }
}
