//! What is refused, and how.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use ray_on_golem::{
    core::cluster::state::NodeState,
    server::route::{Route, Verb},
};

use crate::lab::{Lab, QUICK, nodes};

#[tokio::test]
async fn every_route_without_its_token_is_refused() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    for base in [&web.url, &web.heads_url] {
        for path in Route::ALL.into_iter().flat_map(|route| route.paths()).chain(&["/other"]) {
            for token in [None, Some("wrong"), Some("")] {
                for method in [Method::GET, Method::POST] {
                    let wanted = match (*path, &method) {
                        ("/", _) => StatusCode::OK,
                        // It is asked, and lacks what it is asked about.
                        ("/prove", &Method::POST) => StatusCode::BAD_REQUEST,
                        _ => StatusCode::UNAUTHORIZED,
                    };
                    let mut request = web.client.request(method, format!("{base}{path}"));
                    if let Some(token) = token {
                        request = request.bearer_auth(token);
                    }
                    let status = request.body("{}").send().await.expect("an answer").status();
                    assert_eq!(status, wanted, "{base}{path} with {token:?}");
                }
            }
        }
    }
    // Nor does the users' token open the heads' port.
    let (status, _) = web.send(&web.heads_url, "/is_running", &json!({}), Some(&web.token)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let node = |id: &str| json!({"cluster_name": "c", "node_id": id});
    let mut bad = nodes("c", "head", 1);
    bad["provider_parameters"]["total_budget"] = json!("x");
    let cases: [(&str, Value, u16, Value); 10] = [
        ("/is_running", node("node0"), 400, json!({"error": "Cluster with given name not found"})),
        ("/cluster_data", node("x"), 400, json!({"error": "Cluster with given name not found"})),
        ("/terminate", node("x"), 400, json!({"error": "Node with given id not found"})),
        (
            "/non_terminated_nodes",
            json!({"cluster_name": "c", "tags": {}}),
            200,
            json!({"nodes_ids": []}),
        ),
        (
            "/tags",
            json!({}),
            400,
            json!({"error": "cluster_name: is missing; add it", "field": "cluster_name"}),
        ),
        ("/tags", json!([]), 400, json!({"error": "the body is no JSON object"})),
        (
            "/request_nodes",
            bad,
            400,
            json!({
                "error": "provider_parameters.total_budget: `x` does not fit here; write a number, such \
                          as `0.5`",
                "field": "provider_parameters.total_budget",
            }),
        ),
        (
            "/shutdown",
            json!({"shutdown_delay": -1}),
            400,
            json!({
                "error": "shutdown_delay: `-1` does not fit here; write a whole number from 0 to 86400",
                "field": "shutdown_delay",
            }),
        ),
        ("/other", json!({}), 404, json!({"error": "not found"})),
        ("/metrics", json!({}), 405, json!({"error": "Method Not Allowed"})),
    ];
    for (path, body, status, answer) in cases {
        let (found, text) = web.send(&web.url, path, &body, Some(&web.token)).await;
        let found_answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((found.as_u16(), found_answer), (status, answer), "{path} {body}");
    }
    let text = web.client.post(format!("{}/tags", web.url)).bearer_auth(&web.token).body("{");
    let text = text.send().await.expect("an answer").text().await.expect("text");
    assert!(text.starts_with(r#"{"error":"the body is no JSON: "#), "{text}");
}

#[tokio::test]
async fn what_is_stuck_on_a_node_is_bounded_however_often_it_is_asked_for() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    web.post("/request_nodes", nodes("c", "head", 1)).await;
    let stick = async |key: u32| {
        let tags = json!({(format!("{key}")): "x".repeat(950)});
        let body = json!({"cluster_name": "c", "node_id": "node0", "tags": tags});
        let (status, text) = web.send(&web.url, "/set_tags", &body, Some(&web.token)).await;
        (status.as_u16(), serde_json::from_str::<Value>(&text).expect("JSON"))
    };

    for key in 0..4 {
        assert_eq!(stick(key).await, (200, json!({})), "{key}");
    }
    let what = "the tags of the node would have more than 4096 bytes together";
    assert_eq!(stick(4).await, (400, json!({"error": what})));
    assert_eq!(stick(3).await, (200, json!({})), "what is there already may be said again");
}

#[tokio::test]
async fn no_cluster_begins_where_its_journal_has_no_room() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    web.post("/request_nodes", nodes("first", "head", 1)).await;
    // What is to become the journal cannot be made, as on a full disk.
    let next = lab.data.path().join("journal/next");
    std::fs::create_dir(&next).expect("writable");
    let ask = async |cluster: &str, kind: &str| {
        let body = nodes(cluster, kind, 1);
        web.send(&web.url, "/request_nodes", &body, Some(&web.token)).await
    };

    let (status, said) = ask("second", "head").await;

    assert_eq!(status, StatusCode::BAD_REQUEST);
    let what = format!(
        "no cluster is begun whose journal cannot be kept: cannot create `{}`: Is a directory (os error 21); make room, and \
         run the command again",
        next.display()
    );
    assert_eq!(serde_json::from_str::<Value>(&said).expect("JSON"), json!({ "error": what }));
    assert_eq!(ask("first", "worker").await.0, StatusCode::OK, "others go on");
    std::fs::remove_dir(&next).expect("writable");
    assert_eq!(ask("second", "head").await.0, StatusCode::OK);
}

