//! The client against a daemon that misbehaves on the socket: each ending has its class.

use ray_on_golem::{
    core::market::spec::ImageRef,
    registry::Registry,
    units::{Span, Timestamp},
    yagna::{AppKey, BillEventKind, CallError, Client, Doubt, Request, Response, Status, Yagna},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use url::Url;

const PATIENCE: Span = Span::secs(20);
const SHORT: Span = Span::millis(200);

const ME: &str = r#"{"identity":"0x1","name":"n","role":"manager"}"#;

#[tokio::test]
async fn a_response_is_read_and_the_request_carries_the_key() {
    let (head_seen, head) = oneshot::channel();
    let url = daemon(|mut stream| async move {
        head_seen.send(read_head(&mut stream).await).expect("the test waits");
        write(&mut stream, &with_length(200, ME)).await;
    })
    .await;

    let reply = client(&url).call(Request::WhoAmI, PATIENCE).await;

    assert!(matches!(reply, Ok(Response::Identity(_))), "{reply:?}");
    let head = head.await.expect("a request was read");
    assert!(head.starts_with("GET /me HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer abc123\r\n"), "{head}");
}

#[tokio::test]
async fn a_body_is_sent_as_json() {
    let (head_seen, head) = oneshot::channel();
    let url = daemon(|mut stream| async move {
        head_seen.send(read_head(&mut stream).await).expect("the test waits");
        write(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
    })
    .await;
    let reject = Request::RejectProposal {
        subscription: "s".into(),
        proposal: "p".into(),
        reason: "too dear".to_owned(),
    };

    let reply = client(&url).call(reject, PATIENCE).await;

    assert_eq!(reply, Ok(Response::ProposalRejected));
    let head = head.await.expect("a request was read");
    assert!(head.starts_with("POST /market-api/v1/demands/s/proposals/p/reject "), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
}

#[tokio::test]
async fn a_closed_port_means_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = address(&listener);
    drop(listener);

    let reply = client(&url).call(Request::WhoAmI, PATIENCE).await;

    assert!(matches!(reply, Err(CallError::NotSent { .. })), "{reply:?}");
}

#[tokio::test]
async fn no_handshake_means_not_sent() {
    let url = daemon(|mut stream| async move {
        write(&mut stream, "HTTP/1.1 400 Bad Request\r\n\r\n").await;
        wait_for_the_end(stream).await;
    })
    .await;
    let https: Url = url.as_str().replace("http:", "https:").parse().expect("still a URL");
    let key = AppKey::new("abc123").expect("a word");
    // Without certificates on the system there is no client, which is an error and no panic.
    let Ok(client) = Client::new(https, key) else { return };

    let reply = client.call(Request::WhoAmI, PATIENCE).await;

    assert!(matches!(reply, Err(CallError::NotSent { .. })), "{reply:?}");
}

#[tokio::test]
async fn a_connection_that_closes_leaves_doubt() {
    let before = daemon(|stream| async move { drop(stream) }).await;
    let after = daemon(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;

    for url in [before, after] {
        let reply = client(&url).call(Request::WhoAmI, PATIENCE).await;
        assert!(is_closed(&reply), "{reply:?}");
    }
}

#[tokio::test]
async fn silence_ends_with_our_patience() {
    let url = daemon(|mut stream| async move {
        read_head(&mut stream).await;
        wait_for_the_end(stream).await;
    })
    .await;

    let reply = client(&url).call(Request::WhoAmI, SHORT).await;

    assert_eq!(reply, Err(CallError::Unknown(Doubt::TimedOut)));
}

#[tokio::test]
async fn a_body_that_drips_ends_with_our_patience() {
    let url = daemon(|mut stream| async move {
        read_head(&mut stream).await;
        write(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        // Ends when the client has gone.
        while stream.write_all(b"1\r\n \r\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let reply = client(&url).call(Request::WhoAmI, SHORT).await;

    // A fast machine reaches the limit of the body first.
    let garbled = matches!(reply, Err(CallError::Unknown(Doubt::Garbled { .. })));
    assert!(garbled || reply == Err(CallError::Unknown(Doubt::TimedOut)), "{reply:?}");
}

#[tokio::test]
async fn half_a_body_leaves_doubt() {
    let reply = reply_to(&with_length(200, ME)[..80]).await;

    assert!(is_closed(&reply), "{reply:?}");
}

#[tokio::test]
async fn half_a_refusal_is_a_refusal() {
    let reply = reply_to("HTTP/1.1 410 Gone\r\nContent-Length: 100\r\n\r\ntoo la").await;

    assert_eq!(reply, Err(CallError::Rejected { status: Status::GONE, body: "too la".to_owned() }));
}

#[tokio::test]
async fn what_is_no_http_leaves_doubt() {
    let reply = reply_to("220 smtp.example.org ESMTP\r\n\r\n").await;

    assert!(is_closed(&reply), "{reply:?}");
}

#[tokio::test]
async fn statuses_have_their_classes() {
    assert_eq!(
        reply_to(&with_length(401, "Invalid application key")).await,
        Err(CallError::Rejected {
            status: Status::UNAUTHORIZED,
            body: "Invalid application key".to_owned(),
        })
    );
    for status in [302, 500, 504] {
        let body = r#"{"message":"why"}"#;
        let failed = Doubt::Failed { status: Status(status), body: body.to_owned() };
        let response = with_length(status, body);
        assert_eq!(reply_to(&response).await, Err(CallError::Unknown(failed)));
    }
    let unreadable = reply_to(&with_length(200, "<html>")).await;
    assert!(matches!(unreadable, Err(CallError::Unknown(Doubt::Garbled { .. }))));
}

#[tokio::test]
async fn a_huge_body_is_not_read_to_its_end() {
    for (status, is_expected) in [
        (200, (|reply| matches!(reply, Err(CallError::Unknown(Doubt::Garbled { .. })))) as Check),
        (400, |reply| matches!(reply, Err(CallError::Rejected { body, .. }) if body.len() == 4096)),
    ] {
        let url = daemon(move |mut stream| async move {
            read_head(&mut stream).await;
            write(&mut stream, &format!("HTTP/1.1 {status} X\r\n\r\n")).await;
            let block = vec![b'x'; 1 << 20];
            while stream.write_all(&block).await.is_ok() {}
        })
        .await;

        let reply = client(&url).call(Request::WhoAmI, PATIENCE).await;

        assert!(is_expected(&reply), "{status}: {reply:?}");
    }
}

#[tokio::test]
async fn ten_thousand_events_come_at_once() {
    let event = |nth| {
        format!(
            r#"{{"invoiceId":"{nth:032x}","eventDate":"2026-01-01T00:00:00Z","eventType":"InvoiceReceivedEvent"}}"#
        )
    };
    let events: Vec<String> = (0..10_000).map(event).collect();
    let body = format!("[{}]", events.join(","));
    let url = daemon(|mut stream| async move {
        read_head(&mut stream).await;
        write(&mut stream, &with_length(200, &body)).await;
    })
    .await;
    let (session, after, timeout) = ("s".into(), Timestamp::EPOCH, Span::ZERO);

    let collect = Request::CollectInvoiceEvents { session, after, timeout };
    let reply = client(&url).call(collect, PATIENCE).await;

    let Ok(Response::InvoiceEvents(events)) = reply else { panic!("{reply:?}") };
    assert_eq!(events.len(), 10_000);
    assert!(events.iter().all(|event| event.kind == BillEventKind::Received));
}

#[tokio::test]
async fn a_body_is_taken_for_what_it_says_and_not_for_its_type() {
    let typed = |kind: &str, body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };

    let plain = reply_to(&typed("text/plain", ME)).await;
    let page = reply_to(&typed("application/json", "<html>a proxy's page</html>")).await;

    assert!(matches!(plain, Ok(Response::Identity(_))), "{plain:?}");
    let Err(error @ CallError::Unknown(Doubt::Garbled { .. })) = page else { panic!("{page:?}") };
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let reply = reply_to(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    )
    .await;

    let failed = Doubt::Failed { status: Status(307), body: String::new() };
    assert_eq!(reply, Err(CallError::Unknown(failed)));
}

#[tokio::test]
async fn an_image_is_looked_up() {
    let (head_seen, head) = oneshot::channel();
    let sha3 = "d646d7b93083d817846c2ae5c62c72ca0507782385a2e29291a3d376";
    let url = daemon(move |mut stream| async move {
        head_seen.send(read_head(&mut stream).await).expect("the test waits");
        let body = format!(r#"{{"http":"http://host/image.gvmi","sha3":"{sha3}"}}"#);
        write(&mut stream, &with_length(200, &body)).await;
    })
    .await;
    let registry = Registry::new(url, false).expect("plain HTTP needs nothing");

    let image = registry.look_up(&ImageRef::Tag("golem/ray:1".to_owned()), PATIENCE).await;

    assert_eq!(image.expect("an image").sha3, sha3);
    let head = head.await.expect("a request was read");
    assert!(head.starts_with("GET /v1/image/info?tag=golem%2Fray%3A1&count=false "), "{head}");
    assert!(!head.contains("authorization"), "{head}");
}

type Check = fn(&Result<Response, CallError>) -> bool;

/// The reply to a call when the daemon answers with `text` and closes the connection.
async fn reply_to(text: &str) -> Result<Response, CallError> {
    let text = text.to_owned();
    let url = daemon(|mut stream| async move {
        read_head(&mut stream).await;
        write(&mut stream, &text).await;
    })
    .await;
    client(&url).call(Request::WhoAmI, PATIENCE).await
}

/// Runs `script` on the first connection; its end closes it.
async fn daemon<F>(script: impl FnOnce(TcpStream) -> F + Send + 'static) -> Url
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = address(&listener);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client comes");
        script(stream).await;
    });
    url
}

fn address(listener: &TcpListener) -> Url {
    let address = listener.local_addr().expect("it is bound");
    format!("http://{address}").parse().expect("an address makes a URL")
}

fn client(url: &Url) -> Client {
    let key = AppKey::new("abc123").expect("a word");
    Client::new(url.clone(), key).expect("plain HTTP needs nothing")
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let byte = stream.read_u8().await.expect("the client writes a whole head");
        head.push(byte);
    }
    String::from_utf8(head).expect("a head is text")
}

async fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("the client reads");
}

async fn wait_for_the_end(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // However the client ends the connection, it ends.
    drop(stream.read_to_end(&mut rest).await);
}

fn with_length(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn is_closed(reply: &Result<Response, CallError>) -> bool {
    matches!(reply, Err(CallError::Unknown(Doubt::Closed { .. })))
}
