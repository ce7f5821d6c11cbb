//! Tunnels: they carry, they come back, they end.

use std::{
    fs, future::pending, net::SocketAddr, os::unix::fs::PermissionsExt as _, pin::pin,
    process::Stdio, sync::Arc,
};

use ray_on_golem::{
    ssh::{Forward, Pace, Tunnel, TunnelError, TunnelState},
    units::Span,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::watch,
};

use crate::{
    Stage,
    daemon::{Conduct, Limits, bridge},
    node::Node,
};

const PORT: u16 = 4578;
const PACE: Pace =
    Pace { pause_min: Span::millis(5), pause_max: Span::millis(20), keepalive: Span::secs(10) };

/// Answers each connection with what it says, in capitals, once it has said all.
async fn shouter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut said = String::new();
                // Connections are cut in some tests.
                if socket.read_to_string(&mut said).await.is_ok() {
                    let _ = socket.write_all(said.to_uppercase().as_bytes()).await;
                }
            });
        }
    });
    address
}

async fn up(state: &mut watch::Receiver<TunnelState>, times: u64) {
    let state = state.wait_for(|state| state.is_up && state.times_up >= times).await;
    assert_eq!(state.expect("it is kept").times_up, times);
}

async fn down(state: &mut watch::Receiver<TunnelState>) -> TunnelState {
    state.wait_for(|state| !state.is_up && state.why.is_some()).await.expect("it is kept").clone()
}

/// Says something to the port of the node, and gives the answer.
async fn ask_on_node(node: &Node, text: &str) -> Option<String> {
    let mut stream = node.dial(PORT).await?.into_stream();
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

#[tokio::test]
async fn a_port_of_the_node_leads_here_and_comes_back_after_every_cut() {
    let stage = Stage::new().await;
    let to = shouter().await;
    let forward = Forward::Reverse { port: PORT, to };
    let tunnel = Tunnel::start(stage.login(), forward, PACE).await.expect("nothing to bind");
    let mut state = tunnel.state();
    for times in 1..=3 {
        up(&mut state, times).await;
        let text = format!("hello {times}");
        let answer = ask_on_node(&stage.node, &text).await;
        assert_eq!(answer, Some(text.to_uppercase()));

        stage.daemon.change(Conduct::Refuse(400, "Socket closed"));
        stage.daemon.cut();
        let told = down(&mut state).await;
        assert_eq!(told.times_up, times);
        let told = state.wait_for(|state| state.failures >= 2).await.expect("it is kept").clone();
        let why = told.why.expect("it is told");
        assert_eq!(
            why,
            "the daemon refuses the connection to 192.168.0.3: status 400 Socket closed"
        );
        assert_eq!(ask_on_node(&stage.node, "anybody?").await, None);
        stage.daemon.change(Conduct::node(&stage.node));
    }
    up(&mut state, 4).await;

    tunnel.end().await;

    assert!(state.changed().await.is_err(), "nobody keeps it");
    assert_eq!(ask_on_node(&stage.node, "anybody?").await, None);
}

#[tokio::test]
async fn many_connections_go_through_one_tunnel() {
    let stage = Stage::new().await;
    let to = shouter().await;
    let forward = Forward::Reverse { port: PORT, to };
    let tunnel = Tunnel::start(stage.login(), forward, PACE).await.expect("nothing to bind");
    up(&mut tunnel.state(), 1).await;

    let text = "x".repeat(300_000);
    let asks = (0..20).map(|_| ask_on_node(&stage.node, &text));
    let answers = futures_util::future::join_all(asks).await;

    assert!(answers.into_iter().all(|answer| answer == Some(text.to_uppercase())));
    tunnel.end().await;
}

#[tokio::test]
async fn a_node_opens_no_channel_that_nobody_asked_for() {
    let stage = Stage::new().await;
    let to = shouter().await;
    let forward = Forward::Reverse { port: PORT, to };
    let tunnel = Tunnel::start(stage.login(), forward, PACE).await.expect("nothing to bind");
    up(&mut tunnel.state(), 1).await;

    assert_eq!(stage.node.intrude(PORT).await, 0);
    assert_eq!(ask_on_node(&stage.node, "hello").await, Some("HELLO".to_owned()));
    tunnel.end().await;
}

#[tokio::test]
async fn who_connects_where_nobody_listens_is_refused() {
    let stage = Stage::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let to = listener.local_addr().expect("it is bound");
    drop(listener);
    let forward = Forward::Reverse { port: PORT, to };
    let tunnel = Tunnel::start(stage.login(), forward, PACE).await.expect("nothing to bind");
    up(&mut tunnel.state(), 1).await;

    assert_eq!(ask_on_node(&stage.node, "anybody?").await, None);

    assert!(tunnel.state().borrow().is_up, "the tunnel itself is well");
    tunnel.end().await;
}

#[tokio::test]
async fn a_port_here_leads_to_the_node_and_refuses_while_it_cannot() {
    let stage = Stage::new().await;
    stage.node.offer(6379, shouter().await);
    let forward = Forward::Local { port: 0, to: 6379 };
    let tunnel = Tunnel::start(stage.login(), forward, PACE).await.expect("a free port");
    let address = tunnel.local().expect("it listens");
    assert!(address.ip().is_loopback());
    let mut state = tunnel.state();
    let ask = async |text: &str| {
        // Who is refused may learn so at any step. (A program that another test starts has all sockets
        // open for a moment.)
        let Ok(mut socket) = TcpStream::connect(address).await else { return String::new() };
        let _ = socket.write_all(text.as_bytes()).await;
        let _ = socket.shutdown().await;
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer).await;
        answer
    };
    up(&mut state, 1).await;
    assert_eq!(ask("hello").await, "HELLO");

    stage.daemon.change(Conduct::Refuse(400, "Socket closed"));
    stage.daemon.cut();
    down(&mut state).await;
    assert_eq!(ask("anybody?").await, "");
    stage.daemon.change(Conduct::node(&stage.node));
    up(&mut state, 2).await;
    assert_eq!(ask("again").await, "AGAIN");

    let forward = Forward::Local { port: address.port(), to: 6379 };
    let error = Tunnel::start(stage.login(), forward, PACE).await.expect_err("the port is taken");
    assert!(matches!(error, TunnelError::PortTaken { .. }), "{error}");
    tunnel.end().await;
    assert_eq!(ask("anybody?").await, "");
}

