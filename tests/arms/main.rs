//! The product behaves alike on three arms: the simulation in process, the simulation over HTTP, and a
//! real daemon with stand-in providers. Same market, same survey, same life of a cluster.
//!
//! The loop is the product's own, with journals. Only the look at nodes is not: data of a private
//! network does not pass a real daemon without the internet, so on every arm nodes count as reached
//! once they have an address. What leads there, and all that follows, is compared: networks,
//! agreements, activities, notes, invoices, payments, and what is left.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "runs the programs")]

mod daemons;
#[path = "../lab/mod.rs"]
mod lab;
mod life;
#[path = "../port/mod.rs"]
mod port;
mod rough;
mod survey;
