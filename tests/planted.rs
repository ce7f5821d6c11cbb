//! Every planted bug is seen by the invariant that it breaks.

use std::collections::{BTreeMap, BTreeSet};

use golem_sim::plan::Plan;
use ray_on_golem::core::planted::Bug;

const SEEDS: u64 = 5_000;

#[test]
fn every_planted_bug_is_caught() {
    let mut caught = BTreeMap::new();
    for bug in Bug::ALL {
        let found = (0..SEEDS).find_map(|seed| {
            let run = Plan::from_seed(seed).run(Some(bug), false);
            run.violations.first().map(|violation| (seed, violation.invariant))
        });
        caught.insert(bug, found.map(|(_, invariant)| invariant));
    }

    for (bug, invariant) in caught {
        assert_eq!(invariant, Some(breaks(bug)), "{bug:?}");
    }
}

#[test]
fn every_invariant_of_the_auditor_has_a_bug_that_breaks_it() {
    let architecture = std::fs::read_to_string("ARCHITECTURE.md").expect("there is a page");
    let listed: BTreeSet<&str> = architecture
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .flat_map(|cell| cell.split(", "))
        .filter(|id| id.len() == 2 && id.ends_with(|last: char| last.is_ascii_digit()))
        .collect();

    let broken: BTreeSet<&str> = Bug::ALL.into_iter().map(breaks).collect();
    assert_eq!(listed, broken);
}

/// The invariant that a bug breaks first.
const fn breaks(bug: Bug) -> &'static str {
    match bug {
        Bug::DemandLeaked | Bug::DoubtForgotten | Bug::LateRefresh => "K2",
        Bug::DraftKept | Bug::CountersEndless => "K3",
        Bug::PollHammered => "K4",
        Bug::BlacklistIgnored => "K1",
        Bug::RaiseAccepted => "M9",
        Bug::WorstFirst => "K5",
        Bug::AllocationLeaked => "M8",
        Bug::PoolUnbounded => "B1",
        Bug::TimerStuck => "B2",
        Bug::RecordForgotten => "R1",
        Bug::CallBeforePersist => "R2",
        Bug::AnswerForgotten => "A5",
        Bug::PollImpatient => "B3",
        Bug::EndUnbounded => "V4",
    }
}
