//! The commands that run drills: `run`, `swarm`, `replay`, `shrink`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use golem_sim::{
    checker::SITUATIONS,
    drill::{Mode, Outcome, Plan, Told, shrink::shrink},
};
use ray_on_golem::cli::{error::CliError, printer::Printer};

use crate::{crew, exit::Exit};

/// How much of a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trace {
    /// Nothing.
    None,
    /// One line for each thing that happens.
    Short,
    /// The same, as a JSON object in each line.
    Ndjson,
}

/// What kind of plans are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// Each feature is on half of the time.
    Swarm,
    /// Small and short.
    Lite,
    /// Nothing goes wrong.
    Calm,
    /// Everything is on.
    Hostile,
}

/// Where a plan comes from.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// A plan
    #[arg(value_name = "PLAN.yaml", conflicts_with = "seed")]
    pub(crate) plan: Option<PathBuf>,
    /// Make the plan of this seed: decimal, hexadecimal with `0x`, or the hash of a commit
    #[arg(long, value_parser = seed)]
    seed: Option<u64>,
    /// What kind of plan a seed makes
    #[arg(long, value_enum, default_value_t = ModeName::Swarm)]
    mode: ModeName,
}

/// Which seeds a swarm runs.
#[derive(Debug, Args)]
pub(crate) struct SwarmArgs {
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Stop after so many seconds, however many seeds that were
    #[arg(long, value_name = "SECONDS")]
    budget: Option<u64>,
    /// The first seed: decimal, hexadecimal with `0x`, or the hash of a commit
    #[arg(long, default_value = "0", value_parser = seed)]
    seed: u64,
    /// What kind of plans
    #[arg(long, value_enum, default_value_t = ModeName::Swarm)]
    mode: ModeName,
    /// How many threads; all cores by default
    #[arg(long)]
    threads: Option<usize>,
    /// Also fail when a required situation was not met
    #[arg(long)]
    require_marks: bool,
}

/// Runs one plan.
pub(crate) fn run(
    source: &Source,
    trace: Trace,
    printer: &mut Printer,
) -> Result<ExitCode, CliError> {
    let plan = read(source)?;
    let outcome = plan.run(None, trace != Trace::None);
    match trace {
        Trace::None => {}
        Trace::Short => tell(&outcome.told, printer)?,
        Trace::Ndjson => {
            for told in &outcome.told {
                let line = serde_json::json!({ "at": since(told), "what": told.what });
                printer.line(&line.to_string())?;
            }
        }
    }
    report(&plan, source, &outcome, printer)
}

/// Makes a failing plan small.
pub(crate) fn make_small(source: &Source, printer: &mut Printer) -> Result<ExitCode, CliError> {
    let plan = read(source)?;
    let Some(violation) = plan.run(None, false).violation else {
        printer.warn("the plan passes; there is nothing to shrink");
        return Ok(Exit::Passed.into());
    };
    let (small, runs) = shrink(&plan, violation.invariant, None);
    printer.warn(&format!(
        "{} operations became {}, in {runs} runs",
        plan.ops.len(),
        small.ops.len()
    ));
    printer.line(&format!("# {}\n{small}", violation.what))?;
    Ok(Exit::Passed.into())
}

/// Runs many seeds on all cores; the result does not depend on how many there are.
pub(crate) fn swarm(args: &SwarmArgs, printer: &mut Printer) -> Result<ExitCode, CliError> {
    let started = Instant::now();
    let deadline = args.budget.map(|secs| started + Duration::from_secs(secs));
    let mode = args.mode.mode();
    let batches = crew::work(args.seeds, args.threads, "seeds", |batch: &mut Batch, nth| {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
        let seed = args.seed.wrapping_add(nth);
        batch.add(seed, Plan::from_seed(seed, mode).run(None, false));
        Some(())
    });
    let mut all = Batch::default();
    for batch in batches {
        all.merge(batch);
    }
    print_swarm(args, &all, started.elapsed(), printer)
}

/// What many runs came to.
#[derive(Default)]
struct Batch {
    seeds: u64,
    steps: u64,
    lives: u64,
    marks: BTreeMap<&'static str, u64>,
    failures: BTreeMap<u64, (&'static str, String)>,
}

impl Batch {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        self.lives += u64::from(outcome.lives);
        for mark in outcome.marks {
            *self.marks.entry(mark).or_insert(0) += 1;
        }
        if let Some(violation) = outcome.violation {
            self.failures.insert(seed, (violation.invariant, violation.what));
        }
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.lives += other.lives;
        for (mark, count) in other.marks {
            *self.marks.entry(mark).or_insert(0) += count;
        }
        self.failures.extend(other.failures);
    }
}

