//! A stand-in for the daemon's command line, so that tools that call `yagna` work too.
//!
//! It is reached as `golem-sim yagna …`, or by a symbolic link named `yagna`. `service run` serves, and
//! leaves a note in its data directory where it is; all else looks there, and otherwise to
//! `YAGNA_API_URL` and `YAGNA_APPKEY`.

mod ask;
mod note;
mod print;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use golem_sim::serve::{Keys, Options, Patience};
use ray_on_golem::{
    cli::{error::CliError, printer::Printer},
    core::rng::Seed,
    yagna::bus::BusAddress,
};
use serde_json::{Value, json};

use crate::service::NodesKind;
use ask::Daemon;
use note::Note;

/// What the daemon's command line exits with when something is wrong.
const FAILED: u8 = 1;
const NETWORKS: [&str; 9] =
    ["amoy", "goerli", "holesky", "hoodi", "mainnet", "mumbai", "polygon", "rinkeby", "sepolia"];
/// Networks with a faucet.
const FUNDABLE: [&str; 5] = ["sepolia", "goerli", "holesky", "hoodi", "amoy"];

/// The simulated stand-in for the Golem daemon's command line
#[derive(Debug, Parser)]
#[command(name = "yagna", version = "0.17.6 (simulated)", disable_help_subcommand = true)]
struct Yagna {
    /// Return results in JSON format
    #[arg(long, global = true)]
    json: bool,
    /// Service data dir
    #[arg(short, long, global = true, env = "YAGNA_DATADIR")]
    datadir: Option<PathBuf>,
    /// Service Bus (aka GSB) URL: `unix:PATH`; without it the bus is in a fresh directory for temporary files
    #[arg(short, long, global = true, env = "GSB_URL")]
    gsb_url: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Identity management
    #[command(subcommand)]
    Id(Id),
    /// AppKey management
    #[command(name = "app-key", subcommand)]
    AppKey(AppKey),
    /// Payment management
    #[command(subcommand)]
    Payment(Payment),
    /// Core service usage
    #[command(subcommand)]
    Service(Service),
    /// Check for new version
    #[command(subcommand)]
    Version(Version),
}

#[derive(Debug, Subcommand)]
enum Id {
    /// Show list of all identities
    List,
    /// Show identity details
    Show,
}

#[derive(Debug, Subcommand)]
enum AppKey {
    /// List all keys
    List {
        /// The first page is 1
        #[arg(long, default_value_t = 1)]
        page: usize,
        /// Keys on a page
        #[arg(long, default_value_t = 10)]
        per_page: usize,
    },
    /// Create a new key, or tell the one of this name
    Create {
        /// Its name
        name: String,
        /// Its role
        #[arg(long, default_value = "manager")]
        role: String,
    },
}

#[derive(Debug, Subcommand)]
enum Payment {
    /// Display account balance and a summary of sent and received payments
    Status(Account),
    /// Top up the account from a faucet
    Fund(Account),
    /// Initialize the account
    Init {
        #[command(flatten)]
        account: Account,
        /// For sending
        #[arg(long)]
        sender: bool,
        /// For receiving
        #[arg(long)]
        receiver: bool,
    },
    /// List registered accounts
    Accounts,
    /// Payment drivers
    #[command(subcommand)]
    Driver(Driver),
}

#[derive(Debug, Subcommand)]
enum Driver {
    /// List registered drivers, networks, tokens and platforms
    List,
}

