//! The daemon is started where there is none, adopted where there is one, and ended only if it is ours.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "runs a program")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use ray_on_golem::{
    driver::{
        appkey::AppKeySource,
        daemon::{Daemon, DaemonError, DaemonPlan, SimPlan},
        log::Log,
    },
    units::Span,
    yagna::{Client, Endpoints, Request, Yagna},
};

fn plan(data: &Path, binary: PathBuf) -> DaemonPlan {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let base = format!("http://{address}").parse().expect("an address");
    DaemonPlan {
        endpoints: Endpoints { base, market: None, payment: None, activity: None, net: None },
        key: AppKeySource { given: None, binary, name: "ray-on-golem".to_owned() },
        data: data.to_owned(),
        sim: None,
    }
}

fn stand_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/daemon/yagna")
}

async fn answers(daemon: &Daemon) -> bool {
    let client = Client::new(daemon.endpoints.clone(), daemon.key.clone()).expect("a client");
    daemon.identity(&client).await.is_ok_and(|identity| identity == "0xabc")
}

#[tokio::test]
async fn a_daemon_of_ours_is_adopted_by_the_next_life_and_ended() {
    let data = tempfile::tempdir().expect("a directory");
    let plan = plan(data.path(), stand_in());
    let first = Daemon::ready(plan.clone(), Log::silent()).await.expect("it starts");
    assert!(answers(&first).await);
    let key = fs::metadata(data.path().join("yagna.appkey")).expect("the key is kept");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    // As after `kill -9`: nobody ends it.
    let key = first.key.clone();
    std::mem::forget(first);
    let second = Daemon::ready(plan.clone(), Log::silent()).await.expect("it is there");
    assert_eq!(second.key, key);
    assert!(answers(&second).await);

    second.end().await;
    assert!(!data.path().join("yagna.pid").exists());
    let third = Daemon::ready(plan, Log::silent()).await.expect("it starts again");
    assert_eq!(third.key, key, "what knew the old key knows this one");
    third.end().await;
}

#[tokio::test]
async fn a_daemon_of_ours_keeps_agreements_for_as_long_as_nodes_run() {
    let data = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::ready(plan(data.path(), stand_in()), Log::silent()).await;
    let daemon = daemon.expect("it starts");
    let mark = fs::read(data.path().join("yagna.pid")).expect("it is marked");
    let mark: serde_json::Value = serde_json::from_slice(&mark).expect("JSON");

    let environment = fs::read(format!("/proc/{}/environ", mark["pid"])).expect("it lives");

    let environment = String::from_utf8_lossy(&environment).into_owned();
    let kept =
        environment.split('\0').find_map(|it| it.strip_prefix("MARKET_AGREEMENT_STORE_DAYS="));
    assert_eq!(kept, Some("3650"));
    daemon.end().await;
}

#[tokio::test]
async fn a_daemon_of_ours_that_dies_is_started_again() {
    let data = tempfile::tempdir().expect("a directory");

    survives(Daemon::ready(plan(data.path(), stand_in()), Log::silent()).await, data.path()).await;
}

#[tokio::test]
async fn a_simulator_that_dies_is_started_again_where_it_was() {
    let data = tempfile::tempdir().expect("a directory");
    let program = Path::new(env!("CARGO_BIN_EXE_ray-on-golem")).with_file_name("golem-sim");
    let sim = Some(SimPlan { program, scenario: None, options: Vec::new() });
    let plan = DaemonPlan { sim, ..plan(data.path(), stand_in()) };

    survives(Daemon::ready(plan, Log::silent()).await, data.path()).await;
}

