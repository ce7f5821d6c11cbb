//! How a cluster ends: in an orderly way, in bounded time, leaving nothing behind (V4, L1, L10, M8).

use super::{
    Cluster, ClusterTimer,
    record::EndReason,
    state::{Funds, Network},
};
use crate::{
    core::{
        effects::Effects,
        ids::AgreementNo,
        output::Notice,
        payment::{
            bills::BillsCall,
            ledger::{self, Level},
        },
        planted::Bug,
        record::CommonRecord,
    },
    units::{Glm, Span},
    yagna::{CallError, Response},
};

/// After this time the funds and the network go back, whoever has not billed or not answered yet.
pub(in crate::core) const WIND_UP_AFTER: Span = Span::mins(12);

/// How long past its due time an extension of a reserve waits for a raised budget to be set aside.
const RAISE_PATIENCE: Span = Span::secs(90);
const RAISE_PAUSE: Span = Span::secs(5);

impl Cluster {
    /// Follows the budget, and winds up a cluster that ends.
    pub(super) fn tend_ending(&mut self, fx: &mut Effects) {
        let state = fx.cluster(self.id);
        if state.ending.is_none() {
            self.watch_budget(fx);
            return;
        }
        if self.is_wound_up || ledger::has_live_nodes(state) || !self.signings.is_empty() {
            return;
        }
        if state.accounts.is_empty() {
            self.wind_up(fx);
        }
    }

    /// Whether nothing of the cluster is left; its journal is closed then.
    pub(super) fn is_gone(&mut self, fx: &mut Effects) -> bool {
        let state = fx.cluster(self.id);
        let is_clean = state.funds == Funds::None && state.network == Network::None;
        let is_over = self.is_wound_up || fx.planted(Bug::ForgottenEarly);
        if !is_over
            || !is_clean
            || !state.accounts.is_empty()
            || !self.shops.is_empty()
            || self.bills.is_busy()
        {
            return false;
        }
        let (name, next_node) = (state.name.clone(), state.next_node);
        self.rest_all(fx);
        fx.record_common(CommonRecord::ClusterClosed { cluster: self.id, name, next_node });
        true
    }

    /// The end has taken long enough: what is over is settled as it is, and the rest goes on without
    /// funds and network.
    pub(super) fn on_end_overdue(&mut self, fx: &mut Effects) {
        let state = fx.cluster(self.id);
        let over: Vec<AgreementNo> = state
            .accounts
            .iter()
            .filter(|(_, account)| account.over.is_some())
            .map(|(number, _)| *number)
            .collect();
        let open = state.accounts.len().saturating_sub(over.len());
        for number in over {
            self.settle(fx, number);
        }
        if open > 0 {
            self.warn(
                fx,
                format!("{open} agreements could not be ended yet; their providers do not answer"),
            );
        }
        self.wind_up(fx);
        self.is_dirty = true;
    }

    /// What the end has not brought to its own end, for a user who waits no longer for it.
    pub(in crate::core) fn left(&self, fx: &Effects) -> Option<Notice> {
        let state = fx.cluster(self.id);
        let open = state.accounts.values().filter(|account| account.over.is_none());
        let mut left: Vec<String> = open
            .map(|account| {
                let (name, id) = (&account.terms.name, &account.terms.provider);
                format!("the agreement with {name} ({id}), who ends it when no bill is accepted")
            })
            .collect();
        if let Some(mark) = state.funds.mark() {
            let hours = mark.since(fx.now).as_secs().div_ceil(3_600);
            left.push(format!("the allocation, which the daemon releases in {hours} hours"));
        }
        if state.network != Network::None {
            left.push("the private network, which ends with the daemon".to_owned());
        }
        if self.bills.is_busy() {
            left.push("bills that the daemon did not let us accept".to_owned());
        }
        let what = format!(
            "not ended yet: {}; the next start of the manager goes on with it",
            left.join("; ")
        );
        (!left.is_empty()).then(|| Notice::Cluster { cluster: state.name.clone(), what })
    }

    /// Gives the funds back and removes the network.
    fn wind_up(&mut self, fx: &mut Effects) {
        if self.is_wound_up || fx.planted(Bug::EndLeavesFunds) {
            return;
        }
        self.is_wound_up = true;
        self.keeper.close(fx);
        self.close_network(fx);
    }

