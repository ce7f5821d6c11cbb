//! `webserver`: the manager of all clusters of a user, and its HTTP API.
//!
//! Everything that runs is watched: a part that ends, or panics, ends the whole with an error. The
//! journals say how to go on.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use rustix::{fs::Mode, process::umask};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use url::Url;

use super::{
    error::{CliError, chain},
    printer::Printer,
    served::Served,
    signals::Signals,
    surroundings,
};
use crate::{
    bills::News,
    core::{Command, cluster::state::NodeState},
    doctor,
    driver::{
        alerts,
        binding::{Held, Owner},
        cli::bus_address,
        clock,
        commands::Commands,
        daemon::{Daemon, DaemonPlan, simulated_bus},
        journal::{Journals, JournalsError, Recovered},
        log::{self, Log},
        manager::{Handle, Kept, Manager, ManagerError},
        process::{PidFile, once_let_go},
        providers::{self, Providers},
        reach::{Reach, ReachPlan},
        routed::Routed,
        simulated::Simulated,
        wallet::Wallet,
    },
    files,
    network::{Door, Networks, Ways},
    reputation::Service,
    server::{
        self, Alerts, Allowances, App, End, Images, Listening, Settings, Stop, Usage,
        auth::{Guard, HeadTokens, Token},
        bills::{self, Bills},
    },
    yagna::{Client, ProviderId, Vpn, bus::BusAddress},
};

/// The port of the webserver.
pub(super) const DEFAULT_PORT: u16 = 4578;
/// What the webserver logs, in the data directory.
pub(super) const LOG_FILE: &str = "webserver.log";
/// What the process says that `start`, or Ray, has put into the background, in the data directory.
pub(super) const DEBUG_LOG: &str = "webserver_debug.log";
/// Calls from one web client at a time keep this many threads busy enough.
const THREADS: usize = 2;
/// The parts of the server have this time to end.
const GRACE: Duration = Duration::from_secs(8);
const WHO: &str = "server";

/// Options that every command about the webserver has.
#[derive(Args, Clone, Debug)]
pub(super) struct Common {
    /// Webserver port
    #[arg(short, long, default_value_t = DEFAULT_PORT)]
    pub(super) port: u16,
    /// Ray on Golem's data directory. By default, uses a system data directory
    #[arg(long, value_name = "PATH")]
    datadir: Option<PathBuf>,
}

/// Arguments of `webserver`.
#[derive(Args, Debug)]
pub(super) struct Webserver {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    served: Served,
    /// Let clients shut the webserver down when their cluster is over
    #[arg(long, overrides_with = "no_self_shutdown")]
    self_shutdown: bool,
    /// Do not let them (the default)
    #[arg(long, overrides_with = "self_shutdown")]
    no_self_shutdown: bool,
}

impl Common {
    /// The data directory; it is made if it is not there.
    pub(super) fn data(&self) -> Result<PathBuf, CliError> {
        data_of(self.datadir.clone())
    }

    /// Whether a data directory was named on the command line.
    pub(super) fn names_data(&self) -> bool {
        self.datadir.is_some()
    }
}

/// The data directory that was named, or the usual one; it is made if it is not there.
pub(super) fn data_of(named: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let data = std::path::absolute(surroundings::data_directory(named)?)?;
    files::make_private(&data).map_err(|error| {
        let (what, hint) = doctor::data::usable(&data).err().unwrap_or_else(|| {
            let what = format!("cannot make the data directory `{}`: {error}", data.display());
            (what, "choose another one with `--datadir`".to_owned())
        });
        CliError::Environment { what, hint }
    })?;
    Ok(data)
}

impl Webserver {
    pub(super) fn run(self, _: &mut Printer) -> Result<(), CliError> {
        let data = self.common.data()?;
        // What this process and the daemon write is for their user alone.
        umask(Mode::RWXG | Mode::RWXO);
        // Before anything else: nobody else may have this directory.
        let (journals, recovered) = once_let_go(&data, || Journals::open_keeping(&data))
            .map_err(|error| in_use(&error, &data))?;
        let log = Log::to_file(&data.join(LOG_FILE))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()?;
        let pid_file = PidFile::write(&data)?;
        let served = runtime.block_on(self.serve(data, journals, recovered, log.clone()));
        drop(pid_file);
        // What still runs is a look at a node or at the registry that nobody waits for.
        runtime.shutdown_background();
        match &served {
            Ok(()) => log.info(WHO, "Stopping server done, bye!"),
            Err(error) => log.error(WHO, &format!("Server unexpectedly died, bye! {error}")),
        }
        served
    }

