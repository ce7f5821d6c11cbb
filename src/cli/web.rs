//! The webserver as our own commands ask it.
//!
//! What listens on its port may be another user's. So it is asked for a proof first, and the token goes only to what has
//! given it, on the same connection (`server::proof`).

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::runtime::{self, Runtime};

use super::{error::CliError, unmet::Unmet};
use crate::{
    driver::process::Process,
    http::{Line, Question},
    server::{
        auth::{TOKEN_FILE, Token},
        proof::{Challenge, Place},
    },
    units::Span,
    yagna::{CallError, Status, wire::Method},
};

const PATIENCE: Span = Span::secs(10);
pub(super) const TOKEN_VARIABLE: &str = "RAY_ON_GOLEM_TOKEN_FILE";

/// The webserver at a port of this machine.
pub(super) struct Web {
    runtime: Runtime,
    pub(super) port: u16,
    url: String,
    /// The data directory that is its own, unless it says otherwise.
    pub(super) data: PathBuf,
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

/// A webserver that has shown that it is ours.
struct Proven {
    line: Line,
    token: Token,
    root: Root,
}

impl Web {
    /// The one at `port`, whose data directory should be `data`.
    pub(super) fn new(port: u16, data: &Path) -> Result<Self, CliError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let url = format!("http://127.0.0.1:{port}");
        Ok(Self { runtime, port, url, data: data.to_owned() })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What it says about itself, once it has shown that it is ours.
    pub(super) fn root(&self) -> Result<Root, Unmet> {
        self.runtime.block_on(self.meet()).map(|proven| proven.root)
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
        let proven = self.runtime.block_on(self.meet()).map_err(|unmet| unmet.error(self))?;
        Ok(format!("{}/#token={}", self.url, proven.token.as_str()))
    }

    /// Refuses to look for a webserver here that is at another port.
    pub(super) fn refuse_elsewhere(&self, process: Process) -> Result<(), CliError> {
        match process.port() {
            Some(port) if port != self.port => Err(CliError::Environment {
                what: format!(
                    "the webserver of `{}` (pid {}) listens on port {port}",
                    self.data.display(),
                    process.pid
                ),
                hint: format!("name it by `--port {port}`"),
            }),
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
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Span,
    ) -> Result<Value, CliError> {
        self.runtime.block_on(async {
            let mut proven = self.meet().await.map_err(|unmet| unmet.error(self))?;
            let body = body.map(|body| body.to_string().into_bytes());
            let question = Question { method, path, bearer: Some(proven.token.as_str()), body };
            let sent = ask(&mut proven.line, question, patience).await;
            sent.map_err(|error| self.refused(&error))
        })
    }

    /// What the webserver says against it, and what may help.
    fn refused(&self, error: &CallError) -> CliError {
        let (what, hint) = match error {
            CallError::Rejected { body, .. } => {
                (said(body), "`ray-on-golem status` shows clusters and nodes".to_owned())
            }
            CallError::NotSent { .. } | CallError::Unknown(_) => (
                format!("the webserver at {} does not answer: {error}", self.url),
                "`ray-on-golem start` starts it".to_owned(),
            ),
        };
        CliError::Environment { what, hint }
    }

    /// Connects, and has the other end show that it knows our token.
    async fn meet(&self) -> Result<Proven, Unmet> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let line = Line::open(address, PATIENCE).await;
        let mut line = line.map_err(|error| Unmet::of(&error))?;
        let question = Question { method: Method::Get, path: "/", bearer: None, body: None };
        let root = ask(&mut line, question, PATIENCE).await.map_err(|error| Unmet::from(&error))?;
        let root = Root::read(&root).ok_or(Unmet::Unproven)?;
        let token = self.token(&root.datadir).ok_or(Unmet::Unproven)?;
        let challenge = Challenge::random().map_err(|_| Unmet::Unproven)?;
        let body = json!({ "mark": token.mark(), "challenge": challenge.as_str() });
        let body = Some(body.to_string().into_bytes());
        let question = Question { method: Method::Post, path: "/prove", bearer: None, body };
        let proof =
            ask(&mut line, question, PATIENCE).await.map_err(|error| Unmet::from(&error))?;
        let place = Place::Users { port: self.port };
        let is_proven = |proof: &str| token.is_proven(place, &challenge, proof);
        match proof["proof"].as_str().is_some_and(is_proven) {
            true => Ok(Proven { line, token, root }),
            false => Err(Unmet::Unproven),
        }
    }

    /// The token that our webserver knows: the one that the environment names, or that of the data directory which it says
    /// it uses, or of ours.
    fn token(&self, told: &Path) -> Option<Token> {
        let named = env::var_os(TOKEN_VARIABLE).filter(|path| !path.is_empty());
        let named = named.and_then(|path| Token::in_file(Path::new(&path)));
        let told = || Token::of_this_user(told).filter(|_| told != self.data);
        named.or_else(told).or_else(|| Token::in_file(&self.data.join(TOKEN_FILE)))
    }
}

impl Root {
    fn read(document: &Value) -> Option<Self> {
        let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
        let warnings = document.get("server_warnings").and_then(Value::as_array);
        let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
        Some(Self {
            version: text("version")?,
            datadir: text("datadir")?.into(),
            simulated: document.get("simulated").and_then(Value::as_bool),
            shutting_down: document.get("shutting_down").and_then(Value::as_bool)?,
            warnings: warnings.map(str::to_owned).collect(),
        })
    }
}

async fn ask(line: &mut Line, question: Question<'_>, patience: Span) -> Result<Value, CallError> {
    let response = line.send(question, patience).await?;
    let body = String::from_utf8_lossy(&response.body).into_owned();
    match response.status {
        Status(200) => serde_json::from_str(&body)
            .map_err(|error| CallError::NotSent { why: format!("no JSON: {error}") }),
        status => Err(CallError::Rejected { status, body }),
    }
}

/// The sentence in the body of an error.
fn said(body: &str) -> String {
    let document: Option<Value> = serde_json::from_str(body).ok();
    let sentence = document.as_ref().and_then(|document| document["error"].as_str());
    sentence.unwrap_or(body).to_owned()
}
