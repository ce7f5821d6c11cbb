//! One life of a cluster: three nodes are asked for, run, and end; the bills are paid.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use golem_sim::plan;
use ray_on_golem::{
    core::{
        Answer, Command, NodeRequest,
        cluster::{
            plan::{ClusterPlan, NodeKind, NodeOrder},
            state::NodeState,
        },
        ids::NodeId,
        market::spec::{Image, NodeSpec},
        reputation::Reputation,
    },
    driver::{
        Recorder,
        board::Board,
        journal::Journals,
        log::Log,
        manager::{Handle, Kept, Manager, ManagerError},
    },
    recording::{Replayed, read, replay},
    units::{Glm, Span, Timestamp},
    yagna::{
        ActivityPhase, AgreementState, AppKey, DebitNote, DocumentState, Invoice, Request,
        Response, Yagna,
    },
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    daemons::{SCENARIO, client, real, served},
    port::{AllWell, SimPort},
};

const PLATFORM: &str = "erc20-hoodi-tglm";
/// Longer than any answer takes.
const PATIENCE: Span = Span::secs(30);
/// Longer than any part of the life takes.
const LIFE_MAX: Duration = Duration::from_secs(120);

/// What is the same on every arm.
#[derive(Debug, PartialEq)]
struct Life {
    answered: Answer,
    /// The kind of each node, and how it ended.
    nodes: BTreeMap<NodeId, (NodeKind, NodeState)>,
    addresses: BTreeSet<String>,
    providers: usize,
    agreements: Vec<AgreementState>,
    activities: Vec<ActivityPhase>,
    invoices: Vec<DocumentState>,
    /// One that comes with its invoice may be overtaken by it, and stays as it is then.
    notes: usize,
    /// Whether our own books say what the daemon's invoices say.
    is_spent_as_billed: bool,
    allocations: usize,
    demands: usize,
    networks: usize,
}

#[test]
fn a_cluster_lives_alike_on_three_arms() {
    let lab = real();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    let [in_process, over_http, on_the_daemon] = runtime.block_on(async {
        let (port, moving) = SimPort::start(SCENARIO);
        let (server, key) = served().await;
        let facts = lab.facts();
        let real_key = AppKey::new(&facts.app_key).expect("a key");
        let lives = tokio::join!(
            live(port),
            live(client(&server.url(), key)),
            live(client(&facts.api_url, real_key)),
        );
        moving.abort();
        server.end().await;
        lives.into()
    });

    let ended = |kind| (kind, NodeState::Terminated);
    let wanted = Life {
        answered: Answer::NodesRequested(Ok(vec![NodeId(1), NodeId(2)])),
        nodes: [
            (NodeId(0), ended(NodeKind::Head)),
            (NodeId(1), ended(NodeKind::Worker)),
            (NodeId(2), ended(NodeKind::Worker)),
        ]
        .into(),
        addresses: ["192.168.0.3", "192.168.0.4", "192.168.0.5"].map(str::to_owned).into(),
        providers: 3,
        agreements: vec![AgreementState::Terminated; 3],
        activities: vec![ActivityPhase::Terminated; 3],
        invoices: vec![DocumentState::Settled; 3],
        notes: 3,
        is_spent_as_billed: true,
        allocations: 0,
        demands: 0,
        networks: 0,
    };
    assert_eq!(on_the_daemon, wanted);
    assert_eq!(over_http, wanted);
    assert_eq!(in_process, wanted);
}

/// Begins a manager with an empty directory in front of a daemon, and lets it run.
pub(crate) fn managed(
    data: &Path,
    daemon: impl Yagna + Clone + Send + Sync + 'static,
    log: Log,
) -> (JoinHandle<Result<(), ManagerError>>, Handle) {
    watched(data, daemon, log, Recorder::none(), AllWell::default())
}

/// The same with a recorder, and with a prober that remembers what it looked at.
fn watched(
    data: &Path,
    daemon: impl Yagna + Clone + Send + Sync + 'static,
    log: Log,
    recorder: Recorder,
    prober: AllWell,
) -> (JoinHandle<Result<(), ManagerError>>, Handle) {
    let (journals, recovered) = Journals::open(data).expect("an empty directory");
    let kept = Kept { journals, recovered, recorder };
    let (manager, handle) = Manager::new(kept, daemon, prober, log);
    (tokio::spawn(manager.run()), handle)
}

