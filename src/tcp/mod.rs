//! TCP of our own, for private networks: frames go in and out, and time is an argument.
//!
//! ```text
//!   connect, read, write, shutdown --> Stack --> smoltcp (TCP, IP) --> Recovery --> Link (ARP, Ethernet) --> frames
//! ```
//!
//! smoltcp makes and ends connections, and puts in order what comes; `recovery` keeps what was sent until it has
//! arrived, for smoltcp's own recovery from losses is slow.
//!
//! [`Stack`] is one end of all connections to the members of one network; one that listens is told by a [`Knock`] that
//! a member wants a connection. It sends nothing by itself:
//! [`Stack::next_frame`] hands out what is to be sent and to which member, [`Stack::take`] is told what came, and
//! [`Stack::deadline`] says when [`Stack::poll`] must be called next. Nothing here reads a clock, so that two ends
//! and the way between them can be played in virtual time.

mod flow;
mod knock;
mod link;
mod recovery;
mod stack;

pub use knock::Knock;
pub use link::{Link, source};
pub use stack::{Broken, ConnectError, ConnectionId, Stack, StackPlan};
