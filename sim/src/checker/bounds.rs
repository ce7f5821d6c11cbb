//! B1 and B3: everything has a size, and nothing polls in place of being woken.

use ray_on_golem::core::Input;

use super::{Checker, Findings, Phase, Scene};

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

#[derive(Default)]
pub(super) struct Bounds {
    minute: u64,
    inputs: u64,
}

impl Checker for Bounds {
    fn on_input(&mut self, scene: &Scene<'_>, input: &Input, findings: &mut Findings) {
        if scene.phase == Phase::Faulty {
            return;
        }
        let minute = scene.now.as_unix_millis() / 60_000;
        if minute != self.minute {
            (self.minute, self.inputs) = (minute, 0);
        }
        self.inputs += u64::from(!matches!(input, Input::Requested { .. }));
        if self.inputs > INPUTS_MAX {
            let max = INPUTS_MAX + INPUTS_PER_NODE_MAX * nodes(scene) as u64;
            if self.inputs > max {
                let what = format!("{} inputs in a minute, at most {max}", self.inputs);
                findings.violate("B3", scene.now, what);
            }
        }
    }

    fn on_step(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        let load = scene.machine.view().load();
        if load.calls <= CALLS_MAX && load.timers <= TIMERS_MAX && load.offers <= OFFERS_MAX {
            return;
        }
        let nodes = nodes(scene);
        let bounds = [
            ("calls", load.calls, CALLS_MAX + CALLS_PER_NODE_MAX * nodes),
            ("timers", load.timers, TIMERS_MAX + TIMERS_PER_NODE_MAX * nodes),
            ("offers", load.offers, OFFERS_MAX),
        ];
        for (what, size, max) in bounds {
            if size > max {
                findings.violate("B1", scene.now, format!("{size} {what}, at most {max}"));
            }
        }
    }
}

/// Nodes and agreements that are not over.
fn nodes(scene: &Scene<'_>) -> usize {
    let clusters = scene.durable.clusters().values();
    clusters.map(|cluster| cluster.nodes.len() + cluster.accounts.len()).sum()
}
