//! Commands on nodes through their activities: the way that is left when ssh is lost.
//!
//! The daemon hands a command to the provider, and the provider runs it in the node. There is no input and
//! no terminal, and what it writes comes when it is over. A provider runs one command after the other, and
//! nobody can end one: so each ends by itself, by `timeout` on the node.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::{
    ssh::quoted,
    units::Span,
    yagna::{
        ActivityId, BatchId, CallError, CommandResult, ExeCommand, Request, Response, Status, Yagna,
    },
};

/// How long the provider may take to take a command.
const TAKE_TIMEOUT: Span = Span::secs(15);
/// How long one look at its result may wait.
const LOOK_TIMEOUT: Span = Span::secs(20);
/// The daemon's answer may come so much later.
const MARGIN: Span = Span::secs(5);
/// What comes before a command at the provider, and what is left of it after its time.
const SLACK: Span = Span::secs(30);
/// After a look that told nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// The last words on the node's standard error, before the exit code.
const MARK: &str = "ray-on-golem: exit code ";

type Call = dyn Fn(Request, Span) -> BoxFuture<'static, Result<Response, CallError>> + Send + Sync;

/// The way to run commands on nodes; its clones are the same.
#[derive(Clone)]
pub struct Commands(Arc<Call>);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code; 124 if its time was over.
    pub code: u8,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// Why it is not known how a command ended.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The provider did not take it.
    #[error("the provider did not take the command: {0}")]
    NotTaken(CallError),
    /// The provider took it, and then the way to it was lost.
    #[error("it is not known how the command ended: {0}")]
    Lost(CallError),
    /// The provider does not say.
    #[error("the command did not end in time, and may still run")]
    Late,
}

impl Commands {
    /// Commands by way of this daemon.
    #[must_use]
    pub fn new(yagna: impl Yagna + Clone + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |request, patience| {
            let yagna = yagna.clone();
            Box::pin(async move { yagna.call(request, patience).await })
        }))
    }

    /// Runs a line in a login shell of a node's root, for at most `limit`.
    ///
    /// # Errors
    ///
    /// If it is not known how it ended. A command that fails is no error here.
    pub async fn run(
        &self,
        activity: &ActivityId,
        line: &str,
        limit: Span,
    ) -> Result<Finished, CommandError> {
        let request = Request::Execute {
            activity: activity.clone(),
            script: Arc::new(vec![shell(line, limit)]),
            timeout: TAKE_TIMEOUT,
        };
        let batch = match self.call(request, TAKE_TIMEOUT).await {
            Ok(Response::BatchStarted(batch)) => batch,
            Ok(_) => return Err(CommandError::NotTaken(unexpected())),
            Err(error) => return Err(CommandError::NotTaken(error)),
        };
        let patience = Duration::from_micros(limit.plus(SLACK).as_micros());
        self.result(activity, &batch, Instant::now() + patience).await
    }

    /// Looks until the command has ended. To look again is harmless, so what stands in the way is outlived.
    async fn result(
        &self,
        activity: &ActivityId,
        batch: &BatchId,
        deadline: Instant,
    ) -> Result<Finished, CommandError> {
        loop {
            let request = Request::CollectResults {
                activity: activity.clone(),
                batch: batch.clone(),
                command: 0,
                timeout: LOOK_TIMEOUT,
            };
            let failed = match self.call(request, LOOK_TIMEOUT).await {
                Ok(Response::Results(results)) => match results.first() {
                    Some(result) => return Ok(finished(result)),
                    None => None,
                },
                Ok(_) => Some(unexpected()),
                Err(error) if error.is_refusal(Status::TIMEOUT) => None,
                Err(error @ CallError::Rejected { .. }) => return Err(CommandError::Lost(error)),
                Err(error) => Some(error),
            };
            if Instant::now() >= deadline {
                return Err(failed.map_or(CommandError::Late, CommandError::Lost));
            }
            sleep(PAUSE).await;
        }
    }

    async fn call(&self, request: Request, timeout: Span) -> Result<Response, CallError> {
        self.0(request, timeout.plus(MARGIN)).await
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commands")
    }
}

/// The line as the provider runs it: with the settings that ssh gives to a session, and never failing itself,
/// since an activity whose command failed may take no further one. The exit code is the last word.
fn shell(line: &str, limit: Span) -> ExeCommand {
    let script = format!(
        "set -a; [ ! -r /etc/environment ] || . /etc/environment; HOME=${{HOME:-/root}}; set +a; cd\n\
         timeout --kill-after=5 {} /bin/bash --login -c {} </dev/null\n\
         echo \"{MARK}$?\" >&2",
        limit.as_secs().max(1),
        quoted(line)
    );
    // The form that every manifest of ours allows.
    ExeCommand::Run { entry_point: "/bin/sh".to_owned(), args: vec!["-c".to_owned(), script] }
}

