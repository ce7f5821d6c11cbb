//! One market pipeline for each node shape and subnet.
//!
//! A demand is kept published, its offers are filtered, scored, and negotiated side by side, best
//! first. Rules kept here: K1 to K5, M9, B1.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

pub mod census;
pub mod choice;
pub mod demand;
pub mod funnel;
pub mod limits;
pub mod negotiate;
pub mod offer;
pub mod price;
pub mod score;
pub mod spec;
pub mod supply;

pub mod appraisal;
mod chain;
mod hire;
mod pool;
mod publication;
mod scan;
mod trouble;
mod turns;

use appraisal::{Appraisal, Appraisals, Fate};
use chain::{Chain, ChainNo};
use funnel::Funnel;
pub(super) use hire::Draft;
use limits::Limits;
use negotiate::Bounds;
use offer::Offer;
use pool::{Entry, Place, Pool, Rank};
use publication::Publication;
use scan::Scan;
use score::Scorer;
use spec::{Image, NodeSpec};
use supply::Supply;
pub(super) use trouble::Troubles;
pub(super) use turns::Turns;

use super::{
    Purpose, TimerKey,
    effects::Effects,
    experience::{Observation, Sighting},
    ids::{Generation, MarketId, OfferNo},
    planted::Bug,
    reputation::{Known, Reputation},
    survey::MarketReport,
    sweep::Sweeper,
};
use crate::{
    units::Timestamp,
    yagna::{
        CallError, Decorations, DemandBody, DemandEvent, PlatformId, Proposal, ProposalId,
        ProviderId, Response,
    },
};

/// What a market's calls are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarketCall {
    Subscribe(Generation),
    Poll(Generation),
    Counter(OfferNo, ChainNo),
    Reject(OfferNo, ChainNo),
    RejectStray,
    BeginScan,
    CollectScan,
}

impl MarketCall {
    /// Whether it is part of a look at the market, on which nothing depends but what is said.
    pub(super) const fn is_of_scan(self) -> bool {
        matches!(self, Self::BeginScan | Self::CollectScan)
    }
}

/// What a market waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarketTimer {
    /// Publish the demand again.
    Publish,
    /// Ask again what happened to a generation of the demand.
    Poll(Generation),
    /// Withdraw a generation of the demand.
    Retire(Generation),
    /// Start negotiations.
    Dispatch,
    /// A negotiation has waited long enough.
    Chain(OfferNo),
    /// Nothing is left to negotiate, and something is wanted.
    Starved,
}

/// What a market is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// To learn what there is: every draft is counted and rejected.
    Survey,
    /// To hire: drafts are kept for a while until somebody signs them.
    Hire,
}

/// What a market is opened with.
#[derive(Clone, Debug)]
pub(super) struct MarketPlan {
    pub(super) goal: Goal,
    pub(super) spec: Arc<NodeSpec>,
    pub(super) subnet_tag: String,
    pub(super) image: Image,
    pub(super) platform: PlatformId,
    pub(super) decorations: Decorations,
    pub(super) reputation: Arc<Reputation>,
    /// Negotiations side by side.
    pub(super) parallel: usize,
    /// Offers remembered.
    pub(super) pool_capacity: usize,
    /// Whether the fate of each offer is kept.
    pub(super) explains: bool,
}

/// One market pipeline.
pub(super) struct Market {
    id: MarketId,
    goal: Goal,
    /// How many drafts somebody waits for.
    wanted: usize,
    /// Providers that are taken, and not asked again until they are free.
    engaged: BTreeSet<ProviderId>,
    /// Whether a page of events may have been lost: the daemon hands out each of them once.
    has_lost_events: bool,
    /// How often in a row nothing was left to negotiate.
    famines: u32,
    /// Until when offers are only gathered; none before the first one.
    gathers_until: Option<Timestamp>,
    /// Whom negotiations were begun with.
    turns: Turns,
    spec: Arc<NodeSpec>,
    subnet_tag: String,
    image: Image,
    platform: PlatformId,
    decorations: Decorations,
    reputation: Arc<Reputation>,
    bounds: Bounds,
    limits: Limits,
    scorer: Scorer,
    publication: Publication,
    pool: Pool,
    chains: BTreeMap<OfferNo, Chain>,
    next_chain: ChainNo,
    /// Which chain a counter-proposal of ours belongs to.
    awaiting: BTreeMap<ProposalId, OfferNo>,
    /// Answers that overtook the reply that names our counter-proposal.
    early: BTreeMap<ProposalId, (Timestamp, Generation, DemandEvent)>,
    /// Drafts that nobody waits for, until their providers are told.
    stray_drafts: VecDeque<(Generation, ProposalId)>,
    /// Counter-proposals by generation and terms.
    counters: BTreeMap<(Generation, u64, u64), Arc<DemandBody>>,
    funnel: Funnel,
    scan: Scan,
    supply: Vec<Supply>,
    /// Kept only if somebody asks for it.
    appraisals: Option<Appraisals>,
    parallel: usize,
    /// Rejections under way that belong to no chain.
    strays: usize,
    paused_until: Timestamp,
    pauses: u32,
    open: bool,
}

