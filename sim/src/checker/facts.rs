//! The checkers' own books: what was asked for, what was written down, and what was asked of the
//! daemon, joined with what the daemon's books say came of it.
//!
//! Limits and budgets are those of the commands. Records of the journal say which agreement is whose
//! and what was promised; the machine itself is never asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ray_on_golem::{
    core::{
        Answer, Command, Input, NodeRequest, Output,
        cluster::plan::ClusterName,
        ids::{AgreementNo, ClusterId, NodeId, RequestId},
        market::choice::Party,
        reputation::{Reputation, Standing},
    },
    units::{Glm, Span, Timestamp},
    yagna::{
        AgreementEventKind, AgreementId, AgreementState, CallError, DebitNoteId, Doubt, InvoiceId,
        PlatformId, ProviderId, Request, Response, Status,
    },
};

pub(super) use super::clusters::{AccountFacts, ClusterFacts, NodeFacts};
use super::{Phase, Scene, subject::Index};
use crate::yagna::SimYagna;

/// Nobody is to blame for what happens while the computer sleeps for longer than this.
const SLEEP: Span = Span::secs(60);

/// What all families know.
pub(super) struct Facts {
    pub(super) index: Index,
    pub(super) clusters: BTreeMap<ClusterId, ClusterFacts>,
    /// By place in the daemon's books of agreements.
    pub(super) deals: Vec<Deal>,
    /// Places of agreements whose books are open, here or at the daemon.
    pub(super) live: BTreeSet<usize>,
    /// Agreements with a bill that we want to pay, of which we do not know that it is paid.
    paying: BTreeSet<usize>,
    pub(super) fair_since: Option<Timestamp>,
    /// When the process that runs was told to shut down.
    pub(super) shutdown_since: Option<Timestamp>,
    /// Whether a call of the machine has ever failed.
    pub(super) has_failed: bool,
    /// When a provider last failed us, and how often since it last did well.
    pub(super) failures: BTreeMap<ProviderId, (u32, Timestamp)>,
    /// Providers that were ever asked for an agreement, and when a node of each last came up.
    pub(super) tried: BTreeSet<ProviderId>,
    pub(super) up_since: BTreeMap<ProviderId, Timestamp>,
    /// Clusters whose records changed in this step.
    pub(super) touched: BTreeSet<ClusterId>,
    pub(super) marks: BTreeMap<Timestamp, ClusterId>,
    /// What the machine was told of providers, by payment platform.
    reputation: BTreeMap<PlatformId, Arc<Reputation>>,
    request: Option<Box<NodeRequest>>,
    budget_asked: Option<(RequestId, ClusterName, Glm)>,
    activities_seen: usize,
    allocations_seen: usize,
    last: Option<Timestamp>,
    /// When the computer last woke up.
    woke: Timestamp,
}

/// What was asked of the daemon about an agreement, and what it took.
#[derive(Clone, Debug, Default)]
pub(super) struct Deal {
    pub(super) owner: Option<(ClusterId, AgreementNo, NodeId)>,
    pub(super) confirmed: Option<Timestamp>,
    /// When an activity was first asked for.
    pub(super) create_asked: Option<Timestamp>,
    /// When its end was first asked for, in any way.
    pub(super) end_asked: Option<Timestamp>,
    /// When its end, or how it stands, was last asked for.
    pub(super) end_tried: Option<Timestamp>,
    /// When it ended, as far as we were told.
    pub(super) end_told: Option<Timestamp>,
    /// Whether we were told that it is approved.
    pub(super) is_approval_told: bool,
    /// Whether the end of its activity was asked for.
    pub(super) is_destroy_asked: bool,
    /// Whether the process died while an acceptance was under way.
    pub(super) is_doubtful: bool,
    /// Bills that the daemon said were accepted.
    pub(super) confirmed_bills: BTreeSet<Bill>,
    /// The most that was decided to be due. It is asked for until the daemon has it, whatever is learned meanwhile.
    pub(super) decided: Glm,
    /// Acceptances under way.
    pub(super) accepting: u32,
    /// Bills that we were about to accept and that the daemon has not accepted yet.
    pub(super) bills: Vec<Bill>,
    /// What acceptances took from allocations.
    pub(super) taken: Glm,
    /// The highest amount that was accepted.
    pub(super) highest: Glm,
    /// Places of invoices that were accepted.
    pub(super) invoices: Vec<usize>,
    /// Places of its activities in the daemon's books.
    pub(super) activities: Vec<usize>,
    /// For so long the computer slept while it ran.
    pub(super) slept: Span,
    /// Whether the journal has closed its books.
    pub(super) is_settled: bool,
}

