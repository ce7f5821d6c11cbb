//! A start after a crash: the journal of a cluster of a thousand nodes is read and folded.
//!
//! The records are those of a long day: every node comes up under its agreement and sends bills; some
//! nodes end and others take their place.

use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use golem_sim::plan;
use ray_on_golem::{
    core::{
        cluster::{
            account::Terms,
            plan::{ClusterName, ClusterPlan, NodeKind, NodeOrder, Tags},
            record::{AgreementFact, ClusterRecord, NodeFact},
        },
        ids::{AgreementNo, ClusterId, NodeId},
        market::{price::Price, spec::Gib},
        record::{Durable, JournalId, Record},
        reputation::Reputation,
    },
    journal::{self, Writer},
    units::{Glm, Timestamp},
    yagna::{PlatformId, ProviderId, SessionId},
};

const CLUSTER: ClusterId = ClusterId(0);
const JOURNAL: JournalId = JournalId::Cluster(CLUSTER);
const NODES: u32 = 1_000;
const RECORDS: usize = 100_000;
/// One node in so many is replaced between two bills.
const REPLACED_EVERY: u32 = 50;
const NOW: Timestamp = Timestamp::from_unix_micros(1_700_000_000_000_000);

/// A journal as text that collects its lines.
struct Journal {
    writer: Writer,
    text: Vec<u8>,
    records: usize,
}

impl Journal {
    fn add(&mut self, batch: impl IntoIterator<Item = ClusterRecord>) {
        let batch = batch.into_iter().map(|record| Record::Cluster(CLUSTER, Box::new(record)));
        let batch: Vec<Record> = batch.collect();
        self.records += batch.len();
        self.text.extend(self.writer.batch(NOW, &batch));
    }

    /// A node from its request to its last line of log.
    fn node_comes(&mut self, number: u32) {
        let node = NodeId(number);
        let of_node = |fact| [ClusterRecord::Node { node, fact }];
        let id = |kind: &str| format!("{kind}{number:032x}");
        self.add([requested(node)]);
        self.add([about(number, signing(number))]);
        self.add([about(number, AgreementFact::Approved)]);
        self.add([about(number, AgreementFact::ActivityIntended { at: NOW })]);
        self.add([about(number, AgreementFact::ActivityMade(id("a").into()))]);
        self.add([about(number, AgreementFact::BatchIntended)]);
        self.add([about(number, AgreementFact::BatchMade(id("b").into()))]);
        self.add([about(number, AgreementFact::Bootstrapped)]);
        self.add(of_node(NodeFact::Tagged(tags("up-to-date"))));
        self.add(of_node(NodeFact::Logged("the node is up, and Ray may come".to_owned())));
        self.add(of_node(NodeFact::Running));
    }

    fn bill_comes(&mut self, number: u32, bill: u32) {
        let total = Glm::from_atto(u128::from(bill) * 1_234_567_890_123_456);
        let note = format!("{number:016x}-{bill:016x}").into();
        let reserve = total.plus(Glm::from_whole(1));
        self.add([
            about(number, AgreementFact::NoteAccepted { note, total }),
            about(number, AgreementFact::Reserved(reserve)),
        ]);
        self.add([ClusterRecord::BillsRead { notes: NOW, invoices: NOW }]);
    }

    fn node_ends(&mut self, number: u32) {
        let node = NodeId(number);
        let (invoice, total) = (format!("{number:032x}").into(), Glm::from_whole(1));
        self.add([ClusterRecord::Node { node, fact: NodeFact::Ending }]);
        let reason = "the node is not needed any more".to_owned();
        self.add([about(number, AgreementFact::Closing { at: NOW, reason })]);
        self.add([about(number, AgreementFact::Over { at: NOW })]);
        self.add([ClusterRecord::Node { node, fact: NodeFact::Ended }]);
        self.add([about(number, AgreementFact::InvoiceAccepted { invoice, total })]);
        self.add([about(number, AgreementFact::Settled)]);
    }
}

