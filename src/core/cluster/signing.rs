//! Signing: from a draft to a provider's approval (M1, M9, K1, L8, L9).
//!
//! What an agreement can cost is set aside before the provider hears of it. An agreement is in force
//! when the daemon says so, and not because nobody objected.

use super::{
    AgreementCall, Cluster, ClusterCall, ClusterTimer, Stage, Work,
    account::{Account, Progress, Terms},
    closing::Blame,
    network,
    plan::NodeKind,
    record::AgreementFact,
    state::ClusterState,
    steps::Step,
};
use crate::{
    core::{
        backoff::Backoff,
        effects::Effects,
        experience::{FailureKind, Observation},
        ids::{AgreementNo, MarketId, NodeId, OfferNo},
        market::Draft,
        payment::ledger::{self, Level},
        planted::Bug,
    },
    units::{Glm, Span, Timestamp},
    yagna::{AgreementId, AgreementState, CallError, ProviderId, Request, Response, Status},
};

/// How long a provider may take to approve.
const APPROVAL_TIME: Span = Span::secs(60);
/// What we sent may still reach the daemon, or the daemon's books, for so long.
const DOUBT: Span = Span::secs(15);
const PATIENCE: Span = Span::secs(10);
/// The daemon sends an agreement on to its provider while we wait.
const CONFIRM_PATIENCE: Span = Span::secs(30);
const WAIT_TIMEOUT: Span = Span::secs(15);
const WAIT_MARGIN: Span = Span::secs(5);

/// An agreement that is being made for a node.
#[derive(Debug)]
pub(super) struct SigningWork {
    draft: Draft,
    valid_to: Timestamp,
}

/// What a cluster has promised, at one moment.
#[derive(Clone, Copy, Debug)]
struct Promised {
    committed: Glm,
    /// What may be promised in all.
    limit: Glm,
    /// In an hour; counted only where there is a limit.
    rate: Glm,
}

impl Promised {
    fn of(state: &ClusterState) -> Self {
        let is_rate_limited = state.plan.max_glm_per_hour.is_some();
        let rate = if is_rate_limited { ledger::rate_per_hour(state) } else { Glm::ZERO };
        Self { committed: ledger::committed(state), limit: ledger::limit(state), rate }
    }
}

impl Cluster {
    /// Gives waiting nodes the best drafts that fit, heads first.
    pub(super) fn sign_what_can_be(&mut self, fx: &mut Effects) {
        if self.sign_after > fx.now || self.waiting.is_empty() {
            return;
        }
        if !self.keeper.is_ready() || self.network(fx).is_none() {
            return;
        }
        let state = fx.cluster(self.id);
        let mut nodes: Vec<(NodeKind, NodeId)> =
            self.waiting.iter().filter_map(|id| Some((state.nodes.get(id)?.kind, *id))).collect();
        nodes.sort_unstable();
        if !self.has_drafts() {
            return;
        }
        // Nothing of this changes until the daemon has made the agreements.
        let promised = Promised::of(state);
        for (_, node) in nodes {
            if let Some((market, offer)) = self.best_draft(fx, node, promised) {
                self.make_agreement(fx, node, market, offer);
            }
        }
    }

    fn has_drafts(&self) -> bool {
        self.shops.values().any(|shop| shop.market.has_drafts())
    }

    fn best_draft(
        &mut self,
        fx: &Effects,
        node: NodeId,
        Promised { committed, limit, rate }: Promised,
    ) -> Option<(MarketId, OfferNo)> {
        if !self.has_drafts() {
            return None;
        }
        let state = fx.cluster(self.id);
        let is_closed =
            ledger::level(committed, limit) == Level::Closed && !fx.planted(Bug::BudgetSoft);
        let mut too_dear = is_closed;
        let mut best = None;
        for (id, shop) in &self.shops {
            if is_closed || !self.may_buy(fx, node, shop) {
                continue;
            }
            let mut suits = |draft: &Draft| {
                let terms = terms_of(draft);
                let fits = committed.plus(terms.first_reserve()) <= limit
                    || fx.planted(Bug::NothingReserved);
                let is_slow_enough = state.plan.max_glm_per_hour.is_none_or(|limit| {
                    rate.plus(terms.rate_per_hour()) <= limit || fx.planted(Bug::RateIgnored)
                });
                too_dear |= !(fits && is_slow_enough);
                fits && is_slow_enough
            };
            let offer = shop.market.best_draft(fx, &mut suits);
            let scored = offer.and_then(|offer| Some((shop.market.draft_score(offer)?, offer)));
            if let Some((score, offer)) = scored
                && best.is_none_or(|(better, _, _)| score > better)
            {
                best = Some((score, *id, offer));
            }
        }
        self.is_short = too_dear && best.is_none();
        best.map(|(_, market, offer)| (market, offer))
    }

