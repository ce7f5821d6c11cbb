//! `ray-on-golem ssh-proxy`, alone and under the system's ssh.

use std::{path::Path, process::Stdio};

use ray_on_golem::{
    core::ids::NodeId,
    ssh::{Access, HostKeys, KeyPair, probe, proxy_command},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use crate::{
    CLUSTER, PATIENCE, Stage,
    daemon::{Conduct, KEY, Limits, bridge},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ray-on-golem");

/// ssh as a user runs it, with the key and the host keys of the cluster.
fn ssh(stage: &Stage, command: &str) -> Command {
    let proxy =
        proxy_command(Path::new(PROGRAM), stage.data.path(), &CLUSTER.into(), NodeId(0), 22);
    assert!(!proxy.contains(KEY));
    let known = stage.hosts.path().display();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-T", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
        .args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=none"])
        .args(["-o", &format!("UserKnownHostsFile={known}")])
        .args(["-o", &format!("ProxyCommand={proxy}")])
        .arg("-i")
        .arg(stage.key.path())
        .args(["root@192.168.0.3", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    ssh
}

async fn talk(mut child: Child, input: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    let mut stdin = child.stdin.take().expect("piped");
    let give = async {
        // Who does not listen says why at its end.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(give, child.wait_with_output());
    let output = output.expect("it was started");
    (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn ssh_goes_through_it_with_much_in_both_directions() {
    let stage = Stage::new().await;
    stage.save_access();
    // The host key is known from the webserver's own look at the node.
    probe(&stage.login(), PATIENCE).await.expect("it is well");
    let bytes: Vec<u8> =
        (0..16_000_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();

    let child = ssh(&stage, "cat; echo done >&2; exit 7").spawn().expect("setup installs ssh");
    let (code, output, complaints) = talk(child, &bytes).await;

    assert_eq!(code, Some(7), "{complaints}");
    assert!(output == bytes, "{} of {} bytes", output.len(), bytes.len());
    assert_eq!(complaints, "done\n");
}

#[tokio::test]
async fn rsync_goes_through_it_as_ray_runs_it() {
    let stage = Stage::new().await;
    stage.save_access();
    probe(&stage.login(), PATIENCE).await.expect("it is well");
    let source = stage.data.path().join("big");
    std::fs::write(&source, vec![b'x'; 3 << 20]).expect("a writable directory");
    // Ray puts arguments with spaces between double quotes.
    let ssh = ssh(&stage, "");
    let words = ssh.as_std().get_args().map(|word| word.to_str().expect("text"));
    let words = words.take_while(|word| !word.starts_with("root@"));
    let words =
        words.map(|word| if word.contains(' ') { format!("\"{word}\"") } else { word.to_owned() });
    let remote_shell = format!("ssh {}", words.collect::<Vec<_>>().join(" "));

    let child = Command::new("rsync")
        .args(["--rsh", &remote_shell, "-avz", "--no-o", "--no-g"])
        .arg(&source)
        .arg("root@192.168.0.3:copy")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("setup installs rsync");
    let (code, _, complaints) = talk(child, b"").await;

    assert_eq!(code, Some(0), "{complaints}");
    let copy = std::fs::read(stage.node.home().join("copy")).expect("the copy");
    assert!(copy == vec![b'x'; 3 << 20]);
}

#[tokio::test]
async fn ssh_refuses_another_machine_by_the_keys_that_the_webserver_keeps() {
    let stage = Stage::new().await;
    stage.save_access();
    probe(&stage.login(), PATIENCE).await.expect("it is well");
    stage.node.replace();

    let child = ssh(&stage, "true").spawn().expect("setup installs ssh");
    let (code, _, complaints) = talk(child, b"").await;

    assert_eq!(code, Some(255));
    assert!(complaints.contains("Host key verification failed."), "{complaints}");
}

#[tokio::test]
async fn rsync_like_conversations_end_when_the_connection_is_cut() {
    let stage = Stage::new().await;
    stage.save_access();
    probe(&stage.login(), PATIENCE).await.expect("it is well");
    let mut child = ssh(&stage, "echo ready; cat").spawn().expect("setup installs ssh");
    let mut ready = [0; 6];
    child.stdout.as_mut().expect("piped").read_exact(&mut ready).await.expect("it is ready");

    stage.daemon.cut();

    let (code, _, complaints) = talk(child, b"").await;
    assert_eq!(code, Some(255), "{complaints}");
}

/// The proxy alone, before a service that answers each byte with itself and ends at an `x`.
fn alone(stage: &Stage) -> Child {
    stage.save_access();
    stage.daemon.change(Conduct::serve(|socket| async {
        let (near, mut far) = tokio::io::duplex(64);
        let echo = async move {
            let mut byte = [0];
            while byte != *b"x" && far.read_exact(&mut byte).await.is_ok() {
                far.write_all(&byte).await.expect("somebody reads");
            }
        };
        tokio::join!(bridge(socket, near, Limits::default()), echo);
    }));
    command(stage, CLUSTER, "node0").spawn().expect("the program runs")
}

fn command(stage: &Stage, cluster: &str, node: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["ssh-proxy", "--cluster", cluster, "--node", node, "--datadir"])
        .arg(stage.data.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_proxy_sends_all_of_its_input_and_writes_what_follows_the_end_of_it() {
    let stage = Stage::new().await;
    let child = alone(&stage);
    let mut input = vec![b'a'; 100_000];
    input.push(b'x');

    let (code, output, complaints) = talk(child, &input).await;

    assert_eq!((code, complaints.as_str()), (Some(0), ""));
    assert!(output == input, "{} of {} bytes", output.len(), input.len());
}

#[tokio::test]
async fn the_proxy_ends_when_the_node_does_though_its_input_is_open() {
    let stage = Stage::new().await;
    let mut child = alone(&stage);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"x").await.expect("it reads");

    let output = child.wait_with_output().await.expect("it was started");

    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"x"[..]));
    drop(stdin);
}

#[tokio::test]
async fn the_proxy_ends_when_nobody_reads() {
    let stage = Stage::new().await;
    let mut child = alone(&stage);
    let mut stdin = child.stdin.take().expect("piped");
    drop(child.stdout.take());
    stdin.write_all(b"a").await.expect("it reads");

    let status = child.wait().await.expect("it was started");

    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn what_is_wrong_is_said_in_a_sentence_and_by_the_exit_code() {
    let stage = Stage::new().await;
    stage.save_access();
    let data = stage.data.path().display().to_string();
    let told = async |cluster: &str, node: &str| {
        let child = command(&stage, cluster, node).spawn().expect("the program runs");
        let (code, output, complaints) = talk(child, b"").await;
        assert!(output.is_empty() && !complaints.contains(KEY), "{complaints}");
        (code, complaints.lines().next().unwrap_or_default().to_owned())
    };
    let fails = |text: &str| (Some(3), format!("error: {text}"));

    assert_eq!(
        told("other", "node0").await,
        fails(&format!("there is no running cluster `other` in the data directory `{data}`"))
    );
    assert_eq!(
        told(CLUSTER, "node1").await,
        fails("the cluster `golem-cluster` has no node `node1` that can be reached")
    );
    assert_eq!(told(CLUSTER, "node01").await.0, Some(2));
    stage.daemon.change(Conduct::Refuse(400, "Socket closed"));
    assert_eq!(
        told(CLUSTER, "node0").await,
        fails("the daemon refuses the connection to 192.168.0.3: status 400 Socket closed")
    );
    let lost = Access { network: None, ..stage.access() };
    lost.save(stage.data.path(), &CLUSTER.into()).expect("a writable directory");
    assert_eq!(
        told(CLUSTER, "node0").await,
        fails(
            "the private network of the cluster `golem-cluster` is lost since the daemon restarted; \
             its nodes cannot be reached by ssh any more"
        )
    );
}

#[tokio::test]
async fn a_strange_name_of_a_cluster_comes_through_all_shells() {
    let mut stage = Stage::new().await;
    let name = "it's 100% \"my\" cluster";
    stage.access().save(stage.data.path(), &name.into()).expect("a writable directory");
    stage.hosts = HostKeys::open(stage.data.path(), &name.into()).expect("no file");
    stage.key = KeyPair::read(stage.key.path()).expect("it was made");
    probe(&stage.login(), PATIENCE).await.expect("it is well");
    let proxy = proxy_command(Path::new(PROGRAM), stage.data.path(), &name.into(), NodeId(0), 22);
    let known = stage.data.path().join("known");
    std::fs::copy(stage.hosts.path(), &known).expect("a writable directory");

    let child = Command::new("ssh")
        .args(["-F", "none", "-T", "-o", "BatchMode=yes"])
        .args(["-o", &format!("UserKnownHostsFile={}", known.display())])
        .args(["-o", &format!("ProxyCommand={proxy}"), "-i"])
        .arg(stage.key.path())
        .args(["root@192.168.0.3", "echo well"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("setup installs ssh");
    let (code, output, complaints) = talk(child, b"").await;

    assert_eq!((code, &output[..]), (Some(0), &b"well\n"[..]), "{complaints}");
}
