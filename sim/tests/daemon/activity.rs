//! Activities, their commands, and the ssh server in them.

use std::net::Ipv4Addr;

use golem_sim::yagna::{Reply, books::SshAnswer};
use ray_on_golem::{
    units::Span,
    yagna::{
        ActivityId, ActivityPhase, AgreementId, BatchId, CommandResult, ExeCommand, NetworkId,
        Request, Response,
    },
};

use crate::lab::{
    Daemon, START, TIMEOUT, deploy, deploy_into, execute, glm, refused, results, run,
};

const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);
const QUICK: &str = "deploy: 10, start: 5, run: 2, creates_ms: 700";

#[test]
fn an_activity_is_created_listed_and_destroyed() {
    let mut daemon = Daemon::beside(QUICK);
    let agreement = daemon.sign();
    let before = daemon.now;

    let activity = daemon.create_activity(&agreement);

    assert_eq!(daemon.now.since(before), Span::millis(740), "0.7 s and two hops");
    assert_eq!(activity.as_str().len(), 32);
    assert_eq!(list(&mut daemon, &agreement), Ok(Response::Activities(vec![activity.clone()])));
    assert_eq!(phase(&mut daemon, &activity), ActivityPhase::Initialized);
    assert_eq!(daemon.destroy(&activity), Ok(Response::ActivityDestroyed));
    assert_eq!(phase(&mut daemon, &activity), ActivityPhase::Terminated);
    assert_eq!(daemon.destroy(&activity), Ok(Response::ActivityDestroyed));
}

#[test]
fn an_activity_needs_an_agreement_in_force() {
    let mut daemon = Daemon::beside("approval: silent");
    let agreement = daemon.propose();

    let text =
        format!("Bad request: Agreement {agreement} is not Approved. Current state: Pending");
    assert_eq!(create(&mut daemon, &agreement, 5), refused(400, &text));
    let unknown = AgreementId::from("0".repeat(64));
    let text = format!("Not found: {unknown}");
    assert_eq!(create(&mut daemon, &unknown, 5), refused(404, &text));
    assert_eq!(list(&mut daemon, &unknown), refused(404, &text));
}

#[test]
fn an_unknown_activity_fails_the_daemon() {
    let mut daemon = Daemon::beside("");
    let activity = ActivityId::from("0".repeat(32));

    let text = format!("DAO error: Not found: agreement id for activity: {activity}");
    assert_eq!(daemon.destroy(&activity), refused(500, &text));
    assert_eq!(state(&mut daemon, &activity), refused(500, &text));
    assert_eq!(daemon.ask(&execute(&activity, vec![deploy()])), refused(500, &text));
    let batch = BatchId::from("0");
    assert_eq!(daemon.ask(&results(&activity, &batch, 0, 5)), refused(500, &text));
}

#[test]
fn an_activity_whose_provider_answers_too_late_runs_all_the_same() {
    let mut daemon = Daemon::beside("creates_ms: 8000");
    let agreement = daemon.sign();
    let before = daemon.now;

    assert_eq!(create(&mut daemon, &agreement, 5), refused(408, "Timeout"));

    assert_eq!(daemon.now.since(before), Span::secs(6), "the daemon adds a second");
    daemon.wait(Span::secs(60));
    assert_eq!(list(&mut daemon, &agreement), Ok(Response::Activities(Vec::new())));
    let book = &daemon.sim.activities()[0];
    assert_eq!((book.is_known, book.ended), (false, None));
    assert!(daemon.terminate(&agreement).is_ok());
    assert!(daemon.sim.activities()[0].ended.is_some());
}

#[test]
fn an_activity_whose_answer_is_lost_in_a_restart_is_not_listed() {
    let mut daemon = Daemon::beside(QUICK);
    let agreement = daemon.sign();
    daemon.send(&Request::CreateActivity { agreement: agreement.clone(), timeout: TIMEOUT });
    daemon.wait(Span::millis(100));

    daemon.sim.restart(daemon.now);
    daemon.wait(Span::secs(5));

    assert_eq!(list(&mut daemon, &agreement), Ok(Response::Activities(Vec::new())));
    assert_eq!(daemon.sim.activities().len(), 1);
}

#[test]
fn a_provider_may_fail_to_create_an_activity_or_never_answer() {
    let mut failing = Daemon::beside("create_fails: 100");
    let agreement = failing.sign();
    let text = "Service error: Failed to start the ExeUnit";
    assert_eq!(create(&mut failing, &agreement, 5), refused(500, text));

    let mut hanging = Daemon::beside("create_hangs: 100");
    let agreement = hanging.sign();
    assert_eq!(create(&mut hanging, &agreement, 5), refused(408, "Timeout"));
    assert!(hanging.sim.activities().is_empty());
}

