//! What our commands do where the webserver's port is held by another program, or where it does not answer.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "runs the programs")]

mod program;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use program::{Impostor, Proof};

const QUICK: &str = include_str!("../../fixtures/scenario/quick.yaml");
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Every command that asks the webserver.
const COMMANDS: [&[&str]; 10] = [
    &["status"],
    &["status", "--json"],
    &["status", "--page"],
    &["stop"],
    &["stop", "--force"],
    &["stop", "--keep-clusters"],
    &["restart"],
    &["start"],
    &["start", "--sim", "--sim-nodes", "none"],
    &["exec", "--cluster", "c", "true"],
];

/// A data directory with a token, as a webserver has left it.
struct Lab {
    data: TempDir,
}

impl Lab {
    fn new() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let token = data.path().join("webserver.token");
        fs::write(&token, format!("{TOKEN}\n")).expect("a writable directory");
        fs::set_permissions(token, fs::Permissions::from_mode(0o600)).expect("ours");
        fs::write(data.path().join("quick.yaml"), QUICK).expect("a writable directory");
        Self { data }
    }

    fn path(&self, name: &str) -> String {
        self.data.path().join(name).display().to_string()
    }

    fn command(&self, port: u16, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"));
        let (name, rest) = arguments.split_first().expect("the name of a command");
        command.args([name, "--port", &port.to_string(), "--datadir"]).arg(self.data.path());
        command.args(rest).stdin(Stdio::null());
        command.env_remove("YAGNA_APPKEY").env_remove("RAY_ON_GOLEM_TOKEN_FILE");
        command
    }

    /// Runs a command; gives its exit code and what it said on both outputs.
    fn run(&self, port: u16, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(port, arguments).output().expect("the program runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).replace(&self.path(""), "DATA/");
        (output.status.code(), said.replace(&format!(":{port}"), ":PORT"))
    }

    fn start(&self, port: u16) {
        let quick = self.path("quick.yaml");
        let (code, said) = self.run(port, &["start", "--sim", &quick, "--sim-nodes", "none"]);
        assert_eq!(code, Some(0), "{said}");
    }

    fn pid(&self) -> String {
        let pid = fs::read_to_string(self.path("ray_on_golem.pid")).expect("a webserver");
        pid.trim().to_owned()
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn signal(signal: &str, pid: &str) {
    let sent = Command::new("kill").args([signal, pid]).status().expect("kill runs");
    assert!(sent.success());
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The sentence of an error, on its one line.
fn error(said: &str) -> &str {
    let mut errors = said.lines().filter_map(|line| line.strip_prefix("error: "));
    let error = errors.next().unwrap_or_else(|| panic!("no error: {said}"));
    assert_eq!(errors.next(), None, "{said}");
    error
}

#[test]
fn no_command_tells_an_impostor_anything() {
    let lab = Lab::new();
    for proof in [Proof::Missing, Proof::Invented, Proof::Yes] {
        let impostor = Impostor::start(&lab.path(""), proof);
        for command in COMMANDS {
            let (code, said) = lab.run(impostor.port, command);

            assert_eq!(code, Some(3), "{command:?}, {proof:?}: {said}");
            let wanted = if command[0] == "start" {
                "listens on 127.0.0.1:PORT, where the webserver is to be"
            } else {
                "listens on 127.0.0.1:PORT and does not show that it knows the token in `DATA/webserver.token`, which \
                 was not sent"
            };
            assert!(error(&said).ends_with(wanted), "{command:?}, {proof:?}: {said}");
            assert!(!said.contains(TOKEN), "{command:?}: no address with the token is printed");
        }
        let heard = impostor.heard();
        assert!(heard.contains("/prove"), "it was asked");
        let asked = heard.lines().filter(|line| line.ends_with(" HTTP/1.1"));
        let first = asked.filter(|line| !line.contains(" / ") && !line.contains(" /prove "));
        assert_eq!(first.count(), 0, "{heard}");
        assert!(
            !heard.contains(TOKEN) && !heard.to_lowercase().contains("authorization"),
            "{heard}"
        );
    }
}

#[test]
fn an_impostor_cannot_have_another_port_answer_for_it() {
    let lab = Lab::new();
    let ours = free_port();
    lab.start(ours);
    let impostor = Impostor::start(&lab.path(""), Proof::PassedOn(ours));

    for command in COMMANDS {
        let (code, said) = lab.run(impostor.port, command);
        assert_eq!(code, Some(3), "{command:?}: {said}");
    }

    let heard = impostor.heard();
    assert!(heard.contains("/prove") && !heard.contains(TOKEN), "{heard}");
    assert_eq!(lab.run(ours, &["stop"]).0, Some(0));
}

#[test]
fn an_impostor_cannot_name_a_token_that_it_knows() {
    let lab = Lab::new();
    // Others may write there, so that the token may be another user's.
    let theirs = tempfile::tempdir().expect("a directory");
    fs::write(theirs.path().join("webserver.token"), "known").expect("a writable directory");
    fs::set_permissions(theirs.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let impostor = Impostor::start(&theirs.path().display().to_string(), Proof::Invented);

    assert_eq!(lab.run(impostor.port, &["status"]).0, Some(3));

    // It is asked about the token of our own directory, by a mark that only that one has.
    let heard = impostor.heard();
    let mark = heard.rsplit_once("\"mark\":\"").expect("it is asked").1;
    let other = Lab::new();
    let again = Impostor::start(&other.path(""), Proof::Invented);
    assert_eq!(other.run(again.port, &["status"]).0, Some(3));
    assert!(again.heard().contains(&mark[..64]), "the same token has the same mark");
}

#[test]
fn a_webserver_that_does_not_answer_is_told_and_ended_by_its_pid() {
    let lab = Lab::new();
    let port = free_port();
    lab.start(port);
    let pid = lab.pid();
    signal("-STOP", &pid);

    let (code, said) = lab.run(port, &["status"]);
    let (json_code, json) = lab.run(port, &["status", "--json"]);
    let quick = lab.path("quick.yaml");
    let (start_code, start) = lab.run(port, &["start", "--sim", &quick, "--sim-nodes", "none"]);

    let wanted = format!(
        "the webserver of `{}` (pid {pid}) runs and does not answer on http://127.0.0.1:PORT",
        lab.path("").trim_end_matches('/')
    );
    assert_eq!([code, json_code, start_code], [Some(3); 3], "{said}{json}{start}");
    for said in [&said, &json, &start] {
        assert_eq!(error(said).replace("DATA", lab.path("").trim_end_matches('/')), wanted);
    }
    assert!(said.contains("hint: `ray-on-golem stop` ends it by its pid"), "{said}");
    let (document, _) = json.split_once("error: ").expect("a document before the error");
    let document: Value = serde_json::from_str(document).expect("JSON");
    assert_eq!(document["webserver"], Value::Null);

    let mut stopping = lab.command(port, &["stop", "--force"]);
    let mut stopping = stopping.stdout(Stdio::piped()).spawn().expect("the program runs");
    let mut output = BufReader::new(stopping.stdout.take().expect("it is a pipe"));
    let mut said = String::new();
    while !said.contains("told by a signal") {
        assert!(output.read_line(&mut said).expect("text") > 0, "{said}");
    }
    signal("-CONT", &pid);
    output.read_to_string(&mut said).expect("text");
    assert_eq!(stopping.wait().expect("it ends").code(), Some(0), "{said}");
    assert!(said.contains(&format!("runs under pid {pid}")), "{said}");
    assert!(said.ends_with("Shutdown completed.\n"), "{said}");
    assert!(!is_alive(&pid));
    assert!(!fs::exists(lab.path("yagna.pid")).expect("readable"), "the daemon was ended, too");
}

#[test]
fn a_webserver_that_proves_nothing_is_replaced_by_its_pid() {
    let lab = Lab::new();
    let port = free_port();
    lab.start(port);
    let first = lab.pid();
    // As one of an earlier version, it does not show that it knows the token that is there.
    fs::write(lab.path("webserver.token"), TOKEN.replace('0', "f")).expect("a writable directory");
    let (code, said) = lab.run(port, &["status"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("hint: one of an earlier version does not: `ray-on-golem restart`"),
        "{said}"
    );

    let (code, said) = lab.run(port, &["restart"]);

    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("Starting webserver done\n"), "{said}");
    assert!(!is_alive(&first) && is_alive(&lab.pid()));
    assert_eq!(lab.run(port, &["stop"]).0, Some(0));
    while is_alive(&first) {
        thread::sleep(Duration::from_millis(20));
    }
}
