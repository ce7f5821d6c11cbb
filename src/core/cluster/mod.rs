//! One cluster: its nodes, its agreements, its network, its money.
//!
//! What is durable about it is `state`; everything here can be made again from that. Nothing that one
//! cluster does touches another one: each has its own session at the daemon, allocation, private
//! network, and journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub mod account;
pub mod law;
pub mod plan;
pub mod record;
pub mod state;

mod bringup;
mod closing;
mod command;
mod ending;
mod health;
mod network;
mod nodes;
mod pace;
mod ray;
mod shop;
mod sightings;
mod signing;
mod steps;
pub(super) mod stream;
mod usage;
pub mod waiting;
mod watch;

pub use steps::{Rule, Step, Undo};

pub(super) use command::answer_unknown;
pub(super) use ending::WIND_UP_AFTER;

use account::Progress;
use network::NetworkCall;
use pace::Paces;
use record::{AgreementFact, ClusterRecord, EndReason, NodeFact};
use shop::Shop;
use signing::{SigningNo, SigningWork};
use state::NodeState;
use stream::Stream;

use super::{
    Purpose, TimerKey,
    effects::Effects,
    ids::{AgreementNo, ClusterId, MarketId, NodeId},
    market::{MarketCall, MarketTimer, Turns},
    output::Notice,
    payment::{
        bills::{Bills, BillsCall, JobNo},
        keeper::{Keeper, KeeperCall},
        ledger::Level,
    },
    planted::Bug,
    record::Record,
    reputation::Reputation,
    sweep::Sweeper,
};
use crate::{
    units::{Span, Timestamp},
    yagna::{CallError, Request, Response},
};

/// What a cluster's calls are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClusterCall {
    Funds(KeeperCall),
    Network(NetworkCall),
    /// Make an agreement.
    Sign(SigningNo),
    Agreement(AgreementNo, AgreementCall),
    Bills(BillsCall),
    /// What happened to agreements.
    Watch,
    /// Which agreements there are.
    Reconcile,
}

/// What an agreement's calls are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgreementCall {
    Confirm,
    Await,
    /// Where does it stand?
    Look,
    Cancel,
    CreateActivity,
    Join,
    Execute,
    Results,
    State,
    /// Start the ssh service again.
    Repair,
    /// Tell the network of the node again.
    Rejoin,
    Destroy,
    Terminate,
    /// A look at the node from outside.
    Ssh,
}

/// What a cluster waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterTimer {
    /// Look after the funds.
    Funds,
    /// Look after the private network.
    Network,
    /// Sign again.
    Sign,
    /// A provider has been waited for long enough; another one is asked for the same node.
    Hedge(NodeId),
    /// A head has waited long enough for recommended providers.
    Priority(NodeId),
    /// A node has waited long enough.
    Node(NodeId),
    /// Say why nodes wait.
    Waiting,
    /// A node's end has been waited for long enough.
    NodeEnd(NodeId),
    /// Go on with an agreement.
    Agreement(AgreementNo),
    /// A step of bringing a node up has taken long enough.
    Step(AgreementNo),
    /// An agreement's reserve is nearly used up.
    Reserve(AgreementNo),
    /// Look at an activity.
    State(AgreementNo),
    /// Look at a node from outside.
    Ssh(AgreementNo),
    /// The last bill of an agreement has been waited for long enough.
    Settle(AgreementNo),
    /// Take out of the network, again, who could not be.
    Leave,
    /// Ask again what happened to agreements.
    Watch,
    /// Compare the books with the daemon's.
    Reconcile,
    /// Ask again what happened to debit notes.
    Notes,
    /// Ask again what happened to invoices.
    Invoices,
    /// Go on with a bill.
    Bill(JobNo),
    /// A market must be closed by now.
    Shop(MarketId),
    /// Workers are hired again after Ray did not start on the last ones.
    Ray,
    /// The head's autoscaler has been silent for long, or the cluster ends by itself.
    Usage,
    /// The cluster's end has taken long enough.
    End,
}