/// What a provider reports of a command. Where it captures no output, its word is all that there is.
fn finished(result: &CommandResult) -> Finished {
    let stdout = result.stdout.clone().unwrap_or_default();
    let mut stderr = result.stderr.clone().unwrap_or_default();
    let marked = stderr.rfind(MARK);
    let code = marked.and_then(|at| stderr[at + MARK.len()..].trim().parse().ok());
    match (marked, code) {
        (Some(at), Some(code)) => {
            stderr.truncate(at);
            Finished { code, stdout, stderr }
        }
        (Some(_) | None, _) => {
            if let Some(message) = &result.message {
                stderr.push_str(message);
            }
            Finished { code: u8::from(!result.is_ok), stdout, stderr }
        }
    }
}

fn unexpected() -> CallError {
    CallError::NotSent { why: "the daemon answered something else".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::{
        process::Command,
        sync::{Arc, Mutex},
    };

    use super::{CommandError, Commands, Finished, finished, shell};
    use crate::{
        units::Span,
        yagna::{
            CallError, CommandResult, Doubt, ExeCommand, Request, Response, Status, Yagna,
            wire::{HttpResponse, encode_response},
        },
    };

    /// Answers one call after the other as it was told to.
    #[derive(Clone)]
    struct Told(Arc<Mutex<Vec<Result<Response, CallError>>>>);

    impl Yagna for Told {
        async fn exchange(&self, _: &Request, _: Span) -> Result<HttpResponse, CallError> {
            let answer = self.0.lock().expect("nobody panics with it").remove(0);
            answer.map(|response| encode_response(Ok(&response)))
        }
    }

    const BATCH: &str = "0123456789abcdef0123456789abcdef";

    fn commands(answers: Vec<Result<Response, CallError>>) -> Commands {
        Commands::new(Told(Arc::new(Mutex::new(answers))))
    }

    fn result(stderr: &str) -> CommandResult {
        CommandResult {
            index: 0,
            is_ok: true,
            stdout: Some("out\n".to_owned()),
            stderr: Some(stderr.to_owned()),
            message: None,
            is_batch_finished: true,
        }
    }

    #[test]
    fn a_node_runs_the_line_and_tells_its_exit_code() {
        let run = |line: &str, limit| {
            let ExeCommand::Run { entry_point, args } = shell(line, limit) else {
                panic!("a program is run")
            };
            let ran = Command::new(entry_point).args(args).output().expect("there is a shell");
            assert!(ran.status.success(), "the provider sees no failure");
            let text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
            let (stdout, stderr) = (text(&ran.stdout), text(&ran.stderr));
            finished(&CommandResult { stdout, stderr, ..result("") })
        };

        let said = run("echo \"it's $((40 + 2))\"; echo oh >&2; exit 7", Span::secs(60));
        let late = run("sleep 100", Span::secs(1));

        let (stdout, stderr) = ("it's 42\n".to_owned(), "oh\n".to_owned());
        assert_eq!(said, Finished { code: 7, stdout, stderr });
        assert_eq!(late.code, 124);
    }

    #[test]
    fn without_captured_output_the_providers_word_is_taken() {
        let failed = CommandResult {
            is_ok: false,
            stdout: None,
            stderr: None,
            message: Some("ExeScript command exited with code 1".to_owned()),
            ..result("")
        };

        assert_eq!(finished(&result("")).code, 0);
        let stderr = "ExeScript command exited with code 1".to_owned();
        assert_eq!(finished(&failed), Finished { code: 1, stdout: String::new(), stderr });
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_is_waited_for_through_hiccups() {
        let in_doubt = CallError::Unknown(Doubt::TimedOut);
        let not_yet = CallError::Rejected { status: Status::TIMEOUT, body: "timeout".to_owned() };
        let commands = commands(vec![
            Ok(Response::BatchStarted(BATCH.into())),
            Err(not_yet),
            Err(in_doubt),
            Ok(Response::Results(Vec::new())),
            Ok(Response::Results(vec![result("ray-on-golem: exit code 3\n")])),
        ]);

        let ran = commands.run(&"a".into(), "x", Span::secs(60)).await.expect("it ended");

        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (3, "out\n", ""));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_known_is_an_error() {
        let gone = || CallError::Rejected { status: Status::NOT_FOUND, body: "no".to_owned() };
        let started = || Ok(Response::BatchStarted(BATCH.into()));
        let run = async |answers| {
            commands(answers).run(&"a".into(), "x", Span::secs(1)).await.expect_err("unknown")
        };

        assert!(matches!(run(vec![Err(gone())]).await, CommandError::NotTaken(_)));
        assert!(matches!(run(vec![started(), Err(gone())]).await, CommandError::Lost(_)));
        let silence = (0..100).map(|_| Ok(Response::Results(Vec::new())));
        let late = run([started()].into_iter().chain(silence).collect()).await;
        assert!(matches!(late, CommandError::Late), "{late}");
    }
}