    fn make_agreement(&mut self, fx: &mut Effects, node: NodeId, market: MarketId, offer: OfferNo) {
        let Some(shop) = self.shops.get_mut(&market) else { return };
        let Some(draft) = shop.market.take_draft(fx, offer) else { return };
        let provider = draft.offer.provider.clone();
        if !fx.planted(Bug::ProviderTwice) {
            for shop in self.shops.values_mut() {
                shop.market.engage(fx, &provider);
            }
        }
        let valid_to = fx.now.plus(APPROVAL_TIME);
        let request = Request::CreateAgreement { proposal: draft.proposal.clone(), valid_to };
        self.waiting.remove(&node);
        self.signings.insert(node, SigningWork { draft, valid_to });
        self.ask(fx, ClusterCall::Sign(node), request, PATIENCE);
        self.is_dirty = true;
    }

    pub(super) fn on_agreement_made(
        &mut self,
        fx: &mut Effects,
        node: NodeId,
        result: Result<Response, CallError>,
    ) {
        let Some(work) = self.signings.remove(&node) else { return };
        self.is_dirty = true;
        match result {
            Ok(Response::AgreementCreated(agreement)) => {
                self.sign_failures = 0;
                self.sign(fx, node, work, agreement);
            }
            // Nobody but the daemon knows of it: it expires by itself.
            Ok(_) | Err(CallError::Rejected { .. }) => self.unsigned(fx, node, &work),
            Err(CallError::NotSent { .. } | CallError::Unknown(_)) => {
                self.sign_failures = self.sign_failures.saturating_add(1);
                let nth = u64::from(self.id.0);
                let pause = Backoff::DAEMON.pause(self.sign_failures, fx.seed, "sign", nth);
                self.sign_after = fx.now.plus(pause);
                self.wake(fx, ClusterTimer::Sign, self.sign_after);
                self.unsigned(fx, node, &work);
            }
        }
    }

    /// Sends an agreement to its provider, if it still fits.
    fn sign(&mut self, fx: &mut Effects, node: NodeId, work: SigningWork, id: AgreementId) {
        let state = fx.cluster(self.id);
        let terms = terms_of(&work.draft);
        let reserve = terms.first_reserve();
        let rate = ledger::rate_per_hour(state).plus(terms.rate_per_hour());
        let is_wanted = state.nodes.get(&node).is_some_and(|node| super::is_live(node.state))
            && state.ending.is_none();
        let committed = ledger::committed(state);
        let limit = ledger::limit(state);
        // Another node may have taken what was left.
        let is_closed =
            ledger::level(committed, limit) == Level::Closed && !fx.planted(Bug::BudgetSoft);
        let fits =
            !is_closed && committed.plus(reserve) <= limit || fx.planted(Bug::NothingReserved);
        let is_slow_enough = state.plan.max_glm_per_hour.is_none_or(|limit| rate <= limit)
            || fx.planted(Bug::RateIgnored);
        // What was free when the draft was taken may be so no more.
        let provider = &terms.provider;
        let is_free = !self.is_engaged(state, provider) || fx.planted(Bug::ProviderTwice);
        let is_trusted =
            fx.troubles.until(provider, fx.now).is_none() || fx.planted(Bug::ProviderForgiven);
        let is_trusted = is_trusted && !self.reputation.is_blacklisted(provider, fx.now);
        let is_wanted = is_wanted && is_free && is_trusted;
        let ip = network::free_address(&state.addresses());
        let (true, true, true, Some(ip)) = (is_wanted, fits, is_slow_enough, ip) else {
            self.unsigned(fx, node, &work);
            return;
        };
        let ip = if fx.planted(Bug::AddressReused) { network::FIRST_NODE } else { ip };
        let number = state.next_agreement;
        let session = state.session.clone();
        let reserve = if fx.planted(Bug::NothingReserved) { terms.price.start } else { reserve };
        let fact = AgreementFact::Signing {
            agreement: id.clone(),
            node,
            terms: Box::new(terms),
            ip,
            valid_to: work.valid_to,
            reserve,
            at: fx.now,
        };
        self.note(fx, number, fact);
        self.saw(fx, number, Observation::Asked);
        self.bills.know(&id, number);
        self.works.insert(number, Work::new(Stage::Confirming));
        self.listen(fx);
        let request = Request::ConfirmAgreement { agreement: id, session };
        let call = ClusterCall::Agreement(number, AgreementCall::Confirm);
        self.ask(fx, call, request, CONFIRM_PATIENCE);
        self.arm_reserve(fx, number);
    }