/// The work on one cluster.
pub(super) struct Cluster {
    id: ClusterId,
    keeper: Keeper,
    shops: BTreeMap<MarketId, Shop>,
    reputation: Arc<Reputation>,
    /// Nodes that wait for an agreement.
    waiting: BTreeSet<NodeId>,
    /// Agreements that the daemon is asked to make.
    signings: BTreeMap<SigningNo, SigningWork>,
    next_signing: SigningNo,
    /// Whom nodes were given to.
    turns: Turns,
    /// Failures to sign in a row that were the daemon's, and until when nothing is signed.
    sign_failures: u32,
    sign_after: Timestamp,
    works: BTreeMap<AgreementNo, Work>,
    /// How long the steps of bringing nodes up take.
    paces: Paces,
    net: network::Work,
    bills: Bills,
    watch: Stream,
    /// How far the budget was used up when the user was told.
    told: Level,
    /// What the cheapest draft costs, if the money for it was missing.
    refused: Option<waiting::Cost>,
    /// Since when agreements cannot be made, in the daemon's words.
    sign_trouble: Option<String>,
    /// Who waits, and why.
    waits: waiting::Waits,
    /// Whether something changed that other parts of the cluster react to.
    is_dirty: bool,
    is_wound_up: bool,
    has_closed_shop: bool,
    /// Whether the user has ended the head: the end of the cluster is no surprise then.
    is_head_unwanted: bool,
    /// When Ray did not start on a worker for the last time.
    ray_failed: Timestamp,
    /// What is heard of the use of the cluster.
    usage: usage::Usage,
}

/// The work on one agreement that is not settled.
#[derive(Debug)]
struct Work {
    stage: Stage,
    /// The step of bringing its node up, and since when, if no crash came between.
    step: Option<(Step, Timestamp)>,
    /// Why the last look over ssh came to nothing.
    unreached: Option<String>,
    /// Failures of the present stage in a row.
    failures: u32,
    health: health::Health,
    /// What the node told of its ssh service; after a crash the first login tells.
    host_key: Option<Arc<str>>,
}

/// What is being done about an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Confirming,
    Awaiting,
    CreatingActivity,
    Joining,
    SendingBatch,
    /// Waits for the result of this command.
    Collecting {
        command: u32,
    },
    CheckingSsh,
    Running,
    /// It is not known where it stands.
    Looking,
    Cancelling,
    Destroying,
    Terminating,
    /// Nothing is paid for under it any more; its last bill is awaited.
    Over,
}

impl Work {
    fn new(stage: Stage) -> Self {
        let health = health::Health::default();
        Self { stage, step: None, unreached: None, failures: 0, health, host_key: None }
    }
}

impl Cluster {
    fn blank(fx: &Effects, id: ClusterId) -> Self {
        let state = fx.cluster(id);
        // Earlier journals begin with the instant at which the cluster was opened, by our clock.
        let read = |at: Timestamp| if at <= state.opened { Timestamp::EPOCH } else { at };
        Self {
            id,
            keeper: Keeper::new(id),
            shops: BTreeMap::new(),
            reputation: Arc::new(state.plan.reputation.clone()),
            waiting: BTreeSet::new(),
            signings: BTreeMap::new(),
            next_signing: SigningNo::default(),
            turns: Turns::default(),
            sign_failures: 0,
            sign_after: Timestamp::EPOCH,
            works: BTreeMap::new(),
            paces: Paces::default(),
            net: network::Work::default(),
            bills: Bills::new(id, read(state.notes_read), read(state.invoices_read)),
            watch: Stream::new(Timestamp::EPOCH),
            told: Level::Ample,
            refused: None,
            sign_trouble: None,
            waits: waiting::Waits::default(),
            is_dirty: true,
            is_wound_up: false,
            has_closed_shop: false,
            is_head_unwanted: false,
            ray_failed: Timestamp::EPOCH,
            usage: usage::Usage::default(),
        }
    }

    /// The work on a cluster that was begun just now.
    pub(super) fn open(fx: &mut Effects, id: ClusterId) -> Self {
        let mut cluster = Self::blank(fx, id);
        cluster.review_usage(fx);
        cluster
    }

    /// Goes on with a cluster after a crash.
    pub(super) fn recover(fx: &mut Effects, id: ClusterId) -> Self {
        let mut cluster = Self::blank(fx, id);
        let state = fx.cluster(id).clone();
        for (number, account) in state.all_accounts() {
            if !fx.planted(Bug::BillsOrphaned) {
                cluster.bills.know(&account.agreement, number);
            }
        }
        cluster.bills.recover(fx.now);
        cluster.recover_nodes(fx, &state);
        for number in state.accounts.keys() {
            cluster.recover_agreement(fx, *number, &state);
        }
        // Providers may bill, or bill once more, what is long settled.
        if !state.accounts.is_empty() || !state.closed.is_empty() {
            cluster.listen(fx);
            cluster.reconcile(fx);
        }
        cluster.keeper.recover(fx);
        cluster.recover_network(fx);
        cluster.review_usage(fx);
        cluster.recover_ray(fx);
        if let Some((_, since)) = state.ending {
            cluster.wake(fx, ClusterTimer::End, since.plus(WIND_UP_AFTER));
        }
        cluster
    }

