//! What is known about providers: the store, its commands, and the service that scores come from.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "runs programs, has files"
)]

mod commands;
mod explain;
mod original;
mod service;
mod store;
