//! What runs at a provider: batches of commands one after the other, and the ssh server in the
//! container.

use std::{collections::VecDeque, net::Ipv4Addr, sync::Arc};

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{
        ActivityPhase, ActivityState, BatchId, CommandResult, ExeCommand, NetworkId, Response,
    },
};

use super::{
    RequestNo, SimYagna,
    activity::{Due, receiver_gone},
    books::SshAnswer,
    errand::{CommandPlace, NodeFacts, Task},
};
use crate::scenario::Ssh;

/// A command that is not possible fails after this time.
const FAILS_AFTER: Span = Span::millis(10);
/// What the runtime says of an image that it has fetched.
const DEPLOYED: &str = r#"{"startMode":"blocking","valid":{"Ok":""},"vols":[]}"#;
/// A flapping ssh server changes its mind this often.
const FLAPS_EVERY: Span = Span::secs(2);

/// One activity at its provider.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) agreement: usize,
    /// Whether the daemon knows that it is over.
    pub(super) is_settled: bool,
    /// How often its provider was asked to end it.
    pub(super) destroyed: u64,
    phase: ActivityPhase,
    /// Commands that have begun.
    commands: u64,
    /// Batches that are not over; the first one runs.
    queue: VecDeque<usize>,
    /// Networks that it has joined, its address in each, and the mask.
    addresses: Vec<(NetworkId, Ipv4Addr, Ipv4Addr)>,
    /// When the ssh server was last started.
    ssh_since: Option<Timestamp>,
    /// Whether it was started anew, which helps most of them for good.
    is_ssh_repaired: bool,
}

/// What became of a command that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What it wrote to its standard output.
    pub stdout: Option<String>,
    /// What it wrote to its standard error.
    pub stderr: Option<String>,
    /// Why it failed; none if it did not.
    pub failure: Option<String>,
}

/// One batch of commands.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    pub(super) activity: usize,
    pub(super) script: Arc<Vec<ExeCommand>>,
    pub(super) results: Vec<CommandResult>,
    /// Whether it has reached its activity.
    pub(super) is_there: bool,
}

impl Unit {
    pub(super) const fn new(agreement: usize) -> Self {
        Self {
            agreement,
            is_settled: false,
            destroyed: 0,
            phase: ActivityPhase::Initialized,
            commands: 0,
            queue: VecDeque::new(),
            addresses: Vec::new(),
            ssh_since: None,
            is_ssh_repaired: false,
        }
    }

    /// How it stands, and where it is going.
    pub(super) fn state(&self, batches: &[Batch]) -> ActivityState {
        let running = self.queue.front().and_then(|number| batches[*number].running());
        let next = match (running, self.phase) {
            (Some(ExeCommand::Deploy { .. }), ActivityPhase::Initialized) => {
                Some(ActivityPhase::Deployed)
            }
            (Some(ExeCommand::Start), ActivityPhase::Deployed) => Some(ActivityPhase::Ready),
            (Some(_) | None, _) => None,
        };
        ActivityState { now: self.phase, next, reason: None, error: None }
    }

    /// Whether a command is possible as things stand.
    fn allows(&self, command: &ExeCommand) -> bool {
        match command {
            ExeCommand::Deploy { .. } => self.phase == ActivityPhase::Initialized,
            ExeCommand::Start => self.phase == ActivityPhase::Deployed,
            ExeCommand::Run { .. } => self.phase == ActivityPhase::Ready,
            ExeCommand::Terminate => true,
            ExeCommand::Other(_) => false,
        }
    }
}

impl Batch {
    pub(super) const fn new(id: BatchId, activity: usize, script: Arc<Vec<ExeCommand>>) -> Self {
        Self { id, activity, script, results: Vec::new(), is_there: false }
    }

    /// The command that runs or will run next.
    fn running(&self) -> Option<&ExeCommand> {
        self.script.get(self.results.len())
    }
}