impl Market {
    /// Opens a market: publishes its demand.
    pub(super) fn open(fx: &mut Effects, id: MarketId, plan: MarketPlan) -> Self {
        let limits = Limits::new(&plan.spec.limits);
        let mut pool = Pool::new(plan.pool_capacity);
        if fx.planted(Bug::PoolUnbounded) {
            pool.lift_limit();
        }
        let mut market = Self {
            id,
            goal: plan.goal,
            wanted: 0,
            engaged: BTreeSet::new(),
            has_lost_events: false,
            famines: 0,
            gathers_until: None,
            turns: Turns::default(),
            bounds: demand::bounds(&plan.spec),
            funnel: Funnel::new(limits.as_slice().len()),
            limits,
            scorer: Scorer::new(
                plan.spec.limits.per_cpu_expected_usage,
                plan.spec.choice.weights,
                fx.seed,
            ),
            spec: plan.spec,
            subnet_tag: plan.subnet_tag,
            image: plan.image,
            platform: plan.platform,
            decorations: plan.decorations,
            reputation: plan.reputation,
            publication: Publication::default(),
            pool,
            chains: BTreeMap::new(),
            next_chain: ChainNo(0),
            awaiting: BTreeMap::new(),
            early: BTreeMap::new(),
            stray_drafts: VecDeque::new(),
            counters: BTreeMap::new(),
            scan: Scan::default(),
            supply: Vec::new(),
            appraisals: plan.explains.then(Appraisals::default),
            parallel: plan.parallel,
            strays: 0,
            paused_until: Timestamp::EPOCH,
            pauses: 0,
            open: true,
        };
        market.publish(fx);
        market
    }

    /// Starts nothing new; decided negotiations are still told to their providers.
    pub(super) fn close(&mut self, fx: &mut Effects) {
        self.open = false;
        self.drop_drafts(fx);
        self.end_scan(fx);
        fx.timers.cancel(&self.timer(MarketTimer::Starved));
        fx.timers.cancel(&self.timer(MarketTimer::Dispatch));
        fx.timers.cancel(&self.timer(MarketTimer::Publish));
        let open = self.chains.values().filter(|chain| !chain.is_decided()).count();
        self.funnel.unfinished = u64::try_from(open).unwrap_or(u64::MAX);
        self.funnel.waiting = u64::try_from(self.pool.waiting()).unwrap_or(u64::MAX);
    }

