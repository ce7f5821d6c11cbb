//! One node: the nine steps that bring it up (§8), what watches it (§9), and its end.

use std::{
    cell::{Cell, RefCell},
    net::Ipv4Addr,
    rc::Rc,
    sync::Arc,
};

use ray_on_golem::{
    core::cluster::plan::NodeKind,
    units::Span,
    yagna::{ActivityId, ExeCommand, Request, Response, Status},
};

use super::{
    cluster::Cluster,
    monitor,
    service::{Activity, Agreement, PROVIDER_TIMEOUT, Service},
    stack::Stack,
    world::Task,
};
use crate::{meter::NodeKey, yagna::Refusal};

/// The priority stack is asked alone for so long (§4).
const PRIORITY_TIME: Span = Span::secs(30);
const CREATE_TIMEOUT: Span = Span::secs(10);
const DEPLOY_PATIENCE: Span = Span::mins(5);
/// How results are asked for.
const RESULTS_TIMEOUT: Span = Span::secs(5);
/// A provider that is not found is asked again so often.
const LOST_TRIES: u32 = 3;
const LOST_PAUSE: Span = Span::secs(3);
const SSH_TRIES: u32 = 3;
const SSH_PAUSE: Span = Span::secs(5);

/// What prepares a node for Ray, one batch for each of them.
const BOOTSTRAP: [&str; 8] = [
    "echo 'ON_GOLEM_NETWORK=1' >> /etc/environment",
    "echo \"NODE_IP=$IP\" >> /etc/environment",
    "echo \"$HOST\" > /etc/hostname",
    "echo \"$IP $HOST\" >> /etc/hosts",
    "mv the five files of the image to their places",
    "echo 'export PATH=$PATH:~/.local/bin' >> ~/.bashrc",
    "mkdir -p ~/.ssh",
    "echo \"$KEY\" >> ~/.ssh/authorized_keys",
];
const START_SSH: &str = "service ssh start";

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Pending,
    Running,
    Terminating,
    Terminated,
}

/// One node.
pub(super) struct Node {
    pub(super) key: NodeKey,
    pub(super) kind: NodeKind,
    /// Where its agreement comes from: the priority stack first.
    pub(super) stacks: Vec<Rc<Stack>>,
    pub(super) state: Cell<State>,
    place: RefCell<Option<Place>>,
    start: RefCell<Option<Task>>,
    monitors: RefCell<Vec<Task>>,
}

/// Where a node runs.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) activity: ActivityId,
    pub(super) ip: Ipv4Addr,
}

/// Why a node did not come up.
pub(super) enum Failure {
    /// An error of golem-core or of the original itself: the next provider is asked, at once.
    Retried,
    /// An error of the daemon's client: the node ends.
    Final,
}

impl From<Refusal> for Failure {
    /// 404 is the one refusal that golem-core has an error of its own for.
    fn from(refusal: Refusal) -> Self {
        if refusal.status == Status::NOT_FOUND { Self::Retried } else { Self::Final }
    }
}

impl Node {
    pub(super) fn new(key: NodeKey, kind: NodeKind, stacks: Vec<Rc<Stack>>) -> Rc<Self> {
        Rc::new(Self {
            key,
            kind,
            stacks,
            state: Cell::new(State::Pending),
            place: RefCell::default(),
            start: RefCell::default(),
            monitors: RefCell::default(),
        })
    }

    /// Begins to bring it up.
    pub(super) fn schedule_start(self: &Rc<Self>, cluster: &Rc<Cluster>) {
        let work = Self::bring_up(Rc::clone(self), Rc::clone(cluster));
        *self.start.borrow_mut() = Some(cluster.service.world.spawn(work));
    }

    /// Whether it is, or will be, up.
    pub(super) fn is_live(&self) -> bool {
        self.state.get() <= State::Running
    }

    /// Tries one provider after the other, without a pause and without an end.
    async fn bring_up(self: Rc<Self>, cluster: Rc<Cluster>) {
        let service = &cluster.service;
        let place = loop {
            match self.create(service).await {
                Ok(place) => break place,
                Err(Failure::Retried) => {}
                Err(Failure::Final) => {
                    // Nobody is told: its stacks stay as they are.
                    self.state.set(State::Terminated);
                    service.meter.borrow_mut().down(service.world.now(), self.key);
                    return;
                }
            }
        };
        self.state.set(State::Running);
        service.meter.borrow_mut().up(service.world.now(), self.key);
        *self.place.borrow_mut() = Some(place.clone());
        let world = &service.world;
        let watches = |cluster: &Rc<Cluster>| (Rc::clone(&self), Rc::clone(cluster), place.clone());
        let (node, of, at) = watches(&cluster);
        let activity = world.spawn(monitor::activity(node, of, at));
        let (node, of, at) = watches(&cluster);
        let ssh = world.spawn(monitor::ssh(node, of, at));
        self.monitors.borrow_mut().extend([activity, ssh]);
    }

