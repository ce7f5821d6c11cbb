//! `golem-sim serve`: the simulated daemon until somebody ends it.

use std::{panic::resume_unwind, path::PathBuf};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use golem_sim::{
    nodes::LocalSetup,
    serve::{Keys, Nodes, Options, Patience, ServeError, Server},
};
use ray_on_golem::{
    cli::{error::CliError, printer::Printer},
    config::networks,
    core::rng::Seed,
    yagna::AppKey,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

/// Arguments of `golem-sim serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The simulated network; a small testnet by default
    scenario: Option<PathBuf>,
    /// Where to listen on 127.0.0.1; 0 is any free port
    #[arg(long, default_value_t = 7465)]
    port: u16,
    /// What all randomness of the network grows from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many times faster providers work; the clock is never changed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    haste: u64,
    /// The app-key that is let in; a random one by default
    #[arg(long, env = "YAGNA_AUTOCONF_APPKEY", hide_env_values = true)]
    appkey: Option<String>,
    /// What an activity is
    #[arg(long, value_enum, default_value_t = NodesKind::None)]
    nodes: NodesKind,
    /// A virtual environment of Python that comes first in the search path of local nodes
    #[arg(long, value_name = "DIR")]
    node_venv: Option<PathBuf>,
    /// A payment network that all offers name beside those of the scenario; clients of other makers ask for `holesky`
    #[arg(
        long = "network",
        value_name = "NAME",
        value_parser = PossibleValuesParser::new(networks::NETWORKS.map(|it| it.name)),
    )]
    networks: Vec<String>,
    /// Where the socket of its bus is; by default in a fresh directory for temporary files
    #[arg(long, value_name = "PATH")]
    bus: Option<PathBuf>,
}

/// What an activity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NodesKind {
    /// An ssh server answers, and every command succeeds; nothing runs
    None,
    /// `local` where this host allows namespaces, `processes` where not
    Auto,
    /// A real node on this host, in namespaces of its own
    Local,
    /// A group of processes of this host, with an address and a directory of its own
    Processes,
}

impl NodesKind {
    /// The nodes of this kind, with a virtual environment if one is given.
    pub(crate) fn nodes(self, venv: Option<PathBuf>) -> Nodes {
        let setup = Box::new(LocalSetup { venv, ..LocalSetup::default() });
        match self {
            Self::None => Nodes::Virtual,
            Self::Auto => Nodes::Best(setup),
            Self::Local => Nodes::Local(setup),
            Self::Processes => Nodes::Processes(setup),
        }
    }
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) fn serve(args: ServeArgs, printer: &mut Printer) -> Result<(), CliError> {
    let ServeArgs { scenario, port, seed, haste, appkey, nodes, node_venv, networks, bus } = args;
    let mut scenario = super::read(scenario)?;
    for network in networks.iter().filter_map(|name| networks::find(name)) {
        scenario.offer_on(network.platform);
    }
    let options = Options {
        scenario,
        seed: Seed::new(seed),
        haste,
        port,
        keys: keys(appkey)?,
        nodes: nodes.nodes(node_venv),
        patience: Patience::default(),
        bus,
    };
    run(options, |server| {
        if let Some(caveat) = server.caveat() {
            printer.warn(caveat);
        }
        let (url, key) = (server.url(), server.keys().first());
        let bus = server.bus().map_or_else(String::new, |bus| format!(" GSB_URL={bus}"));
        printer.line(&format!("YAGNA_API_URL={url} YAGNA_APPKEY={key}{bus}"))
    })
}

/// Serves what was chosen; says so when it is ready.
pub(crate) fn run(
    options: Options,
    ready: impl FnOnce(&Server) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let mut server = Server::start(options).await.map_err(environment)?;
        ready(&server)?;
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            died = server.died() => resume_unwind(died.into_panic()),
        }
        server.end().await;
        Ok(())
    })
}

/// The keys that are let in, by the one that was given.
pub(crate) fn keys(given: Option<String>) -> Result<Keys, CliError> {
    let Some(given) = given else { return Ok(Keys::random()) };
    let key = AppKey::new(&given);
    let key = key.map_err(|error| CliError::Argument(format!("`--appkey` is not usable: {error}")));
    Ok(Keys::new(key?.as_str()))
}

fn environment(error: ServeError) -> CliError {
    let hint = match &error {
        ServeError::PortTaken { .. } | ServeError::Listen { .. } => {
            "`golem-sim serve --port 0` finds a free one"
        }
        ServeError::BusTaken { .. } | ServeError::Bus { .. } => {
            "without `--bus` it makes a directory of its own for it"
        }
        ServeError::Nodes(_) => "`golem-sim serve --nodes none` needs nothing of the host",
    };
    let hint = hint.to_owned();
    let mut what = error.to_string();
    if let Some(cause) = std::error::Error::source(&error) {
        what = format!("{what}: {cause}");
    }
    CliError::Environment { what, hint }
}
