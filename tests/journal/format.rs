//! What is written is what is read, in this format and in all formats that ever were (R5).

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use ray_on_golem::{
    core::record::{Durable, JournalId, Snapshot},
    journal::{FORMAT, Growth, Reading, Writer, journal_of, read},
    units::Timestamp,
};

use crate::samples::{CLUSTER, at, batches, folds, lines};

const JOURNALS: [(&str, JournalId); 2] =
    [("common", JournalId::Common), ("cluster", JournalId::Cluster(CLUSTER))];

#[test]
fn a_journal_folds_to_what_was_recorded() {
    for (_, journal) in JOURNALS {
        let batches = batches(journal);
        let bytes = lines(&batches).concat();
        let mut durable = Durable::default();

        let reading = read(journal, &bytes, &mut durable);

        let count = u64::try_from(batches.len()).expect("few");
        let expected = Reading {
            next_seq: count,
            valid_len: bytes.len(),
            growth: Growth { lines: count, bytes: bytes.len() as u64 },
            written: at(count.saturating_sub(1)),
            torn: None,
        };
        assert_eq!(reading, Ok(expected));
        assert_eq!(Some(&durable), folds(&batches).last());
    }
}

#[test]
fn an_empty_journal_says_nothing() {
    let mut durable = Durable::default();

    let reading = read(JournalId::Common, b"", &mut durable);

    let expected = Reading {
        next_seq: 0,
        valid_len: 0,
        growth: Growth::default(),
        written: Timestamp::EPOCH,
        torn: None,
    };
    assert_eq!((reading, durable), (Ok(expected), Durable::default()));
}

#[test]
fn every_line_is_json() {
    let journal = JournalId::Cluster(CLUSTER);
    let batches = batches(journal);
    let durable = folds(&batches).pop().expect("some");
    let snapshot = durable.snapshot(journal).expect("it is open");
    let mut all = lines(&batches);
    all.push(Writer::new(9).snapshot(at(9), &snapshot));

    for line in all {
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(value["format"], FORMAT);
        assert_eq!(value["crc32"].as_str().map(str::len), Some(8));
        assert!(value["seq"].is_u64() && value["at"].is_u64());
        assert!(value["records"].is_array() != value["snapshot"].is_object());
    }
}

#[test]
fn compaction_is_due_in_the_end() {
    let mut growth = Growth { lines: 9_998, bytes: (8 << 20) - 3 };
    growth.add(1);
    assert!(!growth.is_due(), "{growth:?}");

    let long = Growth { lines: 1, bytes: 8 << 20 };
    growth.add(1);

    assert!(growth.is_due() && long.is_due());
}

proptest! {
    #[test]
    fn a_snapshot_stands_for_all_lines_before_it(cut in 1..32_usize) {
        let journal = JournalId::Cluster(CLUSTER);
        let batches = batches(journal);
        let cut = cut.min(batches.len());
        let before = folds(&batches[..cut]).pop().expect("some");
        let mut writer = Writer::new(77);
        let snapshot = before.snapshot(journal).expect("it is open");
        let mut bytes = writer.snapshot(at(0), &snapshot);
        for batch in &batches[cut..] {
            bytes.extend(writer.batch(at(1), batch));
        }
        let mut durable = Durable::default();

        let reading = read(journal, &bytes, &mut durable).expect("good");

        let left = u64::try_from(batches.len() - cut).expect("few");
        prop_assert_eq!(Some(durable), folds(&batches).pop());
        prop_assert_eq!((reading.next_seq, reading.growth.lines), (78 + left, left));
    }
}

#[test]
fn a_common_snapshot_is_the_common_fold() {
    let durable = folds(&batches(JournalId::Common)).pop().expect("some");
    let snapshot = durable.snapshot(JournalId::Common).expect("always");
    let bytes = Writer::new(500).snapshot(at(0), &snapshot);
    let mut read_again = Durable::default();

    read(JournalId::Common, &bytes, &mut read_again).expect("good");

    assert_eq!(read_again, durable);
    assert_eq!(journal_of(&snapshot), JournalId::Common);
}

/// A change of the format, or of a record, needs a new number, and the old one is still read.
#[test]
fn what_is_written_has_the_form_of_its_format() {
    for (name, journal) in JOURNALS {
        let written = String::from_utf8(lines(&batches(journal)).concat()).expect("UTF-8");
        let path = fixture(FORMAT, name, "ndjson");
        if !path.exists() {
            freeze(name, journal, &written);
            panic!("{} is written; look at it, and commit it", path.display());
        }

        let frozen = fs::read_to_string(&path).expect("it is there");
        assert!(
            written == frozen,
            "{} was not written by this code: raise `FORMAT`, and keep reading the old one",
            path.display()
        );
    }
}

#[test]
fn every_format_folds_to_the_state_that_is_kept_with_it() {
    for format in 1..=FORMAT {
        for (name, journal) in JOURNALS {
            let bytes = fs::read(fixture(format, name, "ndjson")).expect("a fixture");
            let state = fs::read(fixture(format, name, "json")).expect("a fixture");
            let state: Snapshot = serde_json::from_slice(&state).expect("a state");
            let mut durable = Durable::default();

            read(journal, &bytes, &mut durable).expect("good");

            assert_eq!(durable.snapshot(journal), Some(state), "format {format}, {name}");
        }
    }
}

/// Writes the fixtures of a new format; from then on they stay as they are.
fn freeze(name: &str, journal: JournalId, written: &str) {
    let mut durable = Durable::default();
    read(journal, written.as_bytes(), &mut durable).expect("good");
    let state = durable.snapshot(journal).expect("it is there");
    let state = serde_json::to_string_pretty(&state).expect("plain data") + "\n";
    for (kind, text) in [("ndjson", written), ("json", &state)] {
        let path = fixture(FORMAT, name, kind);
        fs::create_dir_all(path.parent().expect("a directory")).expect("writable");
        fs::write(path, text).expect("writable");
    }
}

fn fixture(format: u32, name: &str, kind: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/journal");
    directory.join(format!("v{format}-{name}.{kind}"))
}
