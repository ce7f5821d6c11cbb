//! M1, M7, M8, M9, M10: what a cluster may cost, what it has set aside, and what became of it.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{
        Output, Record,
        cluster::record::{AgreementFact, ClusterRecord},
        ids::{AgreementNo, ClusterId},
    },
    units::{Glm, Span, Timestamp},
    yagna::{AgreementId, AllocationId, Request},
};

use super::{
    Family, Findings, Look,
    facts::{ClusterFacts, Deal},
    subject::{full_cost, full_load},
};
use crate::{
    prices::{self, Costs},
    yagna::{SimYagna, books::AgreementBook},
};

/// Sums are rounded in many places.
pub(super) const TOLERANCE: Glm = Glm::from_atto(1_000_000);
/// What a signature sets aside covers at least so much time.
const RESERVED_AT_LEAST: Span = Span::mins(5);
/// From the first request to end it, a node may go on costing for so long.
const ENDING_TIME: Span = Span::mins(3);
/// A budget that is nearly used up is told of within this time.
const WARNING_TIME: Span = Span::secs(10);
/// In fair times a smaller budget is followed within this time.
const FOLLOWED_WITHIN: Span = Span::mins(4);
/// An allocation must outlive what still runs, unless its end was asked for so long ago.
const FORSAKEN_AFTER: Span = Span::mins(9);

/// Keeps the sums.
#[derive(Default)]
pub(super) struct Money {
    wallet: Option<Glm>,
    paid: Glm,
    paid_to: BTreeMap<AgreementId, Glm>,
    payments_seen: usize,
    /// Since when clusters have used up four fifths of their budgets.
    short_since: BTreeMap<ClusterId, Timestamp>,
    /// Since when more is set aside for clusters than their budgets.
    excess_since: BTreeMap<ClusterId, Timestamp>,
}

impl Family for Money {
    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        match output {
            Output::Persist { records, .. } => {
                for record in records {
                    if let Record::Cluster(id, record) = record {
                        check_record(look, *id, record, findings);
                    }
                }
            }
            Output::Call { request, .. } => check_call(look, request, findings),
            Output::Answer { .. }
            | Output::Abandon { .. }
            | Output::Probe { .. }
            | Output::Notify(_)
            | Output::Saw(_) => {}
        }
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        self.wallet.get_or_insert_with(|| look.scene.daemon.wallet());
        for (id, cluster) in open_clusters(look) {
            check_sum(look, *id, cluster, findings);
            self.check_warning(look, *id, cluster, findings);
            self.check_followed(look, *id, cluster, findings);
        }
        self.check_payments(look, findings);
    }

    fn at_end(&mut self, look: &Look<'_>, findings: &mut Findings) {
        for book in look.scene.daemon.allocations().iter().filter(|book| !book.is_released) {
            let what = format!("allocation {} is not released", book.allocation.id);
            findings.violate("M8", look.now(), what);
        }
    }
}

impl Money {
    /// M7: what left the wallet was paid, and what was paid was accepted.
    fn check_payments(&mut self, look: &Look<'_>, findings: &mut Findings) {
        let daemon = look.scene.daemon;
        let payments = daemon.payments();
        for payment in payments.iter().skip(self.payments_seen) {
            self.paid = self.paid.plus(payment.amount);
            let paid = self.paid_to.entry(payment.agreement.clone()).or_insert(Glm::ZERO);
            *paid = paid.plus(payment.amount);
            let Some(place) = look.facts.place(&payment.agreement) else { continue };
            let taken = look.facts.deals[place].taken;
            if *paid > taken.plus(TOLERANCE) {
                let what = format!("{paid} GLM were paid for {taken} GLM that were accepted");
                findings.violate("M7", look.now(), what);
            }
            if payment.payee != daemon.agreements()[place].provider {
                let what = format!("{} was paid for another's work", payment.payee);
                findings.violate("M5", look.now(), what);
            }
        }
        self.payments_seen = payments.len();
        let start = self.wallet.unwrap_or(Glm::ZERO);
        if daemon.wallet().plus(self.paid) != start {
            let what =
                format!("{} GLM of {start} are left, {} were paid", daemon.wallet(), self.paid);
            findings.violate("M7", look.now(), what);
        }
    }

