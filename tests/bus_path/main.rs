//! The way to a node over the real daemon's bus: the product's `ssh-proxy`, door, and TCP against an unmodified
//! daemon, with nodes whose TCP is the kernel's.

#![expect(
    clippy::disallowed_methods,
    reason = "the daemon, its nodes, and the proxy are processes"
)]

mod ends;
#[path = "../lab/mod.rs"]
mod lab;
#[path = "../proxy/mod.rs"]
mod proxy;
#[path = "../proxy/ends.rs"]
mod proxy_ends;
#[path = "../proxy/shell.rs"]
mod proxy_shell;
#[path = "../proxy/volume.rs"]
mod proxy_volume;
mod stage;

use std::time::Duration;

use crate::{
    lab::network::Link,
    proxy::{Services as _, bytes, sha256, take, transfers_arrive_whole},
    proxy_ends::{an_end_of_the_input_reaches_the_node, an_end_of_the_node_is_told_from_a_reset},
    proxy_volume::{
        a_tree_arrives_file_by_file, all_sizes_arrive_whole, sessions_at_once_are_whole,
    },
    stage::Stage,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_of_all_sizes_arrive_whole() {
    all_sizes_arrive_whole(&Stage::start("alice").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_arrives_file_by_file_by_rsync() {
    a_tree_arrives_file_by_file(&Stage::start_with_sshd("niaj").await.shell()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_sessions_at_once_are_whole() {
    sessions_at_once_are_whole(&Stage::start_with_sshd("olivia").await.shell()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_arrive_whole_where_frames_lag_get_lost_and_overtake_each_other() {
    let stage = Stage::start("bob").await;
    stage.shape(Link {
        lag: Some(Duration::from_millis(10)),
        loss_permille: Some(10),
        reorder_permille: Some(20),
        is_silent: None,
    });

    transfers_arrive_whole(&stage, 256 * KIB, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_without_a_network_device() {
    let stage = Stage::start_without_device("peggy").await;

    transfers_arrive_whole(&stage, 256 * KIB, 4).await;
    an_end_of_the_input_reaches_the_node(&stage).await;
    an_end_of_the_node_is_told_from_a_reset(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_uploads_at_once_are_whole() {
    let stage = Stage::start("carol").await;
    let content = bytes(256 * KIB, 1);
    let hash = sha256(&content);

    let sessions = (0..50).map(|_| take(stage.proxy("take"), &content));
    let said = futures_util::future::join_all(sessions).await;

    assert!(said.iter().all(|said| *said == hash));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_outlives_a_restart_of_the_daemon() {
    let stage = Stage::start("dave").await;
    let content = bytes(50 * MIB, 1);
    let upload = take(stage.proxy("take"), &content);
    let restart = async {
        stage.until_received(5_000).await;
        tokio::task::block_in_place(|| stage.restart_daemon());
    };

    let (said, ()) = tokio::join!(upload, restart);

    assert_eq!(said, sha256(&content));
}
