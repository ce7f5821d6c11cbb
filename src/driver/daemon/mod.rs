//! The daemon: found where it runs, started where it does not, and ended only if we started it.
//!
//! A daemon that we start gets its key by `YAGNA_AUTOCONF_APPKEY` and keeps its own data where it always
//! does; what it says goes to `DATA/yagna.log`. Once it answers it outlives a crash of ours: `DATA/yagna.pid`
//! says that it is ours, `DATA/yagna.appkey` which key opens it, so that the next start adopts it with the
//! right to end it. One that does not come to answer, or is not waited for any more, is ended.

mod programs;

use std::{
    convert::Infallible,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    time::{sleep, timeout},
};
use url::Url;

pub use programs::simulated_bus;
pub(super) use programs::simulated_cli;

use self::programs::{SIM_DIRECTORY, cli, command};
use super::{
    appkey::{self, AppKeyError, AppKeySource},
    cli::{self, DaemonCli},
    log::{self, Log},
    mark::{self, Mark, OtherKind},
    wallet,
};
use crate::{
    http::TransportError,
    server::auth::{Token, TokenError},
    units::Span,
    yagna::{AppKey, CallError, Client, Doubt, Endpoints, Request, Response, Yagna},
};

/// A daemon that has not answered after this time has failed.
const READY_PATIENCE: Duration = Duration::from_secs(2 * 60);
/// A daemon that was asked to end has this time before it is made to.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// It is asked this often: a daemon that has just started misses the first time.
const ASK_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A daemon that does not answer is asked this often, over its bus, whether its wallet is locked.
const ASK_LOCK_EVERY: Duration = Duration::from_secs(1);
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const PROBE_PATIENCE: Span = Span::secs(10);
/// A daemon that is asked and does not answer is asked so often, with this pause.
const PROBES: u32 = 6;
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// From the end of our daemon to its next start, and after starts that failed.
const RESTART_AFTER: Duration = Duration::from_secs(5);
const RESTART_AFTER_MAX: Duration = Duration::from_secs(60);
const LOG_FILE: &str = "yagna.log";
const LOG_LINES: usize = 50;
const WHO: &str = "daemon";

/// What to look for, and what to start.
#[derive(Clone, Debug)]
pub struct DaemonPlan {
    /// Where the daemon listens.
    pub endpoints: Endpoints,
    /// Where the key to it comes from.
    pub key: AppKeySource,
    /// Our data directory.
    pub data: PathBuf,
    /// The simulator to start in the daemon's place.
    pub sim: Option<SimPlan>,
}

/// A simulated network in the daemon's place.
#[derive(Clone, Debug)]
pub struct SimPlan {
    /// The simulator.
    pub program: PathBuf,
    /// Its network, if not the default one.
    pub scenario: Option<PathBuf>,
    /// Its options: what its nodes are, and how fast.
    pub options: Vec<OsString>,
}

/// A daemon that answers.
#[derive(Debug)]
pub struct Daemon {
    /// Where it listens.
    pub endpoints: Endpoints,
    /// The key to it.
    pub key: AppKey,
    /// Its command line.
    pub cli: DaemonCli,
    plan: DaemonPlan,
    owned: Option<Owned>,
    log: Log,
}

/// A daemon of ours.
#[derive(Debug)]
struct Owned {
    mark: Mark,
    /// None if an earlier life of ours started it.
    child: Option<Child>,
}

/// A daemon that is being started; it does not outlive the attempt, unless that comes to a good end.
struct Starting(Option<Child>);

