//! The ssh server of a local node, seen by the system's client.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::Stdio,
};

use rustix::{
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    task::spawn_blocking,
};

use crate::lab::{Lab, soon, text, until};

for_both_kinds! {
    strangers_stay_outside
    one_connection_serves_many_sessions
    files_are_synchronised
}

#[tokio::test]
async fn a_command_has_its_input_output_errors_and_code() {
    let lab = Lab::new().await;
    lab.bootstrap("one", 3).await;

    let mut command = lab.ssh(3).await;
    command.args(["root@127.0.0.1", "cat; echo err >&2; exit 5"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().expect("ssh is installed");
    let mut input = client.stdin.take().expect("it is piped");
    let writing = tokio::spawn(async move { input.write_all(&vec![b'x'; 8 << 20]).await });
    let output = soon(client.wait_with_output()).await.expect("it ends");
    soon(writing).await.expect("no panic").expect("all is taken");
    let place = lab.exec(3, "pwd; id -u; echo $NODE_IP $GIVEN; kill -9 $$").await;
    let search = lab.exec(3, "bash --login -c -i 'echo $PATH' 2>/dev/null").await;

    assert_eq!((output.stdout.len(), output.stdout.iter().all(|it| *it == b'x')), (8 << 20, true));
    assert_eq!((text(&output.stderr), output.status.code()), ("err\n".to_owned(), Some(5)));
    assert_eq!(text(&place.stdout), "/root\n0\n192.168.0.3 with care\n");
    assert_eq!(place.status.code(), Some(137));
    assert!(text(&search.stdout).starts_with("/opt/golem-sim/bin:/usr/local/sbin:"));
    lab.host.end().await;
}

async fn strangers_stay_outside(lab: Lab) {
    lab.start("one", 3).await;
    assert_eq!(lab.run("one", "service ssh start").await.code, 0);

    let output = lab.exec(3, "true").await;

    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("Permission denied (publickey"), "{output:?}");
    lab.host.end().await;
}

#[tokio::test]
async fn a_virtual_node_pretends_to_whom_its_bootstrap_names() {
    let lab = Lab::of_virtual_nodes().await;
    let other = Lab::of_virtual_nodes().await;
    lab.start("one", 3).await;
    lab.run("one", "service ssh start").await;
    let anybody = lab.exec(3, "no such command").await;
    let key = std::fs::read_to_string(other.directory.path().join("key.pub")).expect("a key");
    lab.run("one", &format!("echo '{}' >> ~/.ssh/authorized_keys", key.trim())).await;

    let stranger = lab.exec(3, "true").await;
    for half in ["key", "key.pub"] {
        let from = other.directory.path().join(half);
        std::fs::copy(from, lab.directory.path().join(half)).expect("a copy");
    }
    let named = lab.exec(3, "no such command").await;

    assert_eq!((anybody.status.code(), text(&anybody.stdout)), (Some(0), String::new()));
    assert_eq!(stranger.status.code(), Some(255), "{}", text(&stranger.stderr));
    assert_eq!(named.status.code(), Some(0), "{}", text(&named.stderr));
}

async fn one_connection_serves_many_sessions(lab: Lab) {
    lab.bootstrap("one", 3).await;
    let socket = format!("ControlPath={}/c", lab.place());
    let mut command = lab.ssh(3).await;
    command.args(["-M", "-N", "-o", &socket, "root@127.0.0.1"]);
    let mut master = command.spawn().expect("ssh is installed");
    until(async || lab.directory.path().join("c").exists()).await;

    let sessions = (0..20).map(|number| {
        let mut command = Command::new("ssh");
        command.args(["-o", &socket, "root@127.0.0.1"]).kill_on_drop(true);
        command.arg(format!("head -c 300000 /dev/zero; echo {number}; exit {number}"));
        tokio::spawn(async move { command.output().await })
    });
    let sessions: Vec<_> = sessions.collect();
    let mut ended = Vec::new();
    for session in sessions {
        let output = soon(session).await.expect("no panic").expect("ssh is installed");
        let tail = text(&output.stdout[300_000..]);
        ended.push((output.status.code(), tail));
    }

    assert_eq!(ended, (0..20).map(|it| (Some(it), format!("{it}\n"))).collect::<Vec<_>>());
    master.start_kill().expect("it runs");
    soon(master.wait()).await.expect("it ends");
    lab.host.end().await;
}

#[tokio::test]
async fn a_session_ends_with_its_command_and_not_with_what_that_leaves_running() {
    let lab = Lab::new().await;
    lab.bootstrap("one", 3).await;

    let piped = lab.exec(3, "sleep 1000 & echo piped").await;
    let mut command = lab.ssh(3).await;
    command.args(["-tt", "root@127.0.0.1", "(trap '' HUP; exec sleep 1001) & echo on a terminal"]);
    let on_terminal = soon(command.output()).await.expect("ssh is installed");
    let alive =
        lab.run("one", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 100[01]'").await;

    assert_eq!((piped.status.code(), text(&piped.stdout)), (Some(0), "piped\n".to_owned()));
    assert_eq!(on_terminal.status.code(), Some(0));
    assert_eq!(text(&on_terminal.stdout), "on a terminal\r\n");
    assert_eq!(alive.code, 0, "what it left runs on");
    lab.host.end().await;
}

#[tokio::test]
async fn a_terminal_is_as_large_as_the_clients_and_follows_it() {
    let lab = Lab::new().await;
    lab.bootstrap("one", 3).await;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags).expect("a terminal");
    unlockpt(&terminal).expect("it is ours");
    tcsetwinsize(&terminal, size(31, 97)).expect("it has a size");
    let inner = ioctl_tiocgptpeer(&terminal, flags).expect("its other side");
    let ssh = lab.ssh(3).await;

    // The client looks at its controlling terminal.
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "ssh"]).args(ssh.as_std().get_args());
    command.args(["-tt", "root@127.0.0.1"]).kill_on_drop(true);
    command.stdin(Stdio::from(inner.try_clone().expect("a copy")));
    command.stdout(Stdio::from(inner.try_clone().expect("a copy"))).stderr(Stdio::from(inner));
    let mut client = command.spawn().expect("setsid is installed");
    drop(command);
    let mut screen = Screen::new(terminal.try_clone().expect("a copy"));
    screen.type_in("uname --nodename\n");
    screen.wait_for("192-168-0-3").await;
    screen.type_in("stty size; tty; echo first-$?\n");
    screen.wait_for("first-0").await;
    tcsetwinsize(&terminal, size(50, 132)).expect("it changes its size");
    // The news travel by the client and the server.
    while !screen.seen.contains("50 132\r\n") {
        screen.type_in("stty size; echo again-$?\n");
        screen.wait_for("again-0").await;
        screen.seen = screen.seen.replace("again-0", "");
    }
    screen.type_in("sleep 1000\n");
    // A key that interrupts comes after what it interrupts.
    let sleeps = "grep -l ^sleep /proc/[0-9]*/cmdline";
    until(async || lab.run("one", sleeps).await.code == 0).await;
    screen.type_in("\u{3}");
    screen.type_in("echo interrupted-$?; exit 3\n");
    screen.wait_for("interrupted-130").await;
    let status = soon(client.wait()).await.expect("it ends");

    assert!(screen.seen.contains("31 97\r\n/dev/pts/0\r\n"), "{}", screen.seen);
    assert_eq!(status.code(), Some(3));
    lab.host.end().await;
}