/// A daemon of the user's that closes the first connections without an answer, then fails as often, and is well
/// after that.
fn troubled(plan: &DaemonPlan, times: usize) {
    let address = plan.endpoints.base.socket_addrs(|| None).expect("an address");
    let listener = TcpListener::bind(address.as_slice()).expect("the port is free again");
    thread::spawn(move || {
        for (count, connection) in listener.incoming().enumerate() {
            let mut connection = connection.expect("a connection");
            let mut asked = [0; 4096];
            let read = connection.read(&mut asked).expect("a request");
            let is_known = String::from_utf8_lossy(&asked[..read]).contains("Bearer listed");
            let (status, body) = match (count / times, is_known) {
                (0, _) => continue,
                (1, _) => ("500 Internal Server Error", "the database is locked"),
                (_, false) => ("401 Unauthorized", "unknown key"),
                (_, true) => ("200 OK", r#"{"identity": "0xabc", "name": "x", "role": "manager"}"#),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            connection.write_all(format!("{head}{body}").as_bytes()).expect("it reads");
        }
    });
}

#[tokio::test]
async fn a_daemon_in_trouble_is_asked_again_and_no_second_one_started() {
    let data = tempfile::tempdir().expect("a directory");
    let plan = plan(data.path(), stand_in());
    troubled(&plan, 2);

    let daemon = Daemon::ready(plan, Log::silent()).await.expect("it is there");

    assert!(answers(&daemon).await);
    assert!(!data.path().join("yagna.pid").exists(), "none of ours");
}

#[tokio::test]
async fn a_daemon_that_never_answers_is_told_of_and_no_second_one_started() {
    let data = tempfile::tempdir().expect("a directory");
    let plan = plan(data.path(), stand_in());
    troubled(&plan, usize::MAX);

    let Err(error) = Daemon::ready(plan.clone(), Log::silent()).await else {
        panic!("it is of no use");
    };

    let base = &plan.endpoints.base;
    assert_eq!(
        error.to_string(),
        format!(
            "what listens at {base} takes requests and does not answer; end it or start it again, then run this again"
        )
    );
    assert!(!data.path().join("yagna.pid").exists(), "none of ours");
}

/// Kills the daemon, and waits until another one answers to the same clients.
async fn survives(daemon: Result<Daemon, DaemonError>, data: &Path) {
    let mut daemon = daemon.expect("it starts");
    let client = Client::new(daemon.endpoints.clone(), daemon.key.clone()).expect("a client");
    let killed = pid(data);
    signal("-KILL", &killed);

    let back = async {
        while pid(data) == killed || client.call(Request::WhoAmI, Span::secs(5)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        end = daemon.keep() => match end {},
        back = tokio::time::timeout(Duration::from_secs(60), back) => back.expect("in a minute"),
    }

    let again = pid(data);
    daemon.end().await;
    assert!(!is_alive(&again), "the second one is ended, too");
}

/// A program that stands where the daemon's would.
fn program(data: &Path, script: &str) -> PathBuf {
    let path = data.join("program");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().expect("kill runs").success());
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Until a daemon of ours is known by its pid.
async fn marked(data: &Path) {
    while fs::read(data.join("yagna.pid")).map_or(0, |mark| mark.len()) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The pid in the mark of a daemon of ours.
fn pid(data: &Path) -> String {
    let mark = fs::read(data.join("yagna.pid")).expect("a mark");
    let mark: serde_json::Value = serde_json::from_slice(&mark).unwrap_or_default();
    mark["pid"].to_string()
}

#[tokio::test]
async fn a_daemon_that_somebody_else_started_is_never_ended() {
    let data = tempfile::tempdir().expect("a directory");
    let plan = plan(data.path(), stand_in());
    let mut theirs = somebody_s(&plan, None);
    let address = plan.endpoints.base.socket_addrs(|| None).expect("an address");
    while std::net::TcpStream::connect(&*address).is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let daemon = Daemon::ready(plan, Log::silent()).await.expect("it is there");
    assert!(answers(&daemon).await, "by the key that its command line lists");
    daemon.end().await;

    assert_eq!(theirs.try_wait().expect("a child"), None, "it still runs");
    theirs.kill().expect("it runs");
    theirs.wait().expect("it ends");
}

#[tokio::test]
async fn a_daemon_that_somebody_starts_in_the_place_of_ours_is_taken_and_never_ended() {
    let data = tempfile::tempdir().expect("a directory");
    let log = data.path().join("log");
    let plan = plan(data.path(), stand_in());
    let to_file = Log::to_file(&log).expect("a writable directory");
    let mut daemon = Daemon::ready(plan.clone(), to_file).await.expect("it starts");
    let ours = pid(data.path());
    signal("-KILL", &ours);
    while is_alive(&ours) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut theirs = somebody_s(&plan, Some(daemon.key.as_str()));

    let taken = async {
        while !fs::read_to_string(&log).is_ok_and(|log| log.contains("it is not ours to end")) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        end = daemon.keep() => match end {},
        taken = tokio::time::timeout(Duration::from_secs(60), taken) => taken.expect("in a minute"),
    }
    assert!(answers(&daemon).await);
    daemon.end().await;

    assert_eq!(theirs.try_wait().expect("a child"), None, "it still runs");
    theirs.kill().expect("it runs");
    theirs.wait().expect("it ends");
}

/// A daemon that somebody else starts.
fn somebody_s(plan: &DaemonPlan, key: Option<&str>) -> Child {
    let mut command = Command::new(stand_in());
    command
        .args(["service", "run"])
        .env("YAGNA_API_URL", plan.endpoints.base.as_str())
        .env_remove("YAGNA_AUTOCONF_APPKEY")
        .stdout(Stdio::null());
    if let Some(key) = key {
        command.env("YAGNA_AUTOCONF_APPKEY", key);
    }
    command.spawn().expect("it starts")
}

#[tokio::test]
async fn a_daemon_that_is_not_waited_for_is_ended() {
    let data = tempfile::tempdir().expect("a directory");
    let silent = program(data.path(), "exec sleep 600");
    let plan = plan(data.path(), silent);

    tokio::select! {
        _ = Daemon::ready(plan, Log::silent()) => panic!("it never answers"),
        () = marked(data.path()) => {}
    }

    let pid = pid(data.path());
    while is_alive(&pid) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_daemon_that_misses_the_first_word_is_asked_again() {
    let data = tempfile::tempdir().expect("a directory");
    let script = format!(
        "asked=0\ntrap 'asked=$((asked + 1)); if [ $asked -gt 1 ]; then kill $child; exit; fi' TERM\n\
         {} \"$@\" & child=$!\nwhile :; do wait $child; done",
        stand_in().display()
    );
    let deaf = program(data.path(), &script);
    let daemon = Daemon::ready(plan(data.path(), deaf), Log::silent()).await.expect("it starts");
    let pid = pid(data.path());

    let asked = std::time::Instant::now();
    daemon.end().await;

    assert!(!is_alive(&pid));
    assert!(asked.elapsed() < Duration::from_secs(20), "it was not made to end");
}

#[tokio::test]
async fn a_daemon_of_ours_that_is_only_just_starting_is_waited_for() {
    let data = tempfile::tempdir().expect("a directory");
    let slow = program(data.path(), &format!("sleep 2\nexec {} \"$@\"", stand_in().display()));
    let plan = plan(data.path(), slow);
    let mut first = Box::pin(Daemon::ready(plan.clone(), Log::silent()));
    tokio::select! {
        _ = &mut first => panic!("it takes two seconds"),
        () = marked(data.path()) => {}
    }
    let started = pid(data.path());
    // As after `kill -9`: nobody ends it.
    std::mem::forget(first);

    let second = Daemon::ready(plan, Log::silent()).await.expect("it comes to answer");

    assert!(answers(&second).await);
    assert_eq!(pid(data.path()), started, "it was adopted");
    second.end().await;
    assert!(!is_alive(&started));
}

#[tokio::test]
async fn a_daemon_that_does_not_start_is_told_with_its_last_words() {
    let data = tempfile::tempdir().expect("a directory");
    let missing = Daemon::ready(plan(data.path(), "/no/yagna".into()), Log::silent()).await;
    let error = missing.expect_err("no program").to_string();
    assert!(
        error.starts_with("there is no program `/no/yagna`, which is Golem's daemon; "),
        "{error}"
    );

    let script = program(data.path(), "echo 'there is no room' >&2\nexit 1");
    let broken = Daemon::ready(plan(data.path(), script), Log::silent()).await;
    let error = broken.expect_err("it ends at once").to_string();
    assert!(error.starts_with("the daemon that was started "), "{error}");
    assert!(error.ends_with("there is no room"), "{error}");
}