    /// Whether no provider is left that must still be told, and no demand is on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.strays == 0
            && !self.publication.is_pending()
            && self.chains.values().all(|chain| !chain.is_decided())
    }

    pub(super) fn on_reply(
        &mut self,
        fx: &mut Effects,
        call: MarketCall,
        result: Result<Response, CallError>,
        sweeper: &mut Sweeper,
    ) {
        match call {
            MarketCall::Subscribe(generation) => {
                self.on_subscribed(fx, generation, result, sweeper);
            }
            MarketCall::Poll(generation) => {
                self.on_polled(fx, generation, result, sweeper);
            }
            MarketCall::Counter(number, chain) => {
                if self.is_under_way(number, chain) {
                    self.on_countered(fx, number, result);
                }
                self.release_early(fx);
                self.dispatch(fx);
            }
            MarketCall::Reject(number, chain) => {
                if self.is_under_way(number, chain) {
                    self.on_reject_sent(fx, number, &result);
                }
            }
            MarketCall::RejectStray => self.on_stray_rejected(fx),
            MarketCall::BeginScan => self.on_scan_begun(fx, result),
            MarketCall::CollectScan => self.on_scanned(fx, result),
        }
    }

    pub(super) fn on_timer(&mut self, fx: &mut Effects, timer: MarketTimer, sweeper: &mut Sweeper) {
        match timer {
            MarketTimer::Publish => self.publish(fx),
            MarketTimer::Poll(generation) => self.poll(fx, generation),
            MarketTimer::Retire(generation) => self.retire(fx, generation, sweeper),
            MarketTimer::Dispatch => self.dispatch(fx),
            MarketTimer::Chain(number) => self.on_waited(fx, number),
            MarketTimer::Starved => self.on_starved(fx),
        }
    }

    pub(super) fn funnel(&self) -> &Funnel {
        &self.funnel
    }

    pub(super) fn into_report(self) -> MarketReport {
        MarketReport {
            subnet_tag: self.subnet_tag,
            limits: self.limits,
            funnel: self.funnel,
            supply: self.supply,
            appraisals: self.appraisals.map(Appraisals::into_vec).unwrap_or_default(),
        }
    }

    pub(super) fn negotiations(&self) -> usize {
        self.chains.len()
    }

    pub(super) fn pool_size(&self) -> usize {
        self.pool.len()
    }

    /// An offer matched our demand: counted once however often it is matched.
    fn on_match(&mut self, fx: &mut Effects, generation: Generation, proposal: &Proposal) {
        self.gather(fx);
        let fingerprint = offer::content(proposal);
        match self.pool.find(&proposal.issuer, fingerprint) {
            Some(Some(number)) => self.rematch(fx, number, generation, proposal),
            Some(None) => {}
            None => self.on_new_match(fx, generation, proposal, fingerprint),
        }
    }

    fn on_new_match(
        &mut self,
        fx: &mut Effects,
        generation: Generation,
        proposal: &Proposal,
        fingerprint: u64,
    ) {
        let offer = Offer::read(proposal, &self.platform);
        let is_barred = self.is_barred(&proposal.issuer, offer.as_ref().ok());
        let is_welcome = self.count_arrival(fx, &proposal.issuer, is_barred);
        if let (Goal::Hire, Ok(offer)) = (self.goal, &offer) {
            fx.saw(self.sighting(offer), &self.reputation);
        }
        let exceeded = match &offer {
            Ok(offer) => {
                let exceeded = self.limits.exceeded(&offer.price, offer.threads);
                if is_welcome {
                    self.funnel.count_limits(exceeded, &offer.provider);
                }
                exceeded
            }
            Err(error) => {
                if is_welcome {
                    self.funnel.count_unusable(&error.to_string());
                }
                None
            }
        };
        let fate = match (&offer, is_welcome, exceeded) {
            (_, false, _) if is_barred => Fate::Barred,
            (_, false, _) => Fate::Blacklisted,
            (Err(error), true, _) => Fate::Unusable(error.to_string()),
            (Ok(_), true, Some(limit)) => Fate::TooDear(limit),
            (Ok(_), true, None) => Fate::Waiting,
        };
        let appraisal = self.appraise(fx, &proposal.issuer, offer.as_ref().ok(), fate);
        // A blacklist is forgotten sooner or later, but for the cluster file's.
        let may_come_back = is_welcome || (self.goal == Goal::Hire && !is_barred);
        let (Ok(offer), true, None) = (offer, may_come_back, exceeded) else {
            if let (Some(all), Some(appraisal)) = (&mut self.appraisals, appraisal) {
                all.add(appraisal, None);
            }
            self.pool.dismiss(&proposal.issuer, fingerprint);
            return;
        };
        let until = self.rest_until(fx, &offer.provider);
        let entry = Entry {
            rank: self.rank(fx, &offer),
            offer,
            generation,
            proposal: proposal.id.clone(),
            matched_at: fx.now,
            place: until.map_or(Place::Ready, Place::Parked),
            was_negotiated: false,
        };
        if self.pool.add(entry) {
            self.funnel.overflow += 1;
        }
        if let (Some(all), Some(mut appraisal)) = (&mut self.appraisals, appraisal) {
            let number = self.pool.find(&proposal.issuer, fingerprint).flatten();
            if number.is_none() {
                appraisal.fate = Fate::NoRoom;
            }
            all.add(appraisal, number);
        }
    }

    /// An offer as it came in, if somebody wants to know.
    fn appraise(
        &self,
        fx: &Effects,
        provider: &ProviderId,
        offer: Option<&Offer>,
        fate: Fate,
    ) -> Option<Appraisal> {
        self.appraisals.as_ref()?;
        let known = self.known(fx, provider);
        let score = offer.map(|offer| self.scorer.parts(offer, &known));
        let (provider, offer) = (provider.clone(), offer.cloned());
        Some(Appraisal { provider, offer, score, is_proven: known.is_proven, fate })
    }

    /// What is known about a provider.
    fn known(&self, fx: &Effects, provider: &ProviderId) -> Known {
        let own = fx.memory.get(&self.platform, provider);
        self.reputation.known(provider, own, fx.now)
    }

    /// How soon an offer is tried.
    fn rank(&self, fx: &Effects, offer: &Offer) -> Rank {
        let known = self.known(fx, &offer.provider);
        let score = self.scorer.score(offer, &known);
        let makes_no_difference = self.spec.choice.newcomers >= 100;
        Rank { is_proven: known.is_proven || makes_no_difference, score }
    }

    /// Until when a provider is not asked, because it is blacklisted or was in trouble.
    fn rest_until(&self, fx: &Effects, provider: &ProviderId) -> Option<Timestamp> {
        let blacklisted = match fx.planted(Bug::BlacklistIgnored) {
            true => None,
            false => self.reputation.blacklisted_until(provider, fx.now),
        };
        blacklisted.max(fx.troubles.until(provider, fx.now))
    }

    /// Whether the lists of the cluster file keep a provider out.
    fn is_barred(&self, provider: &ProviderId, offer: Option<&Offer>) -> bool {
        !self.spec.choice.admits(provider, offer.and_then(|offer| offer.wallet.as_deref()))
    }

    /// Something became of an offer.
    fn settle_fate(&mut self, number: OfferNo, fate: impl FnOnce() -> Fate) {
        if let Some(all) = &mut self.appraisals {
            all.set(number, fate());
        }
    }

    /// A negotiation failed.
    fn count_failure(&mut self, number: OfferNo, reason: &str) {
        self.funnel.count_failure(reason);
        self.settle_fate(number, || Fate::Failed(funnel::mask(reason)));
    }

    fn sighting(&self, offer: &Offer) -> Sighting {
        let per_cpu_hour = offer.price.per_cpu_hour(offer.threads);
        let what = Observation::Offered { name: offer.name.clone(), per_cpu_hour };
        Sighting { provider: offer.provider.clone(), platform: self.platform.clone(), what }
    }

    /// Counts a new offer; false if its provider is blacklisted, here or by the cluster file.
    fn count_arrival(&mut self, fx: &Effects, provider: &ProviderId, is_barred: bool) -> bool {
        self.funnel.initial += 1;
        let is_blacklisted =
            self.reputation.is_blacklisted(provider, fx.now) && !fx.planted(Bug::BlacklistIgnored);
        let is_blacklisted = is_blacklisted || (is_barred && !fx.planted(Bug::ListsIgnored));
        if !is_blacklisted {
            self.funnel.not_blacklisted += 1;
        }
        !is_blacklisted
    }

    /// A known offer came again, with a younger demand or after its provider published it again.
    fn rematch(
        &mut self,
        fx: &Effects,
        number: OfferNo,
        generation: Generation,
        proposal: &Proposal,
    ) {
        self.rank_again(fx, number);
        let Some(entry) = self.pool.get_mut(number) else { return };
        let place = entry.place;
        match place {
            Place::Negotiating => {}
            Place::Ready | Place::Parked(_) | Place::Lost => {
                entry.generation = generation;
                entry.proposal = proposal.id.clone();
                entry.matched_at = fx.now;
                if place == Place::Lost {
                    self.pool.put(number, Place::Ready);
                }
            }
        }
    }

    /// What is known of an offer's provider may have changed; says whether that changes its rank.
    fn rank_again(&mut self, fx: &Effects, number: OfferNo) -> bool {
        let Some(entry) = self.pool.get(number) else { return false };
        let (before, rank) = (entry.rank, self.rank(fx, &entry.offer));
        self.pool.rank(number, rank);
        before != rank
    }

    fn purpose(&self, call: MarketCall) -> Purpose {
        Purpose::Market(self.id, call)
    }

    fn timer(&self, timer: MarketTimer) -> TimerKey {
        TimerKey::Market(self.id, timer)
    }

    fn wake(&self, fx: &mut Effects, timer: MarketTimer, at: Timestamp) {
        fx.wake(self.timer(timer), at);
    }
}
