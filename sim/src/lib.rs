//! A simulated Golem network.
