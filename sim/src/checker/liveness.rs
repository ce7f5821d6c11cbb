//! V1 to V5, V7: in fair times what is asked for comes true in bounded time, or for a reason that holds;
//! and nothing is forgotten before it has ended.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::{
    core::{
        Output, Record,
        cluster::{
            plan::NodeKind,
            record::{ClusterRecord, EndReason, NodeFact},
            state::NodeState,
        },
        ids::{ClusterId, NodeId},
        market::spec::NodeSpec,
        record::CommonRecord,
    },
    units::{Glm, Span, Timestamp, money::Rounding, money::parse_scaled},
    yagna::{NetworkPath, Properties, ProviderId},
};
use serde_json::Value;

use super::{
    Family, Findings, Look, Phase,
    bills::{DECISION_TIME, is_decided},
    facts::{Bill, ClusterFacts, NodeFacts},
    oracle::{self, Prospect, Supplier},
    subject::full_load,
};
use crate::{
    prices::Costs,
    provider::{Draft, Offer},
    scenario::{Behaviour, Bus, Conduct, Quirk},
};

/// A node is up or given up within this time: twenty minutes, and what it takes to say so.
const START_WITHIN: Span = Span::mins(21);
/// A step of bringing a node up takes no longer than this: the longest may take five minutes.
const STEP_WITHIN: Span = Span::secs(400);
/// A node that ends has ended within this time.
const END_WITHIN: Span = Span::mins(2);
/// A shutdown has ended within this time, whatever providers do.
const SHUTDOWN_WITHIN: Span = Span::mins(15);

/// Keeps who is late.
#[derive(Default)]
pub(super) struct Liveness {
    told: BTreeSet<(ClusterId, NodeId)>,
    invoices_seen: usize,
    invoices_due: BTreeSet<(Timestamp, usize)>,
    /// Clusters that were forgotten in this step.
    forgotten: BTreeSet<ClusterId>,
    has_told_of_shutdown: bool,
}

impl Family for Liveness {
    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        let Output::Persist { records, .. } = output else { return };
        for record in records {
            match record {
                Record::Cluster(id, record) => {
                    if let ClusterRecord::Node { node, fact: NodeFact::Ending } = record.as_ref() {
                        check_given_up(look, *id, *node, findings);
                    }
                }
                Record::Common(CommonRecord::ClusterClosed { cluster, .. }) => {
                    self.forgotten.insert(*cluster);
                }
                Record::Common(_) => {}
            }
        }
    }

    /// V2: whoever forgets a cluster has ended its nodes.
    fn on_step(&mut self, look: &Look<'_>, findings: &mut Findings) {
        while let Some(id) = self.forgotten.pop_first() {
            let Some(cluster) = look.facts.clusters.get(&id) else { continue };
            let left = cluster.nodes.iter().find(|(_, node)| node.state < NodeState::Terminated);
            if let Some((node, _)) = left {
                let what = format!("{} is forgotten before {node} has ended", cluster.name);
                findings.violate("V2", look.now(), what);
            }
        }
    }

    /// A cluster may be forgotten whose last records were not written any more.
    fn on_crash(&mut self, _look: &Look<'_>, _findings: &mut Findings) {
        self.forgotten.clear();
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        if is_endless(look) && !self.has_told_of_shutdown {
            self.has_told_of_shutdown = true;
            findings.violate("V4", look.now(), "the manager has not stopped");
        }
        if look.facts.fair_since.is_none() {
            return;
        }
        self.check_nodes(look, findings);
        self.check_invoices(look, findings);
        if let Some(what) = unended(look)
            && !self.has_told_of_shutdown
        {
            self.has_told_of_shutdown = true;
            findings.violate("V4", look.now(), what);
        }
    }
}

impl Liveness {
    fn check_nodes(&mut self, look: &Look<'_>, findings: &mut Findings) {
        for (id, cluster) in look.facts.clusters.iter().filter(|(_, it)| !it.is_closed) {
            for (node, facts) in &cluster.nodes {
                let Some(what) = look.facts.fair_since.and_then(|it| late(facts, it, look.now()))
                else {
                    continue;
                };
                if self.told.insert((*id, *node)) {
                    let (invariant, what) = what;
                    let what = format!("{node} of {} {what}", cluster.name);
                    findings.violate(invariant, look.now(), what);
                }
            }
        }
    }

