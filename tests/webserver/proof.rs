//! The webserver shows that it knows a token before that is sent; and clients without one keep no other out.

use std::time::Duration;

use ray_on_golem::server::{
    auth::Token,
    proof::{Challenge, Place},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::lab::{Lab, QUICK, Web, nodes};

/// More than the places that the webserver has for all connections.
const MANY: usize = 700;

fn port(url: &str) -> u16 {
    url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

/// What the webserver answers to a challenge.
async fn asked(web: &Web, base: &str, token: &Token, challenge: &str) -> (StatusCode, Value) {
    let body = json!({"mark": token.mark(), "challenge": challenge});
    let (status, text) = web.send(base, "/prove", &body, None).await;
    (status, serde_json::from_str(&text).expect("JSON"))
}

#[tokio::test]
async fn it_proves_to_users_that_it_knows_their_token() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let ours = Token::of(lab.data.path()).expect("it is there");
    let challenge = Challenge::random().expect("randomness");

    let (status, answer) = asked(web, &web.url, &ours, challenge.as_str()).await;

    let place = Place::Users { port: port(&web.url) };
    assert_eq!(
        (status, &answer),
        (StatusCode::OK, &json!({"proof": ours.proof(place, &challenge)}))
    );
    let other = Token::random().expect("randomness");
    let (status, _) = asked(web, &web.url, &other, challenge.as_str()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, answer) = asked(web, &web.url, &ours, "short").await;
    assert_eq!((status, &answer["field"]), (StatusCode::BAD_REQUEST, &json!("challenge")));
    let of_a_page = web.client.post(format!("{}/prove", web.url)).header("origin", "http://x");
    let status = of_a_page.body("{}").send().await.expect("an answer").status();
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn it_proves_to_a_head_that_it_knows_the_token_of_its_cluster() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let token = web.head("c").await;
    let challenge = Challenge::random().expect("randomness");

    let (status, answer) = asked(web, &web.heads_url, &token, challenge.as_str()).await;

    let proof = token.proof(Place::Heads, &challenge);
    assert_eq!((status, answer), (StatusCode::OK, json!({ "proof": proof })));
    // The users' token is none of a head's, and the other way round.
    let users = Token::of(lab.data.path()).expect("it is there");
    for (base, token) in [(&web.heads_url, &users), (&web.url, &token)] {
        let (status, _) = asked(web, base, token, challenge.as_str()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    web.post("/end_cluster", json!({"cluster_name": "c"})).await;
    web.until("it is over", |board| board.clusters.is_empty()).await;
    let (status, _) = asked(web, &web.heads_url, &token, challenge.as_str()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn connections_that_say_nothing_or_read_nothing_keep_no_client_out() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    for base in [&web.url, &web.heads_url] {
        let address = base.trim_start_matches("http://");
        let mut held = Vec::new();
        for nth in 0..MANY {
            let mut stranger = TcpStream::connect(address).await.expect("a connection");
            match nth % 3 {
                0 => {}
                1 => drop(stranger.try_write(b"GET / HTTP/1.1\r\nHost: ")),
                // Answers pile up until nothing more can be written.
                _ => drop(
                    stranger.write_all(&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500)).await,
                ),
            }
            held.push(stranger);
        }

        // None has had the time after which it must go: there is room because the oldest give way.
        let answered = timeout(Duration::from_secs(20), web.client.get(base).send()).await;
        assert_eq!(answered.expect("in time").expect("an answer").status(), StatusCode::OK);
        let mut oldest = held.remove(0);
        let ended = timeout(Duration::from_secs(20), oldest.read(&mut [0])).await;
        assert!(matches!(ended.expect("it was ended"), Ok(0) | Err(_)));
    }
    let status = timeout(Duration::from_secs(20), web.get("/status")).await;
    assert!(status.expect("in time").contains("version"));
}

#[tokio::test]
async fn a_head_with_many_connections_keeps_no_other_client_out() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let (greedy, other) = (web.head("a").await, web.head("b").await);
    let address = format!("127.0.0.1:{}", port(&web.heads_url));
    let ask = async |token: &Token| {
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        let token = token.as_str();
        let body = r#"{"cluster_name": "a", "tags": {}}"#;
        let length = body.len();
        let request = format!(
            "POST /non_terminated_nodes HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Length: \
             {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        (String::from_utf8_lossy(&answer).into_owned(), stream)
    };

    let mut held = Vec::new();
    let refused = loop {
        let (answer, stream) = ask(&greedy).await;
        if answer != "HTTP/1.1 200" {
            break answer;
        }
        held.push(stream);
    };

    assert_eq!((refused.as_str(), held.len()), ("HTTP/1.1 429", 64));
    // The other head is heard, though it asks for what is not its own.
    assert_eq!(ask(&other).await.0, "HTTP/1.1 403");
    assert!(web.get("/status").await.contains("version"));
    held.pop();
    let room = async { while ask(&greedy).await.0 != "HTTP/1.1 200" {} };
    timeout(Duration::from_secs(20), room).await.expect("a connection that ends makes room");
}

#[tokio::test]
async fn strangers_end_no_connection_by_which_a_token_was_shown() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let address = web.url.trim_start_matches("http://");
    let mut ours = TcpStream::connect(address).await.expect("a connection");
    let request =
        format!("GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", web.token);
    ours.write_all(request.as_bytes()).await.expect("written");
    let mut said = [0; 15];
    ours.read_exact(&mut said).await.expect("an answer");
    assert_eq!(&said, b"HTTP/1.1 200 OK");

    let mut held = Vec::new();
    for _ in 0..MANY {
        held.push(TcpStream::connect(address).await.expect("a connection"));
    }
    web.post("/request_nodes", nodes("c", "head", 1)).await;

    let mut heard = String::new();
    while !heard.contains("event: node") {
        let mut piece = [0; 4096];
        let read = timeout(Duration::from_secs(60), ours.read(&mut piece)).await;
        let length = read.expect("in time").expect("it is open");
        assert!(length > 0, "it was ended");
        heard.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}
