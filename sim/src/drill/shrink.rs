//! Makes a failing plan small: as long as it breaks the same invariant, whatever can go goes.

use ray_on_golem::core::planted::Bug;

use super::plan::{Op, Plan};
use crate::fault::Faults;

/// Rounds of attempts; each round that changes nothing is the last.
const ROUNDS_MAX: u32 = 12;

/// The smallest plan that was found; and how many runs that took.
#[must_use]
pub fn shrink(plan: &Plan, invariant: &str, bug: Option<Bug>) -> (Plan, u32) {
    let mut work = Work { invariant, bug, runs: 0 };
    let mut best = plan.clone();
    for _ in 0..ROUNDS_MAX {
        let before = best.clone();
        work.drop_ops(&mut best);
        work.join_waits(&mut best);
        work.turn_knobs(&mut best);
        work.drop_providers(&mut best);
        if best == before {
            break;
        }
    }
    best.invariant = Some(invariant.to_owned());
    (best, work.runs)
}

struct Work<'a> {
    invariant: &'a str,
    bug: Option<Bug>,
    runs: u32,
}

impl Work<'_> {
    /// Takes a smaller plan if it fails alike.
    fn take(&mut self, best: &mut Plan, candidate: Plan) -> bool {
        if candidate == *best {
            return false;
        }
        self.runs += 1;
        let outcome = candidate.run(self.bug, false);
        let fails = outcome.violation.is_some_and(|it| it.invariant == self.invariant);
        if fails {
            *best = candidate;
        }
        fails
    }

    fn drop_ops(&mut self, best: &mut Plan) {
        for chunk in [8, 4, 2, 1] {
            let mut at = 0;
            while at < best.ops.len() {
                let mut candidate = best.clone();
                let end = (at + chunk).min(candidate.ops.len());
                candidate.ops.drain(at..end);
                if !self.take(best, candidate) {
                    at += chunk;
                }
            }
        }
    }

    /// Makes one wait of those that follow each other.
    fn join_waits(&mut self, best: &mut Plan) {
        let mut at = 1;
        while at < best.ops.len() {
            let mut candidate = best.clone();
            if let [Op::Wait(first), Op::Wait(second)] = best.ops[at - 1..=at] {
                candidate.ops[at - 1] = Op::Wait(first.saturating_add(second));
                candidate.ops.remove(at);
            }
            if !self.take(best, candidate) {
                at += 1;
            }
        }
    }

    fn turn_knobs(&mut self, best: &mut Plan) {
        let knobs: [fn(&mut Plan); 16] = [
            |plan| plan.faults = Faults::default(),
            |plan| plan.crash_chance = 0,
            |plan| plan.faults.outages.clear(),
            |plan| plan.faults.request_lost = 0,
            |plan| plan.faults.reply_lost = 0,
            |plan| plan.faults.fail_500 = 0,
            |plan| plan.faults.closed = 0,
            |plan| plan.faults.garbage = 0,
            |plan| plan.faults.refuse = 0,
            |plan| plan.faults.wrong_ids = 0,
            |plan| plan.is_wired = false,
            |plan| plan.max_per_hour = None,
            |plan| plan.idle_minutes = None,
            |plan| plan.max_workers = None,
            |plan| plan.wallet = 1_000_000,
            |plan| plan.choice = None,
        ];
        for knob in knobs {
            let mut candidate = best.clone();
            knob(&mut candidate);
            self.take(best, candidate);
        }
    }

    fn drop_providers(&mut self, best: &mut Plan) {
        for character in best.market.keys().copied().collect::<Vec<_>>() {
            let mut candidate = best.clone();
            candidate.market.remove(&character);
            if self.take(best, candidate) {
                continue;
            }
            let mut candidate = best.clone();
            if let Some(count) = candidate.market.get_mut(&character) {
                *count = (*count / 2).max(1);
            }
            self.take(best, candidate);
        }
    }
}
