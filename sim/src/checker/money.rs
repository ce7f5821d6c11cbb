//! M1 to M10: what is due exactly, and nothing more; never above the budget.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::{
    core::{
        Command, Input, Notice, Output, Record,
        cluster::{
            plan::ClusterName,
            record::{AgreementFact, ClusterRecord},
        },
        ids::{ClusterId, RequestId},
        market::spec::PriceLimits,
    },
    units::{Glm, Span, Timestamp},
    yagna::{
        AgreementEventKind, AgreementId, BilledAmount, CallError, DocumentState, PlatformId,
        ProviderId, Request, Response, SessionId,
    },
};

use super::{
    Checker, Findings, Phase, Scene,
    subject::{Index, full_cost},
};
use crate::{prices, prices::Costs};

/// Clocks and rounding may differ by so much.
const TOLERANCE: Span = Span::secs(10);
const TOLERANCE_ATTO: u128 = 1_000;
/// A bill that reached us in fair times is decided within this time.
const DECISION_TIME: Span = Span::secs(120);
/// The sums are looked at so often, beside every signature and every acceptance.
const EVERY: u64 = 64;

#[derive(Default)]
pub(super) struct Money {
    index: Index,
    budgets: BTreeMap<ClusterName, Budget>,
    asked: BTreeMap<RequestId, (ClusterName, Glm)>,
    sessions: BTreeMap<SessionId, ClusterName>,
    names: BTreeMap<ClusterId, ClusterName>,
    /// Clusters whose users were told that the budget runs out.
    warned: BTreeSet<ClusterName>,
    /// Bills whose acceptance the daemon has confirmed, whatever it then says of them.
    accepted: BTreeSet<String>,
    created: BTreeMap<AgreementId, Timestamp>,
    ended: BTreeMap<AgreementId, Timestamp>,
    /// When agreements ended, as far as we were told.
    known_ends: BTreeMap<AgreementId, Timestamp>,
    accepting: BTreeMap<AgreementId, u32>,
    disputed: BTreeSet<String>,
    /// Bills that were accepted before; what was decided once may be repeated.
    judged: BTreeSet<String>,
    steps: u64,
    notes_seen: usize,
    invoices_seen: usize,
    undecided: BTreeSet<(Timestamp, bool, usize)>,
    wallet: Option<Glm>,
    fair_since: Option<Timestamp>,
}

struct Budget {
    /// The highest that was in force for the latest cluster of this name; a cluster that ends keeps
    /// its own.
    total: Glm,
    /// The one that is in force.
    now: Glm,
    rate: Option<Glm>,
    limits: PriceLimits,
    platform: PlatformId,
}

struct Claim<'a> {
    id: String,
    agreement: &'a AgreementId,
    issuer: &'a ProviderId,
    payee: &'a str,
    platform: &'a PlatformId,
    amount: &'a BilledAmount,
}

impl Checker for Money {
    fn on_input(&mut self, scene: &Scene<'_>, input: &Input, _findings: &mut Findings) {
        self.wallet.get_or_insert_with(|| scene.daemon.wallet());
        if let Input::Requested { id, command } = input {
            match command {
                Command::RequestNodes(request) => {
                    let is_new =
                        !scene.durable.clusters().values().any(|cluster| {
                            cluster.name == request.cluster && cluster.ending.is_none()
                        });
                    let known = self.budgets.get(&request.cluster);
                    if is_new {
                        let before = known.map_or(Glm::ZERO, |budget| budget.total);
                        let budget = Budget {
                            total: request.plan.total_budget.max(before),
                            now: request.plan.total_budget,
                            rate: request.plan.max_glm_per_hour,
                            limits: request.order.spec.limits.clone(),
                            platform: request.plan.platform.clone(),
                        };
                        self.warned.remove(&request.cluster);
                        self.budgets.insert(request.cluster.clone(), budget);
                    }
                }
                Command::SetBudget { cluster, total } => {
                    self.asked.insert(*id, (cluster.clone(), *total));
                }
                Command::Survey(_)
                | Command::EndSurvey
                | Command::TerminateNode { .. }
                | Command::SetTags { .. }
                | Command::EndCluster { .. }
                | Command::Shutdown => {}
            }
        }
    }

