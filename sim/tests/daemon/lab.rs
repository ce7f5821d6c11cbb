//! A daemon to talk to, and what to say to it.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use golem_sim::{
    scenario::Scenario,
    yagna::{Refusal, Reply, RequestNo, SimYagna},
};
use ray_on_golem::{
    core::rng::Seed,
    units::{Glm, Span, Timestamp},
    yagna::{
        ActivityId, AgreementId, AllocationId, BatchCycle, BatchId, BillEventKind, CommandResult,
        DebitNote, DebitNoteId, DemandBody, DemandEvent, Deployment, ExeCommand, Invoice,
        InvoiceId, NetworkId, NetworkPath, PlatformId, Properties, Proposal, ProposalId,
        RejectionReason, Request, Response, SessionId, Status, SubscriptionId,
    },
};

pub(crate) const START: Timestamp = Timestamp::from_unix_micros(1_767_225_600_000_000);

/// A daemon whose clock runs as far as it must.
pub(crate) struct Daemon {
    pub(crate) sim: SimYagna,
    pub(crate) now: Timestamp,
    /// Seconds to pay a debit note, in our counter-proposals; half a day if not said.
    pub(crate) payment_timeout: Option<u64>,
    /// When agreements are over, in our counter-proposals.
    pub(crate) expires: Timestamp,
    requests: u64,
    replies: BTreeMap<RequestNo, Reply>,
}

impl Daemon {
    pub(crate) fn of(scenario: &str) -> Self {
        Self::with_seed(scenario, 1)
    }

    pub(crate) fn with_seed(scenario: &str, seed: u64) -> Self {
        let text = if scenario.is_empty() { "about: nothing" } else { scenario };
        let scenario = Scenario::parse(text.as_bytes()).expect("a scenario");
        Self {
            sim: SimYagna::new(&scenario, Seed::new(seed), START),
            now: START,
            payment_timeout: None,
            expires: START.plus(Span::days(365)),
            requests: 0,
            replies: BTreeMap::new(),
        }
    }

    pub(crate) fn send(&mut self, request: &Request) -> RequestNo {
        self.requests += 1;
        let number = RequestNo(self.requests);
        self.sim.handle(self.now, number, request);
        number
    }

    pub(crate) fn reply_to(&mut self, number: RequestNo) -> Reply {
        loop {
            while let Some((answered, reply)) = self.sim.poll_reply() {
                assert_eq!(self.replies.insert(answered, reply), None, "answered twice");
            }
            if let Some(reply) = self.replies.remove(&number) {
                return reply;
            }
            self.now = self.now.max(self.sim.poll_timeout().expect("an answer comes"));
            self.sim.elapse(self.now);
        }
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        let number = self.send(request);
        self.reply_to(number)
    }