#[derive(Debug, Args)]
struct Account {
    /// The payment driver
    #[arg(long, default_value = "erc20", value_parser = ["erc20"])]
    driver: String,
    /// The payment network
    #[arg(long, default_value = "hoodi", value_parser = NETWORKS)]
    network: String,
    /// The wallet; there is one
    #[arg(long)]
    account: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Service {
    /// Runs server in foreground
    Run(Run),
}

#[derive(Debug, Args)]
struct Run {
    /// The simulated network; a small testnet by default
    #[arg(long, env = "GOLEM_SIM_SCENARIO")]
    scenario: Option<PathBuf>,
    /// What all randomness of the network grows from
    #[arg(long, env = "GOLEM_SIM_SEED", default_value_t = 0)]
    seed: u64,
    /// How many times faster providers work
    #[arg(long, env = "GOLEM_SIM_HASTE", default_value_t = 1)]
    haste: u64,
    /// What an activity is
    #[arg(long, env = "GOLEM_SIM_NODES", value_enum, default_value_t = NodesKind::None)]
    nodes: NodesKind,
    /// Where to listen
    #[arg(long, env = "YAGNA_API_URL", default_value = "http://127.0.0.1:7465")]
    api_url: String,
    /// Only taken: there is nothing of the kind
    #[arg(long)]
    api_allow_origin: Vec<String>,
    /// Only taken: there is nothing of the kind
    #[arg(long)]
    disable_metrics_push: bool,
    /// Only taken: there is nothing of the kind
    #[arg(long)]
    debug: bool,
}

#[derive(Debug, Subcommand)]
enum Version {
    /// Show current Yagna version
    Show,
}

/// Does what was typed after `yagna`.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = OsString>,
    printer: &mut Printer,
) -> ExitCode {
    let words = std::iter::once(OsString::from("yagna")).chain(arguments);
    let yagna = match Yagna::try_parse_from(words) {
        Ok(yagna) => yagna,
        Err(error) => {
            let is_wrong = error.use_stderr();
            // Nobody is left to tell that nobody can be told.
            let _ = error.print();
            return if is_wrong { ExitCode::from(FAILED) } else { ExitCode::SUCCESS };
        }
    };
    let is_json = yagna.json;
    let result = if let Command::Service(Service::Run(run)) = yagna.command {
        serve(run, yagna.datadir, yagna.gsb_url, printer)
    } else {
        Daemon::find(yagna.datadir)
            .and_then(|daemon| answer(&yagna.command, &daemon, printer))
            .and_then(|told| print::print(&told, is_json, printer))
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printer.tell(&format!("Error: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn serve(
    run: Run,
    datadir: Option<PathBuf>,
    gsb_url: Option<String>,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let port = run.api_url.trim_end_matches('/').rsplit_once(':').map(|(_, port)| port);
    let port = port.and_then(|port| port.parse().ok()).ok_or_else(|| {
        let text = format!("`YAGNA_API_URL` is `{}`; it must end with a port", run.api_url);
        CliError::Argument(text)
    })?;
    let key = std::env::var("YAGNA_AUTOCONF_APPKEY").ok().filter(|key| !key.is_empty());
    let options = Options {
        scenario: super::read(run.scenario)?,
        seed: Seed::new(run.seed),
        haste: run.haste,
        port,
        keys: crate::service::keys(key)?,
        nodes: run.nodes.nodes(None),
        patience: Patience::default(),
        bus: gsb_url.filter(|url| !url.is_empty()).map(|url| bus_path(&url)).transpose()?,
    };
    let note = Note::place(datadir)?;
    crate::service::run(options, |server| {
        note.leave(&server.url(), &server.keys().first())?;
        if let Some(caveat) = server.caveat() {
            printer.warn(caveat);
        }
        printer.tell(&format!("the simulated daemon listens on {}", server.url()));
        Ok(())
    })?;
    note.remove();
    Ok(())
}

/// The path of a bus that is a socket of this machine.
fn bus_path(url: &str) -> Result<PathBuf, CliError> {
    match url.parse() {
        Ok(BusAddress::Unix(path)) => Ok(path),
        Ok(BusAddress::Tcp(..)) => Err(CliError::Argument(format!(
            "the bus of a simulated daemon cannot be at `{url}`; write `unix:PATH`"
        ))),
        Err(error) => Err(CliError::Argument(error.to_string())),
    }
}

fn answer(command: &Command, daemon: &Daemon, printer: &mut Printer) -> Result<Value, CliError> {
    match command {
        Command::Id(id) => identity(id, daemon),
        Command::AppKey(AppKey::List { page, per_page }) => keys(daemon, *page, *per_page),
        Command::AppKey(AppKey::Create { name, role: _ }) => {
            daemon.post("/sim/app-keys", &json!(name))
        }
        Command::Payment(payment) => self::payment(payment, daemon, printer),
        Command::Version(Version::Show) => daemon.get("/version/get"),
        Command::Service(_) => Ok(Value::Null),
    }
}

fn identity(id: &Id, daemon: &Daemon) -> Result<Value, CliError> {
    let me = daemon.get("/me")?;
    Ok(match id {
        Id::List => json!([{
            "address": me["identity"],
            "alias": null,
            "default": "X",
            "delete in progress": "",
            "locked": "",
        }]),
        Id::Show => json!({ "Ok": {
            "alias": null,
            "deleted": false,
            "isDefault": true,
            "isLocked": false,
            "nodeId": me["identity"],
        } }),
    })
}

/// A page of keys. The key of the daemon's start-up is on every page.
fn keys(daemon: &Daemon, page: usize, per_page: usize) -> Result<Value, CliError> {
    let all = daemon.get("/sim/app-keys")?;
    let all = all.as_array().cloned().unwrap_or_default();
    let (first, others): (Vec<Value>, Vec<Value>) =
        all.into_iter().partition(|key| key["name"] == Keys::AUTOCONFIGURED);
    let skipped = page.saturating_sub(1).saturating_mul(per_page);
    let mut listed: Vec<Value> = others.into_iter().skip(skipped).take(per_page).collect();
    listed.extend(first);
    Ok(Value::Array(listed))
}

fn payment(payment: &Payment, daemon: &Daemon, printer: &mut Printer) -> Result<Value, CliError> {
    match payment {
        Payment::Status(account) => {
            daemon.get(&format!("/sim/account/{}", platform(&account.network)))
        }
        Payment::Fund(account) => {
            let network = account.network.as_str();
            if !FUNDABLE.contains(&network) {
                printer.warn(&format!(
                    "Funds for {network} can be obtained via the onboarding portal"
                ));
                return Ok(Value::Null);
            }
            let status = daemon.get(&format!("/sim/account/{}", platform(network)))?;
            let amount = status["amount"].as_str().unwrap_or_default();
            printer.print(&format!(
                "No funds received on {network} network\nYou have 1 tETH and {amount} tGLM on \
                 {network} network\nRun yagna payment status --network {network} for more details\n"
            ))?;
            Ok(Value::Null)
        }
        Payment::Init { account, sender: _, receiver: _ } => {
            daemon.post("/sim/accounts", &json!(platform(&account.network)))
        }
        Payment::Accounts => daemon.get("/payment-api/v1/requestorAccounts"),
        Payment::Driver(Driver::List) => {
            let mut networks = serde_json::Map::new();
            for network in NETWORKS {
                let token = token(network);
                let tokens = json!({ token: platform(network) });
                let known = json!({ "default_token": token, "tokens": tokens });
                networks.insert(network.to_owned(), known);
            }
            Ok(json!({ "erc20": {
                "default_network": "holesky",
                "networks": networks,
                "recv_init_required": false,
            } }))
        }
    }
}

fn token(network: &str) -> &'static str {
    if matches!(network, "mainnet" | "polygon") { "GLM" } else { "tGLM" }
}

fn platform(network: &str) -> String {
    format!("erc20-{network}-{}", token(network).to_lowercase())
}
