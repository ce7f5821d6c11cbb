//! Journals with every kind of record, and what their lines fold to.

use std::net::Ipv4Addr;

use golem_sim::plan;
use ray_on_golem::{
    core::{
        cluster::{
            account::Terms,
            law::Law,
            plan::{ClusterName, ClusterPlan, NodeKind, NodeOrder, Tags},
            record::{
                AgreementFact, ClusterRecord, Dispute, EndReason, FundsFact, NetworkFact, NodeFact,
            },
        },
        ids::{AgreementNo, ClusterId, NodeId},
        market::{price::Price, spec::Gib},
        record::{CommonRecord, Durable, JournalId, Record},
        reputation::{Reputation, Standing},
    },
    journal::Writer,
    units::{Glm, Timestamp},
    yagna::{BilledAmount, NetworkPath, PlatformId, ProviderId, SessionId},
};

pub(crate) const CLUSTER: ClusterId = ClusterId(3);

/// The instant `secs` seconds after the samples begin.
pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_unix_micros((1_700_000_000 + secs) * 1_000_000)
}

/// The batches of a journal.
pub(crate) fn batches(journal: JournalId) -> Vec<Vec<Record>> {
    match journal {
        JournalId::Common => common(),
        JournalId::Cluster(id) => {
            let of_cluster = |batch: Vec<ClusterRecord>| {
                batch.into_iter().map(|record| of(id, record)).collect()
            };
            cluster().into_iter().map(of_cluster).collect()
        }
    }
}

/// The lines of a journal, as text each.
pub(crate) fn lines(batches: &[Vec<Record>]) -> Vec<Vec<u8>> {
    let mut writer = Writer::new(0);
    batches.iter().zip(0..).map(|(batch, secs)| writer.batch(at(secs), batch)).collect()
}

/// The states after no line, after one line, and so on.
pub(crate) fn folds(batches: &[Vec<Record>]) -> Vec<Durable> {
    let mut durable = Durable::default();
    let mut folds = vec![durable.clone()];
    for batch in batches {
        batch.iter().for_each(|record| durable.apply(record));
        folds.push(durable.clone());
    }
    folds
}

pub(crate) fn of(cluster: ClusterId, record: ClusterRecord) -> Record {
    Record::Cluster(cluster, Box::new(record))
}

/// A cluster with its budget and nothing else.
pub(crate) fn opened() -> ClusterRecord {
    let standing = Standing {
        blacklisted_until: Some(at(3_600)),
        uptime: Some(900_000),
        ..Standing::default()
    };
    let provider = ProviderId::from("0x7075626c69636b65790000000000000000000000");
    ClusterRecord::Opened {
        name: ClusterName::from("déjà \"vu\"\n"),
        session: SessionId::from("ray-3"),
        plan: Box::new(ClusterPlan {
            platform: PlatformId::from("erc20-hoodi-tglm"),
            total_budget: Glm::from_whole(5),
            max_glm_per_hour: Some(Glm::from_atto(1)),
            autostop: None,
            law: Some(law(10)),
            ssh_public_key: "ssh-ed25519 AAAA user@host".to_owned(),
            reputation: Reputation([(provider, standing)].into()),
            network: None,
            network_path: Some(NetworkPath::Bus),
        }),
        at: at(0),
        first_node: NodeId(4),
    }
}

/// What a head may ask for.
fn law(workers: u32) -> Law {
    let mut law = Law::new(workers);
    law.allow(&plan::spec(), workers);
    law
}

/// An agreement for a node that is about to be signed.
pub(crate) fn signing(number: u32, node: u32) -> ClusterRecord {
    let price = Price {
        start: Glm::from_atto(20_000_000_000_000_000),
        cpu_second: Glm::from_atto(27_777_777_777_778),
        env_second: Glm::from_atto(5_555_555_555_556),
        ..Price::default()
    };
    let fact = AgreementFact::Signing {
        agreement: format!("{number:064x}").into(),
        node: NodeId(node),
        terms: Box::new(Terms {
            provider: ProviderId::from(format!("0x{number:040x}")),
            name: format!("provider-{number}"),
            payee: "0x0000000000000000000000000000000000000001".to_owned(),
            price,
            threads: 4,
            mem: Gib::from_millionths(8_000_000),
            storage: Gib::from_millionths(20_000_000),
            payment_timeout: 120,
        }),
        ip: Ipv4Addr::new(192, 168, 0, 3),
        valid_to: at(130),
        reserve: Glm::from_atto(300_000_000_000_000_000),
        at: at(40),
    };
    about(number, fact)
}

pub(crate) fn about(number: u32, fact: AgreementFact) -> ClusterRecord {
    ClusterRecord::Agreement { number: AgreementNo(number), fact }
}

fn common() -> Vec<Vec<Record>> {
    let name = ClusterName::from("default");
    let (first, second) = (ClusterId(0), ClusterId(1));
    let batches = vec![
        vec![CommonRecord::AllocationIntended { mark: at(900) }],
        vec![CommonRecord::AllocationCreated {
            mark: at(900),
            allocation: "a-1".to_owned().into(),
        }],
        vec![CommonRecord::DemandIntended { mark: at(3_600) }],
        vec![CommonRecord::DemandPublished {
            mark: at(3_600),
            subscription: "s-1".to_owned().into(),
        }],
        vec![
            CommonRecord::AllocationIntended { mark: at(901) },
            CommonRecord::DemandIntended { mark: at(3_601) },
        ],
        vec![CommonRecord::ClusterOpened { cluster: first, name: name.clone() }],
        vec![
            CommonRecord::AllocationEnded { mark: at(900) },
            CommonRecord::DemandEnded { mark: at(3_600) },
        ],
        vec![CommonRecord::ClusterClosed {
            cluster: first,
            name: name.clone(),
            next_node: NodeId(4),
        }],
        vec![CommonRecord::ClusterOpened { cluster: second, name }],
    ];
    let of_common = |batch: Vec<_>| batch.into_iter().map(Record::Common).collect();
    batches.into_iter().map(of_common).collect()
}

