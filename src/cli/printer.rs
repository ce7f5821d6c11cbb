//! The one door for output: data to stdout, talk to stderr.

use std::io::{self, ErrorKind, Write};

use super::error::CliError;

/// Writes to the terminal, or wherever it was pointed.
#[derive(Debug, Default)]
pub struct Printer {
    /// Nobody reads any more; what is printed is dropped.
    is_closed: bool,
}

impl Printer {
    /// Prints data. A reader that has seen enough is no error.
    ///
    /// # Errors
    ///
    /// If the data cannot be written for another reason.
    pub fn print(&mut self, text: &str) -> Result<(), CliError> {
        if self.is_closed {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Prints a line of data.
    ///
    /// # Errors
    ///
    /// As [`Self::print`].
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.print(&format!("{text}\n"))
    }

    /// Tells the user something beside the data.
    pub fn tell(&mut self, text: &str) {
        // Nobody is left to tell that nobody can be told.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Hands on what a program said beside its data.
    pub fn quote(&mut self, text: &str) {
        // Nobody is left to tell that nobody can be told.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Tells the user what may be wrong.
    pub fn warn(&mut self, text: &str) {
        self.tell(&format!("warning: {text}"));
    }

    /// Tells the user what is wrong.
    pub fn error(&mut self, error: &CliError) {
        self.tell(&format!("error: {error}"));
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            self.tell(&format!("  caused by: {cause}"));
            source = cause.source();
        }
        if let Some(hint) = error.hint() {
            self.tell(&format!("hint: {hint}"));
        }
    }
}
