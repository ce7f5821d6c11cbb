//! One `node_config` of the file, read and checked by itself.
//!
//! A node's configuration comes from several levels. Each level is checked where it stands, so that
//! an error names the line that is wrong, even if another level would override it.

use serde_json::{Map, Value as Json};
use url::Url;

use super::yaml::{Field, Place, Section, YamlError};
use crate::core::market::{
    choice::Party,
    spec::{Gib, Load},
};
use crate::units::{Glm, Rounding, Span};

/// The largest amount that a cluster file may name: more is taken for a slip of the pen.
pub(super) const GLM_MAX: Glm = Glm::from_whole(1_000_000);
/// The longest expected use, and as long as a demand can live.
const DURATION_HOURS_MAX: u64 = 365 * 24;
/// The longest payment interval: providers agree to at most one day.
const PAYMENT_INTERVAL_HOURS_MAX: u64 = 24;
/// More memory or storage than any one machine has.
const GIB_MAX: u64 = 1 << 20;
/// More CPU threads than any one machine has.
const THREADS_MAX: u32 = 1 << 16;

/// The keys under `demand`.
const DEMAND_KEYS: [&str; 10] = [
    "image_tag",
    "image_hash",
    "capabilities",
    "outbound_urls",
    "min_mem_gib",
    "min_storage_gib",
    "min_cpu_threads",
    "max_cpu_threads",
    "runtime",
    "node_descriptor",
];
/// The keys under `budget_control`.
const BUDGET_KEYS: [&str; 5] = [
    "per_cpu_expected_usage",
    "max_start_price",
    "max_cpu_per_hour_price",
    "max_env_per_hour_price",
    "payment_interval_hours",
];

/// The keys under `provider_choice`.
const CHOICE_KEYS: [&str; 5] =
    ["weights", "newcomers_percent", "ask_at_once", "whitelist", "blacklist"];
/// Weights are relative to each other: larger ones say nothing more.
const WEIGHT_MAX: u32 = 1_000;
/// Each provider that is asked in vain is one that others cannot hire meanwhile.
const ASK_AT_ONCE_MAX: u32 = 5;

const MILLION: u64 = 1_000_000;

/// What one level says about a key: a value, or null, which puts the default back.
#[derive(Clone, Debug)]
pub(super) struct Said<T> {
    pub(super) place: Place,
    pub(super) value: Option<T>,
}

/// A key of a level, if the level says anything about it.
pub(super) type Setting<T> = Option<Said<T>>;

/// One `node_config`, key by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) subnet_tag: Setting<String>,
    pub(super) priority_subnet_tag: Setting<String>,
    pub(super) demand: Demand,
    pub(super) budget: Budget,
    pub(super) choice: Setting<Choice>,
}

/// The keys under `demand`.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand {
    pub(super) image_tag: Setting<String>,
    pub(super) image_hash: Setting<String>,
    pub(super) capabilities: Setting<Vec<String>>,
    pub(super) outbound_urls: Setting<Vec<String>>,
    pub(super) min_mem: Setting<Gib>,
    pub(super) min_storage: Setting<Gib>,
    pub(super) min_cpu_threads: Setting<u32>,
    pub(super) max_cpu_threads: Setting<u32>,
    pub(super) runtime: Setting<String>,
    pub(super) node_descriptor: Setting<Map<String, Json>>,
}

/// The keys under `budget_control`.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    pub(super) cpu_load: Setting<Load>,
    pub(super) duration: Setting<Span>,
    pub(super) max_cost: Setting<Glm>,
    pub(super) max_start_price: Setting<Glm>,
    pub(super) max_cpu_per_hour_price: Setting<Glm>,
    pub(super) max_env_per_hour_price: Setting<Glm>,
    pub(super) interval_minimal: Setting<Span>,
    pub(super) interval_optimal: Setting<Span>,
}

/// The keys under `provider_choice`.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) price: Setting<u32>,
    pub(super) reputation: Setting<u32>,
    pub(super) experience: Setting<u32>,
    pub(super) chance: Setting<u32>,
    pub(super) newcomers: Setting<u32>,
    pub(super) hedge: Setting<u32>,
    pub(super) whitelist: Setting<Vec<Party>>,
    pub(super) blacklist: Setting<Vec<Party>>,
}

