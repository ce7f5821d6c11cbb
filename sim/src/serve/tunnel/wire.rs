//! The daemon's end of a connection to a node: it takes all that it is given, and hands it on in its own time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::body::Bytes;
use tokio::{
    io::{AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    sync::{mpsc, watch},
    task::AbortHandle,
    time::sleep,
};

use super::{
    network::{Network, Slot, Waiting},
    order::handed_on,
};
use crate::nodes::Wire;

/// What a node does not read is kept up to here; the real daemon keeps it until the machine has no more memory.
pub(super) const TAKEN_MAX: usize = 256 << 20;
/// How long a frame waits to be taken; those that come meanwhile wait with it.
const TURN: Duration = Duration::from_millis(1);

/// What goes to the node. The node's connection is left as it is when this is dropped; it ends with its halves.
#[derive(Debug)]
pub(super) struct Near {
    network: Arc<Network>,
    /// There until the daemon ends its direction.
    frames: Option<mpsc::UnboundedSender<(Bytes, Waiting)>>,
    /// Bytes that the node has not taken.
    unread: Arc<AtomicUsize>,
    is_broken: watch::Receiver<bool>,
    task: AbortHandle,
}

impl Near {
    /// Takes the writing half of a connection, and gives the reading half back.
    pub(super) fn new(
        node: Box<dyn Wire>,
        network: Arc<Network>,
        slot: Slot,
    ) -> (ReadHalf<Box<dyn Wire>>, Self) {
        let (from_node, to_node) = split(node);
        let (frames, queue) = mpsc::unbounded_channel();
        let (broken, is_broken) = watch::channel(false);
        let unread = Arc::new(AtomicUsize::new(0));
        let (handed, unwritten) = mpsc::unbounded_channel();
        let turns = take_turns(Arc::clone(&network), slot, queue, handed);
        let writing = write(to_node, unwritten, Arc::clone(&unread), broken);
        let both = async {
            tokio::join!(turns, writing);
        };
        let task = tokio::spawn(both).abort_handle();
        (from_node, Self { network, frames: Some(frames), unread, is_broken, task })
    }

    /// Takes a frame, whatever the node does.
    pub(super) fn take(&self, frame: Bytes) {
        let Some(frames) = &self.frames else { return };
        self.unread.fetch_add(frame.len(), Relaxed);
        // The task is there as long as this is.
        let _ = frames.send((frame, self.network.wait()));
    }

    /// How many bytes the node has not taken.
    pub(super) fn unread(&self) -> usize {
        self.unread.load(Relaxed)
    }

    /// Ends when the node takes nothing any more.
    pub(super) fn broken(&self) -> impl Future<Output = ()> + use<> {
        let mut is_broken = self.is_broken.clone();
        async move {
            // A task that is gone takes nothing, either.
            let _ = is_broken.wait_for(|is_broken| *is_broken).await;
        }
    }

    /// Ends the daemon's direction when the node has what it was sent before.
    pub(super) fn end(&mut self) {
        self.frames = None;
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lets frames that wait together have their turn together.
async fn take_turns(
    network: Arc<Network>,
    slot: Slot,
    mut queue: mpsc::UnboundedReceiver<(Bytes, Waiting)>,
    handed: mpsc::UnboundedSender<Bytes>,
) {
    let mut number = 0;
    while let Some(first) = queue.recv().await {
        sleep(TURN).await;
        let mut frames = vec![first];
        while let Ok(next) = queue.try_recv() {
            frames.push(next);
        }
        let first = number;
        number += frames.len() as u64;
        for (frame, waiting) in handed_on(network.seed, &slot.0, first, frames) {
            // A node that takes nothing any more loses it.
            let _ = handed.send(frame);
            drop(waiting);
        }
    }
}

/// Writes to the node until it takes nothing any more.
async fn write(
    mut node: WriteHalf<Box<dyn Wire>>,
    mut unwritten: mpsc::UnboundedReceiver<Bytes>,
    unread: Arc<AtomicUsize>,
    broken: watch::Sender<bool>,
) {
    let mut is_asked = false;
    loop {
        let frame = tokio::select! {
            frame = unwritten.recv() => frame,
            // A node that has closed answers what was written by a reset, which the next write is told of.
            () = sleep(TURN), if is_asked => {
                is_asked = false;
                if node.write(&[]).await.is_err() {
                    broken.send_replace(true);
                }
                continue;
            }
        };
        let Some(frame) = frame else { break };
        if node.write_all(&frame).await.is_err() || node.flush().await.is_err() {
            broken.send_replace(true);
        }
        unread.fetch_sub(frame.len(), Relaxed);
        is_asked = true;
    }
    // The daemon has ended its direction; the node's is open, and it may still break.
    if node.shutdown().await.is_err() {
        broken.send_replace(true);
    }
    std::future::pending::<()>().await;
}
