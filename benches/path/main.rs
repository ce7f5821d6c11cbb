//! Ways to a node of a real daemon, in one run: how much they carry, how long a byte takes there and back, and what bad
//! neighbours do to it. The daemon, the product's `ssh-proxy`, and the node's TCP are real; the net between them is the lab's.
//!
//! The product's two ways are held to two others. The daemon's websocket without the product's pauses is as fast as the
//! daemon's way can be, and keeps no order. The kernel's TCP over the same frames, sent by cubic, is what the product's own TCP
//! over the bus is to come near where frames get lost.
//!
//! `cargo bench --bench path` prints tables; `-- clean`, `-- loss`, or `-- neighbours` behind it only that part of them. Run it
//! on a machine that does nothing else.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the daemon, its nodes, and the proxy are processes; prints what it measured"
)]

#[expect(dead_code, reason = "tests use the rest")]
#[path = "../../tests/bus_path/stage.rs"]
mod bus;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../../tests/daemon_path/stage.rs"]
mod daemon;
#[path = "../../tests/lab/mod.rs"]
mod lab;
mod neighbours;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../../tests/proxy/mod.rs"]
mod proxy;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../../tests/proxy/shell.rs"]
mod proxy_shell;
mod way;

use std::{env, fs::File, time::Duration};

use lab::network::Link;
use neighbours::beside_bad_neighbours;
use proxy::Services;
use way::{Kernel, Way, Websocket};

const MIB: usize = 1 << 20;
const ECHOES: usize = 1000;
const BUS: &str = "bus, by ssh-proxy";

/// What is sent over one kind of link.
struct Race {
    length: usize,
    rounds: usize,
}

/// How long it took: each way's rounds.
type Times = Vec<Vec<Duration>>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        println!(
            "Nodes of the lab are network devices, which this machine cannot make: /dev/net/tun: {error}."
        );
        return;
    }
    let parts: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|word| word == part);
    let bus = bus::Stage::start("bus").await;
    if is_wanted("clean") {
        on_a_clean_link(&bus).await;
    }
    if is_wanted("loss") {
        where_frames_get_lost(&bus).await;
    }
    if is_wanted("neighbours") {
        println!("\n== Bad neighbours ==");
        beside_bad_neighbours(&bus).await;
    }
}

async fn on_a_clean_link(bus: &bus::Stage) {
    println!("\n== A clean link ==");
    let daemon = daemon::Stage::start("daemon");
    let (mut websocket, mut kernel) = (Websocket::start(), Kernel::start());
    let names = [
        BUS.to_owned(),
        "daemon, by ssh-proxy".to_owned(),
        "daemon, a websocket without pauses".to_owned(),
        kernel.name(),
    ];
    let mut ways = [
        Way::Product(bus),
        Way::Product(&daemon),
        Way::Websocket(&mut websocket),
        Way::Kernel(&mut kernel),
    ];
    println!("  one byte there and back, {ECHOES} times:\n");
    for (name, way) in names.iter().zip(&mut ways) {
        tell(name, way.echoes(ECHOES).await);
    }
    println!();
    Race { length: 4 * MIB, rounds: 10 }.run(&names, &mut ways).await;
}

async fn where_frames_get_lost(bus: &bus::Stage) {
    let mut kernel = Kernel::start();
    for (lag, rounds) in [(25, 10), (50, 5)] {
        println!("\n== A link that takes {lag} ms and loses 1 % of all frames, each way ==");
        let lag = Some(Duration::from_millis(lag));
        let link = Link { lag, loss_permille: Some(10), ..Link::default() };
        bus.shape(link);
        kernel.shape(link);
        let names = [BUS.to_owned(), kernel.name()];
        let mut ways = [Way::Product(bus), Way::Kernel(&mut kernel)];
        Race { length: MIB, rounds }.run(&names, &mut ways).await;
    }
    bus.shape(Link { lag: Some(Duration::ZERO), loss_permille: Some(0), ..Link::default() });
}

impl Race {
    /// Sends in turn, and tells how fast each way is, and how many times as fast as it the first one is. What each
    /// transfer takes is told as it ends.
    async fn run(&self, names: &[String], ways: &mut [Way<'_>]) {
        let (mut up, mut down) = (vec![Vec::new(); ways.len()], vec![Vec::new(); ways.len()]);
        for _ in 0..self.rounds {
            for (number, way) in ways.iter_mut().enumerate() {
                let took = [way.up(self.length).await, way.down(self.length).await];
                let [to, from] = took.map(|took| took.as_secs_f64());
                eprintln!("    {:<42} up {to:6.2} s   down {from:6.2} s", names[number]);
                up[number].push(took[0]);
                down[number].push(took[1]);
            }
        }
        let Self { length, rounds } = self;
        println!(
            "  {length} bytes, {rounds} times in turn, median in MB/s, slowest and fastest:\n"
        );
        println!("  {:<42} {:>24} {:>24}   bus to it, up and down", "", "up", "down");
        let (up, down) = (self.rates(up), self.rates(down));
        for ((name, up_rates), down_rates) in names.iter().zip(&up).zip(&down) {
            let rates =
                |[low, middle, high]: &[f64; 3]| format!("{middle:.2} ({low:.2}-{high:.2})");
            println!(
                "  {name:<42} {:>24} {:>24}   {:.2}  {:.2}",
                rates(up_rates),
                rates(down_rates),
                up[0][1] / up_rates[1],
                down[0][1] / down_rates[1],
            );
        }
    }

    /// For each way the lowest, the median, and the highest rate, in megabytes a second.
    fn rates(&self, times: Times) -> Vec<[f64; 3]> {
        let of = |mut times: Vec<Duration>| {
            times.sort();
            let slowest_first = [times.len() - 1, times.len() / 2, 0];
            slowest_first.map(|at| self.length as f64 / 1e6 / times[at].as_secs_f64())
        };
        times.into_iter().map(of).collect()
    }
}

async fn tell_echoes(what: &str, stage: &dyn Services) {
    tell(what, Way::Product(stage).echoes(ECHOES).await);
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let [median, late] = [ECHOES / 2, ECHOES * 99 / 100].map(|at| times[at].as_secs_f64() * 1e3);
    println!("  {what:<42} median {median:6.2} ms   p99 {late:6.2} ms");
}
