//! B1 to B4: everything has a size, timers move on, nothing polls in place of being woken, and the
//! journal grows with what happens.

use ray_on_golem::{
    core::{Input, Output},
    units::{Span, Timestamp},
};

use super::{Family, Findings, Look, Phase, facts::Facts};

/// Inputs in a minute of fair time: so many, and so many more for each node.
const INPUTS_MAX: u64 = 900;
/// A provider that floods us with bills makes some 500 a minute: events, bills, acceptances.
const INPUTS_PER_NODE_MAX: u64 = 600;
/// Calls and timers: so many, and so many more for each node or agreement.
const CALLS_MAX: usize = 260;
const CALLS_PER_NODE_MAX: usize = 8;
const TIMERS_MAX: usize = 400;
const TIMERS_PER_NODE_MAX: usize = 16;
const OFFERS_MAX: usize = 20_000;
/// A look that nobody waits for any more ends with the shell's patience.
const PROBES_FREE: usize = 40;
const PROBES_PER_NODE_MAX: usize = 2;
/// Records of the journal: so many for each agreement and each bill that there ever was, and so many
/// more in each hour and for each node.
const RECORDS_PER_AGREEMENT: u64 = 40;
const RECORDS_PER_NODE: u64 = 40;
const RECORDS_PER_BILL: u64 = 4;
const RECORDS_PER_HOUR: u64 = 400;
const RECORDS_FREE: u64 = 500;
/// A process that starts takes up again what the last one has not told the end of.
const RECORDS_PER_LIFE: u64 = 100;

/// Counts.
#[derive(Default)]
pub(super) struct Bounds {
    minute: u64,
    inputs: u64,
    records: u64,
    is_elapsed: bool,
    began: Option<Timestamp>,
}

impl Family for Bounds {
    fn on_input(&mut self, look: &Look<'_>, input: &Input, findings: &mut Findings) {
        self.is_elapsed = matches!(input, Input::Elapsed);
        self.began.get_or_insert_with(|| look.now());
        if look.scene.phase == Phase::Faulty {
            return;
        }
        let minute = look.now().as_unix_millis() / 60_000;
        if minute != self.minute {
            (self.minute, self.inputs) = (minute, 0);
        }
        self.inputs += u64::from(!matches!(input, Input::Requested { .. }));
        if self.inputs > INPUTS_MAX {
            let max = INPUTS_MAX + INPUTS_PER_NODE_MAX * nodes(look.facts) as u64;
            if self.inputs > max {
                let what = format!("{} inputs in a minute, at most {max}", self.inputs);
                findings.violate("B3", look.now(), what);
            }
        }
    }

    fn on_output(&mut self, _look: &Look<'_>, output: &Output, _findings: &mut Findings) {
        if let Output::Persist { records, .. } = output {
            self.records += records.len() as u64;
        }
    }

    fn on_step(&mut self, look: &Look<'_>, findings: &mut Findings) {
        if self.is_elapsed
            && let Some((at, key)) = look.scene.machine.poll_timeout()
            && at <= look.now()
        {
            let what = format!("{key:?} is due again at the instant at which it fired");
            findings.violate("B2", look.now(), what);
        }
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        let load = look.scene.machine.view().load();
        let nodes = nodes(look.facts);
        let bounds = [
            ("calls", load.calls, CALLS_MAX + CALLS_PER_NODE_MAX * nodes),
            ("timers", load.timers, TIMERS_MAX + TIMERS_PER_NODE_MAX * nodes),
            ("probes", load.probes, PROBES_FREE + PROBES_PER_NODE_MAX * nodes),
            ("offers", load.offers, OFFERS_MAX),
        ];
        for (what, size, max) in bounds {
            if size > max {
                findings.violate("B1", look.now(), format!("{size} {what}, at most {max}"));
            }
        }
        let age = self.began.map_or(Span::ZERO, |began| look.now().since(began));
        let happened = Happened {
            agreements: look.facts.deals.len() as u64,
            nodes: look.facts.clusters.values().map(|it| it.nodes.len() as u64).sum(),
            bills: (look.scene.daemon.notes().len() + look.scene.daemon.invoices().len()) as u64,
            lives: u64::from(look.scene.life),
            age,
        };
        let max = happened.records_max();
        if self.records > max {
            let what = format!("{} records, at most {max}", self.records);
            findings.violate("B4", look.now(), what);
        }
    }
}

/// What a journal may tell of.
struct Happened {
    agreements: u64,
    nodes: u64,
    bills: u64,
    lives: u64,
    age: Span,
}

impl Happened {
    const fn records_max(&self) -> u64 {
        RECORDS_FREE
            + RECORDS_PER_AGREEMENT * self.agreements
            + RECORDS_PER_NODE * self.nodes
            + RECORDS_PER_BILL * self.bills
            + RECORDS_PER_LIFE * self.lives
            + RECORDS_PER_HOUR * self.age.as_secs() / 3_600
    }
}

/// Nodes that are not over, and agreements whose books are open.
fn nodes(facts: &Facts) -> usize {
    let open = facts.clusters.values().filter(|cluster| !cluster.is_closed);
    open.map(|cluster| cluster.nodes.len() + cluster.accounts.len()).sum()
}

#[cfg(test)]
mod tests {
    use ray_on_golem::units::Span;

    use super::{Happened, RECORDS_FREE};

    #[test]
    fn a_journal_may_grow_with_what_happens_and_slowly_with_time() {
        let idle = Happened { agreements: 0, nodes: 0, bills: 0, lives: 0, age: Span::hours(2) };
        let busy = Happened { agreements: 3, nodes: 2, bills: 10, lives: 0, age: Span::ZERO };

        assert_eq!(idle.records_max(), RECORDS_FREE + 800);
        assert_eq!(busy.records_max(), RECORDS_FREE + 120 + 80 + 40);
    }
}
