//! The command `report`: what nodes take and cost under a plan, as a table and as a picture.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use golem_sim::{
    drill::Outcome,
    report::{self, Failure, Order, Report},
};
use ray_on_golem::cli::{error::CliError, network_stats::Format, printer::Printer};

use crate::{crew, drills, exit::Exit};

/// What to run, and where the report goes.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The plans
    #[arg(value_name = "PLAN.yaml", required = true)]
    plans: Vec<PathBuf>,
    /// Runs a plan with each of these numbers at this place of it, such as `market.honest=5,10,20`; or with
    /// each of these policies: `policy=original,plain,hedged-2,hedged-3,oracle`
    #[arg(long, value_name = "KNOB=A,B,…")]
    sweep: Option<String>,
    /// Makes a report of each plan with each of these numbers at this place of it
    #[arg(long, value_name = "KNOB=A,B,…")]
    with: Option<String>,
    /// How many seeds, from the plan's own
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// Also writes a picture of each plan: to this file, or to a file of its name in this directory
    #[arg(long, value_name = "FILE|DIR")]
    svg: Option<PathBuf>,
    /// Also writes a page of all plans, in Markdown, and their pictures to a directory of its name
    #[arg(long, value_name = "FILE.md")]
    page: Option<PathBuf>,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs plans over the values of a knob and over seeds.
pub(crate) fn report(args: &ReportArgs, printer: &mut Printer) -> Result<ExitCode, CliError> {
    let mut orders = Vec::new();
    for path in &args.plans {
        orders.extend(variants(path, args)?);
    }
    let reports: Vec<Report> = orders.iter().map(measure).collect();
    for report in &reports {
        match args.format {
            Format::Text => printer.print(&report.text())?,
            Format::Json => printer.print(&report.json())?,
        }
        if let Some(place) = &args.svg {
            let path = write_picture(place, report)?;
            printer.tell(&format!("picture: {}", path.display()));
        }
        for failure in report.failures() {
            printer.tell(&format!("FAILED  {}", told(failure)));
        }
    }
    if let Some(path) = &args.page {
        write_page(path, &reports)?;
        printer.tell(&format!("page: {}", path.display()));
    }
    let failures = reports.iter().flat_map(Report::failures);
    let worst = failures.map(|failure| Exit::of_invariant(failure.invariant));
    Ok(worst.min_by_key(|exit| exit.code()).unwrap_or(Exit::Passed).into())
}

/// One order for a plan, or one for each of the numbers that it is to be run with.
fn variants(path: &Path, args: &ReportArgs) -> Result<Vec<Order>, CliError> {
    let plan = drills::read_plan(path)?;
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let order = Order::new(stem.to_string_lossy().into_owned(), plan, args.seeds);
    let orders = match &args.with {
        None => Ok(vec![order]),
        Some(with) => order.variants(with),
    };
    let swept = orders.and_then(|orders| match &args.sweep {
        None => Ok(orders),
        Some(sweep) => orders.into_iter().map(|order| order.sweep(sweep)).collect(),
    });
    swept.map_err(CliError::Argument)
}

fn measure(order: &Order) -> Report {
    let run = |done: &mut BTreeMap<u64, Outcome>, nth| {
        done.insert(nth, order.trial(nth).measure());
        Some(())
    };
    let outcomes: BTreeMap<u64, Outcome> =
        crew::work(order.runs(), None, "runs", run).into_iter().flatten().collect();
    order.report(&outcomes.into_values().collect::<Vec<_>>())
}

fn told(failure: &Failure) -> String {
    let Failure { invariant, what, value, seed } = failure;
    let value = value.as_ref().map_or_else(String::new, |value| format!(", value {value}"));
    format!("{invariant}  {what} (seed {seed}{value}); its numbers mean nothing")
}

/// To this file, or to one of the plan's name in this directory, which is made if it is not there.
fn write_picture(place: &Path, report: &Report) -> Result<PathBuf, CliError> {
    let is_directory = place.is_dir() || place.as_os_str().to_string_lossy().ends_with('/');
    let path = match is_directory {
        true => place.join(format!("{}.svg", report.file_stem())),
        false => place.to_owned(),
    };
    if is_directory {
        make(place)?;
    }
    write(&path, &report.svg())?;
    Ok(path)
}

fn write_page(path: &Path, reports: &[Report]) -> Result<(), CliError> {
    let pictures = path.with_extension("");
    let name = pictures.file_name().unwrap_or_default().to_string_lossy().into_owned();
    make(&pictures)?;
    for report in reports {
        write(&pictures.join(report.picture_name()), &report.svg())?;
    }
    write(path, &report::page(reports, &name))
}

fn make(directory: &Path) -> Result<(), CliError> {
    fs::create_dir_all(directory).map_err(|error| unwritable(directory, &error))
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> CliError {
    CliError::Argument(format!("cannot write {}: {error}", path.display()))
}
