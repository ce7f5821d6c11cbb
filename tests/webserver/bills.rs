//! Bills are kept for good, and counted for Prometheus without a loss or a doubled one.

use std::{collections::BTreeMap, process::Command, time::Duration};

use ray_on_golem::{
    bills::{Owner, Store, Verdict},
    core::cluster::state::NodeState,
    units::{Glm, Rounding, Timestamp},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::lab::{Lab, QUICK, Web, nodes, server_board::Board};

/// Providers that send a debit note each second.
fn busy() -> String {
    QUICK.replace("invoice_after: 0.1", "invoice_after: 0.1, notes: flood")
}

fn stored(lab: &Lab) -> Store {
    let owner = Owner { is_simulated: true, identity: None };
    Store::open(lab.data.path(), owner, Timestamp::EPOCH).expect("a sound store").store
}

/// What the store says was accepted of the cluster `c`.
fn accepted(lab: &Lab) -> Glm {
    let bills = stored(lab).bills(Timestamp::EPOCH).expect("a sound store");
    bills.iter().fold(Glm::ZERO, |sum, bill| sum.plus(bill.accepted()))
}

fn spent(board: &Board) -> Glm {
    let all = board.clusters.values().chain(&board.closed);
    all.map(|cluster| cluster.money.spent).fold(Glm::ZERO, Glm::plus)
}

async fn up(web: &Web, count: u32) {
    web.post("/request_nodes", nodes("c", "head", 1)).await;
    web.post("/request_nodes", nodes("c", "worker", count)).await;
    web.until("all nodes run", |board| {
        let nodes = board.clusters.values().flat_map(|cluster| cluster.nodes.values());
        nodes.filter(|node| node.state == NodeState::Running).count() > count as usize
    })
    .await;
}

async fn down(web: &Web) {
    web.post("/end_cluster", json!({"cluster_name": "c"})).await;
    web.until("the books are closed", |board| board.clusters.is_empty()).await;
}

/// Waits until a number for Prometheus is as it should be.
async fn until(web: &Web, is_so: impl Fn(&BTreeMap<String, Glm>) -> bool) {
    let waited = timeout(Duration::from_secs(60), async {
        while !is_so(&samples(&web.get("/metrics").await)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if waited.await.is_err() {
        panic!("not within a minute:\n{}", web.get("/metrics").await);
    }
}

/// Each series with its value; a series that is there twice is none.
fn samples(text: &str) -> BTreeMap<String, Glm> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a series and its value");
        let value = Glm::parse(value, Rounding::Exact).expect("a decimal");
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {series}\n{text}");
    }
    samples
}

/// The series that are counters.
fn counters(text: &str) -> BTreeMap<String, Glm> {
    let of_process = "ray_on_golem_journal_batches_total";
    let all = samples(text).into_iter();
    all.filter(|(series, _)| series.contains("_total") && !series.starts_with(of_process)).collect()
}

fn ray_on_golem(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"))
        .args(["bills", "--datadir"])
        .arg(lab.data.path())
        .args(arguments)
        .output()
        .expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn what_is_due_grows_before_the_first_bill_comes() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    up(web, 2).await;
    let due = async || {
        let status: Value = serde_json::from_str(&web.get("/status").await).expect("JSON");
        let cluster = &status["clusters"][0];
        let amount = |it: &Value| {
            Glm::parse(it["due_glm"].as_str().expect("text"), Rounding::Exact).expect("a decimal")
        };
        let nodes = cluster["nodes"].as_array().expect("nodes").iter();
        let of_nodes = nodes.map(amount).fold(Glm::ZERO, Glm::plus);
        (cluster["spent_glm"].clone(), amount(cluster), of_nodes)
    };

    let (spent, first, of_nodes) = due().await;
    let grows = timeout(Duration::from_secs(60), async { while due().await.1 <= first {} });

    assert_eq!(spent, json!("0"));
    assert!(first > Glm::ZERO, "{first}");
    grows.await.expect("it grows while nothing happens");
    assert_eq!(first, of_nodes);
    down(web).await;
    let (spent, due, _) = due().await;
    assert_eq!(spent, json!(due.to_string()), "the bills are in");
}

#[tokio::test]
async fn the_last_books_of_a_cluster_have_all_bills_that_came_as_it_ended() {
    let conduct = "invoice_after: 0.05, amounts: {times: 100000}, notes: twice, invoices: twice";
    let lab = Lab::start(&QUICK.replace("invoice_after: 0.1", conduct)).await;
    let web = &lab.web;
    up(web, 3).await;
    down(web).await;

    let books = web.handle().board().closed.last().expect("it was closed").money.clone();
    let bills = stored(&lab).bills(Timestamp::EPOCH).expect("a sound store");

    let disputed = bills.iter().filter(|bill| matches!(bill.verdict, Verdict::Disputed(_)));
    let disputed = disputed.count();
    assert!(disputed >= 8, "two invoices of each node: {bills:#?}");
    assert_eq!((books.disputed, books.spent), (disputed as u64, Glm::ZERO));
}

#[tokio::test]
async fn every_bill_is_in_the_table_of_the_command() {
    let lab = Lab::start(&busy()).await;
    let web = &lab.web;
    up(web, 2).await;
    web.until("some notes are accepted", |board| spent(board) > Glm::ZERO).await;
    let (code, said) = ray_on_golem(&lab, &["--csv"]);
    assert_eq!(code, Some(0), "{said}");
    down(web).await;
    let cost = spent(&web.handle().board());
    until(web, |samples| samples[r#"ray_on_golem_spent_glm_total{cluster="c"}"#] == cost).await;

    let (code, said) = ray_on_golem(&lab, &["--json", "--by", "node"]);
    let document: Value = serde_json::from_str(&said).expect("JSON");
    let notes = ray_on_golem(&lab, &["--csv", "--since", "1h"]).1;
    let none = ray_on_golem(&lab, &["--since", "2100-01-01"]);
    let wrong = ray_on_golem(&lab, &["--since", "yesterday"]);

    assert_eq!(code, Some(0));
    assert_eq!(document["totals"][0]["accepted_glm"], cost.to_string());
    assert_eq!(document["totals"][0]["paid_on"], "simulated");
    assert_eq!(document["sums"].as_array().map(Vec::len), Some(3));
    assert_eq!(notes.matches(",invoice,").count(), 3, "{notes}");
    assert!(notes.matches(",debit-note,").count() > 2, "{notes}");
    assert_eq!(none.0, Some(0));
    assert!(none.1.starts_with("No bill is known in `"), "{}", none.1);
    assert_eq!(wrong.0, Some(2), "{}", wrong.1);
    assert!(wrong.1.contains("write a day such as 2026-11-30"), "{}", wrong.1);
    // One that was closed is shown by the next life, too.
    let shown: Value = serde_json::from_str(&web.get("/status").await).expect("JSON");
    assert_eq!(shown["clusters"][0]["spent_glm"], cost.to_string());
}

#[tokio::test]
async fn bills_of_overcharging_providers_are_kept_with_the_reason() {
    let lab =
        Lab::start(&busy().replace("notes: flood", "notes: flood, amounts: {times: 900000}")).await;
    let web = &lab.web;
    up(web, 1).await;
    until(web, |samples| {
        samples[r#"ray_on_golem_bills_total{cluster="c",verdict="disputed"}"#] > Glm::ZERO
    })
    .await;

    let (code, said) = ray_on_golem(&lab, &[]);

    assert_eq!(code, Some(0));
    assert!(said.contains("GLM can be due by now"), "{said}");
    assert!(said.ends_with("\ttotal\t") || said.contains("total\t-\t-\t"), "{said}");
    assert_eq!(accepted(&lab), spent(&web.handle().board()));
}

#[tokio::test]
async fn a_crash_between_journal_and_store_loses_and_doubles_no_bill() {
    let mut lab = Lab::start(&busy()).await;
    up(&lab.web, 2).await;
    lab.web.until("a note is accepted", |board| spent(board) > Glm::ZERO).await;
    // The journals go on, and the store does not hear of it.
    lab.web.keeping.abort();
    let before = spent(&lab.web.handle().board());
    lab.web.until("more notes are accepted", |board| spent(board) > before).await;
    lab.web.kill().await;
    let known = {
        let board = lab.web.handle().board();
        let stale = accepted(&lab);
        assert!(stale < spent(&board), "{stale}");
        spent(&board)
    };

    // Without a webserver the command takes in what the journals know.
    let (_, said) = ray_on_golem(&lab, &["--json"]);
    let document: Value = serde_json::from_str(&said).expect("JSON");
    let told = document["totals"][0]["accepted_glm"].as_str().expect("an amount");
    let told = Glm::parse(told, Rounding::Exact).expect("a decimal");
    assert!(told >= known, "{told} {known}");
    assert_eq!(told, accepted(&lab));
    lab.go_on().await;

    // The end of a cluster that the store does not hear of.
    lab.web.keeping.abort();
    down(&lab.web).await;
    let cost = spent(&lab.web.handle().board());
    lab.kill_and_restart().await;
    let shown: Value = serde_json::from_str(&lab.web.get("/status").await).expect("JSON");
    assert_eq!(accepted(&lab), cost);
    assert_eq!(shown["clusters"][0]["state"], "closed");
    assert_eq!(shown["clusters"][0]["spent_glm"], cost.to_string());
    let journals = std::fs::read_dir(lab.data.path().join("journal")).expect("it is there");
    let names: Vec<_> = journals.map(|file| file.expect("a file").file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("closed")), "{names:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_holds_nothing_up_and_catches_up() {
    let lab = Lab::start_logged(&busy()).await;
    let web = &lab.web;
    let other = rusqlite::Connection::open(lab.data.path().join("bills.sqlite")).expect("a store");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let log = || std::fs::read_to_string(lab.data.path().join("webserver.log")).expect("a log");
    let trouble = "bills are kept in the journals until it works again";

    up(web, 1).await;
    let is_told = timeout(Duration::from_secs(60), async {
        while !log().contains(trouble) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    is_told.await.expect("it is told");
    down(web).await;
    let cost = spent(&web.handle().board());
    assert_eq!(stored_now(&other), 0);
    other.execute_batch("ROLLBACK").expect("it began");
    until(web, |samples| {
        samples.get(r#"ray_on_golem_spent_glm_total{cluster="c"}"#) == Some(&cost)
    })
    .await;

    assert_eq!(accepted(&lab), cost);
    assert_eq!(log().matches(trouble).count(), 1, "{}", log());
    assert!(log().contains("All bills are kept again"), "{}", log());
}

fn stored_now(store: &rusqlite::Connection) -> u64 {
    let count = store.query_row("SELECT count(*) FROM bill", [], |row| row.get::<_, i64>(0));
    count.expect("a table").try_into().expect("a count")
}

#[tokio::test]
async fn the_log_tells_prices_bills_and_sums() {
    let lab = Lab::start_logged(&busy()).await;
    let web = &lab.web;
    up(web, 1).await;
    web.until("a note is accepted", |board| spent(board) > Glm::ZERO).await;
    down(web).await;

    let log = std::fs::read_to_string(lab.data.path().join("webserver.log")).expect("a log");
    let cost = spent(&web.handle().board());
    let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();

    assert_eq!(count("[c] at most 5 GLM are spent, on erc20-hoodi-tglm"), 1, "{log}");
    assert_eq!(count("[c] node1: agreement with quick"), 1, "{log}");
    assert_eq!(count(" GLM per hour and "), 2, "{log}");
    assert!(count("[c] node1: debit note ") >= 1 || count("[c] node0: debit note ") >= 1, "{log}");
    assert_eq!(count("[c] node1: invoice "), 1, "{log}");
    assert_eq!(count("[c] node1: the books of the agreement with quick"), 1, "{log}");
    assert_eq!(count(&format!("Stopping `c` cluster done, it cost {cost} GLM in all")), 1, "{log}");
}

#[tokio::test]
async fn counters_only_grow_through_down_up_and_restart() {
    let mut lab = Lab::start(&busy()).await;
    let mut seen: BTreeMap<String, Glm> = BTreeMap::new();
    let mut look = async |web: &Web| {
        let now = counters(&web.get("/metrics").await);
        for (series, before) in &seen {
            let value = now.get(series).unwrap_or_else(|| panic!("{series} has gone"));
            assert!(value >= before, "{series} fell from {before} to {value}");
        }
        seen = now;
    };
    up(&lab.web, 1).await;
    look(&lab.web).await;
    lab.web.until("a note is accepted", |board| spent(board) > Glm::ZERO).await;
    look(&lab.web).await;
    // As at `ray down` with `ray up` behind it: one cluster ends while the next one begins.
    lab.web.post("/end_cluster", json!({"cluster_name": "c"})).await;
    look(&lab.web).await;
    up(&lab.web, 1).await;
    look(&lab.web).await;
    lab.kill_and_restart().await;
    look(&lab.web).await;
    down(&lab.web).await;
    look(&lab.web).await;
    let cost = accepted(&lab);
    lab.kill_and_restart().await;
    look(&lab.web).await;

    let series = r#"ray_on_golem_spent_glm_total{cluster="c"}"#;
    assert_eq!(samples(&lab.web.get("/metrics").await)[series], accepted(&lab));
    assert!(accepted(&lab) >= cost);
    assert!(seen[r#"ray_on_golem_due_glm_total{cluster="c"}"#] >= seen[series], "{seen:#?}");
}

#[tokio::test]
async fn the_token_for_numbers_opens_nothing_else() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let token = std::fs::read_to_string(lab.data.path().join("metrics.token")).expect("a token");
    let ask = async |url: &str, path: &str| {
        let request = web.client.get(format!("{url}{path}")).bearer_auth(token.trim());
        request.send().await.expect("an answer").status()
    };

    assert_eq!(ask(&web.url, "/metrics").await, StatusCode::OK);
    for path in ["/status", "/events", "/openapi.json", "/nothing"] {
        assert_eq!(ask(&web.url, path).await, StatusCode::UNAUTHORIZED, "{path}");
    }
    let (status, _) = web.send(&web.url, "/metrics", &json!({}), Some(token.trim())).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "not by POST either");
    let (status, _) = web.send(&web.url, "/shutdown", &json!({}), Some(token.trim())).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&web.heads_url, "/metrics").await, StatusCode::UNAUTHORIZED);
}
