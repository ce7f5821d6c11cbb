//! Ends, and sides that do not read or are not there.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
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

    // The first one may find the node only just closed.
    let end = async {
        while socket.0.send(Message::Binary(b"x".to_vec().into())).await.is_ok() {
            let said = timeout(Duration::from_millis(200), socket.0.next()).await;
            if matches!(said, Ok(None | Some(Err(_)))) {
                break;
            }
        }
    };
    timeout(PATIENCE, end).await.expect("it ends");
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
}
