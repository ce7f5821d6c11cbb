//! `restart`: another process of the webserver, such as one of a newer version, for the same clusters.

use std::{env, process::Command};

use clap::Args;

use super::{
    error::CliError, printer::Printer, start::launch, stop::Stop, web::Web, webserver::Common,
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
        let running = web.root().and_then(|root| Some((Process::of(&root.datadir)?, root)));
        let Some((process, root)) = running else {
            if let Some(process) = Process::of(&data) {
                web.refuse_elsewhere(process)?;
            }
            return Err(CliError::Environment {
                what: format!("there is no webserver at {}", web.url()),
                hint: "`ray-on-golem start` starts it".to_owned(),
            });
        };
        // Options, environment, and working directory are those of the first one: what it was started with works.
        let words = process.words().into_iter().skip_while(|word| word != "webserver");
        let mut webserver = Command::new(env::current_exe()?);
        webserver.args(words).env_clear().envs(process.environment());
        process.directory().iter().for_each(|directory| {
            webserver.current_dir(directory);
        });
        Stop::keeping(self.common).run(printer)?;
        launch(&web, &root.datadir, webserver, printer)
    }
}