    /// M1: whoever has used up most of a budget is told.
    fn check_warning(
        &mut self,
        look: &Look<'_>,
        id: ClusterId,
        cluster: &ClusterFacts,
        findings: &mut Findings,
    ) {
        let is_short = cluster.ending.is_none()
            && !cluster.accounts.is_empty()
            && is_used(cluster.committed_without(None), cluster.budget, 80);
        if !is_short {
            self.short_since.remove(&id);
            return;
        }
        let since = *self.short_since.entry(id).or_insert_with(|| look.now());
        if look.now().since(since) > WARNING_TIME && cluster.budget_warnings == 0 {
            let what = "four fifths of the budget are used up, and nobody was told";
            findings.violate("M1", look.now(), what);
        }
    }

    /// M10: what is set aside follows a budget that becomes smaller.
    fn check_followed(
        &mut self,
        look: &Look<'_>,
        id: ClusterId,
        cluster: &ClusterFacts,
        findings: &mut Findings,
    ) {
        let sum = all_set_aside(look, cluster, None);
        if sum <= cluster.budget.plus(TOLERANCE) || cluster.ending.is_some() {
            self.excess_since.remove(&id);
            return;
        }
        let since = *self.excess_since.entry(id).or_insert_with(|| look.now());
        if look.facts.fair(since).is_some_and(|fair| look.now().since(fair) > FOLLOWED_WITHIN) {
            let what = format!("{sum} GLM are still set aside, the budget is {}", cluster.budget);
            findings.violate("M10", look.now(), what);
        }
    }
}

fn open_clusters<'a>(
    look: &Look<'a>,
) -> impl Iterator<Item = (&'a ClusterId, &'a ClusterFacts)> + use<'a> {
    look.facts.clusters.iter().filter(|(_, cluster)| !cluster.is_closed)
}

/// M1: what is promised fits the budget and what is set aside, and covers what it is for.
fn check_record(look: &Look<'_>, id: ClusterId, record: &ClusterRecord, findings: &mut Findings) {
    let Some(cluster) = look.facts.clusters.get(&id) else { return };
    match record {
        ClusterRecord::Agreement { number, fact } => {
            let is_promise = matches!(
                fact,
                AgreementFact::Signing { .. }
                    | AgreementFact::Reserved(_)
                    | AgreementFact::NoteAccepted { .. }
                    | AgreementFact::InvoiceAccepted { .. }
            );
            let committed = cluster.committed_without(None);
            if is_promise && committed > cluster.budget.plus(TOLERANCE) {
                let what =
                    format!("{committed} GLM are promised, the budget is {}", cluster.budget);
                findings.violate("M1", look.now(), what);
            }
            if is_promise
                && let Some(set_aside) = set_aside(look, cluster)
                && committed > set_aside.plus(TOLERANCE)
            {
                let what = format!("{committed} GLM are promised, {set_aside} are set aside");
                findings.violate("M1", look.now(), what);
            }
            if let AgreementFact::Signing { reserve, .. } = fact {
                check_reserve(look, cluster, *number, *reserve, findings);
            }
        }
        ClusterRecord::BudgetSet { total } => {
            if !look.facts.is_budget_asked(&cluster.name, *total) {
                let what = format!("the budget became {total} GLM, which nobody asked for");
                findings.violate("M1", look.now(), what);
            }
        }
        ClusterRecord::Opened { .. }
        | ClusterRecord::LawSet { .. }
        | ClusterRecord::NodesRequested { .. }
        | ClusterRecord::Node { .. }
        | ClusterRecord::Funds(_)
        | ClusterRecord::Network(_)
        | ClusterRecord::BillsRead { .. }
        | ClusterRecord::Warned { .. }
        | ClusterRecord::Ending { .. } => {}
    }
}

