//! What gives no connection.

use std::time::{Duration, Instant};

use super::site::{Site, refusal};

/// What comes at once comes sooner, however busy the machine is.
const AT_ONCE: Duration = Duration::from_secs(4);

pub(super) async fn a_closed_port(site: &Site) {
    let began = Instant::now();

    let refused = site.try_open_port(4).await.map(drop).expect_err("nothing listens");

    assert_eq!(refusal(&refused), (400, r#"{"message":"Socket closed"}"#.to_owned()));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

pub(super) async fn no_websocket(site: &Site) {
    let answer = site.get(&site.path(site.port("echo"))).await;

    assert_eq!(answer, (400, r#"{"message":"Request error: NoWebsocketUpgrade"}"#.to_owned()));
}

pub(super) async fn no_websocket_to_a_closed_port(site: &Site) {
    let answer = site.get(&site.path(4)).await;

    assert_eq!(answer, (400, r#"{"message":"Socket closed"}"#.to_owned()));
}

pub(super) async fn what_no_websocket_leaves(site: &Site) {
    let before = site.count("take-all").await;

    for _ in 0..3 {
        assert_eq!(site.get(&site.path(site.port("take-all"))).await.0, 400);
    }

    assert_eq!(site.count("take-all").await, before + 3);
}

pub(super) async fn many_opens(site: &Site) {
    for _ in 0..60 {
        let mut socket = site.open("close").await;
        assert_eq!(socket.next().await, b"hello\n");
    }

    let mut socket = site.open("echo").await;
    assert_eq!(socket.echo(b"still there").await, b"still there");
}

pub(super) async fn no_network(site: &Site) {
    site.remove_network().await;

    let refused = site.try_open_port(site.port("echo")).await.map(drop).expect_err("it is gone");

    assert_eq!(refusal(&refused), (404, r#"{"message":"Network not found"}"#.to_owned()));
}
