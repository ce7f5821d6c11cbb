//! The commands as users type them, over a simulated daemon in a process of its own.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "runs the programs")]

#[path = "node_request/mod.rs"]
mod node_request;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use node_request::nodes;
use ray_on_golem::recording::{read, replay};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Providers that do everything in a blink.
const QUICK: &str = include_str!("../fixtures/scenario/quick.yaml");

/// A data directory, a port, and whatever runs there.
struct Lab {
    data: TempDir,
    port: u16,
    registry: String,
}

impl Lab {
    fn new() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        fs::write(data.path().join("quick.yaml"), QUICK).expect("a writable directory");
        // A directory that the user has made stays as open as it is; its files do not depend on it.
        fs::set_permissions(data.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        Self { data, port: free_port(), registry: registry() }
    }

    /// Runs a command; gives its exit code and what it said on both outputs.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.run_on(self.port, arguments)
    }

    /// The same with a port that need not be the webserver's.
    fn run_on(&self, port: u16, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(port, arguments).output().expect("the program runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), self.masked(&String::from_utf8_lossy(&said)))
    }

    fn command(&self, port: u16, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"));
        let (name, rest) = arguments.split_first().expect("the name of a command");
        command
            .args([name, "--port", &port.to_string(), "--datadir"])
            .arg(self.data.path())
            .args(rest)
            .env("GOLEM_REGISTRY_URL", &self.registry)
            .env_remove("YAGNA_APPKEY")
            .env_remove("RAY_ON_GOLEM_TOKEN_FILE")
            .stdin(Stdio::null());
        command
    }

    fn start(&self) -> (Option<i32>, String) {
        self.run(&["start", "--sim", &self.path("quick.yaml"), "--sim-nodes", "none"])
    }

    fn start_recorded(&self, recording: &str) -> (Option<i32>, String) {
        let (scenario, recording) = (self.path("quick.yaml"), self.path(recording));
        self.run(&["start", "--sim", &scenario, "--sim-nodes", "none", "--record", &recording])
    }

    /// A file in the data directory.
    fn path(&self, name: &str) -> String {
        self.data.path().join(name).display().to_string()
    }

    /// What differs from run to run is masked.
    fn masked(&self, text: &str) -> String {
        text.replace(&self.data.path().display().to_string(), "DATA")
            .replace(&format!(":{}", self.port), ":PORT")
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let token = fs::read_to_string(self.data.path().join("webserver.token")).expect("a token");
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: Bearer {}\r\n\r\n{body}",
            body.len(),
            token.trim()
        );
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The document of `status --json`.
    fn status(&self) -> Value {
        let output =
            self.command(self.port, &["status", "--json"]).output().expect("the program runs");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
    }

    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        loop {
            let status = self.status();
            if is_so(&status) {
                return;
            }
            let log = fs::read_to_string(self.data.path().join("webserver.log"));
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "{what}: {status:#}\n{}",
                log.unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits for the only node, and says who runs it.
    fn provider_of_running_node(&self) -> String {
        let node = |status: &Value| {
            let clusters = status["clusters"].as_array()?.iter();
            clusters
                .filter_map(|it| it["nodes"].get(0))
                .find(|node| node["state"] == "running")
                .cloned()
        };
        self.until("a node runs", |status| node(status).is_some());
        let node = node(&self.status()).expect("it runs");
        node["provider_id"].as_str().expect("an id").to_owned()
    }

    /// Says or does something about providers of the simulated network.
    fn reputation(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"))
            .arg("reputation")
            .args(arguments)
            .args(["--network", "hoodi", "--datadir"])
            .arg(self.data.path().join("sim"))
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The key that nodes let in, without its kind.
    fn public_key(&self) -> String {
        let files = fs::read_dir(self.data.path()).expect("a directory");
        let mut paths = files.map(|entry| entry.expect("an entry").path());
        let path = paths.find(|path| path.extension().is_some_and(|it| it == "pub"));
        let line = fs::read_to_string(path.expect("a public key")).expect("text");
        line.split(' ').nth(1).expect("a key").trim().to_owned()
    }

    fn pid(&self) -> Option<String> {
        let pid = fs::read_to_string(self.data.path().join("ray_on_golem.pid")).ok()?;
        Some(pid.trim().to_owned())
    }
}

impl Drop for Lab {
    /// A test that failed leaves nothing running.
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            drop(Command::new("kill").args(["-9", &pid]).status());
        }
        let mark = fs::read(self.data.path().join("yagna.pid")).unwrap_or_default();
        let mark: Value = serde_json::from_slice(&mark).unwrap_or_default();
        if let Some(pid) = mark["pid"].as_i64() {
            drop(Command::new("kill").args(["-9", &pid.to_string()]).status());
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A registry that knows every image; it lives as long as the test's process.
fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut head = [0; 4096];
            drop(stream.read(&mut head));
            let body = json!({
                "http": "http://registry.example/image.gvmi",
                "sha3": "d646d7b93083d817846c2ae5c62c72ca0507782385a2e29291a3d376",
            })
            .to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    format!("http://{address}")
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn without_a_webserver_the_commands_say_so() {
    let lab = Lab::new();

    assert_eq!(
        lab.run(&["status"]),
        (Some(0), "The webserver doesn't seem to be listening on http://127.0.0.1:PORT.\n".into())
    );
    assert_eq!(
        lab.run(&["stop"]),
        (Some(0), "No webserver found on: http://127.0.0.1:PORT.\nShutdown completed.\n".into())
    );
    assert_eq!(lab.status()["webserver"], Value::Null);
    for command in [&["status", "--page"][..], &["exec", "--cluster", "c", "true"]] {
        let (code, said) = lab.run(command);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("hint: `ray-on-golem start` starts it"), "{said}");
    }
}

#[test]
fn a_failed_start_says_why_and_no_more() {
    let lab = Lab::new();

    let (code, said) =
        lab.run(&["start", "--sim", &lab.path("absent.yaml"), "--sim-nodes", "none"]);

    assert_eq!(code, Some(3), "{said}");
    assert_eq!(
        said,
        "Starting webserver on http://127.0.0.1:PORT...\n\
         error: DATA/absent.yaml: the file does not exist; check its name\n"
    );
}

#[test]
fn a_cluster_lives_through_a_killed_webserver_and_is_stopped() {
    let lab = Lab::new();
    assert_eq!(
        lab.start_recorded("first.ndjson"),
        (
            Some(0),
            "Starting webserver on http://127.0.0.1:PORT...\nStarting webserver done\n".into()
        )
    );
    let token = fs::read_to_string(lab.path("webserver.token")).expect("a token");
    let page = format!("http://127.0.0.1:PORT/#token={token}");
    assert_eq!(lab.run(&["status", "--page"]), (Some(0), page));
    assert_is_the_only_one(&lab);

    assert_eq!(
        lab.post("/request_nodes", &nodes("c", "head", 1))["requested_nodes"],
        json!(["node0"])
    );
    lab.post("/request_nodes", &nodes("c", "worker", 2));
    let running = |count: u64| {
        move |status: &Value| status["clusters"][0]["nodes_by_state"]["running"] == json!(count)
    };
    lab.until("three nodes run", running(3));
    let table = lab.run(&["status"]).1;
    assert!(table.contains("   Status:          Running\n   Data directory:  DATA\n"), "{table}");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("c\tnode")).collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows[0].starts_with("c\tnode0\thead\trunning\tquick"), "{table}");

    assert_private(lab.data.path());

    let pid = lab.pid().expect("a webserver");
    Command::new("kill").args(["-9", &pid]).status().expect("kill runs");
    while is_alive(&pid) {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(lab.start_recorded("second.ndjson").0, Some(0));
    lab.until("the nodes are still there", running(3));
    assert_eq!(lab.status()["clusters"][0]["nodes"].as_array().map(Vec::len), Some(3));

    assert_outlives_webservers(&lab, running(3));

    let (code, said) = lab.run(&["stop"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Cannot stop the webserver, as the cluster is not empty."), "{said}");
    let pid = lab.pid().expect("a webserver");
    let (code, said) = lab.run(&["stop", "--force"]);
    let begin = "Requesting webserver shutdown...\nForce-shutdown requested, will stop soon.\n";
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with(begin), "{said}");
    let (_, bill) = said.split_once("Shutdown completed.\n").expect("it is over");
    assert!(bill.starts_with("`c` cost 0.") && bill.ends_with(" GLM.\n"), "{bill}");
    assert!(!is_alive(&pid));
    assert!(!lab.data.path().join("yagna.pid").exists(), "the simulated daemon was ended, too");
    let log = fs::read_to_string(lab.data.path().join("webserver.log")).expect("the log");
    assert!(log.contains("Starting `c` cluster..."), "{log}");
    assert!(log.contains("Stopping server done, bye!"), "{log}");
    assert_no_secrets(lab.data.path(), &log);
    assert_recordings(&lab);

    assert_remembers(&lab, bill);
}

#[test]
fn the_way_to_a_node_is_written_as_soon_as_there_is_room() {
    let lab = Lab::new();
    // A file in the directory's place: nothing can be written there, as on a full disk.
    fs::write(lab.path("proxy"), "").expect("a writable directory");
    assert_eq!(lab.start().0, Some(0));
    lab.post("/request_nodes", &nodes("c", "head", 1));
    lab.until("the head runs", |it| it["clusters"][0]["nodes_by_state"]["running"] == json!(1));

    fs::remove_file(lab.path("proxy")).expect("nothing else is there");

    lab.until("the way to it is written", |_| {
        let written = fs::read_to_string(lab.path("proxy/c.json"));
        written.is_ok_and(|text| text.contains("node0"))
    });
    assert_eq!(lab.run(&["stop", "--force"]).0, Some(0));
}

#[test]
fn stop_says_what_a_shutdown_has_left() {
    let lab = Lab::new();
    assert_eq!(lab.start().0, Some(0));
    lab.post("/request_nodes", &nodes("c", "head", 1));
    lab.provider_of_running_node();
    let mark = fs::read(lab.path("yagna.pid")).expect("a daemon");
    let mark: Value = serde_json::from_slice(&mark).expect("JSON");
    let (webserver, daemon) = (lab.pid().expect("a webserver"), mark["pid"].to_string());
    let signal = |name: &str, pid: &str| {
        assert!(Command::new("kill").args([name, pid]).status().expect("kill runs").success());
    };

    // A daemon that does not answer ends no node, and the webserver does not live to try it again.
    signal("-STOP", &daemon);
    let (code, said) = thread::scope(|scope| {
        let stopping = scope.spawn(|| lab.run(&["stop", "--force"]));
        lab.until("it ends", |status| status["clusters"][0]["state"] == "ending");
        signal("-KILL", &webserver);
        stopping.join().expect("no panic")
    });
    signal("-CONT", &daemon);

    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("`c` had 1 node, at ") || said.contains("`c` had one agreement"),
        "{said}"
    );
    assert!(said.contains("`ray-on-golem start --sim` goes on where it was"), "{said}");
}

/// Each webserver's recording is whole, and replays.
fn assert_recordings(lab: &Lab) {
    for name in ["first.ndjson", "second.ndjson", "third.ndjson"] {
        let text = fs::read_to_string(lab.path(name)).expect("a recording");
        assert_no_secrets(lab.data.path(), &text);
        assert!(!text.contains(&lab.public_key()), "the key to the nodes is masked");
        let replayed = replay(read(text.as_bytes()).expect("a sound recording"));
        assert!(replayed.steps > 5, "{name}: {replayed:#?}");
        assert_eq!((replayed.differences, replayed.is_cut), (vec![], false), "{name}");
    }
}

/// Neither another webserver nor another port takes its place.
fn assert_is_the_only_one(lab: &Lab) {
    let again = "Not starting the webserver, as it's already running\n";
    assert_eq!(lab.run(&["start", "--sim"]), (Some(0), again.into()));
    let (code, said) = lab.run(&["start", "--sim", "--sim-nodes", "none", "--sim-haste", "7"]);
    let kept = "The webserver was started without `--sim-haste=7`, and stays so";
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(kept), "{said}");
    let (pid, port) = (lab.pid().expect("a webserver"), lab.port);
    let elsewhere = format!(
        "error: the webserver of `DATA` (pid {pid}) listens on port {port}\nhint: name it by `--port {port}`\n"
    );
    for command in ["status", "stop"] {
        let (code, said) = lab.run_on(free_port(), &[command]);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.ends_with(&elsewhere), "{said}");
    }
    let (code, said) = second_manager(lab);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("another `ray-on-golem` uses `DATA/journal`"), "{said}");
}

