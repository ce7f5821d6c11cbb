//! The machine of today over the inputs of then.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Event, Exchange, Recording, Step, Told, written};
use crate::{
    core::{Durable, Machine, Output, ids::CallId, rng::Seed},
    units::{Span, Timestamp},
    yagna::{Request, wire},
};

/// More differences than this are not listed: the first ones tell.
const DIFFERENCES_MAX: usize = 10;

/// What a replay has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The inputs that the machine was given.
    pub steps: usize,
    /// From the beginning to the last of them.
    pub took: Span,
    /// Where the machine acts differently today; at most ten.
    pub differences: Vec<Difference>,
    /// Whether the replay ended before the recording did: today's calls are others than then, so that
    /// the recorded replies are to questions that were not asked.
    pub is_cut: bool,
}

/// One input after which the machine acts differently today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the recording.
    pub line: usize,
    /// When that was, from the beginning.
    pub after: Span,
    /// The input.
    pub event: String,
    /// What was done then, and not today.
    pub then: Vec<String>,
    /// What is done today, and was not then.
    pub today: Vec<String>,
}

/// Runs the machine over a recording.
#[must_use]
pub fn replay(recording: Recording) -> Replayed {
    let Recording { head, steps, .. } = recording;
    let mut durable = Durable::default();
    for snapshot in head.durable {
        durable.restore(snapshot);
    }
    let mut machine = Machine::recover(Seed::new(head.seed), durable, head.at);
    let mut open = BTreeMap::new();
    let mut replayed =
        Replayed { steps: 0, took: Span::ZERO, differences: Vec::new(), is_cut: false };
    let today = doings(&mut machine, &mut open);
    let then = Doings { did: head.did, next: head.next };
    replayed.compare(1, Span::ZERO, "the beginning", then, today);
    for (line, Step { at, event, did, next }) in (2..).zip(steps) {
        if replayed.is_cut || replayed.differences.len() == DIFFERENCES_MAX {
            replayed.is_cut = true;
            break;
        }
        let name = name(&event, &open);
        let Some(event) = happened(event, &mut open) else { continue };
        machine.handle(at, event.into_input());
        replayed.steps += 1;
        replayed.took = at.since(head.at);
        let today = doings(&mut machine, &mut open);
        replayed.compare(line, at.since(head.at), &name, Doings { did, next }, today);
    }
    replayed
}

/// What the machine did after an input, and when it wants to be woken.
struct Doings {
    did: Vec<Value>,
    next: Option<Timestamp>,
}

impl Replayed {
    fn compare(&mut self, line: usize, after: Span, event: &str, then: Doings, today: Doings) {
        if then.did == today.did && then.next == today.next {
            return;
        }
        self.is_cut |= asked(&then.did) != asked(&today.did);
        let (mut only_then, mut only_today) = (beside(&then.did, &today.did), Vec::new());
        only_today.extend(beside(&today.did, &then.did));
        if then.next != today.next {
            only_then.push(waking(then.next));
            only_today.push(waking(today.next));
        } else if only_then.is_empty() && only_today.is_empty() {
            only_today.push("the same in another order".to_owned());
        }
        let event = event.to_owned();
        self.differences.push(Difference {
            line,
            after,
            event,
            then: only_then,
            today: only_today,
        });
    }
}

fn doings(machine: &mut Machine, open: &mut BTreeMap<CallId, Request>) -> Doings {
    let mut did = Vec::new();
    while let Some(output) = machine.poll_output() {
        did.extend(written(&output));
        if let Output::Call { call, request, .. } = output {
            open.insert(call, request);
        }
    }
    Doings { did, next: machine.poll_timeout().map(|(at, _)| at) }
}

/// The event as it was for the machine; none for a reply to a call that nobody made.
fn happened(told: Told, open: &mut BTreeMap<CallId, Request>) -> Option<Event> {
    Some(match told {
        Told::Requested { id, command } => Event::Requested { id, command },
        Told::Replied { call, reply } => {
            let request = open.remove(&call)?;
            Event::Replied(Exchange { call, request, reply: reply.into() })
        }
        Told::Probed { probe, failure } => {
            Event::Probed { probe, outcome: failure.map_or(Ok(()), Err) }
        }
        Told::Elapsed => Event::Elapsed,
    })
}

fn name(event: &Told, open: &BTreeMap<CallId, Request>) -> String {
    match event {
        Told::Requested { id, .. } => format!("request {}", id.0),
        Told::Replied { call, .. } => match open.get(call).map(wire::encode_request) {
            Some(sent) => format!("the reply to {} {}", sent.method.name(), sent.path),
            None => format!("the reply to call {}", call.0),
        },
        Told::Probed { probe, .. } => format!("probe {}", probe.0),
        Told::Elapsed => "a timer".to_owned(),
    }
}

/// What waits for a reply, or is not waited for any more.
fn asked(did: &[Value]) -> Vec<[Option<&Value>; 4]> {
    let asked = |did| ["call", "request", "probe", "abandon"].map(|key| Value::get(did, key));
    did.iter().map(asked).filter(|keys| keys.iter().any(Option::is_some)).collect()
}

/// What is in `these`, and not in `those`.
fn beside(these: &[Value], those: &[Value]) -> Vec<String> {
    these.iter().filter(|did| !those.contains(did)).map(ToString::to_string).collect()
}

fn waking(next: Option<Timestamp>) -> String {
    match next {
        Some(at) => format!("is woken at {}", at.as_unix_micros()),
        None => "is not woken".to_owned(),
    }
}
