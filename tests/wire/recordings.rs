//! Every recorded exchange of a real daemon (0.17.6) that our calls can meet.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use ray_on_golem::yagna::{
    CallError, DemandEvent, Doubt, Endpoint, Request, Response, Status,
    wire::{self, HttpRequest, HttpResponse, Method},
};
use serde_json::Value;

const RECORDINGS: usize = 262;

#[test]
fn every_recording_has_one_outcome() {
    let recordings = Recording::all();
    assert_eq!(recordings.len(), RECORDINGS);

    let mut lines = String::new();
    for recording in recordings {
        writeln!(lines, "{}", recording.outcome()).expect("writing to a string cannot fail");
    }

    insta::assert_snapshot!("recordings", lines);
}

#[test]
fn every_endpoint_was_recorded() {
    let mut met: Vec<_> = Recording::all().iter().map(Recording::endpoint).collect();
    met.sort();
    met.dedup();

    assert_eq!(met, Endpoint::ALL);
}

struct Recording {
    name: String,
    request: HttpRequest,
    response: HttpResponse,
}

impl Recording {
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire");
        let mut files = files_below(&root);
        files.sort();
        files.iter().map(|file| Self::read(&root, file)).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "tests read their fixtures")]
    fn read(root: &Path, file: &Path) -> Self {
        let text = fs::read(file).expect("a readable file");
        let exchange: Value = serde_json::from_slice(&text).expect("a recording is JSON");
        let (request, response) = (&exchange["request"], &exchange["response"]);
        let url = request["url"].as_str().expect("a request has a URL");
        let (_, target) = url.split_once("//").expect("a URL has a scheme");
        let slash = target.find('/').expect("a URL has a path");
        let status = response["status"].to_string().parse().expect("a status is a small number");
        Self {
            name: file.strip_prefix(root).expect("found below it").display().to_string(),
            request: HttpRequest {
                method: Method::from_name(request["method"].as_str().expect("a method"))
                    .expect("a method of ours"),
                path: target[slash..].to_owned(),
                headers: &[],
                body: body(&request["body"]),
            },
            response: HttpResponse {
                status: Status(status),
                content_type: response["headers"]["content-type"].as_str().map(str::to_owned),
                body: response["body_raw"].as_str().expect("a body").as_bytes().to_owned(),
            },
        }
    }

    /// The endpoint by the look of method and path, which is not how the codec finds it.
    fn endpoint(&self) -> Endpoint {
        let path = self.request.path.split('?').next().unwrap_or_default();
        let prefix = if path.starts_with("/net-api") { 3 } else { 2 };
        let tail: Vec<_> = path.trim_start_matches('/').split('/').skip(prefix).collect();
        match (self.request.method, tail.as_slice()) {
            (Method::Get, []) if path == "/me" => Endpoint::WhoAmI,
            (Method::Post, ["allocations"]) => Endpoint::CreateAllocation,
            (Method::Get, ["allocations"]) => Endpoint::ListAllocations,
            (Method::Delete, ["allocations", _]) => Endpoint::ReleaseAllocation,
            (Method::Get, ["demandDecorations"]) => Endpoint::DecorateDemand,
            (Method::Post, ["demands"]) => Endpoint::Subscribe,
            (Method::Get, ["demands"]) => Endpoint::ListDemands,
            (Method::Delete, ["demands", _]) => Endpoint::Unsubscribe,
            (Method::Post, ["scan"]) => Endpoint::BeginScan,
            (Method::Get, ["scan", _, "events"]) => Endpoint::CollectScan,
            (Method::Delete, ["scan", _]) => Endpoint::EndScan,
            (Method::Get, ["demands", _, "events"]) => Endpoint::CollectEvents,
            (Method::Post, ["demands", _, "proposals", _]) => Endpoint::CounterProposal,
            (Method::Post, ["demands", _, "proposals", _, "reject"]) => Endpoint::RejectProposal,
            (Method::Put, ["allocations", _]) => Endpoint::AmendAllocation,
            (Method::Post, ["agreements"]) => Endpoint::CreateAgreement,
            (Method::Get, ["agreements"]) => Endpoint::ListAgreements,
            (Method::Get, ["agreements", _]) => Endpoint::GetAgreement,
            (Method::Post, ["agreements", _, "confirm"]) => Endpoint::ConfirmAgreement,
            (Method::Post, ["agreements", _, "wait"]) => Endpoint::AwaitApproval,
            (Method::Post, ["agreements", _, "cancel"]) => Endpoint::CancelAgreement,
            (Method::Post, ["agreements", _, "terminate"]) => Endpoint::TerminateAgreement,
            (Method::Get, ["agreementEvents"]) => Endpoint::CollectAgreementEvents,
            _ => self.endpoint_of_deal(path, &tail),
        }
    }

    fn endpoint_of_deal(&self, path: &str, tail: &[&str]) -> Endpoint {
        match (self.request.method, tail) {
            (Method::Post, ["activity"]) => Endpoint::CreateActivity,
            (Method::Get, ["activity"]) => Endpoint::ListActivities,
            (Method::Delete, ["activity", _]) => Endpoint::DestroyActivity,
            (Method::Get, ["activity", _, "state"]) => Endpoint::GetActivityState,
            (Method::Post, ["activity", _, "exec"]) => Endpoint::Execute,
            (Method::Get, ["activity", _, "exec", _]) => Endpoint::CollectResults,
            (Method::Post, ["net"]) => Endpoint::CreateNetwork,
            (Method::Get, ["net"]) => Endpoint::ListNetworks,
            (Method::Delete, ["net", _]) => Endpoint::RemoveNetwork,
            (Method::Post, ["net", _, "nodes"]) => Endpoint::AddNode,
            (Method::Delete, ["net", _, "nodes", _]) => Endpoint::RemoveNode,
            (Method::Get, ["debitNoteEvents"]) => Endpoint::CollectDebitNoteEvents,
            (Method::Get, ["invoiceEvents"]) => Endpoint::CollectInvoiceEvents,
            (Method::Get, ["debitNotes"]) => Endpoint::ListDebitNotes,
            (Method::Get, ["invoices"]) => Endpoint::ListInvoices,
            (Method::Get, ["debitNotes", _]) => Endpoint::GetDebitNote,
            (Method::Get, ["invoices", _]) => Endpoint::GetInvoice,
            (Method::Post, ["debitNotes", _, "accept"]) => Endpoint::AcceptDebitNote,
            (Method::Post, ["invoices", _, "accept"]) => Endpoint::AcceptInvoice,
            (Method::Post, ["invoices", _, "reject"]) => Endpoint::RejectInvoice,
            (Method::Get, ["batchCycle", _]) => Endpoint::GetBatchCycle,
            (Method::Post, ["batchCycle"]) => Endpoint::SetBatchCycle,
            _ => panic!("{}: {path} is none of our endpoints", self.name),
        }
    }

    fn outcome(&self) -> String {
        let (name, endpoint) = (&self.name, self.endpoint());
        let status = self.response.status;
        let request = match wire::decode_request(&self.request) {
            Ok(request) => request,
            Err(malformed) => {
                assert_eq!(malformed.status, status, "{name}: refused as the daemon did");
                return format!("{name}: malformed {} -> {}", endpoint.name(), malformed.body);
            }
        };
        assert_eq!(request.endpoint(), endpoint, "{name}");
        let written = self.rewritten(&request);
        let outcome = summary(&wire::decode_response(&request, &self.response));
        format!("{name}: {}, {written} -> {status} {outcome}", endpoint.name())
    }

    /// How what we would send compares with what was sent.
    fn rewritten(&self, request: &Request) -> &'static str {
        let ours = wire::encode_request(request);
        assert_eq!(wire::decode_request(&ours).as_ref(), Ok(request), "{}", self.name);
        let json = |body: &Option<Vec<u8>>| {
            body.as_ref().map(|body| serde_json::from_slice::<Value>(body).expect("JSON"))
        };
        if ours.path != self.request.path {
            "by another path"
        } else if json(&ours.body) == json(&self.request.body) {
            "same"
        } else {
            "in other words"
        }
    }
}