    fn unsigned(&mut self, fx: &mut Effects, node: NodeId, work: &SigningWork) {
        let provider = &work.draft.offer.provider;
        if !self.is_engaged(fx.cluster(self.id), provider) {
            for shop in self.shops.values_mut() {
                shop.market.disengage(provider);
            }
        }
        self.wait_again(fx, node);
    }

    /// Whether a provider is bound by an agreement, or about to be.
    fn is_engaged(&self, state: &ClusterState, provider: &ProviderId) -> bool {
        let bound =
            |account: &Account| account.over.is_none() && account.terms.provider == *provider;
        state.accounts.values().any(bound)
            || self.signings.values().any(|work| work.draft.offer.provider == *provider)
    }

    /// The providers that agreements are being made with.
    pub(super) fn providers_in_signing(&self) -> impl Iterator<Item = &ProviderId> {
        self.signings.values().map(|work| &work.draft.offer.provider)
    }

    pub(super) fn on_confirmed(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: Result<Response, CallError>,
    ) {
        if self.stage(number) != Some(Stage::Confirming) {
            return;
        }
        match result {
            Ok(_) => self.await_approval(fx, number),
            Err(error @ CallError::Rejected { .. }) => {
                self.saw_failure(fx, number, FailureKind::Refused);
                self.close(fx, number, &error.to_string(), Blame::Provider);
            }
            Err(error @ (CallError::NotSent { .. } | CallError::Unknown(_))) => {
                self.saw_failure(fx, number, FailureKind::Blameless);
                self.close(fx, number, &error.to_string(), Blame::Nobody);
            }
        }
    }

    fn await_approval(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let agreement = account.agreement.clone();
        self.enter(number, Stage::Awaiting);
        let request = Request::AwaitApproval { agreement, timeout: WAIT_TIMEOUT };
        let call = ClusterCall::Agreement(number, AgreementCall::Await);
        self.ask(fx, call, request, WAIT_TIMEOUT.plus(WAIT_MARGIN));
    }

    pub(super) fn on_awaited(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: Result<Response, CallError>,
    ) {
        if self.stage(number) != Some(Stage::Awaiting) {
            return;
        }
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let is_late = fx.now > account.valid_to.plus(WAIT_MARGIN);
        match result {
            Ok(Response::AgreementApproved) => self.approved(fx, number),
            Err(error) if fx.planted(Bug::RefusalIsApproval) && error.is_refusal(Status::GONE) => {
                self.approved(fx, number);
            }
            Err(error) if error.is_refusal(Status::TIMEOUT) && !is_late => {
                self.await_approval(fx, number);
            }
            Ok(_) | Err(CallError::Rejected { .. }) => self.look(fx, number),
            Err(CallError::NotSent { .. } | CallError::Unknown(_)) => {
                self.pause(fx, number, "await");
            }
        }
    }

