//! Whatever is asked of the daemon in whatever order: it answers once, and its books add up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use golem_sim::{
    scenario::Scenario,
    yagna::{Reply, RequestNo, SimYagna},
};
use ray_on_golem::{
    core::rng::Seed,
    units::{Glm, Span, Timestamp},
    yagna::{
        ActivityId, AgreementId, AgreementState, AllocationId, BatchId, BilledAmount, DebitNoteId,
        DemandEvent, DocumentState, ExeCommand, InvoiceId, NetworkId, PlatformId, ProposalId,
        ProposalState, ProviderId, RejectionReason, Request, Response, SubscriptionId,
    },
};

use crate::lab::{START, body, deploy_into, run, session};

const WALLET: Glm = Glm::from_whole(50);
const STEPS: u64 = 1_500;
const KINDS: u64 = 36;
const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);

#[test]
fn every_request_is_answered_once_and_the_books_add_up() {
    let (mut signed, mut paid) = (0, 0);
    for seed in 0..12 {
        let mut chaos = Chaos::new(seed);
        for step in 0..STEPS {
            chaos.step(step);
        }
        chaos.settle();
        let approved = |it: &&golem_sim::yagna::books::AgreementBook| it.approved.is_some();
        signed += chaos.sim.agreements().iter().filter(approved).count();
        paid += chaos.sim.payments().len();
    }

    assert!(signed > 30, "only {signed} agreements were signed");
    assert!(paid > 5, "only {paid} payments were made");
}

/// A client without a plan.
struct Chaos {
    sim: SimYagna,
    seed: Seed,
    now: Timestamp,
    asked: BTreeMap<RequestNo, Request>,
    cancelled: BTreeSet<RequestNo>,
    seen: Seen,
}