/// A bill by its place in the daemon's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bill {
    Note(usize),
    Invoice(usize),
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            index: Index::default(),
            clusters: BTreeMap::new(),
            deals: Vec::new(),
            live: BTreeSet::new(),
            paying: BTreeSet::new(),
            fair_since: None,
            shutdown_since: None,
            has_failed: false,
            failures: BTreeMap::new(),
            tried: BTreeSet::new(),
            up_since: BTreeMap::new(),
            touched: BTreeSet::new(),
            marks: BTreeMap::new(),
            reputation: BTreeMap::new(),
            request: None,
            budget_asked: None,
            activities_seen: 0,
            allocations_seen: 0,
            last: None,
            woke: Timestamp::EPOCH,
        }
    }
}

impl Facts {
    pub(super) fn on_input(&mut self, scene: &Scene<'_>, input: &Input) {
        self.touched.clear();
        self.notice_sleep(scene);
        self.catch_up(scene.daemon);
        match input {
            Input::Requested { id, command } => self.on_command(scene, *id, command),
            Input::Replied { .. } | Input::Probed { .. } | Input::Elapsed => {}
        }
    }

    pub(super) fn on_output(&mut self, scene: &Scene<'_>, output: &Output) {
        match output {
            Output::Persist { records, .. } => {
                for record in records {
                    self.on_record(scene.now, record);
                }
            }
            Output::Call { request, .. } => self.on_call(scene, request),
            Output::Answer { id, answer } => {
                if matches!(answer, Answer::BudgetSet(_))
                    && self.budget_asked.as_ref().is_some_and(|(asked, _, _)| asked == id)
                {
                    self.budget_asked = None;
                }
            }
            Output::Abandon { .. } | Output::Probe { .. } | Output::Notify(_) | Output::Saw(_) => {}
        }
    }

    pub(super) fn on_result(
        &mut self,
        scene: &Scene<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
    ) {
        self.notice_sleep(scene);
        self.catch_up(scene.daemon);
        self.has_failed |= scene.has_lied
            || matches!(result, Err(CallError::NotSent { .. } | CallError::Unknown(_)));
        match (request, result) {
            (Request::AcceptDebitNote { .. } | Request::AcceptInvoice { .. }, _) => {
                self.on_accepted(scene, request, result);
            }
            (Request::AwaitApproval { agreement, .. }, Ok(Response::AgreementApproved)) => {
                self.change(agreement, |deal| deal.is_approval_told = true);
            }
            (Request::GetAgreement { agreement }, Ok(Response::Agreement(found))) => {
                let is_approved = found.approved.is_some();
                // It does not say since when; whoever learns it so counts until then.
                let is_ended = found.state == AgreementState::Terminated;
                self.change(agreement, |deal| {
                    deal.is_approval_told |= is_approved;
                    deal.end_told = deal.end_told.or_else(|| is_ended.then_some(scene.now));
                });
            }
            (
                Request::TerminateAgreement { agreement, .. },
                Ok(_) | Err(CallError::Rejected { status: Status::GONE, .. }),
            ) => {
                self.change(agreement, |deal| {
                    deal.end_told = deal.end_told.or(Some(scene.now));
                });
            }
            (_, Ok(Response::AgreementEvents(events))) => {
                for event in events {
                    self.change(&event.agreement, |deal| match event.kind {
                        AgreementEventKind::Approved => deal.is_approval_told = true,
                        AgreementEventKind::Terminated { .. } => {
                            // What is dated by another clock is told now.
                            let at = if scene.has_one_clock { event.at } else { scene.now };
                            deal.end_told = deal.end_told.or(Some(at));
                        }
                        AgreementEventKind::Rejected { .. }
                        | AgreementEventKind::Cancelled { .. }
                        | AgreementEventKind::Other(_) => {}
                    });
                }
            }
            _ => {}
        }
    }

    pub(super) fn on_crash(&mut self) {
        self.request = None;
        self.budget_asked = None;
        self.shutdown_since = None;
        for deal in &mut self.deals {
            deal.is_doubtful |= deal.accepting > 0;
            deal.accepting = 0;
        }
    }

