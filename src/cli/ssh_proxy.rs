//! `ssh-proxy`: what ssh runs to reach a node.

use std::{
    fs::File,
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll, ready},
};

use clap::Args;
use tokio::{
    io::{AsyncWrite, Stdout},
    runtime,
};

use super::{error::CliError, surroundings};
use crate::{
    core::{cluster::plan::ClusterName, ids::NodeId},
    network::DoorError,
    ssh::{
        AccessError,
        proxy::{self, Destination, ProxyError},
    },
};

/// The options of `ssh-proxy`.
#[derive(Debug, Args)]
pub struct SshProxy {
    /// The cluster's name.
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    cluster: String,
    /// The node, such as `node0`.
    #[arg(long, value_name = "ID", value_parser = node)]
    node: NodeId,
    /// The port on the node.
    #[arg(long, default_value_t = 22)]
    port: u16,
    /// Ray on Golem's data directory. By default, uses a system data directory.
    #[arg(long, value_name = "PATH")]
    datadir: Option<PathBuf>,
}

impl SshProxy {
    pub(super) fn run(self) -> Result<(), CliError> {
        let destination = Destination {
            data: surroundings::data_directory(self.datadir)?,
            cluster: ClusterName::from(self.cluster.as_str()),
            node: self.node,
            port: self.port,
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let joined = runtime.block_on(proxy::run(
            &destination,
            tokio::io::stdin(),
            Output(tokio::io::stdout()),
        ));
        // A thread may still wait for input that does not come.
        runtime.shutdown_background();
        Ok(joined?)
    }
}

/// Our output; it can be closed before we end, so that ssh, which reads it, sees that the node has ended its direction.
struct Output(Stdout);

impl AsyncWrite for Output {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_flush(cx))?;
        let nothing = File::options().write(true).open("/dev/null")?;
        Poll::Ready(rustix::stdio::dup2_stdout(nothing).map_err(Into::into))
    }
}

impl From<ProxyError> for CliError {
    fn from(error: ProxyError) -> Self {
        let hint = match &error {
            ProxyError::Access(AccessError::NoCluster { .. }) => {
                "`ray-on-golem status` shows the clusters and the data directory of the webserver"
            }
            ProxyError::Access(AccessError::NoNode { .. }) => {
                "`ray-on-golem status` shows the nodes"
            }
            ProxyError::Access(AccessError::NoNetwork { .. }) => "start the cluster anew",
            ProxyError::Access(AccessError::Io { .. } | AccessError::Unreadable { .. }) => {
                "run it as the user that the webserver runs as"
            }
            ProxyError::Door(DoorError::NoWebserver { .. }) => {
                "`ray-on-golem start` starts it, and it goes on with the clusters that there are"
            }
            ProxyError::Door(DoorError::Io { .. }) => {
                "run it as the user that the webserver runs as"
            }
            ProxyError::Door(DoorError::Refused(_) | DoorError::Broken(_))
            | ProxyError::Vpn(_)
            | ProxyError::Broken(_) => {
                "`ray-on-golem status` shows whether the daemon and the node are well"
            }
        };
        Self::Environment { what: error.to_string(), hint: hint.to_owned() }
    }
}

fn node(text: &str) -> Result<NodeId, String> {
    text.parse().map_err(|()| "write the id of a node, such as `node0`".to_owned())
}