    async fn serve(
        self,
        data: PathBuf,
        journals: Journals,
        recovered: Recovered,
        log: Log,
    ) -> Result<(), CliError> {
        let mut signals = Signals::new()?;
        let port = self.common.port;
        log.info(WHO, &format!("Starting server... port={port}"));
        let held = match self.served.rebind {
            true => Held::nothing(&data),
            false => Held::of(&data, &recovered.durable),
        };
        held.refuse_other_kind(self.served.is_simulated())?;
        // Known before the daemon is started; nobody is kept waiting on it until all is ready.
        drop(listen(port).await?);
        let plan = DaemonPlan {
            endpoints: surroundings::endpoints()?,
            key: surroundings::key_source(),
            data: data.clone(),
            sim: self.served.sim_plan()?,
        };
        let mut daemon = tokio::select! {
            daemon = Daemon::ready(plan, log.clone()) => daemon.map_err(|error| broken(&error))?,
            _ = signals.next() => return Err(CliError::Interrupted),
        };
        let identity = match self.bind(&held, &daemon, &log).await {
            Ok(identity) => identity,
            Err(error) => {
                daemon.end_if_new().await;
                return Err(error);
            }
        };
        let built = self.build(&data, identity, journals, recovered, &daemon, &log).await;
        let served = match built {
            Ok(built) => {
                let app = Arc::clone(&built.app);
                let parts = Parts::start(built, &daemon)?;
                tokio::select! {
                    ended = parts.run(&app, &mut signals) => ended,
                    // They never end.
                    end = daemon.keep() => match end {},
                    end = log::keep_short(data.join(DEBUG_LOG), log.clone()) => match end {},
                }
            }
            Err(error) => {
                daemon.end().await;
                return Err(error);
            }
        };
        log.info(WHO, "Stopping server...");
        match &served {
            // The journal says how to go on; the daemon must be there then.
            Err(_) => log.warn(WHO, "The daemon is left as it is"),
            Ok(End::KeepingClusters) => log.info(WHO, "The daemon is left as it is"),
            Ok(End::AllClusters(_)) => daemon.end().await,
        }
        served.map(|_| ())
    }

    /// Asks the daemon who we are, and binds the data directory to that.
    async fn bind(&self, held: &Held, daemon: &Daemon, log: &Log) -> Result<String, CliError> {
        let client = Client::new(daemon.endpoints.clone(), daemon.key.clone());
        let client = client.map_err(|error| broken(&error))?;
        let identity = daemon.identity(&client).await.map_err(|error| broken(&error))?;
        let owner = match self.served.is_simulated() {
            true => Owner::Simulated,
            false => Owner::Real { identity: identity.clone() },
        };
        held.bind(&owner, &client).await?;
        log.info(WHO, &format!("The data directory belongs to {owner}"));
        Ok(identity)
    }

