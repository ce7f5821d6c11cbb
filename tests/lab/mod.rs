//! A real daemon for integration tests: `Lab::start` gives one, dropping it ends everything.
//!
//! The work is done by `tests/real_yagna/lab.py`, which says one line of JSON once the daemon answers
//! and all offers are published. It holds the lab until its standard input closes, so that even a
//! killed test leaves nothing behind. Labs share only the installed daemon: any number of them may
//! run at once.

// Each test binary compiles its own copy and none of them uses all of it.
#![expect(dead_code, reason = "each test binary uses the part that it needs")]
#![expect(clippy::disallowed_methods, reason = "the lab is a process")]
#![expect(clippy::print_stderr, reason = "a failed test tells where its logs are")]

pub(crate) mod kernel;
pub(crate) mod network;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

/// What the stand-in providers of a lab offer and how they negotiate.
#[derive(Debug, Clone)]
pub(crate) struct Market {
    /// Identities that sell; with none, nobody offers anything.
    pub(crate) providers: u32,
    /// Offers of each identity.
    pub(crate) offers: u32,
    /// How the offers answer a proposal.
    pub(crate) mode: Mode,
    /// Each n-th offer refuses, whatever the mode; zero for none.
    pub(crate) refuse_every: u32,
    /// How the offers answer an agreement.
    pub(crate) agreements: Agreements,
    /// How long they take for it.
    pub(crate) agreement_after: Duration,
    /// Whether activities start; if not, their creation is never answered.
    pub(crate) starts_activities: bool,
    /// How long each command takes.
    pub(crate) command_takes: Duration,
    /// Whether commands are run, on nodes of private networks; this needs a central net, root, and openssh-server.
    pub(crate) executes: bool,
    /// Which command of an activity fails, counted from 0.
    pub(crate) command_fails: Option<u32>,
    /// How the providers bill, if they do by themselves.
    pub(crate) billing: Option<Billing>,
    /// The subnet of the offers.
    pub(crate) subnet: &'static str,
    /// GLM per CPU second, GLM per second, and GLM at the start, as in an offer.
    pub(crate) coefficients: [&'static str; 3],
}

impl Market {
    /// A market in which nobody sells.
    pub(crate) fn empty() -> Self {
        Self::of(0, 0)
    }

    /// A market of willing providers.
    pub(crate) fn of(providers: u32, offers: u32) -> Self {
        Self {
            providers,
            offers,
            mode: Mode::Counter,
            refuse_every: 0,
            agreements: Agreements::Approve,
            agreement_after: Duration::ZERO,
            starts_activities: true,
            command_takes: Duration::ZERO,
            executes: false,
            command_fails: None,
            billing: None,
            subnet: "public",
            coefficients: ["0.0001", "0.00005", "0"],
        }
    }

