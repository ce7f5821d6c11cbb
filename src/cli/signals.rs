//! What ends a webserver from outside.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;

/// What ends the process from outside.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Heard so that it ends nothing: the terminal that we were started from may close.
    _hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, CliError> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