    async fn build(
        &self,
        data: &Path,
        address: String,
        journals: Journals,
        recovered: Recovered,
        daemon: &Daemon,
        log: &Log,
    ) -> Result<Built, CliError> {
        let client = Client::new(daemon.endpoints.clone(), daemon.key.clone())
            .map_err(|error| broken(&error))?;
        let listening = [listen(self.common.port).await?, Listening::on(0).await?];
        let simulated = self.simulated(daemon, log).await?;
        let vpn =
            Vpn::new(&daemon.endpoints, daemon.key.clone()).map_err(|error| broken(&error))?;
        let networks = Networks::open(data, self.bus(daemon, data)?);
        let networks = networks.map_err(|error| broken(&error))?;
        let ways = Ways::new(vpn, Some(networks.clone()));
        let door = Door::open(data, ways.clone()).map_err(|error| broken(&error))?;
        let heads = HeadTokens::new(data);
        let reach = Reach::new(ReachPlan {
            data: data.to_owned(),
            net: daemon.endpoints.net_api(),
            key: daemon.key.clone(),
            ways,
            heads: heads.clone(),
            heads_at: listening[1].address(),
            log: log.clone(),
        });
        let recorder = surroundings::recorder(self.served.record.as_deref(), &daemon.key)?;
        let kept = Kept { journals, recovered, recorder };
        let commands = Commands::new(client.clone());
        let requestor = ProviderId::from(address.as_str());
        let routed = Routed::new(client, networks.clone(), requestor);
        let (manager, handle) = Manager::new(kept, routed, reach.clone(), log.clone());
        let (sightings, seen) = providers::sightings();
        let (news, bills_news) = mpsc::unbounded_channel();
        let manager = manager.telling(sightings).billing(news);
        let (keeper, providers) = Providers::new(
            self.known_in(data),
            self.reputation(log)?,
            handle.clone(),
            log.clone(),
            seen,
        );
        let app = Arc::new(App {
            handle,
            providers,
            settings: Settings {
                data: data.to_owned(),
                program: env::current_exe()?,
                self_shutdown: self.self_shutdown,
                registry_stats: !self.served.no_registry_stats,
                guard: self.guard(data, log)?,
                metrics_token: Token::of_metrics(data).map_err(|error| broken(&error))?,
            },
            images: Images::new(self.registry(daemon)?),
            wallet: Wallet::new(address, daemon.cli.clone(), log.clone()),
            commands,
            simulated,
            heads,
            bills: bills(data, log).await?,
            alerts: Alerts::default(),
            stop: Stop::default(),
            usage: Usage::new(door.connections()),
            allowances: Allowances::default(),
            log: log.clone(),
        });
        Ok(Built { app, manager, keeper, bills_news, reach, networks, door, listening })
    }

    /// Where the bus of the daemon is. One on another machine has none, unless the environment names it.
    fn bus(&self, daemon: &Daemon, data: &Path) -> Result<Option<BusAddress>, CliError> {
        if self.served.is_simulated() {
            return Ok(Some(BusAddress::Unix(simulated_bus(data))));
        }
        let is_named = env::var_os("GSB_URL").is_some_and(|named| !named.is_empty());
        if !(is_named || daemon.endpoints.is_on_this_machine()) {
            return Ok(None);
        }
        let hint = || "unset `GSB_URL`, or set it as the daemon has it".to_owned();
        let bad = |what: String| CliError::Environment { what, hint: hint() };
        bus_address().map(Some).map_err(|error| bad(error.to_string()))
    }

    /// The simulated network, asked what its nodes are.
    async fn simulated(&self, daemon: &Daemon, log: &Log) -> Result<Option<Simulated>, CliError> {
        if self.served.sim.is_none() {
            return Ok(None);
        }
        let found = Simulated::at(daemon.endpoints.base.clone(), daemon.key.clone()).await;
        let found = found.map_err(|error| broken(&error))?;
        if let Some(caveat) = found.caveat() {
            log.warn(WHO, caveat);
        }
        Ok(Some(found))
    }

    /// Simulated providers are known apart from real ones.
    fn known_in(&self, data: &Path) -> PathBuf {
        if self.served.sim.is_some() { data.join("sim") } else { data.to_owned() }
    }

    /// Nobody publishes scores of a simulated network, unless the user names somebody.
    fn reputation(&self, log: &Log) -> Result<Option<Service>, CliError> {
        let named = surroundings::named_reputation()?.is_some();
        if self.served.sim.is_some() && !named {
            return Ok(None);
        }
        match Service::new(surroundings::reputation()?) {
            Ok(service) => Ok(Some(service)),
            Err(error) => {
                log.warn(WHO, &format!("No scores of providers are fetched: {error}"));
                Ok(None)
            }
        }
    }

    /// A simulated network has a registry of its own.
    fn registry(&self, daemon: &Daemon) -> Result<Url, CliError> {
        match self.served.sim {
            Some(_) => surroundings::registry_beside(&daemon.endpoints.base),
            None => surroundings::registry(),
        }
    }

    fn guard(&self, data: &Path, log: &Log) -> Result<Guard, CliError> {
        let token = Token::of(data).map_err(|error| broken(&error))?;
        if self.served.is_anonymous() {
            log.warn(
                WHO,
                "ANYBODY ON THIS MACHINE MAY USE THIS SERVER: start nodes for your money, and read \
                 the keys to them. Leave `--allow-anonymous` out if no client of the original needs it",
            );
            return Ok(Guard::Anyone(token));
        }
        Ok(Guard::Token(token))
    }
}

