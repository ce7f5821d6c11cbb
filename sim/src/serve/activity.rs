//! The activity API beyond our vocabulary: ids without an object, scripts that are none, results
//! without an index, results as they come, and what an activity has used.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{Method, Response, header},
};
use ray_on_golem::yagna::{
    ActivityId, BatchId, CommandResult, ExeCommand, Request, Response as Told, Status, wire,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    State,
    api::{self, Ask, plain},
    daemon::Answer,
    document, reply,
};
use crate::{
    fault::Fate,
    yagna::{BatchEvent, EventKind, Outcome, RunningCommand, Source},
};

/// The daemon never ends a stream; after the last event it says this often that it is there.
const PINGS_EVERY: Duration = Duration::from_secs(15);
const PING: &[u8] = b":ping\n";
/// Whoever reads more slowly is waited for.
const FRAMES_MAX: usize = 64;

/// The commands that the daemon knows, whatever they say.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Command {
    Sign(IgnoredAny),
    Deploy(IgnoredAny),
    Start(IgnoredAny),
    Run(IgnoredAny),
    Transfer(IgnoredAny),
    Terminate(IgnoredAny),
}

/// The body of an order to run a script.
#[derive(Deserialize)]
struct Script {
    text: String,
}

/// Answers a request to the activity API.
pub(super) async fn answer(state: Arc<State>, ask: &Ask, path: &[&str]) -> Response<Body> {
    match (ask.method.clone(), path) {
        (Method::GET, ["activity"]) if ask.value("agreementId").is_none() => {
            reply::text(400, "Query deserialize error: missing field `agreementId`")
        }
        (Method::GET, ["_monitor"]) => monitor(state),
        (Method::POST, ["activity"]) => create(&state, ask).await,
        (Method::POST, ["activity", _, "exec"]) => match check_script(ask) {
            Ok(()) => plain(&state, ask).await,
            Err(refusal) => refusal,
        },
        (Method::GET, ["activity", id, "exec", batch]) => {
            let (activity, batch) = (ActivityId::from(*id), BatchId::from(*batch));
            if is_stream(ask) {
                stream(state, &activity, batch)
            } else {
                results(&state, ask, &batch).await
            }
        }
        (Method::GET, ["activity", id, "agreement"]) => {
            let inner = state.daemon.look();
            match inner.yagna.agreement_of(&(*id).into()) {
                Some(agreement) => reply::json(200, &json!(agreement)),
                None => unknown(id),
            }
        }
        (Method::GET, ["activity", id, "usage"]) => {
            let inner = state.daemon.look();
            let now = inner.now();
            match inner.yagna.usage(&(*id).into(), now) {
                Some(usage) => {
                    let seconds = now.as_unix_millis() / 1_000;
                    let counters = document::counters(&usage);
                    reply::json(200, &json!({ "currentUsage": counters, "timestamp": seconds }))
                }
                None => unknown(id),
            }
        }
        (Method::GET, ["activity", id, "command"]) => {
            let inner = state.daemon.look();
            match inner.yagna.running_commands(&(*id).into()) {
                Some(running) => {
                    reply::json(200, &json!(running.iter().map(command).collect::<Vec<_>>()))
                }
                None => unknown(id),
            }
        }
        _ => plain(&state, ask).await,
    }
}

/// Tells whenever an activity begins or ends. Of its activities a requestor is told none, as seen on
/// yagna 0.17.6: they are listed for who provides them.
fn monitor(state: Arc<State>) -> Response<Body> {
    let (frames, told) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(async move {
        let mut seen = None;
        loop {
            let more = state.daemon.news().notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let (at, count) = {
                let inner = state.daemon.look();
                let books = inner.yagna.activities();
                let ended = books.iter().filter(|book| book.ended.is_some()).count();
                (wire::instant(inner.now()), (books.len(), ended))
            };
            if seen.replace(count) != Some(count) {
                let frame = format!("data: {}\n\n", json!({ "ts": at, "activities": [] }));
                if frames.send(frame.into()).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = more => {}
                () = frames.closed() => return,
            }
        }
    });
    reply::stream(told)
}