impl Layer {
    /// Reads the `node_config` in `parent`; a level without one says nothing.
    pub(super) fn read(parent: &Section<'_>) -> Result<Self, YamlError> {
        let Some(section) = parent.read("node_config", Field::section)? else {
            return Ok(Self::default());
        };
        refuse_misplaced(&section)?;
        section.deny_unknown(&[
            "subnet_tag",
            "priority_subnet_tag",
            "demand",
            "budget_control",
            "provider_choice",
        ])?;
        Ok(Self {
            subnet_tag: setting(&section, "subnet_tag", word)?,
            priority_subnet_tag: setting(&section, "priority_subnet_tag", word)?,
            demand: section.read("demand", Demand::read)?.unwrap_or_default(),
            budget: section.read("budget_control", Budget::read)?.unwrap_or_default(),
            choice: setting(&section, "provider_choice", Choice::read)?,
        })
    }
}

impl Demand {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let section = field.section()?;
        section.deny_unknown(&DEMAND_KEYS)?;
        Ok(Self {
            image_tag: setting(&section, "image_tag", word)?,
            image_hash: setting(&section, "image_hash", word)?,
            capabilities: setting(&section, "capabilities", |field| each(field, word))?,
            outbound_urls: setting(&section, "outbound_urls", |field| each(field, outbound_url))?,
            min_mem: setting(&section, "min_mem_gib", gib)?,
            min_storage: setting(&section, "min_storage_gib", gib)?,
            min_cpu_threads: setting(&section, "min_cpu_threads", |field| {
                field.whole(0..=THREADS_MAX)
            })?,
            max_cpu_threads: setting(&section, "max_cpu_threads", |field| {
                field.whole(1..=THREADS_MAX)
            })?,
            runtime: setting(&section, "runtime", word)?,
            node_descriptor: setting(&section, "node_descriptor", |field| {
                field.section().map(|section| section.to_json())
            })?,
        })
    }
}

impl Budget {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let section = field.section()?;
        section.deny_unknown(&BUDGET_KEYS)?;
        let usage = section.get("per_cpu_expected_usage");
        let usage_keys = ["cpu_load", "duration_hours", "max_cost"];
        let interval = section.get("payment_interval_hours");
        let interval_keys = ["minimal", "optimal"];
        for (group, keys) in [(&usage, usage_keys.as_slice()), (&interval, &interval_keys)] {
            if let Some(group) = group {
                group.section()?.deny_unknown(keys)?;
            }
        }
        Ok(Self {
            cpu_load: grouped(usage.as_ref(), "cpu_load", cpu_load)?,
            duration: grouped(usage.as_ref(), "duration_hours", duration)?,
            max_cost: grouped(usage.as_ref(), "max_cost", glm)?,
            max_start_price: setting(&section, "max_start_price", glm)?,
            max_cpu_per_hour_price: setting(&section, "max_cpu_per_hour_price", glm)?,
            max_env_per_hour_price: setting(&section, "max_env_per_hour_price", glm)?,
            interval_minimal: grouped(interval.as_ref(), "minimal", payment_interval)?,
            interval_optimal: grouped(interval.as_ref(), "optimal", payment_interval)?,
        })
    }
}

impl Choice {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let section = field.section()?;
        section.deny_unknown(&CHOICE_KEYS)?;
        let weights = section.get("weights");
        if let Some(weights) = &weights {
            weights.section()?.deny_unknown(&["price", "reputation", "experience", "chance"])?;
        }
        let weight = |key| grouped(weights.as_ref(), key, |field| field.whole(0..=WEIGHT_MAX));
        Ok(Self {
            price: weight("price")?,
            reputation: weight("reputation")?,
            experience: weight("experience")?,
            chance: weight("chance")?,
            newcomers: setting(&section, "newcomers_percent", |field| field.whole(0..=100))?,
            hedge: setting(&section, "ask_at_once", |field| field.whole(1..=ASK_AT_ONCE_MAX))?,
            whitelist: setting(&section, "whitelist", parties)?,
            blacklist: setting(&section, "blacklist", parties)?,
        })
    }
}

fn parties(field: &Field<'_>) -> Result<Vec<Party>, YamlError> {
    let party = |field: &Field<'_>| {
        let what = "is no address; write the id of a provider, or the wallet that it is paid to: \
                    `0x` and 40 hexadecimal digits";
        Party::new(field.text()?).ok_or_else(|| field.error(format!("{} {what}", field.shown())))
    };
    field.list()?.iter().map(party).collect()
}

/// A key that belongs one level deeper is worth a better word than that it is unknown.
fn refuse_misplaced(section: &Section<'_>) -> Result<(), YamlError> {
    for (key, field) in section.fields() {
        for (parent, keys) in [
            ("demand", &DEMAND_KEYS[..]),
            ("budget_control", &BUDGET_KEYS[..]),
            ("provider_choice", &CHOICE_KEYS[..]),
        ] {
            if keys.contains(&key) {
                return Err(field.error(format!("belongs under `{parent}`; move it there")));
            }
        }
    }
    Ok(())
}