#[tokio::test]
async fn while_it_shuts_down_nodes_are_neither_started_nor_ended() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;

    let state = web.post("/shutdown", json!({"shutdown_delay": 60})).await;

    assert_eq!(state, json!({"shutdown_state": "will_shutdown"}));
    for (path, body) in [
        ("/request_nodes", nodes("c", "head", 1)),
        ("/terminate", json!({"cluster_name": "c", "node_id": "node0"})),
    ] {
        let (status, text) = web.send(&web.url, path, &body, Some(&web.token)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(text, "Action not allowed while server is shutting down!");
    }
    let root = web.client.get(&web.url).send().await.expect("an answer");
    let root: Value = serde_json::from_str(&root.text().await.expect("text")).expect("JSON");
    assert_eq!(root["shutting_down"], true);
}

#[tokio::test]
async fn a_head_reaches_its_own_cluster_and_nothing_else() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    web.post("/request_nodes", nodes("mine", "head", 1)).await;
    web.post("/request_nodes", nodes("other", "head", 1)).await;
    let board = web.handle().board();
    let mine = board.current("mine").expect("it is there");
    let token = web.app.heads.of(mine.id, &mine.name).expect("a writable directory");
    let send = async |path: &str, body: Value| {
        let (status, text) = web.send(&web.heads_url, path, &body, Some(token.as_str())).await;
        (status.as_u16(), text)
    };

    let listed = send("/non_terminated_nodes", json!({"cluster_name": "mine", "tags": {}})).await;
    assert_eq!(listed, (200, r#"{"nodes_ids":["node0"]}"#.to_owned()));
    let (status, workers) = send("/request_nodes", nodes("mine", "worker", 1)).await;
    assert_eq!((status, workers.as_str()), (200, r#"{"requested_nodes":["node1"]}"#));
    let mut body = nodes("other", "worker", 1);
    body["node_id"] = json!("node0");
    for route in Route::ALL.into_iter().filter(|route| *route != Route::Root) {
        let method = match route.verb() {
            Verb::Any | Verb::Post => Method::POST,
            Verb::Get => Method::GET,
        };
        for path in route.paths() {
            let request = web.client.request(method.clone(), format!("{}{path}", web.heads_url));
            let request = request.bearer_auth(token.as_str()).body(body.to_string());
            let status = request.send().await.expect("an answer").status().as_u16();
            let wanted = if route.is_for_heads() { 403 } else { 404 };
            assert_eq!(status, wanted, "{path}");
        }
    }
    assert_eq!(web.handle().board().current("other").expect("there").nodes.len(), 1);
    let (status, _) = web.send(&web.url, "/tags", &json!({}), Some(token.as_str())).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "the users' port knows no head");
    let (_, data) = send("/cluster_data", json!({"cluster_name": "mine"})).await;
    assert!(!data.contains("/bin/rog") && data.contains("node1"), "{data}");
}

#[tokio::test]
async fn the_token_of_a_cluster_that_ends_opens_no_newer_one_of_its_name() {
    // The first one waits for its last bill.
    let lab = Lab::start(&QUICK.replace("invoice_after: 0.1", "invoice_after: 600")).await;
    let web = &lab.web;
    web.post("/request_nodes", nodes("c", "head", 1)).await;
    web.until("a head runs", |board| {
        let mut nodes = board.clusters.values().flat_map(|cluster| cluster.nodes.values());
        nodes.any(|node| node.state == NodeState::Running)
    })
    .await;
    let board = web.handle().board();
    let first = board.current("c").expect("it is there");
    let token = web.app.heads.of(first.id, &first.name).expect("a writable directory");
    web.post("/end_cluster", json!({"cluster_name": "c"})).await;
    let second = web.post("/request_nodes", nodes("c", "head", 1)).await;
    assert_eq!(second, json!({"requested_nodes": ["node1"]}));
    assert_eq!(web.handle().board().clusters.len(), 2);

    for (path, body) in [
        ("/cluster_data", json!({"cluster_name": "c"})),
        ("/non_terminated_nodes", json!({"cluster_name": "c", "tags": {}})),
        ("/tags", json!({"cluster_name": "c", "node_id": "node1"})),
        ("/terminate", json!({"cluster_name": "c", "node_id": "node1"})),
        ("/request_nodes", nodes("c", "worker", 1)),
    ] {
        let (status, text) = web.send(&web.heads_url, path, &body, Some(token.as_str())).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {text}");
    }
}

#[tokio::test]
async fn a_head_whose_cluster_ends_while_it_asks_begins_no_other_one() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let token = web.head("c").await;
    let mut body = nodes("c", "worker", 1);
    body["node_config"]["demand"]["image_tag"] = json!("golem/slow:1");

    let asking = web.send(&web.heads_url, "/request_nodes", &body, Some(token.as_str()));
    let ending = async {
        lab.slow.asked().await;
        web.post("/end_cluster", json!({"cluster_name": "c"})).await;
        lab.slow.found();
    };
    let ((status, text), ()) = tokio::join!(asking, ending);

    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert_eq!(text, r#"{"error":"Cluster with given name not found"}"#);
    web.until("everything has ended", |board| board.clusters.is_empty()).await;
}
