//! Ends of connections, and what is left of them.

use std::time::{Duration, Instant};

use ray_on_golem::network::NetworkError;

use crate::{MIB, Stage, sha256, stage::bytes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_of_the_input_reaches_the_node_which_answers_after_it() {
    let stage = Stage::start("erin").await;
    let content = bytes(100_000, 3);

    let mut proxy = stage.proxy("take-all");
    proxy.send(&content).await;
    proxy.shut();
    let answer = proxy.rest().await;

    assert_eq!(answer, format!("100000 {}", sha256(&content)).into_bytes());
    assert!(proxy.ended_well().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_the_node_sets_is_an_end_and_a_reset_a_failure() {
    let stage = Stage::start("frank").await;

    let mut closed = stage.proxy("close");
    assert_eq!(closed.rest().await, b"hello\n");
    closed.shut();
    assert!(closed.ended_well().await);

    let mut reset = stage.proxy("reset");
    reset.send(b"x").await;
    assert_eq!(reset.rest().await, b"hello\n");
    assert!(!reset.ended_well().await);
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
        assert_eq!(echo.talk(b"x", 1).await, b"x");
        worst = worst.max(start.elapsed());
    }

    assert!(worst < Duration::from_secs(2), "an echo took {worst:?}");
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
