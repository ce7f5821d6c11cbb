//! V6 and L11: nothing stops listening, and no node is given up for a hiccup.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ray_on_golem::{
    core::{
        Input, Output, Record,
        cluster::record::{AgreementFact, ClusterRecord},
        ids::{AgreementNo, ClusterId, ProbeId},
        output::Probe,
    },
    units::{Span, Timestamp},
    yagna::{Request, SessionId, request::Endpoint},
};

use super::{Family, Findings, Look, Phase, facts::ClusterFacts, subject::is_over};

/// A long poll is asked again within this time, in fair times.
const ASKED_WITHIN: Span = Span::secs(75);
/// Bad looks in a row before a node may be given up.
const BAD_LOOKS_MIN: u32 = 3;
/// Looks from before times were fair may count for so long.
const MEMORY: Span = Span::mins(6);
/// What has open agreements must be heard of.
const STREAMS: [Endpoint; 3] = [
    Endpoint::CollectAgreementEvents,
    Endpoint::CollectDebitNoteEvents,
    Endpoint::CollectInvoiceEvents,
];

/// Keeps when what was asked, and what looks have shown.
#[derive(Default)]
pub(super) struct Health {
    asked: BTreeMap<(SessionId, Endpoint), Timestamp>,
    /// Since when a cluster has agreements that are not over.
    busy_since: BTreeMap<ClusterId, Timestamp>,
    looks: BTreeMap<ProbeId, (ClusterId, Ipv4Addr)>,
    /// How many looks in a row have failed at each address.
    bad_looks: BTreeMap<(ClusterId, Ipv4Addr), u32>,
}

impl Family for Health {
    fn on_input(&mut self, _look: &Look<'_>, input: &Input, _findings: &mut Findings) {
        if let Input::Probed { probe, outcome } = input
            && let Some(place) = self.looks.remove(probe)
        {
            let streak = self.bad_looks.entry(place).or_insert(0);
            *streak = if outcome.is_ok() { 0 } else { streak.saturating_add(1) };
        }
    }

    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        match output {
            Output::Probe { probe, what: Probe::Ssh { cluster, ip, .. }, .. } => {
                self.looks.insert(*probe, (*cluster, *ip));
            }
            Output::Call { request, .. } => {
                if let Request::CollectAgreementEvents { session, .. }
                | Request::CollectDebitNoteEvents { session, .. }
                | Request::CollectInvoiceEvents { session, .. } = request
                {
                    self.asked.insert((session.clone(), request.endpoint()), look.now());
                }
            }
            Output::Persist { records, .. } => {
                for record in records {
                    if let Record::Cluster(id, record) = record {
                        self.on_record(look, *id, record, findings);
                    }
                }
            }
            Output::Answer { .. } | Output::Abandon { .. } | Output::Notify(_) | Output::Saw(_) => {
            }
        }
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        for (id, cluster) in look.facts.clusters.iter().filter(|(_, it)| !it.is_closed) {
            if cluster.accounts.values().all(|account| account.over.is_some()) {
                self.busy_since.remove(id);
                continue;
            }
            let busy = *self.busy_since.entry(*id).or_insert_with(|| look.now());
            let Some(since) = look.facts.fair(busy) else { continue };
            if let Some(endpoint) = unheard(&self.asked, &cluster.session, since, look.now()) {
                let what = format!("nobody asks for {} of {}", endpoint.name(), cluster.name);
                findings.violate("V6", look.now(), what);
            }
        }
    }

    fn on_crash(&mut self, _look: &Look<'_>, _findings: &mut Findings) {
        self.looks.clear();
    }
}

impl Health {
    fn on_record(
        &self,
        look: &Look<'_>,
        id: ClusterId,
        record: &ClusterRecord,
        findings: &mut Findings,
    ) {
        if let ClusterRecord::Agreement { number, fact: AgreementFact::Closing { .. } } = record
            && let Some(cluster) = look.facts.clusters.get(&id)
            && let Some(what) = self.hasty(look, id, cluster, *number)
        {
            findings.violate("L11", look.now(), what);
        }
    }

    /// L11: what was wrong with giving up a node that ran.
    fn hasty(
        &self,
        look: &Look<'_>,
        id: ClusterId,
        cluster: &ClusterFacts,
        number: AgreementNo,
    ) -> Option<String> {
        let account = cluster.accounts.get(&number)?;
        let node = cluster.nodes.get(&account.node)?;
        let place = account.place?;
        let is_fair = look.scene.phase == Phase::Fair
            && look.facts.fair_since.is_some_and(|at| look.now().since(at) > MEMORY);
        let is_asked = node.is_unwanted || cluster.ending.is_some();
        if !is_fair || is_asked || !account.was_running {
            return None;
        }
        let daemon = look.scene.daemon;
        let is_well = !is_over(&daemon.agreements()[place])
            && look.facts.deals[place].activities.iter().any(|nth| {
                let book = &daemon.activities()[*nth];
                book.ended.is_none() && book.is_ready
            });
        let bad = self.bad_looks.get(&(id, account.ip)).copied().unwrap_or(0);
        (is_well && bad < BAD_LOOKS_MIN)
            .then(|| format!("{} was well, and is given up after {bad} bad looks", account.node))
    }
}

/// V6: a stream that was not asked for in time.
fn unheard(
    asked: &BTreeMap<(SessionId, Endpoint), Timestamp>,
    session: &SessionId,
    since: Timestamp,
    now: Timestamp,
) -> Option<Endpoint> {
    STREAMS.into_iter().find(|endpoint| {
        let last = asked.get(&(session.clone(), *endpoint)).copied();
        now.since(last.map_or(since, |last| last.max(since))) > ASKED_WITHIN
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ray_on_golem::{
        units::{Span, Timestamp},
        yagna::{SessionId, request::Endpoint},
    };

    use super::{ASKED_WITHIN, STREAMS, unheard};

    #[test]
    fn a_stream_that_nobody_asks_for_is_seen() {
        let (session, begin) = (SessionId::from("s"), Timestamp::from_unix_micros(1_000_000));
        let late = begin.plus(ASKED_WITHIN).plus(Span::TICK);
        let mut asked: BTreeMap<_, _> =
            STREAMS.into_iter().map(|endpoint| ((session.clone(), endpoint), late)).collect();

        assert_eq!(unheard(&asked, &session, begin, late), None);
        asked.insert((session.clone(), Endpoint::CollectInvoiceEvents), begin);
        assert_eq!(unheard(&asked, &session, begin, late), Some(Endpoint::CollectInvoiceEvents));
    }
}
