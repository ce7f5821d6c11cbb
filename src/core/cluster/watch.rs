//! What the daemon tells about agreements: at once by events, and now and then by a full comparison.

use super::{
    Cluster, ClusterCall, ClusterTimer, Stage,
    state::NodeState,
    stream::{self, Next},
};
use crate::{
    core::{
        Purpose, effects::Effects, experience::FailureKind, ids::AgreementNo, output::Notice,
        planted::Bug,
    },
    units::{Span, Timestamp},
    yagna::{
        AgreementEvent, AgreementEventKind, AgreementId, AgreementSummary, CallError, Request,
        Response, request::Endpoint,
    },
};

/// Providers wait four minutes for the answer to a debit note: one whose event went astray is found in time.
const RECONCILE_EVERY: Span = Span::secs(90);
/// An answer takes no longer from the daemon to us.
const CLOCKS_AGREE: Span = Span::mins(1);
/// After a listing that failed.
const RECONCILE_AGAIN: Span = Span::secs(15);
/// What was over so long ago is not billed any more, or told by an event.
const RECONCILE_BACK: Span = Span::hours(1);
const RECONCILE_PATIENCE: Span = Span::secs(15);
const STRUGGLING_AFTER: u32 = 3;
/// Strangers of our session that are ended at a time.
const STRANGERS_MAX: usize = 16;

impl Cluster {
    /// Begins to listen, if that has not begun.
    pub(super) fn listen(&mut self, fx: &mut Effects) {
        if !self.watch.is_on() {
            self.watch.start();
            self.watch(fx);
            self.wake(fx, ClusterTimer::Reconcile, fx.now.plus(RECONCILE_EVERY));
        }
        self.bills.listen(fx);
    }

    pub(super) fn stop_watching(&mut self, fx: &mut Effects) {
        if let Some(call) = self.watch.stop() {
            fx.abandon(call);
        }
    }

    /// The daemon's clock was set back: its lists are read again from their beginning.
    pub(in crate::core) fn read_again(&mut self, fx: &mut Effects) {
        if self.watch.is_on() && !fx.planted(Bug::ClockTrusted) {
            self.watch.read_again();
            self.bills.read_again(fx);
            self.reconcile(fx);
        }
    }

    pub(super) fn watch(&mut self, fx: &mut Effects) {
        if !self.watch.may_ask() {
            return;
        }
        let request = Request::CollectAgreementEvents {
            session: fx.cluster(self.id).session.clone(),
            after: self.watch.after,
            timeout: self.watch.timeout(),
        };
        let purpose = Purpose::Cluster(self.id, ClusterCall::Watch);
        let call = fx.call(purpose, request, stream::PATIENCE);
        self.watch.asked(fx.now, call);
    }

    pub(super) fn on_watched(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let (now, seed) = (fx.now, fx.seed);
        let next = match result {
            Ok(Response::AgreementEvents(events)) => {
                if self.watch.is_failing() {
                    // The daemon was away, and may have forgotten what it keeps in memory.
                    self.suspect_network(fx);
                }
                let latest = events.iter().map(|event| event.at).max();
                for event in events {
                    self.on_agreement_event(fx, &event);
                }
                self.watch.answered(now, latest, seed, "watch")
            }
            Ok(_) | Err(_) if fx.planted(Bug::WatchEnds) => return,
            Ok(_) => self.watch.failed(now, seed, "watch"),
            Err(error) => {
                let next = self.watch.failed(now, seed, "watch");
                if let Next::Wait(again_at, STRUGGLING_AFTER) = next {
                    let (endpoint, why) = (Endpoint::CollectAgreementEvents, error.to_string());
                    fx.notify(Notice::Struggling { endpoint, why, again_at });
                }
                next
            }
        };
        match next {
            Next::Ask => self.watch(fx),
            Next::Wait(at, _) => self.wake(fx, ClusterTimer::Watch, at),
        }
    }