    pub(super) fn on_reply(
        &mut self,
        fx: &mut Effects,
        call: ClusterCall,
        result: Result<Response, CallError>,
    ) {
        match call {
            ClusterCall::Funds(call) => {
                self.keeper.on_reply(fx, call, result);
                self.is_dirty = true;
            }
            ClusterCall::Network(call) => self.on_network_reply(fx, call, result),
            ClusterCall::Sign(number) => self.on_agreement_made(fx, number, result),
            ClusterCall::Agreement(number, call) => {
                self.on_agreement_reply(fx, number, call, result);
            }
            ClusterCall::Bills(call) => self.on_bills_reply(fx, call, result),
            ClusterCall::Watch => self.on_watched(fx, result),
            ClusterCall::Reconcile => self.on_reconciled(fx, result),
        }
    }

    pub(super) fn on_market_reply(
        &mut self,
        fx: &mut Effects,
        market: MarketId,
        call: MarketCall,
        result: Result<Response, CallError>,
        sweeper: &mut Sweeper,
    ) {
        if let Some(shop) = self.shops.get_mut(&market) {
            shop.market.on_reply(fx, call, result, sweeper);
            if call.is_of_scan() {
                self.tend_waits(fx);
            } else {
                self.is_dirty = true;
            }
        }
    }

    pub(super) fn on_market_timer(
        &mut self,
        fx: &mut Effects,
        market: MarketId,
        timer: MarketTimer,
        sweeper: &mut Sweeper,
    ) {
        if let Some(shop) = self.shops.get_mut(&market) {
            shop.market.on_timer(fx, timer, sweeper);
            self.is_dirty = true;
        }
    }

    pub(super) fn has_market(&self, market: MarketId) -> bool {
        self.shops.contains_key(&market)
    }

    pub(super) fn on_timer(&mut self, fx: &mut Effects, timer: ClusterTimer) {
        match timer {
            ClusterTimer::Funds => {
                self.keeper.on_timer(fx);
                self.is_dirty = true;
            }
            ClusterTimer::Network => self.on_network_timer(fx),
            ClusterTimer::Sign
            | ClusterTimer::Hedge(_)
            | ClusterTimer::Leave
            | ClusterTimer::Ray => self.is_dirty = true,
            ClusterTimer::Waiting => self.tend_waits(fx),
            ClusterTimer::Priority(node) => self.on_priority_over(fx, node),
            ClusterTimer::Node(node) => self.on_node_waited(fx, node),
            ClusterTimer::NodeEnd(node) => self.node_ended(fx, node),
            ClusterTimer::Agreement(number) => self.on_agreement_timer(fx, number),
            ClusterTimer::Step(number) => self.on_step_timer(fx, number),
            ClusterTimer::Reserve(number) => self.on_reserve_timer(fx, number),
            ClusterTimer::State(number) => self.look_at_activity(fx, number),
            ClusterTimer::Ssh(number) => self.look_at_ssh(fx, number),
            ClusterTimer::Settle(number) => self.on_settle_timer(fx, number),
            ClusterTimer::Watch => self.watch(fx),
            ClusterTimer::Reconcile => self.reconcile(fx),
            ClusterTimer::Notes | ClusterTimer::Invoices | ClusterTimer::Bill(_) => {
                self.bills.on_timer(fx, timer);
                self.is_dirty = true;
            }
            ClusterTimer::Shop(market) => self.shop_overdue(market),
            ClusterTimer::Usage => self.on_usage_timer(fx),
            ClusterTimer::End => self.on_end_overdue(fx),
        }
    }

    pub(super) fn on_probed(
        &mut self,
        fx: &mut Effects,
        call: ClusterCall,
        outcome: Result<(), String>,
    ) {
        if let ClusterCall::Agreement(number, AgreementCall::Ssh) = call {
            self.on_ssh_seen(fx, number, outcome);
        }
    }