/// What the daemon has set aside, where nothing was ever paid from elsewhere.
fn set_aside(look: &Look<'_>, cluster: &ClusterFacts) -> Option<Glm> {
    let [only] = cluster.allocations[..] else { return None };
    let book = &look.scene.daemon.allocations()[only];
    (!book.is_released).then_some(book.allocation.total)
}

/// M1: what is set aside before the signature covers the first minutes.
fn check_reserve(
    look: &Look<'_>,
    cluster: &ClusterFacts,
    number: AgreementNo,
    reserve: Glm,
    findings: &mut Findings,
) {
    let place = cluster.accounts.get(&number).and_then(|account| account.place);
    let Some(book) = place.and_then(|place| look.scene.daemon.agreements().get(place)) else {
        return;
    };
    let least = full_cost(book, RESERVED_AT_LEAST);
    if reserve < least {
        let what = format!(
            "{reserve} GLM were set aside for what costs {least} within {RESERVED_AT_LEAST}"
        );
        findings.violate("M1", look.now(), what);
    }
}

fn check_call(look: &Look<'_>, request: &Request, findings: &mut Findings) {
    match request {
        Request::ConfirmAgreement { agreement, .. } => check_signature(look, agreement, findings),
        Request::CreateAllocation { total, timeout, platform } => {
            let owner = look.facts.marks.get(timeout);
            let Some(cluster) = owner.and_then(|id| look.facts.clusters.get(id)) else { return };
            check_funds(look, cluster, None, *total, findings);
            if *platform != cluster.plan.platform {
                let what = format!("{total} GLM are set aside on {platform}");
                findings.violate("M5", look.now(), what);
            }
        }
        Request::AmendAllocation { allocation, total, .. } => {
            if let Some(cluster) = owner(look, allocation) {
                check_funds(look, cluster, Some(allocation), *total, findings);
            }
        }
        Request::ReleaseAllocation { allocation } => {
            if let Some(cluster) = owner(look, allocation) {
                check_release(look, cluster, findings);
            }
        }
        _ => {}
    }
}

/// The cluster that an allocation is of.
pub(super) fn owner<'a>(look: &Look<'a>, allocation: &AllocationId) -> Option<&'a ClusterFacts> {
    let books = look.scene.daemon.allocations();
    look.facts.clusters.values().find(|cluster| {
        cluster.allocations.iter().any(|nth| books[*nth].allocation.id == *allocation)
    })
}

/// M1, M9: what is signed fits the limits, the budget, and the rate.
fn check_signature(look: &Look<'_>, agreement: &AgreementId, findings: &mut Findings) {
    let Some(place) = look.facts.place(agreement) else { return };
    let Some((cluster, node)) = look.facts.owner(place) else { return };
    let book = &look.scene.daemon.agreements()[place];
    let costs = Costs::new(book.start, book.cpu_second, book.env_second, u64::from(book.threads));
    if let Some(limit) = prices::exceeded(&node.spec.limits, &costs) {
        findings.violate("M9", look.now(), format!("{} was signed above `{limit}`", book.id));
    }
    let number = look.facts.deals[place].owner.map(|(_, number, _)| number);
    let before = cluster.committed_without(number);
    if is_used(before, cluster.budget, 95) {
        let what = format!("{before} of {} GLM were promised before a signature", cluster.budget);
        findings.violate("M1", look.now(), what);
    }
    if let Some(limit) = cluster.plan.max_glm_per_hour {
        let agreements = look.scene.daemon.agreements();
        let running = cluster.accounts.values().filter(|account| account.over.is_none());
        let rate = running
            .filter_map(|account| agreements.get(account.place?))
            .map(|book| full_load(book).times(3_600))
            .fold(Glm::ZERO, Glm::plus);
        if rate > limit.plus(TOLERANCE) {
            let what = format!("{rate} GLM per hour are signed, {limit} is the limit");
            findings.violate("M1", look.now(), what);
        }
    }
}

