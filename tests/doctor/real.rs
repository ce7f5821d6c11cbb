//! The same on a real daemon: what it says of its wallet, its version, and its keys.

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

    assert_said!([open, locked, refused, waiting, start, webserver].join("---\n"));
}
