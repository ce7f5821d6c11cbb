//! `ray-on-golem ssh-proxy`: joins its input and output with a node's ssh service.
//!
//! ssh starts it as its `ProxyCommand` ([`super::proxy_command`]). It learns the way from the file that
//! the webserver keeps ([`Access`]), so that its arguments are no secret.
//!
//! A network of the daemon is reached through the daemon, one of our own through the webserver, which has it
//! ([`Knock`]).
//!
//! It ends when the node ends the connection, or when nobody reads what it writes. When its input ends
//! it sends the rest. A node of a network of our own hears of that end; to one of the daemon's the websocket
//! has no half-close by which it could be told, so what it writes is waited for until it has been silent for
//! [`LINGER`].

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
    time::timeout,
};

use super::access::{Access, AccessError};
use crate::{
    core::{cluster::plan::ClusterName, ids::NodeId},
    network::{self, DoorError, Knock},
    units::Span,
    yagna::{
        NetworkId, NetworkPath,
        vpn::{BUFFER, Vpn, VpnError},
    },
};

/// How long a connection to a node may take.
pub const PATIENCE: Span = Span::secs(30);

/// How long a node may be silent after the input has ended.
pub const LINGER: Span = Span::secs(10);

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The data directory of the webserver.
    pub data: PathBuf,
    /// The cluster.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeId,
    /// The port.
    pub port: u16,
}

/// Why the two could not be joined, or were parted.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The way is not known.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// There is no connection.
    #[error(transparent)]
    Vpn(#[from] VpnError),
    /// The webserver has no connection for us, or it broke.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The connection broke.
    #[error("{0}")]
    Broken(io::Error),
}

/// Joins `input` and `output` with a node until one of them is gone.
///
/// # Errors
///
/// If the node cannot be reached, or the connection breaks.
pub async fn run(
    destination: &Destination,
    input: impl AsyncRead,
    output: impl AsyncWrite,
) -> Result<(), ProxyError> {
    let Destination { data, cluster, node, port } = destination;
    let access = Access::load(data, cluster)?;
    let unknown = || AccessError::NoNode { cluster: cluster.clone(), node: *node };
    let lost = || AccessError::NoNetwork { cluster: cluster.clone() };
    let ip = access.nodes.get(node).ok_or_else(unknown)?.ip;
    let network = access.network.ok_or_else(lost)?;
    match access.path {
        NetworkPath::Bus => {
            let knock = Knock { network, ip, port: *port };
            Ok(knock.join(data, input, output, LINGER).await?)
        }
        NetworkPath::Daemon => {
            let vpn = Vpn::at(&access.net, access.app_key)?;
            let stream = vpn.connect(&network, ip, *port, PATIENCE).await?;
            tokio::select! {
                ended = join(stream, input, output, LINGER) => ended.map_err(ProxyError::Broken),
                never = counted(data, network) => match never {},
            }
        }
    }
}

/// Has the webserver know of a connection that goes through the daemon. What it is good for does not depend on that.
async fn counted(data: &Path, network: NetworkId) -> Infallible {
    let _socket = network::count(data, network).await;
    std::future::pending().await
}

/// Moves bytes both ways until `stream` or the reader of `output` is gone, or until `stream` was silent
/// for `linger` after the end of `input`.
///
/// # Errors
///
/// If `stream` breaks, or `input` cannot be read.
pub async fn join(
    stream: impl AsyncRead + AsyncWrite,
    input: impl AsyncRead,
    output: impl AsyncWrite,
    linger: Span,
) -> io::Result<()> {
    let (from, mut to) = tokio::io::split(stream);
    let has_ended = Notify::new();
    let mut up = pin!(async {
        let mut input = pin!(input);
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = input.read(&mut buffer).await?;
            // Who does not take any more still may have sent something.
            if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
        // It may be shut already.
        let _ = to.shutdown().await;
        has_ended.notify_one();
        std::future::pending::<io::Result<()>>().await
    });
    let mut down = pin!(async {
        let mut from = pin!(from);
        let mut output = pin!(output);
        let mut buffer = vec![0; BUFFER];
        let mut is_lingering = false;
        loop {
            let read = async {
                if is_lingering {
                    let patience = Duration::from_micros(linger.as_micros());
                    timeout(patience, from.read(&mut buffer)).await.unwrap_or(Ok(0))
                } else {
                    from.read(&mut buffer).await
                }
            };
            let length = tokio::select! {
                length = read => length?,
                () = has_ended.notified(), if !is_lingering => {
                    is_lingering = true;
                    continue;
                }
            };
            if length == 0 {
                return Ok(());
            }
            let written = async {
                output.write_all(&buffer[..length]).await?;
                output.flush().await
            };
            // Nobody reads any more, which ends the matter.
            if written.await.is_err() {
                return Ok(());
            }
        }
    });
    tokio::select! {
        ended = &mut up => ended,
        ended = &mut down => ended,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{
        AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf, duplex, empty, sink,
    };

    use super::join;
    use crate::units::Span;

    const LONG: Span = Span::hours(1);

    #[tokio::test]
    async fn it_ends_when_the_node_does() {
        let (near, mut far) = duplex(64);
        // The input never ends.
        let (_open, input) = duplex(64);
        let (output, mut written) = duplex(64);
        let node = async {
            far.write_all(b"bye").await.expect("somebody listens");
            drop(far);
        };

        let (ended, ()) = tokio::join!(join(near, input, output, LONG), node);

        ended.expect("a good end");
        let mut text = String::new();
        written.read_to_string(&mut text).await.expect("it was written");
        assert_eq!(text, "bye");
    }

    #[tokio::test]
    async fn it_sends_all_and_writes_what_comes_after_the_end_of_its_input() {
        let (near, mut far) = duplex(64);
        let (output, mut written) = duplex(64);
        let node = async {
            let mut question = Vec::new();
            far.read_to_end(&mut question).await.expect("the input ends");
            far.write_all(&question).await.expect("somebody listens");
            drop(far);
        };

        let (ended, ()) = tokio::join!(join(near, &b"question"[..], output, LONG), node);

        ended.expect("a good end");
        let mut text = String::new();
        written.read_to_string(&mut text).await.expect("it was written");
        assert_eq!(text, "question");
    }

    #[tokio::test]
    async fn a_node_that_is_silent_after_the_end_of_the_input_is_left() {
        let (near, _far) = duplex(64);

        join(near, empty(), Vec::new(), Span::millis(1)).await.expect("it ends");
    }

    #[tokio::test]
    async fn it_ends_when_nobody_reads() {
        let (near, mut far) = duplex(64);
        let (_open, input) = duplex(64);
        let (output, written) = duplex(64);
        drop(written);
        far.write_all(b"hello").await.expect("there is room");

        join(near, input, output, LONG).await.expect("nobody is left to tell of a failure");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_an_error() {
        let stream = tokio::io::join(Broken, sink());
        let (_open, input) = duplex(64);

        let error = join(stream, input, Vec::new(), LONG).await.expect_err("it broke");

        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    /// What cannot be read.
    struct Broken;

    impl AsyncRead for Broken {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }
}
