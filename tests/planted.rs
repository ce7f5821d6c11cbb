//! Every planted bug is seen by the invariant that it breaks.

use std::collections::BTreeMap;

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
    }
}
