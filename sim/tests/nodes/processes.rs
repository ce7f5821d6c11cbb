//! Nodes that are plain processes: what they have for themselves, and that nothing of them is left.

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use golem_sim::nodes::NodeError;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::{
    host::{processes, without_namespaces},
    lab::{self, Lab, soon, spec, text, until},
};

/// Makes this test the process that is killed.
const VICTIM: &str = "GOLEM_SIM_TEST_VICTIM_OF_PROCESSES";

/// A daemon as any: it has left its session, its parent, and its terminal.
fn daemon(mark: &str) -> String {
    format!("(setsid bash -c 'exec -a {mark} sleep 1000' </dev/null >/dev/null 2>&1 &) &")
}

#[tokio::test]
async fn nothing_of_a_node_outlives_it() {
    let lab = Lab::of_processes().await;
    lab.bootstrap("one", 3).await;
    lab.bootstrap("two", 4).await;
    let mark = format!("processes-mark-{}-ended", std::process::id());
    lab.run("one", &daemon(&mark)).await;
    lab.exec(4, &daemon(&mark)).await;
    until(async || processes(&mark) == 2).await;
    let [one, two] = [home(&lab, "one").await, home(&lab, "two").await];
    assert!(one.exists() && two.exists());

    soon(lab.host.stop("one")).await;
    assert_eq!((processes(&mark), one.exists(), two.exists()), (1, false, true));
    soon(lab.host.end()).await;

    assert_eq!(processes(&mark), 0);
    assert_eq!(processes(&lab.place()), 0, "no holder is left");
    assert!(!network_of(&two).exists());
}

