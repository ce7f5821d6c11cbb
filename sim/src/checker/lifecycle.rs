//! L1 to L10, L12: nothing leaks, nothing is started twice, nothing goes backwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use ray_on_golem::{
    core::{
        Output, Record,
        cluster::{
            plan::{ClusterName, NodeKind},
            record::{AgreementFact, ClusterRecord, NodeFact},
            state::NodeState,
        },
        ids::{AgreementNo, ClusterId, NodeId},
        output::Probe,
        record::CommonRecord,
    },
    units::{Span, Timestamp},
    yagna::{
        ActivityId, AgreementId, CallError, CommandResult, NetworkId, ProviderId, Request, Response,
    },
};

use super::{
    Family, Findings, Look,
    facts::{ClusterFacts, Deal},
    liveness::is_reliable,
    ray,
    subject::is_over,
};
use crate::yagna::books::AgreementBook;

/// Within this time of a node's end nothing of it lives, in fair times.
const GONE_WITHIN: Span = Span::mins(6);
/// An agreement that its provider does not let go of is tried again within this time.
const RETRY_WITHIN: Span = Span::mins(7);
/// A node that runs on nothing is noticed within this time, in fair times.
const NOTICED_WITHIN: Span = Span::secs(45);
/// What has just ended may still look alive from here.
const LATENCY: Span = Span::secs(90);
/// The address of the first node in a network of 192.168.0.0/16.
const FIRST_NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);
const LAST_NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 255, 254);

/// Keeps what a later record is compared with.
#[derive(Default)]
pub(super) struct Lifecycle {
    states: BTreeMap<(ClusterId, NodeId), NodeState>,
    next_ids: BTreeMap<ClusterName, u32>,
    /// When nodes ended whose remains were not looked for yet.
    ended: BTreeMap<(ClusterId, NodeId), Timestamp>,
    /// Clusters that lost their head in this step.
    headless: BTreeSet<ClusterId>,
}

impl Family for Lifecycle {
    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        match output {
            Output::Persist { records, .. } => {
                for record in records {
                    match record {
                        Record::Cluster(id, record) => {
                            self.on_record(look, *id, record, findings);
                        }
                        Record::Common(CommonRecord::ClusterClosed { cluster, .. }) => {
                            check_networks(look, *cluster, findings);
                        }
                        Record::Common(_) => {}
                    }
                }
            }
            Output::Call { request, .. } => check_call(look, request, findings),
            Output::Probe { what: Probe::Ssh { cluster, ip, .. }, .. } => {
                if let Some(cluster) = look.facts.clusters.get(cluster)
                    && !cluster.accounts.values().any(|it| {
                        // A look may be asked for in the instant that ends the agreement.
                        it.ip == *ip && it.closing.is_none_or(|at| at == look.now())
                    })
                {
                    findings.violate("L3", look.now(), format!("nobody is left at {ip}"));
                }
            }
            Output::Answer { .. } | Output::Abandon { .. } | Output::Notify(_) | Output::Saw(_) => {
            }
        }
    }

    fn on_result(
        &mut self,
        look: &Look<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        findings: &mut Findings,
    ) {
        if let (Request::CreateActivity { agreement, .. }, Ok(Response::ActivityCreated(_))) =
            (request, result)
            && let Some(place) = look.facts.place(agreement)
            && look.facts.deals[place].activities.len() > 1
        {
            let what = format!("agreement {agreement} was given a second activity");
            findings.violate("L5", look.now(), what);
        }
        if let (Request::CollectResults { activity, .. }, Ok(Response::Results(results))) =
            (request, result)
            && let Some(failed) = results.iter().find(|result| !result.is_ok)
        {
            check_failure(look, activity, failed, findings);
        }
    }

    fn on_step(&mut self, look: &Look<'_>, findings: &mut Findings) {
        while let Some(id) = self.headless.pop_first() {
            if let Some(cluster) = look.facts.clusters.get(&id)
                && cluster.ending.is_none()
            {
                let what = format!("{} goes on without its head", cluster.name);
                findings.violate("L7", look.now(), what);
            }
        }
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        if look.facts.fair_since.is_some() {
            self.check_ended(look, findings);
            check_running(look, findings);
        }
    }

    fn on_crash(&mut self, _look: &Look<'_>, _findings: &mut Findings) {
        self.headless.clear();
    }

    fn at_end(&mut self, look: &Look<'_>, findings: &mut Findings) {
        let daemon = look.scene.daemon;
        for (place, book) in daemon.agreements().iter().enumerate() {
            if book.confirmed.is_some() && !is_over(book) && !is_excused(look, place) {
                let what = format!("agreement {} with {} is in force", book.id, book.provider);
                findings.violate("L1", look.now(), what);
            }
        }
        for book in daemon.activities().iter().filter(|book| book.ended.is_none()) {
            let place = look.facts.place(&book.agreement);
            let is_held = place.is_none_or(|place| {
                !is_over(&daemon.agreements()[place]) && !is_excused(look, place)
            });
            if is_held {
                findings.violate("L2", look.now(), format!("activity {} still runs", book.id));
            }
        }
        for book in daemon.networks().iter().filter(|book| book.removed.is_none()) {
            let what = format!("network {} is not removed", book.network.id);
            findings.violate("L10", look.now(), what);
        }
    }
}

