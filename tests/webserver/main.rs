//! The webserver over a simulated daemon: what Ray sees, what is paid, what is refused.
#![expect(clippy::disallowed_types, reason = "talks over sockets in real time")]

mod bills;
mod browser;
mod check;
mod hostile;
mod lab;
mod life;
#[path = "../node_request/mod.rs"]
mod node_request;
mod page;
#[path = "../port/mod.rs"]
mod port;
mod prometheus;
mod proof;
mod refusals;
mod usage;
