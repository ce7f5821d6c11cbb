//! Ending an agreement, in whatever phase it is, until it is proven to be over (L1 to L3).
//!
//! Unapproved: cancel. Approved: destroy what runs, terminate, for ever if the provider does not
//! answer. Then the network is left, and the last bill awaited.

use super::{
    AgreementCall, Cluster, ClusterCall, ClusterTimer, Stage, is_in_force, record::AgreementFact,
    state::NodeState,
};
use crate::{
    core::{effects::Effects, ids::AgreementNo, planted::Bug},
    units::{Glm, Span, Timestamp},
    yagna::{CallError, Request, Response, Status},
};

/// After this time an agreement whose provider has not billed is settled as it is.
pub(super) const INVOICE_WAIT: Span = Span::mins(8);
const PATIENCE: Span = Span::secs(15);
const DESTROY_TIMEOUT: Span = Span::secs(10);
const DESTROY_PATIENCE: Span = Span::secs(15);
const DESTROY_TRIES: u32 = 2;
/// Between two attempts to reach a provider that does not answer.
const TERMINATE_PAUSE_MAX: Span = Span::mins(5);

impl Cluster {
    /// Ends an agreement; harmless if it ends already.
    pub(super) fn close(&mut self, fx: &mut Effects, number: AgreementNo, why: &str) {
        if self.close_quietly(fx, number, why) {
            self.undo(fx, number);
        }
    }