impl Lifecycle {
    fn on_record(
        &mut self,
        look: &Look<'_>,
        id: ClusterId,
        record: &ClusterRecord,
        findings: &mut Findings,
    ) {
        let Some(cluster) = look.facts.clusters.get(&id) else { return };
        match record {
            ClusterRecord::NodesRequested { nodes, .. } => {
                self.on_nodes(look, id, cluster, nodes, findings);
            }
            ClusterRecord::Node { node, fact } => self.on_node(look, id, *node, fact, findings),
            ClusterRecord::Agreement { number, fact: AgreementFact::Signing { node, ip, .. } } => {
                check_signing(look, cluster, *number, *node, *ip, findings);
                ray::check_signing(look, cluster, *node, findings);
            }
            ClusterRecord::Agreement { number, fact: AgreementFact::Over { .. } } => {
                check_over(look, id, *number, findings);
            }
            ClusterRecord::Agreement { .. }
            | ClusterRecord::Opened { .. }
            | ClusterRecord::Funds(_)
            | ClusterRecord::Network(_)
            | ClusterRecord::BillsRead { .. }
            | ClusterRecord::Warned { .. }
            | ClusterRecord::BudgetSet { .. }
            | ClusterRecord::LawSet { .. }
            | ClusterRecord::Ending { .. } => {}
        }
    }

    /// L4: new nodes have new ids.
    fn on_nodes(
        &mut self,
        look: &Look<'_>,
        id: ClusterId,
        cluster: &ClusterFacts,
        nodes: &[NodeId],
        findings: &mut Findings,
    ) {
        let next = self.next_ids.entry(cluster.name.clone()).or_insert(0);
        for node in nodes {
            if node.0 < *next {
                let what = format!("{node} of {} was used before", cluster.name);
                findings.violate("L4", look.now(), what);
            }
            *next = (*next).max(node.0.saturating_add(1));
            self.states.insert((id, *node), NodeState::Pending);
        }
    }

    fn on_node(
        &mut self,
        look: &Look<'_>,
        id: ClusterId,
        node: NodeId,
        fact: &NodeFact,
        findings: &mut Findings,
    ) {
        let state = match fact {
            NodeFact::Tagged(_) | NodeFact::Logged(_) => return,
            NodeFact::Running => NodeState::Running,
            NodeFact::Ending => NodeState::Terminating,
            NodeFact::Ended => NodeState::Terminated,
        };
        let before = self.states.insert((id, node), state);
        if before.is_some_and(|before| before >= state) {
            let what = format!("{node} went from {before:?} to {state:?}");
            findings.violate("L4", look.now(), what);
        }
        let Some(facts) = look.facts.clusters.get(&id) else { return };
        let Some(known) = facts.nodes.get(&node) else { return };
        match state {
            NodeState::Pending => {}
            NodeState::Running => {
                let place = known.agreement.and_then(|it| facts.accounts.get(&it)?.place);
                if let Some(what) = place.and_then(|place| unfit(look, place)) {
                    findings.violate("L5", look.now(), format!("{node} runs, but {what}"));
                }
            }
            NodeState::Terminating | NodeState::Terminated => {
                if known.kind == NodeKind::Head {
                    self.headless.insert(id);
                }
                if state == NodeState::Terminated {
                    self.ended.insert((id, node), look.now());
                }
            }
        }
    }

