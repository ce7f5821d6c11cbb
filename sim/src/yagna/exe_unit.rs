//! What runs at a provider: batches of commands one after the other, and the ssh server in the
//! container.

use std::{collections::VecDeque, net::Ipv4Addr, sync::Arc};

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{
        ActivityPhase, ActivityState, CommandResult, Deployment, ExeCommand, NetworkId, Response,
    },
};

use super::{
    RequestNo, SimYagna,
    activity::{Due, receiver_gone},
    batch::{Batch, EventKind, Outcome, Source, deployed},
    books::SshAnswer,
    errand::{CommandPlace, NodeFacts, Task},
    script::{Kept, Order, RunningCommand},
};
use crate::scenario::Ssh;

/// A command that is not possible fails after this time.
const FAILS_AFTER: Span = Span::millis(10);
/// What the usual images have for their users' files.
const VOLUMES: [&str; 3] = ["/golem/work", "/golem/output", "/golem/input"];
/// A command that failed, but not by an exit code.
const NO_CODE: i32 = -1;
/// What an execution unit says that is not built for trusted hardware.
const CANNOT_SIGN: &str = "signing not supported: binary built without the 'sgx' feature";
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
    /// Networks that it has joined.
    networks: Vec<Deployment>,
    /// When the ssh server was last started.
    ssh_since: Option<Timestamp>,
    /// Whether it was started anew, which helps most of them for good.
    is_ssh_repaired: bool,
    /// Directories that files can be copied to and from.
    volumes: Vec<String>,
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
            networks: Vec::new(),
            ssh_since: None,
            is_ssh_repaired: false,
            volumes: Vec::new(),
        }
    }

    /// How it stands, and where it is going.
    pub(super) fn state(&self, batches: &[Batch]) -> ActivityState {
        let order = self.queue.front().and_then(|number| batches[*number].current.as_ref());
        let possible = order.filter(|order| order.is_possible(self.phase));
        let next = possible.and_then(Order::leads_to);
        ActivityState { now: self.phase, next, reason: None, error: None }
    }

    /// The command that runs, if one does.
    pub(super) fn running(&self, batches: &[Batch]) -> Option<RunningCommand> {
        let order = self.queue.front().and_then(|number| batches[*number].current.as_ref());
        order.map(Order::running)
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
            unit.networks.iter().any(|joined| (&joined.network, joined.node_ip) == at)
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
        if self.activities.batches[batch].results.len() != index {
            return;
        }
        let script = Arc::clone(&self.activities.batches[batch].script);
        let Some(command) = script.get(index) else { return };
        let order = self.activities.batches[batch].current.clone();
        let (Some(order), None) = (&order, self.failure(activity, command, order.as_ref())) else {
            let failure = self.failure(activity, command, order.as_ref());
            self.finish_command(now, activity, batch, failure.unwrap_or_default());
            return;
        };
        match order {
            Order::Run { entry_point, args, .. } if self.is_hosted => {
                let (entry_point, args) = (entry_point.clone(), args.clone());
                let command = self.place_of(batch, index);
                self.ask_host(activity, Task::Run { command, entry_point, args });
                return;
            }
            Order::Start { .. } if self.is_hosted => {
                let command = self.place_of(batch, index);
                let node = Box::new(self.node_facts(activity));
                self.ask_host(activity, Task::Start { command, node });
                return;
            }
            Order::Transfer { from, to } if self.is_hosted => {
                let (from, to) = (from.clone(), to.clone());
                let volumes = self.activities.units[activity].volumes.clone();
                let command = self.place_of(batch, index);
                self.ask_host(activity, Task::Transfer { command, from, to, volumes });
                return;
            }
            Order::Run { .. } => {
                if let Some(key) = self.host_key(activity, command) {
                    self.write_output(now, batch, Source::Stdout, key.as_bytes());
                }
            }
            Order::Deploy { volumes, .. } => {
                let volumes = VOLUMES.iter().map(|path| (*path).to_owned()).chain(volumes.clone());
                let volumes: Vec<String> = volumes.collect();
                if self.is_hosted {
                    self.write_output(now, batch, Source::Stdout, deployed(&volumes).as_bytes());
                }
                self.activities.units[activity].volumes = volumes;
            }
            Order::Sign | Order::Start { .. } | Order::Transfer { .. } | Order::Terminate => {}
        }
        self.finish_command(now, activity, batch, Outcome::default());
    }

    fn place_of(&self, batch: usize, index: usize) -> CommandPlace {
        let batch = self.activities.batches[batch].id.clone();
        CommandPlace { batch, index: u32::try_from(index).unwrap_or(u32::MAX) }
    }

    /// The command that runs in a batch has written something.
    pub(super) fn write_output(
        &mut self,
        now: Timestamp,
        batch: usize,
        source: Source,
        bytes: &[u8],
    ) {
        let batch = &mut self.activities.batches[batch];
        let [stdout, stderr] = &mut batch.outputs;
        let kept = match source {
            Source::Stdout => stdout,
            Source::Stderr => stderr,
        };
        let told = kept.write(bytes);
        if self.is_hosted && !told.is_empty() {
            let (bytes, is_binary) = (told.to_vec(), kept.is_binary());
            batch.note(now, EventKind::Wrote { source, bytes, is_binary });
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
        if index >= script.len() {
            return;
        }
        let is_ok = outcome.failure.is_none();
        let order = self.activities.batches[batch].current.take();
        if let Some(order) = order.as_ref().filter(|_| is_ok) {
            self.succeed(now, activity, order);
        }
        let is_over = !is_ok || index + 1 == script.len();
        let is_hosted = self.is_hosted;
        let found = &mut self.activities.batches[batch];
        if is_hosted {
            found.note(now, EventKind::Finished(outcome.clone()));
        }
        found.finish(outcome, is_over);
        self.wake_results(now, batch);
        if is_ok && order == Some(Order::Terminate) {
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
        unit.networks.clear();
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
            let order = Order::of(command);
            let deal = &self.agreements.signings[unit.agreement].deal;
            let (conduct, nth) = (deal.conduct(), activity as u64 * 1_000 + unit.commands);
            let takes = match &order {
                Some(order) if !order.is_possible(unit.phase) => FAILS_AFTER,
                Some(Order::Deploy { .. }) => deal.secs("deploys", nth, &conduct.deploy),
                Some(Order::Start { .. }) => deal.secs("starts", nth, &conduct.start),
                Some(Order::Run { .. } | Order::Transfer { .. }) => {
                    deal.secs("runs", nth, &conduct.run)
                }
                Some(Order::Sign | Order::Terminate) | None => FAILS_AFTER,
            };
            let begun = &mut self.activities.batches[batch];
            begun.outputs = order.as_ref().map_or([Kept::NOTHING; 2], Order::outputs);
            begun.current = order;
            if self.is_hosted {
                begun.note(now, EventKind::Started);
            }
            let index = self.activities.batches[batch].results.len();
            self.agenda.add(now.plus(takes), Due::CommandEnds { activity, batch, index });
            return;
        }
    }

    /// How a command fails, if it does.
    fn failure(
        &self,
        activity: usize,
        command: &ExeCommand,
        order: Option<&Order>,
    ) -> Option<Outcome> {
        let unit = &self.activities.units[activity];
        let failed = |code, words: &str| Some(Outcome { code, failure: Some(words.to_owned()) });
        let exited = || failed(1, "ExeScript command exited with code 1");
        let Some(order) = order.filter(|order| order.is_possible(unit.phase)) else {
            return failed(NO_CODE, &format!("Invalid state: {:?}", unit.phase));
        };
        if *order == Order::Sign {
            return failed(NO_CODE, CANNOT_SIGN);
        }
        let deal = &self.agreements.signings[unit.agreement].deal;
        let conduct = deal.conduct();
        if conduct.command_fails == Some(unit.commands) {
            return exited();
        }
        if conduct.has_bare_image && needs_root_copy(command) {
            return exited();
        }
        let is_deploy = matches!(order, Order::Deploy { .. });
        if is_deploy && deal.happens("deploy fails", activity as u64, conduct.deploy_fails) {
            return failed(NO_CODE, "Deploy failed: cannot fetch the image");
        }
        None
    }

    /// What a command prints that prints the host key of the node.
    fn host_key(&self, activity: usize, command: &ExeCommand) -> Option<String> {
        let ExeCommand::Run { args, .. } = command else { return None };
        let is_asked = args.iter().any(|arg| arg.contains("cat /etc/ssh/ssh_host_ed25519_key.pub"));
        is_asked.then(|| format!("ssh-ed25519 {}\n", self.activities.books[activity].id))
    }

    fn succeed(&mut self, now: Timestamp, activity: usize, order: &Order) {
        let unit = &mut self.activities.units[activity];
        match order {
            Order::Deploy { networks, .. } => {
                unit.phase = ActivityPhase::Deployed;
                unit.networks.extend(networks.iter().cloned());
            }
            Order::Start { .. } => {
                unit.phase = ActivityPhase::Ready;
                self.activities.books[activity].is_ready = true;
            }
            Order::Run { entry_point, args, .. } => {
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
            Order::Sign | Order::Transfer { .. } | Order::Terminate => {}
        }
    }

    fn node_facts(&self, activity: usize) -> NodeFacts {
        let unit = &self.activities.units[activity];
        let deal = &self.agreements.signings[unit.agreement].deal;
        let (memory, storage) = deal.offer.space();
        NodeFacts {
            provider: deal.provider().clone(),
            networks: unit.networks.clone(),
            volumes: unit.volumes.clone(),
            threads: deal.threads,
            memory,
            storage,
        }
    }

    /// What is told to a client that asks for a command of a batch. In virtual time it is told all that there
    /// is: what drills are held to was measured so.
    pub(super) fn told_results(&self, batch: usize, command: usize) -> Vec<CommandResult> {
        let found = &self.activities.batches[batch];
        if self.is_hosted { found.told(command) } else { found.results.clone() }
    }

    fn wake_results(&mut self, now: Timestamp, batch: usize) {
        let results = &self.activities.batches[batch].results;
        let done = results.len();
        let woken: Vec<(RequestNo, usize)> = self
            .activities
            .waits
            .extract_if(.., |it| it.batch == batch && it.command < done)
            .map(|waiting| (waiting.request, waiting.command))
            .collect();
        for (request, command) in woken {
            let results = self.told_results(batch, command);
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
