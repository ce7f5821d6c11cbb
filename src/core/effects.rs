//! What one `handle` causes, collected in the order in which the shell must do it.
//!
//! The write-ahead rule lives here and nowhere else: `take` puts the records in front.

use std::collections::BTreeMap;

use super::{
    Purpose, TimerKey,
    cluster::record::ClusterRecord,
    ids::{CallId, ClusterId},
    output::{Notice, Output},
    planted::{Bug, Planted},
    record::{CommonRecord, Durable, JournalId, Record},
    rng::Seed,
    timers::Timers,
};
use crate::{
    units::{Span, Timestamp},
    yagna::Request,
};

/// The machine's hands: everything that parts of it share and act through.
pub(super) struct Effects {
    /// The instant of the input that is being handled.
    pub(super) now: Timestamp,
    pub(super) seed: Seed,
    pub(super) timers: Timers<TimerKey>,
    planted: Planted,
    durable: Durable,
    calls: BTreeMap<CallId, Purpose>,
    next_call: u64,
    records: BTreeMap<JournalId, Vec<Record>>,
    outputs: Vec<Output>,
}

impl Effects {
    pub(super) fn new(seed: Seed, planted: Planted, durable: Durable, now: Timestamp) -> Self {
        Self {
            now,
            seed,
            timers: Timers::default(),
            planted,
            durable,
            calls: BTreeMap::new(),
            next_call: 0,
            records: BTreeMap::new(),
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

    /// Records a fact; it is true from here on.
    pub(super) fn record(&mut self, record: Record) {
        self.durable.apply(&record);
        let is_publication = matches!(record, Record::Common(CommonRecord::DemandPublished { .. }));
        if !(is_publication && self.planted(Bug::RecordForgotten)) {
            self.records.entry(record.journal()).or_default().push(record);
        }
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
        let records = std::mem::take(&mut self.records);
        let facts: Vec<Output> = records
            .into_iter()
            .map(|(journal, records)| Output::Persist { journal, records })
            .collect();
        let effects = std::mem::take(&mut self.outputs);
        let (first, second) =
            if self.planted(Bug::CallBeforePersist) { (effects, facts) } else { (facts, effects) };
        first.into_iter().chain(second)
    }
}
