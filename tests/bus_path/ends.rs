//! Ends of connections, and what is left of them.

use std::time::{Duration, Instant};

use ray_on_golem::network::NetworkError;
use tokio::io::AsyncReadExt as _;

use crate::{
    MIB,
    proxy::{Services as _, bytes},
    proxy_ends::{an_end_of_the_input_reaches_the_node, an_end_of_the_node_is_told_from_a_reset},
    stage::Stage,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_of_the_input_reaches_the_node_which_answers_after_it() {
    an_end_of_the_input_reaches_the_node(&Stage::start("erin").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_the_node_sets_is_an_end_and_a_reset_a_failure() {
    an_end_of_the_node_is_told_from_a_reset(&Stage::start("frank").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_port_and_a_strange_address_are_refused() {
    let stage = Stage::start("grace").await;

    let refused = stage.connect(stage.ip(), 4).await.expect_err("nothing listens");
    assert!(matches!(refused, NetworkError::Refused(_)), "{refused}");
    let strange = stage.connect([192, 168, 0, 99].into(), 22).await.expect_err("no member");
    assert!(matches!(strange, NetworkError::Connect(_)), "{strange}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_beside_a_client_that_does_not_read() {
    let stage = Stage::start("heidi").await;
    let mut deaf = stage.proxy("give");
    deaf.send(&(64 * MIB as u64).to_be_bytes()).await;

    let mut echo = stage.proxy("echo");
    let mut worst = Duration::ZERO;
    for _ in 0..50 {
        let start = Instant::now();
        assert_eq!(echo.talk(b"x", 1, 1).await, b"x");
        worst = worst.max(start.elapsed());
    }

    assert!(worst < Duration::from_secs(2), "an echo took {worst:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_beside_nodes_that_do_not_read_or_fall_silent_or_are_gone() {
    let stage = Stage::start("mallory").await;
    let mut ignored = stage.proxy("ignore");
    ignored.send(&bytes(256 << 10, 1)).await;
    let (ip, provider) = ([192, 168, 0, 4].into(), "0x00000000000000000000000000000000000000a2");
    let second = stage.join("niaj", ip, provider).await;
    let open = stage.connect(ip, second.port("tick")).await.expect("it listens");
    let mut echo = stage.proxy("echo");

    assert_eq!(echo.talk(b"x", 1, 1).await, b"x");
    stage.silence(&second);
    assert_eq!(echo.talk(b"x", 1, 1).await, b"x");
    stage.remove(&second, provider).await;
    assert_eq!(echo.talk(b"x", 1, 1).await, b"x");
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_told_of_each_other_and_of_who_is_gone() {
    let stage = Stage::start("judy").await;
    stage.deploy(stage.ip()).await;
    let (ip, provider) = ([192, 168, 0, 4].into(), "0x00000000000000000000000000000000000000a2");
    let second = stage.join("kate", ip, provider).await;
    assert_eq!(stage.untold(), 2);
    stage.deploy(ip).await;

    stage.until_told().await;

    // Who is gone while nobody hears it is told of later.
    stage.remove(&second, provider).await;
    stage.until_told().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webserver_that_is_started_again_goes_on_with_its_network() {
    let mut stage = Stage::start("liam").await;
    let mut open = stage.connect(stage.ip(), stage.port("echo")).await.expect("it listens");

    stage.begin_again().await;

    // What the life before had open is over, at both ends.
    let mut byte = [0];
    assert!(open.read_exact(&mut byte).await.is_err());
    let stream = stage.connect(stage.ip(), stage.port("echo")).await.expect("the same network");
    stage.finish(stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_leave_nothing_behind() {
    let stage = Stage::start("ivan").await;
    for round in 0..1000 {
        let stream = stage.connect(stage.ip(), stage.port("echo")).await.expect("it listens");
        // One in two is left as it is, the other one ends in both directions.
        if round % 2 == 0 {
            stage.finish(stream).await;
        }
    }

    stage.until_idle().await;
}
