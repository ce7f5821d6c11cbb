//! The daemon's service bus (GSB), as much as a client of it needs.
//!
//! The bus is a socket of the daemon's own machine. A client says who it is, registers names under which
//! it is called, and calls others by theirs: `/net/PROVIDER/…` is a service of a provider, `/udp/net/PROVIDER/…`
//! the same over a way that may lose what is sent. Private networks live on it: a member's frames come to
//! `/public/vpn/NETWORK/raw`, and what is to be known of the others to `/public/vpn/NETWORK/VpnControl`.
//!
//! [`codec`] has the packets, [`control`] what is said to a member, [`identity`] whose bus it is, [`address`] where it
//! is: they are pure, and have both directions, for a simulated daemon answers with them. [`client`] is the connection,
//! [`socket`] what it goes over.

pub mod address;
#[expect(clippy::disallowed_types, reason = "the I/O shell")]
pub mod client;
pub mod codec;
pub mod control;
mod flex;
pub mod identity;
mod payload;
pub mod socket;

pub use address::{BadBusAddress, BusAddress};
pub use client::{Bus, BusError, BusPlan, Link, Room, answers, serves};
pub use codec::{BadPacket, Broadcast, Call, Decoder, Hello, Packet, Reply};
