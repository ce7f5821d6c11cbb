//! What keeps frames in their order on their way through the daemon.
//!
//! The daemon (0.17.6, and older ones) takes frames from a websocket without waiting until its network has taken the
//! last one. Frames that wait together overtake each other: of three, the last one comes second or first, without any
//! error. So the next frame is sent when the last one waits no more. The daemon does not say when that is; these tell
//! it together, and each alone is not enough (uploads of 1 MiB that arrived broken, both cores idle):
//!
//! - the pong of a ping behind the frame: the websocket has handed the frame over (alone: half of them);
//! - then an answer of the network itself, which has a line of its own for all that it is asked: it comes later on a busy
//!   machine, as the frame does (both: 3 of 60, probably because what comes while the line is full waits in no order);
//! - then a pause of [`PAUSE`], the time in which such a frame gets its turn (all: 0 of 100).
//!
//! A pause alone is not enough on a machine that stops for longer than it lasts.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};
use url::Url;

use crate::{
    http::{Outgoing, Transport},
    units::Span,
    yagna::{AppKey, CallError, wire::Method},
};

/// How long nothing is sent after the answers.
const PAUSE: Duration = Duration::from_millis(5);

/// How often the network is asked when the connection for it fails; asking changes nothing.
const ATTEMPTS: u32 = 3;

/// Waits until the daemon has taken a frame; one for each websocket.
#[derive(Debug)]
pub(super) struct Order {
    /// Asks the network for something that only the network itself can answer.
    pub(super) network: Asker,
    /// How many of our numbered pings were answered.
    pub(super) pongs: watch::Receiver<u64>,
    /// How many were sent.
    pub(super) pings: u64,
    /// How long an answer may take.
    pub(super) patience: Span,
}

/// A question to a private network.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) transport: Transport,
    pub(super) url: Url,
    pub(super) app_key: AppKey,
}

impl Order {
    /// What the next ping carries; it goes right behind a frame.
    pub(super) fn next_ping(&mut self) -> [u8; 8] {
        self.pings += 1;
        self.pings.to_be_bytes()
    }

    /// Returns when the daemon has taken the frame before the last ping, so that the next one may follow.
    ///
    /// # Errors
    ///
    /// Why that is not known. The connection is of no use then.
    pub(super) async fn taken(&mut self) -> Result<(), String> {
        let last = self.pings;
        if self.pongs.wait_for(|seen| *seen >= last).await.is_err() {
            // Nothing is received any more, which says why by itself.
            std::future::pending::<()>().await;
        }
        self.network.ask(self.patience).await?;
        sleep(PAUSE).await;
        Ok(())
    }
}

impl Asker {
    /// Asks for the addresses that we have in the network.
    async fn ask(&self, patience: Span) -> Result<(), String> {
        let mut attempt = 1;
        loop {
            let question = Outgoing {
                method: Method::Get,
                url: self.url.clone(),
                bearer: Some(self.app_key.as_str()),
                headers: &[],
                body: None,
            };
            match self.transport.send(question, patience).await {
                Ok(response) if response.status.0 == 200 => return Ok(()),
                Ok(response) => {
                    let status = response.status;
                    return Err(format!("the daemon knows the private network no more: {status}"));
                }
                Err(error) if attempt == ATTEMPTS => return Err(said(&error)),
                Err(_) => attempt += 1,
            }
        }
    }
}

fn said(error: &CallError) -> String {
    format!("the daemon does not say whether it has taken what was sent: {error}")
}

/// The number in the pong of one of our pings; other pings carry nothing.
pub(super) fn number(pong: &[u8]) -> Option<u64> {
    pong.try_into().ok().map(u64::from_be_bytes)
}
