//! A data directory with clusters belongs to the network and the identity that it was used with: another one would find
//! nothing of them, and say that they are over.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "runs the programs")]

#[path = "node_request/mod.rs"]
mod node_request;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use node_request::nodes;
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ray-on-golem");
const QUICK: &str = include_str!("../fixtures/scenario/quick.yaml");
const KEY: &str = "an-app-key";

/// A simulated network in the place of a real daemon: nothing but its owner says what it is.
struct Daemon {
    process: Child,
    url: String,
    bus: String,
    identity: String,
}

/// A data directory and a port.
struct Lab {
    data: TempDir,
    port: u16,
}

impl Daemon {
    /// One whose identity is drawn from `seed`.
    fn start(seed: u64, directory: &Path) -> Self {
        let scenario = directory.join("quick.yaml");
        fs::write(&scenario, QUICK).expect("a writable directory");
        let mut process = Command::new(Path::new(PROGRAM).with_file_name("golem-sim"))
            .arg("serve")
            .arg(scenario)
            .args(["--port", "0", "--appkey", KEY, "--seed", &seed.to_string()])
            .arg("--bus")
            .arg(directory.join(format!("bus-{seed}")))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the simulator is built");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let line = lines.next().expect("it says where it is").expect("text");
        let said = |name: &str| {
            let word = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            word.expect("it says so").to_owned()
        };
        let (url, bus) = (said("YAGNA_API_URL"), said("GSB_URL"));
        let identity = get(&url, "/me");
        let identity = identity["identity"].as_str().expect("an identity").to_owned();
        Self { process, url, bus, identity }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Lab {
    fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let data = tempfile::tempdir().expect("a directory");
        let simulator = Path::new(PROGRAM).with_file_name("golem-sim");
        symlink(simulator, data.path().join("yagna")).expect("a writable directory");
        Self { data, port }
    }

    /// Runs a command with a daemon; gives its exit code and what it said on both outputs.
    fn run(&self, daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String) {
        let (name, rest) = arguments.split_first().expect("the name of a command");
        let output = Command::new(PROGRAM)
            .args([name, "--port", &self.port.to_string(), "--datadir"])
            .arg(self.data.path())
            .args(rest)
            .env("YAGNA_API_URL", &daemon.url)
            .env("YAGNA_APPKEY", KEY)
            .env("YAGNA_PATH", self.data.path().join("yagna"))
            .env("YAGNA_DATADIR", self.data.path().join("of-yagna"))
            .env("GOLEM_REGISTRY_URL", format!("{}/registry", daemon.url))
            .env("GOLEM_REPUTATION_URL", "http://127.0.0.1:9")
            .env_remove("RAY_ON_GOLEM_TOKEN_FILE")
            .env("GSB_URL", &daemon.bus)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code(), said.replace(&self.data.path().display().to_string(), "DATA"))
    }

    fn start(&self, daemon: &Daemon, options: &[&str]) {
        let (code, said) = self.run(daemon, &[&["start"], options].concat());
        assert_eq!(code, Some(0), "{said}");
    }

    fn refused(&self, daemon: &Daemon, options: &[&str]) -> String {
        let (code, said) = self.run(daemon, &[&["start"], options].concat());
        assert_eq!(code, Some(3), "{said}");
        let error = said.lines().find_map(|line| line.strip_prefix("error: "));
        error.unwrap_or_else(|| panic!("no error: {said}")).to_owned()
    }

