//! K1 to K4 for clusters: who is asked, how often, and for how long.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{Output, cluster::state::NodeState},
    units::{Span, Timestamp},
    yagna::{AgreementId, CallError, ProviderId, Request, Response},
};

use super::{Checker, Findings, Phase, Scene, subject::Index};

/// A provider that failed a start is not signed again sooner than this.
const PAUSE_MIN: Span = Span::secs(14);
/// A demand that nobody waits for is withdrawn within this time, in fair times.
const WITHDRAWN_WITHIN: Span = Span::secs(90);
const EVERY: u64 = 64;

#[derive(Default)]
pub(super) struct Market {
    index: Index,
    failed: BTreeMap<ProviderId, Timestamp>,
    idle_since: Option<Timestamp>,
    steps: u64,
}

impl Checker for Market {
    fn on_output(&mut self, scene: &Scene<'_>, output: &Output, findings: &mut Findings) {
        let Output::Call { request: Request::ConfirmAgreement { agreement, .. }, .. } = output
        else {
            return;
        };
        let Some(provider) = self.provider(scene, agreement) else { return };
        if let Some(failed) = self.failed.get(&provider)
            && scene.now.since(*failed) < PAUSE_MIN
            && scene.life == 0
        {
            let what = format!("{provider} failed {} ago", scene.now.since(*failed));
            findings.violate("K4", scene.now, what);
        }
        let blacklisted = scene.durable.clusters().values().any(|cluster| {
            cluster.accounts.values().any(|account| account.agreement == *agreement)
                && cluster.plan.reputation.is_blacklisted(&provider, scene.now)
        });
        if blacklisted {
            findings.violate("K1", scene.now, format!("{provider} is blacklisted"));
        }
    }

    fn on_result(
        &mut self,
        scene: &Scene<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        _findings: &mut Findings,
    ) {
        let agreement = match (request, result) {
            (Request::CreateActivity { agreement, .. }, Err(CallError::Unknown(_))) => {
                Some(agreement.clone())
            }
            (Request::CollectResults { activity, .. }, Ok(Response::Results(results)))
                if results.iter().any(|result| !result.is_ok) =>
            {
                let nth = self.index.activity(scene.daemon, activity);
                nth.map(|nth| scene.daemon.activities()[nth].agreement.clone())
            }
            _ => None,
        };
        if let Some(provider) = agreement.and_then(|it| self.provider(scene, &it)) {
            self.failed.insert(provider, scene.now);
        }
    }

    fn on_step(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.steps += 1;
        if self.steps.is_multiple_of(EVERY) && scene.phase != Phase::Faulty {
            self.check_demands(scene, findings);
        }
    }

    fn at_end(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        for book in scene.daemon.demands().iter().filter(|book| book.end.is_none()) {
            findings.violate("K2", scene.now, format!("demand {} is still published", book.id));
        }
    }
}

impl Market {
    fn provider(&mut self, scene: &Scene<'_>, agreement: &AgreementId) -> Option<ProviderId> {
        let nth = self.index.agreement(scene.daemon, agreement)?;
        Some(scene.daemon.agreements()[nth].provider.clone())
    }

    /// K2: a demand is published while somebody waits.
    fn check_demands(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        let somebody_waits = scene.durable.clusters().values().any(|cluster| {
            cluster.ending.is_none()
                && cluster.nodes.values().any(|node| node.state == NodeState::Pending)
        });
        if somebody_waits {
            self.idle_since = None;
            return;
        }
        let since = *self.idle_since.get_or_insert(scene.now);
        if scene.now.since(since) < WITHDRAWN_WITHIN {
            return;
        }
        if let Some(book) = scene.daemon.demands().iter().find(|book| book.end.is_none()) {
            let what = format!("nobody waits, and demand {} is published", book.id);
            findings.violate("K2", scene.now, what);
        }
    }
}
