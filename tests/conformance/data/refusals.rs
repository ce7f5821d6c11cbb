//! What gives no connection.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::{io::AsyncReadExt as _, time::timeout};

use super::site::{PATIENCE, Site, refusal};

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

    let none = (404, r#"{"message":"Network not found"}"#.to_owned());
    assert_eq!(refusal(&refused), none);
    let gone = format!("/net-api/v2/vpn/net/{}", site.network);
    for rest in ["", "/nodes", "/addresses"] {
        assert_eq!(site.get(&format!("{gone}{rest}")).await, none, "{rest}");
    }
    for rest in ["", "/nodes/0x1111111111111111111111111111111111111111"] {
        assert_eq!(site.delete(&format!("{gone}{rest}")).await, none, "{rest}");
    }
    assert_eq!(site.try_add_node().await, none);
    assert_eq!(site.get("/net-api/v2/vpn/net").await, (200, "[]".to_owned()));
}

pub(super) async fn a_key_is_asked_for(site: &Site) {
    let answer = site.knock(&site.path(site.port("echo")), &[("Authorization", "")]).await;

    assert_eq!(answer, (401, "Missing application key".to_owned()));
}

pub(super) async fn another_key(site: &Site) {
    let answer = site.knock(&site.path(site.port("echo")), &[("Authorization", "Bearer x")]).await;

    assert_eq!(answer, (401, "Invalid application key".to_owned()));
}

pub(super) async fn no_version(site: &Site) {
    handshake(site, ("Sec-WebSocket-Version", ""), "NoVersionHeader").await;
}

pub(super) async fn a_version_of_none(site: &Site) {
    handshake(site, ("Sec-WebSocket-Version", "12"), "UnsupportedVersion").await;
}

pub(super) async fn older_versions(site: &Site) {
    for version in ["7", "8"] {
        let path = site.path(site.port("echo"));
        let answer = site.knock(&path, &[("Sec-WebSocket-Version", version)]).await;

        assert_eq!(answer.0, 101, "{version}: {}", answer.1);
    }
}

pub(super) async fn no_nonce(site: &Site) {
    handshake(site, ("Sec-WebSocket-Key", ""), "BadWebsocketKey").await;
}

pub(super) async fn another_protocol(site: &Site) {
    handshake(site, ("Upgrade", "h2c"), "NoWebsocketUpgrade").await;
}

