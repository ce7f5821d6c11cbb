//! Keeps what is known about providers up to date, beside the manager's loop: writes what the
//! manager sees of them, fetches scores, and tells the machine what has changed.
//!
//! The machine never waits for it. If it is overrun, or the disk is full, experience is lost, and
//! nothing else.

use std::{path::PathBuf, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinError, JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{clock::now, log::Log, manager::Handle};
use crate::{
    config::networks,
    core::{Command, experience::Sighting},
    reputation::{Applied, Fetched, Opened, Service, ServiceError, Store, StoreError},
    units::Timestamp,
    yagna::Status,
};

/// Sightings that wait to be written; more are lost.
const WAITING_MAX: usize = 20_000;
/// What was seen is written, and changes of other processes are looked for, this often.
const TEND_EVERY: Duration = Duration::from_secs(2);
const UPDATE_EVERY: Duration = Duration::from_secs(4 * 60 * 60);
/// Whoever wants the latest is not kept waiting for longer.
const REFRESH_PATIENCE: Duration = Duration::from_secs(2);
const WHO: &str = "reputation";

/// A sighting, and when it was.
pub type Seen = (Timestamp, Sighting);

/// The keeper of what is known about providers.
pub struct Providers {
    data: PathBuf,
    /// None while it is used, or if it cannot be.
    store: Option<Store>,
    /// None if nothing is to be fetched.
    service: Option<Service>,
    handle: Handle,
    log: Log,
    seen: mpsc::Receiver<Seen>,
    waiting: Vec<Seen>,
    wishes: mpsc::Receiver<oneshot::Sender<()>>,
    /// What [`Store::foreign_changes`] said when the machine was told.
    told: Option<i64>,
    updates: JoinSet<(&'static str, Result<Fetched, ServiceError>)>,
}

/// The way to have the machine told the latest; its clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Refresh(Option<mpsc::Sender<oneshot::Sender<()>>>);

impl Refresh {
    /// Waits until the machine knows what other processes have written, such as a block.
    pub async fn now(&self) {
        let Some(wishes) = &self.0 else { return };
        let (done, heard) = oneshot::channel();
        let told = async {
            if wishes.send(done).await.is_ok() {
                // If the keeper has ended, what is known stays.
                let _ = heard.await;
            }
        };
        // It is busy with an update: what was known until then is good enough.
        let _ = timeout(REFRESH_PATIENCE, told).await;
    }
}

/// Where the manager puts what it sees.
#[must_use]
pub fn sightings() -> (mpsc::Sender<Seen>, mpsc::Receiver<Seen>) {
    mpsc::channel(WAITING_MAX)
}

impl Providers {
    /// A keeper of the store in `data`; it ends when the other end of `seen` is dropped.
    #[must_use]
    pub fn new(
        data: PathBuf,
        service: Option<Service>,
        handle: Handle,
        log: Log,
        seen: mpsc::Receiver<Seen>,
    ) -> (Self, Refresh) {
        let (wishes_in, wishes) = mpsc::channel(8);
        let keeper = Self {
            data,
            store: None,
            service,
            handle,
            log,
            seen,
            waiting: Vec::new(),
            wishes,
            told: None,
            updates: JoinSet::new(),
        };
        (keeper, Refresh(Some(wishes_in)))
    }

    /// Keeps everything up to date until the manager ends.
    ///
    /// # Errors
    ///
    /// If a part of it died; this is a bug.
    pub async fn keep(mut self) -> Result<(), JoinError> {
        self.open().await?;
        let (mut tend, mut update) = (interval(TEND_EVERY), interval(UPDATE_EVERY));
        tend.set_missed_tick_behavior(MissedTickBehavior::Delay);
        update.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                seen = self.seen.recv() => match seen {
                    Some(seen) if self.waiting.len() < WAITING_MAX => self.waiting.push(seen),
                    Some(_) => {}
                    None => return self.write().await,
                },
                _ = tend.tick() => {
                    self.write().await?;
                    self.tell().await?;
                }
                Some(done) = self.wishes.recv() => {
                    self.tell().await?;
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                _ = update.tick() => self.fetch().await?,
                Some(fetched) = self.updates.join_next(), if !self.updates.is_empty() => {
                    let (network, fetched) = fetched?;
                    self.take(network, fetched).await?;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), JoinError> {
        let data = self.data.clone();
        let opened = spawn_blocking(move || {
            std::fs::create_dir_all(&data)
                .map_err(|source| StoreError::Io { path: data.clone(), source })?;
            Store::open(&data, now())
        });
        match opened.await? {
            Ok(Opened { store, notices }) => {
                notices.iter().for_each(|notice| self.log.warn(WHO, &notice.to_string()));
                self.store = Some(store);
                self.told = None;
            }
            Err(error) => {
                let what = "nothing is remembered of providers, and none is blocked";
                self.log.error(WHO, &format!("{error}; {what}"));
            }
        }
        Ok(())
    }

    /// Does something with the store where it may block; none if there is no store, or it failed.
    async fn with_store<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Option<T>, JoinError> {
        let Some(mut store) = self.store.take() else { return Ok(None) };
        let (store, done) = spawn_blocking(move || {
            let done = act(&mut store);
            (store, done)
        })
        .await?;
        match done {
            Ok(done) => {
                self.store = Some(store);
                Ok(Some(done))
            }
            Err(error) => {
                self.log.warn(WHO, &error.to_string());
                if error.is_damage() {
                    drop(store);
                    self.open().await?;
                } else {
                    self.store = Some(store);
                }
                Ok(None)
            }
        }
    }

    async fn write(&mut self) -> Result<(), JoinError> {
        let seen = std::mem::take(&mut self.waiting);
        if !seen.is_empty() {
            self.with_store(move |store| store.remember(&seen)).await?;
        }
        Ok(())
    }

    /// Tells the machine what is known, if others have changed it.
    async fn tell(&mut self) -> Result<(), JoinError> {
        let told = self.told;
        let read = self.with_store(move |store| {
            let changes = store.foreign_changes()?;
            if told == Some(changes) {
                return Ok(None);
            }
            let mut all = Vec::new();
            for network in store.networks()? {
                if let Some(network) = networks::find(&network) {
                    all.push((network.platform, store.reputation(network.name)?));
                }
            }
            Ok(Some((changes, all)))
        });
        if let Some(Some((changes, all))) = read.await? {
            self.told = Some(changes);
            for (platform, reputation) in all {
                let (platform, reputation) = (platform.into(), reputation.into());
                // If the manager has stopped, the end of its sightings says so.
                let _ = self.handle.ask(Command::Inform { platform, reputation }).await;
            }
        }
        Ok(())
    }

    /// Begins to fetch the scores of all networks.
    async fn fetch(&mut self) -> Result<(), JoinError> {
        let Some(service) = self.service.clone() else { return Ok(()) };
        if !self.updates.is_empty() {
            return Ok(());
        }
        for network in networks::names_in_use() {
            let url = service.url(network);
            let known =
                self.with_store(move |store| store.validators(network, url.as_str())).await?;
            let service = service.clone();
            if let Some(known) = known {
                self.updates.spawn(async move { (network, service.fetch(network, &known).await) });
            }
        }
        Ok(())
    }

    /// Takes over what was fetched; whatever is wrong with it, what was known stays.
    async fn take(
        &mut self,
        network: &'static str,
        fetched: Result<Fetched, ServiceError>,
    ) -> Result<(), JoinError> {
        let (scores, validators) = match fetched {
            Ok(Fetched::Scores(scores, validators)) => (scores, validators),
            Ok(Fetched::Unchanged) => return Ok(()),
            Err(ServiceError::Refused { status: Status::NOT_FOUND, url }) => {
                self.log.debug(WHO, &format!("There are no scores at {url}"));
                return Ok(());
            }
            Err(error) => {
                self.log.warn(WHO, &format!("{error}; the scores that are known stay"));
                return Ok(());
            }
        };
        let Some(url) = self.service.as_ref().map(|service| service.url(network)) else {
            return Ok(());
        };
        let applied = self.with_store(move |store| {
            let url = url.as_str();
            store.apply(network, url, &scores, &validators, now(), &mut |_| {})
        });
        if let Some(Applied { total, added, updated, ignored }) = applied.await? {
            self.log.info(
                WHO,
                &format!(
                    "Reputation DB updated for `{network}`. Total scores={total} (added={added}, \
                     updated={updated}, ignored={ignored})."
                ),
            );
            self.told = None;
            self.tell().await?;
        }
        Ok(())
    }
}
