//! A connection to a node over a network of our own.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::live::Shared;
use crate::tcp::{Broken, ConnectionId};

/// A TCP connection to a node. The ends of both directions are passed on. Dropped before both have ended, it is
/// reset at the node.
#[derive(Debug)]
pub struct NodeStream {
    shared: Arc<Shared>,
    id: ConnectionId,
}

/// Resets a connection when it is dropped.
#[derive(Debug)]
pub(super) struct Cord(Option<(Arc<Shared>, ConnectionId)>);

impl NodeStream {
    pub(super) const fn new(shared: Arc<Shared>, id: ConnectionId) -> Self {
        Self { shared, id }
    }

    pub(super) fn cord(&self) -> Cord {
        Cord(Some((Arc::clone(&self.shared), self.id)))
    }
}

impl Cord {
    pub(super) fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Cord {
    fn drop(&mut self) {
        if let Some((shared, id)) = self.0.take() {
            shared.with(|stack| stack.leave(id));
        }
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let unfilled = buf.initialize_unfilled();
        let read = self.shared.with(|stack| stack.poll_read(self.id, unfilled, cx));
        let length = ready!(read).map_err(broken)?;
        buf.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.shared.with(|stack| stack.poll_write(self.id, bytes, cx)).map_err(broken)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is sent without waiting for more.
        Poll::Ready(Ok(()))
    }

    /// Is done when the node has all that was written.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.with(|stack| stack.poll_shutdown(self.id, cx)).map_err(broken)
    }
}

impl Drop for NodeStream {
    fn drop(&mut self) {
        self.shared.with(|stack| stack.leave(self.id));
    }
}

fn broken(broken: Broken) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, broken)
}