#[test]
fn commands_run_one_after_the_other_and_results_are_the_whole_list_so_far() {
    let mut daemon = Daemon::beside(QUICK);
    let (_, activity) = daemon.start();
    let script = vec![deploy(), ExeCommand::Start, run("true")];
    let begin = daemon.now;
    let batch = daemon.execute(&activity, script);

    let first = daemon.results(&activity, &batch, 0);
    assert_eq!(first, [ok(0, false)]);
    assert_eq!(daemon.now.since(begin), Span::millis(10_040));
    assert_eq!(phase(&mut daemon, &activity), ActivityPhase::Deployed);
    let last = daemon.results(&activity, &batch, 2);

    assert_eq!(last, [ok(0, false), ok(1, false), ok(2, true)]);
    assert_eq!(phase(&mut daemon, &activity), ActivityPhase::Ready);
    assert_eq!(daemon.results(&activity, &batch, 0), last, "what there is comes at once");
    assert_eq!(daemon.now.since(begin).as_secs(), 17);
    let book = &daemon.sim.activities()[0];
    assert!(book.is_ready);
    assert_eq!(book.batches, [batch]);
}

#[test]
fn batches_wait_for_each_other() {
    let mut daemon = Daemon::beside(QUICK);
    let (_, activity) = daemon.start();
    let begin = daemon.now;

    let first = daemon.execute(&activity, vec![deploy(), ExeCommand::Start]);
    let second = daemon.execute(&activity, vec![run("true")]);

    assert_ne!(first, second);
    assert_eq!(daemon.results(&activity, &second, 0), [ok(0, true)]);
    assert_eq!(daemon.now.since(begin).as_secs(), 17);
}

#[test]
fn whoever_waits_for_a_result_too_long_is_told() {
    let mut daemon = Daemon::beside(QUICK);
    let (_, activity) = daemon.start();
    let batch = daemon.execute(&activity, vec![deploy()]);
    let before = daemon.now;

    assert_eq!(daemon.ask(&results(&activity, &batch, 0, 5)), refused(408, "Timeout"));

    assert_eq!(daemon.now.since(before), Span::secs(5));
    assert_eq!(daemon.results(&activity, &batch, 0), [ok(0, true)]);
    let nobodys = BatchId::from("0");
    let text = "Not found: batch_id = 0";
    assert_eq!(daemon.ask(&results(&activity, &nobodys, 0, 5)), refused(404, text));
}

#[test]
fn a_command_that_fails_ends_its_batch() {
    let mut daemon = Daemon::beside(&format!("{QUICK}, command_fails: 1"));
    let (_, activity) = daemon.start();
    let batch = daemon.execute(&activity, vec![deploy(), ExeCommand::Start, run("true")]);

    let found = daemon.results(&activity, &batch, 1);

    let message = "ExeScript command exited with code 1";
    assert_eq!(found, [ok(0, false), failed(1, message)]);
    let next = results(&activity, &batch, 2, 5);
    assert_eq!(daemon.ask(&next), refused(408, "Timeout"), "it never comes");
    let again = daemon.execute(&activity, vec![ExeCommand::Start]);
    assert_eq!(daemon.results(&activity, &again, 0), [ok(0, true)]);
}

#[test]
fn an_image_may_fail_to_deploy_and_nothing_runs_without_one() {
    let mut daemon = Daemon::beside(&format!("{QUICK}, deploy_fails: 100"));
    let (_, activity) = daemon.start();

    let batch = daemon.execute(&activity, vec![deploy()]);
    let message = "Deploy failed: cannot fetch the image";
    assert_eq!(daemon.results(&activity, &batch, 0), [failed(0, message)]);
    let batch = daemon.execute(&activity, vec![run("true")]);
    assert_eq!(daemon.results(&activity, &batch, 0), [failed(0, "Invalid state: Initialized")]);
}

#[test]
fn an_activity_may_stop_answering_but_goes_on_costing() {
    let mut daemon = Daemon::beside(&format!("{QUICK}, unresponsive_after: 3"));
    let (_, activity) = daemon.start();
    let batch = daemon.execute(&activity, vec![deploy()]);

    assert_eq!(daemon.ask(&results(&activity, &batch, 0, 30)), refused(408, "Timeout"));

    assert_eq!(phase(&mut daemon, &activity), ActivityPhase::Unresponsive);
    assert_eq!(daemon.sim.activities()[0].ended, None);
}

#[test]
fn nobody_listens_where_an_activity_was() {
    let mut daemon = Daemon::beside(QUICK);
    let (agreement, activity) = daemon.start();
    let batch = daemon.execute(&activity, vec![deploy()]);
    let waiting = daemon.send(&results(&activity, &batch, 0, 50));

    assert!(daemon.terminate(&agreement).is_ok());

    let gone = refused(500, "GSB error: Service receiver was cancelled");
    assert_eq!(daemon.reply_to(waiting), gone);
    assert_eq!(daemon.ask(&execute(&activity, vec![deploy()])), gone);
    assert_eq!(daemon.ask(&results(&activity, &batch, 0, 5)), gone);
    assert_eq!(phase(&mut daemon, &activity), ActivityPhase::Terminated, "its provider says so");
}

