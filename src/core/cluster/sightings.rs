//! What is known about providers, and what is seen of them: told in, and told out (K1).

use std::sync::Arc;

use super::{
    Cluster, Stage,
    account::{Account, Progress},
    bringup::step_of,
    steps::Step,
};
use crate::{
    core::{
        effects::Effects,
        experience::{FailureKind, Observation, Sighting},
        ids::AgreementNo,
        reputation::Reputation,
    },
    yagna::{CallError, Doubt, PlatformId, Status},
};

impl Cluster {
    /// Learns what is known about the providers of a platform; what its own plan says comes first.
    pub(in crate::core) fn inform(
        &mut self,
        fx: &mut Effects,
        platform: &PlatformId,
        reputation: &Arc<Reputation>,
    ) {
        let plan = &fx.cluster(self.id).plan;
        if plan.platform != *platform {
            return;
        }
        self.reputation = match plan.reputation.0.is_empty() {
            true => Arc::clone(reputation),
            false => {
                let mut all = Reputation::clone(reputation);
                all.0.extend(plan.reputation.0.clone());
                Arc::new(all)
            }
        };
        for shop in self.shops.values_mut() {
            shop.market.inform(fx, &self.reputation);
        }
    }

    /// Tells what was seen of the provider of an agreement, unless the agreement is to end anyway.
    pub(super) fn saw(&self, fx: &mut Effects, number: AgreementNo, what: Observation) {
        let state = fx.cluster(self.id);
        let Some(account) = state.accounts.get(&number) else { return };
        if account.closing.is_some() || account.over.is_some() {
            return;
        }
        let platform = state.plan.platform.clone();
        let sighting = Sighting { provider: account.terms.provider.clone(), platform, what };
        fx.saw(sighting, &self.reputation);
    }

    /// An agreement came to nothing, at the present step: that is told, and its provider is left alone
    /// for a while if it is to blame.
    pub(super) fn blame(&self, fx: &mut Effects, number: AgreementNo, kind: FailureKind) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let step = self.step_now(number, account);
        self.blame_at(fx, number, step, kind);
    }

    /// As [`Self::blame`], at this step.
    pub(super) fn blame_at(
        &self,
        fx: &mut Effects,
        number: AgreementNo,
        step: Step,
        kind: FailureKind,
    ) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        if account.closing.is_none() && account.over.is_none() {
            let provider = account.terms.provider.clone();
            self.saw(fx, number, Observation::Failed { step, kind });
            if let Some(pauses) = kind.setback() {
                fx.set_back(&provider, pauses);
            }
        }
    }

    /// The end of a node that was up.
    pub(super) fn saw_end(&self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        if account.progress == Progress::Running
            && let Some(since) = account.costs_since
        {
            let ran = fx.now.since(since);
            self.saw(fx, number, Observation::Ended { ran });
        }
    }

    fn step_now(&self, number: AgreementNo, account: &Account) -> Step {
        match (self.stage(number), account.progress) {
            (Some(Stage::Collecting { command }), _) => step_of(command),
            (_, Progress::Signing) => Step::SignAgreement,
            (_, Progress::Approved | Progress::CreatingActivity) => Step::CreateActivity,
            (_, Progress::HasActivity) => Step::JoinNetwork,
            (_, Progress::SendingBatch | Progress::RunningBatch) => Step::Deploy,
            (_, Progress::Bootstrapped) => Step::CheckSsh,
            (_, Progress::Running) => Step::Ready,
        }
    }
}

/// In which way a call to a provider failed.
pub(super) fn kind_of(error: &CallError) -> FailureKind {
    match error {
        CallError::Rejected { status: Status::TIMEOUT, .. } => FailureKind::Late,
        CallError::Rejected { .. } => FailureKind::Refused,
        CallError::Unknown(Doubt::TimedOut) => FailureKind::Late,
        CallError::NotSent { .. } => FailureKind::Blameless,
        CallError::Unknown(_) => FailureKind::Broke,
    }
}
