//! Whether a running node is well: several signals, repair before replacement, no monitor that ends.
//!
//! One failure means nothing. The agreement's end is told by the daemon at once (`watch`), the
//! activity and the ssh service are looked at every minute. What does not answer is looked at more
//! often, repaired, and given up only when nothing has helped for minutes.

use std::collections::VecDeque;

use super::{
    AgreementCall, Cluster, ClusterCall, ClusterTimer, Stage, bringup::execute, state::Network,
    steps,
};
use crate::{
    core::{
        Purpose, effects::Effects, experience::FailureKind, ids::AgreementNo, output::Probe,
        planted::Bug,
    },
    units::{Span, Timestamp},
    yagna::{ActivityPhase, CallError, Doubt, Request, Response},
};

const LOOK_EVERY: Span = Span::secs(60);
const LOOK_AGAIN: Span = Span::secs(15);
const STATE_TIMEOUT: Span = Span::secs(10);
const STATE_PATIENCE: Span = Span::secs(15);
const SSH_PATIENCE: Span = Span::secs(20);
const REPAIR_PATIENCE: Span = Span::secs(15);
/// Looks that are remembered.
const WINDOW: Span = Span::mins(10);
/// A node without a single good look for so long, and two repairs, is lost.
const PATIENCE: Span = Span::mins(5);
const REPAIRS_MIN: u32 = 2;
/// After so many bad looks in a row the node is repaired.
const REPAIR_AFTER: u32 = 3;
/// An activity that is bad so often in a row is lost.
const BAD_STATES_MAX: u32 = 5;

/// What the latest looks at a node have shown.
#[derive(Debug, Default)]
pub(super) struct Health {
    looks: VecDeque<(Timestamp, bool)>,
    repairs: u32,
    bad_states: u32,
}

impl Health {
    fn saw(&mut self, now: Timestamp, is_good: bool) {
        self.looks.push_back((now, is_good));
        while self.looks.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            self.looks.pop_front();
        }
        if is_good {
            self.repairs = 0;
        }
    }

    /// Bad looks since the last good one.
    fn streak(&self) -> u32 {
        let bad = self.looks.iter().rev().take_while(|(_, is_good)| !is_good).count();
        u32::try_from(bad).unwrap_or(u32::MAX)
    }

    /// Since when every look was bad.
    fn bad_since(&self) -> Option<Timestamp> {
        let streak = usize::try_from(self.streak()).unwrap_or(usize::MAX);
        let first = self.looks.len().checked_sub(streak)?;
        self.looks.get(first).map(|(at, _)| *at)
    }

    fn is_lost(&self, now: Timestamp) -> bool {
        self.repairs >= REPAIRS_MIN
            && self.bad_since().is_some_and(|since| now.since(since) >= PATIENCE)
    }

    fn needs_repair(&self) -> bool {
        let streak = self.streak();
        streak > 0 && streak.is_multiple_of(REPAIR_AFTER)
    }
}

impl Cluster {
    /// Begins to look after a node that is up.
    pub(super) fn begin_health(&mut self, fx: &mut Effects, number: AgreementNo) {
        let offset = fx.seed.below(LOOK_EVERY.as_micros(), "look", u64::from(number.0), 0);
        let first = LOOK_EVERY.over(2).plus(Span::micros(offset));
        self.wake(fx, ClusterTimer::State(number), fx.now.plus(first));
        self.wake(fx, ClusterTimer::Ssh(number), fx.now.plus(first).plus(LOOK_EVERY.over(2)));
    }

    pub(super) fn look_at_activity(&mut self, fx: &mut Effects, number: AgreementNo) {
        if self.stage(number) != Some(Stage::Running) {
            return;
        }
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let Some(activity) = account.activity.clone() else { return };
        let request = Request::GetActivityState { activity, timeout: STATE_TIMEOUT };
        let call = ClusterCall::Agreement(number, AgreementCall::State);
        self.ask(fx, call, request, STATE_PATIENCE);
    }

    pub(super) fn on_activity_seen(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: Result<Response, CallError>,
    ) {
        if self.stage(number) != Some(Stage::Running) {
            return;
        }
        let Some(work) = self.works.get_mut(&number) else { return };
        let is_bad = match &result {
            Ok(Response::ActivityState(state)) => match state.now {
                ActivityPhase::Terminated => {
                    self.lose(fx, number, "activity");
                    return;
                }
                ActivityPhase::Unresponsive => true,
                ActivityPhase::New
                | ActivityPhase::Initialized
                | ActivityPhase::Deployed
                | ActivityPhase::Ready => state.error.is_some(),
            },
            // The provider says nothing, or that there is no such activity.
            Err(CallError::Rejected { .. } | CallError::Unknown(Doubt::Failed { .. })) => true,
            // The daemon's trouble is not the node's.
            Ok(_) | Err(CallError::NotSent { .. } | CallError::Unknown(_)) => false,
        };
        work.health.bad_states = if is_bad { work.health.bad_states.saturating_add(1) } else { 0 };
        if work.health.bad_states >= BAD_STATES_MAX {
            self.lose(fx, number, "activity");
            return;
        }
        let pause = if is_bad { LOOK_AGAIN } else { LOOK_EVERY };
        self.wake(fx, ClusterTimer::State(number), fx.now.plus(pause));
    }