    async fn create(&self, service: &Service) -> Result<Place, Failure> {
        let agreement = self.agreement(service).await;
        let activity = self.create_activity(service, &agreement).await?;
        let placed = self.prepare(service, &agreement, &activity).await;
        if placed.is_err() {
            service.destroy(&activity).await;
        }
        placed
    }

    /// The priority stack's, if it comes in time. What was being signed there is forgotten.
    async fn agreement(&self, service: &Service) -> Rc<Agreement> {
        let (last, first) = self.stacks.split_last().expect("a node has a stack");
        if let Some(priority) = first.first() {
            let asked = priority.agreement(service);
            if let Some(agreement) = service.world.within(PRIORITY_TIME, asked).await {
                return agreement;
            }
        }
        last.agreement(service).await
    }

    async fn create_activity(
        &self,
        service: &Service,
        agreement: &Rc<Agreement>,
    ) -> Result<ActivityId, Failure> {
        let (id, timeout) = (agreement.id.clone(), CREATE_TIMEOUT);
        let request = Request::CreateActivity { agreement: id, timeout };
        let Response::ActivityCreated(id) = service.world.call(request).await? else {
            unreachable!("{}", super::MISMATCH)
        };
        service.meter.borrow_mut().placed(self.key, &agreement.id);
        agreement.activities.borrow_mut().push(id.clone());
        let activity = Activity {
            agreement: Rc::clone(agreement),
            created: service.world.now(),
            notes: RefCell::default(),
        };
        service.activities.borrow_mut().insert(id.clone(), Rc::new(activity));
        Ok(id)
    }

    async fn prepare(
        &self,
        service: &Service,
        agreement: &Agreement,
        activity: &ActivityId,
    ) -> Result<Place, Failure> {
        let provider = &agreement.offer.provider;
        let ip = service.add_provider(provider).await?;
        let deploy = ExeCommand::Deploy { networks: vec![service.deployment(ip)] };
        let deployed = execute(service, activity, deploy);
        // Golem-core waits for the result only so long; sending takes as long as it takes.
        service.world.within(DEPLOY_PATIENCE, deployed).await.unwrap_or(Err(Failure::Retried))?;
        execute(service, activity, ExeCommand::Start).await?;
        for command in BOOTSTRAP {
            execute(service, activity, shell(command)).await?;
        }
        execute(service, activity, shell(START_SSH)).await?;
        if !answers_ssh(service, ip).await {
            return Err(Failure::Retried);
        }
        service.announce(provider, ip).await?;
        Ok(Place { activity: activity.clone(), ip })
    }

    /// Ends it; what does not work is not tried again.
    pub(super) async fn stop(&self, service: &Service) {
        if !self.is_live() {
            return;
        }
        self.state.set(State::Terminating);
        service.meter.borrow_mut().down(service.world.now(), self.key);
        self.start.take().iter().for_each(Task::abort);
        self.monitors.take().iter().for_each(Task::abort);
        let place = self.place.take();
        if let Some(place) = place {
            service.destroy(&place.activity).await;
        }
        self.state.set(State::Terminated);
    }
}

/// Runs one command in a batch of its own, and waits for its end.
pub(super) async fn execute(
    service: &Service,
    activity: &ActivityId,
    command: ExeCommand,
) -> Result<(), Failure> {
    let request = Request::Execute {
        activity: activity.clone(),
        script: Arc::new(vec![command]),
        timeout: PROVIDER_TIMEOUT,
    };
    let Response::BatchStarted(batch) = service.world.call(request).await? else {
        unreachable!("{}", super::MISMATCH)
    };
    let mut lost = 0;
    loop {
        let request = Request::CollectResults {
            activity: activity.clone(),
            batch: batch.clone(),
            command: 0,
            timeout: RESULTS_TIMEOUT,
        };
        match service.world.call(request).await {
            Ok(Response::Results(results)) => {
                let is_ok = results.iter().all(|result| result.is_ok);
                return if is_ok { Ok(()) } else { Err(Failure::Retried) };
            }
            Err(Refusal { status: Status(408 | 504), .. }) => {}
            Err(refusal) if is_lost(&refusal) && lost < LOST_TRIES => {
                lost += 1;
                service.world.sleep(LOST_PAUSE).await;
            }
            Ok(_) | Err(_) => return Err(Failure::Retried),
        }
    }
}

fn is_lost(refusal: &Refusal) -> bool {
    refusal.status == Status(500) && refusal.body.contains("endpoint address not found")
}

pub(super) fn shell(command: &str) -> ExeCommand {
    let args = vec!["-c".to_owned(), command.to_owned()];
    ExeCommand::Run { entry_point: "/bin/sh".to_owned(), args }
}

/// Whether a command runs over ssh, in a few tries (§8).
pub(super) async fn answers_ssh(service: &Service, ip: Ipv4Addr) -> bool {
    for nth in 1..=SSH_TRIES {
        if service.world.ssh(&service.network(), ip).await {
            return true;
        }
        if nth < SSH_TRIES {
            service.world.sleep(SSH_PAUSE).await;
        }
    }
    false
}