    pub(super) fn on_phase(&mut self, scene: &Scene<'_>) {
        if scene.phase != Phase::Faulty && self.fair_since.is_none() {
            self.fair_since = Some(scene.now);
        }
    }

    /// The instant, but not before times were fair; none while they are not.
    pub(super) fn fair(&self, at: Timestamp) -> Option<Timestamp> {
        self.fair_since.map(|since| since.max(at))
    }

    /// For how long somebody could have known of what happened then: nobody does anything while the
    /// computer sleeps.
    pub(super) fn awake_for(&self, at: Timestamp) -> Span {
        self.last.map_or(Span::ZERO, |now| now.since(at.max(self.woke)))
    }

    /// The place of the agreement with this id in the daemon's books.
    pub(super) fn place(&self, agreement: &AgreementId) -> Option<usize> {
        self.index.agreement(agreement)
    }

    /// The place of an agreement in the daemon's books, whether its own books are open or closed.
    pub(super) fn place_of(&self, id: ClusterId, number: AgreementNo) -> Option<usize> {
        let open = self.clusters.get(&id).and_then(|cluster| cluster.accounts.get(&number));
        if let Some(account) = open {
            return account.place;
        }
        self.deals.iter().rposition(|deal| {
            deal.owner.is_some_and(|(of, as_number, _)| (of, as_number) == (id, number))
        })
    }

    /// The agreement that an acceptance is for.
    pub(super) fn payer(&self, daemon: &SimYagna, request: &Request) -> Option<usize> {
        match self.bill(request)? {
            Bill::Note(nth) => self.place(&daemon.notes()[nth].note.agreement),
            Bill::Invoice(nth) => self.place(&daemon.invoices()[nth].invoice.agreement),
        }
    }

    /// The bill with this id.
    pub(super) fn bill_of(&self, id: &str) -> Option<Bill> {
        let note = self.index.note(&DebitNoteId::from(id)).map(Bill::Note);
        note.or_else(|| self.index.invoice(&InvoiceId::from(id)).map(Bill::Invoice))
    }

    /// The bill that an acceptance is about.
    pub(super) fn bill(&self, request: &Request) -> Option<Bill> {
        match request {
            Request::AcceptDebitNote { debit_note, .. } => {
                self.index.note(debit_note).map(Bill::Note)
            }
            Request::AcceptInvoice { invoice, .. } => {
                self.index.invoice(invoice).map(Bill::Invoice)
            }
            _ => None,
        }
    }

    /// The cluster and the node of an agreement.
    pub(super) fn owner(&self, place: usize) -> Option<(&ClusterFacts, &NodeFacts)> {
        let (cluster, _, node) = self.deals.get(place)?.owner?;
        let cluster = self.clusters.get(&cluster)?;
        Some((cluster, cluster.nodes.get(&node)?))
    }

    /// Brings the books up to date, and forgets what nothing can change any more.
    pub(super) fn on_round(&mut self, scene: &Scene<'_>) {
        // A bill may be accepted long after the end of its agreement, and nobody be told.
        let places: Vec<usize> = self.paying.iter().copied().collect();
        for place in places {
            self.tally(scene.daemon, place);
        }
        self.paying.retain(|place| !self.deals[*place].bills.is_empty());
        self.retire(scene.daemon);
    }

    /// Takes up which bills the daemon has accepted.
    pub(super) fn tally(&mut self, daemon: &SimYagna, place: usize) {
        let deal = &mut self.deals[place];
        if deal.bills.is_empty() {
            return;
        }
        for bill in std::mem::take(&mut deal.bills) {
            let (is_accepted, taken, amount) = match bill {
                Bill::Note(nth) => {
                    let book = &daemon.notes()[nth];
                    (book.accepted.is_some(), book.taken, &book.note.total_due)
                }
                Bill::Invoice(nth) => {
                    let book = &daemon.invoices()[nth];
                    (book.accepted.is_some(), book.taken, &book.invoice.amount)
                }
            };
            if !is_accepted {
                deal.bills.push(bill);
                continue;
            }
            deal.taken = deal.taken.plus(taken);
            deal.highest = deal.highest.max(amount.glm().unwrap_or(Glm::ZERO));
            if let Bill::Invoice(nth) = bill {
                deal.invoices.push(nth);
            }
        }
    }