#[tokio::test]
async fn a_connection_that_is_open_and_dead_is_noticed() {
    let stage = Stage::new().await;
    let pace = Pace { keepalive: Span::millis(20), ..PACE };
    let (stall, stalled) = watch::channel(false);
    let node = Arc::clone(&stage.node);
    stage.daemon.change(Conduct::serve(move |socket| {
        let (mut stalled, node) = (stalled.clone(), Arc::clone(&node));
        async move {
            let mut bridge = pin!(bridge(socket, node.connect(), Limits::default()));
            tokio::select! {
                () = &mut bridge => return,
                stalled = stalled.wait_for(|stalled| *stalled) => drop(stalled),
            }
            // Everything stays open, and nothing moves.
            pending::<()>().await;
        }
    }));
    let forward = Forward::Reverse { port: PORT, to: shouter().await };
    let tunnel = Tunnel::start(stage.login(), forward, pace).await.expect("nothing to bind");
    let mut state = tunnel.state();
    // A machine that is slow may have lost it before.
    let first = state.wait_for(|state| state.is_up).await.expect("it is kept").times_up;

    stall.send_replace(true);

    let why = down(&mut state).await.why.expect("it is told");
    assert_eq!(why, "the ssh connection is lost: Keepalive timeout");
    stage.daemon.change(Conduct::node(&stage.node));
    stage.daemon.cut();
    let again = state.wait_for(|state| state.is_up && state.times_up > first).await;
    assert!(again.is_ok(), "it is kept");
    tunnel.end().await;
}

#[tokio::test]
async fn a_port_that_a_dead_connection_holds_is_freed() {
    let stage = Stage::new().await;
    // What looks like the server process of an earlier connection.
    let program = stage.node.home().join("sshd-session");
    fs::write(&program, "#!/bin/sh\necho up\nread nothing\n").expect("a writable directory");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let mut holder = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("there is a shell");
    // It lives as long as its input, or until somebody ends it.
    let input = holder.stdin.take();
    let mut hello = [0; 3];
    holder.stdout.take().expect("piped").read_exact(&mut hello).await.expect("it is up");
    let mark = stage.node.home().join(format!(".ray_on_golem_tunnel_{PORT}"));
    fs::write(&mark, holder.id().expect("it lives").to_string()).expect("a writable directory");
    stage.node.take(PORT);
    let node = Arc::clone(&stage.node);
    let release = async move {
        holder.wait().await.expect("it was started");
        node.give_back(PORT);
    };

    let forward = Forward::Reverse { port: PORT, to: shouter().await };
    let tunnel = Tunnel::start(stage.login(), forward, PACE).await.expect("nothing to bind");
    release.await;
    drop(input);

    up(&mut tunnel.state(), 1).await;
    let answer = ask_on_node(&stage.node, "hello").await;
    assert_eq!(answer.as_deref(), Some("HELLO"));
    stage.node.has_ended(2).await;
    let parent: u32 =
        fs::read_to_string(&mark).expect("the next mark").trim().parse().expect("a number");
    assert_eq!(parent, std::process::id(), "the server is this process");
    tunnel.end().await;
}
