//! The machine's own identifiers: small numbers, given in order, never reused.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[doc = $doc:literal] $name:ident($inner:ty);)+) => {$(
        #[doc = $doc]
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);
    )+};
}

number_id! {
    /// A request to the machine; chosen by whoever asks.
    RequestId(u64);
    /// A call to the daemon.
    CallId(u64);
    /// A look at a node from outside.
    ProbeId(u64);
    /// A cluster, from its first node to its last bill; a name that is used again gets a new one.
    ClusterId(u32);
    /// A node, among all that clusters of one name ever had.
    NodeId(u32);
    /// An agreement, among all of its cluster.
    AgreementNo(u32);
    /// A market pipeline: one demand shape on one subnet.
    MarketId(u32);
    /// One publication of a market's demand; the next one takes over before it expires.
    Generation(u32);
    /// A distinct offer within a market.
    OfferNo(u32);
}

impl fmt::Display for NodeId {
    /// Writes the id as Ray and users know it: `node0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("node{}", self.0))
    }
}

impl FromStr for NodeId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("node").ok_or(())?;
        let number: u32 = digits.parse().map_err(|_| ())?;
        // `node01` and `node+1` are nobody's names.
        if number.to_string() == digits { Ok(Self(number)) } else { Err(()) }
    }
}