    fn on_output(&mut self, scene: &Scene<'_>, output: &Output, findings: &mut Findings) {
        match output {
            Output::Persist { records, .. } => self.on_records(scene, records, findings),
            Output::Notify(Notice::Cluster { cluster, what }) if what.contains("budget") => {
                self.warned.insert(cluster.clone());
            }
            Output::Call { request, .. } => self.on_call(scene, request, findings),
            Output::Answer { .. }
            | Output::Abandon { .. }
            | Output::Probe { .. }
            | Output::Notify(_) => {}
        }
    }

    fn on_result(
        &mut self,
        scene: &Scene<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        _findings: &mut Findings,
    ) {
        match (request, result) {
            (_, Ok(Response::AgreementEvents(events))) => {
                for event in events {
                    if matches!(event.kind, AgreementEventKind::Terminated { .. }) {
                        self.known_ends.entry(event.agreement.clone()).or_insert(event.at);
                    }
                }
            }
            (Request::TerminateAgreement { agreement, .. }, Ok(_)) => {
                self.known_ends.entry(agreement.clone()).or_insert(scene.now);
            }
            _ => {}
        }
        match (request, result) {
            (Request::AcceptDebitNote { debit_note, .. }, Ok(_)) => {
                self.accepted.insert(debit_note.to_string());
            }
            (Request::AcceptInvoice { invoice, .. }, Ok(_)) => {
                self.accepted.insert(invoice.to_string());
            }
            _ => {}
        }
        let agreement = match request {
            Request::AcceptDebitNote { debit_note, .. } => self
                .index
                .note(scene.daemon, debit_note)
                .map(|nth| scene.daemon.notes()[nth].note.agreement.clone()),
            Request::AcceptInvoice { invoice, .. } => self
                .index
                .invoice(scene.daemon, invoice)
                .map(|nth| scene.daemon.invoices()[nth].invoice.agreement.clone()),
            _ => None,
        };
        if let Some(count) = agreement.and_then(|it| self.accepting.get_mut(&it)) {
            *count = count.saturating_sub(1);
        }
    }

    fn on_step(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.steps += 1;
        if self.steps.is_multiple_of(EVERY) {
            self.check_sums(scene, findings);
            self.check_decisions(scene, findings);
        }
    }

    fn on_crash(&mut self, _scene: &Scene<'_>, _findings: &mut Findings) {
        self.accepting.clear();
    }

    fn on_phase(&mut self, scene: &Scene<'_>, _findings: &mut Findings) {
        if scene.phase == Phase::Fair {
            self.fair_since = Some(scene.now);
        }
    }

    fn at_end(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        self.check_sums(scene, findings);
        for book in scene.daemon.allocations().iter().filter(|book| !book.is_released) {
            let what = format!("allocation {} is not released", book.allocation.id);
            findings.violate("M8", scene.now, what);
        }
        let paid = scene.daemon.payments().iter().map(|payment| payment.amount);
        let paid = paid.fold(Glm::ZERO, Glm::plus);
        let start = self.wallet.unwrap_or(Glm::ZERO);
        if scene.daemon.wallet().plus(paid) != start {
            findings.violate("M7", scene.now, "the wallet lost more than was paid");
        }
    }
}

impl Money {
    fn on_records(&mut self, scene: &Scene<'_>, records: &[Record], findings: &mut Findings) {
        for record in records {
            let Record::Cluster(cluster, record) = record else { continue };
            match record.as_ref() {
                // Whoever asked may not have heard the answer; what was never asked for counts not.
                ClusterRecord::BudgetSet { total } => {
                    let name = self.names.get(cluster);
                    let is_asked = |it: &(ClusterName, Glm)| Some(&it.0) == name && it.1 == *total;
                    if self.asked.values().any(is_asked)
                        && let Some(budget) = name.and_then(|name| self.budgets.get_mut(name))
                    {
                        budget.total = budget.total.max(*total);
                        budget.now = *total;
                    }
                    if let Some(name) = self.names.get(cluster) {
                        self.warned.remove(name);
                    }
                }
                ClusterRecord::Opened { name, session, .. } => {
                    self.sessions.insert(session.clone(), name.clone());
                    self.names.insert(*cluster, name.clone());
                }
                ClusterRecord::Agreement {
                    fact:
                        AgreementFact::NoteDisputed(dispute) | AgreementFact::InvoiceDisputed(dispute),
                    ..
                } => {
                    self.disputed.insert(dispute.bill.clone());
                    if is_accepted(scene, &dispute.bill) {
                        let what = format!("bill {} is accepted, and disputed", dispute.bill);
                        findings.violate("M6", scene.now, what);
                    }
                }
                _ => {}
            }
        }
    }