/// A cluster goes on when its webserver ends in order.
fn assert_outlives_webservers(lab: &Lab, is_whole: impl Fn(&Value) -> bool) {
    let pid = lab.pid().expect("a webserver");
    let (code, said) = lab.run(&["stop", "--keep-clusters"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("The clusters go on, and cost what they cost."), "{said}");
    assert!(said.contains("Z at least:\n`ray-on-golem start --sim` goes on with them"), "{said}");
    assert!(said.ends_with("Shutdown completed.\n") && !is_alive(&pid), "{said}");
    let (code, said) = lab.run(&["status"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("`c` had 3 nodes, at "), "{said}");
    assert_eq!(lab.start_recorded("third.ndjson").0, Some(0));
    lab.until("the nodes are still there", &is_whole);

    // As a service manager ends it.
    let pid = lab.pid().expect("a webserver");
    Command::new("kill").arg(&pid).status().expect("kill runs");
    while is_alive(&pid) {
        thread::sleep(Duration::from_millis(20));
    }
    let log = fs::read_to_string(lab.data.path().join("webserver.log")).expect("the log");
    assert!(log.contains("Clusters go on with their nodes: `c` (3)."), "{log}");
    assert_eq!(lab.start().0, Some(0));
    lab.until("the nodes are still there", &is_whole);

    let pid = lab.pid().expect("a webserver");
    let (code, said) = lab.run(&["restart"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("Starting webserver done\n"), "{said}");
    assert_ne!(lab.pid().expect("a webserver"), pid);
    lab.until("the nodes are still there", &is_whole);
    assert_eq!(lab.status()["clusters"][0]["nodes"].as_array().map(Vec::len), Some(3));
}

/// What all bills come to, in the words of the command for them.
fn billed(lab: &Lab) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"))
        .args(["bills", "--json", "--by", "cluster", "--datadir"])
        .arg(lab.data.path())
        .output()
        .expect("the program runs");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["totals"][0]["paid_on"], "simulated");
    document["totals"][0]["accepted_glm"].clone()
}

/// The next webserver knows what the cluster has cost.
fn assert_remembers(lab: &Lab, bill: &str) {
    let before = billed(lab);
    assert_eq!(lab.start().0, Some(0));
    let closed = lab.status()["clusters"][0].take();
    assert_eq!(closed["state"], "closed");
    let spent = closed["spent_glm"].as_str().expect("an amount");
    assert_eq!(bill, format!("`c` cost {spent} GLM.\n"));
    assert_eq!((&before, &billed(lab)), (&closed["spent_glm"], &closed["spent_glm"]));
    assert_eq!(closed["nodes"].as_array().map(Vec::len), Some(3));
    let (code, said) = lab.run(&["stop"]);
    assert!(code == Some(0) && said.ends_with("Shutdown completed.\n"), "{said}");
}

#[test]
fn what_is_seen_of_providers_is_remembered_and_who_is_blocked_is_not_hired() {
    let lab = Lab::new();
    assert_eq!(lab.start().0, Some(0));
    lab.post("/request_nodes", &nodes("c", "head", 1));
    let first = lab.provider_of_running_node();
    assert_eq!(lab.run(&["stop", "--force"]).0, Some(0));

    let known = lab.reputation(&["list", "--json"]);
    let known: Value = serde_json::from_str(&known).expect("JSON");
    let providers = known["providers"].as_array().expect("a list");
    assert_eq!(providers.len(), 12, "{known:#}");
    for provider in providers {
        let experience = &provider["experience"];
        assert_eq!(experience["offers"], 1, "{provider:#}");
        assert_ne!(experience["glm_per_cpu_hour"], Value::Null, "{provider:#}");
        let times = |what: &str| experience[what].as_u64().expect("a count");
        let story = ["agreements_asked", "agreements_approved", "started", "came_up", "ended"];
        let hired = u64::from(provider["provider_id"] == first);
        assert_eq!(story.map(times), [hired; 5], "{provider:#}");
        assert_eq!(experience["failures"], json!([]), "{provider:#}");
    }

    assert_eq!(lab.start().0, Some(0));
    // The webserver runs, and hears of it in time.
    let ids = providers.iter().filter_map(|provider| provider["provider_id"].as_str());
    let last = ids.clone().max().expect("twelve");
    for id in ids.filter(|id| *id != last) {
        lab.reputation(&["block", id]);
    }
    lab.post("/request_nodes", &nodes("c", "head", 1));
    assert_eq!(lab.provider_of_running_node(), last);
    assert_eq!(lab.run(&["stop", "--force"]).0, Some(0));
}

fn second_manager(lab: &Lab) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"))
        .args(["webserver", "--port", &free_port().to_string(), "--datadir"])
        .arg(lab.data.path())
        .output()
        .expect("the program runs");
    (output.status.code(), lab.masked(&String::from_utf8_lossy(&output.stderr)))
}

