//! From an approved agreement to a running node: steps 2 to 9.
//!
//! Each step has a patience, and whatever fails ends the agreement and asks the next provider. What
//! costs money or cannot be repeated is recorded before it is asked for.

use std::sync::Arc;

use super::{
    AgreementCall, Cluster, ClusterCall, ClusterTimer, Stage, Work,
    account::Progress,
    plan::Subnet,
    record::{AgreementFact, NodeFact},
    sightings::kind_of,
    state::{ClusterState, NodeState},
    steps::{self, Place, Step},
};
use crate::{
    core::{
        backoff::Backoff,
        effects::Effects,
        experience::{FailureKind, Observation},
        ids::AgreementNo,
        planted::Bug,
    },
    units::Span,
    yagna::{CallError, CommandResult, Doubt, ExeCommand, Request, Response, Status, words::plain},
};

const CREATE_TIMEOUT: Span = Span::secs(15);
const EXECUTE_TIMEOUT: Span = Span::secs(10);
const COLLECT_TIMEOUT: Span = Span::secs(20);
const JOIN_PATIENCE: Span = Span::secs(10);
const MARGIN: Span = Span::secs(5);
/// A provider that fails so often in a row is gone.
const FAILURES_MAX: u32 = 4;
const GARBLED: &str = "the answer was not understood";

impl Cluster {
    pub(super) fn create_activity(&mut self, fx: &mut Effects, number: AgreementNo) {
        self.begin_step(fx, number, Step::CreateActivity);
        self.note(fx, number, AgreementFact::ActivityIntended { at: fx.now });
        self.saw(fx, number, Observation::Started);
        self.arm_reserve(fx, number);
        self.create_activity_again(fx, number);
    }

    pub(super) fn create_activity_again(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let request = Request::CreateActivity {
            agreement: account.agreement.clone(),
            timeout: CREATE_TIMEOUT,
        };
        self.enter(number, Stage::CreatingActivity);
        let call = ClusterCall::Agreement(number, AgreementCall::CreateActivity);
        self.ask(fx, call, request, CREATE_TIMEOUT.plus(MARGIN));
    }

    /// The node is not wanted any more, its books may be closed, and if the provider failed, it
    /// failed all the same.
    pub(super) fn on_unwanted_activity(
        &self,
        fx: &mut Effects,
        number: AgreementNo,
        result: &Result<Response, CallError>,
    ) {
        let has_failed = match result {
            Ok(_) | Err(CallError::NotSent { .. }) => false,
            // What else is refused may be refused because the agreement ends.
            Err(CallError::Rejected { status, .. }) => *status == Status::TIMEOUT,
            Err(CallError::Unknown(_)) => true,
        };
        if has_failed && let Some(account) = fx.cluster(self.id).account(number) {
            let provider = account.terms.provider.clone();
            fx.set_back(&provider, Backoff::BROKEN_PROVIDER);
        }
    }

    pub(super) fn on_activity_created(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: Result<Response, CallError>,
    ) {
        // The reply may come after the end was decided; then there is something to destroy.
        if let Ok(Response::ActivityCreated(activity)) = &result {
            self.note(fx, number, AgreementFact::ActivityMade(activity.clone()));
        }
        if self.stage(number) != Some(Stage::CreatingActivity) {
            self.on_unwanted_activity(fx, number, &result);
            return;
        }
        match result {
            Ok(Response::ActivityCreated(_)) => {
                self.begin_step(fx, number, Step::JoinNetwork);
                self.join(fx, number);
            }
            Err(CallError::NotSent { .. }) => {
                self.again(fx, number, Step::CreateActivity, "create");
            }
            // Something may run there that no listing shows: only the agreement's end is sure.
            Ok(_) => self.fail(fx, number, Step::CreateActivity, FailureKind::Broke, GARBLED),
            Err(error) if fx.planted(Bug::CreateFailureKept) => {
                self.close_quietly(fx, number, &error.to_string());
            }
            Err(error) => {
                let why = error.to_string();
                self.fail(fx, number, Step::CreateActivity, kind_of(&error), &why);
            }
        }
    }

    pub(super) fn join(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(network) = self.network(fx) else {
            self.fail_quietly(fx, number, "the private network is gone");
            return;
        };
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let (provider, ip) = (account.terms.provider.clone(), account.ip.into());
        let request = Request::AddNode { network, provider, ip };
        self.enter(number, Stage::Joining);
        let call = ClusterCall::Agreement(number, AgreementCall::Join);
        self.ask(fx, call, request, JOIN_PATIENCE);
    }

