//! The product's webserver before a lab, its command line, and ssh as Ray runs it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::lab::Lab;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ray-on-golem");
const PATIENCE: Duration = Duration::from_secs(120);

/// A webserver, and its data directory.
pub(crate) struct Webserver {
    data: TempDir,
    port: u16,
    process: Child,
}

impl Webserver {
    /// Starts it before the daemon of a lab, and waits until it serves.
    pub(crate) fn start(lab: &Lab) -> Self {
        let data = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let process = command("webserver", port, &data)
            .envs(lab.variables())
            .env("GOLEM_REGISTRY_URL", &lab.facts().registry_url)
            // Nobody publishes scores of these providers.
            .env("GOLEM_REPUTATION_URL", &lab.facts().registry_url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let webserver = Self { data, port, process };
        webserver.until("it serves", |status| status["webserver"].is_object());
        webserver
    }

    /// The document of `status --json`.
    pub(crate) fn status(&self) -> Value {
        let output = command("status", self.port, &self.data).arg("--json").output();
        let output = output.expect("the program runs");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The bills of `bills --json`, once that is so.
    pub(crate) fn bills_once(&self, what: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let output = Command::new(PROGRAM)
                .args(["bills", "--json", "--datadir"])
                .arg(self.data.path())
                .output()
                .expect("the program runs");
            let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let bills = document["bills"].as_array().cloned().unwrap_or_default();
            if is_so(&bills) {
                return bills;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "not in time: {what}: {document:#}\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Its first node, once that is so.
    pub(crate) fn node_once(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let node = |status: &Value| status["clusters"][0]["nodes"][0].clone();
        node(&self.until(what, |status| is_so(&node(status))))
    }

    /// Asks for something to be done, as Ray's node provider does.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let token = fs::read_to_string(self.data.path().join("webserver.token")).expect("a token");
        post(self.port, token.trim(), path, body)
    }

    /// Runs a command on the node by OpenSSH, through the proxy that the webserver names; what it printed.
    pub(crate) fn ssh(&self, node: &Value, line: &str, input: &[u8]) -> Vec<u8> {
        let text = |key: &str| node[key].as_str().expect("the node runs").to_owned();
        let mut ssh = Command::new("ssh")
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "IdentitiesOnly=yes", "-i"])
            .arg(self.key())
            .args(["-o", &format!("ProxyCommand={}", text("ssh_proxy_command"))])
            .args([&format!("root@{}", text("internal_ip")), line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("OpenSSH is there");
        let mut stdin = ssh.stdin.take().expect("piped");
        let input = input.to_vec();
        let sent = thread::spawn(move || stdin.write_all(&input));
        let output = ssh.wait_with_output().expect("it ends");
        sent.join().expect("no panic").expect("the node takes all");
        assert!(output.status.success(), "ssh: {}", output.status);
        output.stdout
    }

    /// Ends it with its cluster; what that said.
    pub(crate) fn stop(mut self) -> String {
        let output = command("stop", self.port, &self.data).arg("--force").output();
        let output = output.expect("the program runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}\n{}", self.log());
        assert!(self.process.wait().expect("a child").success(), "{}", self.log());
        said
    }

    /// The key that opens the nodes of its cluster.
    fn key(&self) -> PathBuf {
        let files = fs::read_dir(self.data.path()).expect("a directory");
        let mut paths = files.map(|file| file.expect("an entry").path());
        let is_key = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("ray_on_golem_rsa_") && path.extension().is_none()
        };
        paths.find(is_key).expect("a cluster has a key")
    }

    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let status = self.status();
            if is_so(&status) {
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "not in time: {what}: {status:#}\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data.path().join("webserver.log")).unwrap_or_default()
    }
}

impl Drop for Webserver {
    fn drop(&mut self) {
        // After a panic; `stop` has ended it otherwise.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Posts a document to a server of this machine; its answer.
pub(crate) fn post(port: u16, token: &str, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn command(name: &str, port: u16, data: &TempDir) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args([name, "--port", &port.to_string(), "--datadir"]).arg(data.path());
    command.env_remove("YAGNA_APPKEY").env_remove("RAY_ON_GOLEM_TOKEN_FILE").stdin(Stdio::null());
    command
}
