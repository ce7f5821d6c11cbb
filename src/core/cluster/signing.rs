//! Signing: from a draft to a provider's approval (M1, M9, K1, L8, L9).
//!
//! What an agreement can cost is set aside before the provider hears of it. An agreement is in force
//! when the daemon says so, and not because nobody objected.

use std::collections::BTreeMap;

use super::{
    AgreementCall, Cluster, ClusterCall, ClusterTimer, Stage, Work,
    account::{Account, Progress, Terms},
    network,
    plan::{NodeKind, Subnet},
    record::AgreementFact,
    state::{ClusterState, Node},
    waiting::{Cost, Shortage},
};
use crate::{
    core::{
        backoff::Backoff,
        effects::Effects,
        experience::{FailureKind, Observation},
        ids::{AgreementNo, MarketId, NodeId, OfferNo},
        market::{Draft, score::Score},
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
/// A provider that has not approved by then may not do so at all: another one is asked, too.
const HEDGE_AFTER: Span = Span::secs(3);
/// The daemon sends an agreement on to its provider while we wait.
const CONFIRM_PATIENCE: Span = Span::secs(30);
const WAIT_TIMEOUT: Span = Span::secs(15);
const WAIT_MARGIN: Span = Span::secs(5);

/// Numbers the agreements that the daemon is asked to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::core) struct SigningNo(u64);

/// An agreement that is being made for a node.
#[derive(Debug)]
pub(super) struct SigningWork {
    pub(super) node: NodeId,
    draft: Draft,
    valid_to: Timestamp,
}

impl SigningWork {
    /// The provider's name for itself.
    pub(super) fn provider_name(&self) -> &str {
        &self.draft.offer.name
    }
}

/// What a cluster has promised, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promised {
    committed: Glm,
    /// What may be promised in all.
    limit: Glm,
    /// In an hour; counted only where there is a limit.
    rate: Glm,
    max_rate: Option<Glm>,
}

impl Promised {
    pub(super) fn of(state: &ClusterState) -> Self {
        let max_rate = state.plan.max_glm_per_hour;
        let rate = if max_rate.is_some() { ledger::rate_per_hour(state) } else { Glm::ZERO };
        let (committed, limit) = (ledger::committed(state), ledger::limit(state));
        Self { committed, limit, rate, max_rate }
    }

    /// What is missing for an agreement that costs so much, or for any.
    pub(super) fn shortage(self, cost: Option<Cost>) -> Option<Shortage> {
        let left = self.limit.minus(self.committed);
        if self.level() == Level::Closed {
            return Some(Shortage::Closed { left, budget: self.limit });
        }
        let Cost { reserve, per_hour } = cost?;
        if reserve > left {
            return Some(Shortage::Budget { needed: reserve, left });
        }
        let limit = self.max_rate?;
        let left = limit.minus(self.rate);
        (per_hour > left).then_some(Shortage::Rate { needed: per_hour, left, limit })
    }

    fn level(self) -> Level {
        ledger::level(self.committed, self.limit)
    }

    /// Whether there is room for an agreement. One that is only asked for in case another one comes
    /// to nothing must leave the budget ample.
    fn has_room(self, fx: &Effects, terms: &Terms, is_hedge: bool) -> bool {
        let promised = self.committed.plus(terms.first_reserve());
        let is_open = self.level() != Level::Closed || fx.planted(Bug::BudgetSoft);
        let fits = is_open && promised <= self.limit || fx.planted(Bug::NothingReserved);
        let is_ample = ledger::level(promised, self.limit) == Level::Ample;
        let is_slow_enough =
            self.max_rate.is_none_or(|max| self.rate.plus(terms.rate_per_hour()) <= max);
        fits && (is_ample || !is_hedge) && (is_slow_enough || fx.planted(Bug::RateIgnored))
    }
}

impl Cluster {
    /// Gives waiting nodes the best drafts that fit, heads first; then nodes whose provider takes long
    /// to approve.
    pub(super) fn sign_what_can_be(&mut self, fx: &mut Effects) {
        if self.sign_after > fx.now || !self.has_drafts() {
            return;
        }
        if !self.keeper.is_ready() || self.network(fx).is_none() {
            return;
        }
        let state = fx.cluster(self.id);
        let mut nodes: Vec<(u32, NodeKind, NodeId)> = self
            .seekers(fx)
            .filter_map(|(id, asked)| Some((asked, state.nodes.get(&id)?.kind, id)))
            .collect();
        nodes.sort_unstable();
        // Nothing of this changes until the daemon has made the agreements.
        let promised = Promised::of(state);
        for (asked, _, node) in nodes {
            if let Some((market, offer)) = self.best_draft(fx, node, promised, asked > 0) {
                self.make_agreement(fx, node, market, offer);
            }
        }
    }

    /// How many drafts could be used, by the shape of the nodes.
    pub(super) fn drafts_wanted(&self, fx: &Effects) -> Vec<usize> {
        let state = fx.cluster(self.id);
        let mut wanted = vec![0_usize; state.shapes.len()];
        for node in self.seekers(fx).filter_map(|(id, _)| state.nodes.get(&id)) {
            wanted[node.shape] += 1;
        }
        wanted
    }

    /// The nodes for which another provider is to be asked, and how many were asked for each: those
    /// that wait, and those whose provider has let us wait, as far as the user wants that.
    fn seekers<'a>(&'a self, fx: &'a Effects) -> impl Iterator<Item = (NodeId, u32)> + use<'a> {
        let state = fx.cluster(self.id);
        let waiting = self.waiting.iter().map(|id| (*id, 0));
        let mut asked: BTreeMap<NodeId, u32> = BTreeMap::new();
        for node in self.nodes_in_signing(state) {
            let count = asked.entry(node).or_default();
            *count = count.saturating_add(1);
        }
        let slow = asked.into_iter().filter(|(id, asked)| {
            let is_waited_for = fx.timers.due(&self.timer(ClusterTimer::Hedge(*id))).is_some();
            let is_open = |node: &Node| super::is_live(node.state) && !is_given(state, node);
            *asked < self.hedge_of(fx, *id)
                && !is_waited_for
                && state.nodes.get(id).is_some_and(is_open)
        });
        waiting.chain(slow).filter(|(id, _)| self.may_hire(fx, *id))
    }

    /// How many providers may be asked at once for a node.
    fn hedge_of(&self, fx: &Effects, node: NodeId) -> u32 {
        let state = fx.cluster(self.id);
        let shape = state.nodes.get(&node).and_then(|node| state.shapes.get(node.shape));
        let hedge = shape.map_or(1, |shape| shape.spec.choice.hedge.max(1));
        if fx.planted(Bug::HedgeUnbounded) { hedge.saturating_add(1) } else { hedge }
    }

    fn has_drafts(&self) -> bool {
        self.shops.values().any(|shop| shop.market.has_drafts())
    }

    fn best_draft(
        &mut self,
        fx: &Effects,
        node: NodeId,
        promised: Promised,
        is_hedge: bool,
    ) -> Option<(MarketId, OfferNo)> {
        let state = fx.cluster(self.id);
        let mut refused: Option<Cost> = None;
        let mut best: [Option<(Score, MarketId, OfferNo)>; 2] = [None, None];
        for (id, shop) in self.shops.iter().filter(|(_, shop)| self.may_buy(fx, node, shop)) {
            let suits = |draft: &Draft| {
                let has_room = promised.has_room(fx, &terms_of(draft), is_hedge);
                if !has_room {
                    let cost = Cost::of(&terms_of(draft));
                    refused = Some(refused.map_or(cost, |least| least.min(cost)));
                }
                has_room
            };
            for (rank, offer) in shop.market.drafts(fx, suits) {
                let best = &mut best[usize::from(rank.is_proven)];
                if best.is_none_or(|(score, _, _)| rank.score > score) {
                    *best = Some((rank.score, *id, offer));
                }
            }
        }
        let [newcomer, proven] = best;
        let shape = state.nodes.get(&node).and_then(|node| state.shapes.get(node.shape))?;
        let is_unbounded = fx.planted(Bug::NewcomersUnbounded);
        let share = if is_unbounded { 100 } else { shape.spec.choice.newcomers };
        let proven = proven.map(|best| (true, best));
        let chosen = self.turns.choose(share, proven, newcomer.map(|best| (false, best)));
        if !is_hedge {
            self.refused = refused.filter(|_| chosen.is_none());
        }
        let (is_proven, (_, market, offer)) = chosen?;
        self.turns.took(is_proven);
        Some((market, offer))
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
        self.wake(fx, ClusterTimer::Hedge(node), fx.now.plus(HEDGE_AFTER));
        let number = self.next_signing;
        self.next_signing = SigningNo(number.0.saturating_add(1));
        self.waiting.remove(&node);
        self.signings.insert(number, SigningWork { node, draft, valid_to });
        self.ask(fx, ClusterCall::Sign(number), request, PATIENCE);
        self.is_dirty = true;
    }

    pub(super) fn on_agreement_made(
        &mut self,
        fx: &mut Effects,
        number: SigningNo,
        result: Result<Response, CallError>,
    ) {
        let Some(work) = self.signings.remove(&number) else { return };
        self.is_dirty = true;
        match result {
            Ok(Response::AgreementCreated(agreement)) => {
                self.sign_failures = 0;
                self.sign_trouble = None;
                self.sign(fx, work, agreement);
            }
            // Nobody but the daemon knows of it: it expires by itself.
            Ok(_) | Err(CallError::Rejected { .. }) => self.unsigned(fx, &work),
            Err(error @ (CallError::NotSent { .. } | CallError::Unknown(_))) => {
                self.sign_trouble = Some(error.said());
                self.sign_failures = self.sign_failures.saturating_add(1);
                let nth = u64::from(self.id.0);
                let pause = Backoff::DAEMON.pause(self.sign_failures, fx.seed, "sign", nth);
                self.sign_after = fx.now.plus(pause);
                self.wake(fx, ClusterTimer::Sign, self.sign_after);
                self.unsigned(fx, &work);
            }
        }
    }

    /// Sends an agreement to its provider, if it still fits.
    fn sign(&mut self, fx: &mut Effects, work: SigningWork, id: AgreementId) {
        let state = fx.cluster(self.id);
        let terms = terms_of(&work.draft);
        let subnet = state.plan.network.unwrap_or(Subnet::USUAL);
        let ip = network::free_address(subnet, &state.addresses());
        let (true, Some(ip)) = (self.may_sign(fx, &work, &terms), ip) else {
            self.unsigned(fx, &work);
            return;
        };
        let ip = if fx.planted(Bug::AddressReused) { Subnet::USUAL.first_node() } else { ip };
        let (number, session) = (state.next_agreement, state.session.clone());
        let is_free = fx.planted(Bug::NothingReserved);
        let reserve = if is_free { terms.price.start } else { terms.first_reserve() };
        let fact = AgreementFact::Signing {
            agreement: id.clone(),
            node: work.node,
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

    /// Whether what held when the draft was taken still holds.
    fn may_sign(&self, fx: &Effects, work: &SigningWork, terms: &Terms) -> bool {
        let state = fx.cluster(self.id);
        let Some(node) = state.nodes.get(&work.node) else { return false };
        let is_wanted =
            super::is_live(node.state) && state.ending.is_none() && !is_given(state, node);
        let (provider, shape) = (&terms.provider, state.shapes.get(node.shape));
        let is_free = !self.is_engaged(state, provider) || fx.planted(Bug::ProviderTwice);
        let is_left_alone = fx.troubles.until(provider, fx.now).is_some();
        let is_admitted =
            shape.is_some_and(|it| it.spec.choice.admits(provider, Some(&terms.payee)));
        let is_trusted = !is_left_alone
            && !self.reputation.is_blacklisted(provider, fx.now)
            && (is_admitted || fx.planted(Bug::ListsIgnored));
        let is_hedge = node.agreement.is_some();
        let has_room = Promised::of(state).has_room(fx, terms, is_hedge);
        is_wanted && is_free && is_trusted && has_room && self.may_hire(fx, work.node)
    }

    fn unsigned(&mut self, fx: &mut Effects, work: &SigningWork) {
        let provider = &work.draft.offer.provider;
        if !self.is_engaged(fx.cluster(self.id), provider) {
            for shop in self.shops.values_mut() {
                shop.market.disengage(provider);
            }
        }
        self.wait_again(fx, work.node);
    }

    /// Whether a provider is bound by an agreement, or about to be.
    fn is_engaged(&self, state: &ClusterState, provider: &ProviderId) -> bool {
        let bound =
            |account: &Account| account.over.is_none() && account.terms.provider == *provider;
        state.accounts.values().any(bound)
            || state.network.leaving().any(|(_, member)| member.provider == *provider)
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
                self.blame(fx, number, FailureKind::Refused);
                self.close(fx, number, &error.to_string());
            }
            Err(error @ CallError::Unknown(_)) if fx.planted(Bug::SigningForgotten) => {
                self.forget(fx, number, &error.to_string());
            }
            Err(error @ (CallError::NotSent { .. } | CallError::Unknown(_))) => {
                self.blame(fx, number, FailureKind::Blameless);
                self.close(fx, number, &error.to_string());
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
            Err(error @ CallError::Unknown(_)) if fx.planted(Bug::SigningForgotten) => {
                self.forget(fx, number, &error.to_string());
            }
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
            Err(error) if error.is_unknown_id() => self.unknown_to_daemon(fx, number),
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
                self.blame(fx, number, kind);
                self.close(fx, number, "the provider did not approve");
                self.over(fx, number);
            }
            AgreementState::Cancelled | AgreementState::Terminated => {
                self.blame(fx, number, FailureKind::Quit);
                self.close(fx, number, "it was ended");
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
                    self.close(fx, number, "it was not sent");
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
        self.release_hedges(fx, number);
        self.create_activity(fx, number);
    }

    /// The other providers that were asked for the same node are let go before anything costs.
    fn release_hedges(&mut self, fx: &mut Effects, number: AgreementNo) {
        let state = fx.cluster(self.id);
        let Some(id) = state.accounts.get(&number).map(|account| account.node) else { return };
        let hedges = state.nodes.get(&id).map(|node| node.hedges.clone()).unwrap_or_default();
        self.rest(fx, ClusterTimer::Hedge(id));
        if fx.planted(Bug::HedgesKept) {
            return;
        }
        for hedge in hedges {
            self.close(fx, hedge, "Another provider was quicker");
        }
    }

    /// The nodes that providers are asked for now: each as often as providers are.
    pub(super) fn nodes_in_signing<'a>(
        &'a self,
        state: &'a ClusterState,
    ) -> impl Iterator<Item = NodeId> + use<'a> {
        let made = self.signings.values().map(|work| work.node);
        let is_early =
            |stage| matches!(stage, Stage::Confirming | Stage::Awaiting | Stage::Looking);
        let early = self.works.iter().filter(move |(_, work)| is_early(work.stage));
        let sent = early
            .filter_map(|(number, _)| state.accounts.get(number))
            .filter(|account| account.progress == Progress::Signing && account.closing.is_none());
        made.chain(sent.map(|account| account.node))
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
}

/// Whether a provider has approved an agreement for the node.
fn is_given(state: &ClusterState, node: &Node) -> bool {
    let account = node.agreement.and_then(|number| state.accounts.get(&number));
    account.is_some_and(|account| account.progress != Progress::Signing)
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
