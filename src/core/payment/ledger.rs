//! What a cluster has spent, what it has promised, and what it may still promise (M1, M3).
//!
//! Money is promised before it can be asked for: an agreement is signed only when its reserve fits
//! the budget, and it goes on only while its reserve is ahead of what it can have cost. A bill is
//! paid up to what the agreed prices and our own clock allow, and never above the reserve.
#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)]

use std::collections::BTreeMap;

use crate::{
    core::{
        cluster::{
            account::{Account, Terms},
            state::{ClusterState, Funds, NodeState},
        },
        ids::NodeId,
        market::spec::Gib,
    },
    units::{Glm, Span, Timestamp},
    yagna::ProviderId,
};

/// What is set aside for an agreement covers so much of the time to come.
pub const WINDOW: Span = Span::mins(10);
/// So long before a reserve is used up it is extended, or the agreement ends: ending takes time.
pub const LEAD: Span = Span::mins(4);
/// Clocks and the rounding of providers differ by so much.
const TOLERANCE: Span = Span::secs(5);
const TOLERANCE_ATTO: Glm = Glm::from_atto(100);

/// The state of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is enough.
    Ample,
    /// Four fifths are spent or promised: the user is warned.
    Warned,
    /// Nearly everything is spent or promised: no new nodes.
    Closed,
}

/// What a cluster has spent and promised, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// The most to spend.
    pub budget: Glm,
    /// What was accepted.
    pub spent: Glm,
    /// What is set aside for agreements, and not accepted yet.
    pub reserved: Glm,
    /// What all agreements together cost in an hour, when all their CPUs are busy.
    pub rate_per_hour: Glm,
    /// When the budget is spent if nothing changes; none if nothing costs.
    pub lasts_until: Option<Timestamp>,
    /// What was accepted, for each node that cost something.
    pub by_node: BTreeMap<NodeId, Glm>,
    /// What was accepted, for each provider that was hired.
    pub by_provider: BTreeMap<ProviderId, Glm>,
    /// How many bills were not paid.
    pub disputed: u64,
}

impl Terms {
    /// The most that a node of these terms can cost in so long, start included; rounded up.
    #[must_use]
    pub fn cost(&self, elapsed: Span) -> Glm {
        let running = self.per_second().scaled_up(elapsed.as_micros(), 1_000_000);
        self.price.start.plus(running.unwrap_or(Glm::MAX))
    }

    /// The most that a node of these terms can cost in an hour, start excluded.
    #[must_use]
    pub fn rate_per_hour(&self) -> Glm {
        self.per_second().times(3_600)
    }

    /// What is set aside before the agreement is signed.
    #[must_use]
    pub fn first_reserve(&self) -> Glm {
        self.cost(WINDOW)
    }

    fn per_second(&self) -> Glm {
        let of = |price: Glm, amount: Gib| {
            price.scaled_up(amount.as_millionths(), 1_000_000).unwrap_or(Glm::MAX)
        };
        self.price
            .cpu_second
            .times(u64::from(self.threads))
            .plus(self.price.env_second)
            .plus(of(self.price.storage_gib_second, self.storage))
            .plus(of(self.price.mem_gib_second, self.mem))
    }
}

impl Account {
    /// The most that may be paid for it at `now`: by the agreed prices and our own clock, and never
    /// more than what is set aside.
    #[must_use]
    pub fn cap(&self, now: Timestamp) -> Glm {
        let Some(since) = self.costs_since else { return Glm::ZERO };
        let until = self.over.unwrap_or(now).min(now);
        let elapsed = until.since(since).plus(TOLERANCE);
        self.terms.cost(elapsed).plus(TOLERANCE_ATTO).min(self.reserve)
    }

    /// What the budget holds for it.
    #[must_use]
    pub fn held(&self) -> Glm {
        self.reserve.max(self.accepted)
    }

    /// When its reserve must be extended, or it must end.
    #[must_use]
    pub fn reserve_lasts_until(&self) -> Timestamp {
        let since = self.costs_since.unwrap_or(self.signed);
        let per_second = self.terms.per_second().as_atto();
        let running = self.reserve.minus(self.terms.price.start).as_atto();
        match running.saturating_mul(1_000_000).checked_div(per_second) {
            Some(micros) => {
                let lasts = Span::micros(u64::try_from(micros).unwrap_or(u64::MAX));
                since.plus(lasts).minus(LEAD)
            }
            None => Timestamp::NEVER,
        }
    }

    /// What is set aside after the next extension at `now`.
    #[must_use]
    pub fn next_reserve(&self, now: Timestamp) -> Glm {
        let since = self.costs_since.unwrap_or(self.signed);
        self.terms.cost(now.since(since).plus(WINDOW)).max(self.reserve)
    }
}

/// Everything that is spent or promised.
#[must_use]
pub fn committed(state: &ClusterState) -> Glm {
    let open = state.accounts.values().map(Account::held);
    open.fold(state.closed_spent, Glm::plus)
}

/// The most that may be promised: the budget, as far as the daemon has set it aside. A budget that
/// was raised counts once the wallet has given it.
#[must_use]
pub fn limit(state: &ClusterState) -> Glm {
    match &state.funds {
        Funds::Set { total, base, .. } => base.plus(*total).min(state.budget),
        Funds::None | Funds::Intended { .. } => state.budget,
    }
}

/// Everything that was accepted.
#[must_use]
pub fn spent(state: &ClusterState) -> Glm {
    let open = state.accounts.values().map(|account| account.accepted);
    open.fold(state.closed_spent, Glm::plus)
}

