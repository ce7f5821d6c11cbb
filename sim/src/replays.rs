//! `replay`: a plan, or a recording, again.

use std::{fs, process::ExitCode};

use ray_on_golem::{
    cli::{error::CliError, printer::Printer},
    recording::{self, Difference, Replayed},
};

use crate::{
    drills::{self, Source, Trace, clock},
    exit::Exit,
};

/// A line of a difference is not told any further than this.
const WIDTH_MAX: usize = 400;

/// Runs a plan and tells all of it, or a recording and tells what is different today.
pub(crate) fn replay(source: &Source, printer: &mut Printer) -> Result<ExitCode, CliError> {
    let Some(path) = &source.plan else { return drills::run(source, Trace::Short, printer) };
    let bytes = fs::read(path)
        .map_err(|error| CliError::Argument(format!("cannot read {}: {error}", path.display())))?;
    if !recording::is_recording(&bytes) {
        return drills::run(source, Trace::Short, printer);
    }
    let recording = recording::read(&bytes)
        .map_err(|error| CliError::Argument(format!("{}: {error}", path.display())))?;
    if recording.is_torn {
        printer.warn("the last line of the recording is torn, and left out");
    }
    report(&recording::replay(recording), printer)
}

fn report(replayed: &Replayed, printer: &mut Printer) -> Result<ExitCode, CliError> {
    for difference in &replayed.differences {
        tell(difference, printer)?;
    }
    if replayed.is_cut {
        printer
            .line("the rest is not replayed: other calls were made, or there was enough to tell")?;
    }
    let steps = replayed.steps;
    let took = clock(replayed.took.as_micros());
    if replayed.differences.is_empty() {
        printer.line(&format!("acts as it did: {steps} inputs, {took}"))?;
        return Ok(Exit::Passed.into());
    }
    let count = replayed.differences.len();
    printer.line(&format!("acts differently at {count} of {steps} inputs, {took}"))?;
    Ok(Exit::Differs.into())
}

fn tell(difference: &Difference, printer: &mut Printer) -> Result<(), CliError> {
    let Difference { line, after, event, then, today } = difference;
    printer.line(&format!("line {line}, {}, after {event}", clock(after.as_micros())))?;
    for (mark, lines) in [("then ", then), ("today", today)] {
        for line in lines {
            let told: String = line.chars().take(WIDTH_MAX).collect();
            let more = if told.len() < line.len() { "…" } else { "" };
            printer.line(&format!("  {mark}  {told}{more}"))?;
        }
    }
    Ok(())
}
