//! The first process of a namespace buries all its dead: its own children, and the orphans of others.

use std::{
    collections::BTreeMap,
    io,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// What a simulator in the background ignores, its nodes would ignore for ever. What is listened to, even
/// for nothing, children have anew.
const INTERRUPTIONS: [SignalKind; 3] =
    [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()];

/// Starts children, and tells how they ended. Clones are the same reaper.
#[derive(Clone, Debug)]
pub(super) struct Reaper {
    /// Who waits for which process. It is locked while a child is born, so that no child dies unknown.
    waiting: Arc<Mutex<BTreeMap<i32, oneshot::Sender<i32>>>>,
}

/// A child that was started.
#[derive(Debug)]
pub(super) struct Offspring {
    pub(super) pid: Pid,
    /// Its exit code, once it has ended; 128 and the number of the signal that killed it.
    pub(super) code: oneshot::Receiver<i32>,
}

impl Reaper {
    /// Begins to reap; call it once in a process, within its runtime.
    pub(super) fn start() -> io::Result<Self> {
        for interruption in INTERRUPTIONS {
            drop(signal(interruption)?);
        }
        let reaper = Self { waiting: Arc::default() };
        let mut deaths = signal(SignalKind::child())?;
        let own = reaper.clone();
        tokio::spawn(async move {
            while deaths.recv().await.is_some() {
                own.bury();
            }
        });
        Ok(reaper)
    }

    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Offspring> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (told, code) = oneshot::channel();
        waiting.insert(pid.as_raw_pid(), told);
        Ok(Offspring { pid, code })
    }

    fn bury(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(told) = waiting.remove(&pid.as_raw_pid()) {
                // Whoever has lost interest does not listen.
                let _ = told.send(code(status));
            }
        }
    }
}

fn code(status: WaitStatus) -> i32 {
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signalled).unwrap_or(1)
}