#[test]
fn a_provider_that_is_gone_answers_nothing() {
    let mut daemon = Daemon::beside(&format!("{QUICK}, vanishes_after: 60"));
    let (agreement, activity) = daemon.start();
    daemon.wait(Span::secs(60));

    let gone = refused(500, "GSB error: endpoint address not found");
    assert_eq!(state(&mut daemon, &activity), gone);
    assert_eq!(daemon.destroy(&activity), gone);
    assert_eq!(daemon.ask(&execute(&activity, vec![deploy()])), gone);
    assert_eq!(create(&mut daemon, &agreement, 5), gone);
    assert!(daemon.sim.activities()[0].ended.is_some());
}

#[test]
fn what_is_on_its_way_to_a_provider_that_vanishes_is_lost() {
    let mut daemon = Daemon::beside(&format!("{QUICK}, vanishes_after: 60"));
    let (_, activity) = daemon.start();
    daemon.wait(Span::secs(58));

    let replies: Vec<Reply> =
        std::iter::repeat_with(|| state(&mut daemon, &activity)).take(400).collect();

    let is_ended = |reply: &&Reply| matches!(reply, Ok(Response::ActivityState(state)) if state.now == ActivityPhase::Terminated);
    assert_eq!(replies.iter().find(is_ended), None, "nobody can have said so");
    assert!(replies.contains(&refused(408, "Timeout")), "one was on its way");
    assert_eq!(replies.last(), Some(&refused(500, "GSB error: endpoint address not found")));
}

#[test]
fn a_destruction_may_go_unacknowledged() {
    let mut daemon = Daemon::beside("destroy_unacknowledged: 100");
    let (_, activity) = daemon.start();

    assert_eq!(daemon.destroy(&activity), refused(408, "Timeout"));

    assert!(daemon.sim.activities()[0].ended.is_some());
    assert_eq!(phase(&mut daemon, &activity), ActivityPhase::Terminated);
}

#[test]
fn a_restart_disturbs_no_batch() {
    let mut daemon = Daemon::beside(QUICK);
    let (agreement, activity) = daemon.start();
    let batch = daemon.execute(&activity, vec![deploy(), ExeCommand::Start]);
    let waiting = results(&activity, &batch, 1, 50);
    daemon.send(&waiting);

    daemon.sim.restart(daemon.now);

    assert_eq!(list(&mut daemon, &agreement), Ok(Response::Activities(vec![activity.clone()])));
    assert_eq!(daemon.results(&activity, &batch, 1), [ok(0, false), ok(1, true)]);
}

#[test]
fn an_activity_costs_from_its_creation_to_its_end() {
    let mut daemon = Daemon::beside("load: 0.25, terminates_unaccepted: false");
    let (_, activity) = daemon.start();
    let created = daemon.sim.activities()[0].created;
    daemon.wait(Span::secs(1_000).minus(daemon.now.since(created)));
    let cost = daemon.sim.activities()[0].cost(daemon.now);
    assert_eq!(cost, glm("2.5"), "0.5 + 1000 × (4 × ¼ × 0.001 + 0.001)");

    assert!(daemon.destroy(&activity).is_ok());
    let cost = daemon.sim.activities()[0].cost(daemon.now);
    daemon.wait(Span::secs(1_000));

    assert_eq!(daemon.sim.activities()[0].cost(daemon.now), cost);
    assert_eq!(daemon.sim.activities()[0].cost(START), glm("0.5"));
}

#[test]
fn ssh_answers_once_it_was_started_in_a_node_of_the_network() {
    let mut daemon = Daemon::beside(&format!("{QUICK}, ssh: {{up: 3}}"));
    let (network, activity) = node(&mut daemon);
    assert_eq!(ssh(&daemon, &network), SshAnswer::Refused);

    bootstrap(&mut daemon, &activity, "service ssh start");
    assert_eq!(ssh(&daemon, &network), SshAnswer::Refused);
    daemon.wait(Span::secs(3));

    assert_eq!(ssh(&daemon, &network), SshAnswer::Up);
    assert_eq!(daemon.sim.activities()[0].bootstraps, 1);
    let elsewhere = Ipv4Addr::new(192, 168, 0, 4);
    assert_eq!(daemon.sim.ssh(daemon.now, &network, elsewhere), SshAnswer::Silent);
    assert!(daemon.destroy(&activity).is_ok());
    assert_eq!(ssh(&daemon, &network), SshAnswer::Silent);
}

