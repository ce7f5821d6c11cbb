//! V8: a node that waits for long says why, and what it says is so.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{
        cluster::{
            state::NodeState,
            waiting::{Shortage, TOLD_AFTER, Why},
        },
        ids::{ClusterId, NodeId},
        market::census::Census,
    },
    units::{Span, Timestamp},
    yagna::{CallError, PublishedOffer, Request, Response, ScanId},
};

use super::{
    Family, Findings, Look,
    facts::{ClusterFacts, NodeFacts},
    liveness::is_matching,
};
use crate::prices::{self, Costs};

/// Between two looks at what nodes say there may be so long.
const SLACK: Span = Span::secs(15);
/// What has changed is noticed within this time.
const NOTICED_WITHIN: Span = Span::secs(10);
/// So many looks at the market are remembered.
const LOOKS_MAX: usize = 64;

/// Keeps what the machine was shown of the market.
#[derive(Default)]
pub(super) struct Waiting {
    scans: BTreeMap<ScanId, Vec<Shown>>,
    /// What each finished scan has shown, by the instant of its last page.
    looks: BTreeMap<Timestamp, Vec<Shown>>,
    /// When the process that runs began, if it is not the first one.
    recovered: Option<Timestamp>,
    last: Option<Timestamp>,
    /// When the computer last woke up.
    woke: Option<Timestamp>,
    /// Since when each node says what is not so.
    lies: BTreeMap<(ClusterId, NodeId), Timestamp>,
}

/// An offer of a scan's page.
struct Shown {
    offer: PublishedOffer,
    /// When the page came. The machine counts each page at once, by what it thinks of a provider then.
    at: Timestamp,
}

impl Family for Waiting {
    fn on_result(
        &mut self,
        look: &Look<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        _findings: &mut Findings,
    ) {
        let Request::CollectScan { scan, .. } = request else { return };
        let Ok(Response::ScannedOffers(page)) = result else {
            self.scans.remove(scan);
            return;
        };
        let offers = self.scans.entry(scan.clone()).or_default();
        offers.extend(page.iter().map(|it| Shown { offer: it.clone(), at: look.now() }));
        if page.is_empty() {
            let offers = self.scans.remove(scan).unwrap_or_default();
            self.looks.insert(look.now(), offers);
            if self.looks.len() > LOOKS_MAX {
                self.looks.pop_first();
            }
        }
    }

    fn on_step(&mut self, look: &Look<'_>, _findings: &mut Findings) {
        let now = look.now();
        if self.last.is_some_and(|last| now.since(last) > TOLD_AFTER) {
            self.woke = Some(now);
        }
        self.last = Some(now);
    }

    fn on_recovery(&mut self, look: &Look<'_>, _findings: &mut Findings) {
        self.recovered = Some(look.now());
        self.lies.clear();
        self.scans.clear();
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        let view = look.scene.machine.view();
        let began = self.recovered.max(self.woke);
        for (id, cluster) in look.facts.clusters.iter().filter(|(_, it)| !it.is_closed) {
            let Some(waits) = view.waits(*id) else { continue };
            for (node, facts) in &cluster.nodes {
                let Some(since) = facts.waits_since else { continue };
                if facts.state != NodeState::Pending || cluster.ending.is_some() {
                    continue;
                }
                let waited = look.now().since(since.max(began.unwrap_or(since)));
                let Some(waiting) = waits.get(*node) else {
                    if waited > TOLD_AFTER.plus(SLACK) {
                        let what = format!("{node} of {} does not say why it waits", cluster.name);
                        findings.violate("V8", look.now(), what);
                    }
                    continue;
                };
                let Some(lie) = self.lie(look, cluster, facts, &waiting.why) else {
                    self.lies.remove(&(*id, *node));
                    continue;
                };
                let since = *self.lies.entry((*id, *node)).or_insert(look.scene.now);
                if look.now().since(since) > NOTICED_WITHIN {
                    let why = &waiting.why;
                    let what = format!("{node} of {} says `{why}`, but {lie}", cluster.name);
                    findings.violate("V8", look.now(), what);
                }
            }
        }
    }
}

impl Waiting {
    /// What is wrong with what a node says, if something is.
    fn lie(
        &self,
        look: &Look<'_>,
        cluster: &ClusterFacts,
        node: &NodeFacts,
        why: &Why,
    ) -> Option<String> {
        if let Some(census) = why.census() {
            return self.miscount(look, cluster, node, census);
        }
        match why {
            Why::NetworkLost { .. } if !cluster.is_network_lost => {
                Some("the network is there".to_owned())
            }
            Why::Money(Shortage::Budget { needed, left }) if needed <= left => {
                Some("there is room".to_owned())
            }
            Why::Money(Shortage::Rate { needed, left, limit })
                if needed <= left || cluster.plan.max_glm_per_hour != Some(*limit) =>
            {
                Some("there is room".to_owned())
            }
            Why::Ray { .. } if !cluster.ray.is_failing() => {
                Some("Ray has started since then".to_owned())
            }
            Why::Ray { .. }
            | Why::Money(_)
            | Why::NetworkLost { .. }
            | Why::Wallet { .. }
            | Why::NoNetwork { .. }
            | Why::NoDemand { .. }
            | Why::NoAgreement { .. }
            | Why::Approval { .. }
            | Why::NoOffer(_)
            | Why::NoProvider(_) => None,
        }
    }

    /// Counts what the machine was shown of the market by rules of its own.
    fn miscount(
        &self,
        look: &Look<'_>,
        cluster: &ClusterFacts,
        node: &NodeFacts,
        census: &Census,
    ) -> Option<String> {
        let offers = self.looks.get(&census.at)?;
        if census.known != offers.len() as u64 {
            return Some(format!("it was shown {} offers", offers.len()));
        }
        let platform = cluster.plan.platform.as_str();
        let fits = |Shown { offer, .. }: &&Shown| {
            let costs = Costs::of_properties(&offer.body.properties);
            is_matching(&node.spec, platform, &offer.body.properties)
                && costs.is_some_and(|it| prices::exceeded(&node.spec.limits, &it).is_none())
        };
        let is_free = |Shown { offer, at }: &&Shown| {
            !look.facts.is_blacklisted(cluster, &offer.provider, *at)
        };
        let most = offers.iter().filter(fits).count() as u64;
        // A provider may be blacklisted since then; who was blacklisted then still counts as such.
        let least = offers.iter().filter(fits).filter(is_free).count() as u64;
        // A market is one of two subnets, if recommended providers are asked first.
        let least = if node.spec.priority_subnet_tag.is_none() { least } else { 0 };
        let is_right = (least..=most).contains(&census.fit);
        (!is_right).then(|| format!("{most} of the offers meet everything"))
    }
}
