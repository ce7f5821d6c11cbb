//! Plans: a cluster's life on a small network, in a page of YAML.
//!
//! Operations bind late: `terminate 1` means the second live node then. So any part of a plan is a
//! plan, and deleting an operation is always legal, which is what makes plans shrink.

use std::{collections::BTreeMap, fmt, str::FromStr};

use ray_on_golem::{
    config::yaml::{self, Field, Section, YamlError},
    core::market::choice::Choice,
    units::{Glm, Span, money::Rounding},
    yagna::NetworkPath,
};
use serde_json::Value;

use super::character::Character;
use crate::{
    fault::{Faults, Outage, OutageKind},
    scenario::{Bus, Population},
};

/// A cluster's life on a small network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it is for, in words.
    pub about: Option<String>,
    /// The invariant that it broke once, if it is a regression.
    pub invariant: Option<String>,
    /// What all randomness of the run grows from.
    pub seed: u64,
    /// How many providers of each character there are.
    pub market: BTreeMap<Character, u32>,
    /// Providers beside these, as scenarios have them.
    pub populations: Vec<Written>,
    /// The budget of each cluster, in thousandths of a GLM.
    pub budget: u64,
    /// The limit of GLM per hour, in thousandths of a GLM.
    pub max_per_hour: Option<u64>,
    /// The cluster ends after so many minutes without a worker.
    pub idle_minutes: Option<u64>,
    /// How many workers heads may ask for, if the user has said what they may ask for.
    pub max_workers: Option<u32>,
    /// What the wallet holds, in thousandths of a GLM.
    pub wallet: u64,
    /// Who is to carry the frames of private networks, if the cluster file says so.
    pub path: Option<NetworkPath>,
    /// What becomes of those over the bus.
    pub bus: Bus,
    /// Calls pass through their wire form.
    pub is_wired: bool,
    /// What goes wrong on the way.
    pub faults: Faults,
    /// Chances in a million that the process dies at an output.
    pub crash_chance: u64,
    /// How providers are chosen; none is as the Python original does.
    pub choice: Option<Choosing>,
    /// What happens, in order.
    pub ops: Vec<Op>,
}

/// How providers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choosing {
    /// How many are asked at once for a node.
    pub hedge: u32,
    /// Of a hundred, so many may be new.
    pub newcomers: u32,
    /// So many of the network's first providers are on the blacklist of the cluster file.
    pub barred: u32,
}

/// A population, and how its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The population.
    pub population: Population,
    text: String,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A head is asked for.
    Head,
    /// So many workers are asked for.
    Request(u32),
    /// As many workers are asked for, or ended, as it takes to have so many.
    Scale(u32),
    /// From here on Ray's autoscaler looks every five seconds, and asks for what is missing of so many
    /// workers; and whoever is there for a head.
    Keep(u32),
    /// The latest request is made again, as it was.
    Repeat,
    /// The latest key is used for another request.
    Misuse,
    /// The live node of this place ends.
    Terminate(u32),
    /// A node that there is not ends.
    TerminateUnknown,
    /// The node of this place ends that has ended, or is about to.
    TerminateAgain(u32),
    /// Tags are stuck on the live node of this place.
    Tag(u32),
    /// The budget becomes so many thousandths of a GLM.
    Budget(u64),
    /// The cluster ends.
    Down,
    /// From here on requests are about the other cluster.
    Switch,
    /// The manager stops.
    Shutdown,
    /// So many seconds pass.
    Wait(u64),
    /// The process dies at its nth output from here.
    Crash(u64),
    /// The daemon is away for so many seconds, and forgets what it keeps in memory.
    Restart(u64),
    /// The computer sleeps for so many minutes.
    Suspend(u64),
    /// The network's provider of this place is blacklisted for ten minutes.
    Block(u32),
    /// The daemon throws away all agreements that are approved, as it does after months.
    Forget,
    /// Ray does not start on the next so many workers that come up: each is ended, and another one asked for. Six hours at
    /// most.
    RayFails(u32),
    /// Ray starts on the head, as after `ray up`.
    RayStarts,
    /// From here on the autoscaler of each head looks at its nodes, and says this of the load; or it looks no more.
    Looks(Looks),
    /// So many connections of users to nodes of the current cluster are open.
    Connect(u32),
    /// The head asks in the way of this number for what its user has not spoken of.
    Betray(u32),
    /// `ray up` is run again, with a file that allows so many workers.
    Law(u32),
    /// From here on the manager's clock is so many minutes ahead of the daemon's, or behind it.
    Clock(i64),
}

