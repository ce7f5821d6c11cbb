//! A stream that can fall silent, or break, while both ends hold it.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the streams of a switch do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flow {
    /// They carry bytes.
    #[default]
    Open,
    /// They carry nothing for now.
    Stalled,
    /// They are broken for good.
    Cut,
}

/// Turns all streams that were made with it. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub(super) struct Switch {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    flow: Flow,
    /// How many streams there ever were.
    streams: u64,
    /// The tasks to wake when the switch is turned, by stream and direction.
    sleepers: BTreeMap<(u64, Direction), Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    In,
    Out,
}

/// A stream behind a switch.
#[derive(Debug)]
pub(super) struct Switched<S> {
    stream: S,
    number: u64,
    switch: Switch,
}

impl Switch {
    /// Sets what the streams do; streams that are cut stay so.
    pub(super) fn turn(&self, flow: Flow) {
        let mut state = self.lock();
        if state.flow != Flow::Cut {
            state.flow = flow;
        }
        // Who sleeps for another reason looks once in vain, which is harmless.
        for sleeper in std::mem::take(&mut state.sleepers).into_values() {
            sleeper.wake();
        }
    }

    /// Puts a stream behind the switch.
    pub(super) fn guard<S>(&self, stream: S) -> Switched<S> {
        let mut state = self.lock();
        state.streams += 1;
        Switched { stream, number: state.streams, switch: self.clone() }
    }

    fn poll_open(
        &self,
        number: u64,
        direction: Direction,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        // A stream that waits for bytes must hear of a cut, too.
        state.sleepers.insert((number, direction), context.waker().clone());
        match state.flow {
            Flow::Open => Poll::Ready(Ok(())),
            Flow::Stalled => Poll::Pending,
            Flow::Cut => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Switched<S> {
    fn poll_open(&self, direction: Direction, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.switch.poll_open(self.number, direction, context)
    }
}

impl<S> Drop for Switched<S> {
    fn drop(&mut self) {
        let mut state = self.switch.lock();
        state.sleepers.remove(&(self.number, Direction::In));
        state.sleepers.remove(&(self.number, Direction::Out));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Switched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_open(Direction::In, context))?;
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Switched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_open(Direction::Out, context))?;
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_open(Direction::Out, context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_open(Direction::Out, context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::{Flow, Switch};

    #[tokio::test]
    async fn a_stalled_stream_goes_on_and_a_cut_one_never() {
        let switch = Switch::default();
        let (mut near, far) = duplex(64);
        let mut far = switch.guard(far);
        switch.turn(Flow::Stalled);
        near.write_all(b"late").await.expect("the pipe has room");
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 4];
            far.read_exact(&mut bytes).await.map(|_| (bytes, far))
        });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished(), "nothing is read from a stalled stream");

        switch.turn(Flow::Open);
        let (bytes, mut far) = reading.await.expect("no panic").expect("open again");
        assert_eq!(&bytes, b"late");

        let reading = tokio::spawn(async move { far.read_u8().await.map_err(|it| it.kind()) });
        tokio::task::yield_now().await;
        switch.turn(Flow::Cut);
        switch.turn(Flow::Open);
        assert_eq!(reading.await.expect("no panic"), Err(std::io::ErrorKind::ConnectionReset));
    }
}
