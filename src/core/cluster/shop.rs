//! The markets of a cluster: one for each shape of nodes and subnet, open while a node waits (K2).

use std::sync::Arc;

use super::{Cluster, ClusterTimer, plan::NodeKind, state::Node};
use crate::{
    core::{
        effects::Effects,
        ids::{MarketId, NodeId},
        market::{Goal, Market, MarketPlan},
        planted::Bug,
        sweep::Sweeper,
    },
    units::Span,
};

/// Negotiations side by side.
const PARALLEL: usize = 64;
/// Offers remembered.
const POOL_CAPACITY: usize = 20_000;
/// A market that closes tells its providers for so long, and is then withdrawn.
const CLOSING_TIME: Span = Span::secs(10);

/// One open market.
pub(super) struct Shop {
    pub(super) market: Market,
    /// The shape that is looked for.
    pub(super) shape: usize,
    /// Whether it is the subnet of recommended providers.
    pub(super) is_priority: bool,
    /// Whether nobody waits for it any more.
    is_closing: bool,
    is_overdue: bool,
}

impl Cluster {
    /// Opens the markets that somebody waits for, and closes those that nobody waits for.
    pub(super) fn tend_shops(&mut self, fx: &mut Effects, sweeper: &mut Sweeper) {
        let state = fx.cluster(self.id);
        let wanted: Vec<usize> = {
            let mut wanted = vec![0; state.shapes.len()];
            // What is being signed still needs its demand.
            let seekers = self.waiting.iter().copied().chain(self.nodes_in_signing(state));
            let seekers = seekers.filter(|id| self.may_hire(fx, *id));
            for node in seekers.filter_map(|id| state.nodes.get(&id)) {
                wanted[node.shape] += 1;
            }
            wanted
        };
        self.close_shops(fx, &wanted, sweeper);
        if self.keeper.decorations().is_none() || fx.cluster(self.id).ending.is_some() {
            return;
        }
        for (shape, wanted) in wanted.iter().enumerate() {
            let is_deaf = fx.planted(Bug::ShopNeverReopens) && self.has_closed_shop;
            if *wanted > 0
                && !is_deaf
                && !self.shops.values().any(|it| it.shape == shape && !it.is_closing)
            {
                self.open_shops(fx, shape);
            }
        }
        let wanted = self.drafts_wanted(fx);
        for shop in self.shops.values_mut().filter(|shop| !shop.is_closing) {
            shop.market.want(fx, wanted[shop.shape]);
        }
    }

    /// The node may be given an agreement from this market.
    pub(super) fn may_buy(&self, fx: &Effects, node: NodeId, shop: &Shop) -> bool {
        let state = fx.cluster(self.id);
        let Some(node_state) = state.nodes.get(&node) else { return false };
        if node_state.shape != shop.shape || shop.is_closing {
            return false;
        }
        shop.is_priority || !self.waits_for_priority(fx, node)
    }

    /// Whether only recommended providers are asked for a node yet.
    pub(super) fn waits_for_priority(&self, fx: &Effects, node: NodeId) -> bool {
        let is_head = |node: &Node| node.kind == NodeKind::Head;
        fx.cluster(self.id).nodes.get(&node).is_some_and(is_head)
            && fx.timers.due(&self.timer(ClusterTimer::Priority(node))).is_some()
    }

    pub(super) fn shop_overdue(&mut self, market: MarketId) {
        if let Some(shop) = self.shops.get_mut(&market) {
            shop.is_overdue = true;
            self.is_dirty = true;
        }
    }

    fn open_shops(&mut self, fx: &mut Effects, shape: usize) {
        let state = fx.cluster(self.id);
        let Some(decorations) = self.keeper.decorations().cloned() else { return };
        let (spec, image) = (state.shapes[shape].spec.clone(), state.shapes[shape].image.clone());
        let platform = state.plan.platform.clone();
        let engaged: Vec<_> = state
            .accounts
            .values()
            .filter(|account| account.over.is_none())
            .map(|account| account.terms.provider.clone())
            .chain(self.providers_in_signing().cloned())
            .collect();
        let spec = Arc::new(spec);
        let subnets = [
            (spec.priority_subnet_tag.clone(), true),
            (Some(spec.subnet_tag.clone()), spec.priority_subnet_tag.is_none()),
        ];
        for (subnet_tag, is_priority) in subnets {
            let Some(subnet_tag) = subnet_tag else { continue };
            let id = fx.fresh_market();
            let plan = MarketPlan {
                goal: Goal::Hire,
                spec: Arc::clone(&spec),
                subnet_tag,
                image: image.clone(),
                platform: platform.clone(),
                decorations: decorations.clone(),
                reputation: Arc::clone(&self.reputation),
                parallel: PARALLEL,
                pool_capacity: POOL_CAPACITY,
                explains: false,
            };
            let mut market = Market::open(fx, id, plan);
            for provider in &engaged {
                market.engage(fx, provider);
            }
            let shop = Shop { market, shape, is_priority, is_closing: false, is_overdue: false };
            self.shops.insert(id, shop);
        }
    }

    fn close_shops(&mut self, fx: &mut Effects, wanted: &[usize], sweeper: &mut Sweeper) {
        let ids: Vec<MarketId> = self.shops.keys().copied().collect();
        for id in ids {
            let timer = self.timer(ClusterTimer::Shop(id));
            let Some(shop) = self.shops.get_mut(&id) else { continue };
            let is_wanted = wanted.get(shop.shape).is_some_and(|wanted| *wanted > 0);
            if !is_wanted && !shop.is_closing && !fx.planted(Bug::ShopLeftOpen) {
                shop.is_closing = true;
                shop.market.close(fx);
                fx.wake(timer, fx.now.plus(CLOSING_TIME));
            }
            if shop.is_closing && (shop.is_overdue || shop.market.is_settled()) {
                shop.market.withdraw(fx, sweeper);
                shop.market.rest(fx);
                fx.timers.cancel(&timer);
                self.shops.remove(&id);
                self.has_closed_shop = true;
            }
        }
    }
}