/// What the autoscaler of a head says of the load, if it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Ray has load.
    Load,
    /// It has none.
    Idle,
    /// Nothing, as node providers of earlier versions.
    Unknown,
    /// It does not look.
    Never,
}

impl Looks {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Load, Self::Idle, Self::Unknown, Self::Never];

    const fn word(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Idle => "idle",
            Self::Unknown => "unknown",
            Self::Never => "never",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word)
    }
}

/// Providers of one character, at most.
pub(crate) const PROVIDERS_MAX: u32 = 10_000;
pub(crate) const WORKERS_MAX: u32 = 10_000;
pub(crate) const IDLE_MINUTES_MAX: u64 = 100_000;
pub(crate) const CHANCE_MAX: u64 = 1_000_000;
const HEDGE_MAX: u32 = 5;
/// Almost two years.
const CLOCK_MINUTES_MAX: u64 = 1_000_000;

const KEYS: [&str; 17] = [
    "about",
    "invariant",
    "seed",
    "market",
    "populations",
    "budget",
    "max_per_hour",
    "idle_minutes",
    "max_workers",
    "wallet",
    "path",
    "bus",
    "wired",
    "faults",
    "crash_chance",
    "choice",
    "ops",
];

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// Says on which line which key is wrong, and what to write.
    pub fn parse(bytes: &[u8]) -> Result<Self, YamlError> {
        let tree = yaml::parse(bytes)?;
        let section = Section::new(&tree, "")?;
        section.deny_unknown(&KEYS)?;
        let thousandths = |field: &Field<'_>| {
            let value = field.scaled(3, Rounding::Exact)?;
            u64::try_from(value).map_err(|_| field.error("is too much"))
        };
        let mut market = BTreeMap::new();
        if let Some(field) = section.optional("market") {
            for (name, count) in field.section()?.fields() {
                let Some(character) = Character::from_name(name) else {
                    let names: Vec<&str> = Character::ALL.iter().map(|it| it.name()).collect();
                    let what = format!("is no character; write one of {}", names.join(", "));
                    return Err(count.error(what));
                };
                market.insert(character, count.whole(0..=PROVIDERS_MAX)?);
            }
        }
        let mut populations = Vec::new();
        if let Some(field) = section.optional("populations") {
            for item in field.list()? {
                let population = Population::read(&item.section()?)?;
                populations.push(Written { population, text: item.node().to_json().to_string() });
            }
        }
        let mut ops = Vec::new();
        if let Some(field) = section.optional("ops") {
            for item in field.list()? {
                let op = item.text()?.parse();
                ops.push(op.map_err(|what: String| item.error(what))?);
            }
        }
        let words = |key: &str| section.read(key, |field| Ok(field.text()?.trim().to_owned()));
        Ok(Self {
            about: words("about")?,
            invariant: words("invariant")?,
            seed: section.read("seed", |field| field.whole(0..=u64::MAX))?.unwrap_or(0),
            market,
            populations,
            budget: section.read("budget", thousandths)?.unwrap_or(5_000),
            max_per_hour: section.read("max_per_hour", thousandths)?,
            idle_minutes: section
                .read("idle_minutes", |field| field.whole(1..=IDLE_MINUTES_MAX))?,
            max_workers: section.read("max_workers", |field| field.whole(0..=WORKERS_MAX))?,
            wallet: section.read("wallet", thousandths)?.unwrap_or(1_000_000),
            path: section.read("path", path)?.unwrap_or(Some(NetworkPath::Daemon)),
            bus: section.read("bus", Bus::read)?.unwrap_or_default(),
            is_wired: section.read("wired", Field::flag)?.unwrap_or(false),
            faults: section.read("faults", Faults::read)?.unwrap_or_default(),
            crash_chance: section
                .read("crash_chance", |field| field.whole(0..=CHANCE_MAX))?
                .unwrap_or(0),
            choice: section.read("choice", Choosing::read)?,
            ops,
        })
    }

    /// What the wallet holds.
    #[must_use]
    pub fn wallet(&self) -> Glm {
        milli(self.wallet)
    }
}

