//! A machine as `ray-on-golem` finds it: a path with a few programs, a data directory, and a simulated daemon if there
//! is to be one. Nothing of the real one is seen but for the shell.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

/// A cluster file on `hoodi`, whose image has Python 3.10 and Ray 2.9.3.
pub(crate) const CLUSTER: &str = "fixtures/cluster/golem-cluster.yaml";

/// The version of the node provider that belongs to our program.
pub(crate) const OURS: &str = env!("CARGO_PKG_VERSION");

pub(crate) struct Machine {
    home: TempDir,
    pub(crate) port: u16,
    variables: Vec<(String, String)>,
}

/// A program that runs until it is dropped.
pub(crate) struct Running(Child);

impl Machine {
    /// All that a cluster needs but for a daemon.
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let machine = Self { home, port: free_port(), variables: Vec::new() };
        fs::create_dir(machine.path("bin")).expect("a writable directory");
        for name in ["sh", "true", "unshare", "mount", "sleep"] {
            let place = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(name));
            let place = place.into_iter().find(|path| path.exists()).expect("a usual program");
            symlink(place, machine.path("bin").join(name)).expect("a writable directory");
        }
        machine.program("ssh", "echo OpenSSH_9.2p1, OpenSSL 3.0 >&2");
        machine.program("rsync", "echo 'rsync  version 3.2.7  protocol version 31'");
        machine.python("2.9.3 3.10", OURS, "[]");
        let ray = format!("#!{}\n", machine.path("bin/python").display());
        machine.write("bin/ray", &ray);
        machine
    }

    /// The same, with a simulated daemon that runs; it ends with the second of the two.
    pub(crate) fn with_daemon() -> (Self, Running) {
        let mut machine = Self::new();
        let (running, url) = machine.daemon("golem");
        machine.set("YAGNA_API_URL", &url);
        machine.set("GOLEM_REGISTRY_URL", &format!("{url}/registry"));
        machine.set("YAGNA_DATADIR", &machine.path("golem").display().to_string());
        (machine, running)
    }

    /// Starts a simulated daemon that keeps its own data under this name, and says where it is.
    pub(crate) fn daemon(&self, data: &str) -> (Running, String) {
        let yagna = self.path("bin/yagna");
        if !yagna.exists() {
            symlink(simulator(), &yagna).expect("a writable directory");
        }
        let mut child = Command::new(&yagna)
            .args(["service", "run"])
            .env("YAGNA_API_URL", "http://127.0.0.1:0")
            .env("YAGNA_DATADIR", self.path(data))
            .env_remove("YAGNA_APPKEY")
            .env("YAGNA_AUTOCONF_APPKEY", format!("key-of-{data}"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the simulator runs");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let url = lines.find_map(|line| {
            line.expect("text")
                .split_whitespace()
                .find(|it| it.starts_with("http://"))
                .map(str::to_owned)
        });
        thread::spawn(move || lines.for_each(drop));
        (Running(child), url.expect("it says where it listens"))
    }

    /// Makes a Python that has these versions of Ray and of itself, and a node provider that finds this in cluster files.
    pub(crate) fn python(&self, versions: &str, provider: &str, faults: &str) {
        self.program("python", &format!("echo {versions}\necho {provider}\necho '{faults}'"));
    }

    /// Makes a program of a line of shell.
    pub(crate) fn program(&self, name: &str, script: &str) {
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
    }

    fn write(&self, name: &str, text: &str) {
        let (draft, path) = (self.path("draft"), self.path(name));
        fs::write(&draft, text).expect("a writable directory");
        // Written by a process of its own: one that another test starts meanwhile would hold a file of ours open, and
        // what is open for writing cannot be run.
        let installed = Command::new("install").arg("--mode=755").args([&draft, &path]).status();
        assert!(installed.expect("`install` is a usual program").success());
    }

    pub(crate) fn remove(&self, program: &str) {
        fs::remove_file(self.path("bin").join(program)).expect("it is there");
    }

    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.variables.push((variable.to_owned(), value.to_owned()));
    }

    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.home.path().join(name.as_ref())
    }

    /// Ends the webserver as a crash does, and sees that it has ended.
    pub(crate) fn kill_webserver(&self) {
        let pid = fs::read_to_string(self.path("data/ray_on_golem.pid")).expect("it runs");
        let killed = Command::new("kill").args(["-9", pid.trim()]).status();
        assert!(killed.expect("`kill` is a usual program").success());
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            thread::yield_now();
        }
    }

    /// Runs a command of ours; gives its exit code and all that it said, with what differs from run to run masked.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"));
        command.arg(arguments[0]);
        self.finish(command, &arguments[1..])
    }

    /// The same with `$DATA` on a disk of its own, as `mount` makes it.
    pub(crate) fn run_on_disk(&self, options: &str, arguments: &[&str]) -> String {
        let data = self.path("data");
        fs::create_dir_all(&data).expect("a writable directory");
        let script = format!(
            "mount -t tmpfs -o {options} none {} && exec {} \"$@\"",
            data.display(),
            env!("CARGO_BIN_EXE_ray-on-golem")
        );
        let mut command = Command::new("/usr/bin/unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            &script,
            "sh",
            arguments[0],
        ]);
        self.finish(command, &arguments[1..])
    }

    fn finish(&self, mut command: Command, arguments: &[&str]) -> String {
        let output = command
            .args(["--port", &self.port.to_string()])
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.home.path())
            .env("RAY_ON_GOLEM_DATADIR", self.path("data"))
            .env("GSB_URL", format!("unix:{}", self.path("no-bus").display()))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        let said = [output.stdout, output.stderr].concat();
        let code = output.status.code().expect("it ends by itself");
        self.masked(&format!("{}exit code {code}\n", String::from_utf8_lossy(&said)))
    }

    fn masked(&self, text: &str) -> String {
        text.replace(&self.home.path().display().to_string(), "HOME")
            .replace(&format!(":{}", self.port), ":PORT")
            .replace(&format!("(pid {})", std::process::id()), "(pid PID)")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Something that listens on a port of its own, and answers each request with these bytes.
pub(crate) fn answering(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer_once(stream, answer);
        }
    });
    port
}

fn answer_once(mut stream: TcpStream, answer: &str) {
    let mut request = [0; 4096];
    // Who has gone wants no answer.
    let _ = stream.read(&mut request);
    let _ = stream.write_all(answer.as_bytes());
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn simulator() -> PathBuf {
    let sibling = Path::new(env!("CARGO_BIN_EXE_ray-on-golem")).with_file_name("golem-sim");
    assert!(sibling.exists(), "`cargo build --workspace` builds golem-sim");
    sibling
}