    /// Compares the books with the daemon's.
    pub(super) fn reconcile(&mut self, fx: &mut Effects) {
        let session = fx.cluster(self.id).session.clone();
        let request = Request::ListAgreements { session };
        self.ask(fx, ClusterCall::Reconcile, request, RECONCILE_PATIENCE);
        self.wake(fx, ClusterTimer::Reconcile, fx.now.plus(RECONCILE_EVERY));
    }

    pub(super) fn on_reconciled(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let Ok(Response::Agreements(found)) = result else {
            self.wake(fx, ClusterTimer::Reconcile, fx.now.plus(RECONCILE_AGAIN));
            return;
        };
        let since = self.billed_since(fx, &found);
        self.bills.reconcile(fx, since);
        let ours = |it: &&AgreementSummary| it.is_requestor;
        let strangers: Vec<AgreementId> = found
            .iter()
            .filter(ours)
            .filter(|it| self.bills.number_of(&it.id).is_none())
            .take(STRANGERS_MAX)
            .map(|it| it.id.clone())
            .collect();
        for agreement in strangers {
            // Nothing of ours is signed before it is in the books; whatever this is must not cost.
            let reason = "it is not in the requestor's books".to_owned();
            let request = Request::TerminateAgreement { agreement, reason };
            let purpose = Purpose::Forgotten;
            fx.call(purpose, request, RECONCILE_PATIENCE);
        }
    }

    /// When the first of the agreements was made that may still be billed, by the daemon's clock.
    fn billed_since(&self, fx: &Effects, found: &[AgreementSummary]) -> Option<Timestamp> {
        let state = fx.cluster(self.id);
        let is_billed = |it: &&AgreementSummary| {
            let number = self.bills.number_of(&it.id);
            let account = number.and_then(|number| state.account(number));
            let over = account.map(|account| account.over);
            over.is_some_and(|over| over.is_none_or(|at| fx.now.since(at) < RECONCILE_BACK))
        };
        found.iter().filter(is_billed).map(|it| it.timestamp).min()
    }

    fn on_agreement_event(&mut self, fx: &mut Effects, event: &AgreementEvent) {
        let Some(number) = self.bills.number_of(&event.agreement) else { return };
        let Some(stage) = self.stage(number) else { return };
        match &event.kind {
            AgreementEventKind::Approved => {}
            AgreementEventKind::Rejected { .. } | AgreementEventKind::Cancelled { .. } => {
                if matches!(stage, Stage::Confirming | Stage::Awaiting | Stage::Cancelling) {
                    self.look(fx, number);
                }
            }
            AgreementEventKind::Terminated { reason, code, .. } => {
                let why = code.as_deref().or(reason.as_deref()).unwrap_or("no reason given");
                self.on_ended_by_provider(fx, number, why, event.at);
            }
            AgreementEventKind::Other(_) => {}
        }
    }

    fn on_ended_by_provider(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        why: &str,
        at: Timestamp,
    ) {
        let state = fx.cluster(self.id);
        let Some(account) = state.accounts.get(&number) else { return };
        if account.over.is_some() {
            return;
        }
        let (node, is_closing) = (account.node, account.closing.is_some());
        let stands = state.nodes.get(&node).map(|node| node.state);
        if !is_closing {
            let who = self.provider_of(fx, number);
            let reason = format!("the provider ended the agreement ({why})");
            match stands {
                Some(NodeState::Running) => {
                    self.warn(fx, format!("Terminating node `{node}` {who}: {reason}"));
                    self.blame(fx, number, FailureKind::Quit);
                    self.close_quietly(fx, number, &reason);
                    self.end_node(fx, node, &reason);
                }
                Some(NodeState::Pending) => self.fail_by_provider(fx, number, &reason),
                Some(NodeState::Terminating | NodeState::Terminated) | None => {
                    self.close(fx, number, &reason);
                }
            }
        }
        // Had it been before the last answer, that one would have told of it: then the clocks differ, and ours counts.
        let at = if at.plus(CLOCKS_AGREE) < self.watch.heard() { fx.now } else { at };
        self.over_since(fx, number, at);
    }
}
