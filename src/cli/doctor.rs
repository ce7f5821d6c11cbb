//! `doctor`: what a cluster needs of this machine, each with ✔, or ✘ and the cure.

use std::{env, fs, path::PathBuf};

use clap::Args;
use serde_json::json;
use tokio::runtime;

use super::{
    error::CliError, printer::Printer, served::Served, surroundings, webserver::DEFAULT_PORT,
};
use crate::{
    config::{ClusterFile, ConfigError, PaymentNetwork, networks, yaml},
    doctor::{self, CheckedFile, Finding, Scene, Verdict, port},
    driver::daemon::DaemonPlan,
};

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// The cluster file: its network, images, port, and data directory are what is looked at
    #[arg(value_name = "CLUSTER.yaml")]
    cluster: Option<PathBuf>,
    /// Print everything as JSON, for programs
    #[arg(long)]
    json: bool,
    /// Look only at what takes no time, and ask nothing outside of this machine
    #[arg(long)]
    quick: bool,
    /// Look at what `start --sim` needs: no daemon, no wallet
    #[arg(long)]
    sim: bool,
    /// Webserver port
    #[arg(short, long)]
    port: Option<u16>,
    /// Ray on Golem's data directory
    #[arg(long, value_name = "PATH")]
    datadir: Option<PathBuf>,
    /// The network to pay on, where no cluster file is given
    #[arg(long, conflicts_with = "cluster")]
    network: Option<String>,
}

/// What is looked at, as options and cluster file have it.
struct Order {
    port: u16,
    datadir: Option<PathBuf>,
    network: PaymentNetwork,
    file: Option<CheckedFile>,
    is_simulated: bool,
}

impl Doctor {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        let file = self.file(printer)?;
        let parameters = file.as_ref().map(|file| &file.cluster.parameters);
        let named = parameters.and_then(|it| it.webserver_datadir.clone()).map(PathBuf::from);
        let order = Order {
            port: self
                .port
                .or_else(|| parameters.map(|it| it.webserver_port))
                .unwrap_or(DEFAULT_PORT),
            datadir: self.datadir.clone().or(named),
            network: match parameters {
                Some(parameters) => parameters.payment_network,
                None => network(self.network.as_deref())?,
            },
            file,
            is_simulated: self.sim,
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let findings = runtime.block_on(async {
            let scene = order.scene().await?;
            Ok::<_, CliError>(match self.quick {
                true => doctor::quick(&scene).await,
                false => doctor::whole(&scene).await,
            })
        })?;
        match self.json {
            true => printer.line(&document(&findings))?,
            false => printer.print(&text(&findings))?,
        }
        let mut bad = findings.iter().filter(|it| it.verdict == Verdict::Bad).peekable();
        match (bad.peek().is_some(), bad.all(|it| it.name == doctor::FILE)) {
            (false, _) => Ok(()),
            (true, true) => Err(CliError::FileTold),
            (true, false) => Err(CliError::Told),
        }
    }

    fn file(&self, printer: &mut Printer) -> Result<Option<CheckedFile>, CliError> {
        let Some(path) = &self.cluster else { return Ok(None) };
        let name = path.display().to_string();
        let text = fs::read(path).map_err(|error| ConfigError::unreadable(&name, error.kind()))?;
        let cluster = ClusterFile::parse(&name, &text)?;
        let checked = yaml::parse(&text).and_then(|root| cluster.check_commands(&root));
        if let Err(error) = checked {
            return Err(ConfigError::Content { file: name, error }.into());
        }
        for warning in &cluster.warnings {
            printer.warn(warning);
        }
        Ok(Some(CheckedFile { name, text, cluster }))
    }
}

/// Refuses to start a webserver that would not come up, or that no cluster could use.
pub(super) fn refuse_unfit(port: u16, data: PathBuf, served: &Served) -> Result<(), CliError> {
    let is_simulated = served.is_simulated();
    let network = networks::DEFAULT;
    let order = Order { port, datadir: Some(data), network, file: None, is_simulated };
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(async {
        let scene = order.scene().await?;
        Ok::<_, CliError>(doctor::quick(&scene).await)
    })?;
    // Which network is paid on is the business of the cluster files to come.
    let is_bad = |it: &Finding| it.verdict == Verdict::Bad && it.name != "version";
    let bad: Vec<Finding> = findings.into_iter().filter(is_bad).collect();
    match bad.is_empty() {
        true => Ok(()),
        false => Err(CliError::Unfit(bad)),
    }
}

impl Order {
    async fn scene(self) -> Result<Scene, CliError> {
        let served = port::data_of_webserver(self.port).await;
        let is_served = served.is_some();
        let data = match served {
            Some(data) => data,
            None => std::path::absolute(surroundings::data_directory(self.datadir)?)?,
        };
        let daemon = DaemonPlan {
            endpoints: surroundings::endpoints()?,
            key: surroundings::key_source(),
            data: data.clone(),
            sim: None,
        };
        Ok(Scene {
            path: env::var_os("PATH"),
            data,
            port: self.port,
            daemon,
            is_served,
            simulated: self.is_simulated,
            registry: surroundings::named_registry()?,
            public_registry: surroundings::public_registry()?,
            file: self.file,
            network: self.network,
        })
    }
}

fn network(named: Option<&str>) -> Result<PaymentNetwork, CliError> {
    let Some(name) = named else { return Ok(networks::DEFAULT) };
    networks::find(name).ok_or_else(|| {
        let names = networks::names_in_use().join("`, `");
        CliError::Argument(format!("there is no network `{name}`; choose one of `{names}`"))
    })
}

fn is_fit(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Bad)
}

fn text(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let sign = match finding.verdict {
            Verdict::Good => '✔',
            Verdict::Note => '•',
            Verdict::Bad => '✘',
        };
        let Finding { name, what, cure, .. } = finding;
        let cure = cure.as_ref().map_or_else(String::new, |cure| format!("\n    {cure}"));
        format!("{sign} {name}: {what}{cure}\n")
    };
    findings.iter().map(line).collect()
}

fn document(findings: &[Finding]) -> String {
    let document = json!({ "version": 1, "fit": is_fit(findings), "findings": findings });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}
