//! Key pairs: one for each cluster, or one of the user's own.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
use thiserror::Error;

use crate::{core::cluster::plan::ClusterName, files};

/// How much of the digest of a cluster's name is in the name of its key.
const DIGEST_LENGTH: usize = 10;

/// A key pair and the file that it is kept in. Debug output never shows the private half.
#[derive(Clone)]
pub struct KeyPair(Arc<Inner>);

struct Inner {
    path: PathBuf,
    private_text: String,
    public_line: String,
    key: Arc<PrivateKey>,
}

/// Why there is no key pair.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The disk, or the permissions.
    #[error("cannot {doing} the key `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file has something else.
    #[error("`{}` is no private key that ssh understands: {why}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key has a passphrase.
    #[error(
        "the key `{}` has a passphrase; choose one without in `ssh_private_key`", path.display()
    )]
    Encrypted {
        /// Which file.
        path: PathBuf,
    },
    /// The system gave no key.
    #[error("cannot make a key: {0}")]
    NotMade(String),
}

impl KeyPair {
    /// The key pair of a cluster that has none of the user's own. It is made, as ed25519, if the data
    /// directory has none: `DATA/ray_on_golem_rsa_<digest of the name>` and `.pub`, the names that
    /// users' scripts know. An RSA key that stands there from earlier goes on to be used.
    ///
    /// # Errors
    ///
    /// If the file cannot be used, or not be written.
    pub fn of_cluster(data: &Path, cluster: &ClusterName) -> Result<Self, KeyError> {
        let path = data.join(file_name(cluster));
        match fs::read_to_string(&path) {
            Ok(text) => Self::take(path, text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(source) => Err(KeyError::Io { doing: "read", path, source }),
        }
    }

    /// A key pair of the user's own, from the file of its private half.
    ///
    /// # Errors
    ///
    /// If the file cannot be used.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let path = path.to_owned();
        match fs::read_to_string(&path) {
            Ok(text) => Self::take(path, text),
            Err(source) => Err(KeyError::Io { doing: "read", path, source }),
        }
    }

    /// The file of the private half.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The private half as the file has it; it must not be logged.
    #[must_use]
    pub fn private_text(&self) -> &str {
        &self.0.private_text
    }

    /// The public half as one line of `authorized_keys`, without its end.
    #[must_use]
    pub fn public_line(&self) -> &str {
        &self.0.public_line
    }

    pub(super) fn key(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.0.key)
    }

    fn make(path: PathBuf) -> Result<Self, KeyError> {
        let made = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519);
        let mut key = made.map_err(|error| KeyError::NotMade(error.to_string()))?;
        key.set_comment("ray-on-golem");
        let text =
            key.to_openssh(LineEnding::LF).map_err(|error| KeyError::NotMade(error.to_string()))?;
        let pair = Self::take(path, text.to_string())?;
        let io = |doing| {
            let path = pair.0.path.clone();
            move |source| KeyError::Io { doing, path, source }
        };
        // The private half is last: where it is, the pair is whole.
        let public = format!("{}\n", pair.0.public_line);
        files::replace(&pair.0.path.with_extension("pub"), public.as_bytes(), 0o644)
            .map_err(io("write the public half of"))?;
        files::replace(&pair.0.path, pair.0.private_text.as_bytes(), 0o600).map_err(io("write"))?;
        Ok(pair)
    }

    fn take(path: PathBuf, private_text: String) -> Result<Self, KeyError> {
        let key = match russh::keys::decode_secret_key(&private_text, None) {
            Ok(key) => key,
            Err(russh::keys::Error::KeyIsEncrypted) => return Err(KeyError::Encrypted { path }),
            Err(error) => return Err(KeyError::Unreadable { path, why: error.to_string() }),
        };
        if key.is_encrypted() {
            return Err(KeyError::Encrypted { path });
        }
        let public_line = key
            .public_key()
            .to_openssh()
            .map_err(|error| KeyError::Unreadable { path: path.clone(), why: error.to_string() })?;
        Ok(Self(Arc::new(Inner { path, private_text, public_line, key: Arc::new(key) })))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({}, {})", self.0.path.display(), self.0.public_line)
    }
}

/// The name of the reference, whatever the kind of the key.
fn file_name(cluster: &ClusterName) -> String {
    let digest = format!("{:x}", md5::compute(cluster.as_str()));
    format!("ray_on_golem_rsa_{}", &digest[..DIGEST_LENGTH])
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{KeyError, KeyPair, file_name};

    #[test]
    fn a_cluster_keeps_its_key() {
        let data = tempfile::tempdir().expect("a directory");
        let cluster = "golem-cluster".into();

        let made = KeyPair::of_cluster(data.path(), &cluster).expect("a new key");
        let read = KeyPair::of_cluster(data.path(), &cluster).expect("the same key");

        assert_eq!(made.private_text(), read.private_text());
        assert_eq!(made.public_line(), read.public_line());
        assert!(made.public_line().starts_with("ssh-ed25519 "), "{}", made.public_line());
        let mode = fs::metadata(made.path()).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = fs::read_to_string(made.path().with_extension("pub")).expect("the file");
        assert_eq!(public, format!("{}\n", made.public_line()));
        let other = KeyPair::of_cluster(data.path(), &"other".into()).expect("another key");
        assert_ne!(other.public_line(), made.public_line());
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn the_name_of_the_file_is_the_one_that_users_know() {
        // The first ten digits of the MD5 digest of `golem-cluster`.
        assert_eq!(file_name(&"golem-cluster".into()), "ray_on_golem_rsa_2b6976a4b5");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let data = tempfile::tempdir().expect("a directory");
        let path = data.path().join("key");
        fs::write(&path, "nothing").expect("a writable directory");

        assert!(matches!(KeyPair::read(&path), Err(KeyError::Unreadable { .. })));
        assert!(matches!(KeyPair::read(&data.path().join("none")), Err(KeyError::Io { .. })));
    }
}