    pub(super) fn on_joined(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: Result<Response, CallError>,
    ) {
        if self.stage(number) != Some(Stage::Joining) {
            return;
        }
        match result {
            Ok(_) => {
                self.begin_step(fx, number, Step::Deploy);
                self.send_batch(fx, number);
            }
            Err(error @ CallError::Rejected { .. }) => {
                self.suspect_network(fx);
                self.fail_quietly(fx, number, &error.to_string());
            }
            // Adding a node twice does no harm.
            Err(CallError::NotSent { .. } | CallError::Unknown(_)) => {
                self.again(fx, number, Step::JoinNetwork, "join");
            }
        }
    }

    fn send_batch(&mut self, fx: &mut Effects, number: AgreementNo) {
        self.note(fx, number, AgreementFact::BatchIntended);
        self.send_batch_again(fx, number);
    }

    pub(super) fn send_batch_again(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(network) = self.network(fx) else {
            self.fail_quietly(fx, number, "the private network is gone");
            return;
        };
        let state = fx.cluster(self.id);
        let Some(account) = state.accounts.get(&number) else { return };
        let Some(activity) = account.activity.clone() else { return };
        let (ip, is_strict) = (account.ip, fx.planted(Bug::ScriptStrict));
        let subnet = state.plan.network.unwrap_or(Subnet::USUAL);
        let place = Place { network: &network, subnet, ip, nodes: members(state), is_strict };
        let script = steps::batch(place, &state.plan.ssh_public_key);
        self.enter(number, Stage::SendingBatch);
        let request = execute(activity, script);
        let call = ClusterCall::Agreement(number, AgreementCall::Execute);
        self.ask(fx, call, request, EXECUTE_TIMEOUT.plus(MARGIN));
    }

    pub(super) fn on_batch_started(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: Result<Response, CallError>,
    ) {
        if self.stage(number) != Some(Stage::SendingBatch) {
            return;
        }
        match result {
            Ok(Response::BatchStarted(batch)) => {
                self.note(fx, number, AgreementFact::BatchMade(batch));
                self.enter(number, Stage::Collecting { command: 0 });
                self.collect(fx, number);
            }
            Err(CallError::NotSent { .. }) => self.again(fx, number, Step::Deploy, "execute"),
            Ok(_) => self.fail(fx, number, Step::Deploy, FailureKind::Broke, GARBLED),
            Err(error) => {
                self.fail(fx, number, Step::Deploy, kind_of(&error), &error.to_string());
            }
        }
    }

    /// Waits for the result of the next command.
    pub(super) fn collect(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(Stage::Collecting { command }) = self.stage(number) else { return };
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let (Some(activity), Some(batch)) = (account.activity.clone(), account.batch.clone())
        else {
            return;
        };
        let timeout = COLLECT_TIMEOUT;
        let request = Request::CollectResults { activity, batch, command, timeout };
        let call = ClusterCall::Agreement(number, AgreementCall::Results);
        self.ask(fx, call, request, COLLECT_TIMEOUT.plus(MARGIN));
    }

    pub(super) fn on_results(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: Result<Response, CallError>,
    ) {
        let Some(Stage::Collecting { command }) = self.stage(number) else { return };
        match result {
            Ok(Response::Results(results)) => self.take_results(fx, number, command, &results),
            Err(error) if error.is_refusal(Status::TIMEOUT) => self.collect(fx, number),
            Err(error @ CallError::Rejected { .. }) => {
                self.fail(fx, number, step_of(command), kind_of(&error), &error.to_string());
            }
            Err(error @ CallError::Unknown(Doubt::Failed { .. })) => {
                if self.pause(fx, number, "results") >= FAILURES_MAX {
                    self.fail(fx, number, step_of(command), kind_of(&error), &error.to_string());
                }
            }
            Ok(_) | Err(CallError::NotSent { .. } | CallError::Unknown(_)) => {
                self.pause(fx, number, "results");
            }
        }
    }