    /// L3: in fair times nothing of a node outlives it for long.
    fn check_ended(&mut self, look: &Look<'_>, findings: &mut Findings) {
        let is_due = |at: &Timestamp| {
            look.facts.fair(*at).is_some_and(|since| look.now().since(since) > GONE_WITHIN)
        };
        let due: Vec<(ClusterId, NodeId)> =
            self.ended.iter().filter(|(_, at)| is_due(at)).map(|(key, _)| *key).collect();
        for (id, node) in due {
            self.ended.remove(&(id, node));
            for place in look.facts.live.iter().copied() {
                let deal = &look.facts.deals[place];
                let is_of_node = deal.owner.is_some_and(|(of, _, its)| (of, its) == (id, node));
                if !is_of_node {
                    continue;
                }
                let book = &look.scene.daemon.agreements()[place];
                if book.approved.is_some() && !is_over(book) && !is_excused(look, place) {
                    let what = format!("agreement {} outlives {node}", book.id);
                    findings.violate("L3", look.now(), what);
                }
                if is_over(book) && is_in_network(look, id, book) {
                    let what = format!("{} is in the network after {node}", book.provider);
                    findings.violate("L3", look.now(), what);
                }
            }
        }
    }
}

/// L10: whoever forgets a cluster has removed its networks.
fn check_networks(look: &Look<'_>, id: ClusterId, findings: &mut Findings) {
    let Some(cluster) = look.facts.clusters.get(&id) else { return };
    let left = look
        .scene
        .daemon
        .networks()
        .iter()
        .find(|book| book.removed.is_none() && cluster.networks.contains(&book.network.id));
    if let Some(book) = left {
        let what = format!("network {} outlives {}", book.network.id, cluster.name);
        findings.violate("L10", look.now(), what);
    }
}

/// Whether a provider is in a cluster's network, and no other node of the cluster is on it.
fn is_in_network(look: &Look<'_>, id: ClusterId, book: &AgreementBook) -> bool {
    let Some(cluster) = look.facts.clusters.get(&id) else { return false };
    let mut networks = look.scene.daemon.networks().iter().rev();
    let ours = networks.find(|it| Some(&it.network.id) == cluster.networks.last());
    let is_member = ours.is_some_and(|it| {
        it.removed.is_none() && it.nodes.iter().any(|(_, member)| *member == book.provider)
    });
    let mut others = cluster.accounts.values().filter(|account| account.over.is_none());
    is_member && !others.any(|account| account.provider == book.provider)
}

/// Whether its provider cannot be reached, and the manager goes on trying; or the daemon has thrown it away.
fn is_excused(look: &Look<'_>, place: usize) -> bool {
    let tried = look.facts.deals[place].end_tried;
    let book = &look.scene.daemon.agreements()[place];
    book.is_forgotten
        || book.is_provider_gone && tried.is_some_and(|at| look.now().since(at) < RETRY_WITHIN)
}

/// L5: why a node that is said to run cannot run under this agreement.
fn unfit(look: &Look<'_>, place: usize) -> Option<String> {
    let (deal, daemon) = (&look.facts.deals[place], look.scene.daemon);
    let book = &daemon.agreements()[place];
    if book.approved.is_none() {
        return Some(format!("agreement {} is not approved", book.id));
    }
    if deal.end_asked.is_some() {
        return Some(format!("agreement {} is being ended", book.id));
    }
    let ended_long_ago =
        |ended: Option<Timestamp>| ended.is_some_and(|at| look.facts.awake_for(at) > LATENCY);
    if ended_long_ago(book.ended) {
        return Some(format!("agreement {} is over", book.id));
    }
    let alive = deal.activities.iter().map(|nth| &daemon.activities()[*nth]);
    let alive: Vec<_> = alive.filter(|it| !ended_long_ago(it.ended)).collect();
    match alive.as_slice() {
        [activity] if activity.bootstraps == 0 => {
            Some(format!("activity {} was not set up", activity.id))
        }
        [_] => None,
        _ => Some(format!("agreement {} has {} activities", book.id, alive.len())),
    }
}