    fn file(&self) -> Value {
        let text = fs::read(self.data.path().join("daemon.json")).expect("it is bound");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Rents a head.
    fn rent(&self) {
        self.ask("POST", "/request_nodes", &nodes("c", "head", 1).to_string());
        let began = Instant::now();
        loop {
            let status = self.ask("GET", "/status", "");
            let cluster = &status["clusters"][0];
            if cluster["open_agreements"].as_u64().is_some_and(|count| count > 0) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{status:#}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn ask(&self, verb: &str, path: &str, body: &str) -> Value {
        let token = fs::read_to_string(self.data.path().join("webserver.token")).expect("a token");
        let url = format!("http://127.0.0.1:{}", self.port);
        exchange(&url, verb, path, token.trim(), body)
    }

    /// Ends the webserver as a crash does.
    fn crash(&self) {
        let pid = fs::read_to_string(self.data.path().join("ray_on_golem.pid")).expect("a pid");
        kill(pid.trim());
        // Its first thread ends before the last one has let go of the port.
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Lab {
    /// A test that failed leaves nothing running.
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.data.path().join("ray_on_golem.pid")) {
            drop(Command::new("kill").args(["-9", pid.trim()]).status());
        }
        let mark = fs::read(self.data.path().join("yagna.pid")).unwrap_or_default();
        let mark: Value = serde_json::from_slice(&mark).unwrap_or_default();
        if let Some(pid) = mark["pid"].as_i64() {
            drop(Command::new("kill").args(["-9", &pid.to_string()]).status());
        }
    }
}

/// Kills a process, and waits until it runs no more: its parent may leave a zombie.
fn kill(pid: &str) {
    Command::new("kill").args(["-9", pid]).status().expect("kill runs");
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
    };
    while runs() {
        thread::sleep(Duration::from_millis(20));
    }
}

fn get(url: &str, path: &str) -> Value {
    exchange(url, "GET", path, KEY, "")
}

fn exchange(url: &str, verb: &str, path: &str, token: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).expect("it listens");
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
         Authorization: Bearer {token}\r\n\r\n{body}",
        body.len(),
    );
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[test]
fn clusters_are_gone_on_with_by_their_own_identity_alone() {
    let lab = Lab::new();
    let (ours, other) = (Daemon::start(1, lab.data.path()), Daemon::start(2, lab.data.path()));
    assert_ne!(ours.identity, other.identity);
    lab.start(&ours, &[]);
    assert_eq!(lab.file(), json!({"network": "real", "identity": ours.identity}));
    lab.rent();
    lab.crash();

    let of_another = lab.refused(&other, &[]);
    let simulated = lab.refused(&ours, &["--sim", "--sim-nodes", "none"]);

    let belongs = format!(
        "the data directory `DATA` belongs to the real network, identity {}, where it has clusters (`c`); ",
        ours.identity
    );
    let wanted = format!("the real network, identity {} is asked for", other.identity);
    assert_eq!(of_another, format!("{belongs}{wanted}"));
    assert_eq!(simulated, format!("{belongs}a simulated network is asked for"));

    lab.start(&ours, &[]);
    let (code, said) = lab.run(&ours, &["stop", "--force"]);
    assert_eq!(code, Some(0), "{said}");
    // Its head may not have come so far that it cost anything.
    assert!(said.contains("`c` cost "), "{said}");
    // Nothing is left that could be lost.
    lab.start(&other, &[]);
    assert_eq!(lab.file(), json!({"network": "real", "identity": other.identity}));
    assert_eq!(lab.run(&other, &["stop"]).0, Some(0));
    let simulated = ["--sim", "--sim-nodes", "none"];
    lab.start(&ours, &simulated);
    assert_eq!(lab.file(), json!({"network": "simulated"}));
    lab.rent();
    lab.crash();
    let mark = fs::read(lab.data.path().join("yagna.pid")).expect("the simulated network");
    let mark: Value = serde_json::from_slice(&mark).expect("JSON");
    kill(&mark["pid"].to_string());
    let real = lab.refused(&ours, &[]);
    let wanted = format!(
        "the data directory `DATA` belongs to a simulated network, where it has clusters (`c`); {} is asked for",
        "the real network"
    );
    assert_eq!(real, wanted);
}

#[test]
fn a_directory_of_an_earlier_version_goes_to_the_daemon_that_knows_its_agreements() {
    let lab = Lab::new();
    let (ours, other) = (Daemon::start(1, lab.data.path()), Daemon::start(2, lab.data.path()));
    lab.start(&ours, &[]);
    lab.rent();
    lab.crash();
    let binding = lab.data.path().join("daemon.json");
    let forget = || fs::remove_file(&binding).expect("it was bound");
    forget();

    let unknown = format!(
        "the data directory `DATA` has clusters (`c`), and the daemon knows none of their agreements under the identity {}",
        other.identity
    );
    assert_eq!(lab.refused(&other, &[]), unknown);
    let simulated = lab.refused(&ours, &["--sim", "--sim-nodes", "none"]);
    assert!(
        simulated.contains("belongs to the real network, where it has clusters"),
        "{simulated}"
    );
    assert!(!binding.exists(), "what was refused binds nothing");

    lab.start(&ours, &[]);
    assert_eq!(lab.file()["identity"], ours.identity);
    lab.crash();
    forget();
    // A user who knows that all is lost there need not lose the directory, too.
    lab.start(&other, &["--rebind"]);
    assert_eq!(lab.file()["identity"], other.identity);
    let (code, said) = lab.run(&other, &["restart"]);
    assert_eq!(code, Some(0), "{said}");
    let pid = fs::read_to_string(lab.data.path().join("ray_on_golem.pid")).expect("a pid");
    let words = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).expect("it runs");
    assert!(!words.contains("--rebind"), "it is said once");
}
