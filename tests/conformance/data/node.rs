//! Ends, and sides that do not read or are not there.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use super::site::{PATIENCE, Site, refusal};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// What is not to come is waited for so long: two pings of the daemon come in this time.
const A_WHILE: Duration = Duration::from_secs(12);

pub(super) async fn an_end_is_kept(site: &Site) {
    let mut socket = site.open("close").await;
    assert_eq!(socket.next().await, b"hello\n");

    for _ in 0..2 {
        socket.until(Message::is_ping).await;
    }
}

pub(super) async fn a_frame_after_the_end(site: &Site) {
    let mut socket = site.open("close").await;
    assert_eq!(socket.next().await, b"hello\n");

    // The node has closed long before the next ping.
    socket.until(Message::is_ping).await;
    socket.send(b"x").await;

    assert_eq!(socket.until_end().await, b"");
}

pub(super) async fn a_half_is_closed(site: &Site) {
    let mut socket = site.open("half-close").await;
    assert_eq!(socket.next().await, b"hello\n");

    for _ in 0..2 {
        socket.send(b"x").await;
        socket.until(Message::is_ping).await;
    }
}

pub(super) async fn a_reset(site: &Site) {
    let mut socket = site.open("reset").await;
    assert_eq!(socket.next().await, b"hello\n");
    socket.send(b"x").await;

    assert_eq!(socket.until_end().await, b"");
}

pub(super) async fn a_client_that_closes(site: &Site) {
    let before = site.count("take-all").await;
    let mut socket = site.open("take-all").await;
    assert_eq!(site.count("take-all").await, before + 1);

    socket.0.close(None).await.expect("open");
    while let Some(Ok(_)) = socket.0.next().await {}
    tokio::time::sleep(A_WHILE / 4).await;

    assert_eq!(site.count("take-all").await, before + 1);
}

pub(super) async fn a_client_that_is_gone(site: &Site) {
    let before = site.count("take-all").await;
    let socket = site.open("take-all").await;

    drop(socket);
    tokio::time::sleep(A_WHILE / 4).await;

    assert_eq!(site.count("take-all").await, before + 1);
}

pub(super) async fn a_deaf_node(site: &Site) {
    let mut socket = site.open("ignore").await;
    let frame = vec![7; 64 * KIB];

    let taken = async {
        for _ in 0..(16 * MIB / frame.len()) {
            socket.send(&frame).await;
        }
        socket.0.send(Message::Ping(b"all".to_vec().into())).await.expect("open");
        socket.until(|message| *message == Message::Pong(b"all".to_vec().into())).await;
    };

    timeout(PATIENCE, taken).await.expect("16 MiB are taken that nothing reads");
}

pub(super) async fn a_deaf_client(site: &Site) {
    let mut echo = site.open("echo").await;
    let mut deaf = site.open("give").await;
    deaf.send(&u64::try_from(64 * MIB).expect("a size").to_be_bytes()).await;

    let mut is_held = false;
    for _ in 0..1_000 {
        echo.send(b"x").await;
        is_held = timeout(Duration::from_secs(2), echo.read(1)).await.is_err();
        if is_held {
            break;
        }
        // The daemon hears of it, but it does not read.
        let _ = deaf.0.send(Message::Pong(Vec::new().into())).await;
    }

    assert!(is_held, "others go on");
    drop(deaf);
    assert_eq!(echo.read(1).await, b"x", "they go on when it is gone");
}

pub(super) async fn a_deaf_and_mute_client(site: &Site) {
    let mut echo = site.open("echo").await;
    let mut deaf = site.open_mute("give").await;
    // A frame of eight bytes, with a mask of zeros.
    let mut frame = vec![0x82, 0x88, 0, 0, 0, 0];
    frame.extend(u64::try_from(64 * MIB).expect("a size").to_be_bytes());
    deaf.write_all(&frame).await.expect("the daemon reads");

    let held = async {
        loop {
            echo.send(b"x").await;
            if timeout(Duration::from_secs(2), echo.read(1)).await.is_err() {
                return;
            }
        }
    };
    timeout(PATIENCE, held).await.expect("others are held up");
    // A client that only answers no pings is dropped before.
    assert!(timeout(2 * A_WHILE, echo.read(1)).await.is_err(), "it is waited for");

    drop(deaf);
    assert_eq!(echo.read(1).await, b"x", "others go on when it is gone");
}