    fn on_call(&mut self, scene: &Scene<'_>, request: &Request, findings: &mut Findings) {
        match request {
            Request::ConfirmAgreement { agreement, session } => {
                self.check_signature(scene, agreement, session, findings);
            }
            Request::CreateActivity { agreement, .. } => {
                self.created.entry(agreement.clone()).or_insert(scene.now);
            }
            Request::TerminateAgreement { agreement, .. } => {
                self.ended.entry(agreement.clone()).or_insert(scene.now);
            }
            Request::DestroyActivity { activity, .. } => {
                if let Some(nth) = self.index.activity(scene.daemon, activity) {
                    let agreement = scene.daemon.activities()[nth].agreement.clone();
                    self.ended.entry(agreement).or_insert(scene.now);
                }
            }
            Request::AcceptDebitNote { debit_note, .. } => {
                if let Some(nth) = self.index.note(scene.daemon, debit_note) {
                    let note = &scene.daemon.notes()[nth].note;
                    let claim = Claim {
                        id: note.id.to_string(),
                        agreement: &note.agreement,
                        issuer: &note.issuer,
                        payee: &note.payee,
                        platform: &note.platform,
                        amount: &note.total_due,
                    };
                    self.check_acceptance(scene, "M4", &claim, findings);
                }
            }
            Request::AcceptInvoice { invoice, .. } => {
                if let Some(nth) = self.index.invoice(scene.daemon, invoice) {
                    let invoice = &scene.daemon.invoices()[nth].invoice;
                    let claim = Claim {
                        id: invoice.id.to_string(),
                        agreement: &invoice.agreement,
                        issuer: &invoice.issuer,
                        payee: &invoice.payee,
                        platform: &invoice.platform,
                        amount: &invoice.amount,
                    };
                    self.check_acceptance(scene, "M3", &claim, findings);
                    self.check_single(scene, &invoice.agreement, nth, findings);
                }
            }
            Request::CreateAllocation { total, .. } => self.check_funds(scene, *total, findings),
            _ => {}
        }
    }

    /// M9, M1: what is signed fits the limits, and its cost the budget.
    fn check_signature(
        &mut self,
        scene: &Scene<'_>,
        agreement: &AgreementId,
        session: &SessionId,
        findings: &mut Findings,
    ) {
        let Some(nth) = self.index.agreement(scene.daemon, agreement) else { return };
        let book = &scene.daemon.agreements()[nth];
        let Some(budget) = self.sessions.get(session).and_then(|name| self.budgets.get(name))
        else {
            return;
        };
        let costs =
            Costs::new(book.start, book.cpu_second, book.env_second, u64::from(book.threads));
        if let Some(limit) = prices::exceeded(&budget.limits, &costs) {
            findings.violate("M9", scene.now, format!("{} was signed above `{limit}`", book.id));
        }
        let (spent, exposed, rate) = self.sums(scene, session);
        let own = full_cost(book, Span::mins(5));
        if spent.plus(exposed).plus(own) > budget.total {
            let what = format!(
                "an agreement was signed although {spent} GLM are spent, {exposed} owed, and it \
                 costs {own} within five minutes; the budget is {}",
                budget.total
            );
            findings.violate("M1", scene.now, what);
        }
        let hour = full_cost(book, Span::hours(1)).minus(book.start);
        if let Some(limit) = budget.rate
            && rate.plus(hour) > limit.plus(Glm::from_atto(1_000_000))
        {
            let what =
                format!("{} GLM per hour were signed, {limit} is the limit", rate.plus(hour));
            findings.violate("M1", scene.now, what);
        }
    }

