//! A daemon over whose bus no node can be reached: the whole program, started as users do.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::node_request::nodes;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ray-on-golem");
const DEAF: &str = "
about: the bus carries nothing to nodes
daemon: { warm: 1, hop_ms: 2, bus: deaf }
populations:
  - name: quick
    count: 4
    conduct: { approves_ms: 5, creates_ms: 5, deploy: 0.05, start: 0.05, run: 0.05, invoice_after: 0.1 }";
/// The step that checks ssh lasts two minutes, and a second head comes up in some seconds.
const PATIENCE: Duration = Duration::from_secs(240);

struct Webserver {
    data: TempDir,
    port: u16,
}

impl Webserver {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let data = tempfile::tempdir().expect("a directory");
        let scenario = data.path().join("deaf.yaml");
        fs::write(&scenario, DEAF).expect("a writable directory");
        let webserver = Self { data, port };
        let scenario = scenario.to_str().expect("text");
        // What a head gets is installed for its Python.
        let venv = format!("{}/../python/ray-2.60", env!("CARGO_TARGET_TMPDIR"));
        let nodes = ["--sim-nodes", "auto", "--sim-venv", &venv];
        let started = webserver.run(&[&["start", "--sim", scenario], &nodes[..]].concat());
        assert!(started.status.success(), "{started:?}");
        webserver
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let (name, rest) = arguments.split_first().expect("the name of a command");
        let mut command = Command::new(PROGRAM);
        command.args([name, "--port", &self.port.to_string(), "--datadir"]).arg(self.data.path());
        command.args(rest).env_remove("RAY_ON_GOLEM_TOKEN_FILE").stdin(Stdio::null());
        command.output().expect("it runs")
    }

    fn ask(&self, verb: &str, path: &str, body: &str) -> Value {
        let token = fs::read_to_string(self.data.path().join("webserver.token")).expect("a token");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let request = format!(
            "{verb} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: Bearer {}\r\n\r\n{body}",
            body.len(),
            token.trim(),
        );
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for Webserver {
    fn drop(&mut self) {
        drop(self.run(&["stop", "--force"]));
    }
}

#[test]
fn a_cluster_begins_again_where_the_bus_reaches_no_node() {
    let webserver = Webserver::start();
    webserver.ask("POST", "/request_nodes", &nodes("c", "head", 1).to_string());

    let began = Instant::now();
    let cluster = loop {
        let cluster = webserver.ask("GET", "/status", "")["clusters"][0].take();
        let state = cluster["nodes"][0]["state"].as_str();
        if state == Some("running") {
            break cluster;
        }
        assert_ne!(state, Some("terminated"), "{cluster:#}");
        assert!(began.elapsed() < PATIENCE, "{cluster:#}");
        thread::sleep(Duration::from_millis(200));
    };

    assert_eq!(cluster["network_path"], "daemon", "{cluster:#}");
    let warnings = cluster["warnings"].as_array().expect("a list");
    let told = warnings.iter().filter_map(Value::as_str).filter(|warning| {
        warning.ends_with(
            "No node can be reached over the daemon's bus: the cluster begins again by the daemon's own network",
        )
    });
    assert_eq!(told.count(), 1, "{cluster:#}");
}
