//! The store of bills against the state that the same journal folds to, whatever crashes come between the two.

use std::{fs, net::Ipv4Addr, os::unix::fs::PermissionsExt as _, path::Path};

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};
use ray_on_golem::{
    bills::{Entry, Kind, Notice, Owner, Said, Store, StoreError, Verdict},
    core::{
        cluster::{
            account::Terms,
            plan::ClusterPlan,
            record::{AgreementFact, ClusterRecord, Dispute},
            state::ClusterState,
        },
        ids::{AgreementNo, ClusterId, NodeId},
        market::{price::Price, spec::Gib},
        payment::ledger,
        record::Record,
        reputation::Reputation,
    },
    units::{Glm, Span, Timestamp},
    yagna::{
        ActivityId, AgreementId, BilledAmount, DebitNoteId, InvoiceId, PaidFor, Payment,
        PlatformId, ProviderId, SessionId,
    },
};
use serde_json::json;

const CLUSTER: ClusterId = ClusterId(3);
const SEEDS: u64 = 60;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_unix_micros((1_700_000_000 + secs) * 1_000_000)
}

fn store(data: &Path) -> Store {
    let owner = Owner { is_simulated: false, identity: Some("0xabc".to_owned()) };
    Store::open(data, owner, at(0)).expect("a writable directory").store
}

fn opened() -> ClusterRecord {
    ClusterRecord::Opened {
        name: "c".into(),
        session: SessionId::from("s"),
        plan: Box::new(ClusterPlan {
            platform: PlatformId::from("erc20-polygon-glm"),
            total_budget: Glm::from_whole(5),
            max_glm_per_hour: None,
            autostop: None,
            law: None,
            ssh_public_key: String::new(),
            reputation: Reputation::default(),
            network: None,
            network_path: None,
        }),
        at: at(0),
        first_node: NodeId(0),
    }
}

fn signing(number: u32) -> AgreementFact {
    let price =
        Price { start: Glm::from_atto(500), env_second: Glm::from_atto(3), ..Price::default() };
    AgreementFact::Signing {
        agreement: AgreementId::from(format!("a{number}")),
        node: NodeId(number / 2),
        terms: Box::new(Terms {
            provider: ProviderId::from(format!("0x{number}")),
            name: "one".to_owned(),
            payee: "0x1".to_owned(),
            price,
            threads: 4,
            mem: Gib::ZERO,
            storage: Gib::ZERO,
            payment_timeout: 43_200,
        }),
        ip: Ipv4Addr::new(192, 168, 0, 3),
        valid_to: at(100),
        reserve: Glm::from_whole(1),
        at: at(0),
    }
}

fn dispute(bill: String, amount: &str) -> Dispute {
    Dispute { bill, amount: BilledAmount::new(amount), reason: "too much".to_owned(), at: at(9) }
}

/// The records of a cluster with some agreements, whose bills come in any order.
fn journal(random: &mut ChaCha8Rng) -> Vec<Vec<ClusterRecord>> {
    let mut lines = vec![vec![opened()]];
    let count = random.random_range(1..6);
    for number in 0..count {
        lines.push(vec![of(number, signing(number)), of(number, AgreementFact::Approved)]);
        lines.push(vec![of(number, AgreementFact::ActivityIntended { at: at(10) })]);
    }
    let mut totals = [Glm::ZERO; 6];
    for nth in 0..random.random_range(0..40) {
        let number = random.random_range(0..count);
        let total = &mut totals[number as usize];
        let fact = match random.random_range(0..8) {
            0 => AgreementFact::NoteDisputed(dispute(format!("n{nth}"), "7e3")),
            1 => AgreementFact::InvoiceDisputed(dispute(format!("i{nth}"), "-1")),
            2 => AgreementFact::Over { at: at(60 + nth) },
            3 => AgreementFact::InvoiceAccepted {
                invoice: InvoiceId::from(format!("i{nth}")),
                total: *total,
            },
            _ => {
                *total = total.plus(Glm::from_atto(random.next_u32().into()));
                AgreementFact::NoteAccepted {
                    note: DebitNoteId::from(format!("n{nth}")),
                    total: *total,
                }
            }
        };
        let mut line = vec![of(number, fact)];
        if random.random_bool(0.2) {
            line.push(ClusterRecord::Warned { at: at(nth), warning: "look".to_owned() });
        }
        // An early invoice is disputed, and once more when it is rejected.
        if random.random_bool(0.2) {
            lines.push(line.clone());
        }
        lines.push(line);
    }
    lines
}

