//! The simulated daemon answers as the real one does, word for word.

mod activity;
mod agreement;
mod bill;
mod lab;
mod market;
mod network;
mod payment;
mod swarm;
