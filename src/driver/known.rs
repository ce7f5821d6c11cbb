//! The daemon as it can be known without a word to it: by what the data directory and the environment say.

use super::{
    cli::DaemonCli,
    daemon::{DaemonPlan, saved_key, simulated_cli},
    mark::Mark,
};
use crate::yagna::{AppKey, Endpoints};

/// A daemon as it can be known without being waited for.
#[derive(Clone, Debug)]
pub struct Known {
    /// Where it listens, or would.
    pub endpoints: Endpoints,
    /// The key to it, if there is one without asking.
    pub key: Option<AppKey>,
    /// Its command line.
    pub cli: DaemonCli,
    /// Its process, if it was started by us and lives.
    pub pid: Option<i32>,
    /// Whether it is a simulated network.
    pub simulated: bool,
}

impl Known {
    /// The daemon of the data directory, if one of ours lives, or else the one that the environment names.
    #[must_use]
    pub fn of(plan: &DaemonPlan) -> Self {
        let mark = Mark::load(&plan.data).filter(Mark::is_alive);
        let mark = mark.filter(|mark| mark.simulated || mark.url == plan.endpoints.base);
        let given = plan.key.given.as_deref().and_then(|key| AppKey::new(key).ok());
        let Some(mark) = mark else {
            let cli = DaemonCli { binary: plan.key.binary.clone(), environment: Vec::new() };
            let endpoints = plan.endpoints.clone();
            return Self { endpoints, key: given, cli, pid: None, simulated: false };
        };
        let key = given.or_else(|| saved_key(&plan.data));
        let cli = match (mark.simulated, &key) {
            (true, Some(key)) => simulated_cli(&plan.data, &mark.url, key),
            (true, None) | (false, _) => {
                DaemonCli { binary: plan.key.binary.clone(), environment: Vec::new() }
            }
        };
        let endpoints = match mark.simulated {
            true => Endpoints::from(mark.url.clone()),
            false => plan.endpoints.clone(),
        };
        Self { endpoints, key, cli, pid: Some(mark.pid), simulated: mark.simulated }
    }
}