    /// Sees whether a command runs on a node over ssh.
    pub(super) fn look_at_ssh(&mut self, fx: &mut Effects, number: AgreementNo) {
        let state = fx.cluster(self.id);
        let Some(account) = state.accounts.get(&number) else { return };
        let network = match &state.network {
            Network::Made { network, .. } => network.clone(),
            // Nobody can look any more, which says nothing about the node.
            Network::Lost { .. } if self.stage(number) == Some(Stage::Running) => {
                self.wake(fx, ClusterTimer::Ssh(number), fx.now.plus(LOOK_EVERY));
                return;
            }
            Network::Lost { .. } | Network::None | Network::Intended { .. } => {
                self.fail_quietly(fx, number, "the private network is gone");
                return;
            }
        };
        let host_key = self.works.get(&number).and_then(|work| work.host_key.clone());
        let what = Probe::Ssh { cluster: self.id, network, ip: account.ip, host_key };
        let call = ClusterCall::Agreement(number, AgreementCall::Ssh);
        fx.probe(Purpose::Cluster(self.id, call), what, SSH_PATIENCE);
    }

    pub(super) fn on_ssh_seen(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        outcome: Result<(), String>,
    ) {
        match (self.stage(number), outcome) {
            (Some(Stage::CheckingSsh), Ok(())) => self.ready(fx, number),
            (Some(Stage::CheckingSsh), Err(why)) => {
                if let Some(work) = self.works.get_mut(&number) {
                    work.unreached = Some(why);
                }
                self.suspect_network(fx);
                self.pause(fx, number, "ssh");
            }
            (Some(Stage::Running), outcome) => self.on_ssh_looked(fx, number, outcome.is_ok()),
            (
                Some(
                    Stage::Confirming
                    | Stage::Awaiting
                    | Stage::CreatingActivity
                    | Stage::Joining
                    | Stage::SendingBatch
                    | Stage::Collecting { .. }
                    | Stage::Looking
                    | Stage::Cancelling
                    | Stage::Destroying
                    | Stage::Terminating
                    | Stage::Over,
                )
                | None,
                _,
            ) => {}
        }
    }

    fn on_ssh_looked(&mut self, fx: &mut Effects, number: AgreementNo, is_good: bool) {
        let Some(work) = self.works.get_mut(&number) else { return };
        work.health.saw(fx.now, is_good);
        if is_good {
            self.wake(fx, ClusterTimer::Ssh(number), fx.now.plus(LOOK_EVERY));
            return;
        }
        let is_lost = work.health.is_lost(fx.now)
            || (fx.planted(Bug::ThreeStrikes) && work.health.streak() >= 1);
        if is_lost {
            self.lose(fx, number, "ssh");
            return;
        }
        if work.health.needs_repair() {
            work.health.repairs = work.health.repairs.saturating_add(1);
            self.repair(fx, number);
        }
        self.suspect_network(fx);
        self.wake(fx, ClusterTimer::Ssh(number), fx.now.plus(LOOK_AGAIN));
    }

    /// Starts the ssh service again, and tells the network of the node again.
    fn repair(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(network) = self.network(fx) else { return };
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let Some(activity) = account.activity.clone() else { return };
        let (provider, ip) = (account.terms.provider.clone(), account.ip.into());
        let rejoin = Request::AddNode { network, provider, ip };
        let call = |call| ClusterCall::Agreement(number, call);
        self.ask(fx, call(AgreementCall::Rejoin), rejoin, REPAIR_PATIENCE);
        let restart = execute(activity, steps::repair());
        self.ask(fx, call(AgreementCall::Repair), restart, REPAIR_PATIENCE);
    }

    /// The next looks will tell whether it helped.
    pub(super) fn on_repaired(
        &mut self,
        fx: &mut Effects,
        _number: AgreementNo,
        call: AgreementCall,
        result: &Result<Response, CallError>,
    ) {
        if call == AgreementCall::Rejoin && matches!(result, Err(CallError::Rejected { .. })) {
            self.suspect_network(fx);
        }
    }

    /// A node is lost: it ends, and Ray asks for another one.
    pub(super) fn lose(&mut self, fx: &mut Effects, number: AgreementNo, what: &str) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let node = account.node;
        let who = self.provider_of(fx, number);
        let warning = format!("Terminating node `{node}` {who} {what} is no longer accessible");
        self.warn(fx, warning);
        self.blame(fx, number, FailureKind::Lost);
        self.end_node(fx, node, &format!("{what} is no longer accessible"));
    }
}

#[cfg(test)]
mod tests {
    use super::Health;
    use crate::units::{Span, Timestamp};

    #[test]
    fn hiccups_do_not_add_up() {
        let mut health = Health { repairs: 9, ..Health::default() };
        let mut now = Timestamp::EPOCH;
        for _ in 0..3 {
            health.saw(now, false);
            now = now.plus(Span::days(2));
            health.saw(now, true);
        }

        assert_eq!((health.streak(), health.repairs), (0, 0));
        assert!(!health.is_lost(now));
    }

    #[test]
    fn a_node_is_lost_after_minutes_without_a_good_look_and_two_repairs() {
        let mut health = Health::default();
        let mut now = Timestamp::EPOCH;
        for _ in 0..21 {
            health.saw(now, false);
            now = now.plus(Span::secs(15));
        }

        assert!(!health.is_lost(now), "nothing was tried");
        health.repairs = 2;
        assert!(health.is_lost(now));
        assert_eq!(health.bad_since(), Some(Timestamp::EPOCH));
    }
}
