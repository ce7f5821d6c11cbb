//! The served simulation as others see it: our own program, the Python original, and the SDKs of
//! other makers, each as it is.

mod foreign;
mod lab;
mod neighbours;
#[path = "../lab/mod.rs"]
mod real;
mod survey;
