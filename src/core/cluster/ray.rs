//! Whether Ray starts on workers, by the tag with which Ray says how far it is with a node.
//!
//! Ray ends a worker on which it does not start, and asks for another one without end, where each costs its start. So
//! after some of them in a row the next worker waits, longer after each; and after more of them no worker is hired until
//! Ray has started on a node again, which `ray up` tries with the head. Each time another provider is asked, if there is
//! one; none has a worse name for it, since the user's own commands fail more often than machines.

use super::{
    Cluster, ClusterTimer,
    plan::{NodeKind, Tags},
    state::{Node, NodeState},
};
use crate::{
    core::{backoff::Backoff, effects::Effects, ids::NodeId, planted::Bug},
    units::{Span, Timestamp},
};

/// The tag that says how far Ray is with a node (`TAG_RAY_NODE_STATUS` in `ray/autoscaler/tags.py`, 2.9 to 2.60).
const STATUS: &str = "ray-node-status";
const FAILED: &str = "update-failed";
const STARTED: &str = "up-to-date";

/// After so many failures in a row the next worker waits.
const SLOWED_AFTER: u32 = 3;
/// After so many failures in a row no worker is hired.
const STOPPED_AFTER: u32 = 10;
/// The first pause; each further failure doubles it.
const PAUSE: Span = Span::mins(1);

/// How many workers in a row Ray did not start on, after new tags on a node. Ray also gives up nodes that have not come up
/// for a quarter of an hour: those are not counted.
pub(super) fn failures_after(failures: u32, node: &Node, change: &Tags) -> u32 {
    let status = change.get(STATUS).filter(|status| node.tags.get(STATUS) != Some(*status));
    match (status.map(String::as_str), node.kind) {
        (Some(FAILED), NodeKind::Worker) if node.state == NodeState::Running => {
            failures.saturating_add(1)
        }
        (Some(STARTED), _) => 0,
        (_, NodeKind::Head | NodeKind::Worker) => failures,
    }
}

/// Whether there is nothing to write down.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
pub(super) const fn is_none(failures: &u32) -> bool {
    *failures == 0
}

/// Until when the next worker waits after so many failures in a row, the last one `at` this instant.
fn waits_until(failures: u32, at: Timestamp) -> Option<Timestamp> {
    let doublings = failures.checked_sub(SLOWED_AFTER)?;
    Some(match failures < STOPPED_AFTER {
        true => at.plus(PAUSE.times(1 << doublings)),
        false => Timestamp::NEVER,
    })
}

impl Cluster {
    /// Until when no worker is hired, since Ray did not start on the last ones.
    pub(super) fn no_worker_until(&self, fx: &Effects) -> Option<Timestamp> {
        let until = waits_until(fx.cluster(self.id).ray_failures, self.ray_failed)?;
        (until > fx.now && !fx.planted(Bug::RayFailuresIgnored)).then_some(until)
    }

    /// Whether a node may be hired now, as far as Ray is concerned.
    pub(super) fn may_hire(&self, fx: &Effects, node: NodeId) -> bool {
        let kind = fx.cluster(self.id).nodes.get(&node).map(|node| node.kind);
        kind == Some(NodeKind::Head) || self.no_worker_until(fx).is_none()
    }

    /// New tags were stuck on a node; `before` is how many failures there were.
    pub(super) fn on_ray_news(&mut self, fx: &mut Effects, node: NodeId, before: u32) {
        let failures = fx.cluster(self.id).ray_failures;
        if failures > before {
            self.ray_failed = fx.now;
            self.ask_another(fx, node);
            self.tell_of_ray(fx, node, failures);
        }
        if failures != before {
            self.arm_ray(fx);
            self.is_dirty = true;
        }
    }

    /// Goes on after a crash: the last failure counts from now.
    pub(super) fn recover_ray(&mut self, fx: &mut Effects) {
        self.ray_failed = fx.now;
        self.arm_ray(fx);
    }

