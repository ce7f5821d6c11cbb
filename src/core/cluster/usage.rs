//! Whether a cluster is used, and when it ends by itself (`autostop`).
//!
//! A cluster is used while Ray has load, or a user is connected to one of its nodes. The head's autoscaler tells of the
//! load each time it looks at its nodes. An autoscaler that has not looked for ten minutes is gone, and what it said of
//! the load holds no more. Without a head that runs there is nothing to use, and nothing idle.
//!
//! Nothing of this is durable. After a restart a cluster is idle from then on until something else is heard.

use super::{Cluster, ClusterTimer, is_live, plan::NodeKind, record::EndReason, state::NodeState};
use crate::{
    core::{effects::Effects, planted::Bug},
    units::{Span, Timestamp},
};

/// An autoscaler looks at its nodes every few seconds, waits for its webserver for ten minutes, and then ends.
const SILENCE_MAX: Span = Span::mins(10);

/// What is heard of the use of a cluster.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// When the head's autoscaler looked last.
    looked: Option<Timestamp>,
    /// Whether Ray has load; not known where Ray does not say so, or the node provider is of an earlier version.
    has_load: Option<bool>,
    /// Connections of users to nodes.
    connections: u32,
    /// Since when a head runs and the cluster is not used.
    idle_since: Option<Timestamp>,
    /// Whether the user was told that the autoscaler is gone.
    is_silence_told: bool,
}

impl Usage {
    /// Until when what the autoscaler said last holds.
    fn holds_until(&self) -> Option<Timestamp> {
        self.looked.map(|at| at.plus(SILENCE_MAX))
    }

    /// Whether the cluster is used. Where nothing is said of load, workers are a sign of it.
    fn is_used(&self, now: Timestamp, has_worker: bool) -> bool {
        let is_heard = self.holds_until().is_some_and(|until| now < until);
        self.connections > 0 || is_heard && self.has_load.unwrap_or(has_worker)
    }
}

impl Cluster {
    /// The head's autoscaler has looked at its nodes.
    pub(in crate::core) fn on_look(&mut self, fx: &mut Effects, has_load: Option<bool>) {
        self.usage.looked = Some(fx.now);
        self.usage.has_load = has_load;
        self.usage.is_silence_told = false;
        self.review_usage(fx);
    }

    /// So many connections of users to nodes are open.
    pub(in crate::core) fn on_connections(&mut self, fx: &mut Effects, count: u32) {
        self.usage.connections = count;
        self.review_usage(fx);
    }

    /// Since when a head runs and the cluster is not used.
    pub(in crate::core) const fn idle_since(&self) -> Option<Timestamp> {
        self.usage.idle_since
    }

    /// Looks again at whether the cluster is used, and says when it ends by itself, if it does.
    pub(super) fn review_usage(&mut self, fx: &mut Effects) {
        let state = fx.cluster(self.id);
        if state.ending.is_some() {
            self.usage.idle_since = None;
            self.rest(fx, ClusterTimer::Usage);
            return;
        }
        let mut nodes = state.nodes.values();
        let has_worker = nodes.any(|node| node.kind == NodeKind::Worker && is_live(node.state));
        let is_used = self.usage.is_used(fx.now, has_worker) && !fx.planted(Bug::LoadIgnored);
        let is_idle = self.has_running_head(fx) && !is_used;
        self.usage.idle_since = is_idle.then(|| self.usage.idle_since.unwrap_or(fx.now));
        let silent = self.usage.holds_until().filter(|_| !self.usage.is_silence_told);
        match [self.ends_by_itself_at(fx), silent].into_iter().flatten().min() {
            Some(at) => self.wake(fx, ClusterTimer::Usage, at),
            None => self.rest(fx, ClusterTimer::Usage),
        }
    }

    /// The time of a look, of a word, or of the end has come.
    pub(super) fn on_usage_timer(&mut self, fx: &mut Effects) {
        if fx.cluster(self.id).ending.is_some() {
            return;
        }
        let is_silent = self.usage.holds_until().is_some_and(|until| until <= fx.now);
        if is_silent && !self.usage.is_silence_told {
            self.usage.is_silence_told = true;
            self.tell_of_silence(fx);
        }
        let is_due = self.ends_by_itself_at(fx).is_some_and(|at| at <= fx.now);
        if is_due {
            self.end(fx, EndReason::Autostop);
        }
        self.review_usage(fx);
    }

    /// When the cluster ends by itself, as far as is known now.
    pub(in crate::core) fn ends_by_itself_at(&self, fx: &Effects) -> Option<Timestamp> {
        let state = fx.durable().cluster(self.id).filter(|state| state.ending.is_none())?;
        let autostop = state.plan.autostop.filter(|_| !fx.planted(Bug::IdleUnnoticed))?;
        let idle = autostop.idle.and_then(|idle| Some(self.usage.idle_since?.plus(idle)));
        [idle, autostop.next_stop(state.opened)].into_iter().flatten().min()
    }

    fn has_running_head(&self, fx: &Effects) -> bool {
        let mut nodes = fx.cluster(self.id).nodes.values();
        nodes.any(|node| node.kind == NodeKind::Head && node.state == NodeState::Running)
    }

    fn tell_of_silence(&mut self, fx: &mut Effects) {
        if !self.has_running_head(fx) {
            return;
        }
        let what = "Ray's autoscaler on the head has not asked for its nodes for ten minutes: no worker comes, or goes, with \
                    the load. `ray up` starts it again, `ray down` ends the cluster";
        let idle = fx.cluster(self.id).plan.autostop.and_then(|autostop| autostop.idle);
        let then = idle.map_or(String::new(), |idle| {
            let minutes = idle.as_secs() / 60;
            format!(
                "; unless a user is connected to a node, `autostop` ends it in {minutes} minutes"
            )
        });
        self.warn(fx, format!("{what}{then}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{SILENCE_MAX, Span, Timestamp, Usage};

    const NOW: Timestamp = Timestamp::from_unix_micros(1_700_000_000_000_000);

    fn used(looked: Option<Span>, has_load: Option<bool>, connections: u32) -> [bool; 2] {
        let looked = looked.map(|before| NOW.minus(before));
        let usage = Usage { looked, has_load, connections, ..Usage::default() };
        [false, true].map(|has_worker| usage.is_used(NOW, has_worker))
    }

    #[test]
    fn load_is_use_while_the_autoscaler_is_heard() {
        let soon = Some(Span::mins(9));

        assert_eq!(used(soon, Some(true), 0), [true, true]);
        assert_eq!(used(soon, Some(false), 0), [false, false]);
        assert_eq!(used(Some(SILENCE_MAX), Some(true), 0), [false, false]);
    }

    #[test]
    fn workers_are_a_sign_of_load_where_nothing_is_said_of_it() {
        assert_eq!(used(Some(Span::ZERO), None, 0), [false, true]);
        assert_eq!(used(Some(SILENCE_MAX), None, 0), [false, false]);
        assert_eq!(used(None, None, 0), [false, false]);
    }

    #[test]
    fn a_connection_is_use_whatever_the_autoscaler_says() {
        assert_eq!(used(None, None, 1), [true, true]);
        assert_eq!(used(Some(Span::ZERO), Some(false), 2), [true, true]);
    }
}
