//! V6, V7, L11: nothing stops listening, no step lasts for ever, and no node is given up for a hiccup.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ray_on_golem::{
    core::{
        Input, Output, Probe, Record,
        cluster::record::ClusterRecord,
        ids::{ClusterId, NodeId, ProbeId},
    },
    units::{Span, Timestamp},
    yagna::{ActivityId, CallError, NetworkId, Request, Response, SessionId, request::Endpoint},
};

use super::{Checker, Findings, Phase, Scene};

/// A long poll is asked again within this time, in fair times.
const ASKED_WITHIN: Span = Span::secs(75);
/// A batch gives its first result, or is given up, within this time.
const FIRST_RESULT_WITHIN: Span = Span::mins(6);
/// Bad looks in a row before a node may be given up.
const BAD_LOOKS_MIN: u32 = 3;
const EVERY: u64 = 32;

#[derive(Default)]
pub(super) struct Health {
    fair_since: Option<Timestamp>,
    asked: BTreeMap<(SessionId, Endpoint), Timestamp>,
    /// Batches without a result, and since when.
    batches: BTreeMap<ActivityId, Timestamp>,
    probes: BTreeMap<ProbeId, (NetworkId, Ipv4Addr)>,
    bad_looks: BTreeMap<(NetworkId, Ipv4Addr), u32>,
    steps: u64,
}

impl Checker for Health {
    fn on_input(&mut self, _scene: &Scene<'_>, input: &Input, _findings: &mut Findings) {
        if let Input::Probed { probe, outcome } = input
            && let Some(place) = self.probes.remove(probe)
        {
            let streak = self.bad_looks.entry(place).or_insert(0);
            *streak = if outcome.is_ok() { 0 } else { *streak + 1 };
        }
    }

    fn on_output(&mut self, scene: &Scene<'_>, output: &Output, findings: &mut Findings) {
        match output {
            Output::Probe { probe, what: Probe::Ssh { network, ip, .. }, .. } => {
                self.probes.insert(*probe, (network.clone(), *ip));
            }
            Output::Call { request, .. } => self.on_call(scene, request),
            Output::Persist { records, .. } => {
                for record in records {
                    if let Record::Cluster(cluster, record) = record
                        && let ClusterRecord::Warned { warning, .. } = record.as_ref()
                        && warning.ends_with("ssh is no longer accessible")
                    {
                        self.check_loss(scene, *cluster, warning, findings);
                    }
                }
            }
            Output::Answer { .. } | Output::Abandon { .. } | Output::Notify(_) => {}
        }
    }

    fn on_result(
        &mut self,
        _scene: &Scene<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        _findings: &mut Findings,
    ) {
        if let (Request::CollectResults { activity, .. }, Ok(Response::Results(results))) =
            (request, result)
            && !results.is_empty()
        {
            self.batches.remove(activity);
        }
    }

    fn on_step(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.steps += 1;
        if scene.phase != Phase::Faulty && self.steps.is_multiple_of(EVERY) {
            self.check_listening(scene, findings);
            self.check_batches(scene, findings);
        }
    }

    fn on_crash(&mut self, _scene: &Scene<'_>, _findings: &mut Findings) {
        self.batches.clear();
        self.probes.clear();
    }

    fn on_phase(&mut self, scene: &Scene<'_>, _findings: &mut Findings) {
        if scene.phase == Phase::Fair {
            self.fair_since = Some(scene.now);
        }
    }
}

impl Health {
    fn on_call(&mut self, scene: &Scene<'_>, request: &Request) {
        match request {
            Request::CollectAgreementEvents { session, .. }
            | Request::CollectDebitNoteEvents { session, .. }
            | Request::CollectInvoiceEvents { session, .. } => {
                self.asked.insert((session.clone(), request.endpoint()), scene.now);
            }
            Request::Execute { activity, script, .. } if script.len() > 1 => {
                self.batches.insert(activity.clone(), scene.now);
            }
            Request::DestroyActivity { activity, .. } => {
                self.batches.remove(activity);
            }
            Request::TerminateAgreement { agreement, .. } => {
                let of_agreement = |id: &ActivityId| {
                    let mut books = scene.daemon.activities().iter();
                    books.any(|book| book.id == *id && book.agreement == *agreement)
                };
                self.batches.retain(|activity, _| !of_agreement(activity));
            }
            _ => {}
        }
    }

    /// V6: whoever has open agreements listens to what happens to them and to their bills.
    fn check_listening(&self, scene: &Scene<'_>, findings: &mut Findings) {
        let Some(fair_since) = self.fair_since else { return };
        for cluster in scene.durable.clusters().values() {
            let Some(oldest) = cluster
                .accounts
                .values()
                .filter(|account| account.over.is_none())
                .map(|account| account.signed)
                .min()
            else {
                continue;
            };
            for endpoint in [
                Endpoint::CollectAgreementEvents,
                Endpoint::CollectDebitNoteEvents,
                Endpoint::CollectInvoiceEvents,
            ] {
                let asked = self.asked.get(&(cluster.session.clone(), endpoint)).copied();
                let last = asked.unwrap_or(Timestamp::EPOCH).max(oldest).max(fair_since);
                if scene.now.since(last) > ASKED_WITHIN {
                    let what = format!("nobody asks for {} of {}", endpoint.name(), cluster.name);
                    findings.violate("V6", scene.now, what);
                }
            }
        }
    }

    /// V7: the first step of a batch does not last for ever.
    fn check_batches(&self, scene: &Scene<'_>, findings: &mut Findings) {
        let Some(fair_since) = self.fair_since else { return };
        let late = self
            .batches
            .iter()
            .find(|(_, since)| scene.now.since((**since).max(fair_since)) > FIRST_RESULT_WITHIN);
        if let Some((activity, _)) = late {
            let what = format!("{activity} has given no result, and is still waited for");
            findings.violate("V7", scene.now, what);
        }
    }

    /// L11: only what did not answer several times is lost.
    fn check_loss(
        &self,
        scene: &Scene<'_>,
        cluster: ClusterId,
        warning: &str,
        findings: &mut Findings,
    ) {
        let id = warning.split('`').nth(1).and_then(|id| id.parse::<NodeId>().ok());
        let Some(state) = scene.durable.cluster(cluster) else { return };
        let account = state
            .accounts
            .values()
            .find(|account| Some(account.node) == id && account.over.is_none());
        let streak = account.map_or(u32::MAX, |account| {
            let mut looks = self.bad_looks.iter();
            let of_node = looks.find(|((_, ip), _)| *ip == account.ip);
            of_node.map_or(0, |(_, streak)| *streak)
        });
        if streak < BAD_LOOKS_MIN {
            findings.violate("L11", scene.now, format!("{streak} bad looks: {warning}"));
        }
    }
}
