//! `golem-sim serve` under load: 200 clients that wait for events, and 2,000 requests a second that do
//! not wait, for a minute, on a network of 10,000 providers whose offers a demand has gathered before.
//!
//! Requests are sent when they are due, however long the ones before took, and their time counts from
//! then on. A call that fails ends the bench.
#![expect(clippy::print_stdout, reason = "a bench says what it measured")]
#![expect(clippy::disallowed_methods, reason = "runs a program, and looks at its memory")]

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    task::JoinSet,
    time::sleep_until,
};

const SCENARIO: &str = "
daemon: {warm: 1}
populations: [{name: crowd, count: 10000}]
";
const KEY: &str = "the-key-of-the-bench";
const WAITING: usize = 200;
const CONNECTIONS: u32 = 20;
/// Of all connections together.
const REQUESTS_PER_SECOND: u32 = 2_000;
const DURATION: Duration = Duration::from_secs(60);

const PROVIDERS: usize = 10_000;
/// A demand that everybody matches.
const PUBLIC: &str = r#"{"properties":{"golem.node.debug.subnet":"public","golem.srv.comp.expiration":4102444800000},"constraints":"(golem.node.debug.subnet=public)"}"#;
/// A demand that nobody matches, so that it stays cheap.
const DEMAND: &str = r#"{"properties":{"golem.node.debug.subnet":"nobody"},"constraints":"(golem.node.debug.subnet=nobody)"}"#;
const ALLOCATION: &str = r#"{"paymentPlatform":"erc20-hoodi-tglm","totalAmount":"0.001"}"#;

static IS_OVER: AtomicBool = AtomicBool::new(false);

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let scenario = directory.path().join("crowd.yaml");
    fs::write(&scenario, SCENARIO).expect("room for a file");
    let (mut server, address) = serve(&scenario.display().to_string());
    println!("idle: {} MiB", resident_mib(&server));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");

    let gathered = runtime.block_on(gather(&address));
    println!("{PROVIDERS} offers gathered in {gathered:?}: {} MiB", resident_mib(&server));
    let (mut latencies, waits) = runtime.block_on(load(&address));

    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let rate = latencies.len() as u64 / DURATION.as_secs();
    println!(
        "{rate} requests/s, p50 {:?}, p99 {:?}, longest {:?}, {waits} waits; {} MiB",
        at(50),
        at(99),
        at(100),
        resident_mib(&server)
    );
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

/// How long it takes to be offered everything.
async fn gather(address: &str) -> Duration {
    let started = tokio::time::Instant::now();
    let mut client = Client::connect(address).await;
    let id = client.ask("POST", "/market-api/v1/demands", PUBLIC).await;
    let events =
        format!("/market-api/v1/demands/{}/events?maxEvents=100&timeout=5", id.trim_matches('"'));
    let mut offers = 0;
    while offers < PROVIDERS {
        let page = client.ask("GET", &events, "").await;
        let page: Vec<serde_json::Value> = serde_json::from_str(&page).expect("JSON");
        assert!(!page.is_empty(), "{offers} offers came");
        offers += page.len();
    }
    started.elapsed()
}

/// How long each request took, and how many calls waited.
async fn load(address: &str) -> (Vec<Duration>, usize) {
    let mut waiting = JoinSet::new();
    for _ in 0..WAITING {
        let mut client = Client::connect(address).await;
        waiting.spawn(async move {
            let mut waits = 0_usize;
            while !IS_OVER.load(Ordering::Relaxed) {
                let events = "/market-api/v1/agreementEvents?timeout=5&appSessionId=nobody";
                assert_eq!(client.ask("GET", events, "").await, "[]");
                waits += 1;
            }
            waits
        });
    }
    let started = tokio::time::Instant::now();
    let mut asking = JoinSet::new();
    for nth in 0..CONNECTIONS {
        let mut client = Client::connect(address).await;
        asking.spawn(async move {
            let step = Duration::from_secs(1) * CONNECTIONS / REQUESTS_PER_SECOND;
            let mut due = started + step * nth / CONNECTIONS;
            let mut latencies = Vec::new();
            while due < started + DURATION {
                sleep_until(due).await;
                client.turn(latencies.len()).await;
                latencies.push(due.elapsed());
                due += step;
            }
            latencies
        });
    }
    let latencies = asking.join_all().await.concat();
    IS_OVER.store(true, Ordering::Relaxed);
    (latencies, waiting.join_all().await.into_iter().sum())
}

/// A client with one connection.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What it has made, and has to remove.
    made: Option<String>,
}

impl Client {
    async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: vec![0; 1 << 20], made: None }
    }

    /// One request of a mix: most read, some make something and remove it again.
    async fn turn(&mut self, nth: usize) {
        if let Some(path) = self.made.take() {
            self.ask("DELETE", &path, "").await;
            return;
        }
        match nth % 100 {
            0 => {
                let id = self.ask("POST", "/market-api/v1/demands", DEMAND).await;
                self.made = Some(format!("/market-api/v1/demands/{}", id.trim_matches('"')));
            }
            20 | 40 | 60 | 80 => {
                let answer = self.ask("POST", "/payment-api/v1/allocations", ALLOCATION).await;
                let document: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
                let id = document["allocationId"].as_str().expect("an id");
                self.made = Some(format!("/payment-api/v1/allocations/{id}"));
            }
            nth if nth % 3 == 0 => drop(self.ask("GET", "/me", "").await),
            nth if nth % 3 == 1 => drop(self.ask("GET", "/market-api/v1/demands", "").await),
            _ => drop(self.ask("GET", "/payment-api/v1/allocations", "").await),
        }
    }

    /// The body of an answer, which must be a success.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> String {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await.expect("an answer");
            assert!(read > 0, "{method} {path}: the connection was closed");
            filled += read;
            let answer = std::str::from_utf8(&self.buffer[..filled]).expect("text");
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            if body.len() >= length(head) {
                assert!(head.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
                return body.to_owned();
            }
        }
    }
}

fn length(head: &str) -> usize {
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn serve(scenario: &str) -> (Child, String) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_golem-sim"))
        .args(["serve", scenario, "--port", "0", "--appkey", KEY])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut line = String::new();
    let stdout = server.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says where it is");
    let url = line.split_whitespace().next().expect("an address");
    let address = url.trim_start_matches("YAGNA_API_URL=http://").to_owned();
    // The market opens.
    std::thread::sleep(Duration::from_secs(2));
    (server, address)
}

fn resident_mib(process: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") >> 10
}
