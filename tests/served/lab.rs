//! A served network, and the world outside of it: a registry of images.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use golem_sim::{
    nodes::LocalSetup,
    scenario::Scenario,
    serve::{Keys, Nodes, Options, Patience, Server},
};
use ray_on_golem::core::rng::Seed;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const KEY: &str = "the-key-of-the-tests";

/// A served network and a registry; they end with it.
pub(crate) struct Lab {
    /// Ends before the runtime that it lives in.
    server: Option<Server>,
    runtime: Runtime,
    outside: Child,
    pub(crate) registry: String,
    /// A directory with the stand-in for the daemon's command line, and room for data.
    pub(crate) home: TempDir,
}

impl Lab {
    /// A network of nodes that pretend.
    pub(crate) fn start(scenario: &str, haste: u64) -> Self {
        Self::with(scenario, haste, Nodes::Virtual)
    }

    /// A network of nodes of this machine.
    pub(crate) fn local(scenario: &str) -> Self {
        let setup = LocalSetup { program: Some(golem_sim()), ..LocalSetup::default() };
        Self::with(scenario, 1, Nodes::Local(Box::new(setup)))
    }

    fn with(scenario: &str, haste: u64, nodes: Nodes) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let options = Options {
            scenario: Scenario::parse(scenario.as_bytes()).expect("a scenario"),
            seed: Seed::new(1),
            haste,
            port: 0,
            keys: Keys::new(KEY),
            nodes,
            patience: Patience::default(),
            bus: None,
        };
        let server = runtime.block_on(Server::start(options)).expect("a free port");
        let (outside, registry) = outside();
        let home = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(golem_sim(), home.path().join("yagna")).expect("a link");
        Self { server: Some(server), runtime, outside, registry, home }
    }

    pub(crate) fn url(&self) -> String {
        self.server.as_ref().expect("it runs until it is dropped").url()
    }

    /// A program with everything that a client of the daemon looks for.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("PATH", format!("{}:{path}", self.home.path().display()))
            .env("YAGNA_API_URL", self.url())
            .env("YAGNA_APPKEY", KEY)
            .env("YAGNA_DATADIR", self.home.path())
            .env("YAGNA_PAYMENT_NETWORK", "hoodi")
            .env("PAYMENT_NETWORK", "hoodi")
            .env("YAGNA_SUBNET", "public")
            .env("GOLEM_REGISTRY_URL", &self.registry)
            .env("XDG_DATA_HOME", self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// What a command prints; it must succeed.
    pub(crate) fn output(&self, command: &mut Command) -> String {
        let output = command.output().expect("the program runs");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
        stdout
    }

    /// The document at a path of the simulated world.
    pub(crate) fn look(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.url());
        let text = self.runtime.block_on(async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let host = self.url().trim_start_matches("http://").to_owned();
            let mut stream = tokio::net::TcpStream::connect(&host).await.expect("it listens");
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.expect("it reads");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("it answers");
            text
        });
        let (_, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{url}: {error}: {text}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.end());
        }
        // It may have ended by itself.
        let _ = self.outside.kill();
        let _ = self.outside.wait();
    }
}

/// The simulator's program, beside ours.
fn golem_sim() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ray-on-golem")).with_file_name("golem-sim")
}

/// A registry of images on a port of its own.
fn outside() -> (Child, String) {
    let mut child = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_yagna/outside.py"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 runs");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says its port");
    (child, format!("http://127.0.0.1:{}", line.trim()))
}
