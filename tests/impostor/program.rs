//! A program that takes the webserver's port and acts as if it were the webserver.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use serde_json::{Value, json};

/// What it answers to a challenge.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof {
    /// It knows no such request.
    Missing,
    /// Digits that look like one.
    Invented,
    /// Whatever was asked for, it says yes.
    Yes,
    /// What our own webserver says at this port.
    PassedOn(u16),
}

/// The program, and all that it was told.
pub(crate) struct Impostor {
    pub(crate) port: u16,
    heard: Arc<Mutex<String>>,
}

impl Impostor {
    /// Listens on a free port, and says that it uses the data directory `datadir`.
    pub(crate) fn start(datadir: &str, proof: Proof) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::<Mutex<String>>::default();
        let (noted, datadir) = (Arc::clone(&heard), datadir.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, datadir) = (Arc::clone(&noted), datadir.clone());
                thread::spawn(move || talk(stream, &noted, &datadir, proof));
            }
        });
        Self { port, heard }
    }

    /// All that was sent to it.
    pub(crate) fn heard(&self) -> String {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one request after the other, until the other side goes.
fn talk(mut stream: TcpStream, noted: &Mutex<String>, datadir: &str, proof: Proof) {
    while let Some(request) = request(&mut stream) {
        noted.lock().unwrap_or_else(PoisonError::into_inner).push_str(&request);
        let (status, answer) = answer(&request, datadir, proof);
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
        if stream.write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

/// The next request, head and body.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        text.push(char::from(byte[0]));
    }
    let length = text.lines().find_map(|line| {
        let (name, length) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| length.parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    text.push_str(&String::from_utf8_lossy(&body));
    Some(text)
}

fn answer(request: &str, datadir: &str, proof: Proof) -> (&'static str, Value) {
    let (_, body) = request.split_once("\r\n\r\n").expect("it has a head");
    match (request.split(' ').nth(1), proof) {
        (Some("/"), _) => {
            let version = env!("CARGO_PKG_VERSION");
            let root = json!({
                "version": version, "datadir": datadir, "simulated": false, "shutting_down": false,
                "self_shutdown": true, "server_warnings": [],
            });
            ("200 OK", root)
        }
        (Some("/prove"), Proof::Missing) => {
            ("401 Unauthorized", json!({"error": "a token is needed"}))
        }
        (Some("/prove"), Proof::Invented) => ("200 OK", json!({"proof": "0".repeat(64)})),
        (Some("/prove"), Proof::Yes) => ("200 OK", json!({"proof": true, "proven": true})),
        (Some("/prove"), Proof::PassedOn(port)) => ("200 OK", passed_on(port, body)),
        (Some("/status"), _) => ("200 OK", json!({"version": 1, "clusters": []})),
        (Some(_) | None, _) => {
            ("200 OK", json!({"shutdown_state": "forced_shutdown", "exit_code": 0}))
        }
    }
}

fn passed_on(port: u16, body: &str) -> Value {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let request = format!(
        "POST /prove HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let proof: Value = serde_json::from_str(body).expect("JSON");
    assert!(proof["proof"].is_string(), "ours proves itself to any client: {answer}");
    proof
}