    fn arguments(&self) -> Vec<String> {
        let pairs = [
            ("--providers", self.providers.to_string()),
            ("--offers", self.offers.to_string()),
            ("--mode", self.mode.name().to_owned()),
            ("--refuse-every", self.refuse_every.to_string()),
            ("--agreements", self.agreements.name().to_owned()),
            ("--agreement-seconds", self.agreement_after.as_secs_f64().to_string()),
            ("--activities", if self.starts_activities { "start" } else { "ignore" }.to_owned()),
            ("--command-seconds", self.command_takes.as_secs_f64().to_string()),
            ("--command-fails", self.command_fails.map_or_else(|| "-1".into(), |n| n.to_string())),
            ("--subnet", self.subnet.to_owned()),
            ("--coeffs", self.coefficients.join(",")),
        ];
        let billing = self.billing.as_ref().map_or_else(Vec::new, Billing::arguments);
        pairs
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .chain(billing)
            .chain(self.executes.then(|| "--execute".to_owned()))
            .collect()
    }
}

/// How the stand-in providers bill.
#[derive(Debug, Clone)]
pub(crate) struct Billing {
    /// From one debit note to the next; zero for none but the last.
    pub(crate) notes_every: Duration,
    /// How long after a note its payment is due; zero for never.
    pub(crate) payable_after: Duration,
    /// From the end of an agreement to its invoice.
    pub(crate) invoice_after: Duration,
    /// How many times the price is billed.
    pub(crate) overcharge: u32,
    /// What they do wrong.
    pub(crate) mischief: &'static [Mischief],
}

impl Billing {
    /// Honest bills: a debit note at each interval, an invoice at once.
    pub(crate) fn every(interval: Duration) -> Self {
        Self {
            notes_every: interval,
            payable_after: Duration::ZERO,
            invoice_after: Duration::ZERO,
            overcharge: 1,
            mischief: &[],
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mischief: Vec<&str> = self.mischief.iter().map(|kind| kind.name()).collect();
        let pairs = [
            ("--note-seconds", self.notes_every.as_secs_f64().to_string()),
            ("--payable-seconds", self.payable_after.as_secs_f64().to_string()),
            ("--invoice-seconds", self.invoice_after.as_secs_f64().to_string()),
            ("--overcharge", self.overcharge.to_string()),
            ("--mischief", mischief.join(",")),
        ];
        let pairs = pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        std::iter::once("--bill".to_owned()).chain(pairs).collect()
    }
}

/// What is wrong with bills.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mischief {
    /// Every document comes twice.
    Duplicate,
    /// The first note comes before we hear of its activity.
    NoteBefore,
    /// Each note is below the one before it.
    LowerNotes,
    /// Notes are below zero.
    NegativeNotes,
    /// Documents were due before they were written.
    PastDue,
    /// The invoice comes with the first note.
    EarlyInvoice,
    /// Another invoice follows the invoice.
    SecondInvoice,
}

impl Mischief {
    const fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::NoteBefore => "note-before",
            Self::LowerNotes => "lower-notes",
            Self::NegativeNotes => "negative-notes",
            Self::PastDue => "past-due",
            Self::EarlyInvoice => "early-invoice",
            Self::SecondInvoice => "second-invoice",
        }
    }
}

/// What becomes of transactions on the stand-in chains.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mood {
    /// They are in a block at once.
    Mines,
    /// They are in a block at once, and failed.
    Reverts,
    /// They are taken, and get into no block before the mood changes.
    Stalls,
    /// They are not taken.
    Refuses,
    /// The wallet cannot pay for their gas.
    NoGas,
}

impl Mood {
    const fn name(self) -> &'static str {
        match self {
            Self::Mines => "mines",
            Self::Reverts => "reverts",
            Self::Stalls => "stalls",
            Self::Refuses => "refuses",
            Self::NoGas => "no-gas",
        }
    }
}

/// How an offer answers a proposal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// By a counter-proposal that takes over the demand's terms.
    Counter,
    /// By a refusal with the reason `Node is busy.`
    Refuse,
    /// Not at all.
    Silent,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Refuse => "refuse",
            Self::Silent => "silent",
        }
    }
}

/// How an offer answers an agreement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Agreements {
    /// By approval.
    Approve,
    /// By a refusal with the reason `Node is busy.`
    Refuse,
    /// Not at all.
    Ignore,
}

impl Agreements {
    const fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Refuse => "refuse",
            Self::Ignore => "ignore",
        }
    }
}

/// A stand-in provider's identity.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Identity {
    /// The alias, also the first part of the names of its offers.
    pub(crate) name: String,
    /// The node id; the same in every lab.
    pub(crate) id: String,
    /// The app key that acts for it.
    pub(crate) key: String,
}

/// What the lab says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Facts {
    /// The daemon's REST API.
    pub(crate) api_url: String,
    /// The requestor's app key.
    pub(crate) app_key: String,
    /// The requestor's node id; the same in every lab.
    pub(crate) node_id: String,
    /// The stand-in for the image registry; tags that begin with `golem/` exist.
    pub(crate) registry_url: String,
    /// The stand-in providers.
    pub(crate) identities: Vec<Identity>,
    /// What the daemon's command line needs to know: variables, and their values.
    cli: BTreeMap<String, String>,
    /// The daemon's process id when the lab came up; a restart changes it.
    pub(crate) pid: u32,
}

/// A running lab.
#[derive(Debug)]
pub(crate) struct Lab {
    facts: Facts,
    holder: Child,
    state: Option<TempDir>,
}

impl Lab {
    /// Starts a daemon with a wallet of 1000 GLM, and the market.
    ///
    /// # Panics
    ///
    /// Panics when the lab does not come up.
    pub(crate) fn start(market: &Market) -> Self {
        Self::start_on(&[], market)
    }

