//! Required situations: what a batch of seeds must have met, or it has proven little.

use ray_on_golem::{
    core::{
        Answer, Command, Input, Notice, Output, Record, RequestError,
        cluster::{
            plan::NodeKind,
            record::{AgreementFact, ClusterRecord, EndReason, NetworkFact, NodeFact},
            state::NodeState,
        },
    },
    units::{Span, Timestamp},
    yagna::{
        AgreementState, BillEvent, CallError, DebitNote, DocumentState, Doubt, InvoiceId,
        NetworkPath, Request, Response, Status,
    },
};

use super::{Family, Findings, Look};

/// Every required situation.
pub const SITUATIONS: &[&str] = &[
    "agreement rejected",
    "approval timed out then late",
    "agreement approved after we gave up",
    "activity created but reply lost",
    "invoice before termination",
    "invoice after shutdown began",
    "duplicate bill",
    "bill over cap",
    "bill below accepted notes",
    "504 after acceptance",
    "budget used up",
    "budget raised",
    "budget too small for one node",
    "crash between persist and call",
    "crash between call and reply",
    "crash in recovery",
    "torn journal",
    "address used again",
    "head lost",
    "fallback from the priority subnet",
    "ssh flapping then stable",
    "provider terminates first",
    "daemon restart",
    "network lost",
    "begun again without the bus",
    "network outlives the daemon",
    "clock jump of hours",
    "request during shutdown",
    "same key twice",
    "allocation doubtful",
    "down then up",
    "wrong ids in a good reply",
    "clock ahead of the daemon's",
    "clock behind the daemon's",
    "clock set back",
    "worker hired after ray did not start",
    "idle cluster with a worker ended",
    "head asked for what its user did not name",
    "head asked for too many workers",
];

#[derive(Default)]
pub(super) struct Situations {
    last: Option<Timestamp>,
    has_persisted: bool,
    calls: u64,
    recoveries: u32,
    is_recovering: bool,
    failed_looks: u64,
    agreements_seen: usize,
}

impl Family for Situations {
    fn on_input(&mut self, look: &Look<'_>, input: &Input, findings: &mut Findings) {
        if self.last.is_some_and(|last| look.now().since(last) > Span::hours(1)) {
            findings.reach("clock jump of hours");
        }
        self.last = Some(look.now());
        match input {
            Input::Probed { outcome: Err(_), .. } => self.failed_looks += 1,
            Input::Probed { outcome: Ok(()), .. } if self.failed_looks > 2 => {
                self.failed_looks = 0;
                findings.reach("ssh flapping then stable");
            }
            Input::Requested { command: Command::RequestNodes(request), .. } => {
                let mut clusters = look.scene.durable.clusters().values();
                if clusters.any(|it| it.name == request.cluster && it.ending.is_some()) {
                    findings.reach("down then up");
                }
                let known = request.key.as_ref().is_some_and(|key| {
                    look.scene.durable.clusters().values().any(|it| it.keys.contains_key(key))
                });
                if known {
                    findings.reach("same key twice");
                }
            }
            Input::Requested { command: Command::ClockSetBack, .. } => {
                findings.reach("clock set back");
            }
            Input::Probed { .. }
            | Input::Requested { .. }
            | Input::Replied { .. }
            | Input::Elapsed => {}
        }
    }

    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        self.has_persisted = false;
        match output {
            Output::Persist { records, .. } => {
                self.has_persisted = true;
                for record in records {
                    if let Record::Cluster(_, record) = record {
                        on_record(look, record, findings);
                    }
                }
            }
            Output::Call { .. } => self.calls += 1,
            Output::Answer {
                answer: Answer::NodesRequested(Err(RequestError::ShuttingDown)),
                ..
            } => findings.reach("request during shutdown"),
            Output::Notify(Notice::DemandLost) => {
                findings.reach("daemon restart");
                let mut networks = look.scene.daemon.networks().iter();
                if networks.any(|it| it.path == NetworkPath::Bus && it.removed.is_none()) {
                    findings.reach("network outlives the daemon");
                }
            }
            Output::Answer { .. }
            | Output::Abandon { .. }
            | Output::Probe { .. }
            | Output::Notify(_)
            | Output::Saw(_) => {}
        }
    }

    fn on_result(
        &mut self,
        look: &Look<'_>,
        request: &Request,
        result: &Result<Response, CallError>,
        findings: &mut Findings,
    ) {
        self.calls = self.calls.saturating_sub(1);
        match (request, result) {
            (Request::AwaitApproval { .. }, Err(error)) if error.is_refusal(Status::GONE) => {
                findings.reach("agreement rejected");
            }
            (Request::CreateActivity { agreement, .. }, Err(CallError::Unknown(_))) => {
                let mut activities = look.scene.daemon.activities().iter().rev();
                if activities.any(|book| book.agreement == *agreement) {
                    findings.reach("activity created but reply lost");
                }
            }
            (Request::CreateAllocation { .. }, Err(CallError::Unknown(_))) => {
                findings.reach("allocation doubtful");
            }
            (
                Request::AcceptDebitNote { .. } | Request::AcceptInvoice { .. },
                Err(CallError::Unknown(Doubt::Failed { status: Status::GATEWAY_TIMEOUT, .. })),
            ) => findings.reach("504 after acceptance"),
            (Request::GetInvoice { .. }, Ok(Response::Invoice(invoice))) => {
                let mut clusters = look.scene.durable.clusters().values();
                let account = clusters.find_map(|it| {
                    it.account_of(&invoice.agreement).map(|(_, account)| (it, account))
                });
                if let Some((cluster, account)) = account {
                    if account.over.is_none() {
                        findings.reach("invoice before termination");
                    }
                    if cluster.ending.is_some() {
                        findings.reach("invoice after shutdown began");
                    }
                    if invoice.amount.glm().is_ok_and(|amount| amount < account.accepted) {
                        findings.reach("bill below accepted notes");
                    }
                }
            }
            (Request::GetDebitNote { .. }, Ok(Response::DebitNote(note)))
                if note.state == DocumentState::Received =>
            {
                on_note(look, note, findings);
            }
            (Request::CollectInvoiceEvents { .. }, Ok(Response::InvoiceEvents(events)))
                if !look.scene.has_one_clock =>
            {
                on_dated(look.now(), events, findings);
            }
            (Request::GetAgreement { agreement }, Ok(Response::Agreement(found))) => {
                let mut clusters = look.scene.durable.clusters().values();
                let account = clusters.find_map(|it| it.account_of(agreement).map(|it| it.1));
                let is_given_up = account.is_some_and(|account| account.closing.is_some());
                if is_given_up && found.state == AgreementState::Approved {
                    findings.reach("agreement approved after we gave up");
                }
            }
            _ => {}
        }
    }

    fn on_step(&mut self, look: &Look<'_>, findings: &mut Findings) {
        self.is_recovering = false;
        let books = look.scene.daemon.agreements();
        if books.len() != self.agreements_seen {
            self.agreements_seen = books.len();
            if books
                .iter()
                .any(|book| book.state == AgreementState::Expired && book.confirmed.is_some())
            {
                findings.reach("approval timed out then late");
            }
        }
    }

    fn on_crash(&mut self, _look: &Look<'_>, findings: &mut Findings) {
        if self.has_persisted {
            findings.reach("crash between persist and call");
        }
        if self.calls > 0 {
            findings.reach("crash between call and reply");
        }
        if self.is_recovering {
            findings.reach("crash in recovery");
        }
        self.calls = 0;
        self.recoveries += 1;
        // Until its first step a process that starts again is recovering.
        self.is_recovering = true;
    }
}