/// Why there is no daemon.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// There is no such program.
    #[error("{}; {}", appkey::missing(program).0, appkey::missing(program).1)]
    Missing {
        /// What was to be run.
        program: PathBuf,
    },
    /// Its wallet is locked by a password, and it waits for it to be unlocked.
    #[error("{}; {}, then run this again", wallet::locked(address).0, wallet::locked(address).1)]
    Locked {
        /// The address of the wallet.
        address: String,
    },
    /// What an earlier life of the webserver has started is of the other kind, and clusters may live on it.
    #[error("{}; {}", .0.what(), OtherKind::CURE)]
    OtherKind(OtherKind),
    /// It could not be started.
    #[error("cannot start `{}`", program.display())]
    NotStarted {
        /// What was to be run.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended, or did not answer in time.
    #[error("the daemon that was started {why}; the end of `{}`:\n{}", log.display(), lines.join("\n"))]
    Failed {
        /// What it did.
        why: String,
        /// Where its words are.
        log: PathBuf,
        /// The last of them.
        lines: Vec<String>,
    },
    /// What is there takes requests, and does not answer them.
    #[error(
        "what listens at {base} takes requests and does not answer; end it or start it again, then run this again"
    )]
    Silent {
        /// Its address.
        base: Url,
    },
    /// It answers, and its key is not to be had.
    #[error(transparent)]
    Key(#[from] AppKeyError),
    /// A file of ours.
    #[error("cannot write to the data directory")]
    Io(#[from] io::Error),
    /// The key that we made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No connections can be made.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl Daemon {
    /// Finds the daemon, or starts it, and waits until it answers to its key.
    ///
    /// # Errors
    ///
    /// Says what stands in the way.
    pub async fn ready(plan: DaemonPlan, log: Log) -> Result<Self, DaemonError> {
        let mark = Mark::load(&plan.data).filter(Mark::is_alive);
        if let Some(other) = OtherKind::of(&plan.data, plan.sim.is_some()) {
            return Err(DaemonError::OtherKind(other));
        }
        let endpoints = match (&plan.sim, &mark) {
            (Some(_), Some(mark)) => Endpoints::from(mark.url.clone()),
            (Some(_), None) | (None, _) => plan.endpoints.clone(),
        };
        let may_be_there = plan.sim.is_none() || mark.is_some();
        let mark = mark.filter(|mark| mark.url == endpoints.base);
        // One of ours that does not answer is waited for, and ended, below.
        let is_there = may_be_there && answers(&endpoints, mark.is_some(), &log).await?;
        if !is_there {
            refuse_locked(&plan).await?;
            if !awakes(mark.as_ref(), &endpoints, &plan, &log).await? {
                return Self::start(plan, 0, log).await;
            }
        }
        let key = match (&plan.key.given, saved_key(&plan.data).filter(|_| mark.is_some())) {
            (None, Some(saved)) => saved,
            (Some(_), _) | (None, None) => plan.key.find().await?,
        };
        log.info(WHO, &format!("A daemon answers at {}", endpoints.base));
        let cli = cli(&plan, &endpoints, &key)?;
        let owned = mark.map(|mark| Owned { mark, child: None });
        Ok(Self { endpoints, key, cli, plan, owned, log })
    }

    /// The identity that the key stands for: also the address of its wallet.
    ///
    /// # Errors
    ///
    /// If the daemon does not know the key, or fails again and again.
    pub async fn identity(&self, client: &Client) -> Result<String, CallError> {
        let mut probes = 1;
        loop {
            match client.call(Request::WhoAmI, PROBE_PATIENCE).await {
                Ok(Response::Identity(identity)) => return Ok(identity.id.to_string()),
                Ok(_) => {
                    return Err(CallError::NotSent { why: "an answer to something else".into() });
                }
                Err(error @ CallError::Rejected { .. }) => return Err(error),
                Err(error) if probes == PROBES => return Err(error),
                Err(error) => {
                    self.log.warn(WHO, &format!("The daemon does not say who it is: {error}"));
                }
            }
            probes += 1;
            sleep(PROBE_EVERY).await;
        }
    }

    /// Watches over a daemon of ours, and starts it again, at the same address, when it ends by itself.
    /// A simulated one has forgotten everything then. Never returns.
    pub async fn keep(&mut self) -> Infallible {
        let mut pause = RESTART_AFTER;
        loop {
            sleep(LOOK_EVERY * 4).await;
            let Some(owned) = &mut self.owned else { continue };
            if !owned.has_ended() {
                // A log that cannot be cut only grows.
                let _ = log::cut(&self.plan.data.join(LOG_FILE));
                continue;
            }
            self.log.error(WHO, "The daemon has ended; it is started again");
            sleep(pause).await;
            if self.plan.sim.is_none() && self.answers_to_us().await {
                self.log.info(WHO, "Somebody else has started a daemon; it is not ours to end");
                self.owned = None;
                continue;
            }
            let port = self.endpoints.base.port().unwrap_or(0);
            match Self::start(self.plan.clone(), port, self.log.clone()).await {
                Ok(again) => {
                    *self = again;
                    pause = RESTART_AFTER;
                }
                Err(error) => {
                    self.log.error(WHO, &error.to_string());
                    pause = (pause * 2).min(RESTART_AFTER_MAX);
                }
            }
        }
    }

    /// Whether a daemon knows our key.
    async fn answers_to_us(&self) -> bool {
        let client = Client::new(self.endpoints.clone(), self.key.clone());
        let Ok(client) = client else { return false };
        client.call(Request::WhoAmI, PROBE_PATIENCE).await.is_ok()
    }

    /// Ends the daemon if this process has started it. One that was found may have clusters of ours.
    pub async fn end_if_new(self) {
        if self.owned.as_ref().is_some_and(|owned| owned.child.is_some()) {
            self.end().await;
        }
    }

    /// Ends the daemon if it is ours.
    pub async fn end(self) {
        let Some(mut owned) = self.owned else { return };
        // One that was just being started again is ours, too.
        if let Some(mark) = Mark::load(&self.plan.data).filter(|mark| *mark != owned.mark) {
            owned = Owned { mark, child: None };
        }
        self.log.info(WHO, "Stopping the daemon...");
        let asking = async {
            loop {
                owned.signal(Signal::TERM);
                if timeout(ASK_EVERY, owned.ended()).await.is_ok() {
                    break;
                }
            }
        };
        if timeout(END_PATIENCE, asking).await.is_err() {
            self.log.warn(WHO, "The daemon does not end by itself, and is ended");
            owned.signal(Signal::KILL);
            drop(timeout(END_PATIENCE, owned.ended()).await);
        }
        // What stays is known to be over.
        let _ = fs::remove_file(mark::path(&self.plan.data));
        self.log.info(WHO, "Stopping the daemon done");
    }

    /// Starts the daemon; a simulated one listens on `port`.
    async fn start(plan: DaemonPlan, port: u16, log: Log) -> Result<Self, DaemonError> {
        let key = match &plan.key.given {
            Some(given) => AppKey::new(given).map_err(AppKeyError::Given)?,
            None => made_key(&plan.data)?,
        };
        let log_path = plan.data.join(LOG_FILE);
        if fs::metadata(&log_path).is_ok_and(|file| file.len() > 0) {
            log::rotate(&log_path)?;
        }
        let said = fs::File::options().append(true).create(true).open(&log_path)?;
        if plan.sim.is_some() {
            fs::create_dir_all(plan.data.join(SIM_DIRECTORY))?;
        }
        let (mut command, program) = command(&plan, port);
        command
            .env("YAGNA_AUTOCONF_APPKEY", key.as_str())
            .stdin(Stdio::null())
            .stderr(said.try_clone()?)
            // Ctrl-C in our terminal is for us.
            .process_group(0);
        match plan.sim {
            Some(_) => command.stdout(Stdio::piped()),
            None => command.stdout(said),
        };
        log.info(WHO, &format!("Starting `{}`...", program.display()));
        let child = command.spawn().map_err(|source| {
            let program = program.clone();
            match source.kind() == io::ErrorKind::NotFound {
                true => DaemonError::Missing { program },
                false => DaemonError::NotStarted { program, source },
            }
        })?;
        let mut starting = Starting(Some(child));
        let failed = |why: &str| DaemonError::Failed {
            why: why.to_owned(),
            log: log_path.clone(),
            lines: log::last_lines(&log_path, LOG_LINES),
        };
        let endpoints = match plan.sim {
            Some(_) => {
                let url = announced(starting.child()).await;
                Endpoints::from(url.ok_or_else(|| failed("did not say where it listens"))?)
            }
            None => plan.endpoints.clone(),
        };
        let mark = Mark::of(starting.child(), &endpoints.base, plan.sim.is_some());
        let mark = mark.ok_or_else(|| failed("ended at once"))?;
        mark.save(&plan.data)?;
        let has_ended = || starting.child().try_wait().is_ok_and(|status| status.is_some());
        match until_ready(has_ended, &endpoints, &key, &plan).await {
            Ok(()) => {}
            Err(Unready::Failed(why)) => return Err(failed(why)),
            Err(Unready::Locked(address)) => {
                // It is left to wait: only a daemon that runs can be told to unlock its wallet.
                drop(starting.keep());
                return Err(DaemonError::Locked { address });
            }
        }
        log.info(WHO, &format!("The daemon answers at {}", endpoints.base));
        let cli = cli(&plan, &endpoints, &key)?;
        let owned = Some(Owned { mark, child: Some(starting.keep()) });
        Ok(Self { endpoints, key, cli, plan, owned, log })
    }
}

impl Starting {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is there until it is kept")
    }

    fn keep(mut self) -> Child {
        self.0.take().expect("it is kept once")
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.start_kill();
        }
    }
}

