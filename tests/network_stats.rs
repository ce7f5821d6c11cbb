//! `network-stats` as a user runs it: on a real daemon with stand-in providers, through its
//! outages, and without any daemon.

mod lab;

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use lab::{Lab, Market};
use ray_on_golem::{
    units::Span,
    yagna::{AppKey, Client, Request, Response, Yagna},
};

const CLUSTER: &str = "fixtures/cluster/golem-cluster.yaml";

fn ray_on_golem(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn survey(lab: &Lab, minutes: &str) -> Command {
    let facts = lab.facts();
    let mut command = ray_on_golem(&["network-stats", CLUSTER, "-d", minutes]);
    command
        .env("YAGNA_API_URL", &facts.api_url)
        .env("YAGNA_APPKEY", &facts.app_key)
        .env("GOLEM_REGISTRY_URL", &facts.registry_url);
    command
}

/// Starts a survey, does something to the daemon once it gathers, and tells what came of it.
fn disturbed(lab: &Lab, minutes: &str, disturb: impl FnOnce(&Child)) -> (Option<i32>, String) {
    let mut child = survey(lab, minutes).spawn().expect("the program runs");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut text = String::new();
    stdout.read_line(&mut text).expect("the survey says that it begins");
    disturb(&child);
    stdout.read_to_string(&mut text).expect("the survey reports");
    let status = child.wait().expect("the survey ends");
    (status.code(), text)
}

/// What is left of us at the daemon.
fn left_behind(lab: &Lab) -> (usize, usize) {
    let facts = lab.facts();
    let url: url::Url = facts.api_url.parse().expect("an address");
    let key = AppKey::new(&facts.app_key).expect("a key");
    let client = Client::new(url, key).expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let demands = match client.call(Request::ListDemands, Span::secs(10)).await {
            Ok(Response::Demands(demands)) => demands.len(),
            other => panic!("{other:?}"),
        };
        let allocations = match client.call(Request::ListAllocations, Span::secs(10)).await {
            Ok(Response::Allocations(allocations)) => allocations.len(),
            other => panic!("{other:?}"),
        };
        (demands, allocations)
    })
}

#[test]
fn three_providers_with_four_offers_give_nine_nodes() {
    let lab = Lab::start(&Market { refuse_every: 4, ..Market::of(3, 4) });

    let output = survey(&lab, "0.2").output().expect("the program runs");

    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    for line in [
        "Gathering stats data for 0.2 minutes...",
        "Gathering stats data done",
        "Initial: 12",
        "Not blacklisted: 12",
        "Negotiation initialized: 12",
        "Negotiated successfully: 9",
        "Node is busy.: 3",
    ] {
        assert!(stdout.lines().any(|it| it == line), "no line `{line}` in:\n{stdout}{stderr}");
    }
    assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'), "colour in a pipe");
    assert_eq!(left_behind(&lab), (0, 0), "demands and allocations");
}

#[test]
fn a_daemon_that_restarts_is_surveyed_again() {
    let lab = Lab::start(&Market::of(1, 4));

    let (code, text) = disturbed(&lab, "0.4", |_| lab.restart());

    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Gathering stats data done"), "{text}");
    assert!(text.contains("Negotiated successfully: 4"), "{text}");
    assert_eq!(left_behind(&lab), (0, 0), "demands and allocations");
}

#[test]
fn a_daemon_that_dies_ends_in_a_report() {
    let lab = Lab::start(&Market::of(1, 2));

    let (code, text) = disturbed(&lab, "0.1", |_| lab.kill());

    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Gathering stats data done"), "{text}");
}

#[test]
fn a_daemon_that_hangs_ends_in_a_report() {
    let lab = Lab::start(&Market::of(1, 2));

    let (code, text) = disturbed(&lab, "0.1", |_| lab.freeze());

    lab.thaw();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Gathering stats data done"), "{text}");
}

#[test]
fn an_interrupt_ends_early_with_the_report_so_far() {
    let lab = Lab::start(&Market::of(1, 2));

    let (code, text) = disturbed(&lab, "60", |child| {
        let pid = child.id().to_string();
        let status = Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
        assert!(status.success());
    });

    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Ended early, after"), "{text}");
    assert_eq!(left_behind(&lab), (0, 0), "demands and allocations");
}

#[test]
fn a_wrong_key_is_named() {
    let lab = Lab::start(&Market::empty());

    let output = survey(&lab, "0.1").env("YAGNA_APPKEY", "wrong").output().expect("runs");

    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("refused the app-key: 401: Invalid application key"), "{stderr}");
}

#[test]
fn without_a_daemon_the_address_and_the_cure_are_named() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").port()
    };
    let url = format!("http://127.0.0.1:{port}");

    let output = ray_on_golem(&["network-stats", CLUSTER])
        .env("YAGNA_API_URL", &url)
        .output()
        .expect("the program runs");

    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(&format!("no yagna daemon answers at {url}")), "{stderr}");
    assert!(stderr.contains("hint: start it with `yagna service run`"), "{stderr}");
    assert!(output.stdout.is_empty());
}