    /// Records that an agreement is to end; says whether that is news.
    pub(super) fn close_quietly(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        why: &str,
    ) -> bool {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return false };
        if account.closing.is_some() || account.over.is_some() {
            return false;
        }
        let node = account.node;
        self.saw_end(fx, number);
        self.note(fx, number, AgreementFact::Closing { at: fx.now, reason: why.to_owned() });
        for timer in [
            ClusterTimer::Step(number),
            ClusterTimer::Reserve(number),
            ClusterTimer::State(number),
            ClusterTimer::Ssh(number),
            ClusterTimer::Agreement(number),
        ] {
            self.rest(fx, timer);
        }
        self.wait_again(fx, node);
        self.is_dirty = true;
        true
    }

    /// Takes the next step towards the end.
    pub(super) fn undo(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        if account.over.is_some() {
            return;
        }
        let has_activity = account.activity.is_some() && !fx.planted(Bug::ActivityLeaked);
        if is_in_force(account.progress) && has_activity {
            self.destroy(fx, number);
        } else if is_in_force(account.progress) || self.stage(number) == Some(Stage::Looking) {
            self.terminate(fx, number);
        } else {
            // The daemon may know better than our books.
            self.look(fx, number);
        }
    }

    pub(super) fn cancel(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let request = Request::CancelAgreement { agreement: account.agreement.clone() };
        self.enter(number, Stage::Cancelling);
        let call = ClusterCall::Agreement(number, AgreementCall::Cancel);
        self.ask(fx, call, request, PATIENCE);
    }

    pub(super) fn on_cancelled(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: Result<Response, CallError>,
    ) {
        if self.stage(number) != Some(Stage::Cancelling) {
            return;
        }
        match result {
            Ok(_) => self.over(fx, number),
            Err(CallError::Rejected { .. }) => {
                // It is over, or it was approved meanwhile.
                self.enter(number, Stage::Looking);
                self.pause(fx, number, "cancel");
            }
            Err(CallError::NotSent { .. } | CallError::Unknown(_)) => {
                self.pause(fx, number, "cancel");
            }
        }
    }

    pub(super) fn destroy(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let Some(activity) = account.activity.clone() else {
            self.terminate(fx, number);
            return;
        };
        self.enter(number, Stage::Destroying);
        let request = Request::DestroyActivity { activity, timeout: DESTROY_TIMEOUT };
        let call = ClusterCall::Agreement(number, AgreementCall::Destroy);
        self.ask(fx, call, request, DESTROY_PATIENCE);
    }

    pub(super) fn on_destroyed(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: &Result<Response, CallError>,
    ) {
        if self.stage(number) != Some(Stage::Destroying) {
            return;
        }
        let is_done = match result {
            Ok(_) | Err(CallError::Rejected { .. }) => true,
            Err(CallError::NotSent { .. } | CallError::Unknown(_)) => false,
        };
        if is_done || self.pause(fx, number, "destroy") >= DESTROY_TRIES {
            // The agreement's end ends the activity as well.
            self.rest(fx, ClusterTimer::Agreement(number));
            if is_done {
                self.end_visibly(fx, number);
            }
            self.terminate(fx, number);
        }
    }

    pub(super) fn terminate(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let reason = account.closing.as_ref().map_or("", |(_, reason)| reason.as_str()).to_owned();
        let request = Request::TerminateAgreement { agreement: account.agreement.clone(), reason };
        self.enter(number, Stage::Terminating);
        let call = ClusterCall::Agreement(number, AgreementCall::Terminate);
        self.ask(fx, call, request, PATIENCE);
    }

    pub(super) fn on_terminated(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: &Result<Response, CallError>,
    ) {
        if self.stage(number) != Some(Stage::Terminating) {
            return;
        }
        let was_approved =
            fx.cluster(self.id).accounts.get(&number).is_some_and(|it| is_in_force(it.progress));
        match result {
            Ok(_) => self.over(fx, number),
            Err(error) if error.is_refusal(Status::NOT_FOUND) => self.unknown_to_daemon(fx, number),
            // An end is all that comes after an approval.
            Err(error) if was_approved && error.is_refusal(Status::GONE) => self.over(fx, number),
            // It is over already, or it is between two states.
            Err(CallError::Rejected { .. }) => {
                self.enter(number, Stage::Looking);
                self.pause(fx, number, "terminate");
            }
            Err(_) if fx.planted(Bug::TerminateOnce) => self.over(fx, number),
            Err(CallError::NotSent { .. } | CallError::Unknown(_)) => {
                self.try_later(fx, number);
            }
        }
    }

    /// The daemon does not know an agreement. One that its provider has not approved has come to nothing. One that was
    /// in force has been forgotten, which the daemon does 90 days after its time to be approved
    /// (`MARKET_AGREEMENT_STORE_DAYS`), also where a node runs: all that is left to us is to accept no bill any
    /// more, and the provider ends it.
    pub(super) fn unknown_to_daemon(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        if is_in_force(account.progress) && account.over.is_none() {
            let who = self.provider_of(fx, number);
            let what = format!(
                "The daemon has forgotten the agreement with {who}, and cannot end it: none of its bills is accepted any \
                 more, so that the provider ends it"
            );
            let accepted = account.accepted;
            self.warn(fx, what);
            self.note(fx, number, AgreementFact::Reserved(accepted));
        }
        self.close_quietly(fx, number, "the daemon does not know the agreement");
        self.over(fx, number);
    }

    /// A provider that does not answer is tried for ever, ever more seldom.
    fn try_later(&mut self, fx: &mut Effects, number: AgreementNo) {
        let failures = self.pause(fx, number, "terminate");
        if failures > 6 {
            let pause = Span::secs(30).times(u64::from(failures)).min(TERMINATE_PAUSE_MAX);
            self.wake(fx, ClusterTimer::Agreement(number), fx.now.plus(pause));
        }
    }

    /// Nothing runs under an agreement any more, or nothing that is paid for.
    pub(super) fn over(&mut self, fx: &mut Effects, number: AgreementNo) {
        self.over_since(fx, number, fx.now);
    }

    /// Nothing has run under an agreement since then.
    pub(super) fn over_since(&mut self, fx: &mut Effects, number: AgreementNo, since: Timestamp) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        if account.over.is_some() {
            return;
        }
        // By the daemon's clock, which may not agree with ours: what cannot have been is taken to be now.
        let since = if since < account.signed { fx.now } else { since.min(fx.now) };
        let (provider, has_cost) = (account.terms.provider.clone(), account.costs_since.is_some());
        self.close_quietly(fx, number, "it is over");
        self.note(fx, number, AgreementFact::Over { at: since });
        self.shrink_reserve(fx, number);
        self.rest(fx, ClusterTimer::Agreement(number));
        self.end_visibly(fx, number);
        for shop in self.shops.values_mut() {
            shop.market.disengage(&provider);
        }
        self.enter(number, Stage::Over);
        if has_cost {
            self.wake(fx, ClusterTimer::Settle(number), fx.now.plus(INVOICE_WAIT));
        } else {
            self.settle(fx, number);
        }
        self.bills.on_over(fx, number);
        self.is_dirty = true;
    }

    /// What the agreement cannot have cost is free again.
    fn shrink_reserve(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let cap: Glm = account.cap(fx.now).max(account.accepted);
        if cap < account.reserve {
            self.note(fx, number, AgreementFact::Reserved(cap));
        }
    }

    /// Closes the books of an agreement that is over.
    pub(super) fn settle(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        if account.over.is_none() {
            return;
        }
        let is_unbilled = account.costs_since.is_some() && account.invoice.is_none();
        let is_disputed = account.is_disputed;
        let accepted = account.accepted;
        if is_unbilled && !is_disputed {
            let provider = self.provider_of(fx, number);
            self.warn(
                fx,
                format!(
                    "{provider} sent no invoice; {accepted} GLM of its debit notes were accepted"
                ),
            );
        }
        self.note(fx, number, AgreementFact::Settled);
        self.works.remove(&number);
        self.rest(fx, ClusterTimer::Settle(number));
        self.is_dirty = true;
    }

    pub(super) fn on_settle_timer(&mut self, fx: &mut Effects, number: AgreementNo) {
        self.settle(fx, number);
    }

    /// The node of an agreement that costs nothing any more has ended.
    fn end_visibly(&mut self, fx: &mut Effects, number: AgreementNo) {
        let state = fx.cluster(self.id);
        let Some(account) = state.accounts.get(&number) else { return };
        let id = account.node;
        let ends = state.nodes.get(&id).is_some_and(|node| {
            node.state == NodeState::Terminating && node.agreement == Some(number)
        });
        if ends {
            self.node_ended(fx, id);
        }
    }
}
