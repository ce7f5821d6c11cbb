//! What a cluster needs of the machine that it is started from, looked at before anything is rented.
//!
//! Each file is one group of checks: an async function from the [`Scene`] to [`Finding`]s, which changes nothing
//! but for files that it removes again. All groups run side by side. [`quick`] is the part that costs no time and
//! asks nothing outside of this machine: `ray up` and `start` run it, and refuse with the same sentences.

use std::{ffi::OsString, path::PathBuf};

use serde::Serialize;
use tokio::join;
use url::Url;

use crate::{
    config::{ClusterFile, PaymentNetwork},
    driver::daemon::DaemonPlan,
};

mod daemon;
pub mod data;
mod image;
mod namespaces;
pub mod port;
mod programs;
mod proxies;
mod ray;
mod version;
mod wallet;

/// The name of what Ray and the node provider find in the cluster file.
pub const FILE: &str = "file";

/// Where a cluster is to be started, and what for.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Where programs are looked for, as `PATH` has it.
    pub path: Option<OsString>,
    /// The data directory.
    pub data: PathBuf,
    /// The webserver's port.
    pub port: u16,
    /// Where the daemon is, or will be.
    pub daemon: DaemonPlan,
    /// Whether our webserver answers on the port already.
    pub is_served: bool,
    /// Whether the webserver is to be started over a simulated network.
    pub simulated: bool,
    /// The registry of images, if the user names one.
    pub registry: Option<Url>,
    /// The public registry of images.
    pub public_registry: Url,
    /// The cluster file, if one was given.
    pub file: Option<CheckedFile>,
    /// The network to pay on.
    pub network: PaymentNetwork,
}

/// A cluster file that can be read.
#[derive(Clone, Debug)]
pub struct CheckedFile {
    /// As the user named it.
    pub name: String,
    /// What stands in it.
    pub text: Vec<u8>,
    /// What was read.
    pub cluster: ClusterFile,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The thing that was looked at, in a word or two.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, in a sentence.
    pub what: String,
    /// What to do about it.
    pub cure: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it must be.
    Good,
    /// Worth to know, and in nothing's way.
    Note,
    /// `ray up` cannot work.
    Bad,
}

impl Finding {
    /// What was found, and what to do about it.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.cure {
            Some(cure) => format!("{}; {cure}", self.what),
            None => self.what.clone(),
        }
    }

    fn good(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, what: what.into(), cure: None }
    }

    fn note(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Note, what: what.into(), cure: None }
    }

    fn bad(name: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Bad, what: what.into(), cure: Some(cure.into()) }
    }
}

/// What can be looked at in no time, without a question to anything but this machine.
pub async fn quick(scene: &Scene) -> Vec<Finding> {
    let (programs, daemon, port) =
        join!(programs::check(scene), daemon::check(scene, false), port::check(scene),);
    [programs, daemon, port, data::check(scene)].concat()
}

/// Everything.
pub async fn whole(scene: &Scene) -> Vec<Finding> {
    let (programs, daemon, port, ray, image, namespaces) = join!(
        programs::check(scene),
        daemon::check(scene, true),
        port::check(scene),
        ray::check(scene),
        image::check(scene),
        namespaces::check(),
    );
    let (data, proxies) = (data::check(scene), proxies::check(scene));
    [programs, daemon, port, data, ray, image, proxies, namespaces].concat()
}
