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

const RECONCILE_EVERY: Span = Span::mins(5);
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
        self.bills.reconcile(fx);
        self.wake(fx, ClusterTimer::Reconcile, fx.now.plus(RECONCILE_EVERY));
    }

    pub(super) fn on_reconciled(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let Ok(Response::Agreements(found)) = result else { return };
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
        self.over_since(fx, number, at);
    }
}
