//! What a machine was told, when, and what it did: enough to run it again without a world.
//!
//! A recording is NDJSON. The first line is how the machine began, each other line is one input of it:
//!
//! ```text
//! {"recording":1,"version":"1.0.0","seed":7,"at":1700000000000000,"durable":[…],"did":[…],"next":null}
//! {"at":1700000000000004,"event":{"replied":{"call":0,"reply":{"answered":{"status":200,…}}}},"did":[…],"next":…}
//! ```
//!
//! `at` is what the clock said, in microseconds, `did` is what the machine did before its next input,
//! and `next` is when it wanted to be woken. Replies of the daemon are kept as they came over the wire,
//! so that the codec is replayed, too. What becomes durable is not kept: a replay is about what the
//! world saw of the machine. Secrets are masked ([`Mask`]): app-keys, the keys of clusters, and the ids of
//! private networks. Headers are not kept at all.
//!
//! A crash can tear nothing but the last line, which is dropped and told ([`read()`]). Files are the
//! shell's: see `driver::recorder`; [`replay()`] runs the machine again.

mod mask;
mod read;
mod replay;

pub use mask::Mask;
pub use read::{Recording, RecordingError, is_recording, read};
pub use replay::{Difference, Replayed, replay};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use crate::{
    core::{
        Answer, Command, Durable, Input, Output, Probe, Snapshot,
        ids::{CallId, ProbeId, RequestId},
        rng::Seed,
        survey::SurveyReport,
    },
    units::Timestamp,
    yagna::{
        CallError, Request, Response, Status,
        wire::{self, HttpResponse},
    },
};

/// The format of recordings that are written.
pub const FORMAT: u32 = 1;

/// An input of the machine; a reply is as it came over the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody asks for something.
    Requested {
        /// Names the answer.
        id: RequestId,
        /// What is asked.
        command: Command,
    },
    /// A call ended.
    Replied(Exchange),
    /// A look at a node ended.
    Probed {
        /// Which look.
        probe: ProbeId,
        /// What was seen.
        outcome: Result<(), String>,
    },
    /// Time passed.
    Elapsed,
}

/// A request to the daemon, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Which call.
    pub call: CallId,
    /// What was asked.
    pub request: Request,
    /// What came back, or why nothing did.
    pub reply: Result<HttpResponse, CallError>,
}

/// A line that is being made; the machine still does things.
#[derive(Debug)]
pub struct Line(Content);

#[derive(Debug)]
enum Content {
    Head(Box<Head>),
    Step(Box<Step>),
}

/// How the machine began.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    recording: u32,
    version: String,
    seed: u64,
    at: Timestamp,
    durable: Vec<Snapshot>,
    did: Vec<Value>,
    next: Option<Timestamp>,
}

/// One input, and what the machine did then.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    at: Timestamp,
    event: Told,
    did: Vec<Value>,
    next: Option<Timestamp>,
}

/// An [`Event`] as it is written: without the request, which the machine makes again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    Requested { id: RequestId, command: Command },
    Replied { call: CallId, reply: Reply },
    Probed { probe: ProbeId, failure: Option<String> },
    Elapsed,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    Answered { status: Status, content_type: Option<String>, body: Body },
    Failed(CallError),
}

/// JSON is kept to the letter; bytes that are no text are lost.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Body {
    Json(Box<RawValue>),
    Text(String),
}

impl Event {
    /// What the machine is told.
    #[must_use]
    pub fn into_input(self) -> Input {
        match self {
            Self::Requested { id, command } => Input::Requested { id, command },
            Self::Replied(exchange) => {
                Input::Replied { call: exchange.call, result: exchange.read() }
            }
            Self::Probed { probe, outcome } => Input::Probed { probe, outcome },
            Self::Elapsed => Input::Elapsed,
        }
    }
}

impl Exchange {
    fn read(self) -> Result<Response, CallError> {
        wire::decode_response(&self.request, &self.reply?)
    }
}

impl Line {
    /// The line of a machine that begins.
    #[must_use]
    pub fn head(seed: Seed, at: Timestamp, durable: &Durable) -> Self {
        let durable = durable.journals().filter_map(|journal| durable.snapshot(journal)).collect();
        Self(Content::Head(Box::new(Head {
            recording: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: seed.number(),
            at,
            durable,
            did: Vec::new(),
            next: None,
        })))
    }

    /// The line of an input.
    #[must_use]
    pub fn step(at: Timestamp, event: &Event) -> Self {
        let step = Step { at, event: Told::from(event), did: Vec::new(), next: None };
        Self(Content::Step(Box::new(step)))
    }

