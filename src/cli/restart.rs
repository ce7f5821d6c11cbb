//! `restart`: another process of the webserver, such as one of a newer version, for the same clusters.

use std::{env, process::Command};

use clap::Args;

use super::{
    error::CliError, printer::Printer, served::REBIND, start::launch, stop::Stop, unmet::Unmet,
    web::Web, webserver::Common,
};
use crate::driver::process::Process;

/// Arguments of `restart`.
#[derive(Args, Debug)]
pub(super) struct Restart {
    #[command(flatten)]
    common: Common,
}

impl Restart {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        let data = self.common.data()?;
        let web = Web::new(self.common.port, &data)?;
        let root = web.root();
        let data = root.as_ref().map_or(data, |root| root.datadir.clone());
        let Some(process) = Process::of(&data) else {
            return Err(root.err().unwrap_or(Unmet::Absent).error(&web));
        };
        if root.is_err() {
            // One that is not met is ended by its pid, as one of an earlier version is.
            web.refuse_elsewhere(process)?;
        }
        // Options, environment, and working directory are those of the first one: what it was started with works.
        let words = process.words().into_iter().skip_while(|word| word != "webserver");
        let mut webserver = Command::new(env::current_exe()?);
        webserver.args(words.filter(|word| word != REBIND)).env_clear().envs(process.environment());
        process.directory().iter().for_each(|directory| {
            webserver.current_dir(directory);
        });
        Stop::keeping(self.common).run(printer)?;
        launch(&web, &data, webserver, printer)
    }
}