    fn take_results(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        from: u32,
        results: &[CommandResult],
    ) {
        let mut next = from;
        for result in results.iter().filter(|result| result.index >= from) {
            if !result.is_ok {
                let said = [&result.message, &result.stderr, &result.stdout]
                    .into_iter()
                    .flatten()
                    .find(|text| !text.is_empty())
                    .map_or("it failed without a word", String::as_str);
                let kind = FailureKind::Broke;
                self.fail(fx, number, step_of(result.index), kind, &brief(said));
                return;
            }
            next = result.index.saturating_add(1);
            match Step::of_command(next) {
                Some(step) => self.begin_step(fx, number, step),
                None => {
                    self.note(fx, number, AgreementFact::Bootstrapped);
                    if let Some(work) = self.works.get_mut(&number) {
                        work.host_key = result.stdout.as_deref().and_then(host_key);
                    }
                    self.check_ssh(fx, number);
                    return;
                }
            }
        }
        if next == from {
            // An answer that brings nothing must not be asked for again at once.
            self.pause(fx, number, "results");
        } else {
            self.enter(number, Stage::Collecting { command: next });
            self.collect(fx, number);
        }
    }

    fn check_ssh(&mut self, fx: &mut Effects, number: AgreementNo) {
        self.begin_step(fx, number, Step::CheckSsh);
        self.enter(number, Stage::CheckingSsh);
        self.look_at_ssh(fx, number);
    }

    /// The node answers over ssh: it is up.
    pub(super) fn ready(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let (node, provider) = (account.node, account.terms.provider.clone());
        self.settle_path(fx);
        self.note_node(fx, node, NodeFact::Running);
        self.saw(fx, number, Observation::CameUp);
        self.begin_step(fx, number, Step::Ready);
        self.rest(fx, ClusterTimer::Node(node));
        self.rest(fx, ClusterTimer::Priority(node));
        self.enter(number, Stage::Running);
        fx.troubles.clear(&provider);
        self.begin_health(fx, number);
        self.review_usage(fx);
        self.is_dirty = true;
    }

    /// A step took longer than its patience.
    pub(super) fn on_step_timer(&mut self, fx: &mut Effects, number: AgreementNo) {
        let step = match self.stage(number) {
            Some(Stage::CreatingActivity) => Step::CreateActivity,
            Some(Stage::Joining) => Step::JoinNetwork,
            Some(Stage::SendingBatch) => Step::Deploy,
            Some(Stage::Collecting { command }) => step_of(command),
            Some(Stage::CheckingSsh) => Step::CheckSsh,
            Some(
                Stage::Confirming
                | Stage::Awaiting
                | Stage::Running
                | Stage::Looking
                | Stage::Cancelling
                | Stage::Destroying
                | Stage::Terminating
                | Stage::Over,
            )
            | None => return,
        };
        if fx.planted(Bug::StepEndless) {
            return;
        }
        let took = self.works.get(&number).map(|work| work.at_step_for(fx.now));
        let took = took.filter(|took| *took > Span::ZERO).unwrap_or_else(|| step.rule().patience);
        let unreached = self.works.get(&number).and_then(|work| work.unreached.clone());
        let last = match unreached.filter(|_| step == Step::CheckSsh) {
            Some(why) => format!("; the last try: {}", brief(&why)),
            None => String::new(),
        };
        let why = format!("not done within {} seconds{last}", took.as_secs());
        if step == Step::CheckSsh && (self.doubt_bus(fx) || self.network(fx).is_none()) {
            self.fail_quietly(fx, number, &format!("step {}: {why}", step.number()));
            return;
        }
        self.fail(fx, number, step, FailureKind::Late, &why);
    }

    /// Goes on with an agreement after a crash.
    pub(super) fn recover_agreement(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        state: &ClusterState,
    ) {
        let Some(account) = state.accounts.get(&number) else { return };
        self.works.insert(number, Work::new(Stage::Looking));
        if account.over.is_some() {
            self.enter(number, Stage::Over);
            self.wake(fx, ClusterTimer::Settle(number), fx.now.plus(super::closing::INVOICE_WAIT));
            return;
        }
        self.arm_reserve(fx, number);
        if account.closing.is_some() {
            self.undo(fx, number);
            return;
        }
        let step = |step: Step| fx.now.plus(step.rule().patience);
        match account.progress {
            Progress::Signing => self.look(fx, number),
            Progress::Approved => self.create_activity(fx, number),
            // What was asked for may be there, unknown to every listing.
            Progress::CreatingActivity | Progress::SendingBatch if !fx.planted(Bug::StartTwice) => {
                self.fail_quietly(fx, number, "the manager was interrupted");
            }
            Progress::CreatingActivity => self.create_activity_again(fx, number),
            Progress::HasActivity => {
                self.wake(fx, ClusterTimer::Step(number), step(Step::JoinNetwork));
                self.join(fx, number);
            }
            Progress::SendingBatch => self.send_batch_again(fx, number),
            Progress::RunningBatch => {
                self.wake(fx, ClusterTimer::Step(number), step(Step::Deploy));
                self.enter(number, Stage::Collecting { command: 0 });
                self.collect(fx, number);
            }
            Progress::Bootstrapped => {
                self.wake(fx, ClusterTimer::Step(number), step(Step::CheckSsh));
                self.enter(number, Stage::CheckingSsh);
                self.look_at_ssh(fx, number);
            }
            Progress::Running => {
                self.enter(number, Stage::Running);
                self.begin_health(fx, number);
            }
        }
    }

