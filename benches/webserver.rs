//! The most frequent question of Ray's autoscaler, `non_terminated_nodes`, asked of a webserver with a
//! thousand nodes by eight connections at once. Not a criterion bench: what counts is the tail.
//!
//! `cargo bench --bench webserver` prints requests per second, p50, p99, and the memory of the process.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a load over sockets")]
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use golem_sim::plan;
use ray_on_golem::{
    bills::Owner,
    core::{
        Command, NodeRequest,
        cluster::plan::{ClusterPlan, NodeKind, NodeOrder},
        market::spec::Image,
        reputation::Reputation,
    },
    driver::{
        Recorder,
        commands::Commands,
        journal::Journals,
        log::Log,
        manager::{Kept, Manager},
        probe::{Prober, Target},
        wallet::{DaemonCli, Wallet},
    },
    server::{
        self, Alerts, Allowances, App, Images, Listening, Settings, Stop, Usage,
        auth::{Guard, HeadTokens, Token},
        bills::Bills,
    },
    units::{Glm, Span},
    yagna::{CallError, Request, Yagna, wire::HttpResponse},
};
use tokio::{runtime, sync::watch};

const NODES: u32 = 1_000;
const CONNECTIONS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const DURATION: Duration = Duration::from_secs(5);

/// A daemon that never answers: every node stays pending.
#[derive(Clone)]
struct Silent;

impl Yagna for Silent {
    async fn exchange(&self, _: &Request, _: Span) -> Result<HttpResponse, CallError> {
        std::future::pending().await
    }
}

impl Prober for Silent {
    async fn probe(&self, _: Target, _: Span) -> Result<(), String> {
        Ok(())
    }
}

fn main() {
    let data = tempfile::tempdir().expect("a directory");
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (address, token) = runtime.block_on(start(data.path()));
    println!("idle: {} MiB", resident_mib());
    measure(address, &token, WARM_UP);
    let mut latencies = measure(address, &token, DURATION);
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let rate = latencies.len() as u64 / DURATION.as_secs();
    println!("{rate} requests/s, p50 {:?}, p99 {:?}, {} MiB", at(50), at(99), resident_mib());
    runtime.shutdown_background();
}

async fn start(data: &std::path::Path) -> (SocketAddr, String) {
    let (journals, recovered) = Journals::open(data).expect("an empty directory");
    let log = Log::silent();
    let kept = Kept { journals, recovered, recorder: Recorder::none() };
    let (manager, handle) = Manager::new(kept, Silent, Silent, log.clone());
    let token = Token::of(data).expect("a writable directory");
    let cli = DaemonCli { binary: "yagna".into(), environment: Vec::new() };
    let app = Arc::new(App {
        handle: handle.clone(),
        settings: Settings {
            data: data.to_owned(),
            program: "ray-on-golem".into(),
            self_shutdown: false,
            registry_stats: false,
            guard: Guard::Token(token.clone()),
            metrics_token: Token::of_metrics(data).expect("a writable directory"),
        },
        images: Images::new("http://127.0.0.1:1".parse().expect("a literal")),
        providers: Default::default(),
        wallet: Wallet::new(String::new(), cli, log.clone()),
        commands: Commands::new(Silent),
        simulated: None,
        heads: HeadTokens::new(data),
        bills: Bills::open(data, Owner { is_simulated: true, identity: None }, log.clone()),
        alerts: Alerts::default(),
        stop: Stop::default(),
        usage: Usage::default(),
        allowances: Allowances::default(),
        log,
    });
    tokio::spawn(manager.run());
    handle.ask(Command::RequestNodes(Box::new(request()))).await.expect("it runs");
    let listening = Listening::on(0).await.expect("a free port");
    let address = listening.address();
    let end = watch::Sender::new(false);
    tokio::spawn(async move {
        server::serve(listening, server::users(&app), end.subscribe()).await;
        drop(end);
    });
    (address, token.as_str().to_owned())
}

fn request() -> NodeRequest {
    NodeRequest {
        key: None,
        cluster: "bench".into(),
        only_for: None,
        plan: ClusterPlan {
            platform: "erc20-hoodi-tglm".into(),
            total_budget: Glm::from_whole(1_000),
            max_glm_per_hour: None,
            autostop: None,
            law: None,
            ssh_public_key: String::new(),
            reputation: Reputation::default(),
            network: None,
            network_path: None,
        },
        order: NodeOrder {
            kind: NodeKind::Worker,
            spec: plan::spec(),
            image: Image { url: "http://x/y".to_owned(), sha3: "0".repeat(56) },
            count: NODES,
            tags: [("ray-node-type".to_owned(), "worker".to_owned())].into(),
        },
    }
}

/// How long each request took.
fn measure(address: SocketAddr, token: &str, duration: Duration) -> Vec<Duration> {
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let token = token.to_owned();
            thread::spawn(move || client(address, &token, duration))
        })
        .collect();
    clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect()
}

fn client(address: SocketAddr, token: &str, duration: Duration) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let body = r#"{"cluster_name":"bench","tags":{}}"#;
    let request = format!(
        "POST /non_terminated_nodes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (started, mut latencies) = (Instant::now(), Vec::new());
    let mut buffer = vec![0; 64 << 10];
    while started.elapsed() < duration {
        let asked = Instant::now();
        stream.write_all(request.as_bytes()).expect("written");
        let answer = read(&mut stream, &mut buffer);
        assert!(answer.ends_with(b"\"node999\"]}"), "{}", String::from_utf8_lossy(answer));
        latencies.push(asked.elapsed());
    }
    latencies
}

/// The body of one answer.
fn read<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> &'a [u8] {
    let mut filled = 0;
    loop {
        filled += stream.read(&mut buffer[filled..]).expect("an answer");
        let Some(head) = buffer[..filled].windows(4).position(|it| it == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).expect("a head is text");
        let length = text.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
        });
        let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
        if filled >= head + 4 + length {
            return &buffer[head + 4..head + 4 + length];
        }
    }
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
