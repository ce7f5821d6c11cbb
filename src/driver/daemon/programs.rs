//! The programs: the daemon, or a simulated network in its place, and how each is asked by its command line.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use tokio::process::Command;
use url::Url;

use super::DaemonPlan;
use crate::{
    driver::cli::DaemonCli,
    yagna::{AppKey, Endpoints},
};

/// What a simulated network leaves in the data directory.
pub(super) const SIM_DIRECTORY: &str = "sim";

/// For how many days the daemon keeps an agreement, counted from the end of the time to approve it. After that it knows
/// nothing of it, also where a node runs: that node could be neither looked at nor ended. It takes 90 if nothing is said
/// (yagna 0.17.6).
const AGREEMENTS_KEPT: &str = "MARKET_AGREEMENT_STORE_DAYS";
const AGREEMENTS_KEPT_DAYS: &str = "3650";

pub(super) fn command(plan: &DaemonPlan, port: u16) -> (Command, PathBuf) {
    match &plan.sim {
        Some(sim) => {
            let mut command = Command::new(&sim.program);
            let port = port.to_string();
            command.arg("serve").args(&sim.scenario).args(["--port", &port]).args(&sim.options);
            command.arg("--bus").arg(simulated_bus(&plan.data));
            (command, sim.program.clone())
        }
        None => {
            let mut command = Command::new(&plan.key.binary);
            let base = plan.endpoints.base.as_str().trim_end_matches('/');
            command.args(["service", "run"]).env("YAGNA_API_URL", base);
            if env::var_os(AGREEMENTS_KEPT).is_none() {
                command.env(AGREEMENTS_KEPT, AGREEMENTS_KEPT_DAYS);
            }
            (command, plan.key.binary.clone())
        }
    }
}

/// Where the bus of a simulated network is that a webserver with this data directory starts.
#[must_use]
pub fn simulated_bus(data: &Path) -> PathBuf {
    data.join(SIM_DIRECTORY).join("gsb.sock")
}

/// The daemon's command line; that of the simulator is the simulator under the daemon's name.
pub(super) fn cli(plan: &DaemonPlan, endpoints: &Endpoints, key: &AppKey) -> io::Result<DaemonCli> {
    let Some(sim) = &plan.sim else {
        return Ok(DaemonCli { binary: plan.key.binary.clone(), environment: Vec::new() });
    };
    let cli = simulated_cli(&plan.data, &endpoints.base, key);
    // It may lead to where the simulator was once.
    let _ = fs::remove_file(&cli.binary);
    std::os::unix::fs::symlink(&sim.program, &cli.binary)?;
    Ok(cli)
}

pub(in crate::driver) fn simulated_cli(data: &Path, base: &Url, key: &AppKey) -> DaemonCli {
    let directory = data.join(SIM_DIRECTORY);
    let environment = vec![
        ("YAGNA_API_URL".to_owned(), base.as_str().trim_end_matches('/').to_owned()),
        ("YAGNA_APPKEY".to_owned(), key.as_str().to_owned()),
        // What a simulator of the user's has left in the usual place is not about ours.
        ("YAGNA_DATADIR".to_owned(), directory.display().to_string()),
    ];
    DaemonCli { binary: directory.join("yagna"), environment }
}
