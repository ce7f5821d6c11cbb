//! A real Prometheus, as Debian has it, and its judge of names and forms, `promtool`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use ray_on_golem::{
    core::cluster::state::NodeState,
    units::{Glm, Rounding},
};
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::timeout};
use url::Url;

use crate::lab::{Lab, QUICK, Web, nodes, server_board::Board};

/// A Prometheus that scrapes a webserver ten times a second, wherever that listens.
struct Prometheus {
    home: TempDir,
    url: String,
    client: Client,
    process: Child,
}

impl Prometheus {
    async fn start(lab: &Lab) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        // The webserver of the next life has another port here, and is the same to those who look at its numbers.
        let config = format!(
            "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\n\
             scrape_configs:\n\
             - job_name: ray-on-golem\n\
             \x20 authorization: {{credentials_file: {}}}\n\
             \x20 file_sd_configs: [{{files: [targets.json]}}]\n\
             \x20 relabel_configs: [{{target_label: instance, replacement: here}}]\n",
            lab.data.path().join("metrics.token").display()
        );
        fs::write(home.path().join("prometheus.yml"), config).expect("a writable directory");
        let log = fs::File::create(home.path().join("log")).expect("a writable directory");
        aim(home.path(), &lab.web);
        let process = Command::new(program("prometheus"))
            .current_dir(home.path())
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it runs");
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { home, url: format!("http://{address}"), client, process }
    }

    /// The values of an expression, by the labels of their series.
    async fn query(&self, expression: &str) -> Vec<(Value, Glm)> {
        let base = format!("{}/api/v1/query", self.url);
        let url = Url::parse_with_params(&base, [("query", expression)]).expect("an address");
        let Ok(answer) = self.client.get(url).send().await else { return Vec::new() };
        let Ok(text) = answer.text().await else { return Vec::new() };
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let results = document["data"]["result"].as_array().cloned().unwrap_or_default();
        let read = |result: Value| {
            let value = result["value"][1].as_str().expect("a number as text");
            (result["metric"].clone(), Glm::parse(value, Rounding::Down).expect("a decimal"))
        };
        results.into_iter().map(read).collect()
    }

    /// Waits until an expression has values of this kind.
    async fn until(&self, expression: &str, is_so: impl Fn(&[(Value, Glm)]) -> bool) {
        let waited = timeout(Duration::from_secs(60), async {
            while !is_so(&self.query(expression).await) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if waited.await.is_err() {
            let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            panic!(
                "not within a minute: {expression} is {:?}\n{log}",
                self.query(expression).await
            );
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn aim(home: &Path, web: &Web) {
    let address = web.url.trim_start_matches("http://");
    let targets = json!([{ "targets": [address] }]).to_string();
    let draft = home.join("targets.new");
    fs::write(&draft, targets).expect("a writable directory");
    fs::rename(draft, home.join("targets.json")).expect("a writable directory");
}

fn program(name: &str) -> PathBuf {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/prometheus/usr/bin");
    let program = bin.join(name);
    assert!(
        program.exists(),
        "there is no `{}`; run `tests/prometheus/install`",
        program.display()
    );
    program
}

async fn up(web: &Web) {
    web.post("/request_nodes", nodes("c", "head", 1)).await;
    web.until("the head runs", |board| {
        let current = board.current("c");
        current.is_some_and(|it| it.nodes.values().any(|node| node.state == NodeState::Running))
    })
    .await;
}

async fn down(web: &Web) {
    web.post("/end_cluster", json!({"cluster_name": "c"})).await;
    web.until("the books are closed", |board| board.clusters.is_empty()).await;
}

fn spent(board: &Board) -> Glm {
    board.closed.iter().map(|cluster| cluster.money.spent).fold(Glm::ZERO, Glm::plus)
}

#[tokio::test]
async fn promtool_is_content_with_the_numbers() {
    let lab = Lab::start(QUICK).await;
    let web = &lab.web;
    let wallet = json!({"payment_network": "holesky", "payment_driver": "erc20"});
    web.post("/get_wallet_status", wallet).await;
    web.app.alerts.note_daemon(true);
    web.post("/request_nodes", nodes("c", "head", 1)).await;
    web.post("/request_nodes", nodes("odd \"name\" \\ of\ntwo lines", "head", 1)).await;
    let text = web.get("/metrics").await;

    let mut judge = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    judge.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let judged = judge.wait_with_output().expect("it ends");

    let said = [judged.stdout, judged.stderr].concat();
    assert!(
        judged.status.success() && said.is_empty(),
        "{}\n{text}",
        String::from_utf8_lossy(&said)
    );
    assert!(text.contains("ray_on_golem_wallet_glm{network=\"hoodi\"} 7\n"), "{text}");
    assert!(text.contains("ray_on_golem_daemon_up 1\n"), "{text}");
}

#[tokio::test]
async fn prometheus_scrapes_through_down_up_and_restart() {
    let mut lab = Lab::start(QUICK).await;
    let prometheus = Prometheus::start(&lab).await;
    let series = "ray_on_golem_spent_glm_total{cluster=\"c\"}";
    let mut cost = Glm::ZERO;
    for is_last in [false, false, true] {
        up(&lab.web).await;
        let nodes = "ray_on_golem_nodes{cluster=\"c\",state=\"running\"}";
        prometheus
            .until(nodes, |found| matches!(found, [(_, count)] if *count == Glm::from_whole(1)))
            .await;
        down(&lab.web).await;
        cost = cost.plus(spent(&lab.web.handle().board()));
        // Its numbers are floats.
        let seen = move |found: &[(Value, Glm)]| {
            let [(_, value)] = found else { return false };
            let difference = value.minus(cost).plus(cost.minus(*value));
            difference < Glm::from_atto(1_000)
        };
        prometheus.until(series, seen).await;
        if !is_last {
            lab.kill_and_restart().await;
            aim(prometheus.home.path(), &lab.web);
        }
    }

    let counters =
        "{__name__=~\"ray_on_golem_.+_total\",__name__!=\"ray_on_golem_journal_batches_total\"}";
    let fallen = prometheus.query(&format!("resets({counters}[1h]) > 0")).await;
    let counts = prometheus.query(&format!("count({counters})")).await;
    let there = lab.web.get("/metrics").await;
    let there = there.lines().filter(|line| {
        !line.starts_with('#') && line.contains("_total") && !line.contains("journal_batches")
    });
    assert_eq!(fallen, [], "a counter fell, so that Prometheus takes it for a new one");
    assert_eq!(counts[0].1, Glm::from_whole(there.count() as u64), "no series is lost or doubled");
}