pub(super) async fn the_end_of_a_node_that_is_gone(site: &Site) {
    let mut socket = site.open("echo").await;
    assert_eq!(socket.echo(b"x").await, b"x");
    site.kill_node().await;
    let since = Instant::now();

    let mut said = Vec::new();
    let end = async {
        while let Some(Ok(message)) = socket.0.next().await {
            said.push(message);
        }
    };
    timeout(2 * PATIENCE, end).await.expect("it ends");
    let pings = said.iter().filter(|message| message.is_ping()).count();
    assert_eq!(pings, said.len(), "nothing else comes: {said:?}");
    assert!(pings >= 15 && since.elapsed() > Duration::from_secs(90), "{:?}", since.elapsed());
}

pub(super) async fn a_node_that_speaks_to_none(site: &Site) {
    let mut socket = site.open("tick").await;
    assert_eq!(socket.next().await, b"tick\n");
    assert_eq!(site.count("tick").await, 1);

    socket.0.close(None).await.expect("open");
    while let Some(Ok(_)) = socket.0.next().await {}

    until_none(site).await;
}

pub(super) async fn a_node_that_speaks_to_one_who_is_gone(site: &Site) {
    let mut socket = site.open("tick").await;
    assert_eq!(socket.next().await, b"tick\n");
    assert_eq!(site.count("tick").await, 1);

    drop(socket);

    until_none(site).await;
}

/// Waits until the node knows that its client has left.
async fn until_none(site: &Site) {
    let told = async { while site.count("tick").await > 0 {} };
    timeout(PATIENCE, told).await.expect("it is told when it says something");
}

pub(super) async fn what_clients_leave(site: &Site) {
    let before = site.count("echo").await;

    for _ in 0..30 {
        let mut socket = site.open("echo").await;
        socket.0.close(None).await.expect("open");
        while let Some(Ok(_)) = socket.0.next().await {}
    }

    assert_eq!(site.count("echo").await, before + 30);
}

pub(super) async fn a_deaf_node_alone(site: &Site) {
    let (mut deaf, mut echo) = (site.open("ignore").await, site.open("echo").await);
    for _ in 0..64 {
        deaf.send(&vec![7; 64 * KIB]).await;
    }

    assert_eq!(echo.echo(b"x").await, b"x");
    let mut fresh = site.open("echo").await;
    assert_eq!(fresh.echo(b"y").await, b"y");
}

pub(super) async fn a_client_without_pongs(site: &Site) {
    let mut stream = site.open_mute("echo").await;

    let mut said = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it is dropped");

    // A reset is an end as well.
    drop(end);
    assert!(said.starts_with(&[0x89, 0]), "it was pinged: {said:?}");
    assert!(said.chunks(2).all(|frame| frame == [0x89, 0]), "no farewell: {said:?}");
}

pub(super) async fn a_node_that_comes_back(site: &Site) {
    let mut socket = site.open("echo").await;
    assert_eq!(socket.echo(b"x").await, b"x");
    site.remove_node().await;
    let nodes = format!("/net-api/v2/vpn/net/{}/nodes", site.network);
    assert_eq!(site.get(&nodes).await, (200, "[]".to_owned()));

    site.add_node().await;

    let mut fresh = site.open("echo").await;
    assert_eq!(fresh.echo(b"y").await, b"y");
    assert_eq!(socket.echo(b"z").await, b"z", "connections that were open go on");
}

pub(super) async fn a_node_that_has_left(site: &Site) {
    let mut socket = site.open("echo").await;
    site.remove_node().await;

    socket.send(b"x").await;

    assert!(timeout(A_WHILE, socket.read(1)).await.is_err(), "nothing comes any more");
    let refused = site.try_open_port(site.port("echo")).await.map(drop).expect_err("it has left");
    assert_eq!(refusal(&refused), (504, String::new()));
}

pub(super) async fn a_node_that_is_gone(site: &Site) {
    let mut socket = site.open("echo").await;
    assert_eq!(socket.echo(b"x").await, b"x");
    site.kill_node().await;

    socket.send(b"x").await;

    for _ in 0..2 {
        socket.until(Message::is_ping).await;
    }
    assert!(timeout(A_WHILE / 4, socket.read(1)).await.is_err(), "nothing comes any more");
}

pub(super) async fn a_removed_network(site: &Site) {
    let (mut first, mut second) = (site.open("echo").await, site.open("ignore").await);
    assert_eq!(first.echo(b"x").await, b"x");

    site.remove_network().await;

    // Sooner than anything else could end them.
    for socket in [&mut first, &mut second] {
        timeout(Duration::from_secs(5), socket.until_end()).await.expect("at once");
    }
    if let Some(count) = site.established("ignore").await {
        assert!(count > 0, "the node is not told");
    }
}