    /// V3: whoever has done its work is told what becomes of its invoice.
    fn check_invoices(&mut self, look: &Look<'_>, findings: &mut Findings) {
        let invoices = look.scene.daemon.invoices();
        for (nth, book) in invoices.iter().enumerate().skip(self.invoices_seen) {
            let due = look.facts.fair(book.received).map(|at| at.plus(DECISION_TIME));
            self.invoices_due.extend(due.map(|due| (due, nth)));
        }
        self.invoices_seen = invoices.len();
        while let Some((due, nth)) = self.invoices_due.first().copied() {
            if due > look.now() {
                break;
            }
            self.invoices_due.pop_first();
            if !is_decided(look, Bill::Invoice(nth)) {
                let what = format!("invoice {} waits", invoices[nth].invoice.id);
                findings.violate("V3", look.now(), what);
            }
        }
    }
}

/// V1, V2, V7: what a node should have done by now.
fn late(
    node: &NodeFacts,
    fair_since: Timestamp,
    now: Timestamp,
) -> Option<(&'static str, &'static str)> {
    match node.state {
        NodeState::Pending if now.since(node.asked.max(fair_since)) > START_WITHIN => {
            Some(("V1", "is neither up nor given up"))
        }
        NodeState::Pending
            if node.agreement.is_some() && now.since(node.moved.max(fair_since)) > STEP_WITHIN =>
        {
            Some(("V7", "waits for a step without end"))
        }
        NodeState::Terminating if now.since(node.since.max(fair_since)) > END_WITHIN => {
            Some(("V2", "is terminating and does not end"))
        }
        NodeState::Pending
        | NodeState::Running
        | NodeState::Terminating
        | NodeState::Terminated => None,
    }
}

/// Whether a provider had come to terms, or was asked to approve.
fn has_agreed(reason: &str) -> bool {
    reason.contains(" came to terms") || reason.contains("is asked to approve")
}

/// V4: in all times a manager that was told to shut down does so, or says what it leaves.
fn is_endless(look: &Look<'_>) -> bool {
    let Some(since) = look.facts.shutdown_since else { return false };
    look.facts.awake_for(since) > SHUTDOWN_WITHIN && !look.scene.machine.view().has_shut_down()
}

/// V4: in fair times, what a manager that was told to shut down still holds.
fn unended(look: &Look<'_>) -> Option<String> {
    let since = look.facts.fair(look.facts.shutdown_since?)?;
    if look.now().since(since) <= SHUTDOWN_WITHIN {
        return None;
    }
    let daemon = look.scene.daemon;
    if let Some(book) = daemon.allocations().iter().find(|book| !book.is_released) {
        return Some(format!("allocation {} is still set aside", book.allocation.id));
    }
    if let Some(book) = daemon.networks().iter().find(|book| book.removed.is_none()) {
        return Some(format!("network {} is still there", book.network.id));
    }
    if let Some(book) = daemon.demands().iter().find(|book| book.end.is_none()) {
        return Some(format!("demand {} is still published", book.id));
    }
    let clusters = look.facts.clusters.values().filter(|cluster| !cluster.is_closed);
    let mut nodes = clusters.flat_map(|cluster| &cluster.nodes);
    let left = nodes.find(|(_, node)| node.state < NodeState::Terminated);
    left.map(|(id, _)| format!("{id} has not ended"))
}

/// V1 and V5: a node that nobody wanted to end, and that ends before it was up, has a reason, and the
/// reason holds.
fn check_given_up(look: &Look<'_>, id: ClusterId, node: NodeId, findings: &mut Findings) {
    let Some(cluster) = look.facts.clusters.get(&id) else { return };
    let Some(facts) = cluster.nodes.get(&node) else { return };
    if look.scene.phase != Phase::Fair || facts.was_running || !is_given_up(cluster, facts) {
        return;
    }
    if facts.reason.is_none() {
        findings.violate("V1", look.now(), format!("{node} was given up without a reason"));
    }
    if look.facts.fair(facts.asked) != Some(facts.asked) {
        return;
    }
    // Bad luck is a reason: what was agreed on went to others, or a start failed so late that too
    // little time was left for the next one.
    let durable = look.scene.durable.cluster(id).and_then(|cluster| cluster.nodes.get(&node));
    let has_tried =
        durable.is_some_and(|node| node.log.iter().any(|line| line.contains("retrying. error")));
    if has_tried || facts.reason.as_deref().is_some_and(has_agreed) {
        return;
    }
    if facts.kind == NodeKind::Worker && cluster.ray.is_failing() {
        return;
    }
    let prospect = prospect(look, cluster, facts);
    let suppliers = suppliers(look, cluster, &facts.spec);
    if oracle::excuse(&prospect, &suppliers).is_none() {
        let reason = facts.reason.as_deref().unwrap_or("nothing was said");
        let what = format!("{node} of {} could have come up: {reason}", cluster.name);
        findings.violate("V5", look.now(), what);
    }
}