    fn on_agreement_reply(
        &mut self,
        fx: &mut Effects,
        number: AgreementNo,
        call: AgreementCall,
        result: Result<Response, CallError>,
    ) {
        if !self.works.contains_key(&number) {
            if call == AgreementCall::CreateActivity {
                self.on_unwanted_activity(fx, number, &result);
            }
            return;
        }
        match call {
            AgreementCall::Confirm => self.on_confirmed(fx, number, result),
            AgreementCall::Await => self.on_awaited(fx, number, result),
            AgreementCall::Look => self.on_looked(fx, number, result),
            AgreementCall::Cancel => self.on_cancelled(fx, number, result),
            AgreementCall::CreateActivity => self.on_activity_created(fx, number, result),
            AgreementCall::Join => self.on_joined(fx, number, result),
            AgreementCall::Execute => self.on_batch_started(fx, number, result),
            AgreementCall::Results => self.on_results(fx, number, result),
            AgreementCall::State => self.on_activity_seen(fx, number, result),
            AgreementCall::Repair | AgreementCall::Rejoin => {
                self.on_repaired(fx, number, call, &result);
            }
            AgreementCall::Destroy => self.on_destroyed(fx, number, &result),
            AgreementCall::Terminate => self.on_terminated(fx, number, &result),
            AgreementCall::Ssh => {}
        }
    }

    /// Lets all parts react to what changed; true when nothing of the cluster is left.
    pub(super) fn tend(&mut self, fx: &mut Effects, sweeper: &mut Sweeper) -> bool {
        let has_changed = self.is_dirty;
        while std::mem::take(&mut self.is_dirty) {
            self.tend_ending(fx);
            self.tend_funds(fx);
            self.tend_network(fx);
            self.tend_members(fx);
            self.tend_shops(fx, sweeper);
            self.sign_what_can_be(fx);
        }
        if has_changed {
            self.tend_waits(fx);
        }
        self.is_gone(fx)
    }

    /// How many of each bounded thing there are: offers, and negotiations in the busiest market.
    pub(super) fn market_load(&self) -> (usize, usize) {
        self.shops.values().fold((0, 0), |(offers, negotiations), shop| {
            (offers.max(shop.market.pool_size()), negotiations.max(shop.market.negotiations()))
        })
    }

    fn record(&self, fx: &mut Effects, record: ClusterRecord) {
        fx.record_cluster(self.id, record);
    }

    fn note_node(&self, fx: &mut Effects, node: NodeId, fact: NodeFact) {
        fx.record(Record::node(self.id, node, fact));
    }

    fn log(&self, fx: &mut Effects, node: NodeId, line: String) {
        self.note_node(fx, node, NodeFact::Logged(line));
    }

    fn note(&self, fx: &mut Effects, number: AgreementNo, fact: AgreementFact) {
        fx.record(Record::agreement(self.id, number, fact));
    }

    fn warn(&self, fx: &mut Effects, what: String) {
        self.record(fx, ClusterRecord::Warned { at: fx.now, warning: what.clone() });
        let cluster = fx.cluster(self.id).name.clone();
        fx.notify(Notice::Cluster { cluster, what });
    }

    fn ask(&self, fx: &mut Effects, call: ClusterCall, request: Request, patience: Span) {
        fx.call(Purpose::Cluster(self.id, call), request, patience);
    }

    fn timer(&self, timer: ClusterTimer) -> TimerKey {
        TimerKey::Cluster(self.id, timer)
    }

    fn wake(&self, fx: &mut Effects, timer: ClusterTimer, at: Timestamp) {
        fx.wake(self.timer(timer), at);
    }

    fn rest(&self, fx: &mut Effects, timer: ClusterTimer) {
        fx.timers.cancel(&self.timer(timer));
    }
}

/// Whether a node may still come up or is up.
const fn is_live(state: NodeState) -> bool {
    match state {
        NodeState::Pending | NodeState::Running => true,
        NodeState::Terminating | NodeState::Terminated => false,
    }
}

/// Whether a provider was bound by the agreement.
const fn is_in_force(progress: Progress) -> bool {
    match progress {
        Progress::Signing => false,
        Progress::Approved
        | Progress::CreatingActivity
        | Progress::HasActivity
        | Progress::SendingBatch
        | Progress::RunningBatch
        | Progress::Bootstrapped
        | Progress::Running => true,
    }
}

/// Why a cluster that loses this node ends, if it does.
const fn end_without(is_head: bool, has_others: bool) -> Option<EndReason> {
    match (is_head, has_others) {
        (true, _) => Some(EndReason::HeadGone),
        (false, false) => Some(EndReason::NoNodes),
        (false, true) => None,
    }
}
