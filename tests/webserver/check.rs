//! A cluster file, looked at as a whole before anything is rented.
#![expect(clippy::disallowed_methods, reason = "the fixtures are files")]

use std::{fs, path::Path};

use ray_on_golem::config::{ClusterFile, yaml};
use serde_json::{Value, json};

use crate::lab::{Lab, QUICK, Web};

/// Where its worker's `node_config` may say more.
const WORKER: &str = "  ray.worker.default:
    min_workers: 1
    max_workers: 3
    # One task at a time on each node, however many threads it has, so that the work spreads.
    resources: {\"CPU\": 1}
    node_config: {}
";

#[tokio::test]
async fn every_file_that_a_survey_refuses_is_refused_in_the_same_words() {
    let lab = Lab::start(QUICK).await;
    let files = fs::read_dir(fixture("refused")).expect("a directory of fixtures");
    let mut count = 0;
    for file in files {
        let path = file.expect("an entry of the directory").path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        count += 1;
        let sentence =
            ClusterFile::parse("my.yaml", text.as_bytes()).expect_err("a refused file").to_string();

        let (status, answer) = ask(&lab.web, &text).await;

        assert_eq!((status, &answer["error"]), (400, &json!(sentence)), "{}", path.display());
    }
    assert!(count > 70, "{count} files");
    assert!(lab.web.handle().board().clusters.is_empty(), "nothing was begun");
}

#[tokio::test]
async fn what_is_wrong_with_a_worker_is_told_by_line_or_else_by_key() {
    let lab = Lab::start(QUICK).await;
    let key = "available_node_types.ray.worker.default.node_config";
    for (node_config, place, what) in [
        (
            "{demand: {min_cpu_threads: 8, max_cpu_threads: 4}}",
            format!("{key}.demand.min_cpu_threads"),
            "",
        ),
        ("{demand: {image_tag: null}}", format!("{key}.demand"), ""),
        (
            "{budget_control: {max_start_price: -1}}",
            format!("{key}.budget_control.max_start_price"),
            "`-1` is below zero; write 0 or more",
        ),
        (
            "{demand: {image_tag: golem/nosuch:1}}",
            format!("{key}.demand.image_tag"),
            "Golem Registry request failed: Image tag `golem/nosuch:1` does not exist",
        ),
    ] {
        let text = demo().replace(WORKER, &WORKER.replace("{}", node_config));

        let (status, answer) = ask(&lab.web, &text).await;
        let (by_key_status, by_key) = ask_without_text(&lab.web, &text).await;

        let error = answer["error"].as_str().expect("a sentence");
        assert_eq!((status, by_key_status), (400, 400), "{answer} {by_key}");
        let lines: Vec<&str> = text.lines().collect();
        let line: usize =
            error.split(':').nth(1).and_then(|line| line.parse().ok()).expect("a line");
        assert!((44..=50).contains(&line), "{error} {}", lines[line - 1]);
        assert!(error.contains(what), "{error}");
        assert_eq!(answer["field"], json!(place), "{answer}");
        assert_eq!(by_key["field"], json!(place), "{by_key}");
        assert!(!by_key.to_string().contains("line"), "{by_key}");
    }
}

#[tokio::test]
async fn what_ray_misses_only_on_a_rented_head_is_told_before() {
    let lab = Lab::start(QUICK).await;
    let without = |key: &str| {
        let mut is_kept = true;
        let kept = |line: &&str| {
            if !line.starts_with(' ') {
                is_kept = !line.starts_with(&format!("{key}:"));
            }
            is_kept
        };
        demo().lines().filter(kept).map(|line| format!("{line}\n")).collect::<String>()
    };
    for (key, what) in [
        (
            "head_start_ray_commands",
            "is missing, so that Ray would not start on rented nodes; write `- ray stop`",
        ),
        (
            "worker_start_ray_commands",
            "is missing, so that Ray would not start on rented nodes; write `- ray stop`",
        ),
    ] {
        let text = without(key);

        let (status, answer) = ask(&lab.web, &text).await;
        let (by_key_status, by_key) = ask_without_text(&lab.web, &text).await;

        assert_eq!((status, by_key_status), (400, 400), "{key} {answer} {by_key}");
        assert!(answer["error"].as_str().is_some_and(|it| it.contains(what)), "{answer}");
        assert!(by_key["error"].as_str().is_some_and(|it| it.contains(what)), "{by_key}");
        assert_eq!((&answer["field"], &by_key["field"]), (&json!(key), &json!(key)));
    }
}

#[tokio::test]
async fn what_the_command_line_made_of_a_file_is_looked_at_too() {
    let lab = Lab::start(QUICK).await;
    let mut body = body(&demo());
    body["cluster_config"]["max_workers"] = json!(-1);

    let (status, answer) = send(&lab.web, &body).await;

    assert_eq!(status, 400);
    let what = "max_workers: `-1` does not fit here; write a whole number from 0 to 65535";
    assert_eq!(answer, json!({"error": what, "field": "max_workers"}));
}

#[tokio::test]
async fn a_good_file_is_warned_of_what_is_probably_not_meant() {
    let lab = Lab::start(QUICK).await;
    let retired = demo().replace("payment_network: hoodi", "payment_network: holesky");

    assert_eq!(ask(&lab.web, &demo()).await, (200, json!({"warnings": []})));
    let what = "provider.parameters.payment_network: `holesky` has been shut down, and `hoodi` is \
                used; write `hoodi`";
    let by_line = json!({"warnings": [format!("my.yaml:16: {what}")]});
    assert_eq!(ask(&lab.web, &retired).await, (200, by_line));
    assert_eq!(ask_without_text(&lab.web, &retired).await, (200, json!({"warnings": [what]})));
}

#[tokio::test]
async fn a_head_asks_only_for_what_the_file_says() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let text = demo();
    assert_eq!(ask(web, &text).await.0, 200);
    web.post("/request_nodes", one(&text, "ray.head.default", "head")).await;
    let token = web.head_token("c");
    let ask_as_head = async |body: &Value| {
        web.send(&web.heads_url, "/request_nodes", body, Some(token.as_str())).await
    };

    let worker = one(&text, "ray.worker.default", "worker");
    for (key, value) in [
        ("demand", json!({"image_tag": "golem/other:1"})),
        ("demand", json!({"min_mem_gib": 64})),
        ("budget_control", json!({"max_cpu_per_hour_price": 1000})),
        ("provider_choice", json!({"whitelist": ["0x00000000000000000000000000000000000000aa"]})),
    ] {
        let mut other = worker.clone();
        other["node_config"][key] = value;
        let (status, said) = ask_as_head(&other).await;
        assert_eq!(status.as_u16(), 400, "{key}: {said}");
        assert!(said.contains("as the cluster file has them"), "{key}: {said}");
    }
    for count in 1..=3 {
        let (status, said) = ask_as_head(&worker).await;
        assert_eq!(status.as_u16(), 200, "{count}: {said}");
    }
    let (status, said) = ask_as_head(&worker).await;
    assert_eq!(status.as_u16(), 400, "{said}");
    assert!(said.contains("3 workers at a time"), "{said}");

    // The user raises it while the cluster runs, and asks for other workers; the head may still ask for the former ones.
    let more = text.replace("max_workers: 3", "max_workers: 5");
    assert_ne!(more, text);
    assert_eq!(ask(web, &more).await.0, 200);
    assert_eq!(ask_as_head(&worker).await.0.as_u16(), 200);

    // As many workers of this type as its own limit allows, though the cluster may have more.
    let roomy = more.replace("\nmax_workers: 5", "\nmax_workers: 9");
    assert_ne!(roomy, more);
    assert_eq!(ask(web, &roomy).await.0, 200);
    assert_eq!(ask_as_head(&worker).await.0.as_u16(), 200);
    let (status, said) = ask_as_head(&worker).await;
    assert_eq!(status.as_u16(), 400, "{said}");
    assert!(said.contains("5 workers of this type at a time"), "{said}");
    let second_head = one(&text, "ray.head.default", "head");
    assert_eq!(ask_as_head(&second_head).await.0.as_u16(), 400);
}

