//! Scenarios: a simulated network in a page of YAML. `fixtures/scenario/README.md` documents it.

use ray_on_golem::{
    config::yaml::{self, Field, Section, YamlError},
    units::{Glm, money::Rounding},
};

mod conduct;
pub mod distribution;
mod population;

pub use conduct::{Amounts, Approval, Conduct, Invoices, Notes, Payee, Ssh};
pub use distribution::Distribution;
pub use population::{Behaviour, Known, Outbound, Population, Quirk};

use crate::fault::Faults;

/// A simulated network.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is for, in a sentence.
    pub about: String,
    /// The requestor's own daemon.
    pub daemon: Daemon,
    /// Who offers.
    pub populations: Vec<Population>,
    /// What goes wrong on the way to the daemon.
    pub faults: Faults,
}

/// The requestor's own daemon, and its place in the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Daemon {
    /// What the wallet holds.
    pub wallet: Glm,
    /// The share of offers that it knows at the start, in millionths: 0 is a fresh daemon.
    pub warm: u64,
    /// Daemons that tell it about offers.
    pub neighbours: u64,
    /// How long it takes for an answer of its own, in milliseconds.
    pub latency_ms: Distribution,
    /// How long a message to a provider takes, in milliseconds.
    pub hop_ms: Distribution,
    /// How often its payment driver sends out what was ordered, in seconds.
    pub sends_every: u64,
    /// How long a transaction takes to be confirmed, in seconds.
    pub confirms_after: u64,
    /// What becomes of private networks that are carried over its bus.
    pub bus: Bus,
}

/// The daemon's bus, as a shell meets it that carries private networks over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// It cannot be reached.
    Absent,
    /// It answers, and no node is ever reached over it.
    Deaf,
    /// It works.
    #[default]
    Good,
}

impl Bus {
    const ALL: [(&'static str, Self); 3] =
        [("absent", Self::Absent), ("deaf", Self::Deaf), ("good", Self::Good)];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, it)| *it == self).map_or("good", |(name, _)| name)
    }

    pub(crate) fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let text = field.text()?;
        let found = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, bus)| *bus);
        found.ok_or_else(|| field.unknown_word(&Self::ALL.map(|(name, _)| name)))
    }
}

impl Scenario {
    /// Divides the time that providers take for whatever they do; 0 counts as 1.
    pub fn hasten(&mut self, divisor: u64) {
        for population in &mut self.populations {
            population.hasten(divisor);
        }
    }

    /// Lets all offers name one more payment platform.
    pub fn offer_on(&mut self, platform: &str) {
        for population in &mut self.populations {
            if !population.platforms.iter().any(|it| it == platform) {
                population.platforms.push(platform.to_owned());
            }
        }
    }

    /// Starting and running take as long as real nodes take for them.
    pub fn leave_running_to_nodes(&mut self) {
        for population in &mut self.populations {
            population.conduct.start = Distribution::fixed(0);
            population.conduct.run = Distribution::fixed(0);
        }
    }

    /// Reads a scenario.
    ///
    /// # Errors
    ///
    /// Says on which line which key is wrong, and what to write.
    pub fn parse(bytes: &[u8]) -> Result<Self, YamlError> {
        let tree = yaml::parse(bytes)?;
        let section = Section::new(&tree, "")?;
        section.deny_unknown(&["about", "daemon", "populations", "faults"])?;
        let about = section.read("about", |field| Ok(field.text()?.to_owned()))?;
        let mut populations = Vec::new();
        if let Some(list) = section.optional("populations") {
            for item in list.list()? {
                populations.push(Population::read(&item.section()?)?);
            }
        }
        Ok(Self {
            about: about.unwrap_or_default(),
            daemon: section.read("daemon", Daemon::read)?.unwrap_or_default(),
            populations,
            faults: section.read("faults", Faults::read)?.unwrap_or_default(),
        })
    }
}

impl Default for Daemon {
    fn default() -> Self {
        const MILLION: u64 = 1_000_000;
        Self {
            wallet: Glm::from_whole(1_000),
            warm: MILLION / 2,
            neighbours: 8,
            latency_ms: Distribution::uniform(distribution::ONE / 2, 4 * distribution::ONE),
            hop_ms: Distribution::uniform(40 * distribution::ONE, 400 * distribution::ONE),
            sends_every: 60,
            confirms_after: 30,
            bus: Bus::Good,
        }
    }
}

const KEYS: [&str; 8] = [
    "wallet",
    "warm",
    "neighbours",
    "latency_ms",
    "hop_ms",
    "sends_every",
    "confirms_after",
    "bus",
];

impl Daemon {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let section = field.section()?;
        section.deny_unknown(&KEYS)?;
        let default = Self::default();
        let wallet = section.read("wallet", |field| field.decimal(Rounding::Exact))?;
        let warm = section.read("warm", |field| share(field))?;
        let neighbours = section.read("neighbours", |field| field.whole(0..=1_000_u64))?;
        let seconds = |key: &str| section.read(key, |field| field.whole(1..=86_400_u64));
        Ok(Self {
            wallet: wallet.unwrap_or(default.wallet),
            warm: warm.unwrap_or(default.warm),
            neighbours: neighbours.unwrap_or(default.neighbours),
            latency_ms: section
                .read("latency_ms", Distribution::read)?
                .unwrap_or(default.latency_ms),
            hop_ms: section.read("hop_ms", Distribution::read)?.unwrap_or(default.hop_ms),
            sends_every: seconds("sends_every")?.unwrap_or(default.sends_every),
            confirms_after: seconds("confirms_after")?.unwrap_or(default.confirms_after),
            bus: section.read("bus", Bus::read)?.unwrap_or(default.bus),
        })
    }
}

/// A share from 0 to 1, in millionths.
fn share(field: &Field<'_>) -> Result<u64, YamlError> {
    match u64::try_from(field.scaled(6, Rounding::Exact)?) {
        Ok(share) if share <= 1_000_000 => Ok(share),
        Ok(_) | Err(_) => Err(field.error("is no share; write a number from 0 to 1")),
    }
}
