//! The life of a cluster as Ray sees it.

use std::{collections::BTreeSet, time::Duration};

use ray_on_golem::{
    core::{Command, cluster::state::NodeState},
    server::openapi_document,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::lab::{Lab, QUICK, Web, nodes, server_board::Board};

fn running(board: &Board, count: usize) -> bool {
    let nodes = board.clusters.values().flat_map(|cluster| cluster.nodes.values());
    nodes.filter(|node| node.state == NodeState::Running).count() == count
}

/// Nothing of ours is left at the daemon, and everybody was paid what was accepted, once.
fn assert_settled(lab: &Lab) {
    lab.daemon.look(|daemon| {
        for agreement in daemon.agreements() {
            assert!(agreement.state.is_over(), "{agreement:#?}");
        }
        assert!(daemon.activities().iter().all(|activity| activity.ended.is_some()));
        assert!(daemon.networks().iter().all(|network| network.removed.is_some()));
        assert!(daemon.allocations().iter().all(|allocation| allocation.is_released));
        for invoice in daemon.invoices() {
            assert!(invoice.accepted.is_some(), "{invoice:#?}");
        }
    });
}

async fn up(web: &Web) {
    let head = web.post("/request_nodes", nodes("c", "head", 1)).await;
    let workers = web.post("/request_nodes", nodes("c", "worker", 2)).await;
    assert_eq!(head, json!({"requested_nodes": ["node0"]}));
    assert_eq!(workers, json!({"requested_nodes": ["node1", "node2"]}));
}

#[tokio::test]
async fn three_nodes_come_up_are_ended_and_paid_for() {
    let mut lab = Lab::start(QUICK).await;
    let web = &lab.web;
    up(web).await;
    let all = json!({"cluster_name": "c", "tags": {}});
    let listed = web.post("/non_terminated_nodes", all.clone()).await;
    assert_eq!(listed, json!({"nodes_ids": ["node0", "node1", "node2"]}), "at once");

    web.until("three nodes run", |board| running(board, 3)).await;
    let node = json!({"cluster_name": "c", "node_id": "node1"});
    assert_eq!(web.post("/is_running", node.clone()).await, json!({"is_running": true}));
    assert_eq!(web.post("/is_terminated", node.clone()).await, json!({"is_terminated": false}));
    let ip = web.post("/internal_ip", node.clone()).await;
    assert!(ip["ip_address"].as_str().is_some_and(|ip| ip.starts_with("192.168.0.")), "{ip}");
    let command = web.post("/ssh_proxy_command", node.clone()).await;
    let command = command["ssh_proxy_command"].as_str().unwrap_or_default().to_owned();
    assert!(command.starts_with("/bin/rog ssh-proxy --cluster c --node node1"), "{command}");
    let workers = json!({"cluster_name": "c", "tags": {"ray-node-type": "worker"}});
    let listed = web.post("/non_terminated_nodes", workers).await;
    assert_eq!(listed, json!({"nodes_ids": ["node1", "node2"]}));
    let tagged = json!({"cluster_name": "c", "node_id": "node1", "tags": {"x": "y"}});
    assert_eq!(web.post("/set_tags", tagged).await, json!({}));
    assert_eq!(web.post("/tags", node.clone()).await["tags"]["x"], "y");

    let data = web.post("/cluster_data", json!({"cluster_name": "c"})).await;
    let head = &data["cluster_data"]["node0"];
    assert_eq!((&head["state"], &head["kind"]), (&json!("running"), &json!("head")));
    assert!(head["provider_name"].as_str().is_some_and(|name| name.starts_with("quick")));
    assert_eq!(data["cluster"]["nodes_by_state"]["running"], 3);
    assert_eq!(data["cluster"]["budget_glm"], "5");

    let before = web.post("/terminate", node.clone()).await;
    assert_eq!(before["terminated_nodes"]["node1"]["state"], "running");
    assert_eq!(web.post("/is_terminated", node).await, json!({"is_terminated": true}));
    let left = web.post("/non_terminated_nodes", all).await;
    assert_eq!(left, json!({"nodes_ids": ["node0", "node2"]}));
    web.post("/terminate", json!({"cluster_name": "c", "node_id": "node0"})).await;
    web.until("the books are closed", |board| board.clusters.is_empty()).await;

    assert_settled(&lab);
    assert_eq!(lab.daemon.look(|daemon| daemon.agreements().len()), 3);
    let stopped = json!({"shutdown_delay": 0});
    assert_eq!(
        lab.web.post("/shutdown", stopped).await,
        json!({"shutdown_state": "will_shutdown"})
    );
    lab.web.handle().ask(Command::Shutdown).await.expect("it runs");
    lab.web.ended().await.expect("a clean end");
}

#[tokio::test]
async fn nodes_are_looked_at_with_the_host_keys_that_they_told_of() {
    let lab = Lab::start(QUICK).await;
    up(&lab.web).await;
    lab.web.until("three nodes run", |board| running(board, 3)).await;

    let targets = lab.web.prober.targets();
    let seen: BTreeSet<String> =
        targets.iter().filter_map(|target| Some(target.host_key.as_ref()?.to_string())).collect();
    let told: BTreeSet<String> = lab.daemon.look(|daemon| {
        daemon.activities().iter().map(|activity| format!("ssh-ed25519 {}", activity.id)).collect()
    });

    assert_eq!(targets.len(), 3);
    assert_eq!(seen, told);
}

#[tokio::test]
async fn a_killed_webserver_goes_on_where_it_was() {
    let mut lab = Lab::start(QUICK).await;
    up(&lab.web).await;
    // In the midst of it: some agreements are signed, none of the nodes is up for long.
    lab.web
        .until("an agreement is signed", |board| {
            let mut nodes = board.clusters.values().flat_map(|cluster| cluster.nodes.values());
            nodes.any(|node| node.provider.is_some())
        })
        .await;

    lab.kill_and_restart().await;
    let web = &lab.web;
    let listed = web.post("/non_terminated_nodes", json!({"cluster_name": "c", "tags": {}})).await;
    assert_eq!(listed, json!({"nodes_ids": ["node0", "node1", "node2"]}));
    web.until("three nodes run", |board| running(board, 3)).await;
    lab.kill_and_restart().await;
    let web = &lab.web;
    web.until("three nodes run", |board| running(board, 3)).await;
    lab.daemon.look(|daemon| {
        let live = daemon.activities().iter().filter(|activity| activity.ended.is_none()).count();
        assert_eq!(live, 3, "no node runs twice");
    });

    web.post("/end_cluster", json!({"cluster_name": "c"})).await;
    web.until("the books are closed", |board| board.clusters.is_empty()).await;
    assert_settled(&lab);
}

#[tokio::test]
async fn a_command_runs_on_a_node_through_its_provider() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    up(web).await;
    let run = async |node: Value| {
        let body = json!({"cluster_name": "c", "node_id": node, "command": "true", "seconds": 9});
        let (status, text) = web.send(&web.url, "/run_command", &body, Some(&web.token)).await;
        (status.as_u16(), serde_json::from_str::<Value>(&text).expect("JSON"))
    };
    let early = run(json!("node1")).await;
    web.until("three nodes run", |board| running(board, 3)).await;

    let on_worker = run(json!("node1")).await;
    let on_head = run(Value::Null).await;
    let unknown = run(json!("node9")).await;

    let done = |node: &str| json!({"node_id": node, "exit_code": 0, "stdout": "", "stderr": ""});
    assert_eq!(early, (400, json!({"error": "node1 does not run"})));
    assert_eq!(on_worker, (200, done("node1")));
    assert_eq!(on_head, (200, done("node0")));
    assert_eq!(unknown, (400, json!({"error": "Node with given id not found"})));
}

