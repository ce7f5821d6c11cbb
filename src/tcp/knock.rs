//! Connections that others begin, until it is said what becomes of them.
//!
//! Whether a node listens on a port may take a while to find out. Until then the first packet of a connection is kept
//! here, and what the other end sends again of it is passed over.

use std::{collections::BTreeMap, net::SocketAddrV4};

use super::recovery::Ends;

/// More wait to be sent again.
const KNOCKS_MAX: usize = 256;

/// A connection that another end wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Knock(Ends);

/// All that are not decided.
#[derive(Debug, Default)]
pub(super) struct Knocks(BTreeMap<Ends, Waiting>);

#[derive(Debug)]
struct Waiting {
    /// The first packet of the connection.
    packet: Vec<u8>,
    is_told: bool,
}

impl Knock {
    /// Who wants it.
    #[must_use]
    pub const fn from(&self) -> SocketAddrV4 {
        self.0.there()
    }

    /// The port that is wanted.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.0.port()
    }

    pub(super) const fn ends(&self) -> Ends {
        self.0
    }
}

impl Knocks {
    /// Keeps the first packet of a connection.
    pub(super) fn hear(&mut self, ends: Ends, packet: Vec<u8>) {
        if self.0.len() < KNOCKS_MAX {
            self.0.entry(ends).or_insert(Waiting { packet, is_told: false });
        }
    }

    /// The next one that was not told of.
    pub(super) fn next(&mut self) -> Option<Knock> {
        let (ends, waiting) = self.0.iter_mut().find(|(_, waiting)| !waiting.is_told)?;
        waiting.is_told = true;
        Some(Knock(*ends))
    }

    /// The packet of one that is decided.
    pub(super) fn take(&mut self, knock: Knock) -> Option<Vec<u8>> {
        Some(self.0.remove(&knock.0)?.packet)
    }
}
