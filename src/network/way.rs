//! The way to a node, whichever network it is in.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    pin::Pin,
    task::{Context, Poll},
};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    service::{NetworkError, Networks},
    stream::{Cord, NodeStream},
};
use crate::{
    units::Span,
    yagna::{NetworkId, NetworkPath, Vpn, VpnError, VpnStream, vpn},
};

/// The ways to nodes: our own TCP for networks of our own, the daemon's for those of the daemon.
#[derive(Clone, Debug)]
pub struct Ways {
    vpn: Vpn,
    networks: Option<Networks>,
}

/// A TCP connection to a node.
#[derive(Debug)]
pub enum WayStream {
    /// Through the daemon.
    Daemon(VpnStream),
    /// Over the bus.
    Bus(NodeStream),
}

/// Cuts a connection at once when it is dropped, whoever has the stream.
#[derive(Debug)]
pub struct Leash(Inner);

#[derive(Debug)]
enum Inner {
    Daemon(vpn::Leash),
    Bus(Cord),
}

/// Why there is no connection to a node.
#[derive(Debug, Error)]
pub enum WayError {
    /// Through the daemon.
    #[error(transparent)]
    Daemon(#[from] VpnError),
    /// Over the bus.
    #[error(transparent)]
    Bus(#[from] NetworkError),
}

impl Ways {
    /// The ways through the daemon, and to the nodes of `networks`.
    #[must_use]
    pub const fn new(vpn: Vpn, networks: Option<Networks>) -> Self {
        Self { vpn, networks }
    }

    /// The networks of our own, if `network` is one of them.
    #[must_use]
    pub fn own(&self, network: &NetworkId) -> Option<&Networks> {
        self.networks.as_ref().filter(|networks| networks.has(network))
    }

    /// What leads into a network.
    #[must_use]
    pub fn path(&self, network: Option<&NetworkId>) -> NetworkPath {
        match network.and_then(|network| self.own(network)) {
            Some(_) => NetworkPath::Bus,
            None => NetworkPath::Daemon,
        }
    }

    /// Connects to `port` of the node at `ip`, but waits no longer than `patience`.
    ///
    /// # Errors
    ///
    /// If the daemon or the node does not answer, or refuses.
    pub async fn connect(
        &self,
        network: &NetworkId,
        ip: Ipv4Addr,
        port: u16,
        patience: Span,
    ) -> Result<WayStream, WayError> {
        match self.own(network) {
            Some(own) => {
                let stream = own.connect(network, SocketAddrV4::new(ip, port), patience).await?;
                Ok(WayStream::Bus(stream))
            }
            None => Ok(WayStream::Daemon(self.vpn.connect(network, ip, port, patience).await?)),
        }
    }
}

impl From<Vpn> for Ways {
    fn from(vpn: Vpn) -> Self {
        Self::new(vpn, None)
    }
}

impl WayStream {
    /// Something that cuts this connection when it is dropped.
    #[must_use]
    pub fn leash(&self) -> Leash {
        Leash(match self {
            Self::Daemon(stream) => Inner::Daemon(stream.leash()),
            Self::Bus(stream) => Inner::Bus(stream.cord()),
        })
    }
}

impl Leash {
    /// Lets the connection end as it likes.
    pub fn release(self) {
        match self.0 {
            Inner::Daemon(leash) => leash.release(),
            Inner::Bus(cord) => cord.release(),
        }
    }
}

impl AsyncRead for WayStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Daemon(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Bus(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for WayStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Daemon(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Bus(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Daemon(stream) => Pin::new(stream).poll_flush(cx),
            Self::Bus(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Daemon(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Bus(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