fn cluster() -> Vec<Vec<ClusterRecord>> {
    let mut batches = beginning();
    batches.extend(lives());
    batches.extend(end());
    batches
}

fn beginning() -> Vec<Vec<ClusterRecord>> {
    let tags = |pairs: &[(&str, &str)]| -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let order = |kind, count, tags| {
        let (spec, image) = (plan::spec(), plan::image("sample"));
        Box::new(NodeOrder { kind, spec, image, count, tags })
    };
    let total = Glm::from_whole(2);
    vec![
        vec![opened()],
        vec![ClusterRecord::NodesRequested {
            nodes: vec![NodeId(4)],
            order: order(NodeKind::Head, 1, tags(&[("ray-node-type", "head")])),
            at: at(1),
            key: Some(("key-1".to_owned(), u64::MAX)),
        }],
        vec![ClusterRecord::NodesRequested {
            nodes: vec![NodeId(5), NodeId(6)],
            order: order(NodeKind::Worker, 2, Tags::new()),
            at: at(2),
            key: None,
        }],
        vec![ClusterRecord::Funds(FundsFact::Intended {
            mark: at(86_400),
            total,
            base: Glm::ZERO,
        })],
        vec![ClusterRecord::Funds(FundsFact::Set {
            mark: at(86_400),
            allocation: "a-2".to_owned().into(),
            total,
        })],
        vec![ClusterRecord::Network(NetworkFact::Intended {
            path: NetworkPath::Bus,
            gateway: Ipv4Addr::new(192, 168, 0, 1),
        })],
        vec![ClusterRecord::Network(NetworkFact::Made("net-1".to_owned().into()))],
        vec![ClusterRecord::Network(NetworkFact::Settled(NetworkPath::Bus))],
        vec![ClusterRecord::Node {
            node: NodeId(4),
            fact: NodeFact::Tagged(tags(&[("ray-node-name", "ray-default-head")])),
        }],
    ]
}

fn lives() -> Vec<Vec<ClusterRecord>> {
    let node = |node, fact| ClusterRecord::Node { node: NodeId(node), fact };
    let dispute = |bill: &str| Dispute {
        bill: bill.to_owned(),
        amount: BilledAmount::new("-1.50"),
        reason: "less than nothing".to_owned(),
        at: at(200),
    };
    let total = Glm::from_atto(100_000_000_000_000_000);
    vec![
        vec![signing(0, 4), signing(1, 5), signing(2, 6), signing(3, 6)],
        vec![about(0, AgreementFact::Approved), about(3, AgreementFact::Approved)],
        vec![about(0, AgreementFact::ActivityIntended { at: at(50) })],
        vec![about(0, AgreementFact::ActivityMade("act-1".to_owned().into()))],
        vec![about(0, AgreementFact::BatchIntended)],
        vec![about(0, AgreementFact::BatchMade("batch-1".to_owned().into()))],
        vec![about(0, AgreementFact::Bootstrapped)],
        vec![node(4, NodeFact::Running), node(4, NodeFact::Logged("it is up ✓".to_owned()))],
        vec![about(0, AgreementFact::Reserved(Glm::from_whole(1)))],
        vec![about(0, AgreementFact::NoteAccepted { note: "n-1".to_owned().into(), total })],
        vec![about(0, AgreementFact::NoteDisputed(dispute("n-2")))],
        vec![about(1, AgreementFact::Closing { at: at(131), reason: "no approval".to_owned() })],
        vec![about(1, AgreementFact::Over { at: at(132) }), about(1, AgreementFact::Settled)],
        vec![about(3, AgreementFact::ActivityMade("act-2".to_owned().into()))],
        vec![about(3, AgreementFact::Closing { at: at(140), reason: "no image".to_owned() })],
        vec![about(3, AgreementFact::Over { at: at(141) })],
        vec![ClusterRecord::Network(NetworkFact::Left(AgreementNo(3)))],
        vec![about(0, AgreementFact::InvoiceDisputed(dispute("i-1")))],
        vec![ClusterRecord::BillsRead { notes: at(199), invoices: at(201) }],
        vec![ClusterRecord::Warned { at: at(202), warning: "the wallet runs dry".to_owned() }],
        vec![ClusterRecord::BudgetSet { total: Glm::from_whole(7) }],
        vec![ClusterRecord::LawSet { law: Box::new(law(3)) }],
        vec![ClusterRecord::Network(NetworkFact::Lost)],
        vec![node(5, NodeFact::Ending), node(5, NodeFact::Ended)],
    ]
}

fn end() -> Vec<Vec<ClusterRecord>> {
    let (invoice, total) = ("i-2".to_owned().into(), Glm::from_atto(200_000_000_000_000_001));
    vec![
        vec![ClusterRecord::Ending { reason: EndReason::HeadGone, at: at(300) }],
        vec![about(0, AgreementFact::Closing { at: at(300), reason: "the end".to_owned() })],
        vec![about(0, AgreementFact::InvoiceAccepted { invoice, total })],
        vec![ClusterRecord::Network(NetworkFact::Ended), ClusterRecord::Funds(FundsFact::Ended)],
    ]
}
