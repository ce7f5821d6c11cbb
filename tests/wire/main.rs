//! The codec against recordings of a real daemon, against itself, and against nonsense.

mod hired;
mod hostile;
mod readings;
mod recordings;
mod round_trips;
mod strategies;
