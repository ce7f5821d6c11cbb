//! The part *data*: what flows between a client and a node through the daemon's websocket, on the served arm and on the
//! real one.
//!
//! Both have a node in a private network, on which `tests/real_yagna/services.py` listens. A case is a function of a
//! [`Site`]; it is passed when it returns.

mod flow;
mod node;
mod refusals;
mod rows;
mod site;

pub(crate) use rows::{CASES, Case};
pub(crate) use site::{Arm, Site};
