//! Why nodes wait: found anew after each change, for nodes that have waited for some time.
//!
//! Reasons are a picture of the moment, and not durable: a process that begins again finds them again.
//! Only what a node was given up for is written down. There is one sentence for each reason, and `sentence`
//! makes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

mod sentence;

use super::{
    Cluster, ClusterTimer,
    account::{Progress, Terms},
    plan::NodeKind,
    shop::Shop,
    signing::Promised,
    state::{ClusterState, Network, Node, NodeState},
};
use crate::{
    core::{
        effects::Effects,
        ids::{AgreementNo, NodeId},
        market::census::Census,
        output::Notice,
        planted::Bug,
    },
    units::{Glm, Span, Timestamp},
    yagna::words::plain,
};

/// A node that has waited for so long says why.
pub const TOLD_AFTER: Span = Span::secs(20);
/// The market is looked at some seconds before, so that there is something to say.
const LOOKED_AFTER: Span = Span::secs(15);
/// Reasons are not found again sooner than this.
const FOUND_EVERY: Span = Span::secs(2);
/// What daemons and providers said is cut to this.
const SAID_LENGTH_MAX: usize = 300;

/// The nodes of a cluster that wait.
#[derive(Debug, Default)]
pub struct Waits {
    since: BTreeMap<NodeId, Timestamp>,
    told: BTreeMap<NodeId, Waiting>,
    found_at: Option<Timestamp>,
    /// Which kinds of reasons were told in words, by the shape of the nodes, while some of it come up.
    announced: BTreeSet<(usize, &'static str)>,
    revision: u64,
}

/// A node that has waited for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Since when it has no agreement that a provider has approved.
    pub since: Timestamp,
    /// Why.
    pub why: Arc<Why>,
}

/// Why a node has no agreement: the first thing that stands in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing is set aside to pay from.
    Wallet {
        /// What the daemon said.
        said: Option<String>,
    },
    /// The private network is lost, and has nodes.
    NetworkLost {
        /// How many agreements are in it.
        members: usize,
    },
    /// The private network is not made yet.
    NoNetwork {
        /// What the daemon said.
        said: Option<String>,
    },
    /// The demand is not published.
    NoDemand {
        /// What the daemon said.
        said: String,
    },
    /// Agreements cannot be made.
    NoAgreement {
        /// What the daemon said.
        said: String,
    },
    /// Ray did not start on the last workers.
    Ray {
        /// On how many of them in a row.
        failures: u32,
        /// How long after the last of them the next worker is hired; none if Ray must start on a node first.
        pause: Option<Span>,
    },
    /// There is no money for it.
    Money(Shortage),
    /// A provider is asked to approve.
    Approval {
        /// The provider's name for itself.
        provider: Option<String>,
        /// What came of earlier ones.
        before: Attempts,
    },
    /// No offer on the market meets what is asked for.
    NoOffer(Arc<Census>),
    /// No provider has come to terms.
    NoProvider(Box<Supplies>),
}

/// What is missing of the money for an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The budget is nearly spent or promised.
    Closed {
        /// What is left.
        left: Glm,
        /// Of how much.
        budget: Glm,
    },
    /// The budget has no room.
    Budget {
        /// What the agreement sets aside.
        needed: Glm,
        /// What is left.
        left: Glm,
    },
    /// The limit of GLM per hour has no room.
    Rate {
        /// What the node costs in an hour.
        needed: Glm,
        /// What is left of the limit.
        left: Glm,
        /// The limit.
        limit: Glm,
    },
}

/// What an agreement costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// What is set aside before it is signed.
    pub(super) reserve: Glm,
    /// The most that it costs in an hour.
    pub(super) per_hour: Glm,
}

/// What came of the providers that were asked for a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Providers that did not approve.
    pub refused: u64,
    /// Providers that approved, and did not bring the node up.
    pub failed: u64,
}

/// How the search for a provider goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supplies {
    /// What is on the market, if the daemon can show it.
    pub census: Option<Arc<Census>>,
    /// Whether the daemon is too old to show it.
    pub is_blind: bool,
    /// Distinct offers that the demand was matched with.
    pub matched: u64,
    /// How many of those the filters of the cluster file left.
    pub usable: u64,
    /// Providers that already run a node of this cluster, or are asked for one.
    pub taken: u64,
    /// Providers that are left alone for a while, since they failed.
    pub resting: u64,
    /// Negotiations under way.
    pub talks: usize,
    /// Negotiations that came to terms.
    pub agreed: u64,
    /// Negotiations that failed, by reason.
    pub failures: BTreeMap<String, u64>,
    /// What came of the providers that were asked for this node.
    pub attempts: Attempts,
}

