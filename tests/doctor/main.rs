//! What is said of a machine before anything is rented: the whole output for a good one, and for each thing that it can
//! lack, by `doctor` and by what refuses with the same sentences.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "runs the programs")]

#[path = "../lab/mod.rs"]
mod lab;
mod machine;
mod real;
mod surroundings;

use std::{fs, os::unix::fs::PermissionsExt};

use machine::{CLUSTER, Machine, OURS, answering};

/// Compares with a snapshot in which ports, pids, and amounts of the machine's disk are masked.
macro_rules! assert_said {
    ($said:expr) => {
        insta::with_settings!({ filters => vec![
            (r"127\.0\.0\.1:\d+", "127.0.0.1:…"),
            (r"pid \d+", "pid …"),
            (r"pid PID", "pid …"),
            (r"`/\S+/bin/yagna`", "`YAGNA`"),
            (r"`doctor-[0-9a-f]+`", "`PROGRAM`"),
            (r"\[\d{4}-\d\d-\d\dT[0-9:.]+Z\]", "[AT]"),
            (r"port=\d+", "port=…"),
            (r"room for \d+ [KMG]iB", "room for …"),
            (r"0x[0-9a-f]{40}", "0x…"),
            (r"namespaces: .*", "namespaces: …"),
            (r"[✔•] namespaces", "? namespaces"),
            (r"version 1\.\d+\.\d+|version 0\.\d+\.\d+", "version OURS"),
            (r"`ray_on_golem` 1\.\d+\.\d+", "`ray_on_golem` OURS"),
            (r"this program is 1\.\d+\.\d+", "this program is OURS"),
            (r"our webserver \d+\.\d+\.\d+", "our webserver OURS"),
        ] }, { insta::assert_snapshot!($said) })
    };
}
pub(crate) use assert_said;

#[test]
fn a_good_machine_has_all_that_a_cluster_needs() {
    let (machine, _daemon) = Machine::with_daemon();

    assert_said!(machine.run(&["doctor", CLUSTER]));
}

#[test]
fn programs_are_told_the_same() {
    let (machine, _daemon) = Machine::with_daemon();
    machine.remove("rsync");

    assert_said!(machine.run(&["doctor", CLUSTER, "--json", "--quick"]));
}

#[test]
fn a_simulated_network_needs_no_daemon() {
    assert_said!(Machine::new().run(&["doctor", "--sim", "fixtures/cluster/demo.yaml"]));
}

#[test]
fn missing_programs_are_named_with_their_packages() {
    let machine = Machine::new();
    for program in ["ssh", "rsync", "ray"] {
        machine.remove(program);
    }

    assert_said!(machine.run(&["doctor", CLUSTER, "--sim"]));
}

#[test]
fn a_missing_daemon_can_be_installed_named_or_done_without() {
    let machine = Machine::new();

    let doctor = machine.run(&["doctor", "--quick"]);
    let start = machine.run(&["start"]);
    let webserver = machine.run(&["webserver"]);

    assert_said!([doctor, start, webserver].join("---\n"));
}

#[test]
fn a_daemon_that_does_not_run_is_started_later() {
    let mut machine = Machine::new();
    machine.program("yagna", "echo 'yagna 0.17.6 (a98d28015 2026-03-13)'");
    machine.set("YAGNA_API_URL", &format!("http://127.0.0.1:{}", machine::free_port()));

    assert_said!(machine.run(&["doctor", "--quick"]));
}

#[test]
fn a_daemon_that_does_not_know_the_network_is_told_of_before_it_runs() {
    let mut machine = Machine::new();
    machine.program("yagna", "echo 'yagna 0.17.0-rc10 (cb4c085c9 2025-02-27)'");
    machine.set("YAGNA_API_URL", &format!("http://127.0.0.1:{}", machine::free_port()));

    let hoodi = machine.run(&["doctor", "--quick", "--network", "hoodi"]);
    let polygon = machine.run(&["doctor", "--quick", "--network", "polygon"]);
    let unknown = machine.run(&["doctor", "--quick", "--network", "hodi"]);

    assert_said!([hoodi, polygon, unknown].join("---\n"));
}