/// M10: all that a cluster has ever spent or still sets aside is within its budget.
fn check_funds(
    look: &Look<'_>,
    cluster: &ClusterFacts,
    amended: Option<&AllocationId>,
    total: Glm,
    findings: &mut Findings,
) {
    let sum = all_set_aside(look, cluster, amended).plus(total);
    // A budget that became smaller is followed as soon as the daemon answers.
    if sum > cluster.budget_max.plus(TOLERANCE) {
        let what = format!("{sum} GLM are set aside for a budget of {}", cluster.budget_max);
        findings.violate("M10", look.now(), what);
    }
}

/// What a cluster has spent or sets aside, but for what is in one allocation.
fn all_set_aside(look: &Look<'_>, cluster: &ClusterFacts, except: Option<&AllocationId>) -> Glm {
    let books = cluster.allocations.iter().map(|nth| &look.scene.daemon.allocations()[*nth]);
    books
        .filter(|book| Some(&book.allocation.id) != except)
        .map(|book| if book.is_released { book.allocation.spent } else { book.allocation.total })
        .fold(Glm::ZERO, Glm::plus)
}

/// M8: nothing that runs loses its funds, unless its end was asked for long ago in vain.
fn check_release(look: &Look<'_>, cluster: &ClusterFacts, findings: &mut Findings) {
    for account in cluster.accounts.values() {
        let Some(place) = account.place else { continue };
        let (deal, book) = (&look.facts.deals[place], &look.scene.daemon.agreements()[place]);
        let is_asked =
            deal.end_asked.is_some_and(|asked| look.now().since(asked) >= FORSAKEN_AFTER);
        let runs = book.approved.is_some() && book.ended.is_none() && deal.create_asked.is_some();
        if runs && !is_asked && !book.is_forgotten {
            let what = format!("{} runs and has lost its funds", book.id);
            findings.violate("M8", look.now(), what);
        }
    }
}

/// M1: what was accepted and what is owed, in the daemon's books.
fn check_sum(look: &Look<'_>, id: ClusterId, cluster: &ClusterFacts, findings: &mut Findings) {
    let daemon = look.scene.daemon;
    let spent = cluster.allocations.iter().map(|nth| daemon.allocations()[*nth].allocation.spent);
    let spent = spent.fold(Glm::ZERO, Glm::plus);
    let mut owed = Glm::ZERO;
    for place in &look.facts.live {
        let deal = &look.facts.deals[*place];
        if deal.owner.is_some_and(|(owner, _, _)| owner == id) && !deal.is_settled {
            owed = owed.plus(exposure(look.now(), deal, &daemon.agreements()[*place], daemon));
        }
    }
    if spent.plus(owed) > cluster.budget.plus(TOLERANCE) {
        let what =
            format!("{spent} GLM are accepted and {owed} owed, the budget is {}", cluster.budget);
        findings.violate("M1", look.now(), what);
    }
}

/// What an agreement has really cost and was not accepted yet.
///
/// After its end was asked for, only the time that this may take counts: a provider that goes on
/// charging is not paid. Nobody could ask while the computer slept.
fn exposure(now: Timestamp, deal: &Deal, book: &AgreementBook, daemon: &SimYagna) -> Glm {
    let until = deal.end_asked.map_or(now, |asked| asked.plus(ENDING_TIME).min(now));
    let costs = deal.activities.iter().map(|nth| daemon.activities()[*nth].cost(until));
    let slept = full_load(book).scaled_up(deal.slept.as_micros(), 1_000_000).unwrap_or(Glm::MAX);
    costs.fold(Glm::ZERO, Glm::plus).minus(deal.taken).minus(slept)
}

/// Whether so many percent of a budget are used.
fn is_used(committed: Glm, budget: Glm, percent: u64) -> bool {
    budget.scaled_up(percent, 100).is_some_and(|share| committed >= share)
}

#[cfg(test)]
mod tests {
    use ray_on_golem::units::Glm;

    use super::is_used;

    #[test]
    fn a_share_is_used_when_it_is_reached() {
        let budget = Glm::from_whole(10);

        assert!(is_used(Glm::from_whole(8), budget, 80));
        assert!(!is_used(Glm::from_whole(8).minus(Glm::from_atto(1)), budget, 80));
        assert!(!is_used(Glm::from_whole(9), budget, 95));
    }
}
