//! A node of a real daemon from the request to the bill: the product's program as users run it, an unmodified daemon, and
//! stand-in providers whose nodes do what they are told, with Debian's ssh service.
//!
//! The market, the nine steps, the check of a node's ssh, Ray's way to log in, the end, and the books are all as in the
//! field. The image is this machine's own programs, and the exe-unit a stand-in: see `tests/real_yagna/image.py`.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::wildcard_enum_match_arm,
    reason = "the daemon, the webserver, and ssh are processes; a wrong answer fails the test"
)]

#[path = "../lab/mod.rs"]
mod lab;
#[expect(dead_code, reason = "the tests of the ways to a node use the rest")]
#[path = "../proxy/mod.rs"]
mod proxy;
mod webserver;

use std::time::Duration;

use ray_on_golem::{
    units::{Glm, Rounding, Span, Timestamp},
    yagna::{
        ActivityPhase, AgreementState, AppKey, Client, DocumentState, Request, Response, Yagna as _,
    },
};
use serde_json::{Value, json};

use crate::{
    lab::{Billing, Lab, Market},
    proxy::{bytes, sha256},
    webserver::{Webserver, post},
};

const PATIENCE: Span = Span::secs(20);
/// What goes to the node and comes back, in bytes.
const LENGTH: usize = 4 << 20;

#[test]
fn a_node_comes_up_over_the_bus_and_what_is_paid_for_it_is_known() {
    let lab = lab();
    pay_at_once(&lab);
    let webserver = a_node_comes_up(&lab, "bus");

    webserver.post("/end_cluster", &json!({"cluster_name": "c"}));
    let bills = webserver.bills_once("a payment", |bills| bills.iter().any(is_payment));

    let amount = |bill: &Value, key: &str| {
        let text = bill[key].as_str().expect("an amount");
        Glm::parse(text, Rounding::Exact).expect("a decimal")
    };
    let sum = |key| bills.iter().fold(Glm::ZERO, |sum, bill| sum.plus(amount(bill, key)));
    assert_eq!(sum("paid_glm"), sum("accepted_glm"), "{bills:#?}");
    for payment in bills.iter().filter(|bill| is_payment(bill)) {
        let hash = payment["transaction"].as_str().expect("a hash");
        assert!(hash.starts_with("0x") && hash.len() == 66, "{payment}");
        assert_eq!(payment["node_id"], "node0");
        assert_eq!(payment["simulated"], false);
    }
    webserver.stop();
    nothing_is_left(&lab);
}

#[test]
fn a_node_comes_up_by_the_daemon_s_own_way_and_is_paid() {
    let lab = lab();
    let webserver = a_node_comes_up(&lab, "daemon");

    let said = webserver.stop();

    assert!(said.contains("`c` cost "), "{said}");
    nothing_is_left(&lab);
}

fn is_payment(bill: &Value) -> bool {
    bill["kind"] == "payment"
}

fn lab() -> Lab {
    let billing = Some(Billing::every(Duration::from_secs(3)));
    Lab::start_central(&Market { executes: true, billing, ..Market::of(2, 1) })
}

/// Has the daemon pay every few seconds; by itself it does so every few minutes on a testnet, and less often elsewhere.
fn pay_at_once(lab: &Lab) {
    let facts = lab.facts();
    let base: url::Url = facts.api_url.parse().expect("an address");
    let cycle = json!({"platform": "erc20-hoodi-tglm", "intervalSec": 5, "extraPayTimeSec": 5});
    let port = base.port().expect("a port of its own");
    let set = post(port, &facts.app_key, "/payment-api/v1/batchCycle", &cycle);
    assert!(set["Ok"].is_object(), "{set}");
}

/// A webserver with a cluster of a head, which is used.
fn a_node_comes_up(lab: &Lab, path: &str) -> Webserver {
    let webserver = Webserver::start(lab);

    let asked = webserver.post("/request_nodes", &head(path));
    assert_eq!(asked["requested_nodes"], json!(["node0"]));
    let node = webserver.node_once("it runs", |node| node["state"] == "running");
    let log = node["state_log"].to_string();
    for step in 1..=9 {
        assert!(log.contains(&format!("[{step}/9]")), "step {step}: {log}");
    }
    assert_eq!(node["is_reached_by_ssh"], json!(true), "{node}");
    assert_eq!(webserver.status()["clusters"][0]["network_path"], path);

    let content = bytes(LENGTH, 1);
    let hash = webserver.ssh(&node, "tee copy | sha256sum", &content);
    assert_eq!(hash, format!("{}  -\n", sha256(&content)).into_bytes());
    let back = webserver.ssh(&node, "cat copy", &[]);
    assert_eq!(sha256(&back), sha256(&content));
    webserver
}

/// The request that `ray up` sends for a head.
fn head(path: &str) -> Value {
    json!({
        "cluster_name": "c",
        "provider_parameters": {
            "webserver_port": 4578,
            "total_budget": 5.0,
            "ray_gcs_expose_port": null,
            "network_path": path,
        },
        "node_config": {
            "priority_subnet_tag": null,
            "demand": {"image_tag": "golem/ray-on-golem:1", "min_cpu_threads": 1},
        },
        "count": 1,
        "tags": {"ray-node-type": "head"},
    })
}

/// The daemon has nothing of the cluster that costs, and each bill is accepted.
fn nothing_is_left(lab: &Lab) {
    let facts = lab.facts();
    let base: url::Url = facts.api_url.parse().expect("an address");
    let key = AppKey::new(&facts.app_key).expect("a key");
    let daemon = Client::new(base, key).expect("a client");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let call = |request| {
        let answered = runtime.block_on(daemon.call(request, PATIENCE));
        answered.expect("the daemon answers")
    };

    for list in [Request::ListAllocations, Request::ListDemands, Request::ListNetworks] {
        match call(list) {
            Response::Allocations(list) => assert!(list.is_empty(), "{list:?}"),
            Response::Demands(list) => assert!(list.is_empty(), "{list:?}"),
            Response::Networks(list) => assert!(list.is_empty(), "{list:?}"),
            other => panic!("{other:?}"),
        }
    }
    let Response::Invoices(invoices) = call(Request::ListInvoices { after: Timestamp::EPOCH })
    else {
        panic!("a list of invoices");
    };
    assert_eq!(invoices.len(), 1, "{invoices:#?}");
    assert_ne!(invoices[0].state, DocumentState::Received, "it is accepted, or paid");
    let agreement = invoices[0].agreement.clone();
    match call(Request::GetAgreement { agreement }) {
        Response::Agreement(agreement) => assert_eq!(agreement.state, AgreementState::Terminated),
        other => panic!("{other:?}"),
    }
    assert_eq!(invoices[0].activities.len(), 1);
    for activity in invoices[0].activities.clone() {
        match call(Request::GetActivityState { activity, timeout: Span::secs(5) }) {
            Response::ActivityState(state) => assert_eq!(state.now, ActivityPhase::Terminated),
            other => panic!("{other:?}"),
        }
    }
}
