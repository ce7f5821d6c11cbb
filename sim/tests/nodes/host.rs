//! What becomes of nodes, whoever makes them, and however that ends.

use std::{
    env, fs,
    io::{self, Write as _},
    process::Stdio,
};

use golem_sim::nodes::{LocalSetup, NodeHost};
use rustix::process::geteuid;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::lab::{self, Lab, soon, text, until};

/// Makes this test the process that is killed.
const VICTIM: &str = "GOLEM_SIM_TEST_VICTIM";

/// Makes this test the process that is refused.
const FORBIDDEN: &str = "GOLEM_SIM_TEST_FORBIDDEN";

#[tokio::test]
async fn nothing_of_a_node_outlives_it() {
    let lab = Lab::new().await;
    lab.start("one", 3).await;
    lab.start("two", 4).await;
    let mark = format!("nodes-mark-{}-ended", std::process::id());
    // In a session of its own, as a daemon.
    let daemon = format!("setsid bash -c 'exec -a {mark} sleep 1000' </dev/null >/dev/null 2>&1 &");
    lab.run("one", &daemon).await;
    lab.run("two", &daemon).await;
    until(async || processes(&mark) == 2).await;

    soon(lab.host.stop("one")).await;
    assert_eq!(processes(&mark), 1, "the processes of one node are gone when it has stopped");
    soon(lab.host.end()).await;

    assert_eq!(processes(&mark), 0);
    assert_eq!(processes(&lab.place()), 0, "no holder is left");
}

#[tokio::test]
async fn nothing_outlives_a_simulator_that_is_killed() {
    if let Ok(mark) = env::var(VICTIM) {
        let lab = Lab::new().await;
        lab.bootstrap("one", 3).await;
        lab.bootstrap("two", 4).await;
        lab.exec(3, &format!("setsid bash -c 'exec -a {mark} sleep 1000' >/dev/null 2>&1 &")).await;
        let words = format!("\nready {}\n", lab.place());
        io::stdout().write_all(words.as_bytes()).expect("somebody listens");
        return std::future::pending().await;
    }
    let mark = format!("nodes-mark-{}-killed", std::process::id());
    let directory = tempfile::tempdir().expect("a directory");
    let test = "host::nothing_outlives_a_simulator_that_is_killed";
    let mut command = Command::new(env::current_exe().expect("this test"));
    command.args(["--exact", test, "--nocapture"]).env(VICTIM, &mark);
    command.env("TMPDIR", directory.path()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut victim = command.spawn().expect("this test starts");
    let mut lines = BufReader::new(victim.stdout.take().expect("it is piped")).lines();
    let place = loop {
        let line = soon(lines.next_line()).await.expect("it speaks").expect("it is not over");
        if let Some(place) = line.strip_prefix("ready ") {
            break place.to_owned();
        }
    };
    until(async || processes(&mark) == 1).await;
    // `unshare`, the holder, and for each node `unshare` and the first process.
    assert_eq!(processes(&format!("{place}/golem-sim")), 6);

    victim.start_kill().expect("it runs");
    soon(victim.wait()).await.expect("it is dead");

    until(async || processes(&mark) == 0 && processes(&place) == 0).await;
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it is mounted");
    let ours = mounts.lines().filter(|line| line.contains(" tmpfs node ") || line.contains(&place));
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0]);
    let interfaces = fs::read_to_string("/proc/net/dev").expect("it is mounted");
    assert!(!interfaces.contains("golem0") && !interfaces.contains("node1"), "{interfaces}");
    let mut left: Vec<_> = fs::read_dir(&place)
        .expect("the test's own directory")
        .map(|entry| entry.expect("it is readable").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["golem-sim", "key", "key.pub"]);
    assert_eq!(fs::read_dir(directory.path()).expect("it is readable").count(), 1);
}

#[tokio::test]
async fn a_host_that_forbids_namespaces_is_told_which_switch_to_turn() {
    if env::var_os(FORBIDDEN).is_some() {
        let error = NodeHost::local_nodes(LocalSetup::default()).await.expect_err("forbidden");
        let words = format!("\n{error}\n");
        io::stdout().write_all(words.as_bytes()).expect("somebody listens");
        return;
    }
    let test = "host::a_host_that_forbids_namespaces_is_told_which_switch_to_turn";
    let mut command = without_namespaces();
    command.arg(env::current_exe().expect("this test")).args(["--exact", test, "--nocapture"]);

    let output = soon(command.env(FORBIDDEN, "1").output()).await.expect("unshare is installed");

    let words = text(&output.stdout);
    let told: Vec<&str> =
        words.lines().filter(|line| line.starts_with("this host forbids")).collect();
    assert_eq!(
        told,
        [
            "this host forbids the namespaces that local nodes need (unshare: unshare failed: No space \
          left on device): run `sysctl -w user.max_user_namespaces=15000` as root"
        ]
    );
}

/// A command whose program, the next argument, is not allowed to make namespaces.
pub(crate) fn without_namespaces() -> Command {
    let forbid = "for kind in net user; do echo 0 > /proc/sys/user/max_${kind}_namespaces; done";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c"]);
    command.args([&format!("{forbid}; exec \"$@\""), "sh"]).kill_on_drop(true);
    command
}

/// A shell lets its jobs in the background ignore what interrupts.
#[tokio::test]
async fn commands_of_a_host_in_the_background_can_be_interrupted() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT QUIT; exec \"$@\"", "sh"]);
    command.arg(env::current_exe().expect("this test"));
    command.args(["--exact", "ssh::a_terminal_is_as_large_as_the_clients_and_follows_it"]);

    let output = soon(command.kill_on_drop(true).output()).await.expect("there is a shell");

    let (words, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(words.contains("1 passed"), "{words}{errors}");
}

/// The other tests have shown it if they were not run by root.
#[tokio::test]
async fn an_ordinary_user_has_the_same_nodes() {
    if !geteuid().is_root() {
        return;
    }
    // Where everybody may read and write.
    let directory = tempfile::tempdir().expect("a directory");
    let test = directory.path().join("nodes");
    fs::copy(env::current_exe().expect("this test"), &test).expect("a copy");
    let program = directory.path().join("golem-sim");
    fs::copy(lab::program(), &program).expect("a copy");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    fs::set_permissions(directory.path(), everybody).expect("it is ours");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs", "--"]);
    command.arg(&test).args(["--skip", "an_ordinary_user", "--test-threads", "2"]);
    // Python may be where only root reads.
    command.args(["--skip", "ray::"]);
    command.env("TMPDIR", directory.path()).env(lab::PROGRAM, &program).kill_on_drop(true);

    let output = command.output().await.expect("setpriv is installed");

    let (words, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{words}{errors}");
    assert!(words.contains("test ssh::ports_are_forwarded_both_ways ... ok"), "{words}");
}

/// Processes of this machine whose command line holds some words.
pub(crate) fn processes(words: &str) -> usize {
    let all = fs::read_dir("/proc").expect("it is mounted").filter_map(Result::ok);
    let lines = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let mine = lines.filter(|line| !line.is_empty());
    mine.filter(|line| String::from_utf8_lossy(line).contains(words)).count()
}