/// A command that runs.
fn command(running: &RunningCommand) -> Value {
    let mut document = json!({ "command": running.name });
    if let Some(params) = &running.params {
        document["params"] = json!(params);
    }
    document
}

fn unknown(id: &str) -> Response<Body> {
    reply::message(500, &format!("DAO error: Not found: agreement id for activity: {id}"))
}

/// Creates an activity; whoever asks by a bare id is answered by a bare id.
async fn create(state: &State, ask: &Ask) -> Response<Body> {
    let mut ask = ask.clone();
    let is_bare = match serde_json::from_slice::<Value>(&ask.body) {
        Ok(Value::String(id)) => {
            ask.body = Bytes::from(json!({ "agreementId": id }).to_string());
            true
        }
        Ok(Value::Object(document)) if document.get("agreementId").is_some() => false,
        Ok(_) => {
            let words = "data did not match any variant of untagged enum CreateActivityJson";
            return reply::text(400, &format!("Json deserialize error: {words}"));
        }
        Err(error) => return reply::text(400, &format!("Json deserialize error: {error}")),
    };
    let request = match api::decode(&ask) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let answer = match api::call(state, &request).await {
        Ok(answer) => answer,
        lost @ Err(_) => return api::respond(lost, |_| {}).await,
    };
    match (&answer.reply, answer.fate) {
        (Ok(Told::ActivityCreated(id)), Fate::Through) if is_bare => reply::json(200, &json!(id)),
        (_, _) => api::respond(Ok(answer), |_| {}).await,
    }
}

/// Refuses a script that the daemon does not understand, in its words.
fn check_script(ask: &Ask) -> Result<(), Response<Body>> {
    let Script { text } = serde_json::from_slice(&ask.body)
        .map_err(|error| reply::text(400, &format!("Json deserialize error: {error}")))?;
    match serde_json::from_str::<Vec<Command>>(&text) {
        Ok(_) => Ok(()),
        Err(error) => Err(reply::message(400, &format!("Bad request: {error:?}"))),
    }
}

/// The results of a batch. Without an index the last command is waited for, and what there is then
/// is told.
async fn results(state: &State, ask: &Ask, batch: &BatchId) -> Response<Body> {
    let mut request = match api::decode(ask) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let asked = ask.value("commandIndex").and_then(|index| index.parse::<u32>().ok());
    let is_open_ended = asked.is_none();
    if let (Request::CollectResults { command, .. }, true) = (&mut request, is_open_ended) {
        let script = state.daemon.look().yagna.script(batch);
        let last = script.map_or(0, |script| script.len().saturating_sub(1));
        *command = u32::try_from(last).unwrap_or(u32::MAX);
    }
    let mut outcome = api::call(state, &request).await;
    let is_told = |answer: &Answer| match &answer.reply {
        Ok(_) => true,
        Err(refusal) => refusal.status == Status::TIMEOUT,
    };
    if let Ok(answer) = &mut outcome
        && is_open_ended
        && is_told(answer)
    {
        let inner = state.daemon.look();
        let told = inner.yagna.results(batch).unwrap_or_default().to_vec();
        answer.reply = Ok(Told::Results(told));
        answer.patches = document::patches(&answer.reply, &inner.yagna, inner.now());
    }
    if let Ok(answer) = &mut outcome
        && let Ok(Told::Results(results)) = &answer.reply
    {
        let inner = state.daemon.look();
        for (index, source, bytes) in inner.yagna.binary_outputs(batch) {
            let is_told = |result: &CommandResult| {
                result.index == *index && (is_open_ended || asked == Some(*index))
            };
            if let Some(nth) = results.iter().position(is_told) {
                let place = format!("/{nth}/{}", name_of(*source));
                answer.patches.push((place, json!(bytes)));
            }
        }
    }
    api::respond(outcome, |_| {}).await
}

