//! Keeps the bills: what the journals say becomes rows of `DATA/bills.sqlite`, beside the manager's loop.
//!
//! The manager never waits for it. While the store cannot be written, as on a full disk, that is told once, and what the
//! journals say is taken in later.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::sleep,
};

use super::document::ClusterDocument;
use crate::{
    bills::{self, Entry, News, Opened, Owner, Store, StoreError, Totals},
    core::{ids::ClusterId, record::Snapshot},
    driver::{
        binding,
        board::{Board, CLOSED_MAX, ClusterBoard},
        clock,
        journal::{Journals, JournalsError},
        log::Log,
        past::{Past, past},
        payments::Payments,
    },
    journal::Said,
    units::{Glm, Timestamp},
};

/// So long after a failure the store is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Payments are looked for this often. The daemon makes them every few minutes on a testnet, and less often elsewhere.
const PAYMENTS_EVERY: Duration = Duration::from_secs(15);
/// So much news is taken in at once.
const NEWS_MAX: usize = 10_000;
const WHO: &str = "bills";

/// The keeper of the bills; its clones are the same.
#[derive(Clone, Debug)]
pub struct Bills {
    data: PathBuf,
    owner: Owner,
    log: Log,
    store: Arc<Mutex<Keeping>>,
    known: Arc<Mutex<Known>>,
}

/// The store, and whether it has all that it was told.
#[derive(Debug)]
struct Keeping {
    store: Option<Store>,
    /// What is in the way, once that was told.
    trouble: Option<String>,
}

/// What the store said last.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Closed clusters, the last one last.
    pictures: Vec<Value>,
    /// By the name of the cluster.
    pub(super) totals: BTreeMap<String, Totals>,
    /// By the name of the step.
    pub(super) failures: BTreeMap<String, u64>,
    /// Clusters of this process whose time is in the totals.
    pub(super) closed: BTreeSet<ClusterId>,
}

impl Bills {
    /// The bills of a data directory, with all that its journals know; new ones are the owner's. A store that cannot be
    /// used is told in the log, and tried again later.
    #[must_use]
    pub fn open(data: &Path, owner: Owner, log: Log) -> Self {
        let keeping = Keeping { store: None, trouble: None };
        let bills = Self {
            data: data.to_owned(),
            owner,
            log,
            store: Arc::new(Mutex::new(keeping)),
            known: Arc::default(),
        };
        let opened = bills.take_in(&mut locked(&bills.store), Vec::new(), &Board::default());
        bills.note(&mut locked(&bills.store), opened);
        bills
    }

    /// The closed clusters that are shown, the last one last.
    #[must_use]
    pub fn last(&self) -> Vec<Value> {
        locked(&self.known).pictures.clone()
    }

    /// Takes in what the manager tells, until it has stopped.
    pub async fn keep(
        self,
        mut news: mpsc::UnboundedReceiver<News>,
        mut board: watch::Receiver<Arc<Board>>,
    ) {
        let (mut is_over, mut tried) = (false, Instant::now());
        while !is_over {
            let mut told = Vec::new();
            let is_behind = locked(&self.store).trouble.is_some();
            tokio::select! {
                count = news.recv_many(&mut told, NEWS_MAX) => is_over = count == 0,
                changed = board.changed() => is_over = changed.is_err(),
                () = sleep(RETRY_AFTER), if is_behind => {}
            }
            // What the board shows to be closed was told of before.
            let seen = Arc::clone(&board.borrow_and_update());
            while let Ok(more) = news.try_recv() {
                told.push(more);
            }
            // What is told while the store is behind is in the journals, too.
            let may_try = !is_behind || is_over || tried.elapsed() >= RETRY_AFTER;
            if !may_try || !is_behind && told.is_empty() && self.knows(&seen) {
                continue;
            }
            tried = Instant::now();
            let bills = self.clone();
            let taken = spawn_blocking(move || {
                let mut keeping = locked(&bills.store);
                let taken = bills.take_in(&mut keeping, told, &seen);
                bills.note(&mut keeping, taken);
            });
            if let Err(error) = taken.await {
                self.log.error(WHO, &format!("a bug keeps bills from being kept: {error}"));
            }
        }
    }