    pub(crate) fn wait(&mut self, span: Span) {
        let until = self.now.plus(span);
        while let Some(next) = self.sim.poll_timeout().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.sim.elapse(self.now);
        }
        self.now = until;
    }

    pub(crate) fn subscribe(&mut self) -> SubscriptionId {
        match self.ask(&Request::Subscribe { demand: Arc::new(body()) }) {
            Ok(Response::Subscribed(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn collect(
        &mut self,
        demand: &SubscriptionId,
        secs: u64,
        max: u8,
    ) -> Vec<DemandEvent> {
        match self.ask(&collect(demand, secs, max)) {
            Ok(Response::Events(events)) => events,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn proposals(&mut self, demand: &SubscriptionId, max: u8) -> Vec<Proposal> {
        let events = self.collect(demand, 10, max).into_iter();
        events
            .map(|event| match event {
                DemandEvent::Proposal(proposal) => *proposal,
                other @ (DemandEvent::Rejected { .. } | DemandEvent::Unreadable(_)) => {
                    panic!("{other:?}")
                }
            })
            .collect()
    }

    pub(crate) fn counter(&mut self, demand: &SubscriptionId, proposal: &ProposalId) -> Reply {
        let mut body = body();
        body.properties.set("golem.srv.comp.expiration", self.expires.as_unix_millis());
        if let Some(secs) = self.payment_timeout {
            body.properties.set("golem.com.scheme.payu.payment-timeout-sec?", secs);
        }
        self.counter_with(demand, proposal, body)
    }

    pub(crate) fn counter_with(
        &mut self,
        demand: &SubscriptionId,
        proposal: &ProposalId,
        body: DemandBody,
    ) -> Reply {
        self.ask(&counter(demand, proposal, body))
    }

    pub(crate) fn reject(&mut self, demand: &SubscriptionId, proposal: &ProposalId) -> Reply {
        self.ask(&Request::RejectProposal {
            subscription: demand.clone(),
            proposal: proposal.clone(),
            reason: "No more needed".to_owned(),
        })
    }

    pub(crate) fn allocate(&mut self, glm: u64, secs: u64) -> Reply {
        self.ask(&Request::CreateAllocation {
            platform: PlatformId::from("erc20-hoodi-tglm"),
            total: Glm::from_whole(glm),
            timeout: self.now.plus(Span::secs(secs)),
        })
    }
}

pub(crate) fn collect(demand: &SubscriptionId, secs: u64, max_events: u8) -> Request {
    let timeout = Span::secs(secs);
    Request::CollectEvents { subscription: demand.clone(), timeout, max_events }
}

pub(crate) fn counter(demand: &SubscriptionId, proposal: &ProposalId, body: DemandBody) -> Request {
    Request::CounterProposal {
        subscription: demand.clone(),
        proposal: proposal.clone(),
        body: Arc::new(body),
    }
}

pub(crate) fn body() -> DemandBody {
    let mut properties = Properties::default();
    properties.set("golem.srv.comp.expiration", START.plus(Span::days(365)).as_unix_millis());
    properties.set("golem.node.debug.subnet", "public");
    properties.set("golem.com.payment.chosen-platform", "erc20-hoodi-tglm");
    properties.set("golem.com.payment.debit-notes.accept-timeout?", 240);
    properties.set("golem.com.scheme.payu.debit-note.interval-sec?", 180);
    properties.set("golem.com.scheme.payu.payment-timeout-sec?", 43_200);
    let constraints = "(&(golem.node.debug.subnet=public)\n\t(golem.runtime.name=vm))".to_owned();
    DemandBody { properties, constraints }
}

pub(crate) fn refused(status: u16, message: &str) -> Reply {
    let body = serde_json::json!({ "message": message }).to_string();
    Err(Refusal { status: Status(status), body })
}

pub(crate) fn name(proposal: &Proposal) -> &str {
    proposal.body.properties.text("golem.node.id.name").unwrap_or_default()
}

/// The session that agreements are confirmed with.
pub(crate) fn session() -> SessionId {
    SessionId::from("cluster")
}

pub(crate) const TIMEOUT: Span = Span::secs(20);

/// One provider that is known at once, close by, with this conduct and these other keys.
pub(crate) fn provider(conduct: &str) -> String {
    format!(
        "daemon: {{hop_ms: 20}}\npopulations: [{{count: 1, arrives: 0, threads: 4, cpu_hour: 3.6, \
         env_hour: 3.6, start: 0.5, conduct: {{{conduct}}}}}]"
    )
}

impl Daemon {
    /// A daemon beside one provider of this conduct.
    pub(crate) fn beside(conduct: &str) -> Self {
        Self::of(&provider(conduct))
    }

    /// A draft of the only provider, and its demand.
    pub(crate) fn draft(&mut self) -> (SubscriptionId, ProposalId) {
        let demand = self.subscribe();
        (demand.clone(), self.draft_for(&demand))
    }

    pub(crate) fn draft_for(&mut self, demand: &SubscriptionId) -> ProposalId {
        let initial = self.proposals(demand, 1).remove(0);
        assert!(self.counter(demand, &initial.id).is_ok());
        self.proposals(demand, 1).remove(0).id
    }

    /// Makes an agreement that may be approved within a minute.
    pub(crate) fn create(&mut self, proposal: &ProposalId) -> AgreementId {
        let valid_to = self.now.plus(Span::mins(1));
        match self.ask(&Request::CreateAgreement { proposal: proposal.clone(), valid_to }) {
            Ok(Response::AgreementCreated(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn confirm(&mut self, agreement: &AgreementId) -> Reply {
        let (agreement, session) = (agreement.clone(), session());
        self.ask(&Request::ConfirmAgreement { agreement, session })
    }

    pub(crate) fn await_approval(&mut self, agreement: &AgreementId, secs: u64) -> Reply {
        let (agreement, timeout) = (agreement.clone(), Span::secs(secs));
        self.ask(&Request::AwaitApproval { agreement, timeout })
    }

    /// An agreement that the provider has, whatever it says to it.
    pub(crate) fn propose(&mut self) -> AgreementId {
        let (_, draft) = self.draft();
        let agreement = self.create(&draft);
        assert_eq!(self.confirm(&agreement), Ok(Response::AgreementConfirmed));
        agreement
    }

    /// An agreement that the provider has approved.
    pub(crate) fn sign(&mut self) -> AgreementId {
        let agreement = self.propose();
        assert_eq!(self.await_approval(&agreement, 30), Ok(Response::AgreementApproved));
        agreement
    }

    pub(crate) fn terminate(&mut self, agreement: &AgreementId) -> Reply {
        let (agreement, reason) = (agreement.clone(), "No longer needed".to_owned());
        self.ask(&Request::TerminateAgreement { agreement, reason })
    }

    pub(crate) fn create_activity(&mut self, agreement: &AgreementId) -> ActivityId {
        let (agreement, timeout) = (agreement.clone(), TIMEOUT);
        match self.ask(&Request::CreateActivity { agreement, timeout }) {
            Ok(Response::ActivityCreated(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    /// A new activity under a new agreement.
    pub(crate) fn start(&mut self) -> (AgreementId, ActivityId) {
        let agreement = self.sign();
        let activity = self.create_activity(&agreement);
        (agreement, activity)
    }

    pub(crate) fn destroy(&mut self, activity: &ActivityId) -> Reply {
        let (activity, timeout) = (activity.clone(), TIMEOUT);
        self.ask(&Request::DestroyActivity { activity, timeout })
    }

    pub(crate) fn execute(&mut self, activity: &ActivityId, script: Vec<ExeCommand>) -> BatchId {
        match self.ask(&execute(activity, script)) {
            Ok(Response::BatchStarted(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    /// The results of a batch once this command has ended.
    pub(crate) fn results(
        &mut self,
        activity: &ActivityId,
        batch: &BatchId,
        command: u32,
    ) -> Vec<CommandResult> {
        match self.ask(&results(activity, batch, command, 300)) {
            Ok(Response::Results(results)) => results,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn note(&mut self, id: &DebitNoteId) -> DebitNote {
        match self.ask(&Request::GetDebitNote { debit_note: id.clone() }) {
            Ok(Response::DebitNote(note)) => *note,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn invoice(&mut self, id: &InvoiceId) -> Invoice {
        match self.ask(&Request::GetInvoice { invoice: id.clone() }) {
            Ok(Response::Invoice(invoice)) => *invoice,
            other => panic!("{other:?}"),
        }
    }

    /// All debit notes that there are.
    pub(crate) fn notes(&mut self) -> Vec<DebitNote> {
        match self.ask(&Request::ListDebitNotes { after: START }) {
            Ok(Response::DebitNotes(notes)) => notes,
            other => panic!("{other:?}"),
        }
    }

    /// All invoices that there are.
    pub(crate) fn invoices(&mut self) -> Vec<Invoice> {
        match self.ask(&Request::ListInvoices { after: START }) {
            Ok(Response::Invoices(invoices)) => invoices,
            other => panic!("{other:?}"),
        }
    }

    /// An allocation of so many GLM on the usual platform for a week.
    pub(crate) fn funds(&mut self, glm: u64) -> AllocationId {
        match self.allocate(glm, 604_800) {
            Ok(Response::AllocationCreated(allocation)) => allocation.id,
            other => panic!("{other:?}"),
        }
    }

    /// What an allocation has left.
    pub(crate) fn spent(&self, id: &AllocationId) -> Glm {
        let found = self.sim.allocations().iter().find(|book| book.allocation.id == *id);
        found.expect("it was made").allocation.spent
    }

    pub(crate) fn accept_note(&mut self, note: &DebitNote, allocation: &AllocationId) -> Reply {
        self.ask(&accept_note(note, allocation))
    }

    pub(crate) fn accept_invoice(&mut self, invoice: &Invoice, allocation: &AllocationId) -> Reply {
        self.ask(&accept_invoice(invoice, allocation))
    }

    pub(crate) fn network(&mut self) -> NetworkId {
        match self.ask(&create_network()) {
            Ok(Response::NetworkCreated(network)) => network.id,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

pub(crate) fn create_network() -> Request {
    Request::CreateNetwork {
        path: NetworkPath::Daemon,
        ip: Ipv4Addr::new(192, 168, 0, 0).into(),
        prefix: 16,
        gateway: GATEWAY.into(),
    }
}

pub(crate) fn execute(activity: &ActivityId, script: Vec<ExeCommand>) -> Request {
    Request::Execute { activity: activity.clone(), script: Arc::new(script), timeout: TIMEOUT }
}

pub(crate) fn results(activity: &ActivityId, batch: &BatchId, command: u32, secs: u64) -> Request {
    let (activity, batch, timeout) = (activity.clone(), batch.clone(), Span::secs(secs));
    Request::CollectResults { activity, batch, command, timeout }
}

pub(crate) fn deploy() -> ExeCommand {
    ExeCommand::Deploy { networks: Vec::new() }
}

pub(crate) fn deploy_into(network: &NetworkId, node_ip: Ipv4Addr) -> ExeCommand {
    let (network, nodes) = (network.clone(), Vec::new());
    let (ip, mask) = (Ipv4Addr::new(192, 168, 0, 0), Ipv4Addr::new(255, 255, 0, 0));
    ExeCommand::Deploy { networks: vec![Deployment { network, ip, mask, node_ip, nodes }] }
}

pub(crate) fn run(script: &str) -> ExeCommand {
    let args = vec!["-c".to_owned(), script.to_owned()];
    ExeCommand::Run { entry_point: "/bin/sh".to_owned(), args }
}

pub(crate) fn accept_note(note: &DebitNote, allocation: &AllocationId) -> Request {
    Request::AcceptDebitNote {
        debit_note: note.id.clone(),
        amount: note.total_due.clone(),
        allocation: allocation.clone(),
        timeout: TIMEOUT,
    }
}

pub(crate) fn accept_invoice(invoice: &Invoice, allocation: &AllocationId) -> Request {
    Request::AcceptInvoice {
        invoice: invoice.id.clone(),
        amount: invoice.amount.clone(),
        allocation: allocation.clone(),
        timeout: TIMEOUT,
    }
}

pub(crate) fn glm(text: &str) -> Glm {
    Glm::parse(text, ray_on_golem::units::Rounding::Exact).expect("a literal")
}

impl Daemon {
    /// The first debit note of a new activity, when it is there.
    pub(crate) fn first_note(&mut self) -> DebitNote {
        self.start();
        let (id, _) = self.next_note(START);
        self.note(&id)
    }

    /// The first debit note and the invoice of an agreement that is over, its last note not counted.
    pub(crate) fn note_and_invoice(&mut self) -> (DebitNote, Invoice) {
        let (agreement, _) = self.start();
        let (id, _) = self.next_note(START);
        let note = self.note(&id);
        self.wait(Span::secs(30));
        assert!(self.terminate(&agreement).is_ok());
        let (id, _) = self.invoice_events(START, 30).remove(0);
        (note, self.invoice(&id))
    }

    /// The next debit note that is received after an instant.
    pub(crate) fn next_note(&mut self, after: Timestamp) -> (DebitNoteId, Timestamp) {
        let mut after = after;
        loop {
            let (session, timeout) = (session(), Span::secs(50));
            let request = Request::CollectDebitNoteEvents { session, after, timeout };
            let Ok(Response::DebitNoteEvents(events)) = self.ask(&request) else { panic!() };
            after = events.last().map_or(after, |event| event.at);
            let received = |kind: &BillEventKind| *kind == BillEventKind::Received;
            if let Some(event) = events.into_iter().find(|event| received(&event.kind)) {
                return (event.id, event.at);
            }
        }
    }

    pub(crate) fn note_kinds(&mut self) -> Vec<BillEventKind> {
        let (session, after, timeout) = (session(), START, Span::ZERO);
        match self.ask(&Request::CollectDebitNoteEvents { session, after, timeout }) {
            Ok(Response::DebitNoteEvents(events)) => {
                events.into_iter().map(|event| event.kind).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn invoice_events(
        &mut self,
        after: Timestamp,
        secs: u64,
    ) -> Vec<(InvoiceId, BillEventKind)> {
        let (session, timeout) = (session(), Span::secs(secs));
        match self.ask(&Request::CollectInvoiceEvents { session, after, timeout }) {
            Ok(Response::InvoiceEvents(events)) => {
                events.into_iter().map(|event| (event.id, event.kind)).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn reject(daemon: &mut Daemon, invoice: &InvoiceId) -> Reply {
    daemon.ask(&Request::RejectInvoice {
        invoice: invoice.clone(),
        reason: RejectionReason::IncorrectAmount,
        message: "too much".to_owned(),
    })
}

pub(crate) fn cycle(daemon: &mut Daemon) -> BatchCycle {
    let platform = PlatformId::from("erc20-hoodi-tglm");
    match daemon.ask(&Request::GetBatchCycle { platform }) {
        Ok(Response::BatchCycle(cycle)) => cycle,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn due(note: &DebitNote) -> Glm {
    note.total_due.glm().expect("GLM")
}

pub(crate) fn billed(invoice: &Invoice) -> Glm {
    invoice.amount.glm().expect("GLM")
}
