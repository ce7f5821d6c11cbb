//! What `ray-on-golem ssh-proxy` needs to reach the nodes of a cluster: a file that the webserver writes
//! and only its user reads, so that no secret is in a command line.
//!
//! `DATA/proxy/CLUSTER.json`, mode 0600, its name as `files::of_cluster` makes it of the cluster's:
//!
//! ```json
//! {
//!   "version": 1,
//!   "net_url": "http://127.0.0.1:7465/net-api/v2/vpn",
//!   "app_key": "…",
//!   "path": "daemon",
//!   "network": "0123456789abcdef0123456789abcdef",
//!   "nodes": { "node0": { "ip": "192.168.0.3" } }
//! }
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use super::quote::quoted;
use crate::{
    core::{cluster::plan::ClusterName, ids::NodeId},
    files,
    yagna::{AppKey, NetworkId, NetworkPath},
};

const DIRECTORY: &str = "proxy";
const EXTENSION: &str = ".json";
const VERSION: u32 = 1;

/// The way to a cluster's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where the API of private networks is: `Endpoints::net_api`.
    pub net: Url,
    /// The key to the daemon.
    pub app_key: AppKey,
    /// What leads into the private network: over the bus it is the webserver that `ssh-proxy` asks.
    pub path: NetworkPath,
    /// The private network; none when it is lost.
    pub network: Option<NetworkId>,
    /// The nodes that have an address.
    pub nodes: BTreeMap<NodeId, NodeAccess>,
}

/// The way to one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAccess {
    /// Its address in the private network.
    pub ip: Ipv4Addr,
}

/// Why a cluster's nodes cannot be reached.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The cluster has no file.
    #[error(
        "there is no running cluster `{cluster}` in the data directory `{}`", data.display()
    )]
    NoCluster {
        /// Which cluster.
        cluster: ClusterName,
        /// Where its file was looked for.
        data: PathBuf,
    },
    /// The cluster has no such node, or the node has no address yet.
    #[error("the cluster `{cluster}` has no node `{node}` that can be reached")]
    NoNode {
        /// Which cluster.
        cluster: ClusterName,
        /// Which node.
        node: NodeId,
    },
    /// The daemon lost the private network.
    #[error(
        "the private network of the cluster `{cluster}` is lost since the daemon restarted; its \
         nodes cannot be reached by ssh any more"
    )]
    NoNetwork {
        /// Which cluster.
        cluster: ClusterName,
    },
    /// The disk, or the permissions.
    #[error("cannot {doing} `{}`", path.display())]
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
    #[error("`{}` is not understood ({why}); restart the webserver, which writes it", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    net_url: String,
    app_key: String,
    #[serde(default)]
    path: NetworkPath,
    network: Option<NetworkId>,
    nodes: BTreeMap<String, NodeAccess>,
}

impl Access {
    /// Writes the file of the cluster, in one step.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn save(&self, data: &Path, cluster: &ClusterName) -> Result<(), AccessError> {
        let nodes = self.nodes.iter().map(|(node, access)| (node.to_string(), access.clone()));
        let document = Document {
            version: VERSION,
            net_url: self.net.to_string(),
            app_key: self.app_key.as_str().to_owned(),
            path: self.path,
            network: self.network.clone(),
            nodes: nodes.collect(),
        };
        let mut text =
            serde_json::to_string_pretty(&document).expect("text and numbers are always JSON");
        text.push('\n');
        let path = path(data, cluster);
        files::replace(&path, text.as_bytes(), 0o600).map_err(|source| AccessError::Io {
            doing: "write",
            path,
            source,
        })
    }

    /// Reads the file of the cluster.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be used.
    pub fn load(data: &Path, cluster: &ClusterName) -> Result<Self, AccessError> {
        let path = path(data, cluster);
        match fs::read_to_string(&path) {
            Ok(text) => read(&text).map_err(|why| AccessError::Unreadable { path, why }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(AccessError::NoCluster { cluster: cluster.clone(), data: data.to_owned() })
            }
            Err(source) => Err(AccessError::Io { doing: "read", path, source }),
        }
    }

    /// Removes the file of a cluster that is over.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn remove(data: &Path, cluster: &ClusterName) -> Result<(), AccessError> {
        let path = path(data, cluster);
        files::remove(&path).map_err(|source| AccessError::Io { doing: "remove", path, source })
    }
}

