//! A cluster on a daemon that is none too well: connections are cut, answers come by half or not at all,
//! it restarts, and it has ten thousand things to say at once.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use ray_on_golem::{
    core::{Command, cluster::plan::NodeKind, cluster::state::NodeState},
    driver::{
        board::Board,
        clock::{now, written},
        log::Log,
    },
    units::{Glm, Span},
    yagna::{
        AgreementState, CallError, DocumentState, Endpoint, Invoice, Request, Status, Yagna,
        wire::HttpResponse,
    },
};
use serde_json::{Value, json};

use crate::{
    daemons::{client, served_in},
    life::{agreements, ask, count, invoices, managed, tell, until},
    port::SimPort,
};

const FLOOD: usize = 10_000;
/// How the ids of the flood begin.
const FLOODED: &str = "f100df10";
/// There are more providers than needed: whoever seems to fail is left alone for a while.
const QUICK: &str = include_str!("../../fixtures/scenario/quick.yaml");

#[test]
fn a_cluster_lives_on_a_daemon_that_is_none_too_well() {
    // Another test of this process may have installed it, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let data = tempfile::tempdir().expect("a directory");
    let log = data.path().join("manager.log");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    runtime.block_on(async {
        let (server, key) = served_in(QUICK).await;
        let daemon = client(&server.url(), key.clone());
        let disturb = async |faults: Value| {
            let url = format!("{}/sim/faults", server.url());
            let put = reqwest::Client::new().put(url).bearer_auth(key.as_str());
            let sent = put.body(faults.to_string()).send().await;
            assert_eq!(sent.expect("an answer").status().as_u16(), 200);
        };
        let to_file = Log::to_file(&log).expect("a file");
        let (manager, handle) = managed(data.path(), daemon.clone(), to_file);
        ask(&handle, NodeKind::Head, 1).await;
        ask(&handle, NodeKind::Worker, 1).await;
        let board = until(&handle, "both nodes run", |board| running(board) == 2).await;
        let providers = nodes(&board).filter_map(|node| node.provider.clone());
        assert_eq!(providers.collect::<BTreeSet<_>>().len(), 2);
        // Not before: a call that was to sign would be in doubt for a minute, as long as it may land.
        disturb(json!({ "refuse": 10, "closed": 10, "garbage": 10, "fail_500": 5 })).await;
        disturb(json!({ "outage": { "kind": "restart", "for": 2 } })).await;
        tell(&handle, Command::EndCluster { cluster: "c".into() }).await;
        let closed = until(&handle, "the books are closed", |board| !board.closed.is_empty()).await;
        tell(&handle, Command::Shutdown).await;
        manager.await.expect("no panic").expect("a clean end");

        disturb(json!({ "closed": 0, "garbage": 0, "fail_500": 0, "refuse": 0 })).await;
        for list in [Request::ListAllocations, Request::ListDemands, Request::ListNetworks] {
            assert_eq!(count(&daemon, list).await, 0);
        }
        let promised = invoices(&daemon).await;
        let is_promised = |it: &Invoice| it.state != DocumentState::Received;
        assert!(promised.len() >= 2 && promised.iter().all(is_promised), "{promised:#?}");
        let states = agreements(&daemon, &promised).await;
        assert!(states.iter().all(|state| *state == AgreementState::Terminated), "{states:?}");
        let billed = promised.iter().map(|it| it.amount.glm().expect("a decimal"));
        let billed = billed.fold(Glm::ZERO, |sum, it| sum.checked_add(it).expect("a small sum"));
        assert_eq!(closed.closed[0].money.spent, billed, "each bill once: {promised:#?}");
        server.end().await;
    });

    let said = fs::read_to_string(&log).expect("a log");
    let told: Vec<&str> =
        said.lines().filter(|line| line.contains("the daemon fails at")).collect();
    assert!(!told.is_empty(), "{said}");
    assert!(said.lines().all(|line| line.starts_with('[')), "each thing is told in a line: {said}");
}

/// A daemon that once has ten thousand bills at the same time, none of which is for us.
#[derive(Clone)]
struct Flooded {
    port: SimPort,
    has_come: Arc<AtomicBool>,
    fetched: Arc<Mutex<Vec<String>>>,
}

impl Yagna for Flooded {
    async fn exchange(&self, request: &Request, patience: Span) -> Result<HttpResponse, CallError> {
        let answer = |status, body: String| {
            let content_type = Some("application/json".to_owned());
            Ok(HttpResponse { status: Status(status), content_type, body: body.into_bytes() })
        };
        if matches!(request.endpoint(), Endpoint::CollectInvoiceEvents)
            && !self.has_come.swap(true, Ordering::Relaxed)
        {
            let at = written(now());
            let event = |nth| json!({ "invoiceId": format!("{FLOODED}{nth:024x}"), "eventDate": at, "eventType": "InvoiceReceivedEvent" });
            return answer(200, Value::from_iter((0..FLOOD).map(event)).to_string());
        }
        if let Request::GetInvoice { invoice } = request
            && invoice.as_str().starts_with(FLOODED)
        {
            let mut fetched = self.fetched.lock().expect("nobody panics with it");
            fetched.push(invoice.as_str().to_owned());
            return answer(404, json!({ "message": null }).to_string());
        }
        self.port.exchange(request, patience).await
    }
}

#[test]
fn ten_thousand_bills_at_once_hold_up_no_cluster() {
    let data = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    runtime.block_on(async {
        let (port, moving) = SimPort::start(QUICK);
        let (has_come, fetched) = (Arc::default(), Arc::default());
        let daemon = Flooded { port: port.clone(), has_come, fetched: Arc::clone(&fetched) };
        let (manager, handle) = managed(data.path(), daemon, Log::silent());
        ask(&handle, NodeKind::Head, 1).await;
        until(&handle, "the head runs", |board| running(board) == 1).await;
        tell(&handle, Command::EndCluster { cluster: "c".into() }).await;
        until(&handle, "the books are closed", |board| !board.closed.is_empty()).await;
        tell(&handle, Command::Shutdown).await;
        manager.await.expect("no panic").expect("a clean end");
        moving.abort();

        port.look(|daemon| {
            let invoices = daemon.invoices();
            assert!(!invoices.is_empty());
            assert!(invoices.iter().all(|book| book.accepted.is_some()), "{invoices:#?}");
        });
        let fetched = fetched.lock().expect("nobody panicked with it");
        let distinct: BTreeSet<&String> = fetched.iter().collect();
        assert_eq!((fetched.len(), distinct.len()), (FLOOD, FLOOD), "each is looked at once");
    });
}

fn nodes(board: &Board) -> impl Iterator<Item = &ray_on_golem::driver::board::NodeBoard> {
    board.clusters.values().flat_map(|cluster| cluster.nodes.values())
}

fn running(board: &Board) -> usize {
    nodes(board).filter(|node| node.state == NodeState::Running).count()
}
