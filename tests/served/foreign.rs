//! SDKs of other makers rent a node, run `echo`, accept the bill, and close.

use crate::lab::Lab;

const MARKET: &str = "
    daemon: { warm: 1 }
    populations:
      - name: quick
        count: 3
        conduct: { deploy: 0.1, start: 0.1, run: 0.1, invoice_after: 0.2 }";

const IMAGE: &str = "9a3b5d67b0b27746283cb5f287c13eab1beaa12d92a9f536b747c7ae";

#[test]
fn golem_core_rents_a_node() {
    let lab = Lab::start(MARKET, 1);
    lab.output(lab.command("yagna").args(["payment", "init", "--network", "hoodi", "--sender"]));

    rents(&lab, "core", &[], "hello from golem-core");
}

#[test]
fn yapapi_rents_a_node() {
    let lab = Lab::start(MARKET, 1);

    rents(&lab, "yapapi", &[], "hello from yapapi");
}

#[test]
fn golem_js_rents_a_node() {
    let lab = Lab::start(MARKET, 1);

    rents(&lab, "js", &[], "hello from golem-js");
}

#[test]
fn golem_js_reads_results_as_they_come() {
    let lab = Lab::start(MARKET, 1);

    rents(&lab, "js", &["stream"], "hello from golem-js");
}

#[test]
fn the_command_line_of_the_daemon_is_answered() {
    let lab = Lab::start(MARKET, 1);
    let yagna = |words: &[&str]| {
        let text = lab.output(lab.command("yagna").args(words));
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|_| text.into())
    };

    let version = yagna(&["--version"]);
    assert!(version.as_str().is_some_and(|it| it.starts_with("yagna 0.17.6 (")), "{version}");
    let identities = yagna(&["id", "list", "--json"]);
    assert_eq!(identities[0]["default"], "X");
    assert_eq!(identities[0]["address"], yagna(&["id", "show", "--json"])["Ok"]["nodeId"]);
    let key = yagna(&["app-key", "create", "ray-on-golem", "--json"]);
    assert_eq!(yagna(&["app-key", "create", "ray-on-golem", "--json"]), key, "again is the same");
    let listed = yagna(&["app-key", "list", "--json"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert_eq!(listed[0]["name"], "ray-on-golem");
    assert_eq!(listed[0]["key"], key);
    let beyond = yagna(&["app-key", "list", "--json", "--page", "7"]);
    assert_eq!(beyond[0]["name"], "autoconfigured", "the first key is on every page");
    let status = yagna(&["payment", "status", "--network", "hoodi", "--driver", "erc20", "--json"]);
    assert_eq!(status["amount"], "1000");
    assert_eq!(status["token"], "tGLM");
    assert_eq!(status["reserved"], "0");
    let drivers = yagna(&["payment", "driver", "list", "--json"]);
    assert_eq!(drivers["erc20"]["networks"]["polygon"]["tokens"]["GLM"], "erc20-polygon-glm");
    let funded = yagna(&["payment", "fund", "--network", "hoodi", "--driver", "erc20"]);
    assert!(funded.as_str().is_some_and(|it| it.contains("1000 tGLM on hoodi")), "{funded}");
    let wrong = lab.command("yagna").args(["payment", "status", "--network", "x"]).output();
    assert_eq!(wrong.expect("it runs").status.code(), Some(1));
}

/// Lets a client do its round, and looks at what it has left behind.
fn rents(lab: &Lab, client: &str, mode: &[&str], words: &str) {
    let url = format!("{}/image/{IMAGE}.gvmi", lab.registry);
    let mut command = lab.command("python3");
    command.args(["tests/foreign/foreign.py", "run", client, IMAGE, &url]).args(mode);

    let text = lab.output(&mut command);

    assert!(text.lines().any(|line| line == format!("STDOUT {words}")), "{text}");
    let ledger = lab.look("/sim/ledger");
    let all = |kind: &str| ledger[kind]["last"].as_array().cloned().unwrap_or_default();
    assert!(!all("invoices").is_empty(), "{ledger}");
    assert!(all("invoices").iter().all(|it| it["state"] == "Accepted"), "{ledger}");
    assert!(all("agreements").iter().all(|it| !it["ended"].is_null()), "{ledger}");
    assert!(all("activities").iter().all(|it| !it["ended"].is_null()), "{ledger}");
    assert!(all("allocations").iter().all(|it| it["isReleased"] == true), "{ledger}");
}
