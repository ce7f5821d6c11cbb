//! Local nodes: real ones, in namespaces of this machine, or plain processes of it.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "starts real processes")]

/// Makes tests of bodies that hold for both kinds of local nodes.
macro_rules! for_both_kinds {
    ($($body:ident)*) => {
        mod in_namespaces {
            $(#[tokio::test]
            async fn $body() {
                super::$body(crate::lab::Lab::new().await).await;
            })*
        }
        mod of_processes {
            $(#[tokio::test]
            async fn $body() {
                super::$body(crate::lab::Lab::of_processes().await).await;
            })*
        }
    };
}

mod host;
mod lab;
mod processes;
mod ray;
mod ssh;

use std::{fs, path::PathBuf};

use golem_sim::nodes::{NodeError, NodeHost};
use lab::{Lab, address, soon, spec, text, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

for_both_kinds! {
    a_command_tells_what_it_said_and_how_it_ended
    a_connection_carries_bytes_both_ways_and_tells_why_it_is_not_there
    names_and_addresses_are_taken_while_their_node_runs
}

async fn a_command_tells_what_it_said_and_how_it_ended(lab: Lab) {
    lab.start("one", 3).await;

    let finished = lab.run("one", "echo out; echo \"$GIVEN\" >&2; exit 7").await;
    let background = lab.run("one", "sleep 1000 & echo gone").await;
    let killed = lab.run("one", "kill -9 $$").await;
    let missing = soon(lab.host.run("one", "/no/such/program", &[])).await.expect("a code");

    assert_eq!((finished.code, text(&finished.stdout)), (7, "out\n".to_owned()));
    assert_eq!(text(&finished.stderr), "with care\n");
    assert_eq!((background.code, text(&background.stdout)), (0, "gone\n".to_owned()));
    assert_eq!(killed.code, 137);
    assert_eq!(
        (missing.code, text(&missing.stderr)),
        (127, "/no/such/program: not found\n".into())
    );
    lab.host.end().await;
}

#[tokio::test]
async fn nodes_of_a_network_see_each_other_and_nothing_else() {
    let lab = Lab::new().await;
    // A service of this machine, which no node may reach.
    let outside = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = outside.local_addr().expect("it is bound").port();
    lab.start("one", 3).await;
    lab.start("two", 4).await;
    soon(lab.host.start(spec("else", "another", 4))).await.expect("another network");
    assert_eq!(lab.run("two", "service ssh start").await.code, 0);

    let neighbour = lab.run("one", &greet("192.168.0.4", 22)).await;
    let own_loopback = lab.run("two", &greet("127.0.0.1", 22)).await;
    let its_loopback = lab.run("one", &greet("127.0.0.1", 22)).await;
    let host_loopback = lab.run("one", &greet("127.0.0.1", port)).await;
    let elsewhere = lab.run("else", &greet("192.168.0.4", 22)).await;
    let interfaces = lab.run("one", "ls /proc/sys/net/ipv4/conf").await;

    assert_eq!(text(&neighbour.stdout), "SSH-2.0-");
    assert_eq!(text(&own_loopback.stdout), "SSH-2.0-");
    for refused in [its_loopback, host_loopback, elsewhere] {
        assert!(text(&refused.stderr).contains("Connection refused"), "{refused:?}");
    }
    assert_eq!(text(&interfaces.stdout), "all\ndefault\neth0\nlo\n");
    lab.host.end().await;
}

async fn a_connection_carries_bytes_both_ways_and_tells_why_it_is_not_there(lab: Lab) {
    lab.start("one", 3).await;
    assert_eq!(lab.run("one", "service ssh start").await.code, 0);

    let mut stream = soon(lab.host.connect("net", lab.address(3), 22)).await.expect("it listens");
    soon(stream.write_all(b"no greeting of ssh\r\n\r\n")).await.expect("it is open");
    soon(stream.shutdown()).await.expect("one way is over");
    let mut said = Vec::new();
    // It hangs up on whoever does not greet, perhaps before it has read all.
    let _ = soon(stream.read_to_end(&mut said)).await;
    let refused = soon(lab.host.connect("net", lab.address(3), 7001)).await.err();
    let nobody = soon(lab.host.connect("net", lab.address(9), 22)).await.err();
    let other = soon(lab.host.connect("other", lab.address(3), 22)).await.err();

    assert!(said.starts_with(b"SSH-2.0-"), "{}", text(&said));
    assert_eq!(
        [refused, nobody, other].map(|error| error.map(|error| error.kind())),
        [
            Some(std::io::ErrorKind::ConnectionRefused),
            Some(std::io::ErrorKind::HostUnreachable),
            Some(std::io::ErrorKind::HostUnreachable)
        ]
    );
    lab.host.end().await;
}

#[tokio::test]
async fn a_node_has_its_own_files_name_and_limits() {
    let lab = Lab::new().await;
    lab.start("one", 3).await;
    lab.start("two", 4).await;
    let mark = lab.directory.path().join("mark");
    fs::write(&mark, "seen").expect("it is writable");

    let written = lab.run("one", "for d in /root /tmp /opt /etc /run /dev/shm /var/tmp; do echo x > $d/mine || exit 1; done").await;
    let other = lab.run("two", "ls ~/mine /tmp/mine /etc/mine").await;
    let hidden = lab.run("one", &format!("cat {}", mark.display())).await;
    let system = lab.run("one", "echo x > /usr/mine").await;
    let kernel = lab.run("one", "echo 1 > /proc/sys/vm/swappiness").await;
    let name = lab.run("one", "hostname; cat /etc/hostname; grep 192 /etc/hosts").await;
    let cgroup = lab.run("one", "cd /sys/fs/cgroup; cat cpu.max memory.max").await;
    let disk = lab.run("one", "stat -f -c '%b %S' / | (read b s; echo $((b * s)))").await;
    let processes = lab.run("one", "set -- /proc/[0-9]*; echo $#").await;

    assert_eq!(written.code, 0, "{}", text(&written.stderr));
    assert_eq!((other.code, other.stdout), (2, Vec::new()));
    assert_ne!(hidden.code, 0, "{}", text(&hidden.stdout));
    assert_ne!(system.code, 0);
    assert_ne!(kernel.code, 0);
    assert_eq!(text(&name.stdout), "192-168-0-3\n192-168-0-3\n192.168.0.3 192-168-0-3\n");
    assert_eq!(text(&cgroup.stdout), "300000 100000\n4294967296\n");
    assert_eq!(text(&disk.stdout), "67108864\n");
    // The first process, and the shell.
    assert_eq!(text(&processes.stdout), "2\n");
    lab.host.end().await;
}

async fn names_and_addresses_are_taken_while_their_node_runs(lab: Lab) {
    lab.start("one", 3).await;

    let same_name = soon(lab.host.start(lab.spec("one", 4))).await;
    let same_address = soon(lab.host.start(lab.spec("two", 3))).await;
    soon(lab.host.stop("one")).await;
    let unknown = soon(lab.host.run("one", "/bin/true", &[])).await;
    lab.start("one", 3).await;

    assert!(matches!(same_name, Err(NodeError::Taken(_))), "{same_name:?}");
    assert!(matches!(same_address, Err(NodeError::Taken(_))), "{same_address:?}");
    assert!(matches!(unknown, Err(NodeError::Unknown(_))), "{unknown:?}");
    lab.host.end().await;
}

#[tokio::test]
async fn a_full_disk_takes_nothing_until_it_has_room_again() {
    let lab = Lab::new().await;
    lab.start("one", 3).await;
    let write = "head -c 1000000 /dev/zero > ~/more";

    soon(lab.host.fill_disk("one", true)).await.expect("it fills");
    let full = lab.run("one", write).await;
    soon(lab.host.fill_disk("one", false)).await.expect("it empties");
    let empty = lab.run("one", write).await;

    assert!(text(&full.stderr).contains("No space left on device"), "{}", text(&full.stderr));
    assert_eq!((empty.code, text(&empty.stderr)), (0, String::new()));
    lab.host.end().await;
}

#[tokio::test]
async fn a_node_that_is_killed_breaks_its_streams_and_leaves_others_alone() {
    let lab = Lab::new().await;
    lab.start("one", 3).await;
    lab.start("two", 4).await;
    assert_eq!(lab.run("one", "service ssh start").await.code, 0);
    let mut stream = soon(lab.host.connect("net", address(3), 22)).await.expect("it listens");
    let mut greeting = [0; 8];
    soon(stream.read_exact(&mut greeting)).await.expect("it greets");
    assert_eq!(text(&lab.run("two", &greet("192.168.0.3", 22)).await.stdout), "SSH-2.0-");

    let host = lab.host.clone();
    let seconds = format!("1000.{}", std::process::id());
    let line = format!("/bin/sleep\0{seconds}\0");
    let running = tokio::spawn(async move { host.run("one", "/bin/sleep", &[seconds]).await });
    until(async || network_of(&line).is_some()).await;
    // The kernel takes its time to clear a dead node's network away; here it takes longer than the test.
    let _remains = network_of(&line).expect("it sleeps for long");

    soon(lab.host.kill("one")).await;

    let interrupted = soon(running).await.expect("no panic");
    assert!(matches!(interrupted, Err(NodeError::Broken { .. })), "{interrupted:?}");
    // Reset or at its end: nothing more comes, soon.
    let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    let gone = soon(lab.host.connect("net", address(3), 22)).await.err();
    assert_eq!(gone.map(|it| it.kind()), Some(std::io::ErrorKind::HostUnreachable));
    // Whoever has the address next is reached at once, though a neighbour knew its predecessor.
    lab.start("three", 3).await;
    assert_eq!(lab.run("three", "service ssh start").await.code, 0);
    let successor = lab.run("two", &greet("192.168.0.3", 22)).await;
    assert_eq!(text(&successor.stdout), "SSH-2.0-");
    lab.host.end().await;
}

#[tokio::test]
async fn a_virtual_node_answers_on_its_ssh_port_only() {
    let host = NodeHost::virtual_nodes();
    soon(host.start(spec("one", "net", 3))).await.expect("it starts");
    let start = ["-c".to_owned(), "service ssh start".to_owned()];

    let early = soon(host.connect("net", address(3), 22)).await.err();
    let finished = soon(host.run("one", "/bin/sh", &start)).await.expect("it pretends");
    let mut stream = soon(host.connect("net", address(3), 22)).await.expect("it answers");
    let mut greeting = [0; 8];
    soon(stream.read_exact(&mut greeting)).await.expect("it greets");
    let other = soon(host.connect("net", address(3), 80)).await.err();
    soon(host.end()).await;
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    let late = soon(host.connect("net", address(3), 22)).await.err();

    assert_eq!(finished, golem_sim::nodes::Finished::default());
    assert_eq!(&greeting, b"SSH-2.0-");
    assert_eq!(
        [early, other, late].map(|error| error.map(|error| error.kind())),
        [
            Some(std::io::ErrorKind::ConnectionRefused),
            Some(std::io::ErrorKind::ConnectionRefused),
            Some(std::io::ErrorKind::HostUnreachable)
        ]
    );
}

/// The network namespace of a process with this command line.
fn network_of(command_line: &str) -> Option<fs::File> {
    let all = fs::read_dir("/proc").expect("it is mounted").filter_map(Result::ok);
    let is_it = |path: &PathBuf| {
        fs::read(path.join("cmdline")).is_ok_and(|line| line == command_line.as_bytes())
    };
    let found = all.map(|process| process.path()).find(is_it)?;
    fs::File::open(found.join("ns/net")).ok()
}

/// A script that prints how a service greets.
fn greet(address: &str, port: u16) -> String {
    format!("bash -c 'exec 3<>/dev/tcp/{address}/{port} && head -c 8 <&3'")
}
