//! A population: providers that are drawn from the same spreads and behave alike.

use ray_on_golem::config::yaml::{Field, Section, YamlError};

use super::{Conduct, Distribution, distribution::ONE};

/// Providers that are drawn from the same spreads and behave alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Population {
    /// The beginning of its providers' names.
    pub name: String,
    /// How many providers.
    pub count: u64,
    /// Offers of each provider.
    pub offers: u64,
    /// GLM for an hour of a busy CPU thread.
    pub cpu_hour: Distribution,
    /// GLM for an hour of the node.
    pub env_hour: Distribution,
    /// GLM for starting.
    pub start: Distribution,
    /// CPU threads.
    pub threads: Distribution,
    /// Memory in GiB.
    pub memory: Distribution,
    /// Storage in GiB.
    pub storage: Distribution,
    /// Capabilities of the runtime.
    pub capabilities: Vec<String>,
    /// The subnet.
    pub subnet: String,
    /// The runtime.
    pub runtime: String,
    /// Payment platforms.
    pub platforms: Vec<String>,
    /// When its offers reach our daemon, in seconds; by broadcasts if not given.
    pub arrives: Option<Distribution>,
    /// How long a provider thinks about a proposal, in milliseconds.
    pub thinks_ms: Distribution,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// What is odd about its offers.
    pub quirk: Quirk,
    /// How it behaves after signing.
    pub conduct: Conduct,
    /// What is known of its providers beforehand.
    pub known: Known,
}

/// What is known of providers before they are met; shares are in billionths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What the reputation service says of the time that they were reachable.
    pub uptime: Option<Distribution>,
    /// What the reputation service says of the tasks that succeeded.
    pub success_rate: Option<Distribution>,
    /// Of a hundred so many have met clusters of before.
    pub met: u8,
    /// How often these clusters started a node there.
    pub starts: u64,
    /// How many of these nodes came up.
    pub came_up: u64,
}

/// How a provider behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As the provider agent does.
    Honest,
    /// All its slots are taken.
    Busy,
    /// Honest, but for its rules about outbound traffic.
    Outbound(Outbound),
    /// Never answers.
    Silent,
    /// Answers after so many seconds.
    Slow(Distribution),
    /// Honest, but takes its offers back after so many seconds on the market.
    Withdraws(Distribution),
    /// Publishes its offers anew after so many seconds, at so many times the price.
    Reprices {
        /// Seconds on the market.
        after: Distribution,
        /// The factor.
        factor: Distribution,
    },
    /// Answers with so many times the price that it offered.
    Raises(Distribution),
    /// Answers every proposal with other values.
    Endless,
    /// Cannot be reached: the daemon finds out after so many seconds.
    Unreachable(Distribution),
    /// Refuses, with these words; without words if they are empty.
    Refuses(String),
}

/// Why a provider does not let a node out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// No rule accepts our manifest.
    NoRule,
    /// Outbound traffic is switched off.
    Disabled,
    /// The rule for everyone is switched off.
    RuleDisabled,
}

/// What is odd about an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// Nothing.
    None,
    /// Its usage counters come in the reverse order.
    ReversedVector,
    /// It counts something that nobody knows, for nothing.
    UnknownCounterFree,
    /// It counts something that nobody knows, for money.
    UnknownCounterPriced,
    /// It has a coefficient too few.
    ShortVector,
    /// Its coefficients are text.
    TextCoefficients,
    /// It does not say how many threads it has.
    NoThreads,
    /// Its pricing model is another one.
    OtherModel,
    /// It does not speak of payments while a node runs.
    NoTerms,
}

const KEYS: [&str; 19] = [
    "name",
    "count",
    "offers",
    "cpu_hour",
    "env_hour",
    "start",
    "threads",
    "memory",
    "storage",
    "capabilities",
    "subnet",
    "runtime",
    "platforms",
    "arrives",
    "thinks_ms",
    "behaviour",
    "quirk",
    "conduct",
    "known",
];

impl Population {
    /// Divides the time that its providers take.
    pub(super) fn hasten(&mut self, divisor: u64) {
        self.thinks_ms = self.thinks_ms.over(divisor);
        self.conduct.hasten(divisor);
        match &mut self.behaviour {
            Behaviour::Slow(after) | Behaviour::Unreachable(after) => *after = after.over(divisor),
            Behaviour::Honest
            | Behaviour::Busy
            | Behaviour::Outbound(_)
            | Behaviour::Silent
            | Behaviour::Withdraws(_)
            | Behaviour::Reprices { .. }
            | Behaviour::Raises(_)
            | Behaviour::Endless
            | Behaviour::Refuses(_) => {}
        }
    }

