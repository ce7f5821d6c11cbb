//! Calls to the daemon that are under way: each is a task of its own and gives one reply, unless it is
//! abandoned. None ends unnoticed.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    task::{AbortHandle, JoinError, JoinSet},
    time::timeout,
};

use crate::{
    core::ids::CallId,
    recording::Exchange,
    units::Span,
    yagna::{CallError, Doubt, Request, Yagna},
};

/// What is left to whoever should have given up by himself.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Calls to one daemon.
pub(super) struct Calls<Y> {
    yagna: Y,
    tasks: JoinSet<Exchange>,
    by_call: BTreeMap<CallId, AbortHandle>,
}

impl<Y> Calls<Y>
where
    Y: Yagna + Clone + Send + Sync + 'static,
{
    /// Calls to `yagna`, none of them yet.
    pub(super) fn new(yagna: Y) -> Self {
        Self { yagna, tasks: JoinSet::new(), by_call: BTreeMap::new() }
    }

    /// Makes a call.
    pub(super) fn start(&mut self, call: CallId, request: Request, patience: Span) {
        let yagna = self.yagna.clone();
        let limit = Duration::from_micros(patience.as_micros()) + GRACE;
        let task = self.tasks.spawn(async move {
            let reply = timeout(limit, yagna.exchange(&request, patience)).await;
            let reply = reply.unwrap_or(Err(CallError::Unknown(Doubt::TimedOut)));
            Exchange { call, request, reply }
        });
        self.by_call.insert(call, task);
    }

    /// Nobody waits for the reply to a call any more: its connection is closed.
    pub(super) fn abandon(&mut self, call: CallId) {
        if let Some(task) = self.by_call.remove(&call) {
            task.abort();
        }
    }

    /// The next reply; none if there is nothing to wait for.
    ///
    /// # Errors
    ///
    /// If a call panicked.
    pub(super) async fn next(&mut self) -> Result<Option<Exchange>, JoinError> {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(exchange)) => {
                    self.by_call.remove(&exchange.call);
                    return Ok(Some(exchange));
                }
                // An abandoned call has no reply.
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }

    /// Whether no call is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Calls;
    use crate::{
        core::ids::CallId,
        units::Span,
        yagna::{CallError, Request, Yagna, wire::HttpResponse},
    };

    /// A daemon that never answers, or has a bug.
    #[derive(Clone)]
    enum Strange {
        Silent,
        Broken,
    }

    impl Yagna for Strange {
        async fn exchange(&self, _: &Request, _: Span) -> Result<HttpResponse, CallError> {
            match self {
                Self::Silent => std::future::pending().await,
                Self::Broken => panic!("a bug of the client"),
            }
        }
    }

    #[tokio::test]
    async fn an_abandoned_call_has_no_reply() {
        let mut calls = Calls::new(Strange::Silent);
        calls.start(CallId(1), Request::WhoAmI, Span::hours(1));

        calls.abandon(CallId(1));

        assert_eq!(calls.next().await.expect("no panic"), None);
        assert!(calls.is_empty());
    }

    #[tokio::test]
    async fn a_call_that_panics_is_noticed() {
        let mut calls = Calls::new(Strange::Broken);

        calls.start(CallId(1), Request::WhoAmI, Span::hours(1));

        assert!(calls.next().await.expect_err("a panic").is_panic());
    }
}
