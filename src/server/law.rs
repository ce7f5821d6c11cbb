//! What the user has said of a cluster that is to begin, in `DATA/clusters/NAME.law.json`.
//!
//! `ray up` has the whole cluster file looked at before it asks for the first node. What it says of workers is kept from
//! there until the cluster begins, which then has it in its journal. A client that has no file looked at, as the Python
//! original, leaves no law.

use std::{fs, io, path::Path};

use crate::{
    core::cluster::{law::Law, plan::ClusterName},
    files,
};

const DIRECTORY: &str = "clusters";
const EXTENSION: &str = ".law.json";

/// Keeps what is said now, in place of what was said before.
///
/// # Errors
///
/// If the disk fails.
pub(super) fn save(data: &Path, name: &ClusterName, law: &Law) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(law).map_err(io::Error::other)?;
    files::replace(&files::of_cluster(&data.join(DIRECTORY), name, EXTENSION), &text, 0o600)
}

/// What was said, if anything was.
///
/// # Errors
///
/// If it cannot be read.
pub(super) fn load(data: &Path, name: &ClusterName) -> io::Result<Option<Law>> {
    match fs::read(files::of_cluster(&data.join(DIRECTORY), name, EXTENSION)) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
