//! What can be looked at without asking: no input, no record.

use super::{
    Machine,
    cluster::{Cluster, waiting::Waits},
    ids::ClusterId,
    payment::ledger::{self, Ledger},
    record::Durable,
    survey::{Survey, SurveyProgress},
};
use crate::units::Timestamp;

/// A look at the machine.
#[derive(Clone, Copy)]
pub struct View<'a>(pub(super) &'a Machine);

/// How much of each bounded thing there is (B1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Calls whose reply is awaited.
    pub calls: usize,
    /// Looks at nodes that are under way.
    pub probes: usize,
    /// Armed timers.
    pub timers: usize,
    /// Offers remembered, in the fullest market.
    pub offers: usize,
    /// Negotiations, in the busiest market.
    pub negotiations: usize,
    /// Things that are being ended.
    pub unwanted: usize,
}

impl<'a> View<'a> {
    /// The durable state.
    #[must_use]
    pub fn durable(self) -> &'a Durable {
        self.0.fx.durable()
    }

    /// What a cluster has spent and promised at `now`.
    #[must_use]
    pub fn ledger(self, cluster: ClusterId, now: Timestamp) -> Option<Ledger> {
        self.durable().cluster(cluster).map(|state| ledger::ledger(state, now))
    }

    /// The nodes of a cluster that have waited for long, and why each of them does.
    #[must_use]
    pub fn waits(self, cluster: ClusterId) -> Option<&'a Waits> {
        self.0.clusters.get(&cluster).map(Cluster::waits)
    }

    /// Since when a head runs and the cluster is not used.
    #[must_use]
    pub fn idle_since(self, cluster: ClusterId) -> Option<Timestamp> {
        self.0.clusters.get(&cluster).and_then(Cluster::idle_since)
    }

    /// When the cluster ends by itself, as far as is known now.
    #[must_use]
    pub fn ends_by_itself_at(self, cluster: ClusterId) -> Option<Timestamp> {
        self.0.clusters.get(&cluster).and_then(|it| it.ends_by_itself_at(&self.0.fx))
    }

    /// Whether requests for nodes are refused.
    #[must_use]
    pub const fn is_shutting_down(self) -> bool {
        self.0.is_shutting_down
    }

    /// How far the running survey is.
    #[must_use]
    pub fn survey(self) -> Option<SurveyProgress> {
        self.0.survey.as_ref().map(Survey::progress)
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_idle(self) -> bool {
        self.0.survey.is_none() && self.0.clusters.is_empty() && self.0.sweeper.is_done()
    }

    /// Whether a shutdown is over: nothing is left to do, or it has taken too long for what is left.
    #[must_use]
    pub fn has_shut_down(self) -> bool {
        self.0.is_shutting_down && (self.is_idle() || self.0.has_given_up)
    }

    /// How much of each bounded thing there is.
    #[must_use]
    pub fn load(self) -> Load {
        let markets = self.0.survey.iter().flat_map(|survey| survey.markets.values());
        let (offers, negotiations) = markets.fold((0, 0), |(offers, negotiations), market| {
            (offers.max(market.pool_size()), negotiations.max(market.negotiations()))
        });
        let clusters = self.0.clusters.values().map(Cluster::market_load);
        let (offers, negotiations) = clusters
            .fold((offers, negotiations), |(offers, negotiations), load| {
                (offers.max(load.0), negotiations.max(load.1))
            });
        Load {
            probes: self.0.fx.probes_in_flight(),
            calls: self.0.fx.calls_in_flight(),
            timers: self.0.fx.timers.len(),
            offers,
            negotiations,
            unwanted: self.0.sweeper.len(),
        }
    }
}
