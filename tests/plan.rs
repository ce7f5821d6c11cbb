//! Random plans keep every invariant.
//!
//! A seed that fails here is run again with `PLAN_SEED=<seed> cargo test --test plan one_seed`.

use golem_sim::plan::Plan;

/// Enough for every kind of provider and fault to meet every other.
const SEEDS: u64 = 400;

#[test]
fn random_plans_keep_every_invariant() {
    for seed in 0..SEEDS {
        check(&Plan::from_seed(seed));
    }
}

fn check(plan: &Plan) {
    let run = plan.run(None, false);

    assert_eq!(run.violations.first(), None, "{plan:#?}\n{:#?}", run.notices);
    assert!(run.answer.is_some() || plan.crash_at_call.is_some(), "no answer: {plan:#?}");
}