/// A recording tells nothing of the private network, whoever carries its frames, and is as good as if it did.
#[track_caller]
fn assert_discreet(recording: &Path, prober: &AllWell) {
    let text = fs::read_to_string(recording).expect("a recording");
    let targets = prober.targets();
    assert!(targets.len() >= 3, "each node is looked at");
    for target in targets {
        assert!(!text.contains(target.network.as_str()), "{}", target.network);
    }
    let places = ["/net/masked-1/nodes\"", r#"[{\"id\":\"masked-1\""#, " in masked-1\""];
    for place in places {
        assert!(text.contains(place), "{place}");
    }
    let Replayed { differences, is_cut, .. } = replay(read(text.as_bytes()).expect("ours"));
    assert!(differences.is_empty() && !is_cut, "{differences:#?}");
}

async fn live(daemon: impl Yagna + Clone + Send + Sync + 'static) -> Life {
    let data = tempfile::tempdir().expect("a directory");
    let recording = data.path().join("life.ndjson");
    let key = AppKey::new("a-key-of-no-daemon").expect("a key");
    let recorder = Recorder::create(&recording, &key).expect("a writable directory");
    let prober = AllWell::default();
    let (manager, handle) =
        watched(data.path(), daemon.clone(), Log::silent(), recorder, prober.clone());

    pays_soon(&daemon).await;
    ask(&handle, NodeKind::Head, 1).await;
    let answered = ask(&handle, NodeKind::Worker, 2).await;
    let board = until(&handle, "three nodes run", |board| {
        let nodes = board.clusters.values().flat_map(|cluster| cluster.nodes.values());
        nodes.filter(|node| node.state == NodeState::Running).count() == 3
    })
    .await;
    let running = || board.clusters.values().flat_map(|cluster| cluster.nodes.values());
    let addresses = running().filter_map(|node| node.ip).map(|ip| ip.to_string()).collect();
    let providers: BTreeSet<_> = running().filter_map(|node| node.provider.clone()).collect();
    let node = NodeId(1);
    tell(&handle, Command::TerminateNode { cluster: "c".into(), node }).await;
    tell(&handle, Command::EndCluster { cluster: "c".into() }).await;
    let closed = until(&handle, "the books are closed", |board| !board.closed.is_empty()).await;
    tell(&handle, Command::Shutdown).await;
    manager.await.expect("no panic").expect("a clean end");
    assert_discreet(&recording, &prober);

    let cluster = &closed.closed[0];
    let (invoices, notes) = settled(&daemon).await;
    let billed = invoices.iter().map(|it| it.amount.glm().expect("a decimal"));
    let billed = billed.fold(Glm::ZERO, |sum, it| sum.checked_add(it).expect("a small sum"));
    Life {
        answered,
        nodes: cluster.nodes.iter().map(|(id, node)| (*id, (node.kind, node.state))).collect(),
        addresses,
        providers: providers.len(),
        agreements: agreements(&daemon, &invoices).await,
        activities: activities(&daemon, &invoices).await,
        invoices: invoices.iter().map(|it| it.state).collect(),
        notes: notes.len(),
        is_spent_as_billed: cluster.money.spent == billed,
        allocations: count(&daemon, Request::ListAllocations).await,
        demands: count(&daemon, Request::ListDemands).await,
        networks: count(&daemon, Request::ListNetworks).await,
    }
}

#[test]
fn a_cluster_outlives_a_daemon_that_is_killed() {
    let lab = real();
    let facts = lab.facts();
    let daemon = client(&facts.api_url, AppKey::new(&facts.app_key).expect("a key"));
    let data = tempfile::tempdir().expect("a directory");
    let log = data.path().join("manager.log");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let said = || fs::read_to_string(&log).expect("a log");
    let failing = |said: &str| said.matches("the daemon fails at").count();

    runtime.block_on(async {
        let to_file = Log::to_file(&log).expect("a file");
        let (manager, handle) = managed(data.path(), daemon.clone(), to_file);
        ask(&handle, NodeKind::Head, 1).await;
        until(&handle, "the head runs", |board| {
            let mut nodes = board.clusters.values().flat_map(|cluster| cluster.nodes.values());
            nodes.any(|node| node.state == NodeState::Running)
        })
        .await;
        lab.kill();
        poll(async || (failing(&said()) > 0).then_some(())).await;
        tell(&handle, Command::EndCluster { cluster: "c".into() }).await;
        lab.restart();
        until(&handle, "the books are closed", |board| !board.closed.is_empty()).await;
        tell(&handle, Command::Shutdown).await;
        manager.await.expect("no panic").expect("a clean end");

        for list in [Request::ListAllocations, Request::ListDemands, Request::ListNetworks] {
            assert_eq!(count(&daemon, list).await, 0);
        }
        let invoices = invoices(&daemon).await;
        assert_eq!(invoices.len(), 1, "{invoices:#?}");
        assert_ne!(invoices[0].state, DocumentState::Received, "it is accepted, or paid");
    });

    let said = said();
    let told = |line: &str| Some(line.split_once("the daemon fails at ")?.1.to_owned());
    let told: Vec<String> = said.lines().filter_map(told).collect();
    assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "each call once: {said}");
    assert!(said.contains("Stopping `c` cluster done"), "{said}");
}