/// What the daemon has told so far.
#[derive(Default)]
struct Seen {
    demands: Vec<SubscriptionId>,
    initials: Vec<(SubscriptionId, ProposalId)>,
    drafts: Vec<ProposalId>,
    agreements: Vec<AgreementId>,
    activities: Vec<ActivityId>,
    batches: Vec<BatchId>,
    allocations: Vec<AllocationId>,
    networks: Vec<NetworkId>,
    providers: Vec<ProviderId>,
    notes: Vec<(DebitNoteId, BilledAmount)>,
    invoices: Vec<(InvoiceId, BilledAmount)>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let text = include_str!("../../../fixtures/scenario/unreliable.yaml")
            .replace("daemon: { warm: 1 }", "daemon: { warm: 1, wallet: 50 }");
        let scenario = Scenario::parse(text.as_bytes()).expect("a scenario");
        let seed = Seed::new(seed);
        let sim = SimYagna::new(&scenario, seed, START);
        let (asked, cancelled) = (BTreeMap::new(), BTreeSet::new());
        Self { sim, seed, now: START, asked, cancelled, seen: Seen::default() }
    }

    fn step(&mut self, step: u64) {
        let draw = |bound, what: &str| self.seed.below(bound, what, step, 0);
        let until = self.now.plus(Span::millis(draw(4_000, "pause")));
        let (is_restart, is_cancel) = (draw(400, "restart") == 0, draw(20, "cancel") == 0);
        self.run_until(until);
        if is_restart {
            self.sim.restart(self.now);
            self.asked.clear();
            self.cancelled.clear();
        }
        let number = RequestNo(step);
        let request = self.request(step);
        self.sim.handle(self.now, number, &request);
        self.asked.insert(number, request);
        self.collect();
        if is_cancel && self.asked.remove(&number).is_some() {
            self.sim.cancel(number);
            self.cancelled.insert(number);
        }
        self.check();
    }

    /// Lets everything end that was asked for.
    fn settle(&mut self) {
        self.run_until(self.now.plus(Span::mins(30)));
        assert_eq!(self.asked, BTreeMap::new(), "requests without an answer");
        self.check();
    }

    fn run_until(&mut self, until: Timestamp) {
        while let Some(next) = self.sim.poll_timeout().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.sim.elapse(self.now);
            assert!(
                self.sim.poll_timeout().is_none_or(|next| next > self.now),
                "time stands still"
            );
            self.collect();
        }
        self.now = until;
    }

    /// Takes replies; a request that was cancelled may be answered or not.
    fn collect(&mut self) {
        while let Some((number, reply)) = self.sim.poll_reply() {
            match self.asked.remove(&number) {
                Some(request) => self.learn(&request, reply),
                None => assert!(self.cancelled.remove(&number), "answered twice: {reply:?}"),
            }
        }
    }

    fn learn(&mut self, request: &Request, reply: Reply) {
        let Ok(response) = reply else { return };
        let seen = &mut self.seen;
        match (request, response) {
            (_, Response::Subscribed(id)) => seen.demands.push(id),
            (Request::CollectEvents { subscription, .. }, Response::Events(events)) => {
                for event in events {
                    if let DemandEvent::Proposal(proposal) = event {
                        seen.providers.push(proposal.issuer.clone());
                        if proposal.state == ProposalState::Draft {
                            seen.drafts.push(proposal.id);
                        } else {
                            seen.initials.push((subscription.clone(), proposal.id));
                        }
                    }
                }
            }
            (_, Response::AgreementCreated(id)) => seen.agreements.push(id),
            (_, Response::ActivityCreated(id)) => seen.activities.push(id),
            (_, Response::BatchStarted(id)) => seen.batches.push(id),
            (_, Response::AllocationCreated(allocation)) => seen.allocations.push(allocation.id),
            (_, Response::NetworkCreated(network)) => seen.networks.push(network.id),
            (_, Response::DebitNotes(notes)) => {
                seen.notes = notes.into_iter().map(|it| (it.id, it.total_due)).collect();
            }
            (_, Response::Invoices(invoices)) => {
                seen.invoices = invoices.into_iter().map(|it| (it.id, it.amount)).collect();
            }
            (_, _) => {}
        }
    }

    /// What follows from the books alone.
    fn check(&self) {
        let paid = self.sim.payments().iter().fold(Glm::ZERO, |sum, it| sum.plus(it.amount));
        assert_eq!(self.sim.wallet().plus(paid), WALLET, "money is kept");
        for book in self.sim.allocations() {
            let allocation = &book.allocation;
            assert_eq!(allocation.spent.plus(allocation.remaining), allocation.total);
        }
        for book in self.sim.agreements() {
            assert_eq!(book.state.is_over(), book.ended.is_some(), "{book:?}");
        }
        for activity in self.sim.activities().iter().filter(|it| it.ended.is_none()) {
            let agreement = self.sim.agreements().iter().find(|book| book.id == activity.agreement);
            assert_eq!(agreement.map(|book| book.state), Some(AgreementState::Approved));
        }
        for book in self.sim.notes() {
            assert_eq!(
                book.accepted.is_some(),
                book.note.state == DocumentState::Accepted
                    || (book.accepted.is_some() && book.note.state == DocumentState::Settled)
            );
        }
    }

    fn request(&self, step: u64) -> Request {
        let kind = self.seed.below(KINDS, "kind", step, 0);
        match kind {
            0..=18 => self.deal(step, kind),
            19..=28 => self.use_of_it(step, kind),
            _ => self.bill(step, kind),
        }
    }

    /// A request about funds, demands, and agreements.
    fn deal(&self, step: u64, kind: u64) -> Request {
        let draw = |bound: u64, what: &str| self.seed.below(bound, what, step, 0);
        let timeout = Span::secs(1 + draw(40, "timeout"));
        let session = session();
        let platform = PlatformId::from("erc20-hoodi-tglm");
        let seen = &self.seen;
        let agreement = || pick(self.seed, step, &seen.agreements, "0");
        let allocation = || pick(self.seed, step, &seen.allocations, "0");
        let demand = || pick(self.seed, step, &seen.demands, "0");
        match kind {
            0 => Request::CreateAllocation {
                platform,
                total: Glm::from_whole(1 + draw(10, "total")),
                timeout: self.now.plus(Span::hours(2)),
            },
            1 if draw(5, "release") == 0 => Request::ReleaseAllocation { allocation: allocation() },
            2 => Request::AmendAllocation {
                allocation: allocation(),
                total: Glm::from_whole(draw(10, "total")),
                timeout: self.now.plus(Span::hours(3)),
            },
            3 => Request::Subscribe { demand: Arc::new(body()) },
            4..=7 => Request::CollectEvents { subscription: demand(), timeout, max_events: 20 },
            8..=11 => match seen.initials.get(draw(seen.initials.len() as u64, "at") as usize) {
                Some((subscription, proposal)) => Request::CounterProposal {
                    subscription: subscription.clone(),
                    proposal: proposal.clone(),
                    body: Arc::new(body()),
                },
                None => Request::ListDemands,
            },
            12 | 13 => Request::CreateAgreement {
                proposal: pick(self.seed, step, &seen.drafts, "0"),
                valid_to: self.now.plus(Span::secs(draw(120, "valid"))),
            },
            14 | 15 => Request::ConfirmAgreement { agreement: agreement(), session },
            16 => Request::AwaitApproval { agreement: agreement(), timeout },
            17 if draw(3, "cancels") == 0 => Request::CancelAgreement { agreement: agreement() },
            18 if draw(3, "ends") == 0 => {
                Request::TerminateAgreement { agreement: agreement(), reason: String::new() }
            }
            _ => Request::ListDemands,
        }
    }

    /// A request about what runs under an agreement.
    fn use_of_it(&self, step: u64, kind: u64) -> Request {
        let draw = |bound: u64, what: &str| self.seed.below(bound, what, step, 0);
        let timeout = Span::secs(1 + draw(40, "timeout"));
        let (after, session) = (self.now.minus(Span::secs(draw(600, "after"))), session());
        let seen = &self.seen;
        let agreement = || pick(self.seed, step, &seen.agreements, "0");
        let activity = || pick(self.seed, step, &seen.activities, "0");
        let network = || pick(self.seed, step, &seen.networks, "0");
        match kind {
            19 => Request::CollectAgreementEvents { session, after, timeout },
            20 | 21 => Request::CreateActivity { agreement: agreement(), timeout },
            22 => Request::ListActivities { agreement: agreement() },
            23 if draw(3, "destroys") == 0 => {
                Request::DestroyActivity { activity: activity(), timeout }
            }
            24 => Request::GetActivityState { activity: activity(), timeout },
            25 => {
                let script = vec![
                    deploy_into(&network(), NODE),
                    ExeCommand::Start,
                    run("service ssh start"),
                ];
                Request::Execute { activity: activity(), script: Arc::new(script), timeout }
            }
            26 => Request::CollectResults {
                activity: activity(),
                batch: pick(self.seed, step, &seen.batches, "0"),
                command: u32::try_from(draw(4, "command")).unwrap_or(0),
                timeout,
            },
            27 => crate::lab::create_network(),
            28 => Request::AddNode {
                network: network(),
                provider: pick(self.seed, step, &seen.providers, "0x0"),
                ip: NODE.into(),
            },
            _ => Request::ListNetworks,
        }
    }

    /// A request about bills.
    fn bill(&self, step: u64, kind: u64) -> Request {
        let draw = |bound: u64, what: &str| self.seed.below(bound, what, step, 0);
        let timeout = Span::secs(1 + draw(40, "timeout"));
        let (after, session) = (self.now.minus(Span::secs(draw(600, "after"))), session());
        let platform = PlatformId::from("erc20-hoodi-tglm");
        let seen = &self.seen;
        let allocation = || pick(self.seed, step, &seen.allocations, "0");
        match kind {
            29 => Request::CollectDebitNoteEvents { session, after, timeout },
            30 => Request::CollectInvoiceEvents { session, after, timeout },
            31 | 32 => Request::ListDebitNotes { after: START },
            33 => Request::ListInvoices { after: START },
            34 => match seen.notes.get(draw(seen.notes.len() as u64, "at") as usize) {
                Some((debit_note, amount)) => Request::AcceptDebitNote {
                    debit_note: debit_note.clone(),
                    amount: amount.clone(),
                    allocation: allocation(),
                    timeout,
                },
                None => Request::GetBatchCycle { platform },
            },
            _ => match seen.invoices.get(draw(seen.invoices.len() as u64, "at") as usize) {
                Some((invoice, amount)) if draw(5, "refuses") > 0 => Request::AcceptInvoice {
                    invoice: invoice.clone(),
                    amount: amount.clone(),
                    allocation: allocation(),
                    timeout,
                },
                Some((invoice, _)) => Request::RejectInvoice {
                    invoice: invoice.clone(),
                    reason: RejectionReason::BadService,
                    message: String::new(),
                },
                None => Request::SetBatchCycle {
                    platform,
                    interval: Span::secs(5 + draw(100, "interval")),
                    extra_time: Span::secs(5),
                },
            },
        }
    }
}

/// One of those that were seen, rather a late one; now and then one that there is not.
fn pick<Id: Clone + for<'a> From<&'a str>>(seed: Seed, step: u64, ids: &[Id], none: &str) -> Id {
    let length = ids.len() as u64;
    let back = seed.below(length.min(6) + 1, "pick", step, 0);
    let place = length.checked_sub(back + 1).and_then(|place| ids.get(place as usize));
    place.cloned().unwrap_or_else(|| Id::from(none))
}
