//! R1 and R2: the journal says it all, and says it first.

use ray_on_golem::{
    core::{
        Output,
        cluster::state::{Account, Funds, Network, Progress},
    },
    yagna::{AgreementId, Request},
};

use super::{Checker, Findings, Scene};

/// The whole state is compared so often, and whenever something was written.
const EVERY: u64 = 128;

#[derive(Default)]
pub(super) struct Recovery {
    steps: u64,
    has_written: bool,
}

impl Checker for Recovery {
    fn on_output(&mut self, scene: &Scene<'_>, output: &Output, findings: &mut Findings) {
        match output {
            Output::Persist { .. } => self.has_written = true,
            Output::Call { request, .. } => {
                if let Some(what) = unannounced(scene, request) {
                    findings.violate("R2", scene.now, what);
                }
            }
            Output::Answer { .. }
            | Output::Abandon { .. }
            | Output::Probe { .. }
            | Output::Notify(_) => {}
        }
    }

    fn on_step(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.steps += 1;
        if std::mem::take(&mut self.has_written) || self.steps.is_multiple_of(EVERY) {
            compare(scene, findings);
        }
    }

    fn on_recovery(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        compare(scene, findings);
    }

    fn at_end(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        compare(scene, findings);
    }
}

fn compare(scene: &Scene<'_>, findings: &mut Findings) {
    if scene.machine.view().durable() != scene.durable {
        findings.violate("R1", scene.now, "the journal is not the durable state");
    }
}

/// What a call does that no journal has announced.
fn unannounced(scene: &Scene<'_>, request: &Request) -> Option<String> {
    let durable = scene.durable;
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
            |it| matches!(it.network, Network::Intended { gateway: ours } if ours == *gateway),
        ),
        Request::ConfirmAgreement { agreement, .. } => account(scene, agreement).is_some(),
        Request::CreateActivity { agreement, .. } => account(scene, agreement)
            .is_some_and(|account| account.progress >= Progress::CreatingActivity),
        Request::Execute { activity, .. } => {
            let mut accounts = durable.clusters().values().flat_map(|it| it.accounts.values());
            accounts.any(|account| {
                account.activity.as_ref() == Some(activity)
                    && account.progress >= Progress::SendingBatch
            })
        }
        _ => true,
    };
    (!is_announced).then(|| format!("{} without an intent", request.endpoint().name()))
}

fn account<'a>(scene: &Scene<'a>, agreement: &AgreementId) -> Option<&'a Account> {
    scene
        .durable
        .clusters()
        .values()
        .flat_map(|cluster| cluster.accounts.values())
        .find(|account| account.agreement == *agreement)
}
