//! What the shell must remember of a cluster, beside the journal: how to log in to its nodes, and which
//! local ports lead to its head. Nothing that the machine decides by.
//!
//! `DATA/clusters/NAME.json`, its name as `files::of_cluster` makes it of the cluster's.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{config::NodesRequest, core::cluster::plan::ClusterName, files};

const DIRECTORY: &str = "clusters";
const EXTENSION: &str = ".json";

/// How to reach a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// The user on the nodes.
    pub ssh_user: String,
    /// The file of the private key, if the user has one of their own.
    pub ssh_private_key: Option<PathBuf>,
    /// The local port that leads to the head's GCS, if there is to be one.
    pub ray_gcs_expose_port: Option<u16>,
    /// The port on the head that leads to the webserver.
    pub webserver_port: u16,
}

impl ClusterSettings {
    /// What a request says.
    #[must_use]
    pub fn of(request: &NodesRequest, ssh_private_key: Option<PathBuf>) -> Self {
        Self {
            ssh_user: request.ssh_user.clone(),
            ssh_private_key,
            ray_gcs_expose_port: request.parameters.ray_gcs_expose_port,
            webserver_port: request.parameters.webserver_port,
        }
    }

    /// Writes the file, in one step.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn save(&self, data: &Path, name: &ClusterName) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        files::replace(&path(data, name), &text, 0o600)
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// If there is none, or it is not understood.
    pub fn load(data: &Path, name: &ClusterName) -> io::Result<Self> {
        let text = fs::read(path(data, name))?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }
}

fn path(data: &Path, name: &ClusterName) -> PathBuf {
    files::of_cluster(&data.join(DIRECTORY), name, EXTENSION)
}

#[cfg(test)]
mod tests {
    use super::ClusterSettings;

    #[test]
    fn what_is_saved_is_loaded_whatever_the_name() {
        let data = tempfile::tempdir().expect("a directory");
        let settings = ClusterSettings {
            ssh_user: "root".to_owned(),
            ssh_private_key: Some("/k".into()),
            ray_gcs_expose_port: None,
            webserver_port: 4578,
        };
        for name in ["golem-cluster", "../up", "a b/ü", &"long".repeat(99)] {
            settings.save(data.path(), &name.into()).expect("a writable directory");

            let loaded = ClusterSettings::load(data.path(), &name.into());
            assert_eq!(loaded.expect("the file"), settings, "{name}");
        }
        assert!(ClusterSettings::load(data.path(), &"other".into()).is_err());
    }
}