/// L5: in fair times a node that lost what it runs on is noticed.
fn check_running(look: &Look<'_>, findings: &mut Findings) {
    for cluster in look.facts.clusters.values().filter(|it| !it.is_closed) {
        for (id, node) in &cluster.nodes {
            if node.state != NodeState::Running {
                continue;
            }
            let account = node.agreement.and_then(|number| cluster.accounts.get(&number));
            let Some(place) = account.and_then(|account| account.place) else {
                findings.violate("L5", look.now(), format!("{id} runs without an agreement"));
                continue;
            };
            let book = &look.scene.daemon.agreements()[place];
            let ended = book.ended.and_then(|at| look.facts.fair(at));
            if ended.is_some_and(|at| look.now().since(at) > NOTICED_WITHIN) {
                let what = format!("{id} runs, and agreement {} is over", book.id);
                findings.violate("L5", look.now(), what);
            }
        }
    }
}

/// L6, L8: an agreement that is about to be signed has a place of its own, for a node of its own.
fn check_signing(
    look: &Look<'_>,
    cluster: &ClusterFacts,
    number: AgreementNo,
    node: NodeId,
    ip: Ipv4Addr,
    findings: &mut Findings,
) {
    let others: Vec<_> = cluster
        .accounts
        .iter()
        .filter(|(other, account)| **other != number && account.over.is_none())
        .map(|(_, account)| account)
        .collect();
    let held = others.iter().map(|account| account.ip).chain(cluster.leaving.values().copied());
    let held: BTreeSet<Ipv4Addr> = held.collect();
    if let Some(what) = misplaced(ip, &held) {
        findings.violate("L6", look.now(), what);
    }
    let provider = cluster.accounts.get(&number).map(|account| &account.provider);
    if others.iter().any(|account| Some(&account.provider) == provider) {
        findings.violate("L6", look.now(), format!("{node} shares its provider with another node"));
    }
    let for_node = || others.iter().filter(|it| it.node == node && it.closing.is_none());
    if for_node().any(|account| account.is_approved) {
        findings.violate("L8", look.now(), format!("{node} has a provider, and another is asked"));
    }
    let most = cluster.nodes.get(&node).map_or(1, |node| node.spec.choice.hedge as usize);
    let asked = for_node().count() + 1;
    if asked > most {
        let what = format!("{asked} providers are asked at once for {node}");
        findings.violate("L8", look.now(), what);
    }
}

/// What is wrong with an address while these are held; the lowest free one is right.
fn misplaced(ip: Ipv4Addr, held: &BTreeSet<Ipv4Addr>) -> Option<String> {
    if !(FIRST_NODE..=LAST_NODE).contains(&ip) {
        return Some(format!("{ip} is no address of a node"));
    }
    if held.contains(&ip) {
        return Some(format!("{ip} is given to a second node"));
    }
    let mut lower = u32::from(FIRST_NODE)..u32::from(ip);
    let free = lower.find(|free| !held.contains(&Ipv4Addr::from(*free)));
    free.map(|free| format!("{ip} is given while {} is free", Ipv4Addr::from(free)))
}

/// L1: an agreement counts as over when nothing can come of it any more.
fn check_over(look: &Look<'_>, id: ClusterId, number: AgreementNo, findings: &mut Findings) {
    let Some(book) =
        look.facts.place_of(id, number).map(|place| &look.scene.daemon.agreements()[place])
    else {
        return;
    };
    if book.is_forgotten {
        return;
    }
    let may_be_approved = book.approved.is_none() && look.now() < book.valid_to;
    if book.ended.is_none() && (book.approved.is_some() || may_be_approved) {
        let what = format!("agreement {} counts as over, and is {:?}", book.id, book.state);
        findings.violate("L1", look.now(), what);
    }
}

/// L9: what is started, is started on something that is there.
fn check_call(look: &Look<'_>, request: &Request, findings: &mut Findings) {
    match request {
        Request::CreateActivity { agreement, .. } => {
            if let Some(what) = untimely(look, agreement) {
                findings.violate("L9", look.now(), format!("an activity on {agreement}: {what}"));
            }
            if let Some(what) = superfluous(look, agreement) {
                findings.violate("L8", look.now(), format!("an activity on {agreement}: {what}"));
            }
        }
        Request::Execute { activity, .. } => {
            let nth = look.facts.index.activity(activity);
            let place = nth
                .and_then(|nth| look.facts.place(&look.scene.daemon.activities()[nth].agreement));
            // By an id that came wrong nothing is started.
            let Some(place) = place else { return };
            if look.facts.deals[place].end_asked.is_some() {
                let what = format!("commands for {activity}, which is being ended");
                findings.violate("L9", look.now(), what);
            }
        }
        Request::TerminateAgreement { agreement, .. } => check_order(look, agreement, findings),
        Request::AddNode { network, provider, ip } => {
            if let Some(other) = holder(look, network, *ip).filter(|it| *it != provider) {
                let what = format!("{provider} is to be at {ip}, where {other} is");
                findings.violate("L6", look.now(), what);
            }
        }
        _ => {}
    }
}

