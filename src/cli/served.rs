//! What a webserver serves, as `start` and `webserver` are told: the real network, or a simulated one.

use std::{env, ffi::OsString, path::PathBuf};

use clap::Args;

use super::{error::CliError, surroundings};
use crate::driver::daemon::SimPlan;

/// Said once, and not again by what goes on with the same options.
pub(super) const REBIND: &str = "--rebind";
const ANONYMOUS_VARIABLE: &str = "RAY_ON_GOLEM_ALLOW_ANONYMOUS";
/// A simulated start of some seconds takes less than a millisecond then.
const HASTE_MAX: u64 = 100_000;

/// The default of `--sim-nodes`, and of `--sim-haste`.
const NODES: &str = "auto";
const HASTE: u64 = 1;

/// Options of what is started.
#[derive(Args, Clone, Debug)]
pub(super) struct Served {
    /// Let the registry count the images that are looked up (the default)
    #[arg(long, overrides_with = "no_registry_stats")]
    registry_stats: bool,
    /// Do not let the registry count them
    #[arg(long, overrides_with = "registry_stats")]
    pub(super) no_registry_stats: bool,
    /// Ask nobody for a token: for clients of the original, which know of none
    #[arg(long)]
    allow_anonymous: bool,
    /// Put a simulated network where the daemon would be; the default is a small testnet
    #[arg(long, value_name = "SCENARIO", num_args = 0..=1)]
    pub(super) sim: Option<Option<PathBuf>>,
    /// What the nodes of the simulated network are: `local` ones in namespaces, plain `processes`, the better of both that
    /// this host allows (`auto`), or `none` at all
    #[arg(long, value_name = "KIND", default_value = NODES, requires = "sim",
        value_parser = ["auto", "local", "processes", "none"])]
    sim_nodes: String,
    /// How many times faster the providers of the simulated network work
    #[arg(long, value_name = "N", default_value_t = HASTE, requires = "sim",
        value_parser = clap::value_parser!(u64).range(1..=HASTE_MAX))]
    sim_haste: u64,
    /// The virtual environment of Python whose Ray its local nodes run; the default is that of the `ray` on the path
    #[arg(long, value_name = "DIR", requires = "sim")]
    sim_venv: Option<PathBuf>,
    /// Go on with a data directory that belongs to another network or identity, or that the daemon knows nothing of: what it
    /// does not know is given up in time, wherever it runs
    #[arg(long)]
    pub(super) rebind: bool,
    /// Write what is exchanged with the daemon to a new file, for `golem-sim replay`; keys are masked
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
}

impl Served {
    /// The same options, for the process that serves.
    pub(super) fn arguments(&self) -> Result<Vec<OsString>, CliError> {
        let flag = if self.no_registry_stats { "--no-registry-stats" } else { "--registry-stats" };
        let mut arguments = vec![flag.into()];
        if self.allow_anonymous {
            arguments.push("--allow-anonymous".into());
        }
        if self.rebind {
            arguments.push(REBIND.into());
        }
        if let Some(scenario) = &self.sim {
            arguments.push("--sim".into());
            arguments.extend(scenario.iter().map(|path| path.clone().into_os_string()));
            arguments.push(format!("--sim-nodes={}", self.sim_nodes).into());
            arguments.push(format!("--sim-haste={}", self.sim_haste).into());
            if let Some(venv) = self.environment_of_nodes()? {
                arguments.extend(["--sim-venv".into(), venv.into_os_string()]);
            }
        }
        if let Some(file) = &self.record {
            let file = std::path::absolute(file)?;
            arguments.extend(["--record".into(), file.into_os_string()]);
        }
        Ok(arguments)
    }

    /// What is asked for, beyond the defaults, and is not on the command line of a webserver.
    pub(super) fn not_among(&self, words: &[OsString]) -> Vec<String> {
        let path = |path: &PathBuf| std::path::absolute(path).ok().map(PathBuf::into_os_string);
        let wanted = [
            self.no_registry_stats.then(|| "--no-registry-stats".into()),
            self.allow_anonymous.then(|| "--allow-anonymous".into()),
            self.sim.as_ref().and_then(Option::as_ref).and_then(path),
            (self.sim_nodes != NODES).then(|| format!("--sim-nodes={}", self.sim_nodes).into()),
            (self.sim_haste != HASTE).then(|| format!("--sim-haste={}", self.sim_haste).into()),
            self.sim_venv.as_ref().and_then(path),
            self.record.as_ref().and_then(path),
        ];
        let missing = wanted.into_iter().flatten().filter(|word| !words.contains(word));
        missing.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// Whether it is to be served over a simulated network.
    pub(super) fn is_simulated(&self) -> bool {
        self.sim.is_some()
    }

    /// The virtual environment whose Ray local nodes run: the one that is named, or that of the `ray` on the path.
    fn environment_of_nodes(&self) -> Result<Option<PathBuf>, CliError> {
        let Some(venv) = &self.sim_venv else {
            return Ok(env::var_os("PATH").and_then(|path| surroundings::environment_of_ray(&path)));
        };
        let venv = std::path::absolute(venv)?;
        match ["bin/python", "bin/ray"].into_iter().find(|name| !venv.join(name).exists()) {
            None => Ok(Some(venv)),
            Some(missing) => Err(CliError::Argument(format!(
                "`--sim-venv`: `{}` is no virtual environment with Ray, as it has no `{missing}`; make one by \
                 `python3 -m venv` and `pip install 'ray[default]'`, or leave the option out",
                venv.display()
            ))),
        }
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.allow_anonymous || env::var(ANONYMOUS_VARIABLE).is_ok_and(|value| value == "1")
    }

    pub(super) fn sim_plan(&self) -> Result<Option<SimPlan>, CliError> {
        let Some(scenario) = &self.sim else { return Ok(None) };
        let scenario = scenario.as_ref().map(std::path::absolute).transpose()?;
        let program = surroundings::simulator()?;
        let mut options = vec![
            "--nodes".into(),
            self.sim_nodes.clone().into(),
            "--haste".into(),
            self.sim_haste.to_string().into(),
        ];
        if let Some(venv) = self.environment_of_nodes()? {
            options.extend(["--node-venv".into(), venv.into_os_string()]);
        }
        Ok(Some(SimPlan { program, scenario, options }))
    }
}
