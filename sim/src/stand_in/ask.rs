//! One question to the daemon that runs, over HTTP.

use std::{
    env,
    io::{self, Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use ray_on_golem::cli::error::CliError;
use serde_json::Value;

use super::note::{Address, Note};

const PATIENCE: Duration = Duration::from_secs(10);

/// The daemon that runs.
#[derive(Debug)]
pub(super) struct Daemon(Address);

impl Daemon {
    /// The daemon of a data directory, or that of the environment.
    pub(super) fn find(datadir: Option<PathBuf>) -> Result<Self, CliError> {
        let noted = Note::place(datadir).ok().and_then(|note| note.read());
        let address = noted.unwrap_or_else(|| {
            let text = |key: &str| env::var(key).ok().filter(|text| !text.is_empty());
            let url = text("YAGNA_API_URL");
            let key = text("YAGNA_APPKEY").or_else(|| text("YAGNA_AUTOCONF_APPKEY"));
            Address {
                url: url.unwrap_or_else(|| "http://127.0.0.1:7465".to_owned()),
                key: key.unwrap_or_default(),
            }
        });
        Ok(Self(address))
    }

    /// The document at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, CliError> {
        self.ask("GET", path, "")
    }

    /// What comes back for a document.
    pub(super) fn post(&self, path: &str, document: &Value) -> Result<Value, CliError> {
        self.ask("POST", path, &document.to_string())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value, CliError> {
        let answer = self.exchange(method, path, body).map_err(|_| {
            // The daemon's own words when nobody answers.
            CliError::Argument(format!("Called service `/local{path}` is unavailable"))
        })?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            return Err(CliError::Argument(format!("the daemon answered {status}: {body}")));
        }
        serde_json::from_str(body).map_err(|error| {
            CliError::Argument(format!("the daemon answered what is no JSON: {error}"))
        })
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> io::Result<String> {
        let Address { url, key } = &self.0;
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: \
             close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