/// The body that was sent; text stands for itself, so that bad JSON could be recorded.
fn body(recorded: &Value) -> Option<Vec<u8>> {
    match (recorded.is_null(), recorded.as_str()) {
        (true, _) => None,
        (false, Some(text)) => Some(text.as_bytes().to_owned()),
        (false, None) => Some(recorded.to_string().into_bytes()),
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable entry").path())
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}

fn summary(outcome: &Result<Response, CallError>) -> String {
    match outcome {
        Ok(Response::Events(events)) => {
            let events: Vec<_> = events.iter().map(event_summary).collect();
            format!("Events[{}]", events.join(", "))
        }
        Ok(response) => shortened(&format!("{response:?}")),
        Err(CallError::Rejected { body, .. }) => format!("Rejected {}", shortened(body)),
        Err(CallError::NotSent { why }) => format!("NotSent {why}"),
        Err(CallError::Unknown(Doubt::Failed { body, .. })) => {
            format!("Failed {}", shortened(body))
        }
        Err(CallError::Unknown(doubt)) => format!("{doubt:?}"),
    }
}

fn event_summary(event: &DemandEvent) -> String {
    match event {
        DemandEvent::Proposal(proposal) => {
            format!("{:?} with {} properties", proposal.state, proposal.body.properties.0.len())
        }
        DemandEvent::Rejected { reason, .. } => format!("Rejected {reason:?}"),
        DemandEvent::Unreadable(what) => format!("Unreadable {what}"),
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(160).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
