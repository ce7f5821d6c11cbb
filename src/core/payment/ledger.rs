//! What a cluster has spent, what it has promised, and what it may still promise (M1, M3).
//!
//! Money is promised before it can be asked for: an agreement is signed only when its reserve fits
//! the budget, and it goes on only while its reserve is ahead of what it can have cost. A bill is
//! paid up to what the agreed prices and our own clock allow, and never above the reserve.
//!
//! Bills come minutes after what they are for. What is due until then is told by our own clock ([`Due`]).
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
    /// What is due at most, what was accepted included.
    pub due: Due,
    /// What is set aside for agreements, and not accepted yet.
    pub reserved: Glm,
    /// What all agreements together cost in an hour, when all their CPUs are busy.
    pub rate_per_hour: Glm,
    /// When the budget is spent if nothing changes; none if nothing costs.
    pub lasts_until: Option<Timestamp>,
    /// The same for each node that had an agreement.
    pub by_node: BTreeMap<NodeId, Share>,
    /// The same for each provider that was asked.
    pub by_provider: BTreeMap<ProviderId, Share>,
    /// How many bills were not paid.
    pub disputed: u64,
}

/// What a node or a provider costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// What was accepted.
    pub spent: Glm,
    /// What is due at most, what was accepted included.
    pub due: Due,
}

/// What agreements cost by agreed prices and our own clock, at any time from when this was made. What runs goes on to
/// cost something while nothing else happens, so a reader asks with the time of reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// What is due of agreements that cost nothing more.
    settled: Glm,
    /// What they can have cost when all their CPUs were busy, whatever was billed.
    accrued: Glm,
    /// Agreements that cost something.
    running: Vec<Meter>,
}

/// An agreement that costs something from moment to moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meter {
    since: Timestamp,
    start: Glm,
    per_second: Glm,
    accepted: Glm,
    /// No bill is paid above it.
    reserve: Glm,
}

impl Due {
    /// What is due at most at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Glm {
        self.running.iter().map(|meter| meter.due(now)).fold(self.settled, Glm::plus)
    }

    /// What all can have cost by `now`, CPUs being busy all the time. Bills, which are lower, do not lower it.
    #[must_use]
    pub fn accrued(&self, now: Timestamp) -> Glm {
        self.running.iter().map(|meter| meter.cost(now)).fold(self.accrued, Glm::plus)
    }

    /// Adds an agreement; nothing more is expected of one whose books are closed.
    fn add(&mut self, account: &Account, is_closed: bool) {
        let Some(since) = account.costs_since else { return };
        let meter = Meter {
            since,
            start: account.terms.price.start,
            per_second: account.terms.per_second(),
            accepted: account.accepted,
            reserve: account.reserve,
        };
        let is_billed = account.invoice.is_some() || is_closed;
        match account.over {
            None if !is_billed => self.running.push(meter),
            over => {
                let end = over.unwrap_or(since);
                let due = if is_billed { account.accepted } else { meter.due(end) };
                self.settled = self.settled.plus(due);
                self.accrued = self.accrued.plus(meter.cost(end));
            }
        }
    }
}

impl Meter {
    fn cost(&self, now: Timestamp) -> Glm {
        cost(self.start, self.per_second, now.since(self.since))
    }

    fn due(&self, now: Timestamp) -> Glm {
        self.cost(now).min(self.reserve).max(self.accepted)
    }
}

/// What a start and so much time at this price cost; rounded up.
#[must_use]
pub fn cost(start: Glm, per_second: Glm, elapsed: Span) -> Glm {
    let running = per_second.scaled_up(elapsed.as_micros(), 1_000_000);
    start.plus(running.unwrap_or(Glm::MAX))
}

impl Terms {
    /// The most that a node of these terms can cost in so long, start included; rounded up.
    #[must_use]
    pub fn cost(&self, elapsed: Span) -> Glm {
        cost(self.price.start, self.per_second(), elapsed)
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

    /// What a second of a node of these terms costs when all its CPUs are busy.
    #[must_use]
    pub fn per_second(&self) -> Glm {
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
    let mut by_node: BTreeMap<NodeId, Share> = BTreeMap::new();
    let mut by_provider: BTreeMap<ProviderId, Share> = BTreeMap::new();
    let mut all = Share::default();
    for (number, account) in state.all_accounts() {
        let is_closed = state.closed.contains_key(&number);
        let node = by_node.entry(account.node).or_default();
        let provider = by_provider.entry(account.terms.provider.clone()).or_default();
        for share in [&mut all, node, provider] {
            share.spent = share.spent.plus(account.accepted);
            share.due.add(account, is_closed);
        }
    }
    let Share { spent, due } = all;
    let committed = committed(state);
    let rate = rate_per_hour(state);
    let left = state.budget.minus(committed).as_atto();
    let lasts = left.saturating_mul(3_600_000_000).checked_div(rate.as_atto());
    Ledger {
        budget: state.budget,
        spent,
        due,
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

    use super::{Due, LEAD, Level, WINDOW, level};
    use crate::{
        core::{
            cluster::account::{Account, Progress, Terms},
            ids::NodeId,
            market::{price::Price, spec::Gib},
        },
        units::{Glm, Span, Timestamp},
        yagna::{AgreementId, InvoiceId, ProviderId},
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
            is_rejected: false,
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

    fn due(accounts: &[Account], seconds: u64) -> (u128, u128) {
        let mut due = Due::default();
        accounts.iter().for_each(|account| due.add(account, false));
        let now = START.plus(Span::secs(seconds));
        (due.at(now).as_atto(), due.accrued(now).as_atto())
    }

    #[test]
    fn what_is_due_grows_with_the_clock_alone() {
        let silent = Account { costs_since: None, ..account() };

        assert_eq!(due(&[], 180), (0, 0));
        assert_eq!(due(&[silent], 180), (0, 0), "nothing can have cost anything yet");
        assert_eq!(due(&[account()], 0), (500, 500));
        assert_eq!(due(&[account(), account()], 180), (2 * (500 + 180 * 43), 2 * (500 + 180 * 43)));
    }

    #[test]
    fn no_more_is_due_than_is_set_aside_and_no_less_than_was_accepted() {
        let reserve = terms().first_reserve().as_atto();
        let rounded = Account { accepted: Glm::from_atto(600), ..account() };

        assert_eq!(due(&[account()], 3_600), (reserve, 500 + 3_600 * 43));
        assert_eq!(due(&[rounded], 0), (600, 500), "the provider has rounded up");
    }

    #[test]
    fn what_is_over_is_due_up_to_its_end_and_what_is_billed_as_it_was_accepted() {
        let over = Account { over: Some(START.plus(Span::secs(10))), ..account() };
        let accepted = Glm::from_atto(77);
        let billed = Account { accepted, invoice: Some(InvoiceId::from("i")), ..over.clone() };
        let mut closed = Due::default();
        closed.add(&over, true);

        assert_eq!(due(&[over], 180), (500 + 430, 500 + 430));
        assert_eq!(due(&[billed], 180), (77, 500 + 430));
        assert_eq!(closed.at(START), Glm::ZERO, "its provider never sent a bill");
        assert_eq!(closed.accrued(START), Glm::from_atto(500 + 430));
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
