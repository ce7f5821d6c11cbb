//! B5: a request makes the journal longer by a bounded amount, whatever is in it.

use ray_on_golem::core::{Command, Input, Output};

use super::{Family, Findings, Look, facts::Facts};

/// Bytes that any request may cause, and again for each that it has.
const FREE: usize = 6 << 10;
const PER_BYTE: usize = 2;
/// Bytes for each node that a request begins or ends, with its agreement.
const PER_NODE: usize = 1 << 10;

/// The request that is being answered.
#[derive(Default)]
pub(super) struct Growth {
    most: Option<usize>,
    written: usize,
}

impl Family for Growth {
    fn on_input(&mut self, look: &Look<'_>, input: &Input, _findings: &mut Findings) {
        self.written = 0;
        self.most = match input {
            Input::Requested { command, .. } => {
                let size = serde_json::to_vec(command).map_or(0, |text| text.len());
                Some(FREE + PER_BYTE * size + PER_NODE * concerned(look.facts, command))
            }
            Input::Replied { .. } | Input::Probed { .. } | Input::Elapsed => None,
        };
    }

    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        let (Some(most), Output::Persist { records, .. }) = (self.most, output) else { return };
        self.written += serde_json::to_vec(records).map_or(0, |text| text.len());
        if self.written > most {
            let what = format!("{} bytes for one request, at most {most}", self.written);
            findings.violate("B5", look.now(), what);
        }
    }
}

/// How many nodes and agreements a command begins or ends.
fn concerned(facts: &Facts, command: &Command) -> usize {
    match command {
        Command::RequestNodes(request) => request.order.count as usize,
        Command::TerminateNode { .. }
        | Command::EndCluster { .. }
        | Command::SetBudget { .. }
        | Command::Shutdown
        | Command::Survey(_)
        | Command::EndSurvey
        | Command::ClockSetBack
        | Command::Inform { .. } => {
            let open = facts.clusters.values().filter(|cluster| !cluster.is_closed);
            open.map(|cluster| cluster.nodes.len() + cluster.accounts.len()).sum()
        }
        Command::SetTags { .. }
        | Command::SetLaw { .. }
        | Command::HeadLooked { .. }
        | Command::Connected { .. } => 0,
    }
}