fn print_swarm(
    args: &SwarmArgs,
    all: &Batch,
    took: Duration,
    printer: &mut Printer,
) -> Result<ExitCode, CliError> {
    // What is printed is the same each time; how long it took is only told.
    printer.line(&format!("{} seeds, {} steps, {} crashes", all.seeds, all.steps, all.lives))?;
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    printer.tell(&format!(
        "{}.{} s: {} seeds/s, {} steps/s",
        millis / 1_000,
        millis % 1_000 / 100,
        all.seeds.saturating_mul(1_000) / millis,
        all.steps.saturating_mul(1_000) / millis
    ));
    printer.line("\nrequired situations, and seeds that met them")?;
    let mut missing = BTreeSet::new();
    for situation in SITUATIONS {
        let count = all.marks.get(situation).copied().unwrap_or(0);
        printer.line(&format!("  {count:>8}  {situation}"))?;
        if count == 0 {
            missing.insert(*situation);
        }
    }
    if !all.failures.is_empty() {
        let mut by_invariant: BTreeMap<&str, u64> = BTreeMap::new();
        for (invariant, _) in all.failures.values() {
            *by_invariant.entry(invariant).or_insert(0) += 1;
        }
        printer.line("\nbroken invariants, and seeds that broke them")?;
        for (invariant, count) in by_invariant {
            printer.line(&format!("  {count:>8}  {invariant}"))?;
        }
        printer.line("")?;
        for (seed, (invariant, what)) in all.failures.iter().take(10) {
            let mode = args.mode.name();
            printer.line(&format!("FAILED  {invariant}  {what}"))?;
            printer.line(&format!("  replay  golem-sim run --seed {seed} --mode {mode}"))?;
        }
        let is_liveness = all.failures.values().all(|(invariant, _)| invariant.starts_with('V'));
        return Ok(if is_liveness { Exit::Liveness } else { Exit::Safety }.into());
    }
    if args.require_marks && !missing.is_empty() {
        return Ok(Exit::NotReached.into());
    }
    Ok(Exit::Passed.into())
}

fn report(
    plan: &Plan,
    source: &Source,
    outcome: &Outcome,
    printer: &mut Printer,
) -> Result<ExitCode, CliError> {
    let Some(violation) = &outcome.violation else {
        printer.line(&format!(
            "passed: {} steps, {} crashes, {} of virtual time, {} GLM spent",
            outcome.steps, outcome.lives, outcome.ended, outcome.spent
        ))?;
        return Ok(Exit::Passed.into());
    };
    let mut text = String::new();
    let at = clock(violation.at.since(golem_sim::drill::BEGINNING).as_micros());
    let which = match (&source.plan, source.seed) {
        (Some(path), _) => path.display().to_string(),
        (None, seed) => {
            format!("--seed {} --mode {}", seed.unwrap_or(plan.seed), source.mode.name())
        }
    };
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "FAILED  {}\n  {}\n  at {at}, step {}, life {}\n\n  seed     {}  (golem-sim {})\n  \
         replay   golem-sim run {which}\n  shrink   golem-sim shrink {which}\n  trace    golem-sim \
         run {which} --trace short",
        violation.invariant,
        violation.what,
        outcome.steps,
        outcome.lives,
        plan.seed,
        env!("CARGO_PKG_VERSION"),
    );
    printer.line(&text)?;
    Ok(Exit::of_invariant(violation.invariant).into())
}

fn tell(told: &[Told], printer: &mut Printer) -> Result<(), CliError> {
    for told in told {
        printer.line(&format!("{}  {}", since(told), told.what))?;
    }
    Ok(())
}

fn since(told: &Told) -> String {
    clock(told.at.since(golem_sim::drill::BEGINNING).as_micros())
}

/// Hours, minutes, seconds, and milliseconds.
pub(crate) fn clock(micros: u64) -> String {
    let millis = micros / 1_000;
    let (secs, millis) = (millis / 1_000, millis % 1_000);
    format!("{:02}:{:02}:{:02}.{millis:03}", secs / 3_600, secs / 60 % 60, secs % 60)
}

fn read(source: &Source) -> Result<Plan, CliError> {
    match (&source.plan, source.seed) {
        (Some(path), _) => read_plan(path),
        (None, Some(seed)) => Ok(Plan::from_seed(seed, source.mode.mode())),
        (None, None) => Err(CliError::Argument("give a plan, or a `--seed`".to_owned())),
    }
}

pub(crate) fn read_plan(path: &Path) -> Result<Plan, CliError> {
    let name = path.display().to_string();
    let bytes = fs::read(path)
        .map_err(|error| CliError::Argument(format!("cannot read {name}: {error}")))?;
    Plan::parse(&bytes).map_err(|error| CliError::Argument(error.in_file(&name)))
}

/// A seed as people have it: a number, or the hash of a commit.
fn seed(text: &str) -> Result<u64, String> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).map_err(|error| error.to_string());
    }
    if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return u64::from_str_radix(&text[..16], 16).map_err(|error| error.to_string());
    }
    text.parse().map_err(|_| "write a number, `0x…`, or the hash of a commit".to_owned())
}

impl ModeName {
    const fn mode(self) -> Mode {
        match self {
            Self::Swarm => Mode::Swarm,
            Self::Lite => Mode::Lite,
            Self::Calm => Mode::Calm,
            Self::Hostile => Mode::Hostile,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Swarm => "swarm",
            Self::Lite => "lite",
            Self::Calm => "calm",
            Self::Hostile => "hostile",
        }
    }
}
