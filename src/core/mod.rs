//! The pure, deterministic state machine.
pub mod market;
pub mod rng;
pub mod timers;