    /// The daemon certainly did nothing: the same again, a few times.
    fn again(&mut self, fx: &mut Effects, number: AgreementNo, step: Step, what: &str) {
        if self.pause(fx, number, what) >= step.rule().tries {
            self.rest(fx, ClusterTimer::Agreement(number));
            self.fail_quietly(fx, number, "the daemon cannot be reached");
        }
    }

    /// The provider failed: its agreement ends, and the node asks the next one.
    fn fail(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        step: Step,
        kind: FailureKind,
        why: &str,
    ) {
        self.blame_at(fx, number, step, kind);
        self.log_failure(fx, number, &format!("step {}: {why}", step.number()));
        let reason = format!("The node did not come up: {why}");
        self.close(fx, number, &reason);
    }

    /// The provider ended the agreement before the node was up.
    pub(super) fn fail_by_provider(&mut self, fx: &mut Effects, number: AgreementNo, why: &str) {
        self.blame(fx, number, FailureKind::Quit);
        self.log_failure(fx, number, why);
        self.close(fx, number, why);
    }

    /// Something else failed: as [`Self::fail`], but the provider is not to blame.
    pub(super) fn fail_quietly(&mut self, fx: &mut Effects, number: AgreementNo, why: &str) {
        self.blame(fx, number, FailureKind::Blameless);
        self.log_failure(fx, number, why);
        self.close(fx, number, why);
    }

    fn log_failure(&self, fx: &mut Effects, number: AgreementNo, why: &str) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let node = account.node;
        let is_pending = fx
            .cluster(self.id)
            .nodes
            .get(&node)
            .is_some_and(|node| node.state == NodeState::Pending);
        if is_pending {
            self.log(fx, node, format!("Failed to create activity, retrying. error='{why}'"));
        }
    }

    /// What a planted bug does with an agreement that failed.
    pub(super) fn forget(&mut self, fx: &mut Effects, number: AgreementNo, why: &str) {
        let node = fx.cluster(self.id).accounts.get(&number).map(|account| account.node);
        self.works.remove(&number);
        self.note(fx, number, AgreementFact::Closing { at: fx.now, reason: why.to_owned() });
        self.note(fx, number, AgreementFact::Over { at: fx.now });
        self.note(fx, number, AgreementFact::Settled);
        if let Some(node) = node {
            self.wait_again(fx, node);
        }
        self.is_dirty = true;
    }
}

/// A request to run these commands.
pub(super) fn execute(activity: crate::yagna::ActivityId, script: Vec<ExeCommand>) -> Request {
    Request::Execute { activity, script: Arc::new(script), timeout: EXECUTE_TIMEOUT }
}

/// Who is in the private network, by address.
fn members(state: &ClusterState) -> Vec<(std::net::Ipv4Addr, crate::yagna::ProviderId)> {
    let live = state.accounts.values().filter(|account| {
        account.over.is_none() && account.closing.is_none() && account.activity.is_some()
    });
    live.map(|account| (account.ip, account.terms.provider.clone())).collect()
}

pub(super) fn step_of(command: u32) -> Step {
    Step::of_command(command).unwrap_or(Step::StartSsh)
}

/// The key in what the start of the ssh service printed; whether it is one, the shell says.
fn host_key(printed: &str) -> Option<Arc<str>> {
    const LENGTH_MAX: usize = 1_000;
    let line = printed.lines().find(|line| line.starts_with("ssh-"))?;
    (line.len() <= LENGTH_MAX).then(|| line.into())
}

/// The first line of what a program said, for a log.
fn brief(said: &str) -> String {
    const LENGTH_MAX: usize = 300;
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    plain(line, LENGTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::host_key;

    #[test]
    fn a_host_key_is_found_behind_what_the_service_said() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio";

        assert_eq!(
            host_key(&format!("Starting sshd.\n{key} root@x\n")),
            Some(format!("{key} root@x").into())
        );
        assert_eq!(host_key("Starting sshd.\n"), None);
        assert_eq!(host_key(&format!("ssh-ed25519 {}\n", "A".repeat(9_999))), None);
    }
}