    fn retire(&mut self, daemon: &SimYagna) {
        let deals = &self.deals;
        self.live.retain(|place| {
            let is_over = daemon.agreements()[*place].ended.is_some();
            let is_accounted = deals[*place].owner.is_none() || deals[*place].is_settled;
            !(is_over && is_accounted)
        });
    }

    fn on_accepted(
        &mut self,
        scene: &Scene<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
    ) {
        let (Some(place), Some(bill)) = (self.payer(scene.daemon, request), self.bill(request))
        else {
            return;
        };
        self.tally(scene.daemon, place);
        let deal = &mut self.deals[place];
        deal.accepting = deal.accepting.saturating_sub(1);
        let is_late = matches!(
            result,
            Err(CallError::Unknown(Doubt::Failed { status: Status::GATEWAY_TIMEOUT, .. }))
        );
        if result.is_ok() || is_late {
            deal.confirmed_bills.insert(bill);
        }
        if matches!(result, Err(CallError::Rejected { .. } | CallError::NotSent { .. })) {
            deal.bills.retain(|pending| *pending != bill);
        }
    }

    fn on_command(&mut self, scene: &Scene<'_>, id: RequestId, command: &Command) {
        match command {
            Command::RequestNodes(request) => self.request = Some(request.clone()),
            Command::SetBudget { cluster, total } => {
                self.budget_asked = Some((id, cluster.clone(), *total));
            }
            Command::TerminateNode { cluster, node } => {
                for facts in self.of_name(cluster) {
                    if let Some(node) = facts.nodes.get_mut(node) {
                        node.is_unwanted = true;
                    }
                }
            }
            Command::Shutdown => {
                self.shutdown_since = self.shutdown_since.or(Some(scene.now));
            }
            Command::Inform { platform, reputation } => {
                self.reputation.insert(platform.clone(), Arc::clone(reputation));
            }
            Command::Survey(_)
            | Command::EndSurvey
            | Command::SetTags { .. }
            | Command::SetLaw { .. }
            | Command::EndCluster { .. }
            | Command::HeadLooked { .. }
            | Command::Connected { .. }
            | Command::ClockSetBack => {}
        }
    }

