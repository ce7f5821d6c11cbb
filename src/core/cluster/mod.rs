//! One cluster: its nodes, its agreements, its network, its money.

pub mod plan;
pub mod record;
pub mod state;