fn of(number: u32, fact: AgreementFact) -> ClusterRecord {
    ClusterRecord::Agreement { number: AgreementNo(number), fact }
}

fn folded(lines: &[Vec<ClusterRecord>]) -> ClusterState {
    let mut state = ClusterState::open(&lines[0][0]).expect("it begins");
    lines.iter().flatten().for_each(|record| state.apply(record));
    state
}

/// The entry of a line, unless the store keeps nothing of it.
fn entry(seq: usize, line: &[ClusterRecord]) -> Option<Entry> {
    let of = |record: &ClusterRecord| Record::Cluster(CLUSTER, Box::new(record.clone()));
    let records: Vec<Record> = line.iter().map(of).collect();
    Entry::of(CLUSTER, seq as u64, at(seq as u64), &records)
}

/// What a start reads: a journal that has folded its first lines, if any.
fn read(lines: &[Vec<ClusterRecord>], fold: usize) -> Vec<Entry> {
    let snapshot = (fold > 0).then(|| Entry {
        cluster: CLUSTER,
        seq: fold as u64 - 1,
        at: at(fold as u64),
        said: Said::All(Box::new(folded(&lines[..fold]))),
    });
    let rest = (fold..lines.len()).filter_map(|seq| entry(seq, &lines[seq]));
    snapshot.into_iter().chain(rest).collect()
}

#[track_caller]
fn assert_agree(store: &Store, state: &ClusterState, seed: u64) {
    let totals = &store.totals().expect("it is readable")["c"];
    let bills = store.bills(Timestamp::EPOCH).expect("it is readable");
    let accepted = |node: Option<NodeId>| {
        let of_node = bills.iter().filter(|bill| node.is_none() || bill.node == node);
        of_node.fold(Glm::ZERO, |sum, bill| sum.plus(bill.accepted()))
    };

    assert_eq!(totals.spent, ledger::spent(state), "seed {seed}");
    assert_eq!(accepted(None), ledger::spent(state), "seed {seed}");
    for (node, share) in ledger::ledger(state, at(0)).by_node {
        assert_eq!(accepted(Some(node)), share.spent, "seed {seed}: {node}");
    }
    let disputed = bills.iter().filter(|bill| matches!(bill.verdict, Verdict::Disputed(_)));
    assert_eq!(disputed.count() as u64, state.disputed, "seed {seed}");
    assert_eq!(totals.disputed_bills, state.disputed, "seed {seed}");
}

#[test]
fn a_crash_between_journal_and_store_loses_and_doubles_nothing() {
    for seed in 0..SEEDS {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let data = tempfile::tempdir().expect("a directory");
        let lines = journal(&mut random);
        // In each life some lines are written; the store takes in some of those, and the rest is lost with the process.
        let (mut written, mut fold) = (0, 0);
        while written < lines.len() {
            let mut store = store(data.path());
            store.take(&read(&lines[..written], fold)).expect("it is writable");
            let end = (written + random.random_range(1..12)).min(lines.len());
            let taken = random.random_range(written..=end);
            let heard = lines[..taken].iter().enumerate().skip(written);
            for (seq, line) in heard {
                store.take(entry(seq, line).as_slice()).expect("it is writable");
            }
            written = end;
            if random.random_bool(0.3) {
                fold = written;
            }
        }

        let mut store = store(data.path());
        for _ in 0..2 {
            store.take(&read(&lines, fold)).expect("it is writable");
        }

        assert_agree(&store, &folded(&lines), seed);
    }
}

