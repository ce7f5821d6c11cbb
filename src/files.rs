//! Files of the data directory: whole or not at all, and for the user alone.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::core::cluster::plan::ClusterName;

/// The longest name of a cluster that is a file name as it is.
const NAME_LENGTH_MAX: usize = 120;

/// Puts `bytes` at `path` in one step: who reads sees the old file or the new one. Its directory is
/// made if need be.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    make_private(parent)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = path.with_file_name(name);
    let written = write(&draft, bytes, mode).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // It may not be there.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Makes a directory, with those above it, for the user alone.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The file of a cluster in `directory`. Names that could mean something to a file system are written
/// with `%` and hexadecimal digits, long and empty ones as a digest.
pub(crate) fn of_cluster(directory: &Path, cluster: &ClusterName, extension: &str) -> PathBuf {
    let mut name = String::new();
    for byte in cluster.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.is_empty() || name.len() > NAME_LENGTH_MAX {
        name = format!("%{:x}", md5::compute(cluster.as_str()));
    }
    directory.join(format!("{name}{extension}"))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A draft that a crash left behind may have another mode.
    remove(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::{of_cluster, replace};

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let data = tempfile::tempdir().expect("a directory");
        let path = data.path().join("below/file");
        for text in ["one", "two"] {
            replace(&path, text.as_bytes(), 0o600).expect("a writable directory");

            assert_eq!(fs::read_to_string(&path).expect("the file"), text);
        }
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(data.path().join("below")).expect("it is there").count(), 1);
    }

    #[test]
    fn a_cluster_cannot_name_the_file_of_another_one() {
        let file = |name: &str| of_cluster(Path::new("d"), &name.into(), ".json");
        let long = "x".repeat(300);

        assert_eq!(file("golem-cluster_1"), Path::new("d/golem-cluster_1.json"));
        assert_eq!(file("../a b"), Path::new("d/%2E%2E%2Fa%20b.json"));
        assert!(file(&long).as_os_str().len() < 60);
        assert_ne!(file(&long), file(&"x".repeat(301)));
        assert_eq!(file(""), Path::new("d/%d41d8cd98f00b204e9800998ecf8427e.json"));
    }
}
