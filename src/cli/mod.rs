//! The command line: what was typed, what it means, and one door for all output.

use clap::{Parser, Subcommand};

mod bills;
mod doctor;
pub mod document;
pub mod error;
mod exec;
pub mod exit;
pub mod explain;
mod left;
pub mod network_stats;
pub mod printer;
pub mod report;
mod reputation;
mod restart;
mod served;
mod service;
mod signals;
pub mod ssh_proxy;
mod start;
mod status;
mod stop;
mod surroundings;
mod table;
mod unmet;
mod web;
mod webserver;
mod when;

use bills::BillsArgs;
use doctor::Doctor;
use error::CliError;
use exec::Exec;
use exit::Exit;
use explain::Explain;
use network_stats::NetworkStats;
use printer::Printer;
use reputation::ReputationArgs;
use restart::Restart;
use service::Service;
use ssh_proxy::SshProxy;
use start::Start;
use status::Status;
use stop::Stop;
use webserver::Webserver;

/// Runs Ray clusters on the Golem Network.
#[derive(Debug, Parser)]
#[command(
    name = "ray-on-golem",
    display_name = "ray-on-golem,",
    version = concat!("version ", env!("CARGO_PKG_VERSION")),
    after_long_help = exit::help(),
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows every bill that was accepted or disputed and every payment, or what they come to.
    Bills(BillsArgs),
    /// Looks whether this machine has all that a cluster needs; ✘ with what to do.
    Doctor(Doctor),
    /// Runs a command on a node through its provider, also where ssh does not reach it.
    Exec(Exec),
    /// Says for each offer on the market why it would be hired, or why not.
    Explain(Explain),
    /// Shows what the Golem market offers for a cluster.
    NetworkStats(NetworkStats),
    /// Shows what is known about providers, blocks them, and fetches their scores.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Reputation(ReputationArgs),
    /// Starts the webserver anew, as after an update; its clusters go on.
    Restart(Restart),
    /// Has systemd run the webserver.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Service(Service),
    /// Joins its input and output with a node; ssh runs it as its `ProxyCommand`.
    #[command(hide = true)]
    SshProxy(SshProxy),
    /// Starts the webserver in the background.
    Start(Start),
    /// Shows the webserver, its clusters, their nodes, and their money.
    Status(Status),
    /// Stops the webserver, and if need be its clusters.
    Stop(Stop),
    /// Prints the version.
    Version,
    /// Runs the webserver, which keeps the clusters; `ray up` and `start` start it by themselves.
    Webserver(Webserver),
}

/// Does what was typed; the exit code says how it went.
#[must_use]
pub fn run(cli: Cli, printer: &mut Printer) -> Exit {
    let result = match cli.command {
        Command::Bills(command) => command.run(printer),
        Command::Doctor(command) => command.run(printer),
        Command::Exec(command) => command.run(printer),
        Command::Explain(command) => command.run(printer),
        Command::NetworkStats(command) => command.run(printer),
        Command::Reputation(command) => command.run(printer),
        Command::Restart(command) => command.run(printer),
        Command::Service(command) => command.run(printer),
        Command::SshProxy(command) => command.run(),
        Command::Start(command) => command.run(printer),
        Command::Status(command) => command.run(printer),
        Command::Stop(command) => command.run(printer),
        Command::Webserver(command) => command.run(printer),
        Command::Version => {
            printer.print(concat!("ray-on-golem ", env!("CARGO_PKG_VERSION"), "\n"))
        }
    };
    finish(result, printer)
}

/// Tells of an error, and turns it into an exit code.
#[must_use]
pub fn finish(result: Result<(), CliError>, printer: &mut Printer) -> Exit {
    match result {
        Ok(()) => Exit::Success,
        Err(error) => {
            printer.error(&error);
            error.exit()
        }
    }
}
