//! The manager as it runs: one loop around one machine, with journals.
//!
//! ```text
//!   Handle::ask ---> requests --+                         +--> journals (a barrier)
//!   daemon's replies -----------+--> loop: Machine -------+--> calls, probes (tasks of their own)
//!   probes' outcomes -----------+                         +--> answers, board, log
//!   clock ----------------------+
//! ```
//!
//! The loop executes outputs in order; what is to be durable is on the disk before anything that
//! follows it is done. No task ends unnoticed: a call or a probe that panics ends the loop with an
//! error, and so does a journal that cannot be written. Whoever runs the loop ends the process then:
//! the journals say how to go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet, spawn_blocking},
    time::timeout,
};

use super::{
    Recorder,
    board::{Board, ClusterBoard, LoadBoard},
    calls::{Calls, GRACE},
    chronicle::Chronicle,
    clock::{Clock, nap},
    journal::{Journals, JournalsError, Recovered},
    log::Log,
    probe::{Prober, Target},
    providers::Seen,
};
use crate::{
    bills::{Entry, News},
    core::{
        Answer, Command, Machine, Output, Record, RequestError,
        cluster::record::ClusterRecord,
        experience::Observation,
        ids::{ClusterId, ProbeId, RequestId},
        record::JournalId,
        rng::Seed,
    },
    recording::Event,
    units::{Span, Timestamp},
    yagna::Yagna,
};

/// Requests that wait for the machine; whoever brings more waits until it may.
const REQUESTS_MAX: usize = 64;
/// The board is not published more often than this, unless somebody waits for an answer.
const PUBLISH_EVERY: Span = Span::millis(50);
const WHO: &str = "manager";

/// A request and where its answer goes.
struct Ask {
    command: Command,
    reply: oneshot::Sender<Answer>,
}

/// The way to ask a running manager; its clones ask the same one.
#[derive(Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    board: watch::Receiver<Arc<Board>>,
}

/// The manager does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the manager has stopped")]
pub struct Gone;

/// The files of a manager.
pub struct Kept {
    /// What must survive a crash.
    pub journals: Journals,
    /// What they say.
    pub recovered: Recovered,
    /// What bug reports are made of.
    pub recorder: Recorder,
}

/// Why the manager stopped by itself.
#[derive(Debug, Error)]
pub enum ManagerError {
    /// What must be durable cannot be made so.
    #[error(transparent)]
    Journals(#[from] JournalsError),
    /// A part of it died; this is a bug.
    #[error("a task of the manager died: {0}")]
    Died(#[from] JoinError),
}

/// One loop around one machine.
pub struct Manager<Y, P> {
    machine: Machine,
    clock: Clock,
    /// None only while they are written.
    journals: Option<Journals>,
    prober: Arc<P>,
    log: Log,
    chronicle: Chronicle,
    sightings: Option<mpsc::Sender<Seen>>,
    bills: Option<mpsc::UnboundedSender<News>>,
    asks: mpsc::Receiver<Ask>,
    board: watch::Sender<Arc<Board>>,
    answers: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    next_request: u64,
    calls: Calls<Y>,
    probes: JoinSet<(ProbeId, Result<(), String>)>,
    /// What has changed since the board was published.
    changed: BTreeSet<JournalId>,
    published: Timestamp,
    batches: u64,
    recorder: Recorder,
}

impl Handle {
    /// Asks the machine, and waits for its answer.
    ///
    /// # Errors
    ///
    /// If the manager has stopped.
    pub async fn ask(&self, command: Command) -> Result<Answer, Gone> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask { command, reply }).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// All clusters as they are now.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board.borrow())
    }

    /// The board, and word of its changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Board>> {
        self.board.clone()
    }
}