impl SimYagna {
    /// Whether a node answers on its ssh port, through the private network.
    #[must_use]
    pub fn ssh(&self, now: Timestamp, network: &NetworkId, ip: Ipv4Addr) -> SshAnswer {
        let Some(member) = self.networks.member(network, ip) else { return SshAnswer::Silent };
        let at = (network, ip);
        let found = (0..self.activities.units.len()).rev().find(|number| {
            let unit = &self.activities.units[*number];
            unit.addresses.iter().any(|(joined, own, _)| (joined, *own) == at)
                && self.activities.books[*number].is_ready
                && self.agreements.books[unit.agreement].provider == *member
        });
        let Some(number) = found else { return SshAnswer::Silent };
        let unit = &self.activities.units[number];
        let Some(since) = unit.ssh_since else { return SshAnswer::Refused };
        let deal = &self.agreements.signings[unit.agreement].deal;
        let nth = number as u64;
        let is_up = match &deal.conduct().ssh {
            Ssh::Never => false,
            Ssh::Up(after) => now.since(since) >= deal.secs("ssh", nth, after),
            Ssh::Flapping(_) | Ssh::Stuck(_) if unit.is_ssh_repaired => true,
            Ssh::Flapping(percent) => {
                let turn = now.since(since).as_micros() / FLAPS_EVERY.as_micros();
                !deal.happens("flaps", turn, *percent)
            }
            Ssh::Stuck(after) => now.since(since) < deal.secs("sticks", nth, after),
            Ssh::Hiccups(after) => {
                let start = since.as_unix_micros();
                now.since(since) < deal.secs("hiccups", start, after)
            }
        };
        if is_up { SshAnswer::Up } else { SshAnswer::Refused }
    }

    pub(super) fn on_exec(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        activity: usize,
        batch: usize,
    ) {
        if self.activities.books[activity].ended.is_some() {
            self.answer_back(now, request, Err(receiver_gone()));
            return;
        }
        let id = self.activities.batches[batch].id.clone();
        self.activities.batches[batch].is_there = true;
        self.activities.books[activity].batches.push(id.clone());
        let queue = &mut self.activities.units[activity].queue;
        queue.push_back(batch);
        if queue.len() == 1 {
            self.begin_command(now, activity);
        }
        self.answer_back(now, request, Ok(Response::BatchStarted(id)));
    }

