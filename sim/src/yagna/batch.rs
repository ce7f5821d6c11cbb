//! Batches of commands: what became of each command, what it wrote, and what clients are told of both.

use std::sync::Arc;

use ray_on_golem::{
    units::Timestamp,
    yagna::{BatchId, CommandResult, ExeCommand},
};
use serde_json::{Value, json};

use super::script::{Kept, Order, text};

/// What became of a command that was carried out; what it wrote came before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code of its program; -1 if it failed without one.
    pub code: i32,
    /// Why it failed; none if it did not.
    pub failure: Option<String>,
}

/// Which of the two outputs of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Something that happened to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEvent {
    /// When.
    pub at: Timestamp,
    /// To which of its commands, from 0.
    pub index: u32,
    /// What.
    pub kind: EventKind,
}

/// What happens to a command of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It began.
    Started,
    /// It wrote something that it was asked to tell at once.
    Wrote {
        /// Where to.
        source: Source,
        /// What.
        bytes: Vec<u8>,
        /// Whether it is told as bytes.
        is_binary: bool,
    },
    /// It is over.
    Finished(Outcome),
}

/// One batch of commands.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    pub(super) activity: usize,
    pub(super) script: Arc<Vec<ExeCommand>>,
    pub(super) results: Vec<CommandResult>,
    /// Outputs in the results that are told as bytes.
    pub(super) binary: Vec<(u32, Source, Vec<u8>)>,
    /// What happened to it, where somebody may look at it.
    pub(super) events: Vec<BatchEvent>,
    /// The command that runs or will run next, and what is kept of its outputs.
    pub(super) current: Option<Order>,
    pub(super) outputs: [Kept; 2],
    /// Whether it has reached its activity.
    pub(super) is_there: bool,
}

impl Batch {
    pub(super) fn new(id: BatchId, activity: usize, script: Arc<Vec<ExeCommand>>) -> Self {
        Self {
            id,
            activity,
            script,
            results: Vec::new(),
            binary: Vec::new(),
            events: Vec::new(),
            current: None,
            outputs: [const { Kept::NOTHING }; 2],
            is_there: false,
        }
    }

    /// The command that runs is over; its result and its outputs are kept.
    pub(super) fn finish(&mut self, outcome: Outcome, is_over: bool) {
        let index = self.index();
        let [stdout, stderr] = [Source::Stdout, Source::Stderr].map(|source| {
            let kept = &self.outputs[source as usize];
            let bytes = kept.told()?;
            if kept.is_binary() {
                self.binary.push((index, source, bytes.clone()));
            }
            Some(text(bytes))
        });
        self.results.push(CommandResult {
            index,
            is_ok: outcome.failure.is_none(),
            stdout,
            stderr,
            message: outcome.failure,
            is_batch_finished: is_over,
        });
    }

    /// What is told to a client that asks for a command: all up to it, and that one as the last, but the
    /// outputs of no other.
    pub(super) fn told(&self, command: usize) -> Vec<CommandResult> {
        let asked = self.results.iter().take(command.saturating_add(1));
        asked
            .enumerate()
            .map(|(index, result)| {
                let is_asked = index == command;
                let [stdout, stderr] = [&result.stdout, &result.stderr]
                    .map(|output| output.clone().filter(|_| is_asked));
                let is_batch_finished = is_asked || !result.is_ok;
                CommandResult { stdout, stderr, is_batch_finished, ..result.clone() }
            })
            .collect()
    }

    /// The command that runs or will run next.
    pub(super) fn running(&self) -> Option<&ExeCommand> {
        self.script.get(self.results.len())
    }

    pub(super) fn index(&self) -> u32 {
        u32::try_from(self.results.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn note(&mut self, at: Timestamp, kind: EventKind) {
        let index = self.index();
        self.events.push(BatchEvent { at, index, kind });
    }
}

/// What the runtime says of an image that it has fetched.
pub(super) fn deployed(volumes: &[String]) -> String {
    let named = volumes.iter().enumerate();
    let named =
        named.map(|(number, path)| json!({ "name": format!("vol-{number}"), "path": path }));
    let volumes: Vec<Value> = named.collect();
    json!({ "startMode": "blocking", "valid": { "Ok": "" }, "vols": volumes }).to_string()
}