const fn name_of(source: Source) -> &'static str {
    match source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
    }
}

/// Whether a stream is asked for, and nothing else.
fn is_stream(ask: &Ask) -> bool {
    ask.headers.get(header::ACCEPT).is_some_and(|kind| kind == reply::EVENT_STREAM)
}

/// The results of a batch as they come. Whoever comes late is told all of them; the daemon tells what
/// happens from then on.
fn stream(state: Arc<State>, activity: &ActivityId, batch: BatchId) -> Response<Body> {
    let script = {
        let inner = state.daemon.look();
        if inner.yagna.agreement_of(activity).is_none() {
            return unknown(activity.as_str());
        }
        inner.yagna.script(&batch)
    };
    let Some(script) = script else {
        return reply::message(404, &format!("Not found: batch_id = {batch}"));
    };
    let (frames, told) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(async move {
        let reader = frames.clone();
        let batch = Streamed { state: &state, batch, frames, sent: 0 };
        tokio::select! {
            // It ends when nobody reads any more, or nothing more is known.
            _ = batch.tell(&script) => {}
            () = reader.closed() => {}
        }
    });
    reply::stream(told)
}

/// A batch whose events are told as they come.
struct Streamed<'a> {
    state: &'a State,
    batch: BatchId,
    frames: mpsc::Sender<Bytes>,
    sent: usize,
}

/// Nobody reads any more, or nothing more is known.
struct Ended;

impl Streamed<'_> {
    async fn tell(mut self, script: &[ExeCommand]) -> Result<(), Ended> {
        while self.tell_what_there_is(script).await? {}
        loop {
            self.send(Bytes::from_static(PING)).await?;
            tokio::time::sleep(PINGS_EVERY).await;
        }
    }

    /// Tells what has happened, and waits for more to happen, if it may.
    async fn tell_what_there_is(&mut self, script: &[ExeCommand]) -> Result<bool, Ended> {
        let state = self.state;
        let more = state.daemon.news().notified();
        tokio::pin!(more);
        // What happens from here on is not missed.
        more.as_mut().enable();
        let (events, goes_on) = {
            let inner = state.daemon.look();
            let (events, goes_on) = inner.yagna.events(&self.batch).ok_or(Ended)?;
            (events.get(self.sent..).unwrap_or_default().to_vec(), goes_on)
        };
        for event in events {
            self.event(script, event).await?;
        }
        if goes_on {
            more.await;
        }
        Ok(goes_on)
    }

    async fn event(&mut self, script: &[ExeCommand], event: BatchEvent) -> Result<(), Ended> {
        let BatchEvent { at, index, kind } = event;
        let kind = match kind {
            EventKind::Started => {
                let command = script.get(index as usize).ok_or(Ended)?;
                json!({ "started": { "command": wire::command(command) } })
            }
            EventKind::Wrote { source, bytes, is_binary } => {
                let told =
                    if is_binary { json!(bytes) } else { json!(String::from_utf8_lossy(&bytes)) };
                json!({ name_of(source): told })
            }
            EventKind::Finished(Outcome { code, failure }) => {
                json!({ "finished": { "return_code": code, "message": failure } })
            }
        };
        let at = wire::instant(at);
        // The runtime's own events carry no zone.
        let at = at.as_str().unwrap_or_default().trim_end_matches('Z').to_owned();
        let event =
            json!({ "batch_id": self.batch, "index": index, "timestamp": at, "kind": kind });
        let frame = format!("event: runtime\ndata: {event}\nid: {}\n\n", self.sent);
        self.sent += 1;
        self.send(frame.into()).await
    }

    async fn send(&self, frame: Bytes) -> Result<(), Ended> {
        self.frames.send(frame).await.map_err(|_| Ended)
    }
}
