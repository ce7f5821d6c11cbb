//! `start`: the webserver in the background.

use std::{
    env, fs,
    io::ErrorKind,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    doctor,
    error::CliError,
    left::Left,
    printer::Printer,
    served::Served,
    unmet::Unmet,
    web::{Root, Web},
    webserver::{Common, DEBUG_LOG},
};
use crate::{
    doctor::port,
    driver::{
        journal::{Journals, JournalsError},
        log,
        mark::OtherKind,
        process::{Process, once_let_go},
    },
};

const LOG_LINES: usize = 50;
const START_PATIENCE: Duration = Duration::from_secs(5 * 60);
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Arguments of `start`.
#[derive(Args, Debug)]
pub(super) struct Start {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    served: Served,
}

impl Start {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        if self.common.port == 0 {
            let what = "`--port 0` is any port, on which no command finds the webserver; name one";
            return Err(CliError::Argument(what.to_owned()));
        }
        let data = self.common.data()?;
        let let_go = || match Journals::are_in_use(&data) {
            true => Err(JournalsError::InUse { directory: data.clone() }),
            false => Ok(()),
        };
        // A webserver that was killed a moment ago is not in the way. What is, says so itself.
        drop(once_let_go(&data, let_go));
        let web = Web::new(self.common.port, &data)?;
        match web.root() {
            Ok(root) if !root.shutting_down => return self.is_there(&root, &data, printer),
            Ok(_) => wait_for_previous(&web, printer)?,
            Err(Unmet::Absent) => {}
            Err(unmet) => return Err(self.in_the_way(&web, unmet)),
        }
        if let Some(other) = OtherKind::of(&data, self.served.is_simulated()) {
            let (what, hint) = (other.what(), OtherKind::CURE.to_owned());
            return Err(CliError::Environment { what, hint });
        }
        // Clusters that a crash has left cost money: whatever else is wrong, they are gone on with.
        if Left::of(&data).is_ok_and(|left| left.is_empty()) {
            doctor::refuse_unfit(self.common.port, data.clone(), &self.served)?;
        }
        let mut command = Command::new(env::current_exe()?);
        command.args(["webserver", "--port", &self.common.port.to_string(), "--datadir"]);
        command.arg(&data).args(self.served.arguments()?);
        launch(&web, &data, command, printer)
    }

    /// A webserver that runs is not started again.
    fn is_there(&self, root: &Root, data: &Path, printer: &mut Printer) -> Result<(), CliError> {
        self.refuse_other_network(root)?;
        printer.line("Not starting the webserver, as it's already running")?;
        self.warn_of_other_options(root, printer);
        if self.common.names_data() && root.datadir != data {
            printer.warn(&format!(
                "Specified data directory `{}` is different than webserver's: `{}`. Using the webserver setting.",
                data.display(),
                root.datadir.display()
            ));
        }
        Ok(())
    }

    /// What has the port, and is not met as ours.
    fn in_the_way(&self, web: &Web, unmet: Unmet) -> CliError {
        if Process::of(&web.data).is_some() {
            return unmet.error(web);
        }
        let (what, hint) = port::taken(self.common.port, &ErrorKind::AddrInUse.into());
        CliError::Environment { what, hint }
    }

    /// A webserver that runs serves one network; another one is not served by saying so again.
    fn refuse_other_network(&self, root: &Root) -> Result<(), CliError> {
        let (is, wanted) = match (root.simulated, self.served.is_simulated()) {
            (Some(true), false) => ("a simulated network", "the real one"),
            (Some(false), true) => ("the real network", "a simulated one"),
            (Some(_) | None, _) => return Ok(()),
        };
        Err(CliError::Environment {
            what: format!("the webserver that runs already serves {is}, and {wanted} is asked for"),
            hint: "end it with `ray-on-golem stop`, or give the other one a `--port` and a `--datadir` of its own"
                .to_owned(),
        })
    }

    /// A webserver that runs keeps the options that it was started with.
    fn warn_of_other_options(&self, root: &Root, printer: &mut Printer) {
        let Some(process) = Process::of(&root.datadir) else { return };
        let others = self.served.not_among(&process.words());
        if !others.is_empty() {
            printer.warn(&format!(
                "The webserver was started without `{}`, and stays so; `ray-on-golem stop` and `start` change it.",
                others.join(" ")
            ));
        }
    }
}

/// Starts a webserver in the background, and waits until it serves.
pub(super) fn launch(
    web: &Web,
    data: &Path,
    mut webserver: Command,
    printer: &mut Printer,
) -> Result<(), CliError> {
    printer.line(&format!("Starting webserver on {}...", web.url()))?;
    let log_path = data.join(DEBUG_LOG);
    if fs::metadata(&log_path).is_ok_and(|file| file.len() > 0) {
        log::rotate(&log_path)?;
    }
    let said = fs::File::options().append(true).create(true).mode(0o600).open(&log_path);
    let said = said.map_err(|error| {
        CliError::Broken(format!("cannot write to `{}`: {error}", log_path.display()))
    })?;
    webserver.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    // Ctrl-C in this terminal is not for it.
    let mut child = webserver.process_group(0).spawn()?;
    match until_ready(web, &mut child, printer)? {
        None => {
            printer.line("Starting webserver done")?;
            let root = web.root();
            root.iter().flat_map(|it| &it.warnings).for_each(|it| printer.warn(it));
            Ok(())
        }
        Some(why) => {
            let _ = child.kill();
            Err(failure(&why, &log_path))
        }
    }
}

/// Why the webserver did not come up: in its own last words, or else with the end of what it has said.
fn failure(why: &str, log_path: &Path) -> CliError {
    let lines = log::last_lines(log_path, LOG_LINES);
    match log::last_words(&lines) {
        Some((what, Some(hint))) => CliError::Environment { what, hint },
        Some((what, None)) => CliError::Broken(what),
        None if lines.is_empty() => CliError::Broken(format!("Starting webserver failed! {why}")),
        None => CliError::Broken(format!(
            "Starting webserver failed! {why} The last lines of `{}`:\n{}",
            log_path.display(),
            lines.join("\n")
        )),
    }
}

fn wait_for_previous(web: &Web, printer: &mut Printer) -> Result<(), CliError> {
    printer
        .line("Previous webserver instance is still shutting down, waiting up to 60 seconds ...")?;
    let started = Instant::now();
    while web.root().is_ok() {
        if started.elapsed() > SHUTDOWN_PATIENCE {
            return Err(CliError::Environment {
                what: "the previous webserver is still shutting down".to_owned(),
                hint: "wait for it, or end it with `ray-on-golem stop --kill`".to_owned(),
            });
        }
        web.sleep(LOOK_EVERY);
    }
    printer.line("Previous webserver instance shutdown completed.")
}

/// Waits for the webserver; says why there is none.
fn until_ready(
    web: &Web,
    child: &mut Child,
    printer: &mut Printer,
) -> Result<Option<String>, CliError> {
    let (started, mut said) = (Instant::now(), Instant::now());
    loop {
        if web.root().is_ok_and(|root| !root.shutting_down) {
            return Ok(None);
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Some(format!("It ended with {status}.")));
        }
        if started.elapsed() > START_PATIENCE {
            return Ok(Some("Timeout of `0:05:00` reached.".to_owned()));
        }
        if said.elapsed() > SAY_EVERY {
            printer.line("Webserver is not yet running, waiting additional `2` seconds...")?;
            said = Instant::now();
        }
        web.sleep(LOOK_EVERY);
    }
}
