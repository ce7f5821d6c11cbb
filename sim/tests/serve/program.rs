//! The program itself: its one line, its end, and what it says to what is wrong.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixListener,
    process::{Child, Command, Output, Stdio},
};

fn serve(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_golem-sim"));
    command
        .arg("serve")
        .args(arguments)
        .env_remove("YAGNA_AUTOCONF_APPKEY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn failed(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = serve(arguments).output().expect("the program runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    line
}

#[test]
fn it_says_where_it_is_and_ends_when_it_is_told_to() {
    let mut child = serve(&["--port", "0", "--appkey", "k"]).spawn().expect("the program runs");

    let line = first_line(&mut child);
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
    let status = child.wait().expect("it ends");

    assert!(line.starts_with("YAGNA_API_URL=http://127.0.0.1:"), "{line}");
    let bus = line.trim_end().split_once(" YAGNA_APPKEY=k GSB_URL=unix:").expect(&line).1;
    assert!(!std::path::Path::new(bus).exists(), "its socket goes with it");
    assert!(killed.success());
    assert_eq!(status.code(), Some(0));
}

/// How many offers name the platform of a network, as a client that looks at the market is told.
fn offers_on(platform: &str, arguments: &[&str]) -> usize {
    let mut child = serve(&[&["--port", "0", "--appkey", "k"], arguments].concat())
        .spawn()
        .expect("the program runs");
    let line = first_line(&mut child);
    let host = line.trim_start_matches("YAGNA_API_URL=http://").split(' ').next().expect("a word");
    let ask = |method: &str, path: &str, body: &str| {
        let mut stream = TcpStream::connect(host).expect("it listens");
        let length = body.len();
        let head = format!(
            "{method} /market-api/v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer k\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
    };
    let constraints = format!("(golem.com.payment.platform.{platform}.address=*)");
    let asked = format!(r#"{{"type":"offer","constraints":"{constraints}"}}"#);

    let scan = ask("POST", "scan", &asked);
    let path = format!("scan/{}/events?timeout=0&maxEvents=1000", scan.trim_matches('"'));
    let found = ask("GET", &path, "");
    child.kill().expect("it runs");
    child.wait().expect("it ends");

    found.matches("offerId").count()
}

#[test]
fn offers_name_the_networks_that_are_asked_for() {
    let holesky = "erc20-holesky-tglm";

    assert!(offers_on("erc20-hoodi-tglm", &[]) > 0);
    assert_eq!(offers_on(holesky, &[]), 0);
    assert!(offers_on(holesky, &["--network", "holesky"]) > 0);
    let (code, words) = failed(&["--port", "0", "--network", "holeski"]);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("'holesky'"), "{words}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port().to_string();

    let (code, words) = failed(&["--port", &port]);

    assert_eq!(code, Some(3), "{words}");
    let wanted =
        format!("error: port {port} of 127.0.0.1 is taken; choose another one by `--port`");
    assert!(words.starts_with(&wanted), "{words}");
}

#[test]
fn a_bus_that_is_taken_is_named_and_one_that_was_left_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bus");
    let bus = path.to_str().expect("text");
    let listener = UnixListener::bind(&path).expect("a short path");

    let (code, words) = failed(&["--port", "0", "--bus", bus]);

    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("a daemon listens at") && words.contains(bus), "{words}");
    // Who is killed leaves its socket behind.
    drop(listener);
    let mut child = serve(&["--port", "0", "--bus", bus]).spawn().expect("the program runs");
    let line = first_line(&mut child);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(line.trim_end().ends_with(&format!(" GSB_URL=unix:{bus}")), "{line}");
}

#[test]
fn a_bad_scenario_or_key_is_refused_in_a_sentence() {
    let missing = failed(&["no-such-file.yaml", "--port", "0"]);
    let key = failed(&["--port", "0", "--appkey", "two words"]);
    let haste = failed(&["--port", "0", "--haste", "0"]);

    assert_eq!(missing.0, Some(2), "{}", missing.1);
    assert!(missing.1.contains("no-such-file.yaml"), "{}", missing.1);
    assert_eq!(key.0, Some(2), "{}", key.1);
    assert!(key.1.contains("`--appkey` is not usable"), "{}", key.1);
    assert_eq!(haste.0, Some(2), "{}", haste.1);
}
