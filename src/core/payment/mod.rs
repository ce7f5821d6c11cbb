//! Money at the daemon: what is set aside, and what a demand says so that it can be paid.
pub(super) mod funds;