#[tokio::test]
async fn ports_are_forwarded_both_ways() {
    let lab = Lab::new().await;
    lab.bootstrap("one", 3).await;
    lab.bootstrap("two", 4).await;
    let service = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = service.local_addr().expect("it is bound").port();
    let local = unused_port().await;

    let mut command = lab.ssh(3).await;
    command.args(["-N", "-o", "ExitOnForwardFailure=yes"]);
    command.arg("-L").arg(format!("127.0.0.1:{local}:192.168.0.4:22"));
    command.arg("-R").arg(format!("4578:127.0.0.1:{port}")).arg("root@127.0.0.1");
    let mut client = command.spawn().expect("ssh is installed");
    until(async || TcpStream::connect(("127.0.0.1", local)).await.is_ok()).await;

    let through = soon(TcpStream::connect(("127.0.0.1", local))).await.expect("it is forwarded");
    let mut greeting = String::new();
    soon(BufReader::new(through).read_line(&mut greeting)).await.expect("it greets");
    let answering = tokio::spawn(async move {
        let (mut stream, _) = service.accept().await.expect("somebody connects");
        let mut question = [0; 4];
        stream.read_exact(&mut question).await.expect("a question");
        stream.write_all(b"answer").await.expect("it is open");
        question
    });
    let script = "exec 3<>/dev/tcp/127.0.0.1/4578 && echo -n why? >&3 && head -c 6 <&3";
    let heard = lab.run("one", &format!("bash -c '{script}'")).await;

    assert!(greeting.starts_with("SSH-2.0-"), "{greeting}");
    assert_eq!(text(&heard.stdout), "answer");
    assert_eq!(&soon(answering).await.expect("no panic"), b"why?");
    client.start_kill().expect("it runs");
    soon(client.wait()).await.expect("it ends");
    // The port of the node is free again once the client is gone.
    until(async || lab.run("one", &format!("bash -c '{script}'")).await.code != 0).await;
    lab.host.end().await;
}

