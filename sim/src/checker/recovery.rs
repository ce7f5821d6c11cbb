//! R1 and R2: the journal says it all, and says it first.
//!
//! R3 and R7 are looked at where journals are read and written; R4 is every other invariant after a crash in recovery.

use ray_on_golem::{
    core::{
        Output,
        cluster::{
            account::{Account, Progress},
            state::{Funds, Network},
        },
    },
    yagna::{AgreementId, Request},
};

use super::{Family, Findings, Look};

#[derive(Default)]
pub(super) struct Recovery {
    rounds: u32,
}

/// In every so many rounds all clusters are compared, also those that nothing was written of.
const EVERY: u32 = 16;

impl Family for Recovery {
    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        match output {
            Output::Call { request, .. } => {
                if let Some(what) = unannounced(look, request) {
                    findings.violate("R2", look.now(), what);
                }
            }
            Output::Persist { .. }
            | Output::Answer { .. }
            | Output::Abandon { .. }
            | Output::Probe { .. }
            | Output::Notify(_)
            | Output::Saw(_) => {}
        }
    }

    /// Only what was written to can differ; the rest is compared in rounds.
    fn on_step(&mut self, look: &Look<'_>, findings: &mut Findings) {
        for id in &look.facts.touched {
            let known = look.scene.machine.view().durable().cluster(*id);
            // A cluster whose end is recorded is forgotten by the machine, and later by the disk.
            if known.is_some() && known != look.scene.durable.cluster(*id) {
                let what = format!("the journal of cluster {} is not its durable state", id.0);
                findings.violate("R1", look.now(), what);
            }
        }
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        self.rounds += 1;
        if self.rounds.is_multiple_of(EVERY) {
            compare(look, findings);
        }
    }

    fn on_recovery(&mut self, look: &Look<'_>, findings: &mut Findings) {
        compare(look, findings);
    }

    fn at_end(&mut self, look: &Look<'_>, findings: &mut Findings) {
        compare(look, findings);
    }
}

fn compare(look: &Look<'_>, findings: &mut Findings) {
    if look.scene.machine.view().durable() != look.scene.durable {
        findings.violate("R1", look.now(), "the journal is not the durable state");
    }
}

/// What a call does that no journal has announced.
fn unannounced(look: &Look<'_>, request: &Request) -> Option<String> {
    let durable = look.scene.durable;
    let is_announced = match request {
        Request::CreateAllocation { timeout, .. } => {
            durable.allocations().contains_key(timeout)
                || durable
                    .clusters()
                    .values()
                    .any(|it| matches!(it.funds, Funds::Intended { mark, .. } if mark == *timeout))
        }
        Request::Subscribe { demand } => {
            let millis = demand.properties.number("golem.srv.comp.expiration");
            durable.demands().keys().any(|mark| {
                millis.is_some_and(|millis| mark.as_unix_millis().to_string() == millis)
            })
        }
        Request::CreateNetwork { gateway, .. } => durable.clusters().values().any(
            |it| matches!(it.network, Network::Intended { gateway: ours, .. } if ours == *gateway),
        ),
        Request::ConfirmAgreement { agreement, .. } => account(look, agreement).is_some(),
        Request::CreateActivity { agreement, .. } => account(look, agreement)
            .is_some_and(|account| account.progress >= Progress::CreatingActivity),
        Request::Execute { activity, .. } => {
            let mut accounts = durable.clusters().values().flat_map(|it| it.accounts.values());
            accounts.any(|account| {
                account.activity.as_ref() == Some(activity)
                    && account.progress >= Progress::SendingBatch
            })
        }
        Request::AcceptInvoice { invoice, .. } => durable
            .clusters()
            .values()
            .flat_map(|cluster| cluster.all_accounts())
            .any(|(_, account)| account.invoice.as_ref() == Some(invoice)),
        _ => true,
    };
    (!is_announced).then(|| format!("{} without an intent", request.endpoint().name()))
}

fn account<'a>(look: &Look<'a>, agreement: &AgreementId) -> Option<&'a Account> {
    let clusters = look.scene.durable.clusters().values();
    clusters.flat_map(|it| it.accounts.values()).find(|account| account.agreement == *agreement)
}