impl Choosing {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let section = field.section()?;
        section.deny_unknown(&["hedge", "newcomers", "barred"])?;
        let default = Choice::recommended();
        let number = |key, range| section.read(key, |field| field.whole(range));
        Ok(Self {
            hedge: number("hedge", 1..=HEDGE_MAX)?.unwrap_or(default.hedge),
            newcomers: number("newcomers", 0..=100)?.unwrap_or(default.newcomers),
            barred: number("barred", 0..=PROVIDERS_MAX)?.unwrap_or(0),
        })
    }
}

fn path(field: &Field<'_>) -> Result<Option<NetworkPath>, YamlError> {
    match field.text()? {
        "auto" => Ok(None),
        "bus" => Ok(Some(NetworkPath::Bus)),
        "daemon" => Ok(Some(NetworkPath::Daemon)),
        _ => Err(field.unknown_word(&["auto", "bus", "daemon"])),
    }
}

/// So many thousandths of a GLM.
#[must_use]
pub fn milli(thousandths: u64) -> Glm {
    Glm::from_whole(thousandths).scaled_up(1, 1_000).unwrap_or(Glm::MAX)
}

impl fmt::Display for Plan {
    /// Writes the plan as its file has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(about) = &self.about {
            writeln!(f, "about: {}", Value::from(about.as_str()))?;
        }
        if let Some(invariant) = &self.invariant {
            writeln!(f, "invariant: {invariant}")?;
        }
        writeln!(f, "seed: {}", self.seed)?;
        let market: Vec<String> =
            self.market.iter().map(|(it, count)| format!("{}: {count}", it.name())).collect();
        writeln!(f, "market: {{{}}}", market.join(", "))?;
        if !self.populations.is_empty() {
            writeln!(f, "populations:")?;
        }
        for Written { text, .. } in &self.populations {
            writeln!(f, "- {text}")?;
        }
        writeln!(f, "budget: {}", milli(self.budget))?;
        if let Some(limit) = self.max_per_hour {
            writeln!(f, "max_per_hour: {}", milli(limit))?;
        }
        if let Some(minutes) = self.idle_minutes {
            writeln!(f, "idle_minutes: {minutes}")?;
        }
        if let Some(workers) = self.max_workers {
            writeln!(f, "max_workers: {workers}")?;
        }
        if self.wallet != 1_000_000 {
            writeln!(f, "wallet: {}", milli(self.wallet))?;
        }
        match self.path {
            None => writeln!(f, "path: auto")?,
            Some(NetworkPath::Bus) => writeln!(f, "path: bus")?,
            Some(NetworkPath::Daemon) => {}
        }
        if self.bus != Bus::Good {
            writeln!(f, "bus: {}", self.bus.name())?;
        }
        if self.is_wired {
            writeln!(f, "wired: true")?;
        }
        write_faults(f, &self.faults)?;
        if self.crash_chance > 0 {
            writeln!(f, "crash_chance: {}", self.crash_chance)?;
        }
        if let Some(Choosing { hedge, newcomers, barred }) = self.choice {
            writeln!(f, "choice: {{hedge: {hedge}, newcomers: {newcomers}, barred: {barred}}}")?;
        }
        let ops: Vec<String> = self.ops.iter().map(Op::to_string).collect();
        writeln!(f, "ops: [{}]", ops.join(", "))
    }
}

fn write_faults(f: &mut fmt::Formatter<'_>, faults: &Faults) -> fmt::Result {
    let percent = [
        ("request_lost", faults.request_lost),
        ("reply_lost", faults.reply_lost),
        ("fail_500", faults.fail_500),
        ("closed", faults.closed),
        ("garbage", faults.garbage),
        ("refuse", faults.refuse),
        ("wrong_ids", faults.wrong_ids),
    ];
    let mut parts: Vec<String> = percent
        .iter()
        .filter(|(_, percent)| *percent > 0)
        .map(|(name, percent)| format!("{name}: {percent}"))
        .collect();
    if !faults.outages.is_empty() {
        let outages: Vec<String> = faults.outages.iter().map(outage).collect();
        parts.push(format!("outages: [{}]", outages.join(", ")));
    }
    if parts.is_empty() { Ok(()) } else { writeln!(f, "faults: {{{}}}", parts.join(", ")) }
}