    /// Spent, owed, and full-load cost per hour of a session, in the daemon's books.
    fn sums(&self, scene: &Scene<'_>, session: &SessionId) -> (Glm, Glm, Glm) {
        let mut accepted: BTreeMap<&AgreementId, Glm> = BTreeMap::new();
        let mut take = |agreement, amount: &BilledAmount| {
            let amount = amount.glm().unwrap_or(Glm::ZERO);
            let sum = accepted.entry(agreement).or_insert(Glm::ZERO);
            *sum = (*sum).max(amount);
        };
        for book in scene.daemon.notes().iter().filter(|book| book.accepted.is_some()) {
            take(&book.note.agreement, &book.note.total_due);
        }
        for book in scene.daemon.invoices().iter().filter(|book| book.accepted.is_some()) {
            take(&book.invoice.agreement, &book.invoice.amount);
        }
        let (mut spent, mut owed, mut rate) = (Glm::ZERO, Glm::ZERO, Glm::ZERO);
        for book in scene.daemon.agreements().iter() {
            if book.session.as_ref() != Some(session) {
                continue;
            }
            let paid = accepted.get(&book.id).copied().unwrap_or(Glm::ZERO);
            spent = spent.plus(paid);
            if book.ended.is_some() || book.approved.is_none() {
                continue;
            }
            let is_ending = self.ended.contains_key(&book.id);
            let hour = full_cost(book, Span::hours(1)).minus(book.start);
            rate = rate.plus(hour);
            if is_ending {
                continue;
            }
            let activities = scene.daemon.activities().iter().filter(|it| it.agreement == book.id);
            let cost = activities.map(|it| it.cost(scene.now)).fold(Glm::ZERO, Glm::plus);
            owed = owed.plus(cost.minus(paid));
        }
        (spent, owed, rate)
    }

    /// M1 at any time.
    fn check_sums(&self, scene: &Scene<'_>, findings: &mut Findings) {
        for (session, name) in &self.sessions {
            let Some(budget) = self.budgets.get(name) else { continue };
            let (spent, owed, _) = self.sums(scene, session);
            let is_running = scene
                .durable
                .clusters()
                .values()
                .any(|it| it.session == *session && it.ending.is_none());
            let most = budget.now.scaled_up(85, 100).unwrap_or(Glm::MAX);
            if is_running && spent.plus(owed) > most && !self.warned.contains(name) {
                let what = format!("nobody was told that {spent} of {} GLM are spent", budget.now);
                findings.violate("M1", scene.now, what);
            }
            if spent.plus(owed) > budget.total {
                let what = format!(
                    "{spent} GLM are spent and {owed} are owed, the budget is {}",
                    budget.total
                );
                findings.violate("M1", scene.now, what);
            }
        }
    }

    /// M3, M4, M5, M2: what is accepted.
    fn check_acceptance(
        &mut self,
        scene: &Scene<'_>,
        invariant: &'static str,
        claim: &Claim<'_>,
        findings: &mut Findings,
    ) {
        let now = scene.now;
        let count = self.accepting.entry(claim.agreement.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            let what = format!("two acceptances of {} are under way", claim.agreement);
            findings.violate("M2", now, what);
        }
        if !self.judged.insert(claim.id.clone()) {
            return;
        }
        let Some(nth) = self.index.agreement(scene.daemon, claim.agreement) else {
            findings.violate("M5", now, "a bill of an unknown agreement was accepted");
            return;
        };
        let book = &scene.daemon.agreements()[nth];
        let since = self.created.get(&book.id).copied();
        let until = self.known_ends.get(&book.id).copied().unwrap_or(now).min(now);
        let cap =
            since.map_or(Glm::ZERO, |since| full_cost(book, until.since(since).plus(TOLERANCE)));
        let cap = cap.plus(Glm::from_atto(TOLERANCE_ATTO));
        match claim.amount.glm() {
            Ok(amount) if amount > cap => {
                let what = format!("{amount} GLM were accepted, {cap} can be due at most");
                findings.violate(invariant, now, what);
            }
            Ok(_) => {}
            Err(error) => {
                findings.violate(invariant, now, format!("an amount that is {error} was accepted"));
            }
        }
        let name = book.session.as_ref().and_then(|session| self.sessions.get(session));
        let platform = name.and_then(|name| self.budgets.get(name)).map(|it| &it.platform);
        let is_foreign = claim.issuer != &book.provider
            || !claim.payee.eq_ignore_ascii_case(book.provider.as_str())
            || platform.is_some_and(|platform| platform != claim.platform);
        if is_foreign {
            findings.violate("M5", now, format!("money of {} goes elsewhere", book.id));
        }
    }

