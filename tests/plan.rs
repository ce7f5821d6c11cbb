//! Random plans keep every invariant.
//!
//! A failure names its seeds; `Plan::from_seed` makes the plan of one again.

use golem_sim::{
    auditor::Violation,
    fault::{Faults, Outage, OutageKind},
    plan::Plan,
};
use proptest::{collection::vec, option, prelude::*};
use ray_on_golem::units::Span;

/// Enough for every kind of provider and fault to meet every other.
const SEEDS: u64 = 400;

#[test]
fn random_plans_keep_every_invariant() {
    let broken: Vec<(u64, Violation)> =
        (0..SEEDS).filter_map(|seed| Some((seed, broken_by(&Plan::from_seed(seed))?))).collect();

    assert_eq!(broken, [], "seeds and what they break");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_plan_keeps_every_invariant(plan in any_plan()) {
        prop_assert_eq!(broken_by(&plan), None);
    }
}

/// The first invariant that a plan breaks; a survey that nobody crashed is answered.
fn broken_by(plan: &Plan) -> Option<Violation> {
    let run = plan.run(None, false);
    if run.answer.is_none() && plan.crash_at_call.is_none() {
        return Some(Violation::new("A5", run.ended, "no answer"));
    }
    run.violations.into_iter().next()
}

/// Plans that shrink: fewer providers, fewer faults, shorter times.
fn any_plan() -> impl Strategy<Value = Plan> {
    let percent = || prop_oneof![3 => Just(0_u8), 1 => 0..=16_u8];
    let outage = (0..3_u8, 0..200_u64, 1..60_u64).prop_map(|(kind, at, lasts)| Outage {
        at: Span::secs(at),
        lasts: Span::secs(lasts),
        kind: match kind {
            0 => OutageKind::Restart,
            1 => OutageKind::Down,
            _ => OutageKind::Hang,
        },
    });
    let faults =
        (percent(), percent(), percent(), percent(), percent(), percent(), vec(outage, 0..3))
            .prop_map(|(request_lost, reply_lost, fail_500, closed, garbage, refuse, outages)| {
                Faults {
                    request_lost,
                    reply_lost,
                    fail_500,
                    closed,
                    garbage,
                    refuse,
                    outages,
                    ..Faults::default()
                }
            });
    let providers = vec((0..Plan::KINDS, 1..5_u8), 0..8);
    let limits = (1..12_usize, prop_oneof![Just(4_usize), Just(1_000)], 0..3_u8);
    let ends = (option::of(0..200_u64), option::of(1..80_u64));
    (any::<u64>(), 1..250_u64, providers, faults, limits, ends, any::<bool>()).prop_map(
        |(seed, gather_secs, providers, faults, limits, ends, is_wired)| Plan {
            seed,
            gather_secs,
            providers,
            faults,
            parallel: limits.0,
            pool_capacity: limits.1,
            blacklisted: limits.2,
            end_after_secs: ends.0,
            crash_at_call: ends.1,
            is_wired,
        },
    )
}
