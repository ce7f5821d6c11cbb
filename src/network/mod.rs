//! Private networks of our own, and the way to a node.
//!
//! ```text
//!   probes, commands, uploads, tunnels --+                     +--> yagna::vpn --> daemon's TCP --> node
//!                                        +--> Ways::connect ---+
//!   ssh-proxy --socket--> Door ----------+                     +--> Live: tcp::Stack --> bus --> node
//! ```
//!
//! A network of our own is a random number that the nodes of a cluster are told of when they are deployed. The
//! daemon knows nothing of it: it carries the frames, and what is said to the members. So a network is not lost
//! when the daemon restarts, and [`Registry`] keeps it over restarts of ours.
//!
//! [`Networks`] has all of them, and answers what the machine asks about networks as the daemon does. [`Ways`] is the
//! way to a node, whichever network it is in.

mod connections;
mod door;
mod end;
mod framing;
mod live;
mod registry;
mod service;
mod stream;
mod teller;
mod way;

pub use connections::{Connections, Counted};
pub use door::{Door, DoorError, Knock, count};
pub use end::End;
pub use registry::{Entry, Registry, RegistryError, Tell};
pub use service::{Health, NetworkError, Networks};
pub use stream::NodeStream;
pub use way::{Leash, WayError, WayStream, Ways};
