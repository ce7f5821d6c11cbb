//! The shell around the pure core: everything that touches the machine it runs on.

pub mod appkey;