#[tokio::test]
async fn nothing_outlives_a_simulator_that_is_killed() {
    if let Ok(mark) = env::var(VICTIM) {
        let lab = Lab::of_processes().await;
        lab.bootstrap("one", 3).await;
        lab.bootstrap("two", 4).await;
        lab.exec(3, &daemon(&mark)).await;
        let home = home(&lab, "one").await;
        let words = format!("\nready {} {}\n", lab.place(), network_of(&home).display());
        io::stdout().write_all(words.as_bytes()).expect("somebody listens");
        return std::future::pending().await;
    }
    let mark = format!("processes-mark-{}-killed", std::process::id());
    let directory = tempfile::tempdir().expect("a directory");
    let test = "processes::nothing_outlives_a_simulator_that_is_killed";
    let mut command = Command::new(env::current_exe().expect("this test"));
    command.args(["--exact", test, "--nocapture"]).env(VICTIM, &mark);
    command.env("TMPDIR", directory.path()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut victim = command.spawn().expect("this test starts");
    let mut lines = BufReader::new(victim.stdout.take().expect("it is piped")).lines();
    let (place, network) = loop {
        let line = soon(lines.next_line()).await.expect("it speaks").expect("it is not over");
        if let Some((place, network)) =
            line.strip_prefix("ready ").and_then(|it| it.split_once(' '))
        {
            break (place.to_owned(), PathBuf::from(network));
        }
    };
    until(async || processes(&mark) == 1).await;
    // The holder, and the first process of each node.
    assert_eq!(processes(&format!("{place}/golem-sim")), 3);

    victim.start_kill().expect("it runs");
    soon(victim.wait()).await.expect("it is dead");

    until(async || processes(&mark) == 0 && processes(&place) == 0).await;
    assert!(!network.exists());
}

#[tokio::test]
async fn what_a_killed_first_process_leaves_ends_with_its_node() {
    let lab = Lab::of_processes().await;
    lab.start("one", 3).await;
    lab.start("two", 4).await;
    let mark = format!("processes-mark-{}-orphan", std::process::id());
    lab.run("one", &daemon(&mark)).await;
    lab.run("two", &daemon(&mark)).await;
    until(async || processes(&mark) == 2).await;
    let home = home(&lab, "one").await;
    let first = text(&lab.run("one", "echo $GOLEM_SIM_NODE").await.stdout);
    let first = first.trim().parse().ok().and_then(Pid::from_raw).expect("its pid");

    kill_process(first, Signal::KILL).expect("it runs");
    soon(lab.host.stop("one")).await;

    assert_eq!((processes(&mark), home.exists()), (1, false));
    soon(lab.host.end()).await;
    assert_eq!(processes(&mark), 0);
}

#[tokio::test]
async fn a_node_has_its_own_settings_home_and_temporary_directory() {
    let lab = Lab::of_processes().await;
    lab.bootstrap("one", 3).await;
    lab.bootstrap("two", 4).await;
    let mine = format!("mine-{}", std::process::id());
    let paths = ["/root", "/tmp", "/etc/ray_on_golem", "/opt/ray_on_golem", "/var/tmp"];

    for path in paths {
        let line = format!("mkdir -p {path} && echo x > {path}/{mine} && cat {path}/{mine}");
        let written = lab.exec(3, &line).await;
        assert_eq!(text(&written.stdout), "x\n", "{}", text(&written.stderr));
        assert!(!Path::new(path).join(&mine).exists(), "{path} of this machine is another one");
        let other = lab.run("two", &format!("cat {path}/{mine}")).await;
        assert_ne!(other.code, 0, "{path}");
    }
    let home =
        lab.exec(3, &format!("pwd; ls ~/{mine} $TMPDIR/{mine} | wc -l; echo $NODE_IP")).await;
    let name = lab.run("one", "cat /etc/hostname; grep -c 192-168-0-3 /etc/hosts").await;
    let full = soon(lab.host.fill_disk("one", true)).await;

    let [line, both, address] = lines(&home.stdout);
    assert!(line.ends_with("/node1/root"), "{line}");
    assert_eq!((both.as_str(), address), ("2", lab.address(3).to_string()));
    assert_eq!(text(&name.stdout), "192-168-0-3\n1\n");
    assert!(matches!(full, Err(NodeError::Broken { .. })), "{full:?}");
    lab.host.end().await;
}

#[tokio::test]
async fn nodes_have_loopback_addresses_of_their_own_only() {
    let lab = Lab::of_processes().await;
    let other = Lab::of_processes().await;
    lab.bootstrap("one", 3).await;
    other.bootstrap("one", 3).await;

    let usual = soon(lab.host.start(spec("usual", "net", 5))).await;

    assert_ne!(lab.address(3), other.address(3));
    let words = usual.expect_err("it is no loopback address").to_string();
    assert!(words.contains("192.168.0.5 is none"), "{words}");
    lab.host.end().await;
    other.host.end().await;
}

#[tokio::test]
async fn a_head_reaches_its_workers_and_is_reached_at_its_own_address() {
    let lab = Lab::of_processes().await;
    lab.bootstrap("head", 3).await;
    lab.bootstrap("worker", 4).await;
    let key = fs::read_to_string(lab.directory.path().join("key")).expect("a key");
    let script = format!("umask 077; cat > ~/key <<'END'\n{key}END\n");
    assert_eq!(lab.exec(3, &script).await.status.code(), Some(0));

    // As Ray names the key: its client must not look for it in the home of this machine's user.
    let line = format!(
        "ssh -i '~/key' -o StrictHostKeyChecking=no root@{} 'echo $NODE_IP; cat /etc/hostname'",
        lab.address(4)
    );
    let output = lab.exec(3, &line).await;
    assert_eq!(
        text(&output.stdout),
        format!("{}\n192-168-0-4\n", lab.address(4)),
        "{}",
        text(&output.stderr)
    );

    let service = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = service.local_addr().expect("it is bound").port();
    let mut command = lab.ssh(3).await;
    command.args(["-N", "-o", "ExitOnForwardFailure=yes"]);
    // The port is taken on the usual loopback address, by the service itself.
    command.arg("-R").arg(format!("{port}:127.0.0.1:{port}")).arg("root@127.0.0.1");
    let mut client = command.spawn().expect("ssh is installed");
    until(async || TcpStream::connect((lab.address(3), port)).await.is_ok()).await;
    soon(service.accept()).await.expect("it is led there");
    client.start_kill().expect("it runs");
    soon(client.wait()).await.expect("it ends");
    lab.host.end().await;
}

/// Taken away for real: the program runs where the kernel gives no namespaces.
#[tokio::test]
async fn where_namespaces_are_forbidden_nodes_are_processes() {
    let mut command = without_namespaces();
    command.arg(lab::program()).args(["serve", "--port", "0", "--nodes", "auto"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = command.spawn().expect("unshare is installed");
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let mut errors = BufReader::new(server.stderr.take().expect("it is piped")).lines();

    let said = soon(errors.next_line()).await.expect("it speaks").expect("it is not over");
    let ready = soon(lines.next_line()).await.expect("it speaks").expect("it is not over");

    assert!(said.starts_with("warning: local nodes are plain processes"), "{said}");
    assert!(said.contains("forbids the namespaces that local nodes need"), "{said}");
    let place = ready.split(['=', ' ']).nth(1).and_then(|url| url.strip_prefix("http://"));
    let key = ready.split(['=', ' ']).nth(3).expect("a key");
    let answer = ask(place.expect("an address"), key, "POST /sim/networks").await;
    assert!(answer.contains("\"ip\":\"127.") && answer.contains("\"prefix\":24"), "{answer}");
    let pid = server.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    kill_process(pid.expect("it runs"), Signal::TERM).expect("it runs");
    assert!(soon(server.wait()).await.expect("it ends").success());
}

/// The body of an answer.
async fn ask(place: &str, key: &str, what: &str) -> String {
    let mut stream = soon(TcpStream::connect(place)).await.expect("it listens");
    let request = format!(
        "{what} HTTP/1.1\r\nHost: {place}\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    soon(tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()))
        .await
        .expect("it reads");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("it answers");
    answer
}

/// The directory of a node.
async fn home(lab: &Lab, activity: &str) -> PathBuf {
    PathBuf::from(text(&lab.run(activity, "echo ${HOME%/root}").await.stdout).trim())
}

/// The directory that those of a network's nodes are in.
fn network_of(node: &Path) -> PathBuf {
    node.parent().expect("it is below one").to_owned()
}

fn lines<const COUNT: usize>(words: &[u8]) -> [String; COUNT] {
    let lines: Vec<String> = text(words).lines().map(str::to_owned).collect();
    lines.try_into().expect("so many lines")
}
