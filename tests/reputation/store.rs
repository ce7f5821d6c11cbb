//! The store: what it takes over, what it keeps, and what it does when its file is damaged.

use std::{fs, path::Path, sync::Arc};

use ray_on_golem::{
    core::{
        cluster::Step,
        experience::{Experience, FailureKind, Observation, Sighting},
        reputation::Standing,
    },
    reputation::{FOREVER, Notice, Store, StoreError},
    units::{Glm, Span, Timestamp},
    yagna::{PlatformId, ProviderId},
};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::original::{self, NETWORKS, id};

const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

fn data() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(data: &TempDir) -> Store {
    let opened = Store::open(data.path(), NOW).expect("a store");
    assert_eq!(opened.notices, []);
    opened.store
}

fn file(data: &TempDir) -> std::path::PathBuf {
    data.path().join("providers.sqlite3")
}

#[test]
fn all_that_the_original_knew_is_taken_over_once() {
    let data = data();
    let written = original::write(data.path(), 5_000);
    let original = data.path().join("db/reputation.sqlite3");
    let before = fs::read(&original).expect("it is there");

    let opened = Store::open(data.path(), NOW).expect("a store");

    let imported = Notice::Imported { path: original.clone(), records: 5_000 };
    assert_eq!(opened.notices, [imported]);
    for (nth, network) in NETWORKS.iter().enumerate() {
        let mut expected: Vec<_> = written.iter().skip(nth).step_by(3).cloned().collect();
        // Uptime and success rate descending, what is unknown last, then by id: as it was listed.
        expected.sort_by(|one, other| {
            let key = |share: Option<f64>| (share.map_or(-1.0, |it| it) * 1e9) as i64;
            (key(other.uptime), key(other.success_rate), &one.provider).cmp(&(
                key(one.uptime),
                key(one.success_rate),
                &other.provider,
            ))
        });
        assert_eq!(opened.store.records(network, &[]).expect("readable"), expected);
    }
    assert_eq!(fs::read(&original).expect("it is there"), before);

    let mut store = opened.store;
    assert!(store.unblock(&id(0), "polygon").expect("writable"), "it was blocked");
    drop(store);
    let records = open(&data).records("polygon", &[id(0)]).expect("readable");
    assert_eq!(records[0].blacklisted_until, None, "it is not taken over again");
}

#[test]
fn what_the_original_left_damaged_is_told_of_and_left_out() {
    let data = data();
    fs::create_dir(data.path().join("db")).expect("writable");
    let path = data.path().join("db/reputation.sqlite3");
    fs::write(&path, "no database at all, but long enough to have been one".repeat(99))
        .expect("ok");

    let opened = Store::open(data.path(), NOW).expect("a store");

    let why = "file is not a database".to_owned();
    assert_eq!(opened.notices, [Notice::NotImported { path, why }]);
    assert_eq!(opened.store.networks().expect("readable"), [""; 0]);
}

#[test]
fn a_damaged_file_is_set_aside_and_kept() {
    let beginning = |bytes: &mut Vec<u8>| bytes[..16].fill(0);
    let middle = |bytes: &mut Vec<u8>| bytes[6_000..14_000].fill(0xa5);
    let end = |bytes: &mut Vec<u8>| bytes.truncate(9_000);
    for damage in [&beginning as &dyn Fn(&mut Vec<u8>), &middle, &end] {
        let data = data();
        let mut store = open(&data);
        for nth in 0..50 {
            store.block(&id(nth), "polygon", FOREVER, Some("why not")).expect("writable");
        }
        drop(store);
        let mut bytes = fs::read(file(&data)).expect("it is there");
        damage(&mut bytes);
        fs::write(file(&data), &bytes).expect("writable");

        let opened = Store::open(data.path(), NOW).expect("a new store");

        let [Notice::SetAside { kept_as, .. }] = opened.notices.as_slice() else {
            panic!("{:?}", opened.notices);
        };
        assert_eq!(fs::read(kept_as).expect("it is kept"), bytes);
        assert_eq!(opened.store.records("polygon", &[]).expect("readable"), []);
        drop(opened);
        assert_eq!(open(&data).networks().expect("readable"), [""; 0]);
    }
}

#[test]
fn a_file_of_a_newer_program_is_left_alone() {
    let data = data();
    drop(open(&data));
    let connection = Connection::open(file(&data)).expect("it is there");
    connection.pragma_update(None, "user_version", 99).expect("writable");
    drop(connection);

    let refused = Store::open(data.path(), NOW).expect_err("it is newer");

    assert!(matches!(refused, StoreError::Newer { version: 99, .. }), "{refused}");
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_reading() {
    let data = data();

    let refused = Store::open_existing(data.path(), NOW).expect_err("there is none");

    assert!(matches!(refused, StoreError::Missing { .. }), "{refused}");
    assert!(!file(&data).exists());
}

fn seen(provider: &ProviderId, what: Observation) -> (Timestamp, Sighting) {
    let platform = PlatformId::from("erc20-hoodi-tglm");
    (NOW, Sighting { provider: provider.clone(), platform, what })
}

#[test]
fn experience_adds_up_over_processes_and_reaches_the_core() {
    let data = data();
    let (mut one, mut other) = (open(&data), open(&data));
    let (good, bad) = (id(1), id(2));
    let price = Some(Glm::from_atto(120_000_000_000_000_000));
    let failed = Observation::Failed { step: Step::Deploy, kind: FailureKind::Late };
    let mut expected = Experience::default();
    for _ in 0..3 {
        for store in [&mut one, &mut other] {
            let story = [
                Observation::Offered { name: "good".to_owned(), per_cpu_hour: price },
                Observation::Asked,
                Observation::Approved,
                Observation::Started,
                Observation::CameUp,
                Observation::Ended { ran: Span::mins(7) },
            ];
            for what in &story {
                expected.add(what, NOW);
            }
            let mut batch: Vec<_> = story.map(|what| seen(&good, what)).into();
            batch.push(seen(&bad, failed.clone()));
            store.remember(&batch).expect("writable");
        }
    }
    one.block(&bad, "hoodi", FOREVER, None).expect("writable");

    let reputation = other.reputation("hoodi").expect("readable").0;

    let known = Standing { experience: Some(Arc::new(expected)), ..Standing::default() };
    assert_eq!(reputation[&good], known);
    let mut failures = Experience::default();
    (0..6).for_each(|_| failures.add(&failed, NOW));
    assert_eq!(reputation[&bad].experience.as_deref(), Some(&failures));
    assert_eq!(reputation[&bad].blacklisted_until, Some(Timestamp::NEVER));
    assert_eq!(other.records("hoodi", &[good]).expect("readable")[0].name.as_deref(), Some("good"));
}

#[test]
fn changes_of_others_are_noticed_and_our_own_are_not() {
    let data = data();
    let (mut one, mut other) = (open(&data), open(&data));
    let before = one.foreign_changes().expect("readable");

    one.block(&id(1), "hoodi", FOREVER, None).expect("writable");
    assert_eq!(one.foreign_changes().expect("readable"), before);

    other.block(&id(2), "hoodi", FOREVER, None).expect("writable");
    assert_ne!(one.foreign_changes().expect("readable"), before);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let refused = Store::open(Path::new("/proc/nowhere"), NOW).expect_err("it is no directory");

    let text = refused.to_string();
    assert!(text.starts_with("cannot use `/proc/nowhere/providers.sqlite3"), "{text}");
}
