//! What one `handle` causes, collected in the order in which the shell must do it.
//!
//! The write-ahead rule lives here and nowhere else: `take` puts the records in front, and of these the ends of clusters
//! last, since nothing is written of a cluster once it is closed.

use std::collections::BTreeMap;

use super::{
    Purpose, TimerKey,
    backoff::Backoff,
    cluster::{record::ClusterRecord, state::ClusterState},
    experience::Sighting,
    ids::{CallId, ClusterId, MarketId, ProbeId},
    market::Troubles,
    memory::Memory,
    output::{Notice, Output, Probe},
    planted::{Bug, Planted},
    record::{CommonRecord, Durable, JournalId, Record},
    reputation::Reputation,
    rng::Seed,
    timers::Timers,
};
use crate::{
    units::{Span, Timestamp},
    yagna::{ProviderId, Request},
};

/// The machine's hands: everything that parts of it share and act through.
pub(super) struct Effects {
    /// The instant of the input that is being handled.
    pub(super) now: Timestamp,
    pub(super) seed: Seed,
    pub(super) timers: Timers<TimerKey>,
    /// Providers that are left alone for a while, whoever has met them.
    pub(super) troubles: Troubles,
    /// What was seen of providers and not told back yet.
    pub(super) memory: Memory,
    planted: Planted,
    durable: Durable,
    calls: BTreeMap<CallId, Purpose>,
    next_call: u64,
    next_probe: u64,
    next_market: u32,
    probes: BTreeMap<ProbeId, Purpose>,
    records: BTreeMap<JournalId, Vec<Record>>,
    /// Ends of clusters.
    closings: Vec<Record>,
    outputs: Vec<Output>,
}

impl Effects {
    pub(super) fn new(seed: Seed, planted: Planted, durable: Durable, now: Timestamp) -> Self {
        Self {
            now,
            seed,
            timers: Timers::default(),
            troubles: Troubles::default(),
            memory: Memory::default(),
            planted,
            durable,
            calls: BTreeMap::new(),
            next_call: 0,
            next_probe: 0,
            next_market: 0,
            probes: BTreeMap::new(),
            records: BTreeMap::new(),
            closings: Vec::new(),
            outputs: Vec::new(),
        }
    }

    pub(super) fn planted(&self, bug: Bug) -> bool {
        self.planted.has(bug)
    }

    pub(super) fn durable(&self) -> &Durable {
        &self.durable
    }

    pub(super) fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn probes_in_flight(&self) -> usize {
        self.probes.len()
    }

    /// Records a fact; it is true from here on.
    pub(super) fn record(&mut self, record: Record) {
        self.durable.apply(&record);
        let is_closing = matches!(record, Record::Common(CommonRecord::ClusterClosed { .. }));
        if is_closing && !self.planted(Bug::ClosedFirst) {
            self.closings.push(record);
            return;
        }
        let is_publication = matches!(record, Record::Common(CommonRecord::DemandPublished { .. }));
        let journal = match self.planted(Bug::JournalsMixed) {
            true => JournalId::Common,
            false => record.journal(),
        };
        if !(is_publication && self.planted(Bug::RecordForgotten)) {
            self.records.entry(journal).or_default().push(record);
        }
    }

    /// Leaves a provider alone for a while.
    pub(super) fn set_back(&mut self, provider: &ProviderId, pauses: Backoff) {
        if self.planted(Bug::SetbackConstant) {
            self.troubles.clear(provider);
        }
        if !self.planted(Bug::ProviderForgiven) {
            self.troubles.add(provider, pauses, self.seed, self.now);
        }
    }

    /// Tells what was seen of a provider; `told` is what is known of providers beside it.
    pub(super) fn saw(&mut self, sighting: Sighting, told: &Reputation) {
        self.memory.add(&sighting, told, self.now);
        self.outputs.push(Output::Saw(sighting));
    }

    /// Whether something was recorded since the input that is being handled came in.
    pub(super) fn has_records(&self) -> bool {
        !self.records.is_empty() || !self.closings.is_empty()
    }

    /// Records a fact of all clusters.
    pub(super) fn record_common(&mut self, record: CommonRecord) {
        self.record(Record::Common(record));
    }

    /// Records a fact of one cluster.
    pub(super) fn record_cluster(&mut self, cluster: ClusterId, record: ClusterRecord) {
        self.record(Record::Cluster(cluster, Box::new(record)));
    }

    pub(super) fn call(&mut self, purpose: Purpose, request: Request, patience: Span) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(call, purpose);
        self.outputs.push(Output::Call { call, request, patience });
        call
    }

    /// Looks at a node from outside.
    pub(super) fn probe(&mut self, purpose: Purpose, what: Probe, patience: Span) {
        let probe = ProbeId(self.next_probe);
        self.next_probe += 1;
        self.probes.insert(probe, purpose);
        self.outputs.push(Output::Probe { probe, what, patience });
    }

    /// Whose look this was; `None` for one that nobody waits for.
    pub(super) fn finish_probe(&mut self, probe: ProbeId) -> Option<Purpose> {
        self.probes.remove(&probe)
    }

    /// A number that no market has had in this process.
    pub(super) fn fresh_market(&mut self) -> MarketId {
        let market = MarketId(self.next_market);
        self.next_market += 1;
        market
    }

    /// The books of a cluster.
    pub(super) fn cluster(&self, id: ClusterId) -> &ClusterState {
        self.durable.cluster(id).expect("a cluster that is worked on is in the books")
    }

    /// Whose reply this is; `None` for a reply that nobody waits for.
    pub(super) fn finish(&mut self, call: CallId) -> Option<Purpose> {
        self.calls.remove(&call)
    }

    /// Stops waiting for a reply.
    pub(super) fn abandon(&mut self, call: CallId) {
        if self.calls.remove(&call).is_some() {
            self.outputs.push(Output::Abandon { call });
        }
    }

    pub(super) fn notify(&mut self, notice: Notice) {
        self.outputs.push(Output::Notify(notice));
    }

    pub(super) fn emit(&mut self, output: Output) {
        self.outputs.push(output);
    }

    pub(super) fn wake(&mut self, key: TimerKey, at: Timestamp) {
        self.timers.set(key, at);
    }

    /// Hands out what was collected: facts first, then the effects that they announce.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Output> {
        let records = std::mem::take(&mut self.records).into_iter();
        let closings = std::mem::take(&mut self.closings);
        let last = (!closings.is_empty()).then_some((JournalId::Common, closings));
        let facts: Vec<Output> = records
            .chain(last)
            .map(|(journal, records)| Output::Persist { journal, records })
            .collect();
        let effects = std::mem::take(&mut self.outputs);
        let (first, second) =
            if self.planted(Bug::CallBeforePersist) { (effects, facts) } else { (facts, effects) };
        first.into_iter().chain(second)
    }
}