#[tokio::test]
async fn a_budget_is_raised_and_never_below_what_is_promised() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    up(web).await;
    web.until("three nodes run", |board| running(board, 3)).await;

    let raised = web.post("/set_budget", json!({"cluster_name": "c", "total_budget": 7.5})).await;
    assert_eq!(raised, json!({"total_budget": "7.5"}));
    let data = web.post("/cluster_data", json!({"cluster_name": "c"})).await;
    assert_eq!(data["cluster"]["budget_glm"], "7.5");
    let body = json!({"cluster_name": "c", "total_budget": "0.000000000000000001"});
    let (status, text) = web.send(&web.url, "/set_budget", &body, Some(&web.token)).await;
    assert_eq!(status.as_u16(), 400, "{text}");
}

#[tokio::test]
async fn the_wallet_the_key_and_the_numbers_are_told() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let wallet = json!({"payment_network": "holesky", "payment_driver": "erc20"});
    let wallet = web.post("/get_wallet_status", wallet).await;
    assert_eq!(wallet["wallet_address"], "0xabc");
    assert_eq!(wallet["yagna_payment_status"]["amount"], "7");
    assert_eq!(wallet["yagna_payment_status_output"], "| platform | total amount |\n");

    let name = json!({"cluster_name": "c"});
    let key = web.post("/ger_or_create_default_ssh_key", name.clone()).await;
    let again = web.post("/get_or_create_default_ssh_key", name).await;
    assert_eq!(key, again);
    let private = key["ssh_private_key_base64"].as_str().unwrap_or_default();
    assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));

    up(web).await;
    web.until("three nodes run", |board| running(board, 3)).await;
    let metrics = web.get("/metrics").await;
    for line in [
        r#"ray_on_golem_nodes{cluster="c",state="running"} 3"#,
        r#"ray_on_golem_budget_glm{cluster="c"} 5"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    let overview: Value = serde_json::from_str(&web.get("/status").await).expect("JSON");
    assert_eq!(overview["clusters"][0]["nodes"][2]["node_id"], "node2");
    let api = serde_json::to_string_pretty(&openapi_document()).expect("plain data");
    insta::assert_snapshot!("openapi", api);
}

#[tokio::test]
async fn changes_are_told_as_they_happen() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let events = web.client.get(format!("{}/events", web.url)).bearer_auth(&web.token);
    let mut events = events.send().await.expect("an answer");
    up(web).await;

    let mut text = String::new();
    while !text.contains("\"state\":\"running\",\"state_log\"") {
        let chunk = timeout(Duration::from_secs(60), events.chunk()).await.expect("in time");
        text += &String::from_utf8_lossy(&chunk.expect("a stream").expect("more of it"));
    }
    assert!(text.starts_with("event: cluster\ndata: {\"cluster_name\":\"c\""), "{text}");
    assert!(text.contains("event: node\ndata: {"), "{text}");
}