impl Waits {
    /// The nodes that have waited for some time, and why.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Waiting)> {
        self.told.iter().map(|(id, waiting)| (*id, waiting))
    }

    /// Why a node waits, if it has waited for some time.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Waiting> {
        self.told.get(&node)
    }

    /// A number that changes whenever something else is to be told.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }
}

impl Why {
    /// The kind of reason, for programs; it never changes.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Wallet { .. } => "wallet",
            Self::NetworkLost { .. } => "network-lost",
            Self::NoNetwork { .. } => "no-network",
            Self::NoDemand { .. } => "no-demand",
            Self::NoAgreement { .. } => "no-agreement",
            Self::Ray { .. } => "ray-fails",
            Self::Money(Shortage::Closed { .. } | Shortage::Budget { .. }) => "budget",
            Self::Money(Shortage::Rate { .. }) => "rate",
            Self::Approval { .. } => "approval",
            Self::NoOffer(_) => "no-offer",
            Self::NoProvider(_) => "no-provider",
        }
    }

    /// What is on the market, where that was looked at.
    #[must_use]
    pub fn census(&self) -> Option<&Census> {
        match self {
            Self::NoOffer(census) => Some(census),
            Self::NoProvider(supplies) => supplies.census.as_deref(),
            Self::Wallet { .. }
            | Self::NetworkLost { .. }
            | Self::NoNetwork { .. }
            | Self::NoDemand { .. }
            | Self::NoAgreement { .. }
            | Self::Ray { .. }
            | Self::Money(_)
            | Self::Approval { .. } => None,
        }
    }
}

impl Cost {
    /// What an agreement on these terms costs.
    pub(super) fn of(terms: &Terms) -> Self {
        Self { reserve: terms.first_reserve(), per_hour: terms.rate_per_hour() }
    }
}

impl Cluster {
    /// The nodes that have waited for some time, and why.
    pub(in crate::core) const fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Finds out why nodes wait, for all that have waited for some time.
    pub(super) fn tend_waits(&mut self, fx: &mut Effects) {
        self.note_who_waits(fx);
        let Some(first) = self.waits.since.values().min().copied() else {
            self.rest(fx, ClusterTimer::Waiting);
            self.tell_waits(BTreeMap::new());
            return;
        };
        let found_at = self.waits.found_at.unwrap_or(Timestamp::EPOCH);
        let due = first.plus(LOOKED_AFTER).max(found_at.plus(FOUND_EVERY));
        if fx.now < due {
            self.forget_who_waits_no_more();
            self.wake(fx, ClusterTimer::Waiting, due);
            return;
        }
        self.waits.found_at = Some(fx.now);
        let starts = self.waits.since.values();
        let next = starts.flat_map(|since| [since.plus(LOOKED_AFTER), since.plus(TOLD_AFTER)]);
        match next.filter(|at| *at > fx.now).min() {
            Some(at) => self.wake(fx, ClusterTimer::Waiting, at),
            None => self.rest(fx, ClusterTimer::Waiting),
        }
        self.find_reasons(fx);
    }

    /// A node that does not wait any more says nothing any more, at once.
    fn forget_who_waits_no_more(&mut self) {
        let Waits { since, told, .. } = &self.waits;
        let left = told.iter().filter(|(id, waiting)| since.get(id) == Some(&waiting.since));
        let left = left.map(|(id, waiting)| (*id, waiting.clone())).collect();
        self.tell_waits(left);
    }

    fn find_reasons(&mut self, fx: &mut Effects) {
        if fx.planted(Bug::WaitingUntold) {
            return;
        }
        let state = fx.cluster(self.id);
        let long = |since: &&Timestamp| fx.now.since(**since) >= LOOKED_AFTER;
        let waiting = self.waits.since.iter().filter(|(_, since)| long(since));
        let mut known: BTreeMap<NodeId, Waiting> = BTreeMap::new();
        let mut alike: BTreeMap<(usize, bool), Arc<Why>> = BTreeMap::new();
        for (id, since) in waiting {
            let Some(node) = state.nodes.get(id) else { continue };
            // Many nodes wait for the same.
            let is_plain = self.waiting.contains(id) && node.log.len() == 1;
            let waits_for_priority = self.waits_for_priority(fx, *id);
            let key = (node.shape, waits_for_priority);
            let why = match alike.get(&key).filter(|_| is_plain) {
                Some(why) => Arc::clone(why),
                None => Arc::new(self.why(fx, *id, node)),
            };
            if is_plain {
                alike.insert(key, Arc::clone(&why));
            }
            known.insert(*id, Waiting { since: *since, why });
        }
        self.look_around(fx, &known);
        known.retain(|_, waiting| fx.now.since(waiting.since) >= TOLD_AFTER);
        self.announce(fx, &known);
        self.tell_waits(known);
    }