    /// M2: one invoice for each agreement.
    fn check_single(
        &self,
        scene: &Scene<'_>,
        agreement: &AgreementId,
        nth: usize,
        findings: &mut Findings,
    ) {
        let mut others = scene.daemon.invoices().iter().enumerate();
        let second = others.any(|(other, book)| {
            other != nth && book.invoice.agreement == *agreement && book.accepted.is_some()
        });
        if second {
            let what = format!("a second invoice of {agreement} was accepted");
            findings.violate("M2", scene.now, what);
        }
    }

    /// M10: all that is set aside, and what is about to be.
    fn check_funds(&self, scene: &Scene<'_>, total: Glm, findings: &mut Findings) {
        let live = scene.daemon.allocations().iter().filter(|book| !book.is_released);
        let live = live.map(|book| book.allocation.total).fold(total, Glm::plus);
        let clusters = scene.durable.clusters().values();
        let budgets = clusters.filter_map(|cluster| self.budgets.get(&cluster.name));
        let budgets = budgets.map(|budget| budget.total).fold(Glm::ZERO, Glm::plus);
        if live > budgets {
            let what = format!("{live} GLM would be set aside for budgets of {budgets}");
            findings.violate("M10", scene.now, what);
        }
    }

    /// M6: in fair times no bill waits for long.
    fn check_decisions(&mut self, scene: &Scene<'_>, findings: &mut Findings) {
        let Some(fair_since) = self.fair_since else {
            return;
        };
        let (notes, invoices) = (scene.daemon.notes(), scene.daemon.invoices());
        for (nth, book) in notes.iter().enumerate().skip(self.notes_seen) {
            self.undecided.insert((book.received.max(fair_since), true, nth));
        }
        for (nth, book) in invoices.iter().enumerate().skip(self.invoices_seen) {
            self.undecided.insert((book.received.max(fair_since), false, nth));
        }
        (self.notes_seen, self.invoices_seen) = (notes.len(), invoices.len());
        while let Some((received, is_note, nth)) = self.undecided.first().copied() {
            if scene.now.since(received) < DECISION_TIME {
                break;
            }
            self.undecided.pop_first();
            let (state, id, agreement) = if is_note {
                let note = &notes[nth].note;
                (note.state, note.id.to_string(), &note.agreement)
            } else {
                let invoice = &invoices[nth].invoice;
                (invoice.state, invoice.id.to_string(), &invoice.agreement)
            };
            let session = self
                .index
                .agreement(scene.daemon, agreement)
                .and_then(|nth| scene.daemon.agreements()[nth].session.clone());
            // Nobody listens for a cluster that is gone, or that has given its funds back.
            let is_heard = scene.durable.clusters().values().any(|cluster| {
                Some(&cluster.session) == session.as_ref() && cluster.ending.is_none()
            });
            if state == DocumentState::Received
                && is_heard
                && !self.disputed.contains(&id)
                && !self.accepted.contains(&id)
            {
                let kind = if is_note { "note" } else { "invoice" };
                let what = format!(
                    "{kind} {id} is neither accepted nor disputed for {}",
                    scene.now.since(received)
                );
                findings.violate("M6", scene.now, what);
            }
        }
    }
}

fn is_accepted(scene: &Scene<'_>, bill: &str) -> bool {
    let note = scene.daemon.notes().iter().find(|book| book.note.id.as_str() == bill);
    let invoice = scene.daemon.invoices().iter().find(|book| book.invoice.id.as_str() == bill);
    note.is_some_and(|book| book.accepted.is_some())
        || invoice.is_some_and(|book| book.accepted.is_some())
}
