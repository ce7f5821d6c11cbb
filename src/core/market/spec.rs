//! What a user asks of a node: the shape of the machine, where to look for it, and what it may cost.
//!
//! `config` makes these from the cluster YAML; every value in them is already sound.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::choice::Choice;
use crate::units::{Glm, Span};

/// Everything that makes two nodes interchangeable on the market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// The subnet whose offers are asked for.
    pub subnet_tag: String,
    /// A subnet of recommended providers that is asked first.
    pub priority_subnet_tag: Option<String>,
    /// The image to run.
    pub image: ImageRef,
    /// The provider's runtime, such as `vm` or `vm-nvidia`.
    pub runtime: String,
    /// Capabilities that the runtime must have.
    pub capabilities: Vec<String>,
    /// Addresses that the node may reach; not empty means that a manifest is sent.
    pub outbound_urls: Vec<String>,
    /// Memory, at least; zero asks nothing.
    pub min_mem: Gib,
    /// Storage, at least; zero asks nothing.
    pub min_storage: Gib,
    /// CPU threads, at least; zero asks nothing.
    pub min_cpu_threads: u32,
    /// CPU threads, at most.
    pub max_cpu_threads: Option<u32>,
    /// A signed statement about the requestor, passed on as it is (GAP-31).
    pub node_descriptor: Option<serde_json::Map<String, serde_json::Value>>,
    /// What offers may cost.
    pub limits: PriceLimits,
    /// How often the provider wants to be paid while the node runs.
    pub payment_interval: PaymentInterval,
    /// Which provider to take. Journals of before know of one way only.
    #[serde(default)]
    pub choice: Choice,
}

/// How the YAML names the image; the registry knows its address and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageRef {
    /// By tag, such as `golem/ray-on-golem:0.13.0-py3.10.13-ray2.9.3`.
    Tag(String),
    /// By hash.
    Hash(String),
}

/// An image as the registry resolved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Where providers fetch it.
    pub url: String,
    /// Its SHA-3 hash, in hexadecimal.
    pub sha3: String,
}

/// Price limits; an offer that equals a limit passes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceLimits {
    /// What one CPU is expected to be used for, and what that may cost.
    pub per_cpu_expected_usage: Option<ExpectedUsage>,
    /// The most to pay for starting.
    pub max_start_price: Option<Glm>,
    /// The most to pay for an hour of one busy CPU thread.
    pub max_cpu_per_hour_price: Option<Glm>,
    /// The most to pay for an hour of the node's existence.
    pub max_env_per_hour_price: Option<Glm>,
}

/// The work that one CPU thread of a node is expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedUsage {
    /// How busy the CPU is.
    pub cpu_load: Load,
    /// For how long.
    pub duration: Span,
    /// What that may cost for each CPU.
    pub max_cost: Option<Glm>,
}

/// A share of one CPU, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Load(u32);

/// An amount of memory or storage, in millionths of a GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gib(u64);

/// Bounds of the mid-agreement payment time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentInterval {
    /// The shortest that we accept.
    pub minimal: Span,
    /// What we ask for; at least `minimal`.
    pub optimal: Span,
}

impl Load {
    /// One CPU, all the time.
    pub const FULL: Self = Self(1_000_000);

    /// A load of so many millionths of one CPU; more than [`Load::FULL`] counts as full.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Self {
        if millionths > Self::FULL.0 { Self::FULL } else { Self(millionths) }
    }

    /// The load in millionths of one CPU.
    #[must_use]
    pub const fn as_millionths(self) -> u32 {
        self.0
    }
}

impl Gib {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of so many millionths of a GiB.
    #[must_use]
    pub const fn from_millionths(millionths: u64) -> Self {
        Self(millionths)
    }

    /// The amount in millionths of a GiB.
    #[must_use]
    pub const fn as_millionths(self) -> u64 {
        self.0
    }

    /// The amount with two decimals at most, for people to read.
    #[must_use]
    pub const fn rounded_down(self) -> Self {
        Self(self.0 / 10_000 * 10_000)
    }

    /// The amount as people write it: `1`, `0.25`.
    #[must_use]
    pub fn brief(self) -> String {
        let text = self.to_string();
        text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
    }
}

impl fmt::Display for Gib {
    /// Writes at least one decimal, as the market's constraints have it: `1.0`, `0.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let fraction = format!("{rest:06}");
        let fraction = fraction.trim_end_matches('0');
        f.pad(&format!("{whole}.{}", if fraction.is_empty() { "0" } else { fraction }))
    }
}