    /// Why a node has no agreement that a provider has approved.
    pub(super) fn why(&self, fx: &Effects, id: NodeId, node: &Node) -> Why {
        let state = fx.cluster(self.id);
        if !self.keeper.is_ready() {
            return Why::Wallet { said: self.keeper.trouble().map(brief) };
        }
        if matches!(state.network, Network::Lost { .. }) {
            let members = state.accounts.values().filter(|account| account.over.is_none());
            return Why::NetworkLost { members: members.count() };
        }
        if self.nodes_in_signing(state).any(|it| it == id) {
            let before = attempts(state, id);
            return Why::Approval { provider: self.asked_for(state, id, node), before };
        }
        if let Some(until) = self.no_worker_until(fx).filter(|_| node.kind == NodeKind::Worker) {
            let pause = (until < Timestamp::NEVER).then(|| until.since(self.ray_failed));
            return Why::Ray { failures: state.ray_failures, pause };
        }
        if self.network(fx).is_none() {
            return Why::NoNetwork { said: self.net.trouble.as_deref().map(brief) };
        }
        if let Some(shortage) = Promised::of(state).shortage(self.refused) {
            return Why::Money(shortage);
        }
        if let Some(said) = self.sign_trouble.as_deref().filter(|_| self.sign_after > fx.now) {
            return Why::NoAgreement { said: brief(said) };
        }
        let Some(shop) = self.shop_for(fx, id, node) else {
            return Why::NoProvider(Box::new(Supplies::none(attempts(state, id))));
        };
        if let Some(said) = shop.market.trouble() {
            return Why::NoDemand { said: brief(said) };
        }
        let supplies = supplies(fx, shop, attempts(state, id));
        match &supplies.census {
            Some(census) if census.fit == 0 && supplies.usable == 0 => {
                Why::NoOffer(Arc::clone(census))
            }
            Some(_) | None => Why::NoProvider(Box::new(supplies)),
        }
    }

    /// The market that decides about a node: the one that everybody sells on, unless only recommended
    /// providers are asked yet.
    fn shop_for(&self, fx: &Effects, id: NodeId, node: &Node) -> Option<&Shop> {
        let of_shape = self.shops.values().filter(|shop| shop.shape == node.shape);
        let open = of_shape.filter(|shop| self.may_buy(fx, id, shop));
        open.max_by_key(|shop| !shop.is_priority)
    }

    /// The provider that is asked to approve.
    fn asked_for(&self, state: &ClusterState, id: NodeId, node: &Node) -> Option<String> {
        let of = |number: AgreementNo| Some(state.account(number)?.terms.name.clone());
        let made = self.signings.values().find(|work| work.node == id);
        node.agreement.and_then(of).or_else(|| made.map(|work| work.provider_name().to_owned()))
    }

    /// Keeps since when each node waits.
    fn note_who_waits(&mut self, fx: &Effects) {
        let state = fx.cluster(self.id);
        let seekers: BTreeSet<NodeId> = match state.ending {
            Some(_) => BTreeSet::new(),
            None => self.waiting.iter().copied().chain(self.nodes_in_signing(state)).collect(),
        };
        let is_pending =
            |id: &NodeId| state.nodes.get(id).is_some_and(|node| node.state == NodeState::Pending);
        let comes_up = |shape: usize| {
            let mut nodes = state.nodes.values();
            nodes.any(|node| node.state == NodeState::Pending && node.shape == shape)
        };
        self.waits.announced.retain(|(shape, _)| comes_up(*shape));
        self.waits.since.retain(|id, _| seekers.contains(id) && is_pending(id));
        for id in seekers.into_iter().filter(is_pending) {
            self.waits.since.entry(id).or_insert(fx.now);
        }
    }

