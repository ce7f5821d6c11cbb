//! The activity API beyond our vocabulary: ids without an object, scripts that are none, results
//! without an index, results as they come, and what an activity has used.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{Method, Response, header},
};
use ray_on_golem::{
    units::Span,
    yagna::{
        ActivityId, BatchId, CommandResult, ExeCommand, Request, Response as Told, Status, wire,
    },
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    State,
    api::{self, Ask, plain},
    daemon::{Answer, Lost},
    document, reply,
};
use crate::fault::Fate;

/// The daemon never ends a stream; after the last event it says this often that it is there.
const PINGS_EVERY: Duration = Duration::from_secs(15);
const PING: &[u8] = b":ping\n";
/// A result is waited for in pieces.
const WAITS: Span = Span::secs(30);
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
        (Method::POST, ["activity"]) => create(&state, ask).await,
        (Method::POST, ["activity", _, "exec"]) => match check_script(ask) {
            Ok(()) => plain(&state, ask).await,
            Err(refusal) => refusal,
        },
        (Method::GET, ["activity", id, "exec", batch]) => {
            let (activity, batch) = (ActivityId::from(*id), BatchId::from(*batch));
            if is_stream(ask) {
                stream(state, activity, batch)
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
            match inner.yagna.agreement_of(&(*id).into()) {
                Some(_) => reply::json(200, &json!([])),
                None => unknown(id),
            }
        }
        _ => plain(&state, ask).await,
    }
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
    let is_open_ended = ask.value("commandIndex").is_none();
    if let (Request::CollectResults { command, .. }, true) = (&mut request, is_open_ended) {
        let script = state.daemon.look().yagna.script(batch);
        let last = script.map_or(0, |script| script.len().saturating_sub(1));
        *command = u32::try_from(last).unwrap_or(u32::MAX);
    }
    let mut outcome = api::call(state, &request).await;
    let is_late = |answer: &Answer| {
        let refusal = answer.reply.as_ref().err();
        refusal.is_some_and(|refusal| refusal.status == Status::TIMEOUT)
    };
    if let Ok(answer) = &mut outcome
        && is_open_ended
        && is_late(answer)
    {
        let inner = state.daemon.look();
        let told = inner.yagna.results(batch).unwrap_or_default().to_vec();
        answer.reply = Ok(Told::Results(told));
        answer.patches = document::patches(&answer.reply, &inner.yagna, inner.now());
    }
    api::respond(outcome, |_| {}).await
}

/// Whether a stream is asked for, and nothing else.
fn is_stream(ask: &Ask) -> bool {
    ask.headers.get(header::ACCEPT).is_some_and(|kind| kind == reply::EVENT_STREAM)
}

/// The results of a batch as they come. Whoever comes late is told all of them; the daemon tells what
/// happens from then on.
fn stream(state: Arc<State>, activity: ActivityId, batch: BatchId) -> Response<Body> {
    let script = {
        let inner = state.daemon.look();
        if inner.yagna.agreement_of(&activity).is_none() {
            return unknown(activity.as_str());
        }
        inner.yagna.script(&batch)
    };
    let Some(script) = script else {
        return reply::message(404, &format!("Not found: batch_id = {batch}"));
    };
    let (frames, news) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(async move {
        let batch = Streamed { state: &state, activity, batch, frames, sent: 0 };
        // It ends when nobody reads any more.
        let _ = batch.tell(&script).await;
    });
    reply::stream(news)
}

/// A batch whose results are told as they come.
struct Streamed<'a> {
    state: &'a State,
    activity: ActivityId,
    batch: BatchId,
    frames: mpsc::Sender<Bytes>,
    sent: u64,
}

/// Nobody reads any more, or nothing more is known.
struct Ended;

impl Streamed<'_> {
    async fn tell(mut self, script: &[ExeCommand]) -> Result<(), Ended> {
        for (index, command) in script.iter().enumerate() {
            let index = u32::try_from(index).map_err(|_| Ended)?;
            let written = wire::command(command);
            self.event(index, json!({ "started": { "command": written } })).await?;
            let result = self.result(index).await?;
            for (name, output) in [("stdout", &result.stdout), ("stderr", &result.stderr)] {
                if let Some(text) = output {
                    self.event(index, json!({ name: text })).await?;
                }
            }
            let code = u8::from(!result.is_ok);
            let finished = json!({ "return_code": code, "message": result.message });
            self.event(index, json!({ "finished": finished })).await?;
            if result.is_batch_finished {
                break;
            }
        }
        loop {
            self.send(Bytes::from_static(PING)).await?;
            tokio::select! {
                () = tokio::time::sleep(PINGS_EVERY) => {}
                () = self.frames.closed() => return Err(Ended),
            }
        }
    }

    /// Waits for the result of a command.
    async fn result(&self, command: u32) -> Result<CommandResult, Ended> {
        let request = Request::CollectResults {
            activity: self.activity.clone(),
            batch: self.batch.clone(),
            command,
            timeout: WAITS,
        };
        loop {
            let answer = tokio::select! {
                answer = self.state.daemon.call(&request) => answer,
                () = self.frames.closed() => return Err(Ended),
            };
            if answer.as_ref().is_err_and(|lost| *lost == Lost::Silent) {
                self.frames.closed().await;
            }
            match answer.map_err(|_| Ended)?.reply {
                Ok(Told::Results(results)) => {
                    let found = results.into_iter().find(|result| result.index == command);
                    return found.ok_or(Ended);
                }
                Ok(_) => return Err(Ended),
                Err(refusal) if refusal.status == Status::TIMEOUT => {}
                Err(_) => return Err(Ended),
            }
        }
    }

    async fn event(&mut self, index: u32, kind: Value) -> Result<(), Ended> {
        let at = wire::instant(self.state.daemon.look().now());
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
