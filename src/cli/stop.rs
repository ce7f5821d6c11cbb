//! `stop`: the end of the webserver, asked for, waited for, and if need be made.

use std::{
    io::{self, BufRead, IsTerminal},
    path::Path,
    time::{Duration, Instant},
};

use clap::Args;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    error::CliError,
    left::Left,
    printer::Printer,
    table::plain,
    unmet::Unmet,
    web::{Root, Web},
    webserver::Common,
};
use crate::{driver::process::Process, server::bills};

const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(60);
const PROCESS_PATIENCE: Duration = Duration::from_secs(180);
/// A process that was told to end has this time before it is killed.
const TERMINATE_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `stop`.
#[derive(Args, Debug)]
pub(super) struct Stop {
    #[command(flatten)]
    common: Common,
    /// Stop also if there are nodes; they are ended
    #[arg(short, long)]
    force: bool,
    /// Leave the clusters as they are: the next webserver goes on with them
    #[arg(long, conflicts_with = "force")]
    keep_clusters: bool,
    /// End the process if it does not stop by itself
    #[arg(short, long)]
    kill: bool,
}

impl Stop {
    /// To end the webserver, and leave its clusters.
    pub(super) fn keeping(common: Common) -> Self {
        Self { common, force: false, keep_clusters: true, kill: false }
    }

    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        let data = self.common.data()?;
        let web = Web::new(self.common.port, &data)?;
        let root = web.root();
        let data = root.as_ref().map_or(data, |root| root.datadir.clone());
        let process = Process::of(&data);
        let before = bills::last(&data);
        match &root {
            Err(unmet) => self.signal(&web, *unmet, process, printer)?,
            Ok(root) if root.shutting_down => {
                printer.line("The webserver is already shutting down.")?;
            }
            Ok(root) => {
                self.request(&web, root, printer)?;
            }
        }
        wait_for_server(&web, printer)?;
        self.end(process, &data, printer)?;
        for bill in bills::last(&data).iter().filter(|bill| !before.contains(bill)) {
            let text = |key: &str| bill[key].as_str().unwrap_or("-");
            printer.line(&format!("`{}` cost {} GLM.", text("cluster_name"), text("spent_glm")))?;
        }
        match self.keep_clusters {
            true => Ok(()),
            // A webserver that was killed, or whose time for a shutdown was over, has not ended everything.
            false => tell_what_has_stayed(&data, printer),
        }
    }

    /// Ends a webserver that cannot be asked, by a signal: Ctrl-C's, at which clusters end, or a service manager's, at
    /// which they go on.
    fn signal(
        &self,
        web: &Web,
        unmet: Unmet,
        process: Option<Process>,
        printer: &mut Printer,
    ) -> Result<(), CliError> {
        let url = web.url();
        let met_instead = match unmet {
            Unmet::Absent => format!("No webserver found on: {url}."),
            Unmet::Mute => format!("What listens on {url} does not answer."),
            Unmet::Unproven => {
                format!("What listens on {url} has not shown that it is our webserver.")
            }
        };
        if process.is_some() || unmet == Unmet::Absent {
            printer.line(&met_instead)?;
        }
        let Some(process) = process else {
            // What a crash has left goes on, and no process is there to end it.
            tell_what_has_stayed(&web.data, printer)?;
            return if unmet == Unmet::Absent { Ok(()) } else { Err(unmet.error(web)) };
        };
        web.refuse_elsewhere(process)?;
        let what_of_them = if self.force { "end with it" } else { "go on without it" };
        printer.line(&format!(
            "Ours runs under pid {}, and is told by a signal to end; clusters {what_of_them}.",
            process.pid
        ))?;
        process.signal(if self.force { Signal::INT } else { Signal::TERM });
        Ok(())
    }

    /// Asks the webserver to end.
    fn request(&self, web: &Web, root: &Root, printer: &mut Printer) -> Result<(), CliError> {
        printer.line("Requesting webserver shutdown...")?;
        let mut is_forced = self.force;
        loop {
            let answer = shut_down(web, is_forced, self.keep_clusters)?;
            let state = answer["shutdown_state"].as_str().unwrap_or_default();
            let told = match state {
                "clusters_kept" => return tell_what_is_kept(&answer, root, printer),
                "not_enabled" => "Cannot stop the webserver, as it was started externally.",
                "cluster_not_empty" => {
                    tell_who_lives(web, printer)?;
                    "Cannot stop the webserver, as the cluster is not empty."
                }
                "forced_shutdown" => "Force-shutdown requested, will stop soon.",
                _ => "Webserver shutdown requested, will stop soon.",
            };
            printer.line(told)?;
            match state {
                "not_enabled" => return Err(CliError::Declined),
                "cluster_not_empty" if confirm("Force the shutdown?", printer)? => {
                    printer.line("Forcing webserver shutdown...")?;
                    is_forced = true;
                }
                "cluster_not_empty" => {
                    printer.line("Shutdown cancelled.")?;
                    return Err(CliError::Declined);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Waits for the process, or ends it.
    fn end(
        &self,
        process: Option<Process>,
        data: &Path,
        printer: &mut Printer,
    ) -> Result<(), CliError> {
        let Some(process) = process.filter(|process| process.is_alive()) else {
            return printer.line("Shutdown completed.");
        };
        printer.line("Waiting 180 seconds for the webserver process to stop.")?;
        if wait(PROCESS_PATIENCE, || !process.is_alive()) {
            printer.line("Webserver process stopped.")?;
            return printer.line("Shutdown completed.");
        }
        printer.line("Webserver process stop timeout of 0:03:00 reached.")?;
        // Where nobody can be asked, it is left to end by itself.
        let mut may_be_killed = || match io::stdin().is_terminal() {
            true => confirm("Terminate the webserver process?", printer),
            false => Ok(false),
        };
        if !self.kill && !may_be_killed()? {
            printer.line("The webserver is still running...")?;
            return Err(CliError::Environment {
                what: format!("the webserver still runs under pid {}", process.pid),
                hint: format!(
                    "it ends by itself when the last bills are settled, and `{}` says what it waits for; \
                     with `--kill` it ends now, and the next one goes on where it was",
                    data.join("webserver.log").display()
                ),
            });
        }
        process.signal(Signal::TERM);
        if !wait(TERMINATE_PATIENCE, || !process.is_alive()) {
            process.signal(Signal::KILL);
        }
        printer.line("Process terminated.")
    }
}

/// Clusters that no process looks after are nothing to be content with.
fn tell_what_has_stayed(data: &Path, printer: &mut Printer) -> Result<(), CliError> {
    let left = Left::of(data)?;
    printer.print(&left.text())?;
    left.refuse()
}

fn shut_down(web: &Web, is_forced: bool, keeps_clusters: bool) -> Result<Value, CliError> {
    let request = json!({
        "ignore_self_shutdown": true,
        "force_shutdown": is_forced,
        "keep_clusters": keeps_clusters,
        "shutdown_delay": 0,
    });
    web.post("/shutdown", &request)
}

/// Says that clusters go on, and for how long that is safe.
fn tell_what_is_kept(answer: &Value, root: &Root, printer: &mut Printer) -> Result<(), CliError> {
    let until = answer["bills_can_wait_until"].as_str().unwrap_or("-");
    let simulated = if root.simulated == Some(true) { " --sim" } else { "" };
    printer.line(&format!(
        "The clusters go on, and cost what they cost. Providers wait for the answer to a bill until {until} at least:\n\
         `ray-on-golem start{simulated}` goes on with them; after that time some nodes may be lost."
    ))
}

fn wait_for_server(web: &Web, printer: &mut Printer) -> Result<(), CliError> {
    if web.root().is_err() {
        return Ok(());
    }
    printer.line("Webserver is still shutting down, waiting up to 60 seconds ...")?;
    tell_what_is_left(web, printer)?;
    match wait(SHUTDOWN_PATIENCE, || web.root().is_err()) {
        true => printer.line("Webserver shutdown completed."),
        false => printer.line("Shutdown timeout of 0:01:00 reached."),
    }
}

/// Says which clusters have nodes, and how they end.
fn tell_who_lives(web: &Web, printer: &mut Printer) -> Result<(), CliError> {
    let status = web.get("/status")?;
    let clusters = status["clusters"].as_array().map_or(&[][..], Vec::as_slice);
    for cluster in clusters.iter().filter(|cluster| cluster["state"] == "running") {
        let text = |key: &str| plain(cluster[key].as_str().unwrap_or("-"));
        printer.line(&format!(
            "   `{}` has nodes, at {} GLM per hour; `ray down` ends it, `ray-on-golem stop --force` all clusters",
            text("cluster_name"),
            text("glm_per_hour")
        ))?;
    }
    Ok(())
}

/// Says whose end is waited for.
fn tell_what_is_left(web: &Web, printer: &mut Printer) -> Result<(), CliError> {
    // Whoever has just ended has nothing to say any more.
    let Ok(status) = web.get("/status") else { return Ok(()) };
    let clusters = status["clusters"].as_array().map_or(&[][..], Vec::as_slice);
    for cluster in clusters.iter().filter(|cluster| cluster["state"] != "closed") {
        let name = cluster["cluster_name"].as_str().unwrap_or("-");
        let agreements = cluster["open_agreements"].as_u64().unwrap_or(0);
        printer.line(&format!(
            "   `{name}` waits for last bills (agreements: {agreements}); providers have some minutes for them"
        ))?;
    }
    Ok(())
}

/// Waits until something is so; whether it came to be.
fn wait(patience: Duration, is_so: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > patience {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    true
}

/// Asks the user, who says no by default. Without anybody to ask, the command is over.
fn confirm(question: &str, printer: &mut Printer) -> Result<bool, CliError> {
    printer.print(&format!("{question} [y/N]: "))?;
    if !io::stdin().is_terminal() {
        printer.line("")?;
        return Err(CliError::Aborted);
    }
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
