//! A connection to a node over a network of our own.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::end::End;
use crate::tcp::{Broken, ConnectionId};

/// A TCP connection to a node. The ends of both directions are passed on. Dropped before both have ended, it is
/// reset at the node.
#[derive(Debug)]
pub struct NodeStream {
    end: Arc<End>,
    id: ConnectionId,
}

/// Resets a connection when it is dropped.
#[derive(Debug)]
pub(super) struct Cord(Option<(Arc<End>, ConnectionId)>);

impl NodeStream {
    pub(super) const fn new(end: Arc<End>, id: ConnectionId) -> Self {
        Self { end, id }
    }

    /// Waits until the connection is made.
    ///
    /// # Errors
    ///
    /// If the other end refuses it.
    pub async fn made(&self) -> Result<(), Broken> {
        std::future::poll_fn(|cx| self.end.lock().poll_connected(self.id, cx)).await
    }

    pub(super) fn cord(&self) -> Cord {
        Cord(Some((Arc::clone(&self.end), self.id)))
    }
}

impl Cord {
    pub(super) fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Cord {
    fn drop(&mut self) {
        if let Some((end, id)) = self.0.take() {
            end.with(|stack| stack.leave(id));
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
        // Most reads change nothing that the node is to hear of, and the driver is not woken for them.
        let read = self.end.with_if(|stack| {
            let is_crowded = stack.is_crowded(self.id);
            (stack.poll_read(self.id, unfilled, cx), is_crowded)
        });
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
        self.end.with(|stack| stack.poll_write(self.id, bytes, cx)).map_err(broken)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is sent without waiting for more.
        Poll::Ready(Ok(()))
    }

    /// Is done when the node has all that was written.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.with(|stack| stack.poll_shutdown(self.id, cx)).map_err(broken)
    }
}

impl Drop for NodeStream {
    fn drop(&mut self) {
        self.end.with(|stack| stack.leave(self.id));
    }
}

fn broken(broken: Broken) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, broken)
}