    /// Something that the machine did.
    pub fn add(&mut self, output: &Output) {
        let did = match &mut self.0 {
            Content::Head(head) => &mut head.did,
            Content::Step(step) => &mut step.did,
        };
        did.extend(written(output));
    }

    /// Whether time passed, and the machine did nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match &self.0 {
            Content::Head(_) => false,
            Content::Step(step) => matches!(step.event, Told::Elapsed) && step.did.is_empty(),
        }
    }

    /// The line as text with its end, once the machine has nothing left to do until `next`.
    #[must_use]
    pub fn finish(mut self, next: Option<Timestamp>, mask: &Mask) -> String {
        let text = match &mut self.0 {
            Content::Head(head) => {
                head.next = next;
                serde_json::to_string(head)
            }
            Content::Step(step) => {
                step.next = next;
                serde_json::to_string(step)
            }
        };
        let text = text.expect("plain data, and the keys of its maps are texts or numbers");
        format!("{}\n", mask.hide(&text))
    }
}

impl From<&Event> for Told {
    fn from(event: &Event) -> Self {
        match event {
            Event::Requested { id, command } => {
                Self::Requested { id: *id, command: command.clone() }
            }
            Event::Replied(Exchange { call, reply, .. }) => {
                Self::Replied { call: *call, reply: Reply::from(reply) }
            }
            Event::Probed { probe, outcome } => {
                Self::Probed { probe: *probe, failure: outcome.clone().err() }
            }
            Event::Elapsed => Self::Elapsed,
        }
    }
}

impl From<&Result<HttpResponse, CallError>> for Reply {
    fn from(reply: &Result<HttpResponse, CallError>) -> Self {
        match reply {
            Ok(HttpResponse { status, content_type, body }) => {
                let text = String::from_utf8_lossy(body).into_owned();
                // A line has one end.
                let json = (!text.contains('\n')).then(|| RawValue::from_string(text.clone()).ok());
                let body = json.flatten().map_or(Body::Text(text), Body::Json);
                Self::Answered { status: *status, content_type: content_type.clone(), body }
            }
            Err(error) => Self::Failed(error.clone()),
        }
    }
}

impl From<Reply> for Result<HttpResponse, CallError> {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Answered { status, content_type, body } => {
                let body = match body {
                    Body::Json(json) => json.get().as_bytes().to_vec(),
                    Body::Text(text) => text.into_bytes(),
                };
                Ok(HttpResponse { status, content_type, body })
            }
            Reply::Failed(error) => Err(error),
        }
    }
}

/// What the world sees of an output; nothing of what only becomes durable, or is only remembered.
fn written(output: &Output) -> Option<Value> {
    match output {
        Output::Persist { .. } | Output::Saw(_) => None,
        Output::Answer { id, answer } => Some(json!({ "answer": id, "what": told(answer) })),
        Output::Call { call, request, patience } => {
            let sent = wire::encode_request(request);
            let line = format!("{} {}", sent.method.name(), sent.path);
            let body = sent.body.map(|body| to_value(&body));
            Some(json!({ "call": call, "request": line, "body": body, "patience": patience }))
        }
        Output::Abandon { call } => Some(json!({ "abandon": call })),
        Output::Probe { probe, what: Probe::Ssh { network, ip, .. }, patience } => {
            let what = format!("ssh to {ip} in {network}");
            Some(json!({ "probe": probe, "what": what, "patience": patience }))
        }
        Output::Notify(notice) => Some(json!({ "notify": notice.to_string() })),
    }
}

/// A body of ours; it is JSON.
fn to_value(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

/// An answer in words; of a survey, what was counted.
fn told(answer: &Answer) -> String {
    match answer {
        Answer::Surveyed(Ok(report)) => counted(report),
        Answer::Surveyed(Err(error)) => error.to_string(),
        Answer::Ending(_)
        | Answer::NodesRequested(_)
        | Answer::NodeTerminated(_)
        | Answer::TagsSet(_)
        | Answer::UsageNoted(_)
        | Answer::ClusterEnding(_)
        | Answer::BudgetSet(_)
        | Answer::LawSet(_)
        | Answer::Informed
        | Answer::ShuttingDown => format!("{answer:?}"),
    }
}

fn counted(report: &SurveyReport) -> String {
    let markets = report.markets.iter().map(|market| {
        let funnel = &market.funnel;
        let (initial, agreed) = (funnel.initial, funnel.agreed);
        let failed: u64 = funnel.failures.values().sum();
        let within = funnel.within_limit.iter().map(|count| format!(", {count} within a limit"));
        format!(
            "{}: {initial} offers{}, {} negotiated, {agreed} agreed, {failed} failed",
            market.subnet_tag,
            within.collect::<String>(),
            funnel.negotiated,
        )
    });
    markets.collect::<Vec<_>>().join("; ")
}
