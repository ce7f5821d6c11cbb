//! Money: what is set aside, what is promised, what is paid.

pub mod bills;
pub mod ledger;

pub(super) mod funds;
pub(super) mod keeper;
pub(super) mod verdict;
