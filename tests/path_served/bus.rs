//! Over the bus.

use futures_util::future::join_all;
use ray_on_golem::{network::NetworkError, yagna::NetworkPath};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    KIB, MIB,
    proxy::{self, Services as _, bytes, sha256, take, transfers_arrive_whole},
    proxy_ends,
    stage::{Stage, port},
};

/// One node for all of it, because it takes longer to come up than all of it together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_node_is_reached_as_a_real_one_is() {
    let stage = Stage::start(NetworkPath::Bus).await;

    transfers_arrive_whole(&stage, 64 * KIB, 4).await;
    transfers_arrive_whole(&stage, MIB, 4).await;
    transfers_arrive_whole(&stage, 12 * MIB, 1).await;
    fifty_sessions_at_once_are_whole(&stage).await;
    proxy_ends::an_end_of_the_input_reaches_the_node(&stage).await;
    proxy_ends::an_end_of_the_node_is_told_from_a_reset(&stage).await;
    a_closed_port_is_refused(&stage).await;
    others_go_on_beside_a_client_that_does_not_read(&stage).await;
    an_upload_outlives_a_restart_of_the_daemon(&stage).await;
    many_connections_leave_nothing_behind(&stage).await;
}

async fn fifty_sessions_at_once_are_whole(stage: &Stage) {
    let content = bytes(256 * KIB, 1);
    let hash = sha256(&content);

    let said = join_all((0..50).map(|_| take(stage.proxy("take"), &content))).await;

    assert!(said.iter().all(|said| *said == hash));
}

async fn a_closed_port_is_refused(stage: &Stage) {
    let refused = stage.connect(4).await.expect_err("nothing listens");

    assert!(matches!(refused, NetworkError::Refused(_)), "{refused}");
}

async fn others_go_on_beside_a_client_that_does_not_read(stage: &Stage) {
    let mut deaf = stage.proxy("give");
    deaf.send(&proxy::size(64 * MIB)).await;

    let mut echo = stage.proxy("echo");
    for _ in 0..50 {
        assert_eq!(echo.talk(b"x", 1, 1).await, b"x");
    }
}

async fn an_upload_outlives_a_restart_of_the_daemon(stage: &Stage) {
    let content = bytes(12 * MIB, 1);
    let upload = take(stage.proxy("take"), &content);

    let (said, ()) = tokio::join!(upload, stage.restart_daemon());

    assert_eq!(said, sha256(&content));
}

async fn many_connections_leave_nothing_behind(stage: &Stage) {
    for round in 0..400 {
        let mut stream = stage.connect(port("echo")).await.expect("it listens");
        // One in two is left as it is, the other one ends in both directions.
        if round % 2 == 0 {
            stream.write_all(b"bye").await.expect("open");
            stream.shutdown().await.expect("open");
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.expect("an end");
            assert_eq!(said, b"bye");
        }
    }

    stage.until_idle().await;
}
