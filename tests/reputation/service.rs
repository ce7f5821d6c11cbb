//! A reputation service that lives in the test, and fetching from it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};

use ray_on_golem::reputation::{Fetched, Service, ServiceError};
use serde_json::json;
use url::Url;

use crate::original::id;

/// What is answered: a status, headers, and a body.
type Answer = (u16, String, String);

/// Answers the same to every request, `304` if it is asked for with its own `ETag`.
pub(crate) struct StandIn {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
}

impl StandIn {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(Mutex::new((503, String::new(), "no data".to_owned())));
        let shared = Arc::clone(&answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let (mut status, headers, mut body) = shared.lock().expect("no panic").clone();
                let etag = headers.to_lowercase().trim().replace("etag: ", "if-none-match: ");
                if !etag.is_empty() && head.contains(&etag) {
                    (status, body) = (304, String::new());
                }
                let reply = format!(
                    "HTTP/1.1 {status} x\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                // Whoever asked may have gone.
                drop(stream.write_all(reply.as_bytes()));
            }
        });
        Self { address, answer }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn answer(&self, status: u16, headers: &str, body: String) {
        *self.answer.lock().expect("no panic") = (status, headers.to_owned(), body);
    }
}

/// The scores of providers, as the service has them.
pub(crate) fn scores(providers: std::ops::Range<usize>, uptime: f64) -> String {
    let entry = |nth: usize| json!({"providerId": id(nth), "scores": {"uptime": uptime, "successRate": 0.5, "cpu": {}}});
    json!({
        "providers": providers.map(entry).collect::<Vec<_>>(),
        "untestedProviders": [], "rejectedProviders": [], "rejectedOperators": [],
    })
    .to_string()
}

fn fetch(url: &str) -> Result<Fetched, ServiceError> {
    let base: Url = url.parse().expect("an address");
    let service = Service::new(base).expect("connections");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let known = Default::default();
    runtime.expect("a runtime").block_on(service.fetch("polygon", &known))
}

#[test]
fn entries_that_say_nothing_are_counted_and_left_out() {
    let service = StandIn::new();
    let body = json!({"providers": [
        {"providerId": id(1), "scores": {"uptime": 1, "successRate": null}},
        {"providerId": id(2)},
        {"providerId": id(3), "scores": {"uptime": -3}},
        {"providerId": "nobody", "scores": {"uptime": 1}},
        {"scores": {"uptime": 1}},
        {"providerId": 7, "scores": []},
    ]});
    service.answer(200, "", body.to_string());

    let Ok(Fetched::Scores(scores, _)) = fetch(&service.url()) else { panic!("no scores") };

    assert_eq!(scores.total(), 6);
    assert!(format!("{scores:?}").contains("ignored: 5"), "{scores:?}");
}

#[test]
fn a_service_of_no_help_is_told_in_a_sentence() {
    let service = StandIn::new();
    let said = |status, body: &str| {
        service.answer(status, "", body.to_owned());
        fetch(&service.url()).expect_err("no help").to_string().replace(&service.url(), "URL")
    };

    assert_eq!(
        said(503, "down"),
        "Error 503 while updating reputation from URL/v1/providers/scores?network=polygon"
    );
    let no_list = "the answer of URL/v1/providers/scores?network=polygon is no list of scores: ";
    for body in ["", "[]", "{}", "<html>", r#"{"providers": 7}"#, r#"{"providers": [7]}"#, "{\"pro"]
    {
        let said = said(200, body);
        assert!(said.starts_with(no_list), "{body}: {said}");
    }
}
