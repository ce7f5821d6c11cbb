//! The daemon: the program, whether it runs, its version, and its clock. Its wallet is in [`super::wallet`].

use std::{path::Path, time::Duration};

use tokio::join;

use super::{Finding, Scene, programs, version, wallet};
use crate::{
    driver::{
        appkey,
        cli::{self, Identity},
        clock,
        known::Known,
        wallet as words,
    },
    units::{Span, Timestamp},
    yagna::{CallError, Client},
};

/// How long the daemon may take to say its version: it answers in milliseconds, and one elsewhere in less than this.
const PATIENCE: Span = Span::secs(5);
/// How long the daemon's command line may take; without a daemon it gives up after a second by itself.
pub(super) const CLI_PATIENCE: Duration = Duration::from_secs(5);
/// What the daemon signs is valid by its clock, and what is agreed on ends by ours.
const CLOCK_OFF_MAX: Span = Span::secs(30);

/// Looks at the daemon; with `thoroughly` also at what takes it some time to tell, such as its funds.
pub(super) async fn check(scene: &Scene, thoroughly: bool) -> Vec<Finding> {
    let known = Known::of(&scene.daemon);
    if scene.simulated && !known.simulated {
        return vec![Finding::good("yagna", "not needed: the network is to be a simulated one")];
    }
    if scene.is_served && !thoroughly {
        // The webserver has found it, perhaps by another environment, and looks after its wallet.
        let answer = Client::version(&known.endpoints, PATIENCE).await.ok();
        return answer.map(|(said, _)| version::check(&said, scene.network)).into_iter().collect();
    }
    let (program, answer) =
        join!(program(scene, &known), Client::version(&known.endpoints, PATIENCE));
    let url = known.endpoints.base.as_str().trim_end_matches('/').to_owned();
    match (answer, program) {
        (Ok((said, date)), program) => {
            let mut findings = vec![match (known.simulated, known.pid, &program) {
                (true, pid, _) => Finding::good("yagna", running("a simulated network", &url, pid)),
                (false, pid, Ok(_)) => Finding::good("yagna", running("the daemon", &url, pid)),
                (false, _, Err(finding)) => finding.clone(),
            }];
            findings.push(version::check(&said, scene.network));
            findings.extend(date.map(clock));
            if !known.simulated {
                findings.push(bus().await);
            }
            findings.extend(wallet::check(scene, &known, thoroughly).await);
            findings
        }
        (Err(_), Err(finding)) => vec![finding],
        (Err(CallError::NotSent { .. }), Ok(said)) => not_running(scene, &known, &said).await,
        (Err(error @ (CallError::Rejected { .. } | CallError::Unknown(_))), Ok(_)) => {
            let what = format!("what listens at {url} does not answer as the daemon does: {error}");
            let cure = "end it, or set `YAGNA_API_URL` to where the daemon is";
            vec![Finding::bad("yagna", what, cure)]
        }
    }
}

/// The daemon's program says its version, or it is not there. A simulated network has one of its own.
async fn program(scene: &Scene, known: &Known) -> Result<String, Finding> {
    let binary = &scene.daemon.key.binary;
    let is_there = match binary.components().count() {
        1 => programs::on_path(scene, &binary.to_string_lossy()).is_some(),
        _ => binary.exists(),
    };
    if !is_there && !known.simulated {
        let (what, cure) = appkey::missing(binary);
        return Err(Finding::bad("yagna", what, cure));
    }
    let unusable = |error: cli::CliFailure| {
        let cure = "set `YAGNA_PATH` to Golem's daemon, or install it anew";
        Finding::bad("yagna", error.to_string(), cure)
    };
    known.cli.version(CLI_PATIENCE).await.map_err(unusable)
}

/// A daemon that does not answer is started by the webserver, unless it runs and waits for its wallet.
async fn not_running(scene: &Scene, known: &Known, said: &str) -> Vec<Finding> {
    if cli::is_on_bus().await {
        let identities = known.cli.identities(CLI_PATIENCE).await.unwrap_or_default();
        if let Some(identity) = identities.iter().find(|it| it.is_default() && it.is_locked()) {
            return vec![locked(identity)];
        }
        let what = format!(
            "a daemon is on the bus, and none answers at {}",
            known.endpoints.base.as_str().trim_end_matches('/')
        );
        let cure = "set `YAGNA_API_URL` to where it listens, or wait until it has started";
        return vec![Finding::bad("yagna", what, cure)];
    }
    let binary: &Path = &scene.daemon.key.binary;
    let what =
        format!("{said} (`{}`) does not run, and is started with the webserver", binary.display());
    let version = said.split_whitespace().nth(1).unwrap_or(said);
    vec![Finding::good("yagna", what), version::check(version, scene.network)]
}

/// What is said of an identity that cannot sign.
pub(super) fn locked(identity: &Identity) -> Finding {
    let (what, cure) = words::locked(&identity.address);
    Finding::bad("wallet", what, cure)
}

/// What carries what goes to nodes: the bus, or the daemon's own networks.
async fn bus() -> Finding {
    let address = match cli::bus_address() {
        Ok(address) => address,
        Err(error) => {
            let cure = "unset `GSB_URL`, or set it as the daemon has it";
            return Finding::bad("bus", error.to_string(), cure);
        }
    };
    if cli::is_on_bus().await {
        let what = format!("the daemon's bus answers at {address}: nodes are reached over it");
        return Finding::good("bus", what);
    }
    let what = format!(
        "the daemon's bus does not answer at {address}: nodes are reached through the daemon, and a restart of \
         the daemon loses them"
    );
    Finding::note("bus", what)
}

fn running(what: &str, url: &str, pid: Option<i32>) -> String {
    match pid {
        Some(pid) => format!(
            "{what} answers at {url}, started by this data directory's webserver (pid {pid})"
        ),
        None => format!("{what} answers at {url}"),
    }
}

fn clock(date: Timestamp) -> Finding {
    let now = clock::now();
    let (off, direction) = match now > date {
        true => (now.since(date), "behind"),
        false => (date.since(now), "before"),
    };
    // The header has whole seconds.
    if off < CLOCK_OFF_MAX {
        return Finding::good("clock", "the same as the daemon's");
    }
    let what = format!("the daemon's clock is {} s {direction} this machine's", off.as_secs());
    Finding::bad("clock", what, "set both by NTP, such as with `timedatectl set-ntp true`")
}