#[tokio::test]
async fn a_head_reaches_its_workers_without_this_machine() {
    let lab = Lab::new().await;
    lab.bootstrap("head", 3).await;
    lab.bootstrap("worker", 4).await;
    let key = std::fs::read_to_string(lab.directory.path().join("key")).expect("a key");
    let script = format!("umask 077; cat > ~/key <<'END'\n{key}END\n");
    assert_eq!(lab.exec(3, &script).await.status.code(), Some(0));

    let line =
        "ssh -i ~/key -o StrictHostKeyChecking=no root@192.168.0.4 'hostname; echo $NODE_IP'";
    let output = lab.exec(3, line).await;

    assert_eq!(text(&output.stdout), "192-168-0-4\n192.168.0.4\n", "{}", text(&output.stderr));
    lab.host.end().await;
}

async fn files_are_synchronised(lab: Lab) {
    lab.bootstrap("one", 3).await;
    let tree = lab.directory.path().join("tree");
    std::fs::create_dir_all(tree.join("below")).expect("a directory");
    let big: Vec<u8> = (0_u32..1 << 20).flat_map(u32::to_le_bytes).collect();
    std::fs::write(tree.join("below/big"), &big).expect("a file");
    let ssh = lab.ssh(3).await;
    let shell: Vec<String> = std::iter::once("ssh".into())
        .chain(ssh.as_std().get_args().map(|arg| arg.to_string_lossy().into_owned()))
        .collect();
    let sync = async |from: String, to: String| {
        let mut command = Command::new("rsync");
        command.args(["-avz", "--rsh", &shell.join(" ")]).args([from, to]).kill_on_drop(true);
        soon(command.output()).await.expect("rsync is installed")
    };

    let up = sync(format!("{}/", tree.display()), "root@127.0.0.1:tree/".to_owned()).await;
    let owner = lab.run("one", "stat -c %U ~/tree/below/big").await;
    let down_to = lab.directory.path().join("back");
    let down = sync("root@127.0.0.1:tree/".to_owned(), format!("{}/", down_to.display())).await;

    assert_eq!(up.status.code(), Some(0), "{}", text(&up.stderr));
    assert_eq!(down.status.code(), Some(0), "{}", text(&down.stderr));
    let user = lab.run("one", "id -un").await;
    assert_eq!(text(&owner.stdout), text(&user.stdout));
    assert!(std::fs::read(down_to.join("below/big")).expect("it is back") == big);
    lab.host.end().await;
}

#[tokio::test]
async fn a_stalled_server_is_silent_until_it_is_started_anew() {
    let lab = Lab::new().await;
    lab.bootstrap("one", 3).await;
    let mut command = lab.ssh(3).await;
    command.args(["root@127.0.0.1", "read line; echo got $line"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut open = command.spawn().expect("ssh is installed");
    let mut input = open.stdin.take().expect("it is piped");
    // It runs once the node says so.
    until(async || lab.run("one", "grep -l 'read line' /proc/[0-9]*/cmdline").await.code == 0)
        .await;

    soon(lab.host.stall_ssh("one", true)).await.expect("it stalls");
    soon(input.write_all(b"late\n")).await.expect("the pipe has room");
    let mut command = lab.ssh(3).await;
    command.args(["-o", "ConnectTimeout=1", "root@127.0.0.1", "true"]);
    let stalled = soon(command.output()).await.expect("ssh is installed");
    let is_waiting = open.try_wait().expect("it runs").is_none();
    assert_eq!(lab.run("one", "service ssh restart").await.code, 0);
    let restarted = lab.exec(3, "echo back").await;
    let output = soon(open.wait_with_output()).await.expect("it ends");

    assert_eq!((stalled.status.code(), is_waiting), (Some(255), true));
    assert_eq!(text(&restarted.stdout), "back\n");
    assert_eq!(text(&output.stdout), "got late\n");
    lab.host.end().await;
}

/// What a terminal shows.
struct Screen {
    terminal: File,
    seen: String,
}

impl Screen {
    fn new(terminal: OwnedFd) -> Self {
        Self { terminal: File::from(terminal), seen: String::new() }
    }

    fn type_in(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("it is open");
    }

    async fn wait_for(&mut self, words: &str) {
        while !self.seen.contains(words) {
            let mut terminal = self.terminal.try_clone().expect("a copy");
            let reading = spawn_blocking(move || {
                let mut chunk = [0; 4096];
                terminal.read(&mut chunk).map(|count| text(&chunk[..count]))
            });
            match soon(reading).await.expect("no panic") {
                Ok(words) => self.seen.push_str(&words),
                Err(error) => panic!("{error}, after {}", self.seen),
            }
        }
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

async fn unused_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
