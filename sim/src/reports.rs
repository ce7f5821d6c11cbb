//! The command `report`: what nodes take and cost under a plan, as a table and as a picture.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use golem_sim::{
    drill::Outcome,
    report::{Failure, Order, Report},
};
use ray_on_golem::cli::{error::CliError, network_stats::Format, printer::Printer};

use crate::{crew, drills, exit::Exit};

/// What to run, and where the report goes.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The plan
    #[arg(value_name = "PLAN.yaml")]
    plan: PathBuf,
    /// Runs the plan with each of these numbers at this place of it, such as `market.honest=5,10,20`
    #[arg(long, value_name = "KNOB=A,B,…")]
    sweep: Option<String>,
    /// How many seeds, from the plan's own
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// Also writes a picture: to this file, or to a file of the plan's name in this directory
    #[arg(long, value_name = "FILE|DIR")]
    svg: Option<PathBuf>,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs a plan over the values of a knob and over seeds.
pub(crate) fn report(args: &ReportArgs, printer: &mut Printer) -> Result<ExitCode, CliError> {
    let plan = drills::read_plan(&args.plan)?;
    let stem = args.plan.file_stem().unwrap_or(args.plan.as_os_str());
    let mut order = Order::new(stem.to_string_lossy().into_owned(), plan, args.seeds);
    if let Some(sweep) = &args.sweep {
        order = order.sweep(sweep).map_err(CliError::Argument)?;
    }
    let run = |done: &mut BTreeMap<u64, Outcome>, nth| {
        done.insert(nth, order.plan_of(nth).measure());
        Some(())
    };
    let outcomes: BTreeMap<u64, Outcome> =
        crew::work(order.runs(), None, "runs", run).into_iter().flatten().collect();
    let outcomes: Vec<Outcome> = outcomes.into_values().collect();
    let report = order.report(&outcomes);
    match args.format {
        Format::Text => printer.print(&report.text())?,
        Format::Json => printer.print(&report.json())?,
    }
    if let Some(place) = &args.svg {
        let path = write(place, &report)?;
        printer.tell(&format!("picture: {}", path.display()));
    }
    for failure in report.failures() {
        printer.tell(&format!("FAILED  {}", told(failure)));
    }
    let worst = report.failures().iter().map(|failure| Exit::of_invariant(failure.invariant));
    Ok(worst.min_by_key(|exit| exit.code()).unwrap_or(Exit::Passed).into())
}

fn told(failure: &Failure) -> String {
    let Failure { invariant, what, value, seed } = failure;
    let value = value.as_ref().map_or_else(String::new, |value| format!(", value {value}"));
    format!("{invariant}  {what} (seed {seed}{value}); its numbers mean nothing")
}

fn write(place: &Path, report: &Report) -> Result<PathBuf, CliError> {
    let is_directory = place.is_dir() || place.as_os_str().to_string_lossy().ends_with('/');
    let path = match is_directory {
        true => place.join(format!("{}.svg", report.file_stem())),
        false => place.to_owned(),
    };
    let parent = path.parent().filter(|_| is_directory);
    let made = parent.map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(&path, report.svg())).map_err(|error| {
        CliError::Argument(format!("cannot write the picture {}: {error}", path.display()))
    })?;
    Ok(path)
}
