//! The simulator's program.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

mod crew;
mod drills;
mod exit;
mod replays;
mod reports;
mod service;
mod stand_in;
mod station;

use exit::Exit;
use golem_sim::{
    nodes::Inside,
    plan,
    scenario::Scenario,
    world::{Setup, World},
};
use ray_on_golem::{
    cli::{
        self,
        error::CliError,
        explain::ExplainArgs,
        network_stats::{Order, SurveyArgs},
        printer::Printer,
    },
    config::ConfigError,
    core::{market::spec::ImageRef, reputation::Reputation, rng::Seed, survey::SurveyReport},
};

/// A swarm is millions of short lives: a third of their time would go to the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Without a scenario, a small testnet is simulated.
const DEFAULT_SCENARIO: &str = include_str!("../../fixtures/scenario/testnet.yaml");

/// A simulated Golem network, offline and in virtual time.
#[derive(Debug, Parser)]
#[command(name = "golem-sim", version, after_long_help = exit::help())]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows what a simulated market offers for a cluster
    Stats {
        #[command(flatten)]
        survey: SurveyArgs,
        /// The simulated network; a small testnet by default
        #[arg(long)]
        scenario: Option<PathBuf>,
        /// What all randomness of the network grows from
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Says for each offer on a simulated market why it would be hired, or why not
    Explain {
        #[command(flatten)]
        args: ExplainArgs,
        /// The simulated network; a small testnet by default
        #[arg(long)]
        scenario: Option<PathBuf>,
        /// What all randomness of the network grows from
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Serves a simulated network as the yagna daemon does, in real time
    Serve {
        #[command(flatten)]
        args: service::ServeArgs,
    },
    /// Runs the plan of a file or of a seed
    Run {
        #[command(flatten)]
        source: drills::Source,
        /// What to tell of it
        #[arg(long, value_enum, default_value_t = drills::Trace::None)]
        trace: drills::Trace,
    },
    /// Runs many seeds, and says which invariants they break
    Swarm {
        #[command(flatten)]
        args: drills::SwarmArgs,
    },
    /// Runs a plan and tells everything that happens; or tells where what was recorded with `--record`
    /// would go differently today
    Replay {
        #[command(flatten)]
        source: drills::Source,
    },
    /// Runs a plan over the values of a knob and over seeds, and tells what nodes take and cost
    Report {
        #[command(flatten)]
        args: reports::ReportArgs,
    },
    /// Makes a failing plan as small as it gets, and prints it
    Shrink {
        #[command(flatten)]
        source: drills::Source,
    },
    /// Stands in for the daemon's own command line
    #[command(disable_help_flag = true)]
    Yagna {
        /// What would follow `yagna`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Is the TCP of a node in a lab of real daemons
    #[command(hide = true)]
    Station {
        #[command(flatten)]
        args: station::StationArgs,
    },
    #[command(flatten)]
    Inside(Inside),
}

fn main() -> ExitCode {
    let mut printer = Printer::default();
    let mut words = env::args_os();
    let name = words.next();
    if name.as_deref().map(Path::new).and_then(Path::file_name).is_some_and(|it| it == "yagna") {
        return stand_in::run(words, &mut printer);
    }
    let result = match Args::parse().command {
        Command::Stats { survey, scenario, seed } => {
            stats(survey, scenario, seed, &mut printer).map(|()| ExitCode::SUCCESS)
        }
        Command::Explain { args, scenario, seed } => {
            explain(&args, scenario, seed, &mut printer).map(|()| ExitCode::SUCCESS)
        }
        Command::Serve { args } => service::serve(args, &mut printer).map(|()| ExitCode::SUCCESS),
        Command::Run { source, trace } => drills::run(&source, trace, &mut printer),
        Command::Swarm { args } => drills::swarm(&args, &mut printer),
        Command::Replay { source } => replays::replay(&source, &mut printer),
        Command::Report { args } => reports::report(&args, &mut printer),
        Command::Shrink { source } => drills::make_small(&source, &mut printer),
        Command::Yagna { words } => Ok(stand_in::run(words, &mut printer)),
        Command::Station { args } => station::run(args).map(|()| ExitCode::SUCCESS),
        Command::Inside(process) => match process.run() {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(CliError::Environment {
                what: format!("a process of a local node: {error}"),
                hint: "it is started by `golem-sim serve`, not by hand".to_owned(),
            }),
        },
    };
    match result {
        Ok(code) => code,
        Err(error) => Exit::from(cli::finish(Err(error), &mut printer)).into(),
    }
}

fn stats(
    survey: SurveyArgs,
    scenario: Option<PathBuf>,
    seed: u64,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let order = Order::read(survey, printer)?;
    let scenario = read(scenario)?;
    order.print_start(printer)?;
    let report = survey_simulated(&order, Reputation::default(), false, scenario, seed, printer)?;
    order.print_report(&report, true, printer)
}

fn explain(
    args: &ExplainArgs,
    scenario: Option<PathBuf>,
    seed: u64,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let order = args.order(printer)?;
    let reputation = args.known_of_simulated(&order, printer)?;
    args.begin(printer);
    let (known, scenario) = (reputation.clone(), read(scenario)?);
    let report = survey_simulated(&order, known, true, scenario, seed, printer)?;
    args.print(&order, &report, &reputation, printer)
}

fn survey_simulated(
    order: &Order,
    reputation: Reputation,
    explains: bool,
    scenario: Scenario,
    seed: u64,
    printer: &mut Printer,
) -> Result<Box<SurveyReport>, CliError> {
    let setup = Setup {
        scenario,
        seed: Seed::new(seed),
        is_audited: false,
        is_wired: false,
        is_traced: false,
        bug: None,
        end_after: None,
        crash_at_call: None,
    };
    let (ImageRef::Tag(image) | ImageRef::Hash(image)) = &order.node_type().spec.image;
    let plan = order.plan(plan::image(image), reputation, explains);
    let run = World::new(setup).survey(plan);
    for (_, notice) in &run.notices {
        printer.warn(&notice.to_string());
    }
    match run.answer {
        Some(result) => Ok(result?),
        None => Err(CliError::Argument("the simulated survey gave no answer in time".to_owned())),
    }
}

fn read(scenario: Option<PathBuf>) -> Result<Scenario, CliError> {
    let (name, bytes) = match scenario {
        Some(path) => {
            let name = path.display().to_string();
            let bytes =
                fs::read(&path).map_err(|error| ConfigError::unreadable(&name, error.kind()))?;
            (name, bytes)
        }
        None => ("testnet.yaml".to_owned(), DEFAULT_SCENARIO.into()),
    };
    Scenario::parse(&bytes).map_err(|error| CliError::Argument(error.in_file(&name)))
}
