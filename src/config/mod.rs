//! Reads files that people write: YAML text in, sound typed values or one clear sentence out.
//!
//! Pure: the caller reads the file. What comes out of here needs no further checks.

pub mod yaml;
