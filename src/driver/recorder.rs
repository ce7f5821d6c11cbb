//! The file of a recording, line by line as the machine goes; see [`crate::recording`].

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{
    core::{Durable, Output, rng::Seed},
    recording::{Event, Line, Mask},
    units::Timestamp,
    yagna::AppKey,
};

/// Writes what one machine is told and does, if anybody asked for it.
pub struct Recorder(Option<Tape>);

struct Tape {
    path: PathBuf,
    file: File,
    mask: Mask,
    /// The line of the latest input, until the machine has nothing left to do.
    line: Option<Line>,
    /// When the machine wanted to be woken after the line before.
    next: Option<Timestamp>,
}

/// Why there is no recording, or not the whole of it.
#[derive(Debug, Error)]
pub enum RecorderError {
    /// It would take the place of another file, or there is no room for it.
    #[error("cannot begin the recording `{}`: {source}", path.display())]
    NotBegun {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It ends here; what runs goes on.
    #[error("the recording `{}` ends here: {source}", path.display())]
    CutShort {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Recorder {
    /// One that writes nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// One that writes a new file, which only its owner can read, and hides the key to the daemon.
    ///
    /// # Errors
    ///
    /// If there is such a file, or it cannot be made.
    pub fn create(path: &Path, key: &AppKey) -> Result<Self, RecorderError> {
        let mut mask = Mask::default();
        mask.add(key.as_str());
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let path = path.to_owned();
        match file {
            Ok(file) => Ok(Self(Some(Tape { path, file, mask, line: None, next: None }))),
            Err(source) => Err(RecorderError::NotBegun { path, source }),
        }
    }

    /// The machine begins.
    pub fn begin(&mut self, seed: Seed, at: Timestamp, durable: &Durable) {
        if let Some(tape) = &mut self.0 {
            tape.mask.add_secrets_in(durable);
            tape.line = Some(Line::head(seed, at, durable));
        }
    }

    /// The machine is told something.
    pub fn hear(&mut self, at: Timestamp, event: &Event) {
        if let Some(tape) = &mut self.0 {
            match event {
                Event::Requested { command, .. } => tape.mask.add_keys_of(command),
                Event::Replied(exchange) => tape.mask.add_networks_of(exchange),
                Event::Probed { .. } | Event::Elapsed => {}
            }
            tape.line = Some(Line::step(at, event));
        }
    }

    /// The machine does something.
    pub fn add(&mut self, output: &Output) {
        if let Some(Tape { line: Some(line), .. }) = &mut self.0 {
            line.add(output);
        }
    }

    /// The machine has nothing left to do until `next`. A look at the clock that changed nothing is not
    /// worth a line.
    ///
    /// # Errors
    ///
    /// If nothing more can be written; it is not tried again.
    pub fn finish(&mut self, next: Option<Timestamp>) -> Result<(), RecorderError> {
        let Some(tape) = &mut self.0 else { return Ok(()) };
        let Some(line) = tape.line.take() else { return Ok(()) };
        if line.is_idle() && tape.next == next {
            return Ok(());
        }
        tape.next = next;
        let text = line.finish(next, &tape.mask);
        let Err(source) = tape.file.write_all(text.as_bytes()) else { return Ok(()) };
        let path = std::mem::take(&mut tape.path);
        self.0 = None;
        Err(RecorderError::CutShort { path, source })
    }
}
