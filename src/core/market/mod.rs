//! One market pipeline for each node shape.
pub mod spec;
