//! The same on a real daemon: what it says of its wallet, its version, and its keys.

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    assert_said,
    lab::{Lab, Market},
    machine::{CLUSTER, Machine},
};

#[test]
fn a_real_daemon_is_looked_at_and_its_locked_wallet_told_of() {
    let lab = Lab::start(&Market::empty());
    let mut machine = Machine::new();
    for (name, value) in lab.variables() {
        machine.set(&name, &value);
    }
    machine.set("GOLEM_REGISTRY_URL", &lab.facts().registry_url);

    let open = machine.run(&["doctor", CLUSTER]);
    lab.lock();
    let locked = machine.run(&["doctor", "--quick"]);
    let refused = machine.run(&["start"]);
    // With a wallet that is locked at its start, the daemon answers on its bus alone, and waits.
    lab.restart_locked();
    let waiting = machine.run(&["doctor", "--quick"]);
    let start = machine.run(&["start"]);
    let webserver = machine.run(&["webserver"]);

    // One that we start ourselves is left to wait: only a daemon that runs can be told to unlock its wallet.
    lab.kill();
    let started = machine.run(&["webserver"]);
    let again = machine.run(&["webserver"]);
    let mark = std::fs::read(machine.path("data").join("yagna.pid")).expect("it is marked as ours");
    let mark: serde_json::Value = serde_json::from_slice(&mark).expect("JSON");
    let pid = mark["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it runs");

    let said = [open, locked, refused, waiting, start, webserver, started, again].join("---\n");
    assert_said!(said.replace(&lab.variables()["GSB_URL"], "BUS"));
}