/// All that is needed to serve.
struct Built {
    app: Arc<App>,
    manager: Manager<Routed, Reach>,
    keeper: Providers,
    /// What the manager tells of bills.
    bills_news: mpsc::UnboundedReceiver<News>,
    reach: Reach,
    networks: Networks,
    /// Where `ssh-proxy` asks for connections.
    door: Door,
    /// For users, and for heads.
    listening: [Listening; 2],
}

/// What runs side by side.
struct Parts {
    tasks: JoinSet<Part>,
    /// Reset their connections at the end.
    networks: Networks,
    /// Tells the servers to end.
    end: watch::Sender<bool>,
}

/// A part that has ended.
enum Part {
    Manager(Result<(), ManagerError>),
    Server,
    Reach,
    Providers,
    Bills,
    Alerts,
    Door,
    Shutdown,
}

impl Parts {
    fn start(built: Built, daemon: &Daemon) -> Result<Self, CliError> {
        let Built { app, manager, keeper, bills_news, reach, networks, door, listening } = built;
        let [users_at, heads_at] = listening;
        let end = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let board = app.handle.changes();
        let (endpoints, key, log) = (&daemon.endpoints, daemon.key.clone(), app.log.clone());
        let watch = alerts::Watch::new(endpoints, key, &app.wallet, app.alerts.clone(), log)
            .map_err(|error| broken(&error))?;
        let port = users_at.address().port();
        tasks.spawn(async move { Part::Manager(manager.run().await) });
        tasks.spawn(async move {
            match keeper.keep().await {
                Ok(()) => Part::Providers,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        });
        let bills = app.bills.clone().keep(bills_news, app.handle.changes());
        tasks.spawn(async move {
            bills.await;
            Part::Bills
        });
        tasks.spawn(async move {
            reach.keep(board).await;
            Part::Reach
        });
        let usage = app.usage.keep(app.handle.clone());
        tasks.spawn(async move {
            tokio::join!(door.serve(), usage);
            Part::Door
        });
        let paid = app.bills.clone().follow(watch.payments());
        tasks.spawn(async move {
            tokio::join!(watch.keep(), paid);
            Part::Alerts
        });
        for (listening, router) in
            [(users_at, server::users(&app)), (heads_at, server::heads(&app))]
        {
            let end = end.subscribe();
            tasks.spawn(async move {
                server::serve(listening, router, end).await;
                Part::Server
            });
        }
        app.log.info(WHO, &format!("Starting server done, listening on port {port}"));
        Ok(Self { tasks, networks, end })
    }

    /// Runs until everything has ended as ordered, or something has ended that must not. Either way the nodes
    /// are told that their connections are over.
    async fn run(mut self, app: &App, signals: &mut Signals) -> Result<End, CliError> {
        let ended = self.follow(app, signals).await;
        self.networks.end().await;
        ended
    }

    async fn follow(&mut self, app: &App, signals: &mut Signals) -> Result<End, CliError> {
        let mut ordered = None;
        loop {
            tokio::select! {
                joined = self.tasks.join_next() => {
                    if is_settled(joined, ordered.is_some())? {
                        break;
                    }
                }
                end = app.stop.ordered(), if ordered.is_none() => match end {
                    End::AllClusters(delay) => {
                        ordered = Some(end);
                        app.log.info(WHO, "Shutting down...");
                        let handle = app.handle.clone();
                        self.tasks.spawn(async move { shut_down(handle, delay).await });
                    }
                    End::KeepingClusters => {
                        app.log.info(WHO, &farewell(app));
                        self.end_servers().await;
                        return Ok(end);
                    }
                },
                end = signals.next() => {
                    if ordered.is_some() {
                        app.log.warn(WHO, "Interrupted again: what is left is ended at the next start");
                        return Err(CliError::Interrupted);
                    }
                    // Without clusters there is nothing to keep, and the daemon may end, too.
                    let has_clusters = !app.handle.board().clusters.is_empty();
                    app.stop.order(if has_clusters { end } else { End::AllClusters(Duration::ZERO) });
                }
            }
        }
        self.end.send_replace(true);
        let rest = async {
            // The last ones watch the daemon, and the door, until the process ends.
            while self.tasks.len() > 2 && self.tasks.join_next().await.is_some() {}
        };
        drop(timeout(GRACE, rest).await);
        Ok(End::AllClusters(Duration::ZERO))
    }

    /// Lets both servers finish what they are about to answer. The manager goes on until then; what cuts it off after
    /// that finds its journal as a crash would, which is whole at each moment.
    async fn end_servers(&mut self) {
        self.end.send_replace(true);
        let both = async {
            let mut open = 2;
            while open > 0
                && let Some(joined) = self.tasks.join_next().await
            {
                open -= usize::from(matches!(joined, Ok(Part::Server)));
            }
        };
        drop(timeout(GRACE, both).await);
    }
}

/// Whether the manager has ended as ordered. An error, if a part has ended that must not.
fn is_settled(joined: Option<Result<Part, JoinError>>, is_ordered: bool) -> Result<bool, CliError> {
    match joined {
        Some(Ok(Part::Manager(Ok(())))) => Ok(true),
        Some(Ok(Part::Manager(Err(error)))) => Err(broken(&error)),
        Some(Ok(Part::Shutdown)) => Ok(false),
        // The tunnels end with the manager.
        Some(Ok(Part::Reach)) if is_ordered => Ok(false),
        // They end with the manager, whose own end says why.
        Some(Ok(Part::Providers | Part::Bills)) => Ok(false),
        Some(Ok(Part::Reach | Part::Server | Part::Alerts | Part::Door)) | None => {
            Err(bug("a part of the server has ended"))
        }
        Some(Err(error)) => Err(died(&error)),
    }
}

/// What is said of the clusters that go on without a webserver.
fn farewell(app: &App) -> String {
    let board = app.handle.board();
    let named = board.clusters.values().map(|cluster| {
        let live = cluster.nodes.values().filter(|node| node.state < NodeState::Terminated);
        format!("`{}` ({})", cluster.name, live.count())
    });
    format!(
        "Clusters go on with their nodes: {}. Their providers wait for the answer to a bill until {} at least; the next \
         webserver goes on with them",
        named.collect::<Vec<_>>().join(", "),
        clock::written(server::bills_can_wait_until())
    )
}

/// Ends all clusters after a while.
async fn shut_down(handle: Handle, delay: Duration) -> Part {
    sleep(delay).await;
    // If the manager is gone, its own end says why.
    let _ = handle.ask(Command::Shutdown).await;
    Part::Shutdown
}

/// The bills of the data directory, with all that the journals know.
async fn bills(data: &Path, log: &Log) -> Result<Bills, CliError> {
    let (data, log) = (data.to_owned(), log.clone());
    let opening = move || Bills::open(&data, bills::owner_of(&data), log);
    spawn_blocking(opening).await.map_err(|error| died(&error))
}

async fn listen(port: u16) -> Result<Listening, CliError> {
    Listening::on(port).await.map_err(|error| {
        let (what, hint) = doctor::port::taken(port, &error);
        CliError::Environment { what, hint }
    })
}

fn in_use(error: &JournalsError, data: &Path) -> CliError {
    let hint = match error {
        JournalsError::InUse { .. } => {
            "`ray-on-golem status` shows it, `ray-on-golem stop` ends it"
        }
        JournalsError::Io { .. } => match doctor::data::usable(data) {
            Err((what, hint)) => return CliError::Environment { what, hint },
            Ok(()) => "nothing was changed",
        },
        JournalsError::Bad { .. }
        | JournalsError::Stray { .. }
        | JournalsError::Closed { .. }
        | JournalsError::Broken { .. } => "nothing was changed",
    };
    CliError::Environment { what: chain(error), hint: hint.to_owned() }
}

fn broken(error: &dyn std::error::Error) -> CliError {
    CliError::Broken(chain(error))
}

fn bug(what: &str) -> CliError {
    CliError::Environment {
        what: what.to_owned(),
        hint: "this is a bug; clusters go on when the webserver is started again".to_owned(),
    }
}

fn died(error: &JoinError) -> CliError {
    bug(&format!("a part of the server died: {error}"))
}