fn on_note(look: &Look<'_>, note: &DebitNote, findings: &mut Findings) {
    let mut clusters = look.scene.durable.clusters().values();
    let account = clusters.find_map(|it| it.account_of(&note.agreement).map(|it| it.1));
    if let Some(account) = account
        && let Ok(due) = note.total_due.glm()
    {
        if due == account.accepted && account.accepted.as_atto() > 0 {
            findings.reach("duplicate bill");
        }
        if due < account.accepted {
            findings.reach("bill below accepted notes");
        }
    }
}

/// What is just told of is dated by a clock that is behind ours, or ahead of it.
fn on_dated(now: Timestamp, events: &[BillEvent<InvoiceId>], findings: &mut Findings) {
    for event in events {
        let is_behind = now.since(event.at) > Span::mins(2);
        findings.reach(match is_behind {
            true => "clock ahead of the daemon's",
            false => "clock behind the daemon's",
        });
    }
}

fn on_record(look: &Look<'_>, record: &ClusterRecord, findings: &mut Findings) {
    match record {
        ClusterRecord::Ending { reason: EndReason::BudgetSpent, .. } => {
            findings.reach("budget used up");
        }
        ClusterRecord::BudgetSet { .. } => findings.reach("budget raised"),
        ClusterRecord::Warned { warning, .. } if warning.contains("over the daemon's bus") => {
            findings.reach("begun again without the bus");
        }
        ClusterRecord::Network(NetworkFact::Lost) => findings.reach("network lost"),
        ClusterRecord::Agreement { fact, .. } => match fact {
            AgreementFact::NoteDisputed(dispute) | AgreementFact::InvoiceDisputed(dispute)
                if dispute.reason.starts_with("no more than") =>
            {
                findings.reach("bill over cap");
            }
            AgreementFact::Closing { reason, .. } if reason.contains("provider ended") => {
                findings.reach("provider terminates first");
            }
            AgreementFact::Signing { ip, .. } => {
                let mut clusters = look.scene.durable.clusters().values();
                let was_used = clusters.any(|it| {
                    it.all_accounts().any(|(_, old)| old.ip == *ip && old.over.is_some())
                });
                if was_used {
                    findings.reach("address used again");
                }
            }
            _ => {}
        },
        ClusterRecord::Node { node, fact: NodeFact::Ending } => {
            let mut clusters = look.scene.durable.clusters().values();
            let is_head = clusters.any(|it| {
                it.nodes.get(node).is_some_and(|node| {
                    node.kind == NodeKind::Head && node.state == NodeState::Running
                })
            });
            if is_head {
                findings.reach("head lost");
            }
        }
        ClusterRecord::Node { fact: NodeFact::Logged(line), .. } => {
            if line.starts_with("No recommended providers") {
                findings.reach("fallback from the priority subnet");
            }
            if line.contains("budget") {
                findings.reach("budget too small for one node");
            }
        }
        _ => {}
    }
}