    fn start_on(net: &[&OsStr], market: &Market) -> Self {
        let state =
            TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the directory is writable");
        let mut holder = script("up", state.path())
            .arg("--hold")
            .args(net)
            .args(market.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let out = holder.stdout.take().expect("standard output is piped");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("the script speaks UTF-8");
        let facts =
            serde_json::from_str(&line).expect("the lab came up; if not, it said why above");
        Self { facts, holder, state: Some(state) }
    }

    /// What a client needs to know.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Stops the daemon politely and starts it again: same port, same data.
    pub(crate) fn restart(&self) {
        self.command("restart");
    }

    /// What leads a program of ours to this daemon: variables, and their values.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = self.facts.cli.clone();
        variables.insert("YAGNA_API_URL".to_owned(), self.facts.api_url.clone());
        variables.insert("YAGNA_APPKEY".to_owned(), self.facts.app_key.clone());
        variables
    }

    /// Locks the wallet of the daemon with a password, while it runs.
    pub(crate) fn lock(&self) {
        self.command("lock");
    }

    /// Starts the daemon anew with its wallet locked: it waits on its bus for the password.
    pub(crate) fn restart_locked(&self) {
        self.command("restart-locked");
    }

    /// Ends the daemon as a power cut would; `restart` brings it back.
    pub(crate) fn kill(&self) {
        self.command("kill");
    }

    /// Makes the daemon stop answering; connections still open.
    pub(crate) fn freeze(&self) {
        self.command("freeze");
    }

    /// Lets a frozen daemon go on.
    pub(crate) fn thaw(&self) {
        self.command("thaw");
    }

    /// Lets the same identities offer more, on other terms; they stop when the answer is dropped.
    ///
    /// # Panics
    ///
    /// Panics when the offers are not published.
    pub(crate) fn sell(&self, market: &Market) -> Sellers {
        let log = self.state().join(format!("provider-{}.log", market.subnet));
        let log = std::fs::File::options().create(true).append(true).open(log);
        let mut process = script("provider", self.state())
            .arg("--hold")
            .args(market.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.expect("the directory is writable"))
            .spawn()
            .expect("python3 is installed");
        let out = process.stdout.take().expect("standard output is piped");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("the script speaks UTF-8");
        assert_eq!(line.trim_end(), "ready", "the offers are published; if not, it said why above");
        Sellers { process }
    }

    /// Decides what becomes of payments from now on.
    pub(crate) fn chains(&self, mood: Mood) {
        let status = script("chain", self.state()).arg(mood.name()).status();
        assert!(status.is_ok_and(|status| status.success()), "lab.py chain {}", mood.name());
    }

    fn command(&self, name: &str) {
        let status = script(name, self.state()).status().expect("python3 is installed");
        assert!(status.success(), "lab.py {name}: {status}");
    }

    fn state(&self) -> &Path {
        self.state.as_ref().expect("only `drop` takes it").path()
    }
}

/// More stand-in providers of a lab.
#[derive(Debug)]
pub(crate) struct Sellers {
    process: Child,
}

impl Drop for Sellers {
    fn drop(&mut self) {
        // They withdraw their offers once standard input closes.
        drop(self.process.stdin.take());
        let ended = self.process.wait();
        assert!(
            std::thread::panicking() || ended.is_ok_and(|status| status.success()),
            "the sellers end"
        );
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The holder ends everything once its standard input closes.
        drop(self.holder.stdin.take());
        let ended = self.holder.wait();
        let state = self.state.take().expect("dropped once");
        if std::thread::panicking() {
            eprintln!("the lab's logs are in {}", state.keep().display());
        } else {
            assert!(ended.is_ok_and(|status| status.success()), "the lab ends");
        }
    }
}

fn script(command: &str, state: &Path) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_yagna/lab.py");
    let arguments = [path.as_os_str(), OsStr::new(command), OsStr::new("--state")];
    let mut python = Command::new("python3");
    python.args(arguments).arg(state).stdin(Stdio::null());
    python.env("PYTHONDONTWRITEBYTECODE", "1").env("REAL_YAGNA_STATE", home());
    python
}

/// Where the daemon is installed: once for all labs, in Cargo's target directory.
fn home() -> PathBuf {
    if let Some(chosen) = std::env::var_os("REAL_YAGNA_STATE") {
        return chosen.into();
    }
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    scratch.parent().expect("a directory in the target directory").join("real-yagna")
}
