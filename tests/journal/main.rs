//! The journal: its format, what breaks it, and its files.

mod files;
mod format;
mod hostile;
mod samples;