/// The text for ssh's `ProxyCommand` that leads to a node: a line for the shell that ssh starts, in
/// which ssh replaces what stands after `%`. It has no double quotes, which `rsync -e` cannot nest.
///
/// `program` and `data` should be absolute: ssh runs it anywhere.
#[must_use]
pub fn proxy_command(
    program: &Path,
    data: &Path,
    cluster: &ClusterName,
    node: NodeId,
    port: u16,
) -> String {
    let words = [
        program.to_string_lossy().into_owned(),
        "ssh-proxy".to_owned(),
        "--cluster".to_owned(),
        cluster.to_string(),
        "--node".to_owned(),
        node.to_string(),
        "--port".to_owned(),
        port.to_string(),
        "--datadir".to_owned(),
        data.to_string_lossy().into_owned(),
    ];
    words.map(|word| quoted(&word).replace('%', "%%")).join(" ")
}

fn path(data: &Path, cluster: &ClusterName) -> PathBuf {
    files::of_cluster(&data.join(DIRECTORY), cluster, EXTENSION)
}

fn read(text: &str) -> Result<Access, String> {
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if document.version != VERSION {
        return Err(format!("version {} where {VERSION} is known", document.version));
    }
    let nodes = document.nodes.into_iter().map(|(node, access)| match node.parse() {
        Ok(node) => Ok((node, access)),
        Err(()) => Err(format!("`{node}` is no node")),
    });
    Ok(Access {
        net: document.net_url.parse().map_err(|error| format!("`net_url`: {error}"))?,
        app_key: AppKey::new(&document.app_key).map_err(|error| format!("`app_key`: {error}"))?,
        path: document.path,
        network: document.network,
        nodes: nodes.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path};

    use super::{Access, AccessError, NetworkPath, NodeAccess, path, proxy_command};
    use crate::{core::ids::NodeId, yagna::AppKey};

    #[test]
    fn what_is_saved_is_loaded_and_nobody_else_reads_it() {
        let data = tempfile::tempdir().expect("a directory");
        let cluster = "golem-cluster".into();
        let node = NodeAccess { ip: Ipv4Addr::new(192, 168, 0, 3) };
        let access = Access {
            net: "http://127.0.0.1:7465/net-api/v2/vpn".parse().expect("a literal"),
            app_key: AppKey::new("secret").expect("a word"),
            path: NetworkPath::Bus,
            network: Some("0123".into()),
            nodes: BTreeMap::from([(NodeId(11), node)]),
        };
        access.save(data.path(), &cluster).expect("a writable directory");

        assert_eq!(Access::load(data.path(), &cluster).expect("a file of ours"), access);
        let path = path(data.path(), &cluster);
        assert_eq!(path, data.path().join("proxy/golem-cluster.json"));
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        let directory = path.parent().expect("it is in one");
        assert_eq!(
            fs::metadata(directory).expect("it is there").permissions().mode() & 0o777,
            0o700
        );
        assert!(!format!("{access:?}").contains("secret"));

        Access::remove(data.path(), &cluster).expect("a writable directory");
        Access::remove(data.path(), &cluster).expect("nothing to do");
        let error = Access::load(data.path(), &cluster).expect_err("no file");
        assert!(matches!(error, AccessError::NoCluster { .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused() {
        let data = tempfile::tempdir().expect("a directory");
        let cluster = "x".into();
        let path = path(data.path(), &cluster);
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("writable");
        for (text, why) in [
            ("", "EOF"),
            (r#"{"version":2,"net_url":"","app_key":"","network":null,"nodes":{}}"#, "version 2"),
            (r#"{"version":1,"net_url":"x","app_key":"","network":null,"nodes":{}}"#, "net_url"),
        ] {
            fs::write(&path, text).expect("a writable directory");
            let error = Access::load(data.path(), &cluster).expect_err("a bad file").to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_proxy_command_survives_the_shell_and_ssh() {
        let command = |cluster: &str| {
            proxy_command(
                Path::new("/bin/rog"),
                Path::new("/da ta"),
                &cluster.into(),
                NodeId(0),
                22,
            )
        };

        assert_eq!(
            command("golem-cluster"),
            "/bin/rog ssh-proxy --cluster golem-cluster --node node0 --port 22 --datadir '/da ta'"
        );
        assert_eq!(
            command("100% 'a'"),
            r"/bin/rog ssh-proxy --cluster '100%% '\''a'\''' --node node0 --port 22 --datadir '/da ta'"
        );
    }
}
