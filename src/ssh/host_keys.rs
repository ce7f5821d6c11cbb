//! Host keys: each node of a cluster keeps the one that it told of when it came up, or was first seen with.
//!
//! The file is one of OpenSSH's `known_hosts`, so that a user's own ssh can be told to check the same
//! keys: `-o UserKnownHostsFile=DATA/known_hosts/CLUSTER -o StrictHostKeyChecking=yes`. A line is an
//! address, a key, and the node that had that address then. Addresses are used again: a line of
//! another node says nothing about the one that has the address now, and goes when that one is seen.

use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use russh::keys::PublicKey;
use thiserror::Error;

use crate::{
    core::{cluster::plan::ClusterName, ids::NodeId},
    files,
};

const DIRECTORY: &str = "known_hosts";

/// The host keys of one cluster's nodes, in memory and in the data directory.
#[derive(Clone, Debug)]
pub struct HostKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    pins: Mutex<BTreeMap<NodeId, Pin>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pin {
    ip: Ipv4Addr,
    key: PublicKey,
}

/// Why host keys are of no use.
#[derive(Debug, Error)]
pub enum HostKeysError {
    /// The disk, or the permissions.
    #[error("cannot {doing} the host keys `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is not understood.
    #[error(
        "`{}`, line {line}, is no host key; remove the line, and the node's key is taken as it is \
         seen next", path.display()
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// What was supplied is no key.
    #[error("what is said to be the host key of {node} is none: {why}")]
    NoKey {
        /// The node.
        node: NodeId,
        /// What is wrong.
        why: String,
    },
}

impl HostKeys {
    /// The host keys of a cluster, as they were when the file was last written.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be used.
    pub fn open(data: &Path, cluster: &ClusterName) -> Result<Self, HostKeysError> {
        let path = files::of_cluster(&data.join(DIRECTORY), cluster, "");
        let pins = match fs::read_to_string(&path) {
            Ok(text) => read(&text)
                .map_err(|line| HostKeysError::Unreadable { path: path.clone(), line })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(HostKeysError::Io { doing: "read", path, source }),
        };
        Ok(Self(Arc::new(Inner { path, pins: Mutex::new(pins) })))
    }

    /// The file, in the form of OpenSSH's `known_hosts`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Takes the host key of a node that is known from elsewhere, such as a line of its
    /// `/etc/ssh/ssh_host_ed25519_key.pub`.
    ///
    /// # Errors
    ///
    /// If `line` is no public key, or the file cannot be written.
    pub fn supply(&self, node: NodeId, ip: Ipv4Addr, line: &str) -> Result<(), HostKeysError> {
        let key = PublicKey::from_openssh(line.trim())
            .map_err(|error| HostKeysError::NoKey { node, why: error.to_string() })?;
        self.pin(node, ip, &key)
    }

    /// Forgets a node that is over.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn forget(&self, node: NodeId) -> Result<(), HostKeysError> {
        let mut pins = self.pins();
        if pins.remove(&node).is_none() {
            return Ok(());
        }
        self.write(&pins)
    }

    /// The key that the node must have, if it is known.
    pub(super) fn of(&self, node: NodeId) -> Option<PublicKey> {
        self.pins().get(&node).map(|pin| pin.key.clone())
    }

    /// From now on the node must have this key.
    pub(super) fn pin(
        &self,
        node: NodeId,
        ip: Ipv4Addr,
        key: &PublicKey,
    ) -> Result<(), HostKeysError> {
        let mut pins = self.pins();
        let pin = Pin { ip, key: bare(key) };
        if pins.get(&node) == Some(&pin) {
            return Ok(());
        }
        pins.retain(|_, old| old.ip != ip);
        pins.insert(node, pin);
        self.write(&pins)
    }

    fn pins(&self) -> MutexGuard<'_, BTreeMap<NodeId, Pin>> {
        self.0.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, pins: &BTreeMap<NodeId, Pin>) -> Result<(), HostKeysError> {
        let path = &self.0.path;
        let written = if pins.is_empty() {
            files::remove(path)
        } else {
            files::replace(path, text(pins)?.as_bytes(), 0o600)
        };
        written.map_err(|source| HostKeysError::Io { doing: "write", path: path.clone(), source })
    }
}

fn text(pins: &BTreeMap<NodeId, Pin>) -> Result<String, HostKeysError> {
    let mut text = String::new();
    for (node, Pin { ip, key }) in pins {
        let key = key
            .to_openssh()
            .map_err(|error| HostKeysError::NoKey { node: *node, why: error.to_string() })?;
        text.push_str(&format!("{ip} {key} {node}\n"));
    }
    Ok(text)
}

/// The pins of a file, or the line that is none.
fn read(text: &str) -> Result<BTreeMap<NodeId, Pin>, usize> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| read_line(line).ok_or(index + 1)).collect()
}

fn read_line(line: &str) -> Option<(NodeId, Pin)> {
    let mut words = line.split_whitespace();
    let ip = words.next()?.parse().ok()?;
    let (kind, encoded) = (words.next()?, words.next()?);
    let key = PublicKey::from_openssh(&format!("{kind} {encoded}")).ok()?;
    let node = words.next()?.parse().ok()?;
    words.next().is_none().then_some((node, Pin { ip, key }))
}

/// Without the comment, which a connection does not carry.
fn bare(key: &PublicKey) -> PublicKey {
    PublicKey::from(key.key_data().clone())
}

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr};

    use super::{HostKeys, HostKeysError};
    use crate::core::ids::NodeId;

    const ONE: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio root@one";
    const TWO: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti root@two";
    const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);

    #[test]
    fn a_node_keeps_its_key_and_its_address_gets_the_next_one() {
        let data = tempfile::tempdir().expect("a directory");
        let open = || HostKeys::open(data.path(), &"x".into()).expect("a file of ours");
        let keys = open();
        keys.supply(NodeId(0), IP, ONE).expect("a key");
        let again = open();

        assert_eq!(again.of(NodeId(0)), keys.of(NodeId(0)));
        assert!(again.of(NodeId(0)).is_some());
        let text = fs::read_to_string(keys.path()).expect("the file");
        let line = ONE.rsplit_once(' ').expect("a comment").0;
        assert_eq!(text, format!("192.168.0.3 {line} node0\n"));

        keys.supply(NodeId(4), IP, TWO).expect("a key");
        assert_eq!(open().of(NodeId(0)), None);
        keys.forget(NodeId(4)).expect("a writable directory");
        assert!(!keys.path().exists());
    }

    #[test]
    fn a_file_that_is_damaged_is_refused_by_its_line() {
        let data = tempfile::tempdir().expect("a directory");
        let keys = HostKeys::open(data.path(), &"x".into()).expect("no file");
        keys.supply(NodeId(0), IP, ONE).expect("a key");
        let text = fs::read_to_string(keys.path()).expect("the file");
        fs::write(keys.path(), format!("{text}192.168.0.4 ssh-ed25519 AAAA node1\n"))
            .expect("a writable directory");

        let error = HostKeys::open(data.path(), &"x".into()).expect_err("a bad line");

        assert!(matches!(error, HostKeysError::Unreadable { line: 2, .. }), "{error}");
        assert!(matches!(keys.supply(NodeId(1), IP, "x"), Err(HostKeysError::NoKey { .. })));
    }
}