    /// Asks where an agreement stands.
    pub(super) fn look(&mut self, fx: &mut Effects, number: AgreementNo) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let request = Request::GetAgreement { agreement: account.agreement.clone() };
        self.enter(number, Stage::Looking);
        let call = ClusterCall::Agreement(number, AgreementCall::Look);
        self.ask(fx, call, request, PATIENCE);
    }

    pub(super) fn on_looked(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        result: Result<Response, CallError>,
    ) {
        if self.stage(number) != Some(Stage::Looking) {
            return;
        }
        match result {
            Ok(Response::Agreement(agreement)) => self.stands(fx, number, agreement.state),
            // The daemon forgot it, which it does after months only: nothing runs under it.
            Err(error) if error.is_refusal(Status::NOT_FOUND) => {
                self.close(fx, number, "the daemon does not know the agreement", Blame::Nobody);
                self.over(fx, number);
            }
            Ok(_) | Err(_) => {
                self.pause(fx, number, "look");
            }
        }
    }

    /// It is known where an agreement stands.
    pub(super) fn stands(&mut self, fx: &mut Effects, number: AgreementNo, stands: AgreementState) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let is_closing = account.closing.is_some();
        let (valid_to, progress) = (account.valid_to, account.progress);
        match stands {
            AgreementState::Rejected | AgreementState::Expired => {
                let is_late = stands == AgreementState::Expired;
                let kind = if is_late { FailureKind::Late } else { FailureKind::Refused };
                self.saw_failure(fx, number, kind);
                self.close(fx, number, "the provider did not approve", Blame::Provider);
                self.over(fx, number);
            }
            AgreementState::Cancelled | AgreementState::Terminated => {
                self.saw_failure(fx, number, FailureKind::Quit);
                self.close(fx, number, "it was ended", Blame::Provider);
                self.over(fx, number);
            }
            AgreementState::Approved if is_closing => self.undo(fx, number),
            AgreementState::Approved if progress == Progress::Signing => {
                self.approved(fx, number);
            }
            AgreementState::Approved => {}
            // What we sent may still arrive: only the end of its time makes sure.
            AgreementState::Proposal => {
                let sure = valid_to.plus(DOUBT);
                if fx.now >= sure {
                    self.close(fx, number, "it was not sent", Blame::Nobody);
                    self.over(fx, number);
                } else {
                    self.close_quietly(fx, number, "it was not sent");
                    self.wake(fx, ClusterTimer::Agreement(number), sure);
                }
            }
            AgreementState::Pending | AgreementState::Approving if is_closing => {
                self.cancel(fx, number);
            }
            AgreementState::Pending | AgreementState::Approving => {
                self.await_approval(fx, number);
            }
        }
    }

    fn approved(&mut self, fx: &mut Effects, number: AgreementNo) {
        self.note(fx, number, AgreementFact::Approved);
        self.saw(fx, number, Observation::Approved);
        self.create_activity(fx, number);
    }

    pub(super) fn works_in_signing(&self) -> impl Iterator<Item = AgreementNo> {
        let signing = self
            .works
            .iter()
            .filter(|(_, work)| matches!(work.stage, Stage::Confirming | Stage::Awaiting));
        signing.map(|(number, _)| *number)
    }

    /// The stage of the work on an agreement.
    pub(super) fn stage(&self, number: AgreementNo) -> Option<Stage> {
        self.works.get(&number).map(|work| work.stage)
    }

    /// Begins another stage.
    pub(super) fn enter(&mut self, number: AgreementNo, stage: Stage) {
        if let Some(work) = self.works.get_mut(&number) {
            if work.stage != stage {
                work.failures = 0;
            }
            work.stage = stage;
        }
    }

    /// Waits before the stage is tried again; tells how often it has failed.
    pub(super) fn pause(&mut self, fx: &mut Effects, number: AgreementNo, what: &str) -> u32 {
        let Some(work) = self.works.get_mut(&number) else { return 0 };
        work.failures = work.failures.saturating_add(1);
        let failures = work.failures;
        let pause = Backoff::DAEMON.pause(failures, fx.seed, what, u64::from(number.0));
        self.wake(fx, ClusterTimer::Agreement(number), fx.now.plus(pause));
        failures
    }

    /// Tries again what an agreement's stage asks for.
    pub(super) fn on_agreement_timer(&mut self, fx: &mut Effects, number: AgreementNo) {
        match self.stage(number) {
            Some(Stage::Confirming | Stage::Looking) => self.look(fx, number),
            Some(Stage::Awaiting) => self.await_approval(fx, number),
            Some(Stage::CreatingActivity) => self.create_activity_again(fx, number),
            Some(Stage::Joining) => self.join(fx, number),
            Some(Stage::SendingBatch) => self.send_batch_again(fx, number),
            Some(Stage::Collecting { .. }) => self.collect(fx, number),
            Some(Stage::CheckingSsh) => self.look_at_ssh(fx, number),
            Some(Stage::Cancelling) => self.cancel(fx, number),
            Some(Stage::Destroying) => self.destroy(fx, number),
            Some(Stage::Terminating) => self.terminate(fx, number),
            Some(Stage::Running | Stage::Over) | None => {}
        }
    }

    /// A provider's name and id, for users.
    pub(super) fn provider_of(&self, fx: &Effects, number: AgreementNo) -> String {
        let account = fx.cluster(self.id).accounts.get(&number);
        account.map_or_else(String::new, |account| {
            format!("{} ({})", account.terms.name, account.terms.provider)
        })
    }

    /// Tells users that a node has reached a step.
    pub(super) fn log_step(&self, fx: &mut Effects, number: AgreementNo, step: Step) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let node = account.node;
        let provider = self.provider_of(fx, number);
        self.log(fx, node, step.line(&provider));
        let patience = step.rule().patience;
        if patience > Span::ZERO {
            self.wake(fx, ClusterTimer::Step(number), fx.now.plus(patience));
        } else {
            self.rest(fx, ClusterTimer::Step(number));
        }
    }
}

fn terms_of(draft: &Draft) -> Terms {
    let offer = &draft.offer;
    Terms {
        provider: offer.provider.clone(),
        name: offer.name.clone(),
        payee: draft.payee.clone(),
        price: offer.price,
        threads: offer.threads,
        mem: offer.mem,
        storage: offer.storage,
        payment_timeout: draft.terms.payment_timeout,
    }
}
