//! The production program.

use std::process::ExitCode;

use clap::Parser;
use ray_on_golem::cli::{self, Cli, printer::Printer};

fn main() -> ExitCode {
    cli::run(Cli::parse(), &mut Printer::default()).into()
}
