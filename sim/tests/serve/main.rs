//! The simulated daemon behind real sockets, asked by our own adapter and by nobody's.

mod bad_clients;
mod bus;
mod faults;
mod files;
mod lab;
mod life;
mod load;
mod network;
mod program;
