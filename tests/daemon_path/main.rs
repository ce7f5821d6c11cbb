//! The way to a node through the real daemon's websocket: the product's `ssh-proxy` against an
//! unmodified daemon, with nodes whose TCP is the kernel's.
//!
//! The simulation of the daemon passes bytes on as they come. The real one reorders them, and keeps
//! ends of connections to itself, so what moves bytes is held to the real one here. That a cluster comes to this way where
//! the bus reaches no node is tried with the simulation (`deaf`).

#![expect(
    clippy::disallowed_methods,
    reason = "the daemon, its nodes, and the proxy are processes"
)]

mod deaf;
#[path = "../lab/mod.rs"]
mod lab;
#[path = "../node_request/mod.rs"]
mod node_request;
#[path = "../proxy/mod.rs"]
mod proxy;
#[path = "../proxy/shell.rs"]
mod proxy_shell;
#[path = "../proxy/volume.rs"]
mod proxy_volume;
mod stage;

use std::time::{Duration, Instant};

use crate::{
    lab::network::Link,
    proxy::{Services as _, size, transfers_arrive_whole},
    proxy_volume::{
        a_tree_arrives_file_by_file, all_sizes_arrive_whole, sessions_at_once_are_whole,
    },
    stage::Stage,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[tokio::test]
async fn transfers_of_all_sizes_arrive_whole() {
    all_sizes_arrive_whole(&Stage::start("alice")).await;
}

#[tokio::test]
async fn a_tree_arrives_file_by_file_by_rsync() {
    a_tree_arrives_file_by_file(&Stage::start_with_sshd("frank").shell()).await;
}

#[tokio::test]
async fn fifty_sessions_at_once_are_whole() {
    sessions_at_once_are_whole(&Stage::start_with_sshd("grace").shell()).await;
}

#[tokio::test]
async fn many_small_writes_arrive_in_order() {
    let stage = Stage::start("bob");
    let lines: Vec<u8> = (0..2_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();

    let mut proxy = stage.proxy("echo");
    let echoed = proxy.talk(&lines, 7, lines.len()).await;

    assert!(echoed == lines);
}

#[tokio::test]
async fn transfers_arrive_whole_where_frames_lag_get_lost_and_overtake_each_other() {
    let stage = Stage::start("carol");
    stage.shape(Link {
        lag: Some(Duration::from_millis(10)),
        loss_permille: Some(5),
        reorder_permille: Some(20),
        is_silent: None,
    });

    transfers_arrive_whole(&stage, 256 * KIB, 2).await;
}

#[tokio::test]
async fn others_go_on_beside_a_client_that_does_not_read() {
    let stage = Stage::start("dave");
    // It asks for much, and does not read what comes.
    let mut deaf = stage.proxy("give");
    deaf.send(&size(64 * MIB)).await;

    let mut echo = stage.proxy("echo");
    let mut worst = Duration::ZERO;
    for _ in 0..50 {
        let start = Instant::now();
        assert_eq!(echo.talk(b"x", 1, 1).await, b"x");
        worst = worst.max(start.elapsed());
    }

    // The daemon gives up a connection that does not answer it for 10 s: till then it would hold up all.
    assert!(worst < Duration::from_secs(5), "an echo took {worst:?}");
}
