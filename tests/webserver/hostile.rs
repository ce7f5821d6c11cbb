//! Whatever is sent, the answer is an error of the sender's, and the next request is answered.

use std::{sync::Arc, time::Duration};

use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};
use ray_on_golem::server::route::Route;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::lab::{Lab, QUICK, Web, nodes};

const REQUESTS: u64 = 10_000;
const CLIENTS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_random_requests_give_neither_a_hang_nor_a_500() {
    let lab = Arc::new(Lab::start(QUICK).await);
    let head = lab.web.head("r").await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (lab, head) = (Arc::clone(&lab), head.clone());
        clients.spawn(async move {
            let mut random = ChaCha8Rng::seed_from_u64(client);
            for _ in 0..REQUESTS / CLIENTS {
                let web = &lab.web;
                // A user, or the head of a cluster.
                let (base, token) = match random.random_range(0..3) {
                    0 => (&web.heads_url, head.as_str()),
                    _ => (&web.url, web.token.as_str()),
                };
                match random.random_range(0..100) {
                    0 => break_off(base, token, &mut random).await,
                    _ => send_any(web, base, token, &mut random).await,
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no request fails it");
    }

    let root: Value = serde_json::from_str(&lab.web.get("/").await).expect("JSON");
    assert_eq!(root["shutting_down"], false);
}

/// Sends the beginning of a request, and goes.
async fn break_off(base: &str, token: &str, random: &mut ChaCha8Rng) {
    let whole = format!(
        "POST /tags HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 99\r\n\r\n{{}}"
    );
    let address = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let length = random.random_range(0..whole.len());
    stream.write_all(&whole.as_bytes()[..length]).await.expect("written");
}

async fn send_any(web: &Web, base: &str, token: &str, random: &mut ChaCha8Rng) {
    // Neither a shutdown nor a stream that has no end.
    let routes: Vec<&str> = Route::ALL
        .into_iter()
        .filter(|route| ![Route::Shutdown, Route::Events].contains(route))
        .flat_map(|route| route.paths())
        .copied()
        .collect();
    let path = match random.random_range(0..10) {
        0 => format!("/{}", random.random_range(0..99_u32)),
        _ => routes[random.random_range(0..routes.len())].to_owned(),
    };
    let method = match random.random_range(0..8) {
        0 => Method::GET,
        1 => Method::DELETE,
        _ => Method::POST,
    };
    let body = match random.random_range(0..200) {
        0 => vec![b' '; 3 << 19],
        1..50 => {
            let mut bytes = vec![0; random.random_range(0..200)];
            random.fill_bytes(&mut bytes);
            bytes
        }
        50..100 => any_json(random, 3).to_string().into_bytes(),
        _ => spoiled(random).to_string().into_bytes(),
    };
    let is_huge = body.len() > 1 << 20;
    let request = web.client.request(method, format!("{base}{path}")).bearer_auth(token);
    let answer = timeout(Duration::from_secs(60), request.body(body.clone()).send()).await;
    let status = match answer.expect("no hang") {
        Ok(answer) => answer.status(),
        // The server need not read to the end what is too long.
        Err(error) => return assert!(is_huge, "{path}: {error}"),
    };
    assert!(!status.is_server_error(), "{status}: {path} {}", String::from_utf8_lossy(&body));
}

/// A request for nodes of which one part is anything; it never asks for an image that is there.
fn spoiled(random: &mut ChaCha8Rng) -> Value {
    let mut body = nodes("r", "worker", 1);
    body["node_id"] = json!("node0");
    body["payment_network"] = json!("moon");
    let parts = [
        "/cluster_name",
        "/provider_parameters",
        "/provider_parameters/total_budget",
        "/node_config",
        "/node_config/demand",
        "/node_config/demand/image_tag",
        "/count",
        "/tags",
        "/node_id",
        "/payment_network",
    ];
    let part = parts[random.random_range(0..parts.len())];
    let value = any_json(random, 3);
    *body.pointer_mut(part).expect("a part of it") = value;
    // Nothing is rented here.
    if let Some(Value::Object(demand)) = body.pointer_mut("/node_config/demand") {
        demand.insert("min_cpu_threads".to_owned(), json!(0.5));
    }
    body
}

fn any_json(random: &mut ChaCha8Rng, depth: u32) -> Value {
    match random.random_range(0..if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 => json!(random.random::<i64>()),
        3 => json!(random.random::<f64>() * 1e9),
        4 => json!(["", "node0", "é\u{0}", "r", "{}", "../x"][random.random_range(0..6)]),
        5 => (0..random.random_range(0..3)).map(|_| any_json(random, depth - 1)).collect(),
        _ => {
            let keys = ["cluster_name", "node_id", "tags", "count", "x", ""];
            let entry = |random: &mut ChaCha8Rng| {
                (keys[random.random_range(0..6)].to_owned(), any_json(random, depth - 1))
            };
            Value::Object((0..random.random_range(0..4)).map(|_| entry(random)).collect())
        }
    }
}

#[tokio::test]
async fn huge_slow_and_broken_requests_end() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let address = web.url.trim_start_matches("http://").to_owned();
    let huge = web.client.post(format!("{}/tags", web.url)).bearer_auth(&web.token);
    let huge = huge.body(vec![b' '; 3 << 20]).send().await;
    // The server may close before all of it is sent.
    if let Ok(answer) = huge {
        assert_eq!(answer.status().as_u16(), 413);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = web.client.post(format!("{}/tags", web.url)).bearer_auth(&web.token).body(deep);
    assert_eq!(deep.send().await.expect("an answer").status().as_u16(), 400);

    let mut garbage = TcpStream::connect(&address).await.expect("a connection");
    garbage.write_all(b"\x16\x03\x01 what\r\n\r\n").await.expect("written");
    let mut said = Vec::new();
    let read = timeout(Duration::from_secs(60), garbage.read_to_end(&mut said)).await;
    read.expect("the connection ends").expect("readable");
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400"), "{said:?}");

    let mut slow = TcpStream::connect(&address).await.expect("a connection");
    let token = &web.token;
    let head = format!(
        "POST /tags HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.expect("written");
    let mut said = vec![0; 12];
    let read = timeout(Duration::from_secs(60), slow.read_exact(&mut said)).await;
    read.expect("it does not wait for ever").expect("an answer");
    assert_eq!(String::from_utf8_lossy(&said), "HTTP/1.1 408");

    // Connections that say nothing take nobody's place.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(&address).await.expect("a connection"));
    }
    assert!(web.get("/").await.contains("version"));
}
