//! One end of all connections to the members of a network, as it runs: a stack that its driver shares with streams.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::stream::NodeStream;
use crate::{
    tcp::{ConnectionId, Stack, StackPlan},
    units::{Span, Timestamp},
};

/// A stack that can send nothing still looks at its clock so often.
const IDLE: Duration = Duration::from_secs(1);

/// A stack, its clock, and what wakes its driver.
///
/// Whoever has it may use the stack; the driver is woken by what was done ([`End::with`]), takes frames and hands them
/// out under the same lock ([`End::lock`]), and looks again when [`End::woken`] says so or [`End::until`] is reached.
pub struct End {
    stack: Mutex<Stack>,
    wake: Notify,
    began: Instant,
}

impl End {
    /// An end without members.
    #[must_use]
    pub fn new(plan: StackPlan) -> Arc<Self> {
        let stack = Mutex::new(Stack::new(plan, Timestamp::EPOCH));
        Arc::new(Self { stack, wake: Notify::new(), began: Instant::now() })
    }

    /// Does something with the stack, and has its frames sent.
    pub fn with<T>(&self, act: impl FnOnce(&mut Stack) -> T) -> T {
        let outcome = act(&mut self.lock());
        self.wake.notify_one();
        outcome
    }

    /// Does something with the stack, and has its frames sent if it says so.
    pub(super) fn with_if<T>(&self, act: impl FnOnce(&mut Stack) -> (T, bool)) -> T {
        let (outcome, has_frames) = act(&mut self.lock());
        if has_frames {
            self.wake.notify_one();
        }
        outcome
    }

    /// The stack for its driver.
    pub fn lock(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when something was done with the stack.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// A connection of the stack as a stream of bytes.
    #[must_use]
    pub fn stream(self: &Arc<Self>, id: ConnectionId) -> NodeStream {
        NodeStream::new(Arc::clone(self), id)
    }

    /// The stack's time: it begins with this end, and only goes on.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Timestamp::EPOCH.plus(Span::micros(micros))
    }

    /// When the driver must look again, if the stack has a deadline or none.
    #[must_use]
    pub fn until(&self, deadline: Option<Timestamp>) -> Instant {
        let idle = Instant::now() + IDLE;
        deadline.map_or(idle, |at| {
            let micros = at.since(Timestamp::EPOCH).as_micros();
            (self.began + Duration::from_micros(micros)).min(idle)
        })
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names on the bus are a secret.
        f.write_str("End")
    }
}
