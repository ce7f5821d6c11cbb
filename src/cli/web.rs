//! The webserver as our own commands ask it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::runtime::{self, Runtime};
use url::Url;

use super::error::CliError;
use crate::{
    driver::process::Process,
    http::{Outgoing, Transport},
    server::auth::TOKEN_FILE,
    units::Span,
    yagna::{CallError, Status, wire::Method},
};

const PATIENCE: Span = Span::secs(10);
const TOKEN_VARIABLE: &str = "RAY_ON_GOLEM_TOKEN_FILE";

/// The webserver at a port of this machine.
pub(super) struct Web {
    runtime: Runtime,
    transport: Transport,
    base: Url,
    data: PathBuf,
}

/// What the webserver says about itself.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// Its version.
    pub(super) version: String,
    /// Its data directory.
    pub(super) datadir: PathBuf,
    /// Whether it serves a simulated network; none if it is too old to say.
    pub(super) simulated: Option<bool>,
    /// Whether it shuts down.
    pub(super) shutting_down: bool,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

impl Web {
    /// The one at `port`, whose data directory should be `data`.
    pub(super) fn new(port: u16, data: &Path) -> Result<Self, CliError> {
        let base = Url::parse(&format!("http://127.0.0.1:{port}"));
        let base = base.map_err(|error| CliError::Argument(error.to_string()))?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let transport =
            Transport::direct(false).map_err(|error| CliError::Argument(error.to_string()))?;
        Ok(Self { runtime, transport, base, data: data.to_owned() })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What it says about itself; none if nobody listens.
    pub(super) fn root(&self) -> Option<Root> {
        let body = self.send(Method::Get, "/", None, None, PATIENCE).ok()?;
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        let warnings = body.get("server_warnings").and_then(Value::as_array);
        let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
        Some(Root {
            version: text("version")?,
            datadir: text("datadir")?.into(),
            simulated: body.get("simulated").and_then(Value::as_bool),
            shutting_down: body.get("shutting_down").and_then(Value::as_bool)?,
            warnings: warnings.map(str::to_owned).collect(),
        })
    }

    /// Asks for a document with the token.
    pub(super) fn get(&self, path: &str) -> Result<Value, CliError> {
        self.with_token(Method::Get, path, None, PATIENCE)
    }

    /// Asks for something to be done.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.post_patiently(path, body, PATIENCE)
    }

    /// Asks for something that takes its time.
    pub(super) fn post_patiently(
        &self,
        path: &str,
        body: &Value,
        patience: Span,
    ) -> Result<Value, CliError> {
        self.with_token(Method::Post, path, Some(body), patience)
    }

    /// The address of the page for browsers. A browser sends nobody what stands behind the `#`.
    pub(super) fn page(&self) -> Result<String, CliError> {
        let token = self.token().filter(|_| self.root().is_some());
        let token = token.ok_or_else(|| CliError::Environment {
            what: format!("there is no webserver at {}, or its token cannot be read", self.url()),
            hint: "`ray-on-golem start` starts it".to_owned(),
        })?;
        Ok(format!("{}/#token={token}", self.url()))
    }

    /// Refuses to look for a webserver here that is at another port.
    pub(super) fn refuse_elsewhere(&self, process: Process) -> Result<(), CliError> {
        match process.port() {
            Some(port) if Some(port) != self.base.port_or_known_default() => {
                Err(CliError::Environment {
                    what: format!(
                        "the webserver of `{}` (pid {}) listens on port {port}",
                        self.data.display(),
                        process.pid
                    ),
                    hint: format!("name it by `--port {port}`"),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Waits a little.
    pub(super) fn sleep(&self, time: Duration) {
        // A timer is made inside of the runtime that it belongs to.
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    fn with_token(
        &self,
        verb: Method,
        path: &str,
        body: Option<&Value>,
        patience: Span,
    ) -> Result<Value, CliError> {
        let token = self.token();
        let sent = self.send(verb, path, body, token.as_deref(), patience);
        sent.map_err(|error| self.refused(&error))
    }

    /// What the webserver says against it, and what may help.
    fn refused(&self, error: &CallError) -> CliError {
        let url = self.url();
        let (what, hint) = match error {
            CallError::Rejected { status, body } if *status != Status::UNAUTHORIZED => {
                (said(body), "`ray-on-golem status` shows clusters and nodes".to_owned())
            }
            CallError::Rejected { body, .. } => (
                format!("the webserver at {url} refuses: {}", said(body)),
                format!(
                    "name its data directory with `--datadir`, or the file of its token in \
                     `{TOKEN_VARIABLE}`"
                ),
            ),
            CallError::NotSent { .. } | CallError::Unknown(_) => (
                format!("the webserver at {url} does not answer: {error}"),
                "`ray-on-golem start` starts it".to_owned(),
            ),
        };
        CliError::Environment { what, hint }
    }

    /// The token of the data directory that the webserver uses, or of ours.
    fn token(&self) -> Option<String> {
        let named = env::var_os(TOKEN_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let served = self.root().map(|root| root.datadir.join(TOKEN_FILE));
        let places = [named, served, Some(self.data.join(TOKEN_FILE))];
        let text = places.into_iter().flatten().find_map(|path| fs::read_to_string(path).ok())?;
        Some(text.trim().to_owned())
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
        patience: Span,
    ) -> Result<Value, CallError> {
        let mut url = self.base.clone();
        url.set_path(path);
        let body = body.map(|body| body.to_string().into_bytes());
        let outgoing = Outgoing { method, url, bearer: token, headers: &[], body };
        let response = self.runtime.block_on(self.transport.send(outgoing, patience))?;
        let body = String::from_utf8_lossy(&response.body).into_owned();
        match response.status.0 {
            200 => serde_json::from_str(&body)
                .map_err(|error| CallError::NotSent { why: format!("no JSON: {error}") }),
            _ => Err(CallError::Rejected { status: response.status, body }),
        }
    }
}

/// The sentence in the body of an error.
fn said(body: &str) -> String {
    let document: Option<Value> = serde_json::from_str(body).ok();
    let sentence = document.as_ref().and_then(|document| document["error"].as_str());
    sentence.unwrap_or(body).to_owned()
}