    /// Asks the daemon for its payments while something is accepted that is not paid, and takes them in; never returns.
    /// What cannot be taken in is there the next time, too.
    pub async fn follow(self, payments: Payments) {
        loop {
            if let Some(after) = self.of_store(|store| store.unpaid_since().ok().flatten()).await
                && let Some(paid) = payments.since(after).await
            {
                self.of_store(move |store| store.pay(&paid).ok()).await;
            }
            sleep(PAYMENTS_EVERY).await;
        }
    }

    /// What is asked of the store, or done to it, if it can be used; the totals are those after it.
    async fn of_store<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Store) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let bills = self.clone();
        let act = move || {
            let mut keeping = locked(&bills.store);
            let store = keeping.store.as_mut()?;
            let said = act(store)?;
            locked(&bills.known).totals = store.totals().ok()?;
            Some(said)
        };
        spawn_blocking(act).await.ok().flatten()
    }

    /// Whether all clusters are known that a board shows to be closed.
    fn knows(&self, board: &Board) -> bool {
        let known = locked(&self.known);
        board.closed.iter().all(|cluster| known.closed.contains(&cluster.id))
    }

    /// What the store said last.
    pub(super) fn known(&self) -> Known {
        locked(&self.known).clone()
    }

    /// Remembers amounts before they are said; none of them may be said if this fails.
    pub(super) fn remember_told(&self, told: &[(String, Glm)]) -> bool {
        let mut keeping = locked(&self.store);
        let Some(store) = &mut keeping.store else { return false };
        let is_kept = store.remember_told(told).is_ok();
        if is_kept {
            let mut known = locked(&self.known);
            for (name, amount) in told {
                known.totals.entry(name.clone()).or_default().told = *amount;
            }
        }
        is_kept
    }

    fn take_in(
        &self,
        keeping: &mut Keeping,
        news: Vec<News>,
        board: &Board,
    ) -> Result<(), StoreError> {
        let is_behind = keeping.trouble.is_some() || keeping.store.is_none();
        if keeping.store.is_none() {
            let Opened { store, notices } =
                Store::open(&self.data, self.owner.clone(), clock::now())?;
            notices.iter().for_each(|notice| self.log.warn(WHO, &notice.to_string()));
            keeping.store = Some(store);
        }
        let Some(store) = &mut keeping.store else { return Ok(()) };
        let (mut lines, mut failed) = (Vec::new(), Vec::new());
        for told in news {
            match told {
                News::Line(line) => lines.push(line),
                News::Failed(step) => failed.push(step),
            }
        }
        let mut closed = locked(&self.known).closed.clone();
        if is_behind {
            closed.extend(self.catch_up(store)?);
        }
        store.take(&lines)?;
        store.count_failures(&failed)?;
        let there = board.closed.iter().map(AsRef::as_ref);
        let new: Vec<&ClusterBoard> = there.filter(|it| !closed.contains(&it.id)).collect();
        for cluster in &new {
            close(store, cluster, board.now())?;
            closed.insert(cluster.id);
        }
        self.forget_closed(&new);
        let totals = store.totals()?;
        let (failures, pictures) = (store.failures()?, store.pictures(CLOSED_MAX)?);
        *locked(&self.known) = Known { pictures, totals, failures, closed };
        Ok(())
    }

    /// Takes in what the journals know and the store does not; the clusters that are closed.
    fn catch_up(&self, store: &mut Store) -> Result<Vec<ClusterId>, StoreError> {
        let mut closed = Vec::new();
        let missing = |error: &JournalsError| {
            self.log.warn(WHO, &format!("bills of earlier may be missing: {error}"));
        };
        let journals = past(&self.data).unwrap_or_else(|error| {
            missing(&error);
            Vec::new()
        });
        for journal in journals {
            let mut entries = Vec::new();
            let read = journal.read(&mut |seq, at, said| {
                entries.extend(entry(journal.cluster, seq, at, said));
            });
            match read {
                Ok(durable) => {
                    store.take(&entries)?;
                    let state = durable.cluster(journal.cluster).filter(|_| journal.is_closed);
                    if let Some(state) = state {
                        let at = entries.last().map_or_else(clock::now, |entry| entry.at);
                        close(store, &ClusterBoard::of(journal.cluster, state, None, at), at)?;
                        closed.push(journal.cluster);
                        self.forget(&journal);
                    }
                }
                Err(error) => missing(&error),
            }
        }
        Ok(closed)
    }

    /// The journals of closed clusters are of no more use.
    fn forget_closed(&self, closed: &[&ClusterBoard]) {
        if closed.is_empty() {
            return;
        }
        let journals = past(&self.data).unwrap_or_default();
        let is_closed = |it: &&Past| it.is_closed && closed.iter().any(|one| one.id == it.cluster);
        journals.iter().filter(is_closed).for_each(|journal| self.forget(journal));
    }

    fn forget(&self, journal: &Past) {
        if let Err(error) = journal.forget() {
            self.log.warn(WHO, &error.to_string());
        }
    }

    /// Tells of trouble once, and once that it is over.
    fn note(&self, keeping: &mut Keeping, taken: Result<(), StoreError>) {
        match (taken, &keeping.trouble) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                keeping.trouble = None;
                self.log.info(WHO, "All bills are kept again");
            }
            (Err(error), known) => {
                let why = error.to_string();
                if known.is_none() {
                    let what = "bills are kept in the journals until it works again";
                    self.log.error(WHO, &format!("{why}; {what}"));
                }
                keeping.trouble = Some(why);
                if error.is_damage() {
                    keeping.store = None;
                }
            }
        }
    }
}

