//! Clients without manners: whatever they send, they get an answer or nothing, and others are served.

use std::time::Duration;

use golem_sim::serve::Patience;
use ray_on_golem::{
    units::Span,
    yagna::{AppKey, CallError, Client, Request, Response, Status, Yagna},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{HONEST, KEY, Lab, status};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_without_a_key() {
    let lab = Lab::start(HONEST).await;
    let url: url::Url = lab.server.url().parse().expect("an address");
    let stranger = Client::new(url, AppKey::new("guessed").expect("a word")).expect("a client");

    let refused = stranger.call(Request::WhoAmI, Span::secs(10)).await;

    let body = "Invalid application key".to_owned();
    assert_eq!(refused, Err(CallError::Rejected { status: Status::UNAUTHORIZED, body }));
    for (head, wanted) in [
        ("GET /me HTTP/1.1\r\nHost: x\r\n", (401, "Missing application key")),
        (
            "GET /me HTTP/1.1\r\nHost: x\r\nAuthorization: Basic abc\r\n",
            (401, "Missing application"),
        ),
        ("GET /nosuch HTTP/1.1\r\nHost: x\r\n", (401, "Missing application key")),
        ("GET /sim/ledger HTTP/1.1\r\nHost: x\r\n", (401, "Missing application key")),
        (
            "PUT /sim/faults?authToken=guessed HTTP/1.1\r\nHost: x\r\n",
            (401, "Invalid application key"),
        ),
        ("POST /sim/nodes/a HTTP/1.1\r\nHost: x\r\n", (401, "Missing application key")),
        ("GET /version/get HTTP/1.1\r\nHost: x\r\n", (200, "\"version\":\"0.17.6\"")),
        ("GET /metrics-api/v1/expose HTTP/1.1\r\nHost: x\r\n", (200, "# TYPE ")),
    ] {
        let answer = lab.raw(format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&answer), wanted.0, "{head}{answer}");
        assert!(answer.contains(wanted.1), "{head}{answer}");
    }
    let token = format!("GET /me?authToken={KEY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&lab.raw(token.as_bytes()).await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_in_the_daemons_words() {
    let lab = Lab::start(HONEST).await;
    let zeros = "0".repeat(64);
    let allocations = "/payment-api/v1/allocations";
    let events = format!("/market-api/v1/demands/{}-{zeros}/events", &zeros[..32]);

    for (method, path, body, wanted, words) in [
        ("POST", allocations, "{nope", 400, "Json deserialize error: key must be a string at"),
        ("POST", allocations, "{}", 400, "missing field `totalAmount`"),
        ("POST", "/market-api/v1/demands", "{\"constraints\":\"()\"}", 400, "{\"message\":\"Json"),
        ("GET", "/market-api/v1/demands/xyz/events", "", 400, "Subscription id [xyz] has invalid"),
        ("GET", &format!("{events}?timeout=x"), "", 400, "Query deserialize error: invalid float"),
        ("GET", "/payment-api/v1/invoiceEvents?timeout=x", "", 400, "Query deserialize error"),
        ("GET", &format!("{events}?maxEvents=101"), "", 400, "Invalid maxEvents '101', should be"),
        ("GET", &events, "", 404, "not found. Could be unsubscribed."),
        ("GET", "/market-api/v1/agreements/xyz", "", 400, "contains non hexadecimal characters."),
        ("GET", "/activity-api/v1/activity", "", 400, "missing field `agreementId`"),
        ("POST", "/activity-api/v1/activity", "{}", 400, "untagged enum CreateActivityJson"),
        ("POST", "/net-api/v2/vpn/net", "{\"ip\":\"nope\"}", 400, "Invalid IP address"),
        ("GET", "/net-api/v2/vpn/net/nosuch", "", 404, "{\"message\":\"Network not found\"}"),
        ("GET", "/payment-api/v1/allocations/xyz", "", 404, "{\"message\":null}"),
        ("GET", "/payment-api/v1/payments/status?driver=x", "", 404, "not registered x"),
        ("POST", "/payment-api/v1/debitNotes/x/reject", "{}", 501, "{\"message\":null}"),
        ("PATCH", "/market-api/v1/demands", "", 404, ""),
        ("GET", "/me/%ff", "", 400, "Path deserialize error"),
    ] {
        let (status, answer) = lab.ask(method, path, body).await;
        assert_eq!(status, wanted, "{method} {path}: {answer}");
        assert!(answer.contains(words), "{method} {path}: {answer}");
    }
    let plain = format!(
        "POST {allocations} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: \
         text/plain\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    assert!(lab.raw(plain.as_bytes()).await.ends_with("Content type error"));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_large_bodies_hurt_nobody() {
    let lab = Lab::start(HONEST).await;

    let garbage = lab.raw(b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n").await;
    let body = format!("{{\"totalAmount\":\"{}\"}}", "9".repeat(10 << 20));
    let (status, answer) = lab.ask("POST", "/payment-api/v1/allocations", &body).await;
    let many = "X: y\r\n".repeat(10_000);
    let heads = lab.raw(format!("GET /me HTTP/1.1\r\n{many}\r\n").as_bytes()).await;

    assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400"), "{garbage}");
    assert_eq!(status, 413, "{answer}");
    assert!(answer.contains("is larger than allowed (limit: 2097152 bytes)."), "{answer}");
    assert!(heads.starts_with("HTTP/1.1 431"), "{heads}");
    assert!(matches!(lab.call(Request::WhoAmI).await, Ok(Response::Identity(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_is_not_waited_for() {
    let short = Duration::from_millis(300);
    let patience = Patience { head: short, body: short, ..Patience::default() };
    let lab = Lab::with(HONEST, patience).await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = lab.connect().await;
        stream.write_all(b"GET /me HTTP/1.1\r\nHost:").await.expect("the server reads");
        slow.push(stream);
    }

    let body = format!(
        "POST /payment-api/v1/allocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \
         {KEY}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    assert!(matches!(lab.call(Request::WhoAmI).await, Ok(Response::Identity(_))), "meanwhile");
    let half = lab.raw(body.as_bytes()).await;

    assert_eq!(half, "", "a body that does not come is not answered");
    for mut stream in slow {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest));
        assert!(read.await.is_ok(), "a slow connection is closed");
    }
}
