//! The two ways to a node of the simulated daemon: what `tests/bus_path` and `tests/daemon_path` have with the real one,
//! and a local node whose programs are real. What a client sees that does not keep the order of its frames is in the
//! conformance suite.

#![expect(clippy::disallowed_methods, reason = "the simulated node and the proxy are processes")]

mod bus;
mod daemon;
#[path = "../local_node/mod.rs"]
mod local_node;
#[path = "../proxy/mod.rs"]
mod proxy;
#[path = "../proxy/ends.rs"]
mod proxy_ends;
#[expect(dead_code, reason = "the simulator's own tests use the rest")]
#[path = "../../sim/tests/serve/lab.rs"]
mod served_lab;
mod stage;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
