//! What ends a webserver from outside.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;
use crate::server::End;

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

    pub(super) async fn next(&mut self) -> End {
        tokio::select! {
            // A user who presses Ctrl-C is done with the clusters, too.
            _ = self.interrupt.recv() => End::AllClusters(Duration::ZERO),
            // A service manager restarts the webserver, or the machine: clusters outlive that.
            _ = self.terminate.recv() => End::KeepingClusters,
        }
    }
}