    /// Looks at the whole market for those that find no provider.
    fn look_around(&mut self, fx: &mut Effects, known: &BTreeMap<NodeId, Waiting>) {
        let state = fx.cluster(self.id);
        let seeking = known.iter().filter(|(_, waiting)| {
            matches!(waiting.why.as_ref(), Why::NoOffer(_) | Why::NoProvider(_))
        });
        let nodes = seeking.filter_map(|(id, _)| state.nodes.get(id));
        let shapes: BTreeSet<usize> = nodes.map(|node| node.shape).collect();
        for shop in self.shops.values_mut().filter(|shop| shapes.contains(&shop.shape)) {
            shop.market.look_around(fx);
        }
    }

    /// Tells each kind of reason once, in words.
    fn announce(&mut self, fx: &mut Effects, known: &BTreeMap<NodeId, Waiting>) {
        let state = fx.cluster(self.id);
        let name = state.name.clone();
        let mut news: BTreeMap<(usize, &'static str), (usize, Arc<Why>)> = BTreeMap::new();
        for (id, waiting) in known {
            let Some(node) = state.nodes.get(id) else { continue };
            // All other providers are asked in a moment.
            if self.waits_for_priority(fx, *id) {
                continue;
            }
            // That is what waiting is for, and the first look at the market is on its way.
            let is_plain = match waiting.why.as_ref() {
                Why::Approval { .. } => true,
                Why::NoProvider(supplies) => supplies.census.is_none() && !supplies.is_blind,
                Why::Wallet { .. }
                | Why::NetworkLost { .. }
                | Why::NoNetwork { .. }
                | Why::NoDemand { .. }
                | Why::NoAgreement { .. }
                | Why::Ray { .. }
                | Why::Money(_)
                | Why::NoOffer(_) => false,
            };
            let key = (node.shape, waiting.why.kind());
            if !is_plain && !self.waits.announced.contains(&key) {
                news.entry(key).or_insert_with(|| (0, Arc::clone(&waiting.why))).0 += 1;
            }
        }
        for (key, (nodes, why)) in news {
            self.waits.announced.insert(key);
            fx.notify(Notice::Waiting { cluster: name.clone(), nodes, why: why.to_string() });
        }
    }

    fn tell_waits(&mut self, told: BTreeMap<NodeId, Waiting>) {
        if self.waits.told != told {
            self.waits.told = told;
            self.waits.revision = self.waits.revision.wrapping_add(1);
        }
    }
}

impl Supplies {
    const fn none(attempts: Attempts) -> Self {
        Self {
            census: None,
            is_blind: false,
            matched: 0,
            usable: 0,
            taken: 0,
            resting: 0,
            talks: 0,
            agreed: 0,
            failures: BTreeMap::new(),
            attempts,
        }
    }
}

/// How the search for a provider goes on a market.
fn supplies(fx: &Effects, shop: &Shop, attempts: Attempts) -> Supplies {
    let market = &shop.market;
    let funnel = market.progress();
    let unusable: u64 = funnel.unusable.values().sum();
    let usable = funnel.within_limit.last().copied();
    let usable = usable.unwrap_or_else(|| funnel.not_blacklisted.saturating_sub(unusable));
    let census = market.census().cloned().map(Arc::new);
    let fitting = census.iter().flat_map(|census| &census.fitting);
    let (taken, resting) = market.out_of_reach(fx, fitting);
    Supplies {
        is_blind: market.is_blind(),
        matched: funnel.initial,
        usable,
        taken,
        resting,
        talks: market.talks(),
        agreed: funnel.agreed,
        failures: funnel.failures.clone(),
        attempts,
        census,
    }
}

/// What came of the providers that were asked for a node before.
fn attempts(state: &ClusterState, id: NodeId) -> Attempts {
    let of_node = state.all_accounts().map(|(_, account)| account);
    let ended = of_node.filter(|account| account.node == id && account.closing.is_some());
    ended.fold(Attempts::default(), |sum, account| match account.progress {
        Progress::Signing => Attempts { refused: sum.refused.saturating_add(1), ..sum },
        Progress::Approved
        | Progress::CreatingActivity
        | Progress::HasActivity
        | Progress::SendingBatch
        | Progress::RunningBatch
        | Progress::Bootstrapped
        | Progress::Running => Attempts { failed: sum.failed.saturating_add(1), ..sum },
    })
}

/// What a daemon or a provider said, short enough for one sentence.
fn brief(said: &str) -> String {
    plain(said, SAID_LENGTH_MAX)
}
