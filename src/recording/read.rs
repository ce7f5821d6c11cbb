//! A recording from its bytes, which may be of any shape.

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

use super::{FORMAT, Head, Step};

/// A recording that was read.
#[derive(Debug)]
pub struct Recording {
    pub(super) head: Box<Head>,
    pub(super) steps: Vec<Step>,
    /// Whether the last line was torn, and left out.
    pub is_torn: bool,
}

/// Why a recording cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordingError {
    /// There is not even a first line.
    #[error("the recording is empty")]
    Empty,
    /// A line is not what it must be.
    #[error("line {line} is no {what} of a recording: {why}")]
    Line {
        /// From 1.
        line: usize,
        /// What it must be.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It was written by a program that is newer than this one.
    #[error("line 1: the recording has format {found}, and only {FORMAT} is understood")]
    Format {
        /// The format.
        found: u32,
    },
}

/// Whether bytes look like a recording, as opposed to a plan.
#[must_use]
pub fn is_recording(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{\"recording\":")
}

/// Reads a recording. A last line that a crash has torn is left out.
///
/// # Errors
///
/// Says which line is wrong, and how.
pub fn read(bytes: &[u8]) -> Result<Recording, RecordingError> {
    let is_torn = !bytes.is_empty() && !bytes.ends_with(b"\n");
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut lines = (1..).zip(bytes[..whole].split_inclusive(|byte| *byte == b'\n'));
    let (_, first) = lines.next().ok_or(RecordingError::Empty)?;
    let Version { recording: found } = line(1, "beginning", first)?;
    if found != FORMAT {
        return Err(RecordingError::Format { found });
    }
    let head = line(1, "beginning", first)?;
    let steps = lines.map(|(number, text)| line(number, "step", text));
    Ok(Recording { head, steps: steps.collect::<Result<_, _>>()?, is_torn })
}

/// What every format begins with.
#[derive(Deserialize)]
struct Version {
    recording: u32,
}

fn line<T: DeserializeOwned>(
    line: usize,
    what: &'static str,
    text: &[u8],
) -> Result<T, RecordingError> {
    serde_json::from_slice(text).map_err(|error| {
        let mut why = error.to_string();
        // The line is not that of the file.
        if let Some(at) = why.rfind(" at line ") {
            why.truncate(at);
        }
        RecordingError::Line { line, what, why }
    })
}