    fn rest_all(&mut self, fx: &mut Effects) {
        for timer in [
            ClusterTimer::Funds,
            ClusterTimer::Network,
            ClusterTimer::Leave,
            ClusterTimer::Sign,
            ClusterTimer::Watch,
            ClusterTimer::Reconcile,
            ClusterTimer::Notes,
            ClusterTimer::Invoices,
            ClusterTimer::Waiting,
            ClusterTimer::Usage,
            ClusterTimer::Ray,
            ClusterTimer::End,
        ] {
            self.rest(fx, timer);
        }
        self.stop_watching(fx);
        self.bills.stop(fx);
    }

    /// Sees to it that there is something to pay from.
    pub(super) fn tend_funds(&mut self, fx: &mut Effects) {
        let state = fx.cluster(self.id);
        let is_needed =
            !state.accounts.is_empty() || state.ending.is_none() && ledger::has_live_nodes(state);
        if is_needed && !self.is_wound_up {
            self.keeper.tend(fx);
        }
    }

    pub(super) fn on_bills_reply(
        &mut self,
        fx: &mut Effects,
        call: BillsCall,
        result: Result<Response, CallError>,
    ) {
        self.bills.on_reply(fx, call, result);
        if self.bills.take_doubt() {
            self.keeper.check(fx);
        }
        for number in self.bills.take_done() {
            self.settle(fx, number);
        }
        // Most replies only say that nothing happened.
        self.is_dirty |= fx.has_records();
    }

    /// Warns once for each level of the budget.
    fn watch_budget(&mut self, fx: &mut Effects) {
        let state = fx.cluster(self.id);
        if state.accounts.is_empty() {
            return;
        }
        let (committed, budget) = (ledger::committed(state), state.budget);
        let level = ledger::level(committed, budget);
        if level > self.told && !fx.planted(Bug::BudgetUnwatched) {
            self.told = level;
            let left = budget.minus(committed).rounded_up(4);
            match level {
                Level::Ample => {}
                Level::Warned => {
                    let what = "four fifths of the budget are spent or reserved";
                    self.warn(fx, format!("{what}; {left} of {budget} GLM are left"));
                }
                Level::Closed => {
                    let what = "the budget is nearly spent, no new nodes are started";
                    self.warn(fx, format!("{what}; {left} of {budget} GLM are left"));
                }
            }
        }
    }

    /// An agreement's reserve is nearly used up: more is set aside, or the cluster drains.
    pub(super) fn on_reserve_timer(&mut self, fx: &mut Effects, number: AgreementNo) {
        let state = fx.cluster(self.id);
        let Some(account) = state.accounts.get(&number) else { return };
        if account.over.is_some() || account.closing.is_some() {
            return;
        }
        let reserve = match fx.planted(Bug::ReserveBySeconds) {
            true => account.held().plus(account.terms.cost(Span::secs(1))),
            false => account.next_reserve(fx.now),
        };
        let more = reserve.minus(account.held());
        let committed = ledger::committed(state).plus(more);
        let is_trusted = fx.planted(Bug::RaiseTrusted) && committed <= state.budget;
        if committed > ledger::limit(state) && !is_trusted && !fx.planted(Bug::BudgetSoft) {
            // A budget that was raised just now may be set aside in a moment.
            let lasts_until = account.reserve_lasts_until().plus(RAISE_PATIENCE);
            if committed <= state.budget && fx.now < lasts_until {
                self.wake(fx, ClusterTimer::Reserve(number), fx.now.plus(RAISE_PAUSE));
            } else {
                self.end(fx, EndReason::BudgetSpent);
            }
            return;
        }
        self.reserve(fx, number, reserve);
    }

    /// Sets aside so much for an agreement, and says when to look again.
    pub(super) fn reserve(&mut self, fx: &mut Effects, number: AgreementNo, reserve: Glm) {
        self.note(fx, number, super::record::AgreementFact::Reserved(reserve));
        self.arm_reserve(fx, number);
        self.is_dirty = true;
    }

    pub(super) fn arm_reserve(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let at = account.reserve_lasts_until().max(fx.now.plus(Span::TICK));
        self.wake(fx, ClusterTimer::Reserve(number), at);
    }
}