fn journal() -> Journal {
    let mut journal = Journal { writer: Writer::new(0), text: Vec::new(), records: 0 };
    journal.add([opened()]);
    (0..NODES).for_each(|number| journal.node_comes(number));
    let mut oldest = 0;
    for bill in 1.. {
        let running = oldest..oldest + NODES;
        for number in running {
            journal.bill_comes(number, bill);
            if number % REPLACED_EVERY == 0 {
                journal.node_ends(oldest);
                journal.node_comes(oldest + NODES);
                oldest += 1;
            }
            if journal.records >= RECORDS {
                return journal;
            }
        }
    }
    journal
}

fn opened() -> ClusterRecord {
    ClusterRecord::Opened {
        name: ClusterName::from("bench"),
        session: SessionId::from("ray-0"),
        plan: Box::new(ClusterPlan {
            platform: PlatformId::from("erc20-hoodi-tglm"),
            total_budget: Glm::from_whole(10_000),
            max_glm_per_hour: None,
            autostop: None,
            law: None,
            ssh_public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIbench".to_owned(),
            reputation: Reputation::default(),
            network: None,
            network_path: None,
        }),
        at: NOW,
        first_node: NodeId(0),
    }
}

fn requested(node: NodeId) -> ClusterRecord {
    let (spec, image) = (plan::spec(), plan::image("bench"));
    let (kind, tags) = (NodeKind::Worker, tags("uninitialized"));
    let order = Box::new(NodeOrder { kind, spec, image, count: 1, tags });
    ClusterRecord::NodesRequested { nodes: vec![node], order, at: NOW, key: None }
}

fn tags(status: &str) -> Tags {
    let pairs = [
        ("ray-cluster-name", "bench"),
        ("ray-launch-config", "b7ad21e7b0ff64c04bd3c2cd74ba9f5d1d4e35f0"),
        ("ray-node-status", status),
        ("ray-node-type", "worker"),
        ("ray-user-node-type", "ray.worker.default"),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn signing(number: u32) -> AgreementFact {
    let [_, _, high, low] = number.to_be_bytes();
    AgreementFact::Signing {
        agreement: format!("{number:064x}").into(),
        node: NodeId(number),
        terms: Box::new(Terms {
            provider: ProviderId::from(format!("0x{number:040x}")),
            name: format!("provider-{number}"),
            payee: "0x0000000000000000000000000000000000000001".to_owned(),
            price: Price {
                start: Glm::from_atto(20_000_000_000_000_000),
                cpu_second: Glm::from_atto(27_777_777_777_778),
                env_second: Glm::from_atto(5_555_555_555_556),
                ..Price::default()
            },
            threads: 4,
            mem: Gib::from_millionths(8_000_000),
            storage: Gib::from_millionths(20_000_000),
            payment_timeout: 120,
        }),
        ip: Ipv4Addr::new(192, 168, high, low),
        valid_to: NOW,
        reserve: Glm::from_whole(1),
        at: NOW,
    }
}

fn about(number: u32, fact: AgreementFact) -> ClusterRecord {
    ClusterRecord::Agreement { number: AgreementNo(number), fact }
}

fn recovery(criterion: &mut Criterion) {
    let Journal { text, records, .. } = journal();
    let count = u64::try_from(records).expect("some");
    let mut group = criterion.benchmark_group("recover");
    group.throughput(Throughput::Elements(count)).sample_size(20);
    group.bench_function(format!("{records} records, {} MiB", text.len() >> 20), |bencher| {
        bencher.iter(|| {
            let mut durable = Durable::default();
            let reading = journal::read(JOURNAL, &text, &mut durable).expect("good");
            assert_eq!(reading.valid_len, text.len());
            assert!(durable.cluster(CLUSTER).is_some_and(|cluster| cluster.accounts.len() > 900));
            durable
        });
    });
    let mut durable = Durable::default();
    journal::read(JOURNAL, &text, &mut durable).expect("good");
    let snapshot = durable.snapshot(JOURNAL).expect("it is open");
    group.throughput(Throughput::Elements(1));
    group.bench_function("the snapshot is written", |bencher| {
        bencher.iter(|| Writer::new(0).snapshot(NOW, &snapshot));
    });
    group.finish();
}

criterion_group!(benches, recovery);
criterion_main!(benches);
