//! A list of events that the daemon keeps, read by long polls: one call at a time, for ever.
//!
//! A failure only makes the next call wait; nothing ends a stream but its cluster. Events are counted by the daemon's
//! clock alone: ours may have been wrong when the cluster began, or be so now. A session has no event that is older
//! than itself, so that a list can be read from its beginning.

use crate::{
    core::{backoff::Backoff, ids::CallId, rng::Seed},
    units::{Span, Timestamp},
};

/// How long the daemon may wait for the first event.
pub(in crate::core) const TIMEOUT: Span = Span::secs(30);
/// The same after a failure: the answer tells soon that the daemon is back.
const TIMEOUT_AFTER_FAILURE: Span = Span::secs(2);
/// How long we wait for its answer.
pub(in crate::core) const PATIENCE: Span = Span::secs(40);
/// An empty answer that comes sooner than this was not worth a poll.
const WORTH: Span = Span::secs(1);

/// How far a list of events has been read.
#[derive(Debug)]
pub(in crate::core) struct Stream {
    /// The instant of the latest event that was taken up, by the daemon's clock; the beginning of time, if none was.
    pub(in crate::core) after: Timestamp,
    call: Option<CallId>,
    asked_at: Timestamp,
    failures: u32,
    is_on: bool,
    /// Whether the list is read again from its beginning: what the open call brings does not count.
    is_anew: bool,
    /// When the daemon last answered, by our clock.
    heard: Timestamp,
}

/// What to do next with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Next {
    /// Ask at once.
    Ask,
    /// Ask at this instant; the number says how often it failed in a row.
    Wait(Timestamp, u32),
}

impl Stream {
    /// A stream of what happens after an instant of the daemon's clock.
    pub(in crate::core) const fn new(after: Timestamp) -> Self {
        Self {
            after,
            call: None,
            asked_at: Timestamp::EPOCH,
            failures: 0,
            is_on: false,
            is_anew: false,
            heard: Timestamp::EPOCH,
        }
    }

    /// Whether it is being read.
    pub(in crate::core) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether a call may be made: it is being read, and none is open.
    pub(in crate::core) const fn may_ask(&self) -> bool {
        self.is_on && self.call.is_none()
    }

    /// Whether the latest call failed.
    pub(in crate::core) const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// How long the daemon may wait for the first event of the next call.
    pub(in crate::core) const fn timeout(&self) -> Span {
        if self.is_failing() { TIMEOUT_AFTER_FAILURE } else { TIMEOUT }
    }

    pub(in crate::core) fn start(&mut self) {
        self.is_on = true;
    }

    /// Ends it; the open call is not waited for.
    pub(in crate::core) fn stop(&mut self) -> Option<CallId> {
        self.is_on = false;
        self.call.take()
    }

    pub(in crate::core) fn asked(&mut self, now: Timestamp, call: CallId) {
        self.asked_at = now;
        self.call = Some(call);
    }

    /// When the daemon last answered, by our clock: what it tells of next has not happened before.
    pub(in crate::core) const fn heard(&self) -> Timestamp {
        self.heard
    }

    /// Reads the list once more from its beginning.
    pub(in crate::core) fn read_again(&mut self) {
        self.after = Timestamp::EPOCH;
        self.is_anew = self.call.is_some();
    }

    /// Events came, or none in time; `latest` is the instant of the last one.
    pub(in crate::core) fn answered(
        &mut self,
        now: Timestamp,
        latest: Option<Timestamp>,
        seed: Seed,
        label: &str,
    ) -> Next {
        self.call = None;
        self.heard = now;
        if std::mem::take(&mut self.is_anew) {
            return Next::Ask;
        }
        match latest {
            Some(latest) => {
                self.after = self.after.max(latest);
                self.failures = 0;
                Next::Ask
            }
            None if now.since(self.asked_at) >= WORTH => {
                self.failures = 0;
                Next::Ask
            }
            None => self.failed(now, seed, label),
        }
    }

    /// The call failed.
    pub(in crate::core) fn failed(&mut self, now: Timestamp, seed: Seed, label: &str) -> Next {
        self.call = None;
        self.is_anew = false;
        self.failures = self.failures.saturating_add(1);
        let pause = Backoff::DAEMON.pause(self.failures, seed, label, self.after.as_unix_micros());
        Next::Wait(now.plus(pause), self.failures)
    }
}
