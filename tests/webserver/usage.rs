//! The use of a cluster, and what follows for its end.

use ray_on_golem::{core::cluster::state::NodeState, network::Connections, server::Usage};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::lab::{Lab, QUICK, Web, nodes, server_board::Board};

/// A head that runs, with half an hour until its cluster ends by itself.
async fn up(web: &Web) {
    let mut head = nodes("c", "head", 1);
    head["provider_parameters"]["autostop"] = json!({"idle_minutes": 30});
    web.post("/request_nodes", head).await;
    web.until("a head runs", |board| {
        let mut nodes = board.clusters.values().flat_map(|cluster| cluster.nodes.values());
        nodes.any(|node| node.state == NodeState::Running)
    })
    .await;
    web.until("it is not used", is_idle).await;
}

fn is_idle(board: &Board) -> bool {
    board.current("c").is_some_and(|cluster| {
        assert_eq!(cluster.idle_since.is_some(), cluster.ends_by_itself_at.is_some());
        cluster.idle_since.is_some()
    })
}

#[tokio::test]
async fn a_head_says_whether_there_is_load() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    up(web).await;
    let token = web.head_token("c");
    let look = async |has_load: Value| {
        let body = json!({"cluster_name": "c", "has_load": has_load});
        web.send(&web.heads_url, "/cluster_data", &body, Some(token.as_str())).await
    };

    let (status, _) = look(json!(true)).await;
    assert_eq!(status, StatusCode::OK);
    web.until("Ray has load", |board| !is_idle(board)).await;

    look(json!(false)).await;
    web.until("Ray has none", is_idle).await;
    let told: Value = serde_json::from_str(&web.get("/status").await).expect("JSON");
    let cluster = &told["clusters"][0];
    let board = web.handle().board();
    let seen = board.current("c").expect("it is there");
    let written = |at: Option<ray_on_golem::units::Timestamp>| {
        json!(at.map(ray_on_golem::driver::clock::written))
    };
    assert_eq!(cluster["idle_since"], written(seen.idle_since));
    assert_eq!(cluster["ends_by_itself_at"], written(seen.ends_by_itself_at));

    let (status, said) = look(json!("yes")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{said}");
    assert!(said.contains("has_load"), "{said}");
    // A user's word on it counts for nothing: the autoscaler knows.
    web.post("/cluster_data", json!({"cluster_name": "c", "has_load": true})).await;
    assert!(is_idle(&web.handle().board()));
}

#[tokio::test]
async fn a_cluster_with_an_open_connection_is_used() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let connections = Connections::default();
    let usage = Usage::new(connections.clone());
    let keeping = tokio::spawn(usage.keep(web.handle().clone()));
    up(web).await;
    let board = web.handle().board();
    let network = board.current("c").and_then(|cluster| cluster.network.clone());

    let connection = connections.begin(network.expect("a head has one"));
    web.until("a user is connected", |board| !is_idle(board)).await;

    drop(connection);
    web.until("no user is", is_idle).await;
    keeping.abort();
}