pub(crate) async fn ask(handle: &Handle, kind: NodeKind, count: u32) -> Answer {
    let request = NodeRequest {
        key: None,
        cluster: "c".into(),
        only_for: None,
        plan: ClusterPlan {
            platform: PLATFORM.into(),
            total_budget: Glm::from_whole(5),
            max_glm_per_hour: None,
            autostop: None,
            law: None,
            ssh_public_key: "ssh-ed25519 AAAA".to_owned(),
            reputation: Reputation::default(),
            network: None,
            network_path: None,
        },
        order: NodeOrder {
            kind,
            spec: NodeSpec { priority_subnet_tag: None, ..plan::spec() },
            image: Image { url: "http://x/y".to_owned(), sha3: "0".repeat(56) },
            count,
            tags: [].into(),
        },
    };
    tell(handle, Command::RequestNodes(Box::new(request))).await
}

pub(crate) async fn tell(handle: &Handle, command: Command) -> Answer {
    handle.ask(command).await.expect("it runs")
}

pub(crate) async fn until(handle: &Handle, what: &str, is_so: impl Fn(&Board) -> bool) -> Board {
    let mut changes = handle.changes();
    match timeout(LIFE_MAX, changes.wait_for(|board| is_so(board))).await {
        Ok(board) => Board::clone(&board.expect("it runs")),
        Err(_) => panic!("not in time: {what}\n{:#?}", handle.board()),
    }
}

/// Has the daemon send payments as often as it can; by itself it takes minutes.
async fn pays_soon(daemon: &(impl Yagna + Sync)) {
    let (interval, extra_time) = (Span::secs(5), Span::secs(5));
    let set = Request::SetBatchCycle { platform: PLATFORM.into(), interval, extra_time };
    assert_eq!(daemon.call(set, PATIENCE).await, Ok(Response::BatchCycleSet));
}

/// Waits until the three invoices are paid.
async fn settled(daemon: &(impl Yagna + Sync)) -> (Vec<Invoice>, Vec<DebitNote>) {
    poll(async || {
        let invoices = invoices(daemon).await;
        let is_paid = |it: &Invoice| it.state == DocumentState::Settled;
        (invoices.len() == 3 && invoices.iter().all(is_paid))
            .then_some((invoices, notes(daemon).await))
    })
    .await
}

pub(crate) async fn invoices(daemon: &(impl Yagna + Sync)) -> Vec<Invoice> {
    match daemon.call(Request::ListInvoices { after: Timestamp::EPOCH }, PATIENCE).await {
        Ok(Response::Invoices(invoices)) => invoices,
        other => panic!("{other:?}"),
    }
}

async fn notes(daemon: &(impl Yagna + Sync)) -> Vec<DebitNote> {
    match daemon.call(Request::ListDebitNotes { after: Timestamp::EPOCH }, PATIENCE).await {
        Ok(Response::DebitNotes(notes)) => notes,
        other => panic!("{other:?}"),
    }
}

/// Asks the daemon again and again: bills have no events for those who are not their session.
async fn poll<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(LIFE_MAX, asked).await.expect("in time")
}

pub(crate) async fn agreements(
    daemon: &(impl Yagna + Sync),
    invoices: &[Invoice],
) -> Vec<AgreementState> {
    let mut states = Vec::new();
    for invoice in invoices {
        let agreement = invoice.agreement.clone();
        match daemon.call(Request::GetAgreement { agreement }, PATIENCE).await {
            Ok(Response::Agreement(agreement)) => states.push(agreement.state),
            other => panic!("{other:?}"),
        }
    }
    states
}

async fn activities(daemon: &(impl Yagna + Sync), invoices: &[Invoice]) -> Vec<ActivityPhase> {
    let mut phases = Vec::new();
    for activity in invoices.iter().flat_map(|it| it.activities.clone()) {
        let state = Request::GetActivityState { activity, timeout: Span::secs(5) };
        match daemon.call(state, PATIENCE).await {
            Ok(Response::ActivityState(state)) => phases.push(state.now),
            other => panic!("{other:?}"),
        }
    }
    phases
}

pub(crate) async fn count(daemon: &(impl Yagna + Sync), list: Request) -> usize {
    match daemon.call(list, PATIENCE).await {
        Ok(Response::Allocations(list)) => list.len(),
        Ok(Response::Demands(list)) => list.len(),
        Ok(Response::Networks(list)) => list.len(),
        other => panic!("{other:?}"),
    }
}