fn outage(outage: &Outage) -> String {
    let kind = match outage.kind {
        OutageKind::Restart => "restart",
        OutageKind::Down => "down",
        OutageKind::Hang => "hang",
    };
    let secs = |span: Span| span.as_secs();
    format!("{{at: {}, for: {}, kind: {kind}}}", secs(outage.at), secs(outage.lasts))
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Request(count) => write!(f, "request {count}"),
            Self::Scale(count) => write!(f, "scale {count}"),
            Self::Keep(count) => write!(f, "keep {count}"),
            Self::Repeat => f.write_str("repeat"),
            Self::Misuse => f.write_str("misuse"),
            Self::Terminate(place) => write!(f, "terminate {place}"),
            Self::TerminateUnknown => f.write_str("terminate-unknown"),
            Self::TerminateAgain(place) => write!(f, "terminate-again {place}"),
            Self::Tag(place) => write!(f, "tag {place}"),
            Self::Budget(thousandths) => write!(f, "budget {}", milli(*thousandths)),
            Self::Down => f.write_str("down"),
            Self::Switch => f.write_str("switch"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Wait(secs) => write!(f, "wait {secs}"),
            Self::Crash(outputs) => write!(f, "crash {outputs}"),
            Self::Restart(secs) => write!(f, "restart {secs}"),
            Self::Suspend(minutes) => write!(f, "suspend {minutes}"),
            Self::Block(place) => write!(f, "block {place}"),
            Self::Forget => f.write_str("forget"),
            Self::RayFails(count) => write!(f, "ray-fails {count}"),
            Self::RayStarts => f.write_str("ray-starts"),
            Self::Looks(looks) => write!(f, "looks {}", looks.word()),
            Self::Connect(count) => write!(f, "connect {count}"),
            Self::Betray(way) => write!(f, "betray {way}"),
            Self::Law(workers) => write!(f, "law {workers}"),
            Self::Clock(minutes) => write!(f, "clock {minutes}"),
        }
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let whole = || rest.parse::<u64>().map_err(|_| format!("`{word}` needs a whole number"));
        let small = || rest.parse::<u32>().map_err(|_| format!("`{word}` needs a whole number"));
        Ok(match word {
            "head" => Self::Head,
            "request" => Self::Request(small()?),
            "scale" => Self::Scale(small()?),
            "keep" => Self::Keep(small()?),
            "repeat" => Self::Repeat,
            "misuse" => Self::Misuse,
            "terminate" => Self::Terminate(small()?),
            "terminate-unknown" => Self::TerminateUnknown,
            "terminate-again" => Self::TerminateAgain(small()?),
            "tag" => Self::Tag(small()?),
            "budget" => {
                let value = ray_on_golem::units::money::parse_scaled(rest, 3, Rounding::Exact);
                let value = value.map_err(|error| format!("`budget` needs an amount: {error}"))?;
                Self::Budget(u64::try_from(value).map_err(|_| "`budget` is too much".to_owned())?)
            }
            "down" => Self::Down,
            "switch" => Self::Switch,
            "shutdown" => Self::Shutdown,
            "wait" => Self::Wait(whole()?),
            "crash" => Self::Crash(whole()?),
            "restart" => Self::Restart(whole()?),
            "suspend" => Self::Suspend(whole()?),
            "block" => Self::Block(small()?),
            "forget" => Self::Forget,
            "ray-fails" => Self::RayFails(small()?),
            "ray-starts" => Self::RayStarts,
            "looks" => Self::Looks(
                Looks::of_word(rest).ok_or("`looks` needs load, idle, unknown, or never")?,
            ),
            "connect" => Self::Connect(small()?),
            "betray" => Self::Betray(small()?),
            "law" => Self::Law(small()?),
            "clock" => match rest.parse::<i64>() {
                Ok(minutes) if minutes.unsigned_abs() <= CLOCK_MINUTES_MAX => Self::Clock(minutes),
                Ok(_) | Err(_) => return Err("`clock` needs minutes, a million at most".to_owned()),
            },
            _ => {
                return Err(format!(
                    "`{word}` is no operation; write one of head, request, scale, keep, repeat, \
                     misuse, terminate, terminate-unknown, terminate-again, tag, budget, down, switch, \
                     shutdown, wait, crash, restart, suspend, block, forget, ray-fails, ray-starts, \
                     looks, connect, betray, law, clock"
                ));
            }
        })
    }
}