/// With one header changed there is no websocket, and this is said.
async fn handshake(site: &Site, changed: (&str, &str), why: &str) {
    let answer = site.knock(&site.path(site.port("echo")), &[changed]).await;

    assert_eq!(answer, (400, format!(r#"{{"message":"Request error: {why}"}}"#)));
}

pub(super) async fn another_method(site: &Site) {
    assert_eq!(site.post(&site.path(site.port("echo"))).await, (404, String::new()));
}

pub(super) async fn no_port(site: &Site) {
    for port in ["x", "70000", "-1"] {
        let answer = site.knock(&site.path_to(site.ip(), port), &[]).await;

        assert_eq!(answer, (404, format!("can not parse \"{port}\" to a u16")));
    }
}

pub(super) async fn port_zero(site: &Site) {
    let answer = site.knock(&site.path_to(site.ip(), "0"), &[]).await;

    let why = r#"{"message":"Connection error: unaddressable destination"}"#;
    assert_eq!(answer, (400, why.to_owned()));
}

pub(super) async fn forms_of_a_port(site: &Site) {
    for port in ["+7", "007"] {
        let answer = site.knock(&site.path_to(site.ip(), port), &[]).await;

        assert_eq!(answer.0, 101, "{port}: {}", answer.1);
    }
}

pub(super) async fn no_address(site: &Site) {
    for ip in ["hello", "192.168.000.002", "%20"] {
        let answer = site.knock(&site.path_to(ip, "7"), &[]).await;

        let why = r#"{"message":"Invalid IP address: invalid IP address syntax"}"#;
        assert_eq!(answer, (400, why.to_owned()), "{ip}");
    }
}

pub(super) async fn the_machine_itself(site: &Site) {
    not_allowed(site, &["127.0.0.1", "127.1.2.3", "::1"]).await;
}

pub(super) async fn a_connection_that_asked_for_another_protocol(site: &Site) {
    for path in [site.path_to("127.0.0.1", "7"), "/nosuch".to_owned()] {
        let mut stream = site.mute(&path).await;

        let mut said = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("in time").expect("an end");

        assert!(said.starts_with(b"HTTP/1.1 40"), "{path}: {said:?}");
    }
}

pub(super) async fn all_and_none(site: &Site) {
    not_allowed(site, &["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"]).await;
}

async fn not_allowed(site: &Site, addresses: &[&str]) {
    for ip in addresses {
        let answer = site.knock(&site.path_to(ip, "7"), &[]).await;

        let why = format!(r#"{{"message":"IP address not allowed: {ip}"}}"#);
        assert_eq!(answer, (400, why));
    }
}

pub(super) async fn another_network(site: &Site) {
    let path = site.path(site.port("echo")).replace(&site.network, &"0".repeat(32));

    assert_eq!(site.knock(&path, &[]).await, (403, String::new()));
}

pub(super) async fn nothing_there(site: &Site) {
    let began = Instant::now();
    let paths = ["192.168.0.77", "192.168.0.1", "10.9.9.9"].map(|ip| site.path_to(ip, "7"));
    for answer in join_all(paths.iter().map(|path| site.knock(path, &[]))).await {
        assert_eq!(answer, (504, String::new()));
    }

    assert!(began.elapsed() >= AT_ONCE, "{:?}", began.elapsed());
    let mut socket = site.open("echo").await;
    assert_eq!(socket.echo(b"x").await, b"x", "a node that was heard of is not held up");
}

pub(super) async fn a_new_node_behind_nothing(site: &Site) {
    let nothing = site.path_to("192.168.0.77", "7");
    let echo = site.path(site.port("echo"));
    let later = async {
        tokio::time::sleep(AT_ONCE / 8).await;
        site.try_open(&echo, true).await.map(drop)
    };

    let (refused, answer) = tokio::join!(site.knock(&nothing, &[]), later);

    assert_eq!(refused, (504, String::new()));
    // The real daemon asks for one address in a second, which is mostly the one that was asked for before.
    if let Err(error) = answer {
        assert_eq!(refusal(&error), (504, String::new()));
    }
    let mut socket = site.open("echo").await;
    assert_eq!(socket.echo(b"x").await, b"x");
}

pub(super) async fn beside_the_path(site: &Site) {
    let (network, ip) = (&site.network, site.ip());
    for rest in
        ["tcp".to_owned(), format!("tcp/{ip}"), format!("tcp/{ip}/7/"), format!("udp/{ip}/7")]
    {
        let path = format!("/net-api/v2/vpn/net/{network}/{rest}");
        assert_eq!(site.knock(&path, &[]).await, (404, String::new()), "{rest}");
    }
}

pub(super) async fn no_raw_frames(site: &Site) {
    let (network, ip) = (&site.network, site.ip());
    for rest in [format!("raw/{ip}"), format!("raw/{ip}/{ip}"), format!("raw/from/{ip}/to/{ip}")] {
        let path = format!("/net-api/v2/vpn/net/{network}/{rest}");
        assert_eq!(site.knock(&path, &[]).await, (404, String::new()), "{rest}");
    }
}

pub(super) async fn the_older_path_refuses(site: &Site) {
    let path = site.path(4).replacen("/v2/vpn/", "/v1/", 1);

    let refused = (400, r#"{"message":"Socket closed"}"#.to_owned());
    assert_eq!(site.knock(&path, &[]).await, refused);
}
