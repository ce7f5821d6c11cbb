//! Through the daemon's websocket, where frames that are sent together overtake each other: the product waits for each.

use ray_on_golem::yagna::NetworkPath;

use crate::{
    KIB, MIB,
    proxy::{Services as _, transfers_arrive_whole},
    stage::Stage,
};

/// One node for all of it, because it takes longer to come up than all of it together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_node_is_reached_as_a_real_one_is() {
    let stage = Stage::start(NetworkPath::Daemon).await;

    transfers_arrive_whole(&stage, 64 * KIB, 4).await;
    transfers_arrive_whole(&stage, MIB, 4).await;
    many_small_writes_arrive_in_order(&stage).await;
}

async fn many_small_writes_arrive_in_order(stage: &Stage) {
    let lines: Vec<u8> = (0..200).flat_map(|n| format!("{n}\n").into_bytes()).collect();

    let mut proxy = stage.proxy("echo");
    let echoed = proxy.talk(&lines, 7, lines.len()).await;

    assert!(echoed == lines);
}
