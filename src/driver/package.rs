//! Ray's node provider, as it is brought to a head: no image has to carry it.

use crate::ssh::Upload;

/// Where the package goes on a head.
const DIRECTORY: &str = "/opt/ray_on_golem";

/// Makes the package importable for the head's Python, before any that the image has.
pub(super) const INSTALL: &str = "set -e
packages=$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')
echo 'import sys; sys.path.insert(0, \"/opt/ray_on_golem\")' > \"$packages/ray_on_golem.pth\"";

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../python/ray_on_golem/", $name)))
    };
}

/// The files of the package: their names, and what they say.
const FILES: &[(&str, &str)] = &[
    file!("__init__.py"),
    file!("client.py"),
    file!("cluster_file.py"),
    file!("errors.py"),
    file!("file_check.py"),
    file!("messages.py"),
    file!("misnamed.py"),
    file!("plain_path.py"),
    file!("preflight.py"),
    file!("proof.py"),
    file!("provider/__init__.py"),
    file!("provider/command_runner.py"),
    file!("provider/invocation.py"),
    file!("provider/launch.py"),
    file!("provider/load.py"),
    file!("provider/log.py"),
    file!("provider/node_provider.py"),
    file!("py.typed"),
    file!("ray_schema.py"),
    file!("snapshot.py"),
    file!("ssh_key.py"),
    file!("surroundings.py"),
    file!("transport.py"),
    file!("webserver.py"),
    file!("written.py"),
];

/// What is to be brought to a head.
pub(super) fn uploads() -> impl Iterator<Item = Upload> {
    FILES.iter().map(|(name, text)| Upload {
        path: format!("{DIRECTORY}/ray_on_golem/{name}"),
        mode: 0o644,
        bytes: text.as_bytes().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::{DIRECTORY, uploads};

    /// The package's modules, by their paths below `directory`.
    fn modules(directory: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).expect("the package") {
            let entry = entry.expect("an entry of it");
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                modules(&entry.path(), &format!("{prefix}{name}/"), found);
            } else if name.ends_with(".py") {
                found.insert(format!("{DIRECTORY}/ray_on_golem/{prefix}{name}"));
            }
        }
    }

    #[test]
    fn the_whole_package_is_brought_to_heads() {
        let mut found = BTreeSet::new();
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/ray_on_golem");
        modules(&package, "", &mut found);

        let brought: BTreeSet<String> =
            uploads().map(|upload| upload.path).filter(|path| path.ends_with(".py")).collect();
        assert_eq!(brought, found);
    }
}