#[test]
fn a_daemon_with_another_clock_is_told_of() {
    let mut machine = Machine::new();
    machine.program("yagna", "echo 'yagna 0.17.6'");
    let port = answering(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nDate: Sun, 01 Jan 2023 00:00:00 GMT\r\n\r\n\
         {\"current\":{\"version\":\"0.17.6\"}}",
    );
    machine.set("YAGNA_API_URL", &format!("http://127.0.0.1:{port}"));
    machine.set("YAGNA_APPKEY", "key");

    let said = machine.run(&["doctor", "--quick"]);

    let line = said.lines().find(|line| line.contains("clock")).expect("it is looked at");
    assert!(
        line.starts_with("✘ clock: the daemon's clock is ") && line.contains(" s behind"),
        "{said}"
    );
    assert!(said.ends_with("exit code 3\n"), "{said}");
}

#[test]
fn a_key_that_the_daemon_does_not_know_is_told_of() {
    let (mut machine, _daemon) = Machine::with_daemon();
    machine.set("YAGNA_APPKEY", "unknown");

    assert_said!(machine.run(&["doctor", "--quick"]));
}

#[test]
fn two_daemons_are_told_apart() {
    let (mut machine, _daemon) = Machine::with_daemon();
    let (_other, _) = machine.daemon("other");
    // The command line asks the other one.
    machine.set("YAGNA_APPKEY", "key-of-golem");
    machine.set("YAGNA_DATADIR", &machine.path("other").display().to_string());

    assert_said!(machine.run(&["doctor", "--quick"]));
}

#[test]
fn a_webserver_of_ours_is_known_with_its_daemon() {
    let machine = Machine::new();

    let started = machine.run(&["start", "--sim", "--sim-nodes", "none"]);
    let said = machine.run(&["doctor", CLUSTER]);
    let stopped = machine.run(&["stop"]);

    assert!(started.ends_with("exit code 0\n"), "{started}");
    assert!(stopped.ends_with("exit code 0\n"), "{stopped}");
    assert_said!(said);
}

#[test]
fn another_program_on_the_port_is_named() {
    let mut machine = Machine::new();
    machine.port = answering("SSH-2.0-OpenSSH_9.2\r\n");

    let doctor = machine.run(&["doctor", "--quick", "--sim"]);
    let start = machine.run(&["start", "--sim"]);
    let webserver = machine.run(&["webserver", "--sim"]);

    assert_said!([doctor, start, webserver].join("---\n"));
}

#[test]
fn a_data_directory_that_cannot_be_one_is_told_of() {
    let machine = Machine::new();
    let open = machine.path("open");
    fs::create_dir(&open).expect("a writable directory");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("ours");
    fs::write(machine.path("file"), "").expect("a writable directory");
    let below = machine.path("file").join("data");

    let file = machine.run(&["start", "--sim", "--datadir", &below.display().to_string()]);
    let open = machine.run(&["start", "--sim", "--datadir", &open.display().to_string()]);

    assert_said!([file, open].join("---\n"));
}

#[test]
fn an_image_that_the_registry_does_not_have_is_told_of() {
    let (machine, _daemon) = Machine::with_daemon();
    let cluster = fs::read_to_string(CLUSTER).expect("a cluster file");
    fs::write(machine.path("c.yaml"), cluster.replace("golem/ray-on-golem", "golm/ray-on-golem"))
        .expect("a writable directory");

    let said = machine.run(&["doctor", &machine.path("c.yaml").display().to_string()]);

    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('✔')).collect();
    assert_said!(lines.join("\n"));
}

#[test]
fn a_ray_without_our_node_provider_is_told_of() {
    let machine = Machine::new();
    machine.python("2.9.3 3.10", "-", "");
    let none = machine.run(&["doctor", CLUSTER, "--sim"]);
    machine.python("2.9.3 3.10", "0.13.0", "");
    let original = machine.run(&["doctor", CLUSTER, "--sim"]);
    machine.program("python", &format!("echo 2.9.3 3.10; echo {OURS}"));
    let broken = machine.run(&["doctor", CLUSTER, "--sim"]);

    assert_said!([bad(&none), bad(&original), bad(&broken)].join("---\n"));
}

#[test]
fn what_ray_and_the_node_provider_have_against_the_file_is_told_of() {
    let machine = Machine::new();
    machine.python("2.9.3 3.10", OURS, r#"["c.yaml:3: this", "c.yaml:5: that"]"#);

    assert_said!(bad(&machine.run(&["doctor", CLUSTER, "--sim"])));
}

/// What is wrong, with its cures, and what comes after all checks.
fn bad(said: &str) -> String {
    let good = |line: &&str| !line.starts_with(['✔', '•']);
    said.lines().filter(good).map(|line| format!("{line}\n")).collect()
}

#[test]
fn ray_and_python_may_differ_from_the_image() {
    let (machine, _daemon) = Machine::with_daemon();
    machine.python("2.60.0 3.12", OURS, "[]");
    let newer = machine.run(&["doctor", CLUSTER]);
    machine.python("2.3.0 3.10", OURS, "[]");
    let older = machine.run(&["doctor", CLUSTER]);

    let rays = |said: String| {
        let lines = said.lines().skip_while(|line| !line.contains(" ray: "));
        lines.take_while(|line| !line.contains(" image: ")).collect::<Vec<_>>().join("\n")
    };
    assert_said!([rays(newer), rays(older)].join("\n"));
}