    pub(crate) fn read(section: &Section<'_>) -> Result<Self, YamlError> {
        section.deny_unknown(&KEYS)?;
        let spread = |key: &str, default: Distribution| {
            Ok(section.read(key, Distribution::read)?.unwrap_or(default))
        };
        let word = |key: &str, default: &str| {
            let word = section.read(key, |field| Ok(field.text()?.to_owned()))?;
            Ok(word.unwrap_or_else(|| default.to_owned()))
        };
        let offers = section.read("offers", |field| field.whole(1..=1_000_u64))?;
        Ok(Self {
            name: word("name", "provider")?,
            count: section.required("count")?.whole(0..=1_000_000_u64)?,
            offers: offers.unwrap_or(1),
            cpu_hour: spread("cpu_hour", Distribution::fixed(ONE / 40))?,
            env_hour: spread("env_hour", Distribution::fixed(ONE / 200))?,
            start: spread("start", Distribution::fixed(0))?,
            threads: spread("threads", Distribution::fixed(4 * ONE))?,
            memory: spread("memory", Distribution::fixed(8 * ONE))?,
            storage: spread("storage", Distribution::fixed(40 * ONE))?,
            capabilities: words(section, "capabilities", &CAPABILITIES)?,
            subnet: word("subnet", "public")?,
            runtime: word("runtime", "vm")?,
            platforms: words(section, "platforms", &PLATFORMS)?,
            arrives: section.read("arrives", Distribution::read)?,
            thinks_ms: spread("thinks_ms", Distribution::uniform(5 * ONE, 50 * ONE))?,
            behaviour: section.read("behaviour", Behaviour::read)?.unwrap_or(Behaviour::Honest),
            quirk: section.read("quirk", Quirk::read)?.unwrap_or(Quirk::None),
            conduct: section.read("conduct", Conduct::read)?.unwrap_or_default(),
            known: section.read("known", Known::read)?.unwrap_or_default(),
        })
    }
}

impl Known {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        const STARTS_MAX: u64 = 1_000;
        let section = field.section()?;
        section.deny_unknown(&["uptime", "success_rate", "met", "starts", "came_up"])?;
        let starts = section.read("starts", |field| field.whole(0..=STARTS_MAX))?.unwrap_or(0);
        let came_up = section.read("came_up", |field| field.whole(0..=starts))?;
        Ok(Self {
            uptime: section.read("uptime", Distribution::read)?,
            success_rate: section.read("success_rate", Distribution::read)?,
            met: section.read("met", |field| field.whole(0..=100_u8))?.unwrap_or(100),
            starts,
            came_up: came_up.unwrap_or(starts),
        })
    }
}

const CAPABILITIES: [&str; 4] = ["vpn", "inet", "manifest-support", "start-entrypoint"];
const PLATFORMS: [&str; 3] = ["erc20-hoodi-tglm", "erc20-polygon-glm", "erc20-mainnet-glm"];

fn words(section: &Section<'_>, key: &str, default: &[&str]) -> Result<Vec<String>, YamlError> {
    let Some(field) = section.optional(key) else {
        return Ok(default.iter().map(|word| (*word).to_owned()).collect());
    };
    field.list()?.iter().map(|item| Ok(item.text()?.to_owned())).collect()
}

impl Behaviour {
    /// A word (`honest`, `busy`, `silent`, `endless`) or a map with exactly one key.
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        const WORDS: [&str; 4] = ["honest", "busy", "silent", "endless"];
        const MAPS: [&str; 7] =
            ["outbound", "slow", "withdraws", "reprices", "raises", "unreachable", "refuses"];
        let Ok(section) = field.section() else {
            return Ok(match field.one_of(&WORDS)? {
                "busy" => Self::Busy,
                "silent" => Self::Silent,
                "endless" => Self::Endless,
                _ => Self::Honest,
            });
        };
        section.deny_unknown(&MAPS)?;
        let mut fields = section.fields();
        let (Some((kind, value)), None) = (fields.next(), fields.next()) else {
            return Err(field.error("needs exactly one key, such as `{slow: 20}`"));
        };
        Ok(match kind {
            "outbound" => Self::Outbound(Outbound::read(&value)?),
            "slow" => Self::Slow(Distribution::read(&value)?),
            "withdraws" => Self::Withdraws(Distribution::read(&value)?),
            "reprices" => {
                let section = value.section()?;
                section.deny_unknown(&["after", "factor"])?;
                Self::Reprices {
                    after: Distribution::read(&section.required("after")?)?,
                    factor: Distribution::read(&section.required("factor")?)?,
                }
            }
            "raises" => Self::Raises(Distribution::read(&value)?),
            "unreachable" => Self::Unreachable(Distribution::read(&value)?),
            _ if value.is_null() => Self::Refuses(String::new()),
            _ => Self::Refuses(value.text()?.to_owned()),
        })
    }
}

impl Outbound {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        Ok(match field.one_of(&["no-rule", "disabled", "rule-disabled"])? {
            "disabled" => Self::Disabled,
            "rule-disabled" => Self::RuleDisabled,
            _ => Self::NoRule,
        })
    }
}

impl Quirk {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        const WORDS: [&str; 9] = [
            "none",
            "reversed-vector",
            "unknown-counter-free",
            "unknown-counter-priced",
            "short-vector",
            "text-coefficients",
            "no-threads",
            "other-model",
            "no-terms",
        ];
        Ok(match field.one_of(&WORDS)? {
            "reversed-vector" => Self::ReversedVector,
            "unknown-counter-free" => Self::UnknownCounterFree,
            "unknown-counter-priced" => Self::UnknownCounterPriced,
            "short-vector" => Self::ShortVector,
            "text-coefficients" => Self::TextCoefficients,
            "no-threads" => Self::NoThreads,
            "other-model" => Self::OtherModel,
            "no-terms" => Self::NoTerms,
            _ => Self::None,
        })
    }
}