/// Who is at an address of a network.
fn holder<'a>(look: &Look<'a>, network: &NetworkId, ip: IpAddr) -> Option<&'a ProviderId> {
    let mut books = look.scene.daemon.networks().iter().rev();
    let book = books.find(|it| it.removed.is_none() && it.network.id == *network)?;
    book.nodes.iter().find(|(at, _)| *at == ip).map(|(_, holder)| holder)
}

/// L2: what is known to run is destroyed before its agreement ends.
fn check_order(look: &Look<'_>, agreement: &AgreementId, findings: &mut Findings) {
    let Some(place) = look.facts.place(agreement) else { return };
    let deal = &look.facts.deals[place];
    // By an id that came wrong it cannot be destroyed.
    let is_known = deal.owner.is_some_and(|(cluster, number, _)| {
        let account = look.scene.durable.cluster(cluster).and_then(|it| it.accounts.get(&number));
        let activity = account.and_then(|account| account.activity.as_ref());
        activity.is_some_and(|activity| look.facts.index.activity(activity).is_some())
    });
    let is_alive =
        deal.activities.iter().any(|nth| look.scene.daemon.activities()[*nth].ended.is_none());
    // What was made while the end was already asked for ends with the agreement.
    let is_first = deal.end_asked == Some(look.now());
    if is_first && is_known && is_alive && !deal.is_destroy_asked {
        let what = format!("{agreement} is ended, and its activity was not destroyed");
        findings.violate("L2", look.now(), what);
    }
}

fn untimely(look: &Look<'_>, agreement: &AgreementId) -> Option<&'static str> {
    let deal: &Deal = &look.facts.deals[look.facts.place(agreement)?];
    if !deal.is_approval_told {
        Some("nobody said that it is approved")
    } else if deal.end_asked.is_some() {
        Some("it is being ended")
    } else {
        None
    }
}

/// L12: what we ask for is possible, so that only a provider that fails can fail it.
fn check_failure(
    look: &Look<'_>,
    activity: &ActivityId,
    failed: &CommandResult,
    findings: &mut Findings,
) {
    let daemon = look.scene.daemon;
    let nth = look.facts.index.activity(activity);
    let place = nth.and_then(|nth| look.facts.place(&daemon.activities()[nth].agreement));
    let provider = place.map(|place| &daemon.agreements()[place].provider);
    let mut offers = daemon.offers().filter(|offer| Some(&offer.provider) == provider);
    if offers.any(is_reliable) {
        let message = failed.message.as_deref().unwrap_or_default();
        let what = format!("command {} fails where it must not: {message}", failed.index);
        findings.violate("L12", look.now(), what);
    }
}

/// L8: of providers that were asked for the same node, one starts it.
fn superfluous(look: &Look<'_>, agreement: &AgreementId) -> Option<String> {
    let (cluster, number, node) = look.facts.deals[look.facts.place(agreement)?].owner?;
    let mut others = look.facts.clusters.get(&cluster)?.accounts.iter();
    let other = others.find(|(other, it)| {
        **other != number && it.node == node && it.closing.is_none() && it.over.is_none()
    });
    other.map(|(_, other)| format!("{} is still asked for {node}", other.provider))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr};

    use super::misplaced;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 0, last)
    }

    #[test]
    fn the_lowest_free_address_is_right() {
        let held = BTreeSet::from([ip(3), ip(4), ip(6)]);

        assert_eq!(misplaced(ip(5), &held), None);
        assert_eq!(misplaced(ip(3), &BTreeSet::new()), None);
    }

    #[test]
    fn every_other_address_is_wrong() {
        let held = BTreeSet::from([ip(3), ip(4), ip(6)]);

        assert!(misplaced(ip(4), &held).is_some(), "held");
        assert!(misplaced(ip(7), &held).is_some(), "not the lowest");
        assert!(misplaced(ip(2), &held).is_some(), "the network's own");
        assert!(misplaced(Ipv4Addr::new(10, 0, 0, 3), &held).is_some(), "outside");
    }
}