/// Whether nothing but the node's own start can have ended it.
fn is_given_up(cluster: &ClusterFacts, node: &NodeFacts) -> bool {
    let is_own = match cluster.ending.map(|(reason, _)| reason) {
        None | Some(EndReason::NoNodes) => true,
        Some(EndReason::HeadGone) => node.kind == NodeKind::Head,
        Some(
            EndReason::Asked | EndReason::BudgetSpent | EndReason::Autostop | EndReason::Shutdown,
        ) => false,
    };
    is_own && !node.is_unwanted
}

fn prospect(look: &Look<'_>, cluster: &ClusterFacts, node: &NodeFacts) -> Prospect {
    let daemon = look.scene.daemon;
    let books = daemon.allocations();
    let clusters = look.facts.clusters.values().filter(|it| !it.is_closed);
    let waiting = clusters.flat_map(|it| it.nodes.values());
    let waiting = waiting.filter(|it| it.state == NodeState::Pending).count();
    let running = cluster.accounts.values().filter(|account| account.over.is_none());
    let rate = running
        .filter_map(|account| daemon.agreements().get(account.place?))
        .map(|book| full_load(book).times(3_600));
    let open = cluster.allocations.iter().map(|nth| &books[*nth]).find(|book| !book.is_released);
    Prospect {
        now: look.now(),
        waiting: waiting + 1,
        waited: node.waited,
        limits: node.spec.limits.clone(),
        is_funded: open.is_some(),
        is_network_lost: cluster.is_network_lost
            || (cluster.plan.network_path == Some(NetworkPath::Bus) && daemon.bus() != Bus::Good),
        budget: open.map_or(cluster.budget, |book| cluster.budget.min(book.allocation.total)),
        committed: cluster.committed_without(None),
        rate_limit: cluster.plan.max_glm_per_hour,
        rate: rate.fold(Glm::ZERO, Glm::plus),
    }
}

/// The market as it really is, for a node of this shape.
fn suppliers(look: &Look<'_>, cluster: &ClusterFacts, spec: &NodeSpec) -> Vec<Supplier> {
    let daemon = look.scene.daemon;
    // Until when each provider was, or is, in somebody's hands.
    let mut held: BTreeMap<&ProviderId, Option<Timestamp>> = BTreeMap::new();
    for book in daemon.agreements().iter().filter(|book| book.confirmed.is_some()) {
        let until = held.entry(&book.provider).or_insert(Some(Timestamp::EPOCH));
        *until = match (*until, book.ended) {
            (Some(until), Some(ended)) => Some(until.max(ended)),
            (None, _) | (_, None) => None,
        };
    }
    let offers = daemon.offers().filter_map(|offer| {
        let properties = offer.properties(&Draft::default());
        let costs = Costs::of_properties(&properties)?;
        Some(Supplier {
            provider: offer.provider.clone(),
            costs,
            is_matching: is_matching(spec, cluster.plan.platform.as_str(), &properties),
            is_reliable: is_reliable(offer),
            is_blacklisted: look.facts.is_blacklisted(cluster, &offer.provider, look.now()),
            free_since: held.get(&offer.provider).copied().unwrap_or(Some(Timestamp::EPOCH)),
            failed: look.facts.failures.get(&offer.provider).copied(),
        })
    });
    offers.collect()
}

/// Whether the provider does what the provider agent does, without exception; the image is ours.
pub(super) fn is_reliable(offer: &Offer) -> bool {
    let has_bare_image = offer.population.conduct.has_bare_image;
    offer.population.behaviour == Behaviour::Honest
        && offer.population.quirk == Quirk::None
        && offer.population.conduct == Conduct { has_bare_image, ..Conduct::default() }
}