#[test]
fn ssh_needs_the_network_and_its_membership() {
    let mut daemon = Daemon::beside(&format!("{QUICK}, ssh: {{up: 0}}"));
    let (network, activity) = node(&mut daemon);
    bootstrap(&mut daemon, &activity, "/usr/sbin/sshd");
    assert_eq!(ssh(&daemon, &network), SshAnswer::Up);
    let provider = daemon.sim.agreements()[0].provider.clone();

    let member = Request::RemoveNode { network: network.clone(), provider };
    assert!(daemon.ask(&member).is_ok());
    assert_eq!(ssh(&daemon, &network), SshAnswer::Silent);
    add(&mut daemon, &network);
    assert_eq!(ssh(&daemon, &network), SshAnswer::Up);

    daemon.sim.restart(daemon.now);
    assert_eq!(ssh(&daemon, &network), SshAnswer::Silent);
}

#[test]
fn an_ssh_server_that_flaps_or_sticks_is_helped_by_a_restart() {
    for (conduct, share) in [("{flapping: 50}", 20..80), ("{stuck: 10}", 1..50)] {
        let mut daemon = Daemon::beside(&format!("{QUICK}, ssh: {conduct}"));
        let (network, activity) = node(&mut daemon);
        bootstrap(&mut daemon, &activity, "service ssh start");
        let percent_up = |daemon: &mut Daemon| {
            let mut up = 0;
            for _ in 0..100 {
                up += u32::from(ssh(daemon, &network) == SshAnswer::Up);
                daemon.wait(Span::secs(1));
            }
            up
        };
        let up = percent_up(&mut daemon);
        assert!(share.contains(&up), "{conduct}: {up}");

        bootstrap(&mut daemon, &activity, "service ssh restart");

        assert_eq!(percent_up(&mut daemon), 100, "{conduct}");
        assert_eq!(daemon.sim.activities()[0].bootstraps, 1);
    }
}

#[test]
fn some_ssh_servers_never_answer() {
    let mut daemon = Daemon::beside(&format!("{QUICK}, ssh: never, notes: never"));
    let (network, activity) = node(&mut daemon);

    bootstrap(&mut daemon, &activity, "service ssh start");
    bootstrap(&mut daemon, &activity, "service ssh restart");
    daemon.wait(Span::mins(10));

    assert_eq!(ssh(&daemon, &network), SshAnswer::Refused);
}

/// A node that runs at its address in a network.
fn node(daemon: &mut Daemon) -> (NetworkId, ActivityId) {
    let network = daemon.network();
    let (_, activity) = daemon.start();
    add(daemon, &network);
    let script = vec![deploy_into(&network, NODE), ExeCommand::Start];
    let batch = daemon.execute(&activity, script);
    daemon.results(&activity, &batch, 1);
    (network, activity)
}

fn add(daemon: &mut Daemon, network: &NetworkId) {
    let provider = daemon.sim.agreements()[0].provider.clone();
    let request = Request::AddNode { network: network.clone(), provider, ip: NODE.into() };
    assert_eq!(daemon.ask(&request), Ok(Response::NodeAdded));
}

fn bootstrap(daemon: &mut Daemon, activity: &ActivityId, script: &str) {
    let batch = daemon.execute(activity, vec![run(script)]);
    assert_eq!(daemon.results(activity, &batch, 0), [ok(0, true)]);
}

fn ssh(daemon: &Daemon, network: &NetworkId) -> SshAnswer {
    daemon.sim.ssh(daemon.now, network, NODE)
}

fn create(daemon: &mut Daemon, agreement: &AgreementId, secs: u64) -> Reply {
    let (agreement, timeout) = (agreement.clone(), Span::secs(secs));
    daemon.ask(&Request::CreateActivity { agreement, timeout })
}

fn list(daemon: &mut Daemon, agreement: &AgreementId) -> Reply {
    daemon.ask(&Request::ListActivities { agreement: agreement.clone() })
}

fn state(daemon: &mut Daemon, activity: &ActivityId) -> Reply {
    let (activity, timeout) = (activity.clone(), TIMEOUT);
    daemon.ask(&Request::GetActivityState { activity, timeout })
}

fn phase(daemon: &mut Daemon, activity: &ActivityId) -> ActivityPhase {
    match state(daemon, activity) {
        Ok(Response::ActivityState(state)) => state.now,
        other => panic!("{other:?}"),
    }
}

fn ok(index: u32, is_batch_finished: bool) -> CommandResult {
    CommandResult {
        index,
        is_ok: true,
        stdout: None,
        stderr: None,
        message: None,
        is_batch_finished,
    }
}

fn failed(index: u32, message: &str) -> CommandResult {
    let message = Some(message.to_owned());
    CommandResult { is_ok: false, message, ..ok(index, true) }
}
