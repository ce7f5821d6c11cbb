//! The machine's own identifiers: small numbers, given in order, never reused.

macro_rules! number_id {
    ($(#[doc = $doc:literal] $name:ident($inner:ty);)+) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
    )+};
}

number_id! {
    /// A request to the machine; chosen by whoever asks.
    RequestId(u64);
    /// A call to the daemon.
    CallId(u64);
    /// A market pipeline: one demand shape on one subnet.
    MarketId(u32);
    /// One publication of a market's demand; the next one takes over before it expires.
    Generation(u32);
    /// A distinct offer within a market.
    OfferNo(u32);
}
