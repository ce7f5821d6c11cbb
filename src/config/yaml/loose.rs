//! Lets the lines of `{…}` and `[…]` stand at any indentation, as Ray's reader does.
//!
//! The YAML library insists that they stand deeper than the key that they belong to, and so refuses
//! the usual closing bracket at the begin of a line. Such a line is pushed to the right, and the
//! text read again.

use std::collections::BTreeMap;

use saphyr_parser::{Marker, ScanError};

use super::Mark;

/// How far a line is pushed; deeper keys take another push.
const PUSH: usize = 256;
/// How many characters may be read again for the sake of pushed lines.
const READ_AGAIN_MAX: usize = 32 << 20;

/// A text of which some lines have been pushed to the right.
pub(super) struct LooseText {
    text: String,
    pushed: BTreeMap<usize, usize>,
    read_again: usize,
}

impl LooseText {
    /// The text as it is written.
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), pushed: BTreeMap::new(), read_again: 0 }
    }

    /// The text, to be read.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place of `marker` in the text as it is written.
    pub(super) fn mark(&self, marker: Marker) -> Mark {
        let pushed = self.pushed.get(&marker.line()).copied().unwrap_or(0);
        Mark { line: marker.line(), column: marker.col().saturating_sub(pushed) + 1 }
    }

    /// Pushes the line of the error, if that may help; the text is then to be read again.
    pub(super) fn push(&mut self, error: &ScanError) -> bool {
        // The library has these words only for lines of flow collections.
        let is_loose =
            matches!(error.info(), "invalid indentation" | "invalid indentation in flow construct");
        self.read_again = self.read_again.saturating_add(self.text.len());
        if !is_loose || self.read_again > READ_AGAIN_MAX {
            return false;
        }
        let marker = error.marker();
        let line_start = marker.index().saturating_sub(marker.col());
        let Some((position, _)) = self.text.char_indices().nth(line_start) else {
            return false;
        };
        self.text.insert_str(position, &" ".repeat(PUSH));
        *self.pushed.entry(marker.line()).or_default() += PUSH;
        true
    }
}