pub(super) fn is_matching(spec: &NodeSpec, platform: &str, offer: &Properties) -> bool {
    let subnet = offer.text("golem.node.debug.subnet");
    let has_subnet = subnet == Some(spec.subnet_tag.as_str())
        || (subnet.is_some() && subnet == spec.priority_subnet_tag.as_deref());
    let millionths = |key: &str| {
        let number = offer.number(key).unwrap_or("0");
        parse_scaled(number, 6, Rounding::Down).unwrap_or(0)
    };
    let threads = millionths("golem.inf.cpu.threads") / 1_000_000;
    let capabilities = offer.get("golem.runtime.capabilities").and_then(Value::as_array);
    let has = |wanted: &String| {
        capabilities.is_some_and(|all| all.iter().any(|it| it.as_str() == Some(wanted)))
    };
    has_subnet
        && offer.text("golem.runtime.name") == Some(spec.runtime.as_str())
        && spec.capabilities.iter().all(has)
        && millionths("golem.inf.mem.gib") >= u128::from(spec.min_mem.as_millionths())
        && millionths("golem.inf.storage.gib") >= u128::from(spec.min_storage.as_millionths())
        && threads >= u128::from(spec.min_cpu_threads)
        && spec.max_cpu_threads.is_none_or(|max| threads <= u128::from(max))
        && offer.text(&format!("golem.com.payment.platform.{platform}.address")).is_some()
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{
        core::{
            cluster::{plan::NodeKind, state::NodeState},
            ids::AgreementNo,
        },
        units::{Span, Timestamp},
        yagna::Properties,
    };

    use super::{END_WITHIN, START_WITHIN, STEP_WITHIN, is_matching, late};
    use crate::{checker::facts::NodeFacts, plan};

    const ASKED: Timestamp = Timestamp::from_unix_micros(1_000_000_000);

    fn node(state: NodeState) -> NodeFacts {
        NodeFacts {
            kind: NodeKind::Worker,
            spec: Box::new(plan::spec()),
            asked: ASKED,
            state,
            since: ASKED,
            agreement: None,
            waits_since: None,
            moved: ASKED,
            waited: Span::ZERO,
            is_unwanted: false,
            was_running: false,
            reason: None,
        }
    }

    fn invariant(state: NodeState, fair_since: Timestamp, now: Timestamp) -> Option<&'static str> {
        late(&node(state), fair_since, now).map(|(invariant, _)| invariant)
    }

    #[test]
    fn a_node_that_hangs_is_seen_when_its_time_is_over() {
        let start = ASKED.plus(START_WITHIN);
        let end = ASKED.plus(END_WITHIN);

        assert_eq!(invariant(NodeState::Pending, ASKED, start), None);
        assert_eq!(invariant(NodeState::Pending, ASKED, start.plus(Span::TICK)), Some("V1"));
        assert_eq!(invariant(NodeState::Terminating, ASKED, end), None);
        assert_eq!(invariant(NodeState::Terminating, ASKED, end.plus(Span::TICK)), Some("V2"));
        assert_eq!(invariant(NodeState::Running, ASKED, Timestamp::NEVER), None);
    }

    #[test]
    fn a_step_without_end_is_seen() {
        let hanging = NodeFacts { agreement: Some(AgreementNo(1)), ..node(NodeState::Pending) };
        let due = ASKED.plus(STEP_WITHIN);

        assert_eq!(late(&hanging, ASKED, due), None);
        assert_eq!(late(&hanging, ASKED, due.plus(Span::TICK)).map(|it| it.0), Some("V7"));
    }

    #[test]
    fn time_counts_from_when_it_was_fair() {
        let fair = ASKED.plus(Span::hours(1));

        assert_eq!(invariant(NodeState::Pending, fair, fair.plus(START_WITHIN)), None);
    }

    #[test]
    fn an_offer_matches_by_what_the_demand_asks_for() {
        let spec = plan::spec();
        let mut offer = Properties::default();
        offer.set("golem.node.debug.subnet", "public");
        offer.set("golem.runtime.name", "vm");
        offer.set("golem.runtime.capabilities", spec.capabilities.clone());
        offer.set("golem.com.payment.platform.erc20-hoodi-tglm.address", "0x1");

        assert!(is_matching(&spec, "erc20-hoodi-tglm", &offer));
        assert!(!is_matching(&spec, "erc20-polygon-glm", &offer));
        offer.set("golem.node.debug.subnet", "elsewhere");
        assert!(!is_matching(&spec, "erc20-hoodi-tglm", &offer));
    }
}
