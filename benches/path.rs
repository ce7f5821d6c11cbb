//! Both ways to a node of a real daemon, in one run: how much they carry, how long a byte takes there and back, and what bad
//! neighbours do to it. The daemon, the product's `ssh-proxy`, and the node's TCP are real; the net between them is the lab's.
//!
//! `cargo bench --bench path` prints a table. Run it on a machine that does nothing else.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the daemon, its nodes, and the proxy are processes; prints what it measured"
)]

#[expect(dead_code, reason = "tests use the rest")]
#[path = "../tests/bus_path/stage.rs"]
mod bus;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../tests/daemon_path/stage.rs"]
mod daemon;
#[path = "../tests/lab/mod.rs"]
mod lab;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../tests/proxy/mod.rs"]
mod proxy;

use std::time::{Duration, Instant};

use proxy::{Proxy, Services, bytes, size, take};

const MIB: usize = 1 << 20;
const LENGTH: usize = 12 * MIB;
const HASH_LENGTH: usize = 64;
const ROUNDS: usize = 10;
const ECHOES: usize = 1000;
const SECOND: &str = "0x00000000000000000000000000000000000000a2";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let bus = bus::Stage::start("bus").await;
    let daemon = daemon::Stage::start("daemon");
    println!("{LENGTH} bytes, {ROUNDS} times in turn, median:");
    let [mut up, mut down] = [const { [const { Vec::new() }; 2] }; 2];
    for _ in 0..ROUNDS {
        for (way, stage) in [&bus as &dyn Services, &daemon].into_iter().enumerate() {
            up[way].push(upload(stage).await);
            down[way].push(download(stage).await);
        }
    }
    tell_rates("up", &mut up);
    tell_rates("down", &mut down);
    println!("\none byte there and back, {ECHOES} times:");
    tell_echoes("bus", &bus).await;
    tell_echoes("daemon", &daemon).await;
    beside_bad_neighbours(&bus).await;
}

/// What others do to an echo over the bus.
async fn beside_bad_neighbours(bus: &bus::Stage) {
    let mut deaf = bus.proxy("give");
    deaf.send(&size(256 * MIB)).await;
    tell_echoes("bus, beside a client that does not read", bus).await;
    drop(deaf);

    let mut ignored = bus.proxy("ignore");
    // As much as both ends and the proxy hold, or less.
    ignored.send(&bytes(256 << 10, 1)).await;
    tell_echoes("bus, beside a node that does not read", bus).await;
    drop(ignored);

    let ip = [192, 168, 0, 4].into();
    let second = bus.join("second", ip, SECOND).await;
    let open = bus.connect(ip, second.port("tick")).await.expect("it listens");
    bus.silence(&second);
    tell_echoes("bus, beside a node that falls silent", bus).await;
    bus.remove(&second, SECOND).await;
    tell_echoes("bus, beside a node that is removed", bus).await;
    drop(open);

    for _ in 0..1000 {
        let stream = bus.connect(bus.ip(), bus.port("echo")).await.expect("it listens");
        bus.finish(stream).await;
    }
    tell_echoes("bus, after 1,000 connections", bus).await;
    bus.until_idle().await;
}

async fn upload(stage: &dyn Services) -> Duration {
    let content = bytes(LENGTH, 1);
    let proxy = stage.proxy("take");
    let start = Instant::now();
    take(proxy, &content).await;
    start.elapsed()
}

async fn download(stage: &dyn Services) -> Duration {
    let mut proxy = stage.proxy("give");
    let start = Instant::now();
    proxy.talk(&size(LENGTH), 8, LENGTH + HASH_LENGTH).await;
    start.elapsed()
}

fn tell_rates(direction: &str, [bus, daemon]: &mut [Vec<Duration>; 2]) {
    let rate = |times: &mut Vec<Duration>| {
        times.sort();
        LENGTH as f64 / 1e6 / times[times.len() / 2].as_secs_f64()
    };
    let (bus, daemon) = (rate(bus), rate(daemon));
    println!(
        "  {direction:<6} bus {bus:6.2} MB/s   daemon {daemon:6.2} MB/s   ratio {:.2}",
        bus / daemon
    );
}

async fn tell_echoes(what: &str, stage: &dyn Services) {
    let mut echo: Proxy = stage.proxy("echo");
    // The first one waits for the connection.
    echo.talk(b"x", 1, 1).await;
    let mut times = Vec::with_capacity(ECHOES);
    for _ in 0..ECHOES {
        let start = Instant::now();
        echo.talk(b"x", 1, 1).await;
        times.push(start.elapsed());
    }
    times.sort();
    let [median, late] = [ECHOES / 2, ECHOES * 99 / 100].map(|at| times[at].as_secs_f64() * 1e3);
    println!("  {what:<42} median {median:6.2} ms   p99 {late:6.2} ms");
}
