//! Whatever happens to the bytes of a journal: it is refused, or gives a state that there was (R3).

use proptest::prelude::*;
use ray_on_golem::{
    core::{
        cluster::record::{AgreementFact, ClusterRecord},
        ids::ClusterId,
        record::{CommonRecord, Durable, JournalId},
    },
    journal::{FORMAT, JournalError, Reading, Writer, read},
    units::Glm,
};

use crate::samples::{CLUSTER, about, at, batches, folds, lines, of, opened};

const JOURNAL: JournalId = JournalId::Cluster(CLUSTER);

fn try_read(journal: JournalId, bytes: &[u8]) -> Result<(Reading, Durable), JournalError> {
    let mut durable = Durable::default();
    read(journal, bytes, &mut durable).map(|reading| (reading, durable))
}

/// Where lines end, with the state until there.
fn ends(journal: JournalId) -> (Vec<u8>, Vec<(usize, Durable)>) {
    let batches = batches(journal);
    let lines = lines(&batches);
    let mut len = 0;
    let ends = std::iter::once(0).chain(lines.iter().map(|line| {
        len += line.len();
        len
    }));
    let ends: Vec<usize> = ends.collect();
    (lines.concat(), ends.into_iter().zip(folds(&batches)).collect())
}

#[test]
fn every_cut_gives_the_state_before_the_torn_line() {
    for journal in [JournalId::Common, JOURNAL] {
        let (bytes, ends) = ends(journal);
        for cut in 0..=bytes.len() {
            let (reading, durable) = try_read(journal, &bytes[..cut]).expect("a torn tail");

            let (good, state) = ends.iter().rfind(|(end, _)| *end <= cut).expect("at least 0");
            assert_eq!((reading.valid_len, &durable), (*good, state), "cut at {cut}");
            let torn = reading.torn.map(|tail| tail.len);
            assert_eq!(torn, (cut > *good).then_some(cut - good), "cut at {cut}");
        }
    }
}

#[test]
fn every_changed_byte_is_refused_or_is_a_torn_tail() {
    let (bytes, ends) = ends(JournalId::Common);
    for index in 0..bytes.len() {
        for mask in [1, 0x20, 0x80, bytes[index] ^ b'\n', bytes[index] ^ b'0'] {
            let mut changed = bytes.clone();
            changed[index] ^= mask;
            let Ok((reading, durable)) = try_read(JournalId::Common, &changed) else { continue };

            let state = ends.iter().find(|(end, _)| *end == reading.valid_len);
            assert_eq!(Some(&durable), state.map(|(_, state)| state), "byte {index} ^ {mask}");
            assert!(mask == 0 || reading.valid_len < bytes.len(), "byte {index} ^ {mask}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_safe_to_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok((reading, durable)) = try_read(JOURNAL, &bytes) {
            prop_assert_eq!((reading.valid_len, durable), (0, Durable::default()));
        }
    }

    #[test]
    fn any_change_of_a_byte_is_noticed(index in any::<prop::sample::Index>(), mask in 1_u8..) {
        let (mut bytes, ends) = ends(JOURNAL);
        let index = index.index(bytes.len());
        bytes[index] ^= mask;
        if let Ok((reading, durable)) = try_read(JOURNAL, &bytes) {
            let state = ends.iter().find(|(end, _)| *end == reading.valid_len);
            prop_assert_eq!(Some(&durable), state.map(|(_, state)| state));
            prop_assert!(reading.valid_len < bytes.len());
        }
    }

    #[test]
    fn lines_that_are_lost_or_swapped_or_doubled_are_refused(
        first in 0..20_usize,
        second in 0..20_usize,
    ) {
        let lines = lines(&batches(JOURNAL));
        let mut swapped = lines.clone();
        swapped.swap(first, second);
        let mut lost = lines.clone();
        lost.remove(first);
        let mut doubled = lines.clone();
        doubled.insert(second, lines[first].clone());

        prop_assert_eq!(try_read(JOURNAL, &swapped.concat()).is_ok(), first == second);
        prop_assert!(try_read(JOURNAL, &lost.concat()).is_err());
        prop_assert!(try_read(JOURNAL, &doubled.concat()).is_err());
    }
}

#[test]
fn a_snapshot_is_never_taken_for_a_torn_tail() {
    let durable = folds(&batches(JOURNAL)).pop().expect("some");
    let snapshot = durable.snapshot(JOURNAL).expect("it is open");
    let mut bytes = Writer::new(10_000).snapshot(at(0), &snapshot);
    assert!(try_read(JOURNAL, &bytes).is_ok());

    let cut = bytes[..bytes.len() - 1].to_vec();
    bytes[200] ^= 1;

    assert!(try_read(JOURNAL, &cut).is_err());
    assert!(try_read(JOURNAL, &bytes).is_err());
}

#[test]
fn a_tail_of_zeros_is_torn_also_in_the_first_line() {
    let mut bytes = lines(&batches(JOURNAL)).swap_remove(0);
    bytes[60..].fill(0);

    for bytes in [&bytes[..], &[0; 100]] {
        let (reading, durable) = try_read(JOURNAL, bytes).expect("torn");
        assert_eq!(reading.torn.map(|tail| tail.len), Some(bytes.len()));
        assert_eq!((reading.valid_len, durable), (0, Durable::default()));
    }
}

#[test]
fn refusals_say_where_and_what_to_do() {
    let good = lines(&batches(JOURNAL));
    let mut damaged = good.clone();
    damaged[2][90] ^= 1;
    let gap = [&good[..2], &good[3..]].concat();
    let foreign = of(ClusterId(9), opened());
    let common = ray_on_golem::core::Record::Common(CommonRecord::AllocationEnded { mark: at(0) });
    let orphan = of(CLUSTER, about(0, AgreementFact::Reserved(Glm::ZERO)));
    let unknown = rewritten(&good[0], &format!("\"format\":{FORMAT}"), "\"format\":7");
    let future = rewritten(&good[0], "\"opened\"", "\"opened-anew\"");
    let cases = [
        damaged.concat(),
        gap.concat(),
        Writer::new(0).batch(at(0), &[foreign]),
        Writer::new(0).batch(at(0), &[of(CLUSTER, opened()), common]),
        Writer::new(0).batch(at(0), &[orphan]),
        Writer::new(0).batch(at(0), &[of(CLUSTER, ClusterRecord::BudgetSet { total: Glm::ZERO })]),
        unknown,
        future,
        rewritten(&good[0], "\"records\"", "\"things\""),
    ];

    let refusals = cases.map(|bytes| try_read(JOURNAL, &bytes).expect_err("bad").to_string());

    insta::assert_snapshot!(refusals.join("\n"));
}

/// The line with another text in it, and the right checksum.
fn rewritten(line: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(line).expect("UTF-8").replacen(from, to, 1);
    let (_, body) = text.trim_end().split_once("\",").expect("a frame");
    format!("{{\"crc32\":\"{:08x}\",{body}\n", crc32fast::hash(body.as_bytes())).into_bytes()
}
