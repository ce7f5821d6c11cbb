//! Reads files that people write: YAML text in, sound typed values or one clear sentence out.
//!
//! Pure: the caller reads the file. What comes out of here needs no further checks; where two
//! levels of the file say something about the same node, they are merged here and nowhere else.
//! Ray's own keys are Ray's business, and pass unread.

mod cluster;
mod error;
mod layer;
mod merge;
pub mod networks;
mod parameters;
mod request;
pub mod yaml;

pub use cluster::{Auth, ClusterFile, NodeKind, NodeType};
pub use error::{ConfigError, FieldError};
pub use networks::PaymentNetwork;
pub use parameters::Parameters;
pub use request::{NodesRequest, tags};
