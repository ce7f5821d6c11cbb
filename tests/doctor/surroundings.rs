//! Where a machine is odd: proxies, disks, homes, and what a crash has left.

use std::fs;

use ray_on_golem::{
    core::{
        ids::ClusterId,
        record::{CommonRecord, JournalId, Record},
    },
    driver::journal::Journals,
    units::Timestamp,
};

use crate::{
    assert_said,
    machine::{CLUSTER, Machine, answering},
};

#[test]
fn nothing_on_this_machine_is_asked_through_a_proxy() {
    let (mut machine, _daemon) = Machine::with_daemon();
    let nowhere = format!("http://127.0.0.1:{}", crate::machine::free_port());
    let plain = machine.run(&["doctor", CLUSTER]);
    for variable in
        ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
    {
        machine.set(variable, &nowhere);
    }

    let behind_proxy = machine.run(&["doctor", CLUSTER]);
    let started = machine.run(&["start", "--sim", "--sim-nodes", "none"]);
    let status = machine.run(&["status"]);
    let stopped = machine.run(&["stop"]);

    assert_eq!(behind_proxy, plain);
    for said in [started, status, stopped] {
        assert!(said.ends_with("exit code 0\n"), "{said}");
    }
}

#[test]
fn what_is_asked_through_a_proxy_names_it_when_it_fails() {
    let (mut machine, _daemon) = Machine::with_daemon();
    machine.set("GOLEM_REGISTRY_URL", "http://registry.example");
    machine.set("http_proxy", "http://user:secret@127.0.0.1:1");

    let said = machine.run(&["doctor", CLUSTER]);

    assert!(!said.contains("secret"), "{said}");
    let lines: Vec<&str> = said.lines().skip_while(|line| !line.contains(" image: ")).collect();
    assert_said!(lines.join("\n"));
}

#[test]
fn a_disk_that_is_full_or_read_only_is_one_sentence() {
    let machine = Machine::new();

    let full = machine.run_on_disk("size=64k", &["start", "--sim"]);
    let read_only = machine.run_on_disk("ro", &["start", "--sim"]);
    let webserver = machine.run_on_disk("ro", &["webserver", "--sim"]);

    assert_said!([full, read_only, webserver].join("---\n"));
}

#[test]
fn a_user_without_a_home_is_told_where_to_put_data() {
    let mut machine = Machine::new();
    machine.set("HOME", "");
    machine.set("RAY_ON_GOLEM_DATADIR", "");

    assert_said!(machine.run(&["start", "--sim"]));
}

#[test]
fn a_crash_is_no_success() {
    let machine = Machine::new();
    let data = machine.path("data");
    let before = machine.run(&["status"]);
    // The cluster of the fixture is the third one.
    let opened = CommonRecord::ClusterOpened { cluster: ClusterId(3), name: "default".into() };
    let (mut journals, _) = Journals::open(&data).expect("a writable directory");
    let at = Timestamp::from_unix_micros(1_700_000_000_000_000);
    journals.append(JournalId::Common, at, &[Record::Common(opened)]).expect("room on the disk");
    drop(journals);
    let cluster = data.join("journal/cluster-3.ndjson");
    fs::copy("fixtures/journal/v3-cluster.ndjson", cluster).expect("a fixture");

    let text = machine.run(&["status"]);
    let json = machine.run(&["status", "--json"]);

    let stopped = machine.run(&["stop"]);
    let forced = machine.run(&["stop", "--force"]);

    let said = [before, text, json, stopped, forced].join("---\n");
    insta::with_settings!({ filters => vec![
        (r"127\.0\.0\.1:\d+", "127.0.0.1:…"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "AT"),
    ] }, { insta::assert_snapshot!(said) });
}

#[test]
fn a_simulated_network_is_never_taken_for_a_real_one_nor_the_reverse() {
    let (machine, _daemon) = Machine::with_daemon();
    let sim = ["start", "--sim", "--sim-nodes", "none"];

    // A webserver of the other kind runs.
    assert!(machine.run(&sim).ends_with("exit code 0\n"));
    let status = machine.run(&["status"]);
    let real_beside = machine.run(&["start"]);
    // Its daemon has outlived it.
    machine.kill_webserver();
    let real_after = machine.run(&["start"]);
    let sim_after = machine.run(&sim);
    machine.run(&["stop"]);
    assert!(machine.run(&["start"]).ends_with("exit code 0\n"));
    let sim_beside = machine.run(&sim);
    machine.run(&["stop"]);

    assert!(status.contains("   Network:         simulated, nothing costs money\n"), "{status}");
    let refused = |said: &str, what: &str| {
        assert!(said.contains(what) && said.ends_with("exit code 3\n"), "{said}");
    };
    refused(&real_beside, "already serves a simulated network, and the real one is asked for");
    refused(&real_after, "a simulated network of this data directory runs under pid ");
    refused(&sim_beside, "already serves the real network, and a simulated one is asked for");
    assert!(sim_after.ends_with("exit code 0\n"), "{sim_after}");
}

#[test]
fn what_answers_in_place_of_the_daemon_is_told_of() {
    let mut machine = Machine::new();
    machine.program("yagna", "echo 'yagna 0.17.6'");
    let port =
        answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    machine.set("YAGNA_API_URL", &format!("http://127.0.0.1:{port}"));

    assert_said!(machine.run(&["doctor", "--quick"]));
}