/// Neither a token nor the key to the daemon is in a text.
/// No other user reads anything.
fn assert_private(data: &Path) {
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
    let written_by_the_test = data.join("quick.yaml");
    // Links have no rights of their own.
    let is_judged = |path: &PathBuf| *path != written_by_the_test && !path.is_symlink();
    for entry in walk(data).into_iter().filter(is_judged) {
        // The key that is given to all nodes is no secret.
        let is_public = entry.extension().is_some_and(|extension| extension == "pub");
        assert!(is_public || mode(&entry) & 0o077 == 0, "`{}` can be read", entry.display());
    }
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|it| it.expect("an entry"));
    let found = entries.map(|entry| entry.path());
    found
        .flat_map(
            |path| if path.is_dir() { [walk(&path), vec![path]].concat() } else { vec![path] },
        )
        .collect()
}

fn assert_no_secrets(data: &Path, log: &str) {
    let mut secrets: Vec<PathBuf> = vec![data.join("webserver.token"), data.join("yagna.appkey")];
    let heads = fs::read_dir(data.join("heads")).into_iter().flatten();
    secrets.extend(heads.map(|entry| entry.expect("an entry").path()));
    for path in secrets {
        let secret = fs::read_to_string(&path).expect("a secret");
        assert!(!log.contains(secret.trim()), "{}", path.display());
    }
}