    fn on_call(&mut self, scene: &Scene<'_>, request: &Request) {
        let now = scene.now;
        match request {
            Request::ConfirmAgreement { agreement, .. } => {
                self.change(agreement, |deal| deal.confirmed = deal.confirmed.or(Some(now)));
                self.live.extend(self.place(agreement));
            }
            Request::CreateActivity { agreement, .. } => {
                self.change(agreement, |deal| deal.create_asked = deal.create_asked.or(Some(now)));
            }
            Request::TerminateAgreement { agreement, .. }
            | Request::CancelAgreement { agreement } => {
                self.change(agreement, |deal| {
                    deal.end_asked = deal.end_asked.or(Some(now));
                    deal.end_tried = Some(now);
                });
            }
            Request::GetAgreement { agreement } => {
                self.change(agreement, |deal| deal.end_tried = Some(now));
            }
            Request::DestroyActivity { activity, .. } => {
                let nth = self.index.activity(activity);
                let agreement = nth.map(|nth| &scene.daemon.activities()[nth].agreement);
                if let Some(agreement) = agreement {
                    self.change(agreement, |deal| {
                        deal.is_destroy_asked = true;
                        deal.end_asked = deal.end_asked.or(Some(now));
                        deal.end_tried = Some(now);
                    });
                }
            }
            Request::AcceptDebitNote { .. } | Request::AcceptInvoice { .. } => {
                if let (Some(place), Some(bill)) =
                    (self.payer(scene.daemon, request), self.bill(request))
                {
                    let deal = &mut self.deals[place];
                    deal.accepting += 1;
                    if !deal.bills.contains(&bill) && !is_accepted(scene.daemon, bill) {
                        deal.bills.push(bill);
                        self.paying.insert(place);
                    }
                }
            }
            Request::ReleaseAllocation { allocation } => {
                let books = scene.daemon.allocations();
                let owner = self.clusters.values_mut().find(|cluster| {
                    cluster.allocations.iter().any(|nth| books[*nth].allocation.id == *allocation)
                });
                if let Some(cluster) = owner.filter(|cluster| cluster.ending.is_some()) {
                    cluster.released = cluster.released.or(Some(now));
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, agreement: &AgreementId, change: impl FnOnce(&mut Deal)) {
        if let Some(deal) = self.place(agreement).and_then(|place| self.deals.get_mut(place)) {
            change(deal);
        }
    }

    fn of_name(&mut self, name: &ClusterName) -> impl Iterator<Item = &mut ClusterFacts> {
        self.clusters.values_mut().filter(move |cluster| cluster.name == *name)
    }

    /// Whether a provider was never asked for an agreement, also not before.
    pub(super) fn is_new(&self, provider: &ProviderId) -> bool {
        !self.tried.contains(provider)
            && !self.is_told(provider, |standing| standing.experience.is_some())
    }

    /// Whether nothing but its offer speaks for a provider, or against it.
    pub(super) fn is_unknown(&self, provider: &ProviderId) -> bool {
        let is_rated = |standing: &Standing| standing.uptime.or(standing.success_rate).is_some();
        self.is_new(provider) && !self.is_told(provider, is_rated)
    }

    fn is_told(&self, provider: &ProviderId, what: impl Fn(&Standing) -> bool) -> bool {
        self.reputation.values().filter_map(|told| told.0.get(provider)).any(what)
    }

    /// Whether the cluster was told not to hire a provider: in its requests, by its name or by its
    /// wallet, which in this network is called as it is, or later.
    pub(super) fn is_blacklisted(
        &self,
        cluster: &ClusterFacts,
        provider: &ProviderId,
        now: Timestamp,
    ) -> bool {
        let told = self.reputation.get(&cluster.plan.platform);
        let is_on = |list: &[Party]| list.iter().any(|party| party.as_str() == provider.as_str());
        let mut choices = cluster.nodes.values().map(|node| &node.spec.choice);
        choices.any(|choice| {
            is_on(&choice.blacklist) || !(choice.whitelist.is_empty() || is_on(&choice.whitelist))
        }) || cluster.plan.reputation.is_blacklisted(provider, now)
            || told.is_some_and(|reputation| reputation.is_blacklisted(provider, now))
    }

    /// Whether a provider has brought nodes up for us, and never failed.
    pub(super) fn has_proven_itself(&self, provider: &ProviderId) -> bool {
        self.up_since.contains_key(provider) && !self.failures.contains_key(provider)
    }

    /// What the latest request for nodes of this name asked for.
    pub(super) fn requested(&self, name: &ClusterName) -> Option<&NodeRequest> {
        self.request.as_deref().filter(|request| request.cluster == *name)
    }

    /// The budget that was asked for last, if it is this one.
    pub(super) fn is_budget_asked(&self, name: &ClusterName, total: Glm) -> bool {
        self.budget_asked.as_ref().is_some_and(|(_, of, asked)| of == name && *asked == total)
    }

    fn notice_sleep(&mut self, scene: &Scene<'_>) {
        let slept = self.last.map_or(Span::ZERO, |last| scene.now.since(last));
        self.last = Some(scene.now);
        if slept > SLEEP {
            self.woke = scene.now;
            for place in &self.live {
                self.deals[*place].slept = self.deals[*place].slept.plus(slept);
            }
        }
    }

    fn catch_up(&mut self, daemon: &SimYagna) {
        self.index.catch_up(daemon);
        if self.deals.len() < daemon.agreements().len() {
            self.deals.resize(daemon.agreements().len(), Deal::default());
        }
        let activities = daemon.activities();
        for (nth, book) in activities.iter().enumerate().skip(self.activities_seen) {
            self.change(&book.agreement, |deal| deal.activities.push(nth));
        }
        self.activities_seen = activities.len();
        let allocations = daemon.allocations();
        for (nth, book) in allocations.iter().enumerate().skip(self.allocations_seen) {
            let mark = book.allocation.timeout;
            let cluster = mark.and_then(|mark| self.marks.get(&mark));
            if let Some(cluster) = cluster.and_then(|id| self.clusters.get_mut(id)) {
                cluster.allocations.push(nth);
            }
        }
        self.allocations_seen = allocations.len();
    }
}

pub(super) fn is_accepted(daemon: &SimYagna, bill: Bill) -> bool {
    match bill {
        Bill::Note(nth) => daemon.notes()[nth].accepted.is_some(),
        Bill::Invoice(nth) => daemon.invoices()[nth].accepted.is_some(),
    }
}