#[test]
fn a_store_that_was_lost_begins_anew_with_what_the_journal_knows() {
    let data = tempfile::tempdir().expect("a directory");
    let total = Glm::from_atto(700);
    let lines = [
        vec![opened()],
        vec![of(0, signing(0))],
        vec![of(0, AgreementFact::NoteAccepted { note: "n1".into(), total: Glm::from_atto(300) })],
        vec![of(0, AgreementFact::NoteAccepted { note: "n2".into(), total })],
        vec![of(0, AgreementFact::NoteDisputed(dispute("n3".to_owned(), "9")))],
    ];
    drop(store(data.path()));
    let file = data.path().join("bills.sqlite");
    fs::write(&file, "no store").expect("a writable directory");

    let owner = Owner { is_simulated: true, identity: None };
    let opened = Store::open(data.path(), owner, at(5)).expect("it is set aside");
    let mut store = opened.store;
    store.take(&read(&lines, lines.len())).expect("it is writable");

    assert!(matches!(&opened.notices[..], [Notice::SetAside { .. }]), "{:?}", opened.notices);
    let bills = store.bills(Timestamp::EPOCH).expect("it is readable");
    let told: Vec<_> = bills
        .iter()
        .map(|bill| (bill.kind, bill.accepted(), bill.node, bill.is_simulated))
        .collect();
    assert_eq!(
        told,
        [
            // Which bills made it up, and whose the dispute was, the journal has forgotten.
            (Kind::Earlier, total, Some(NodeId(0)), true),
            (Kind::Invoice, Glm::ZERO, None, true),
        ]
    );
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn payments_are_of_agreements_and_activities_of_ours_and_count_once() {
    let data = tempfile::tempdir().expect("a directory");
    let mut store = store(data.path());
    let note = |note: &str, atto| AgreementFact::NoteAccepted {
        note: note.into(),
        total: Glm::from_atto(atto),
    };
    let made = |id: &str| AgreementFact::ActivityMade(ActivityId::from(id));
    let lines = [
        vec![opened()],
        vec![of(0, signing(0)), of(0, made("x0"))],
        vec![of(1, signing(1)), of(1, made("x1"))],
        vec![of(0, note("n0", 300)), of(1, note("n1", 50))],
    ];
    let pay = |store: &mut Store, id: &str, secs: u64, shares: &[(PaidFor, u128)]| {
        let shares = shares.iter().map(|(share, atto)| (share.clone(), Glm::from_atto(*atto)));
        let payment = Payment {
            id: id.to_owned(),
            at: at(secs),
            transaction: Some("0xcafe".to_owned()),
            shares: shares.collect(),
        };
        store.pay(&[payment]).expect("it is writable");
    };
    let agreement = |id: &str| PaidFor::Agreement(id.into());
    let activity = |id: &str| PaidFor::Activity(id.into());

    assert_eq!(store.unpaid_since().expect("readable"), None);
    store.take(&read(&lines, 0)).expect("it is writable");
    let day_before = at(0).minus(Span::days(1));
    assert_eq!(store.unpaid_since().expect("readable"), Some(day_before));
    let first = [(activity("x0"), 100), (activity("x1"), 50), (agreement("another's"), 7)];
    pay(&mut store, "p1", 20, &first);
    pay(&mut store, "p1", 20, &first);
    assert_eq!(
        store.unpaid_since().expect("readable"),
        Some(at(20).minus(Span::hours(1))),
        "200 of the first agreement are missing"
    );
    pay(&mut store, "p2", 30, &[(agreement("a0"), 200)]);

    assert_eq!(store.unpaid_since().expect("readable"), None);
    let totals = &store.totals().expect("readable")["c"];
    assert_eq!((totals.spent, totals.paid), (Glm::from_atto(350), Glm::from_atto(350)));
    let bills = store.bills(at(5)).expect("readable");
    let told: Vec<_> = bills
        .iter()
        .map(|bill| (bill.kind, bill.bill.as_str(), bill.paid(), bill.accepted()))
        .collect();
    let paid = |id, atto| (Kind::Payment, id, Glm::from_atto(atto), Glm::ZERO);
    assert_eq!(told, [paid("p1", 100), paid("p1", 50), paid("p2", 200)]);
    let provider = Some(("0x0".to_owned(), "one".to_owned()));
    assert_eq!(bills[2].provider, provider);
    assert_eq!(bills[2].verdict, Verdict::Paid(Glm::from_atto(200), Some("0xcafe".to_owned())));
}

#[test]
fn closed_clusters_are_shown_and_a_number_may_come_again() {
    let data = tempfile::tempdir().expect("a directory");
    let mut store = store(data.path());
    let later = |mut record: ClusterRecord| {
        if let ClusterRecord::Opened { at: began, .. } = &mut record {
            *began = at(1_000);
        }
        record
    };
    let note = AgreementFact::NoteAccepted { note: "n".into(), total: Glm::from_atto(9) };
    let costs = AgreementFact::ActivityIntended { at: at(10) };
    let over = AgreementFact::Over { at: at(20) };
    let life =
        [vec![opened()], vec![of(0, signing(0)), of(0, costs)], vec![of(0, over), of(0, note)]];
    let again = [vec![later(opened())], life[1].clone(), life[2].clone()];

    for (nth, life) in (0_u64..).zip([&life, &again]) {
        store.take(&read(life, 0)).expect("it is writable");
        let picture = json!({"number": 3, "nth": nth}).to_string();
        // Said twice, as after a crash.
        store.close(CLUSTER, at(30 + nth), &picture).expect("it is writable");
        store.close(CLUSTER, at(99), "{}").expect("it is writable");
    }

    assert_eq!(
        store.pictures(8).expect("readable"),
        [json!({"number": 3, "nth": 0}), json!({"number": 3, "nth": 1})]
    );
    assert_eq!(store.pictures(1).expect("readable"), [json!({"number": 3, "nth": 1})]);
    let totals = &store.totals().expect("readable")["c"];
    assert_eq!(totals.spent, Glm::from_atto(18));
    assert_eq!(totals.accrued, Glm::from_atto(2 * (500 + 10 * 3)));
}

#[test]
fn what_an_earlier_version_kept_is_taken_over_once() {
    let data = tempfile::tempdir().expect("a directory");
    let node =
        |id: &str, spent: &str| json!({"node_id": id, "spent_glm": spent, "provider_id": "0x1"});
    let picture = json!({
        "number": 7, "cluster_name": "old", "started_at": "2026-11-30T12:00:00.5Z", "spent_glm": "0.6",
        "payment_platform": "erc20-hoodi-tglm", "nodes": [node("node0", "0.1"), node("node4", "0.2")],
    });
    let file = data.path().join("bills.ndjson");
    let text = format!("{picture}\n{{\"number\":\nnothing\n\n{picture}\n");
    fs::write(&file, text).expect("a writable directory");

    let first = store(data.path());
    let totals = first.totals().expect("readable");
    drop(first);
    let again = store(data.path());

    assert!(!file.exists());
    assert_eq!(again.totals().expect("readable"), totals);
    assert_eq!(totals["old"].spent.to_string(), "0.6");
    assert_eq!(again.pictures(8).expect("readable"), [picture]);
    let bills = again.bills(Timestamp::EPOCH).expect("readable");
    let told: Vec<_> = bills.iter().map(|bill| (bill.node, bill.accepted().to_string())).collect();
    let told_of = |node, spent: &str| (node, spent.to_owned());
    assert_eq!(
        told,
        [told_of(Some(NodeId(0)), "0.1"), told_of(Some(NodeId(4)), "0.2"), told_of(None, "0.3")]
    );
    let noon = Timestamp::from_unix_micros(1_796_040_000_000_000);
    assert_eq!(again.bills(noon.plus(Span::secs(1))).expect("readable"), []);
}

#[test]
fn a_store_of_a_newer_program_is_left_alone() {
    let data = tempfile::tempdir().expect("a directory");
    drop(store(data.path()));
    let file = data.path().join("bills.sqlite");
    let connection = rusqlite::Connection::open(&file).expect("a store");
    connection.pragma_update(None, "user_version", 99).expect("writable");
    drop(connection);

    let owner = Owner { is_simulated: true, identity: None };
    let error = Store::open(data.path(), owner, at(0)).expect_err("it is newer");

    assert!(matches!(error, StoreError::Newer { version: 99, .. }), "{error}");
}