#[tokio::test]
async fn what_binds_a_head_outlives_the_webserver() {
    let mut lab = Lab::start(QUICK).await;
    let text = demo();
    assert_eq!(ask(&lab.web, &text).await.0, 200);
    lab.web.post("/request_nodes", one(&text, "ray.head.default", "head")).await;
    // A file for the next cluster of this name binds the one that runs, too; the journal knows, whatever becomes of the file.
    let less = text.replace("max_workers: 3", "max_workers: 1");
    assert_eq!(ask(&lab.web, &less).await.0, 200);
    fs::remove_dir_all(lab.data.path().join("clusters")).expect("it is there");

    lab.kill_and_restart().await;

    let web = &lab.web;
    let token = web.head_token("c");
    let worker = one(&text, "ray.worker.default", "worker");
    let ask_as_head = async |body: &Value| {
        let (status, _) =
            web.send(&web.heads_url, "/request_nodes", body, Some(token.as_str())).await;
        status.as_u16()
    };
    assert_eq!(ask_as_head(&worker).await, 200);
    assert_eq!(ask_as_head(&worker).await, 400);
    let mut dear = worker.clone();
    dear["node_config"]["budget_control"] = json!({"max_cpu_per_hour_price": 1000});
    assert_eq!(ask_as_head(&dear).await, 400);
}

/// What asks for one node of a type of a file.
fn one(text: &str, node_type: &str, kind: &str) -> Value {
    let file = &body(text)["cluster_config"];
    json!({
        "cluster_name": "c",
        "provider_parameters": file["provider"]["parameters"],
        "node_config": file["available_node_types"][node_type]["node_config"],
        "count": 1,
        "tags": {"ray-node-type": kind},
    })
}

async fn ask(web: &Web, text: &str) -> (u16, Value) {
    send(web, &body(text)).await
}

async fn ask_without_text(web: &Web, text: &str) -> (u16, Value) {
    let mut body = body(text);
    body["cluster_file"] = Value::Null;
    send(web, &body).await
}

/// What `ray up` sends of a file; where it is no YAML, Ray says so before that.
fn body(text: &str) -> Value {
    let config = yaml::parse(text.as_bytes()).map_or_else(|_| json!({}), |root| root.to_json());
    json!({
        "cluster_name": "c",
        "cluster_config": config,
        "cluster_file": {"name": "my.yaml", "text": text},
    })
}

async fn send(web: &Web, body: &Value) -> (u16, Value) {
    let (status, text) = web.send(&web.url, "/check_cluster", body, Some(&web.token)).await;
    (status.as_u16(), serde_json::from_str(&text).expect("JSON"))
}

fn demo() -> String {
    fs::read_to_string(fixture("demo.yaml")).expect("a fixture")
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cluster").join(name)
}