/// The closed clusters that a data directory knows, without a webserver; what cannot be read has none.
#[must_use]
pub fn last(data: &Path) -> Vec<Value> {
    let store = stored(data).ok().flatten();
    store.and_then(|store| store.pictures(CLOSED_MAX).ok()).unwrap_or_default()
}

/// The store of a data directory, if there is anything in it. Where no webserver runs, what one has left in the journals
/// is taken in first.
///
/// # Errors
///
/// If it cannot be used.
pub fn stored(data: &Path) -> Result<Option<Store>, StoreError> {
    let has_journals = past(data).is_ok_and(|journals| !journals.is_empty());
    if has_journals && !Journals::are_in_use(data) {
        drop(Bills::open(data, owner_of(data), Log::silent()));
    }
    match Store::is_in(data) {
        true => Store::open(data, owner_of(data), clock::now()).map(|opened| Some(opened.store)),
        false => Ok(None),
    }
}

/// Whose bills those of a data directory are, as far as it says.
#[must_use]
pub fn owner_of(data: &Path) -> Owner {
    binding::Owner::of(data).map_or(Owner { is_simulated: false, identity: None }, Owner::from)
}

impl From<binding::Owner> for Owner {
    fn from(owner: binding::Owner) -> Self {
        match owner {
            binding::Owner::Simulated => Self { is_simulated: true, identity: None },
            binding::Owner::Real { identity } => {
                Self { is_simulated: false, identity: Some(identity) }
            }
        }
    }
}

/// The number of the picture's cluster, which no other cluster ever had.
pub fn number(picture: &Value) -> Option<u64> {
    picture["number"].as_u64()
}

/// What the store keeps of a line, if anything.
fn entry(cluster: ClusterId, seq: u64, at: Timestamp, said: Said<'_>) -> Option<Entry> {
    match said {
        Said::Records(records) => Entry::of(cluster, seq, at, records),
        Said::Snapshot(Snapshot::Cluster(_, state)) => {
            Some(Entry { cluster, seq, at, said: bills::Said::All(state.clone()) })
        }
        Said::Snapshot(Snapshot::Common(_)) => None,
    }
}

fn close(store: &mut Store, cluster: &ClusterBoard, at: Timestamp) -> Result<(), StoreError> {
    let picture = ClusterDocument::of(cluster, true, None, at);
    // Plain data is always JSON.
    store.close(cluster.id, at, &serde_json::to_string(&picture).unwrap_or_default())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
