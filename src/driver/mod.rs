//! The shell around the machine: clock, calls, signals. It decides nothing.
//!
//! [`manager`] keeps clusters, with journals; [`survey`] runs one survey. A survey keeps no journal: all that it makes at the daemon ends by itself (an allocation by its
//! time-out, a demand after an hour), so `Persist` has nothing to protect.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub mod alerts;
pub mod appkey;
pub mod binding;
pub mod board;
mod calls;
mod chronicle;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod daemon;
pub mod journal;
pub mod known;
pub mod log;
pub mod manager;
pub mod mark;
mod package;
pub mod past;
pub mod payments;
mod peek;
pub mod probe;
pub mod process;
pub mod providers;
pub mod reach;
pub mod recorder;
pub mod routed;
pub mod settings;
pub mod simulated;
pub mod wallet;

pub use recorder::{Recorder, RecorderError};

use calls::Calls;
use clock::{Clock, nap};

use crate::{
    core::{
        Answer, Command, Durable, Machine, Notice, Output,
        ids::RequestId,
        rng::Seed,
        survey::{SurveyError, SurveyPlan, SurveyProgress, SurveyReport},
    },
    recording::Event,
    units::Timestamp,
    yagna::Client,
};

const SURVEY: RequestId = RequestId(1);
const END_SURVEY: RequestId = RequestId(2);

/// Something to tell the user while a survey runs.
#[derive(Clone, Copy, Debug)]
pub enum Remark<'a> {
    /// The machine has something to say.
    Notice(&'a Notice),
    /// Ctrl-C was heard.
    Interrupted,
    /// The rest of it will not be in the recording.
    NotRecorded(&'a RecorderError),
}

/// Why a survey came to nothing.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The machine says why.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// Ctrl-C was heard twice.
    #[error("interrupted before everything was undone")]
    Interrupted,
}

/// Listens for Ctrl-C from now on, so that it ends nothing unheard.
///
/// # Errors
///
/// If the system does not let us.
pub fn interrupts() -> io::Result<Signal> {
    signal(SignalKind::interrupt())
}

/// Runs one survey on the network of `client`; Ctrl-C ends it early, a second one at once. What
/// happens is written by `recorder`.
///
/// # Errors
///
/// If the daemon refuses us, or the user has no patience.
pub async fn survey(
    client: &Client,
    plan: SurveyPlan,
    interrupts: &mut Signal,
    mut recorder: Recorder,
    speak: &mut dyn FnMut(Remark<'_>),
) -> Result<Box<SurveyReport>, DriverError> {
    let mut clock = Clock::default();
    let started = clock.now();
    let seed = Seed::new(started.as_unix_micros());
    let mut machine = Machine::new(seed, started);
    recorder.begin(seed, started, &Durable::default());
    if let Err(error) = recorder.finish(None) {
        speak(Remark::NotRecorded(&error));
    }
    let mut calls = Calls::new(client.clone());
    let display = Display::new();
    let mut is_ending = false;
    let command = Command::Survey(Box::new(plan));
    let mut event = Event::Requested { id: SURVEY, command };
    loop {
        let at = clock.now();
        recorder.hear(at, &event);
        machine.handle(at, event.into_input());
        let mut report = None;
        while let Some(output) = machine.poll_output() {
            recorder.add(&output);
            match execute(output, &mut calls) {
                Some(Told::Report(result)) => report = Some(result),
                Some(Told::Notice(notice)) => display.aside(|| speak(Remark::Notice(&notice))),
                None => {}
            }
        }
        if let Err(error) = recorder.finish(machine.poll_timeout().map(|(at, _)| at)) {
            display.aside(|| speak(Remark::NotRecorded(&error)));
        }
        if let Some(result) = report {
            return Ok(result?);
        }
        let at = clock.now();
        display.show(at, machine.view().survey());
        let deadline = machine.poll_timeout().map_or(Timestamp::NEVER, |(at, _)| at);
        // The clock is asked, not the timer: a busy channel must not starve a deadline.
        event = if deadline <= at {
            Event::Elapsed
        } else {
            tokio::select! {
                replied = calls.next(), if !calls.is_empty() => match replied {
                    Ok(exchange) => exchange.map_or(Event::Elapsed, Event::Replied),
                    Err(died) => std::panic::resume_unwind(died.into_panic()),
                },
                Some(()) = interrupts.recv() => {
                    if is_ending {
                        return Err(DriverError::Interrupted);
                    }
                    is_ending = true;
                    display.aside(|| speak(Remark::Interrupted));
                    Event::Requested { id: END_SURVEY, command: Command::EndSurvey }
                }
                () = nap(at, deadline) => Event::Elapsed,
            }
        };
    }
}

/// What an output has for the user.
enum Told {
    Report(Result<Box<SurveyReport>, SurveyError>),
    Notice(Notice),
}

/// Executes an output; a call runs beside all others.
fn execute(output: Output, calls: &mut Calls<Client>) -> Option<Told> {
    match output {
        Output::Persist { .. }
        | Output::Probe { .. }
        | Output::Saw(_)
        | Output::Answer { answer: Answer::Ending(_), .. } => None,
        Output::Answer { answer: Answer::Surveyed(result), .. } => Some(Told::Report(result)),
        Output::Answer { .. } => None,
        Output::Call { call, request, patience } => {
            calls.start(call, request, patience);
            None
        }
        Output::Abandon { call } => {
            calls.abandon(call);
            None
        }
        Output::Notify(notice) => Some(Told::Notice(notice)),
    }
}

/// The line that moves while the survey runs; nothing when nobody watches.
struct Display {
    bar: Option<ProgressBar>,
}

impl Display {
    fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar }
    }

    fn show(&self, now: Timestamp, progress: Option<SurveyProgress>) {
        let (Some(bar), Some(progress)) = (&self.bar, progress) else { return };
        let left = progress.until.since(now).as_secs();
        let time = if progress.is_ending {
            "cleaning up".to_owned()
        } else {
            format!("{}:{:02} left", left / 60, left % 60)
        };
        bar.set_message(format!(
            "{time}, {} offers, {} in negotiation, {} agreed, {} failed",
            progress.initial, progress.negotiating, progress.agreed, progress.failed
        ));
    }

    fn aside(&self, speak: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(speak),
            None => speak(),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