    /// A command has run for its time: what it does is done now, here or outside.
    pub(super) fn on_command_ended(
        &mut self,
        now: Timestamp,
        activity: usize,
        batch: usize,
        index: usize,
    ) {
        let unit = &self.activities.units[activity];
        if self.activities.books[activity].ended.is_some()
            || unit.phase == ActivityPhase::Unresponsive
        {
            return;
        }
        let script = Arc::clone(&self.activities.batches[batch].script);
        let Some(command) = script.get(index) else { return };
        let failure = self.failure(activity, command);
        if failure.is_some() || !self.is_hosted {
            let stdout = self.host_key(activity, command).filter(|_| failure.is_none());
            self.finish_command(now, activity, batch, Outcome { stdout, stderr: None, failure });
            return;
        }
        let place = CommandPlace {
            batch: self.activities.batches[batch].id.clone(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
        };
        match command {
            ExeCommand::Start => {
                let node = Box::new(self.node_facts(activity));
                self.ask_host(activity, Task::Start { command: place, node });
            }
            ExeCommand::Run { entry_point, args } => {
                let (entry_point, args) = (entry_point.clone(), args.clone());
                self.ask_host(activity, Task::Run { command: place, entry_point, args });
            }
            ExeCommand::Deploy { .. } => {
                let stdout = Some(DEPLOYED.to_owned());
                self.finish_command(now, activity, batch, Outcome { stdout, ..Outcome::default() });
            }
            ExeCommand::Terminate | ExeCommand::Other(_) => {
                self.finish_command(now, activity, batch, Outcome::default());
            }
        }
    }

    /// A command is over; the next one begins.
    pub(super) fn finish_command(
        &mut self,
        now: Timestamp,
        activity: usize,
        batch: usize,
        outcome: Outcome,
    ) {
        let unit = &self.activities.units[activity];
        if self.activities.books[activity].ended.is_some()
            || unit.phase == ActivityPhase::Unresponsive
        {
            return;
        }
        let script = Arc::clone(&self.activities.batches[batch].script);
        let index = self.activities.batches[batch].results.len();
        let Some(command) = script.get(index) else { return };
        let Outcome { stdout, stderr, failure } = outcome;
        let is_ok = failure.is_none();
        if is_ok {
            self.succeed(now, activity, command);
        }
        let is_over = !is_ok || index + 1 == script.len();
        self.activities.batches[batch].results.push(CommandResult {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            is_ok,
            stdout,
            stderr,
            message: failure,
            is_batch_finished: is_over,
        });
        self.wake_results(now, batch);
        if is_ok && *command == ExeCommand::Terminate {
            self.end_activity(now, activity);
            return;
        }
        let unit = &mut self.activities.units[activity];
        unit.commands += 1;
        if is_over {
            unit.queue.pop_front();
        }
        self.begin_command(now, activity);
    }

    pub(super) fn on_hung(&mut self, now: Timestamp, activity: usize) {
        if self.activities.books[activity].ended.is_none() {
            self.activities.units[activity].phase = ActivityPhase::Unresponsive;
            self.activities.books[activity].hung = Some(now);
            self.activities.books[activity].is_ready = false;
            self.ask_host(activity, Task::Stall);
        }
    }

    /// Ends everything that runs under an agreement.
    pub(super) fn end_activities(&mut self, now: Timestamp, agreement: usize) {
        for activity in self.activities.running(agreement) {
            self.end_activity(now, activity);
        }
    }

    /// Ends an activity at its provider; whoever waits for its results is cut off.
    pub(super) fn end_activity(&mut self, now: Timestamp, activity: usize) {
        let book = &mut self.activities.books[activity];
        if book.ended.is_some() {
            return;
        }
        book.ended = Some(now);
        book.is_ready = false;
        let unit = &mut self.activities.units[activity];
        unit.phase = ActivityPhase::Terminated;
        unit.queue.clear();
        unit.addresses.clear();
        let agreement = unit.agreement;
        self.ask_host(activity, Task::Stop);
        if !self.agreements.books[agreement].is_provider_gone {
            let cut_off = self.activities.waits.extract_if(.., |it| it.activity == activity);
            let requests: Vec<RequestNo> = cut_off.map(|waiting| waiting.request).collect();
            for request in requests {
                self.answer_back(now, request, Err(receiver_gone()));
            }
        }
        self.bill_activity_end(now, activity);
        self.idle_from(now, agreement);
    }

    /// Lets the next command run, if there is one.
    fn begin_command(&mut self, now: Timestamp, activity: usize) {
        let unit = &mut self.activities.units[activity];
        while let Some(batch) = unit.queue.front().copied() {
            let Some(command) = self.activities.batches[batch].running() else {
                // An empty batch.
                unit.queue.pop_front();
                continue;
            };
            let deal = &self.agreements.signings[unit.agreement].deal;
            let (conduct, nth) = (deal.conduct(), activity as u64 * 1_000 + unit.commands);
            let takes = match command {
                ExeCommand::Deploy { .. } | ExeCommand::Start | ExeCommand::Run { .. }
                    if !unit.allows(command) =>
                {
                    FAILS_AFTER
                }
                ExeCommand::Deploy { .. } => deal.secs("deploys", nth, &conduct.deploy),
                ExeCommand::Start => deal.secs("starts", nth, &conduct.start),
                ExeCommand::Run { .. } => deal.secs("runs", nth, &conduct.run),
                ExeCommand::Terminate | ExeCommand::Other(_) => FAILS_AFTER,
            };
            let index = self.activities.batches[batch].results.len();
            self.agenda.add(now.plus(takes), Due::CommandEnds { activity, batch, index });
            return;
        }
    }

    /// Why a command fails, if it does.
    fn failure(&self, activity: usize, command: &ExeCommand) -> Option<String> {
        let unit = &self.activities.units[activity];
        if !unit.allows(command) {
            return Some(format!("Invalid state: {:?}", unit.phase));
        }
        let deal = &self.agreements.signings[unit.agreement].deal;
        let conduct = deal.conduct();
        if conduct.command_fails == Some(unit.commands) {
            return Some("ExeScript command exited with code 1".to_owned());
        }
        if conduct.has_bare_image && needs_root_copy(command) {
            return Some("ExeScript command exited with code 1".to_owned());
        }
        let is_deploy = matches!(command, ExeCommand::Deploy { .. });
        (is_deploy && deal.happens("deploy fails", activity as u64, conduct.deploy_fails))
            .then(|| "Deploy failed: cannot fetch the image".to_owned())
    }

    /// What a command prints that prints the host key of the node.
    fn host_key(&self, activity: usize, command: &ExeCommand) -> Option<String> {
        let ExeCommand::Run { args, .. } = command else { return None };
        let is_asked = args.iter().any(|arg| arg.contains("cat /etc/ssh/ssh_host_ed25519_key.pub"));
        is_asked.then(|| format!("ssh-ed25519 {}\n", self.activities.books[activity].id))
    }

    fn succeed(&mut self, now: Timestamp, activity: usize, command: &ExeCommand) {
        let unit = &mut self.activities.units[activity];
        match command {
            ExeCommand::Deploy { networks } => {
                unit.phase = ActivityPhase::Deployed;
                let joined = networks.iter().map(|it| (it.network.clone(), it.node_ip, it.mask));
                unit.addresses.extend(joined);
            }
            ExeCommand::Start => {
                unit.phase = ActivityPhase::Ready;
                self.activities.books[activity].is_ready = true;
            }
            ExeCommand::Run { entry_point, args } => {
                let mentions = |what: &str| {
                    entry_point.contains(what) || args.iter().any(|arg| arg.contains(what))
                };
                if mentions("service ssh restart") {
                    unit.is_ssh_repaired = true;
                    unit.ssh_since = Some(now);
                } else if mentions("service ssh") || mentions("sshd") {
                    unit.ssh_since = Some(now);
                    self.activities.books[activity].bootstraps += 1;
                }
            }
            ExeCommand::Terminate | ExeCommand::Other(_) => {}
        }
    }

    fn node_facts(&self, activity: usize) -> NodeFacts {
        let unit = &self.activities.units[activity];
        let deal = &self.agreements.signings[unit.agreement].deal;
        let (memory, storage) = deal.offer.space();
        NodeFacts {
            provider: deal.provider().clone(),
            addresses: unit.addresses.clone(),
            threads: deal.threads,
            memory,
            storage,
        }
    }

    fn wake_results(&mut self, now: Timestamp, batch: usize) {
        let results = &self.activities.batches[batch].results;
        let done = results.len();
        let woken: Vec<RequestNo> = self
            .activities
            .waits
            .extract_if(.., |it| it.batch == batch && it.command < done)
            .map(|waiting| waiting.request)
            .collect();
        for request in woken {
            let results = self.activities.batches[batch].results.clone();
            self.answer_back(now, request, Ok(Response::Results(results)));
        }
    }
}

/// Whether a program moves what its image may not have, without looking whether it is there.
fn needs_root_copy(command: &ExeCommand) -> bool {
    let ExeCommand::Run { args, .. } = command else { return false };
    let mut lines = args.iter().flat_map(|arg| arg.lines());
    lines.any(|line| line.contains("mv ") && line.contains("/root_copy") && !line.contains("if ["))
}

#[cfg(test)]
mod tests {
    use ray_on_golem::yagna::ExeCommand;

    use super::needs_root_copy;

    fn script(text: &str) -> ExeCommand {
        ExeCommand::Run {
            entry_point: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), text.to_owned()],
        }
    }

    #[test]
    fn a_script_that_takes_files_for_granted_needs_them() {
        assert!(needs_root_copy(&script("mv /root_copy/.bashrc ~")));
        assert!(!needs_root_copy(&script("if [ -e /root_copy/a ]; then mv /root_copy/a ~; fi")));
        assert!(!needs_root_copy(&ExeCommand::Start));
    }
}