    /// The provider of a node is left alone for a while.
    fn ask_another(&self, fx: &mut Effects, node: NodeId) {
        let state = fx.cluster(self.id);
        let agreement = state.nodes.get(&node).and_then(|node| node.agreement);
        let account = agreement.and_then(|number| state.account(number));
        if let Some(provider) = account.map(|account| account.terms.provider.clone()) {
            fx.set_back(&provider, Backoff::BROKEN_PROVIDER);
        }
    }

    fn arm_ray(&self, fx: &mut Effects) {
        match self.no_worker_until(fx).filter(|until| *until < Timestamp::NEVER) {
            Some(until) => self.wake(fx, ClusterTimer::Ray, until),
            None => self.rest(fx, ClusterTimer::Ray),
        }
    }

    fn tell_of_ray(&mut self, fx: &mut Effects, node: NodeId, failures: u32) {
        let what = match failures {
            SLOWED_AFTER => "new workers are hired ever more seldom until it does",
            STOPPED_AFTER => {
                "no worker is hired until it has started on a node; `ray up` tries the head again"
            }
            _ => return,
        };
        self.warn(
            fx,
            format!(
                "Ray did not start on {failures} workers in a row, {node} the last one: {what}. Why, is in the log of the \
                 head's monitor: `ray exec CLUSTER.yaml 'tail -n 50 /tmp/ray/session_latest/logs/monitor*'`"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Node, NodeKind, NodeState, Span, Tags, Timestamp, failures_after, waits_until};

    fn tags(status: &str) -> Tags {
        Tags::from([("ray-node-status".to_owned(), status.to_owned())])
    }

    fn node(kind: NodeKind, status: &str) -> Node {
        Node {
            shape: 0,
            kind,
            tags: tags(status),
            asked: Timestamp::EPOCH,
            state: NodeState::Running,
            log: Vec::new(),
            agreement: None,
            hedges: BTreeSet::new(),
        }
    }

    #[test]
    fn workers_in_a_row_are_counted_until_ray_starts_on_any_node() {
        let [head, worker] = [NodeKind::Head, NodeKind::Worker].map(|it| node(it, "setting-up"));

        assert_eq!(failures_after(2, &worker, &tags("update-failed")), 3);
        assert_eq!(failures_after(u32::MAX, &worker, &tags("update-failed")), u32::MAX);
        assert_eq!(failures_after(2, &head, &tags("update-failed")), 2);
        assert_eq!(failures_after(9, &worker, &tags("up-to-date")), 0);
        assert_eq!(failures_after(9, &head, &tags("up-to-date")), 0);
    }

    #[test]
    fn a_worker_that_has_not_come_up_or_ends_is_not_counted() {
        for state in [NodeState::Pending, NodeState::Terminating, NodeState::Terminated] {
            let worker = Node { state, ..node(NodeKind::Worker, "waiting-for-ssh") };

            assert_eq!(failures_after(2, &worker, &tags("update-failed")), 2, "{state:?}");
        }
    }

    #[test]
    fn other_tags_and_the_same_status_again_say_nothing() {
        let failed = node(NodeKind::Worker, "update-failed");
        let other = Tags::from([("status".to_owned(), "up-to-date".to_owned())]);

        for change in [tags("update-failed"), tags("uninitialized"), Tags::new(), other] {
            assert_eq!(failures_after(2, &failed, &change), 2, "{change:?}");
        }
    }

    #[test]
    fn each_pause_is_twice_the_last_one_until_there_is_no_end() {
        let last = Timestamp::from_unix_micros(1_000_000_000);
        let until = |failures| waits_until(failures, last);

        assert_eq!([0, 1, 2].map(until), [None; 3]);
        assert_eq!([3, 4, 9].map(until), [1, 2, 64].map(|mins| Some(last.plus(Span::mins(mins)))));
        assert_eq!([10, u32::MAX].map(until), [Some(Timestamp::NEVER); 2]);
    }
}