impl Owned {
    fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().is_ok_and(|status| status.is_some()),
            None => !self.mark.is_alive(),
        }
    }

    fn signal(&self, signal: Signal) {
        if self.mark.is_alive()
            && let Some(pid) = Pid::from_raw(self.mark.pid)
        {
            // It may just have ended.
            let _ = kill_process(pid, signal);
        }
    }

    async fn ended(&mut self) {
        match &mut self.child {
            Some(child) => drop(child.wait().await),
            None => {
                while self.mark.is_alive() {
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }
}

fn key_path(data: &Path) -> PathBuf {
    data.join("yagna.appkey")
}

pub(super) fn saved_key(data: &Path) -> Option<AppKey> {
    AppKey::new(&fs::read_to_string(key_path(data)).ok()?).ok()
}

/// The key of daemons that we start: always the same, so that what outlives us knows it.
fn made_key(data: &Path) -> Result<AppKey, DaemonError> {
    let token = Token::of_file(&key_path(data))?;
    Ok(AppKey::new(token.as_str()).map_err(AppKeyError::Given)?)
}

/// Why a daemon cannot be used yet.
enum Unready {
    Failed(&'static str),
    /// The wallet at this address is locked.
    Locked(String),
}

/// The address of the wallet that a daemon on the bus waits for to be unlocked.
async fn locked_wallet(plan: &DaemonPlan) -> Option<String> {
    if plan.sim.is_some() || !cli::is_on_bus().await {
        return None;
    }
    let cli = DaemonCli { binary: plan.key.binary.clone(), environment: Vec::new() };
    let identities = cli.identities(LOCK_PATIENCE).await.ok()?;
    let waited_for = identities.into_iter().find(|it| it.is_default() && it.is_locked())?;
    Some(waited_for.address)
}

/// A second daemon cannot be started beside one that waits for its wallet.
async fn refuse_locked(plan: &DaemonPlan) -> Result<(), DaemonError> {
    match locked_wallet(plan).await {
        Some(address) => Err(DaemonError::Locked { address }),
        None => Ok(()),
    }
}

/// Whether a daemon runs: any answer shows it, whatever the daemon thinks of the key, and only where nothing listens is
/// there none. One of ours that does not answer counts as absent.
async fn answers(endpoints: &Endpoints, is_ours: bool, log: &Log) -> Result<bool, DaemonError> {
    let stranger = AppKey::new("unknown").map_err(AppKeyError::Given)?;
    let client = Client::new(endpoints.clone(), stranger)?;
    let base = &endpoints.base;
    for probe in 1..=PROBES {
        match client.call(Request::WhoAmI, PROBE_PATIENCE).await {
            Ok(_)
            | Err(
                CallError::Rejected { .. }
                | CallError::Unknown(Doubt::Failed { .. } | Doubt::Garbled { .. }),
            ) => {
                return Ok(true);
            }
            Err(CallError::NotSent { .. }) => return Ok(false),
            Err(CallError::Unknown(Doubt::TimedOut | Doubt::Closed { .. })) if is_ours => {
                return Ok(false);
            }
            Err(CallError::Unknown(Doubt::TimedOut | Doubt::Closed { .. })) if probe == 1 => {
                log.warn(
                    WHO,
                    &format!("What listens at {base} does not answer yet; it is asked again"),
                );
            }
            Err(CallError::Unknown(Doubt::TimedOut | Doubt::Closed { .. })) => {}
        }
        sleep(PROBE_EVERY).await;
    }
    Err(DaemonError::Silent { base: base.clone() })
}

/// The address that the simulator says on its first line; what follows is read away.
async fn announced(child: &mut Child) -> Option<Url> {
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    let first = timeout(READY_PATIENCE, lines.next_line()).await.ok()?.ok()??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let url = first.split_whitespace().find_map(|word| word.strip_prefix("YAGNA_API_URL="))?;
    Url::parse(url).ok()
}

/// Whether a daemon of ours that does not answer is only just starting. One that never comes to answer
/// is ended, since it stands in the way of the next.
async fn awakes(
    mark: Option<&Mark>,
    endpoints: &Endpoints,
    plan: &DaemonPlan,
    log: &Log,
) -> Result<bool, DaemonError> {
    let (Some(mark), Some(key)) = (mark, saved_key(&plan.data)) else { return Ok(false) };
    log.info(WHO, "A daemon of ours does not answer yet");
    let why = match until_ready(|| !mark.is_alive(), endpoints, &key, plan).await {
        Ok(()) => return Ok(true),
        Err(Unready::Locked(address)) => return Err(DaemonError::Locked { address }),
        Err(Unready::Failed(why)) => why,
    };
    log.warn(WHO, &format!("It {why}, and is ended"));
    let mut owned = Owned { mark: mark.clone(), child: None };
    owned.signal(Signal::KILL);
    drop(timeout(END_PATIENCE, owned.ended()).await);
    Ok(false)
}

/// Waits until the daemon knows its key, or why it does not.
async fn until_ready(
    mut has_ended: impl FnMut() -> bool,
    endpoints: &Endpoints,
    key: &AppKey,
    plan: &DaemonPlan,
) -> Result<(), Unready> {
    let client = Client::new(endpoints.clone(), key.clone())
        .map_err(|_| Unready::Failed("cannot be asked"))?;
    let started = Instant::now();
    let mut asked = started;
    while started.elapsed() < READY_PATIENCE {
        if has_ended() {
            return Err(Unready::Failed("has ended"));
        }
        if client.call(Request::WhoAmI, PROBE_PATIENCE).await.is_ok() {
            return Ok(());
        }
        if asked.elapsed() > ASK_LOCK_EVERY {
            asked = Instant::now();
            if let Some(address) = locked_wallet(plan).await {
                return Err(Unready::Locked(address));
            }
        }
        sleep(LOOK_EVERY).await;
    }
    Err(Unready::Failed("did not answer within two minutes"))
}