impl<Y, P> Manager<Y, P>
where
    Y: Yagna + Clone + Send + Sync + 'static,
    P: Prober,
{
    /// A manager that goes on where the journals end.
    #[must_use]
    pub fn new(kept: Kept, yagna: Y, prober: P, log: Log) -> (Self, Handle) {
        let Kept { journals, recovered, mut recorder } = kept;
        for torn in &recovered.torn {
            log.warn(WHO, &torn.to_string());
        }
        let clusters = recovered.durable.clusters().len();
        if clusters > 0 {
            log.info(WHO, &format!("Going on with {clusters} clusters of the journal"));
        }
        let mut clock = Clock::after(recovered.written);
        let started = clock.now();
        let seed = Seed::new(started.as_unix_micros());
        recorder.begin(seed, started, &recovered.durable);
        let chronicle = Chronicle::new(log.clone(), &recovered.durable);
        let machine = Machine::recover(seed, recovered.durable, started);
        let (asks_in, asks) = mpsc::channel(REQUESTS_MAX);
        let (board, board_out) = watch::channel(Arc::new(Board::default()));
        let mut manager = Self {
            machine,
            clock,
            journals: Some(journals),
            prober: Arc::new(prober),
            log,
            chronicle,
            sightings: None,
            bills: None,
            asks,
            board,
            answers: BTreeMap::new(),
            next_request: 0,
            calls: Calls::new(yagna),
            probes: JoinSet::new(),
            changed: BTreeSet::new(),
            published: Timestamp::EPOCH,
            batches: 0,
            recorder,
        };
        manager.changed.extend(manager.machine.view().durable().journals());
        manager.publish();
        (manager, Handle { asks: asks_in, board: board_out })
    }

    /// Tells somebody what is seen of providers.
    #[must_use]
    pub fn telling(self, sightings: mpsc::Sender<Seen>) -> Self {
        Self { sightings: Some(sightings), ..self }
    }

    /// Tells those who keep the bills what has become durable.
    #[must_use]
    pub fn billing(self, bills: mpsc::UnboundedSender<News>) -> Self {
        Self { bills: Some(bills), ..self }
    }

    /// Runs until everything has ended after [`Command::Shutdown`], or the machine has said what it could not end in
    /// time.
    ///
    /// # Errors
    ///
    /// If it cannot go on; nothing is lost that was durable.
    pub async fn run(mut self) -> Result<(), ManagerError> {
        loop {
            self.drain().await?;
            self.compact().await?;
            let view = self.machine.view();
            if view.has_shut_down() {
                self.publish();
                return Ok(());
            }
            if let Some(event) = self.next_event().await? {
                let at = self.clock.now();
                self.recorder.hear(at, &event);
                self.machine.handle(at, event.into_input());
            }
        }
    }

    /// Executes everything that the machine wants, in order.
    async fn drain(&mut self) -> Result<(), ManagerError> {
        let mut batches: Vec<(JournalId, Vec<Record>)> = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            self.recorder.add(&output);
            match output {
                Output::Persist { journal, records } => batches.push((journal, records)),
                Output::Answer { id, answer } => {
                    self.persist(&mut batches).await?;
                    // Who has an answer sees what it tells of.
                    self.publish();
                    if let Some(reply) = self.answers.remove(&id) {
                        // The client may have gone.
                        let _ = reply.send(answer);
                    }
                }
                Output::Call { call, request, patience } => {
                    self.persist(&mut batches).await?;
                    self.calls.start(call, request, patience);
                }
                Output::Abandon { call } => self.calls.abandon(call),
                Output::Probe { probe, what, patience } => {
                    self.persist(&mut batches).await?;
                    let target = Target::of(what, self.machine.view().durable());
                    self.probe(probe, target, patience);
                }
                Output::Notify(notice) => self.log.warn(WHO, &notice.to_string()),
                Output::Saw(sighting) => {
                    let at = self.clock.now();
                    if let (Some(bills), Observation::Failed { step, .. }) =
                        (&self.bills, &sighting.what)
                    {
                        // If the keeper is gone, a statistic is lost.
                        let _ = bills.send(News::Failed(*step));
                    }
                    if let Some(sightings) = &self.sightings {
                        // Whoever keeps them is overrun, or gone: nothing depends on it.
                        let _ = sightings.try_send((at, sighting));
                    }
                }
            }
        }
        self.persist(&mut batches).await?;
        if let Err(error) = self.recorder.finish(self.machine.poll_timeout().map(|(at, _)| at)) {
            self.log.warn(WHO, &error.to_string());
        }
        self.note_unrecorded();
        if self.clock.now().since(self.published) >= PUBLISH_EVERY {
            self.publish();
        }
        Ok(())
    }

    /// Reasons of nodes that wait, and the use of clusters, change without a record.
    fn note_unrecorded(&mut self) {
        let view = self.machine.view();
        let board = self.board.borrow();
        let is_new = |(id, shown): (&ClusterId, &Arc<ClusterBoard>)| {
            (!shown.is_current(view)).then_some(JournalId::Cluster(*id))
        };
        let changed: Vec<JournalId> = board.clusters.iter().filter_map(is_new).collect();
        drop(board);
        self.changed.extend(changed);
    }

    /// Waits until the batches are on the disk.
    async fn persist(
        &mut self,
        batches: &mut Vec<(JournalId, Vec<Record>)>,
    ) -> Result<(), ManagerError> {
        if batches.is_empty() {
            return Ok(());
        }
        let batches = std::mem::take(batches);
        let at = self.clock.now();
        let written = self
            .with_journals(move |journals| {
                let mut written = Vec::with_capacity(batches.len());
                for (journal, records) in batches {
                    let seq = journals.append(journal, at, &records)?;
                    written.push((journal, seq, records));
                }
                Ok(written)
            })
            .await?;
        for (journal, seq, records) in &written {
            self.batches = self.batches.saturating_add(1);
            if let (Some(bills), JournalId::Cluster(cluster)) = (&self.bills, journal)
                && let Some(entry) = Entry::of(*cluster, *seq, at, records)
            {
                // If the keeper is gone, the next start takes it in.
                let _ = bills.send(News::Line(entry));
            }
            self.changed.insert(*journal);
            for record in records {
                self.chronicle.tell(record);
            }
            if self.may_be_last_words(records) {
                self.published = Timestamp::EPOCH;
            }
        }
        Ok(())
    }

    /// Whether records say something of bills after which their cluster may be gone: its last books are published before.
    fn may_be_last_words(&self, records: &[Record]) -> bool {
        let durable = self.machine.view().durable();
        records.iter().any(|record| match record {
            Record::Cluster(id, record) => {
                matches!(**record, ClusterRecord::Agreement { .. })
                    && durable.cluster(*id).is_some_and(|cluster| cluster.ending.is_some())
            }
            Record::Common(_) => false,
        })
    }

    /// Replaces the journals that have grown long; all that the machine has said is written.
    async fn compact(&mut self) -> Result<(), ManagerError> {
        let due: Vec<JournalId> =
            self.journals.iter().flat_map(|journals| journals.due().collect::<Vec<_>>()).collect();
        for journal in due {
            if let Some(snapshot) = self.machine.view().durable().snapshot(journal) {
                let at = self.clock.now();
                let compacting =
                    self.with_journals(move |journals| journals.compact(at, &snapshot));
                match compacting.await {
                    // The longer one is as good. What is worse than that, its next line will find.
                    Err(ManagerError::Journals(error)) => {
                        let what = with_cause(&error);
                        self.log.warn(WHO, &format!("{what}; the longer journal is kept"));
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Does something with the journals where it may block.
    async fn with_journals<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut Journals) -> Result<T, JournalsError> + Send + 'static,
    ) -> Result<T, ManagerError> {
        let mut journals = self.journals.take().expect("each use gives the journals back");
        let used = spawn_blocking(move || {
            let done = act(&mut journals);
            (journals, done)
        });
        let (journals, done) = used.await?;
        self.journals = Some(journals);
        Ok(done?)
    }

    fn probe(&mut self, probe: ProbeId, target: Target, patience: Span) {
        let prober = Arc::clone(&self.prober);
        let limit = Duration::from_micros(patience.as_micros()) + GRACE;
        self.probes.spawn(async move {
            let outcome = timeout(limit, prober.probe(target, patience)).await;
            (probe, outcome.unwrap_or_else(|_| Err("no answer in time".to_owned())))
        });
    }

    /// The next thing that happens; nothing if only the board was due.
    async fn next_event(&mut self) -> Result<Option<Event>, ManagerError> {
        let deadline = self.machine.poll_timeout().map_or(Timestamp::NEVER, |(at, _)| at);
        // The clock is asked, not the timer: a busy channel must not starve a deadline.
        let at = self.clock.now();
        if self.clock.was_set_back() {
            self.log.warn(
                WHO,
                "The clock of this computer was set back: what the daemon tells is read again",
            );
            return Ok(Some(Event::Requested {
                id: self.fresh_request(),
                command: Command::ClockSetBack,
            }));
        }
        if deadline <= at {
            return Ok(Some(Event::Elapsed));
        }
        let publishing = match self.changed.is_empty() {
            true => Timestamp::NEVER,
            false => self.published.plus(PUBLISH_EVERY),
        };
        tokio::select! {
            replied = self.calls.next(), if !self.calls.is_empty() => {
                Ok(replied?.map(Event::Replied))
            }
            Some(joined) = self.probes.join_next(), if !self.probes.is_empty() => {
                let (probe, outcome) = joined?;
                Ok(Some(Event::Probed { probe, outcome }))
            }
            Some(Ask { command, reply }) = self.asks.recv() => self.take_up(command, reply).await,
            () = nap(at, deadline) => Ok(Some(Event::Elapsed)),
            () = nap(at, publishing), if publishing < Timestamp::NEVER => Ok(None),
        }
    }

    /// A request for the machine, unless the disk has no room for the cluster that it would begin.
    async fn take_up(
        &mut self,
        command: Command,
        reply: oneshot::Sender<Answer>,
    ) -> Result<Option<Event>, ManagerError> {
        if self.begins_cluster(&command) {
            match self.with_journals(Journals::make_room).await {
                Err(ManagerError::Journals(error)) => {
                    let why = with_cause(&error);
                    self.log.warn(WHO, &why);
                    // The client may have gone.
                    let _ = reply.send(Answer::NodesRequested(Err(RequestError::NoRoom { why })));
                    return Ok(None);
                }
                made => made?,
            }
        }
        let id = self.fresh_request();
        self.answers.insert(id, reply);
        Ok(Some(Event::Requested { id, command }))
    }

    fn begins_cluster(&self, command: &Command) -> bool {
        let Command::RequestNodes(request) = command else { return false };
        let clusters = self.machine.view().durable().clusters();
        !clusters.values().any(|cluster| cluster.name == request.cluster)
    }

    fn fresh_request(&mut self) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request = self.next_request.saturating_add(1);
        id
    }

    /// Publishes what has changed.
    fn publish(&mut self) {
        let view = self.machine.view();
        let is_shutting_down = view.is_shutting_down();
        if self.changed.is_empty() && self.board.borrow().is_shutting_down == is_shutting_down {
            return;
        }
        let at = self.clock.now();
        let mut board = Board::clone(&self.board.borrow());
        for journal in std::mem::take(&mut self.changed) {
            match journal {
                JournalId::Common => {
                    let is_gone = |id: &ClusterId| view.durable().cluster(*id).is_none();
                    let gone: Vec<ClusterId> =
                        board.clusters.keys().copied().filter(is_gone).collect();
                    for id in gone {
                        board.close(id);
                    }
                }
                JournalId::Cluster(id) => match view.durable().cluster(id) {
                    Some(state) => {
                        board
                            .clusters
                            .insert(id, Arc::new(ClusterBoard::seen(view, id, state, at)));
                    }
                    None => board.close(id),
                },
            }
        }
        let load = view.load();
        board.at = Some(at);
        board.is_shutting_down = is_shutting_down;
        board.load = LoadBoard {
            calls: load.calls,
            probes: load.probes,
            timers: load.timers,
            batches: self.batches,
        };
        self.published = at;
        self.board.send_replace(Arc::new(board));
    }
}

fn with_cause(error: &JournalsError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