/// What all agreements that are not over cost in an hour.
#[must_use]
pub fn rate_per_hour(state: &ClusterState) -> Glm {
    let live = state.accounts.values().filter(|account| account.over.is_none());
    live.map(|account| account.terms.rate_per_hour()).fold(Glm::ZERO, Glm::plus)
}

/// How far a budget is used up when so much of it is spent or promised.
#[must_use]
pub fn level(committed: Glm, budget: Glm) -> Level {
    let share = |percent| budget.scaled_up(percent, 100).unwrap_or(Glm::MAX);
    if committed >= share(95) {
        Level::Closed
    } else if committed >= share(80) {
        Level::Warned
    } else {
        Level::Ample
    }
}

/// The ledger of a cluster.
#[must_use]
pub fn ledger(state: &ClusterState, now: Timestamp) -> Ledger {
    let mut by_node: BTreeMap<NodeId, Glm> = BTreeMap::new();
    let mut by_provider: BTreeMap<ProviderId, Glm> = BTreeMap::new();
    let mut spent = Glm::ZERO;
    for (_, account) in state.all_accounts() {
        spent = spent.plus(account.accepted);
        let node = by_node.entry(account.node).or_insert(Glm::ZERO);
        *node = node.plus(account.accepted);
        let provider = by_provider.entry(account.terms.provider.clone()).or_insert(Glm::ZERO);
        *provider = provider.plus(account.accepted);
    }
    let committed = committed(state);
    let rate = rate_per_hour(state);
    let left = state.budget.minus(committed).as_atto();
    let lasts = left.saturating_mul(3_600_000_000).checked_div(rate.as_atto());
    Ledger {
        budget: state.budget,
        spent,
        reserved: committed.minus(spent),
        rate_per_hour: rate,
        lasts_until: lasts
            .map(|micros| now.plus(Span::micros(u64::try_from(micros).unwrap_or(u64::MAX)))),
        by_node,
        by_provider,
        disputed: state.disputed,
    }
}

/// Whether some node of the cluster still exists, or is to.
#[must_use]
pub fn has_live_nodes(state: &ClusterState) -> bool {
    state.nodes.values().any(|node| node.state < NodeState::Terminated)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{LEAD, Level, WINDOW, level};
    use crate::{
        core::{
            cluster::account::{Account, Progress, Terms},
            ids::NodeId,
            market::{price::Price, spec::Gib},
        },
        units::{Glm, Span, Timestamp},
        yagna::{AgreementId, ProviderId},
    };

    const START: Timestamp = Timestamp::from_unix_micros(1_000_000_000_000);

    fn terms() -> Terms {
        Terms {
            provider: ProviderId::from("0x1"),
            name: "one".to_owned(),
            payee: "0x1".to_owned(),
            price: Price {
                start: Glm::from_atto(500),
                cpu_second: Glm::from_atto(10),
                env_second: Glm::from_atto(3),
                ..Price::default()
            },
            threads: 4,
            mem: Gib::ZERO,
            storage: Gib::ZERO,
            payment_timeout: 43_200,
        }
    }

    fn account() -> Account {
        Account {
            agreement: AgreementId::from("a"),
            node: NodeId(0),
            reserve: terms().first_reserve(),
            terms: terms(),
            ip: Ipv4Addr::new(192, 168, 0, 3),
            signed: START,
            valid_to: START,
            progress: Progress::Running,
            costs_since: Some(START),
            activity: None,
            batch: None,
            closing: None,
            over: None,
            accepted: Glm::ZERO,
            invoice: None,
            is_disputed: false,
        }
    }

    #[test]
    fn a_cost_is_the_start_price_and_the_full_load_rounded_up() {
        assert_eq!(terms().cost(Span::ZERO), Glm::from_atto(500));
        assert_eq!(terms().cost(Span::secs(2)), Glm::from_atto(500 + 86));
        assert_eq!(terms().cost(Span::micros(1)), Glm::from_atto(501));
        assert_eq!(terms().rate_per_hour(), Glm::from_atto(43 * 3_600));
    }

    #[test]
    fn a_cap_follows_the_clock_until_the_end_and_never_passes_the_reserve() {
        let running = account();
        let over = Account { over: Some(START.plus(Span::secs(10))), ..account() };
        let later = START.plus(Span::hours(5));

        assert_eq!(Account { costs_since: None, ..account() }.cap(later), Glm::ZERO);
        assert_eq!(running.cap(START), Glm::from_atto(500 + 5 * 43 + 100));
        assert_eq!(over.cap(later), Glm::from_atto(500 + 15 * 43 + 100));
        assert_eq!(running.cap(later), running.reserve);
    }

    #[test]
    fn a_reserve_is_extended_before_it_is_used_up() {
        let account = account();
        let due = account.reserve_lasts_until();

        assert_eq!(due, START.plus(WINDOW).minus(LEAD));
        assert_eq!(account.next_reserve(due), terms().cost(due.since(START).plus(WINDOW)));
        let free = Terms { price: Price::default(), ..terms() };
        assert_eq!(
            Account { terms: free, ..account }.reserve_lasts_until(),
            Timestamp::NEVER,
            "what costs nothing lasts for ever"
        );
    }

    #[test]
    fn a_budget_warns_at_four_fifths_and_closes_at_nineteen_twentieths() {
        let budget = Glm::from_atto(100);
        let at = |committed| level(Glm::from_atto(committed), budget);

        assert_eq!(
            [79, 80, 94, 95, 200].map(at),
            [Level::Ample, Level::Warned, Level::Warned, Level::Closed, Level::Closed]
        );
    }
}