fn setting<T>(
    section: &Section<'_>,
    key: &str,
    read: impl FnOnce(&Field<'_>) -> Result<T, YamlError>,
) -> Result<Setting<T>, YamlError> {
    let Some(field) = section.get(key) else {
        return Ok(None);
    };
    let value = if field.is_null() { None } else { Some(read(&field)?) };
    Ok(Some(Said { place: field.place().clone(), value }))
}

/// A key of a group of keys; the group as a whole may be null, which resets each of them.
fn grouped<T>(
    group: Option<&Field<'_>>,
    key: &str,
    read: impl FnOnce(&Field<'_>) -> Result<T, YamlError>,
) -> Result<Setting<T>, YamlError> {
    match group {
        None => Ok(None),
        Some(group) if group.is_null() => {
            Ok(Some(Said { place: group.place().clone(), value: None }))
        }
        Some(group) => setting(&group.section()?, key, read),
    }
}

fn each(
    field: &Field<'_>,
    read: impl Fn(&Field<'_>) -> Result<String, YamlError>,
) -> Result<Vec<String>, YamlError> {
    field.list()?.iter().map(read).collect()
}

/// A name that goes into the market's constraints, whose grammar must not be broken by it.
fn word(field: &Field<'_>) -> Result<String, YamlError> {
    let text = field.text()?;
    if text
        .contains(|character: char| character.is_whitespace() || "()&|!=<>*\\".contains(character))
    {
        let what = "has a space or one of `()&|!=<>*\\`; write a name without them";
        return Err(field.error(format!("{} {what}", field.shown())));
    }
    Ok(text.to_owned())
}

fn outbound_url(field: &Field<'_>) -> Result<String, YamlError> {
    let text = field.text()?;
    let is_web_address = Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_web_address {
        let what = "is not an http or https address; write one such as `https://pypi.org`";
        return Err(field.error(format!("{} {what}", field.shown())));
    }
    Ok(text.to_owned())
}

/// An amount that is a limit: rounded down, so that no more is paid than was written.
pub(super) fn glm(field: &Field<'_>) -> Result<Glm, YamlError> {
    let amount = field.decimal(Rounding::Down)?;
    if amount > GLM_MAX {
        let what = format!("is more than {GLM_MAX} GLM; write an amount in GLM, such as `0.5`");
        return Err(field.error(format!("{} {what}", field.shown())));
    }
    Ok(amount)
}

fn gib(field: &Field<'_>) -> Result<Gib, YamlError> {
    match u64::try_from(field.scaled(6, Rounding::Up)?) {
        Ok(millionths) if millionths <= GIB_MAX * MILLION => Ok(Gib::from_millionths(millionths)),
        Ok(_) | Err(_) => {
            let what = format!("is more than any machine has; write GiB, up to {GIB_MAX}");
            Err(field.error(format!("{} {what}", field.shown())))
        }
    }
}

fn cpu_load(field: &Field<'_>) -> Result<Load, YamlError> {
    match u32::try_from(field.scaled(6, Rounding::Up)?) {
        Ok(millionths) if (1..=Load::FULL.as_millionths()).contains(&millionths) => {
            Ok(Load::from_millionths(millionths))
        }
        Ok(_) | Err(_) => {
            let what = "is no share of a CPU; write a number above 0, and at most 1, such as `0.8`";
            Err(field.error(format!("{} {what}", field.shown())))
        }
    }
}

fn duration(field: &Field<'_>) -> Result<Span, YamlError> {
    hours(field, DURATION_HOURS_MAX)?.ok_or_else(|| {
        let what = format!("does not fit here; write hours above 0, up to {DURATION_HOURS_MAX}");
        field.error(format!("{} {what}", field.shown()))
    })
}

fn payment_interval(field: &Field<'_>) -> Result<Span, YamlError> {
    hours(field, PAYMENT_INTERVAL_HOURS_MAX)?.ok_or_else(|| {
        let what = format!(
            "does not fit here; write hours above 0, up to {PAYMENT_INTERVAL_HOURS_MAX}, which is \
             the longest that providers wait for their pay"
        );
        field.error(format!("{} {what}", field.shown()))
    })
}

/// Hours above zero and up to `max`, or none if the number is outside of that.
fn hours(field: &Field<'_>, max: u64) -> Result<Option<Span>, YamlError> {
    let micro_hours = u64::try_from(field.scaled(6, Rounding::Up)?).unwrap_or(u64::MAX);
    let is_sound = (1..=max * MILLION).contains(&micro_hours);
    // A millionth of an hour is 3600 microseconds.
    Ok(is_sound.then(|| Span::micros(3600).times(micro_hours)))
}
