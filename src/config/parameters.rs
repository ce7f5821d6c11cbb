//! The settings of a cluster as a whole: `provider.parameters` of the file and of requests.

use super::layer::glm;
use super::networks::{self, PaymentNetwork};
use super::yaml::{Field, Section, Value, YamlError};
use crate::core::autostop::Autostop;
use crate::core::cluster::law::Law;
use crate::core::cluster::plan::{ClusterPlan, NetworkPath};
use crate::core::reputation::Reputation;
use crate::units::{Glm, Span};

/// Settings of the cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The port of the web server.
    pub webserver_port: u16,
    /// Where the web server keeps its files, if not in the usual place.
    pub webserver_datadir: Option<String>,
    /// The local port that leads to the head's GCS, if there is to be one.
    pub ray_gcs_expose_port: Option<u16>,
    /// Whether the registry may count the look-up of the image.
    pub enable_registry_stats: bool,
    /// The chain to pay on; never a retired one.
    pub payment_network: PaymentNetwork,
    /// The most to spend between `ray up` and `ray down`; above zero.
    pub total_budget: Glm,
    /// The most that all nodes together may cost in an hour, if there is a limit; above zero.
    pub max_glm_per_hour: Option<Glm>,
    /// When the cluster ends by itself, if ever.
    pub autostop: Option<Autostop>,
    /// Who carries the frames of the private network; none is `auto`.
    pub network_path: Option<NetworkPath>,
}

/// The user on the nodes, if nobody says otherwise.
pub(super) const DEFAULT_SSH_USER: &str = "root";

const WEBSERVER_PORT: u16 = 4578;
const RAY_GCS_EXPOSE_PORT: u16 = 6379;
const TOTAL_BUDGET: Glm = Glm::from_whole(5);
const IDLE_MINUTES_MAX: u64 = 7 * 24 * 60;
const KEYS: [&str; 11] = [
    "webserver_port",
    "webserver_datadir",
    "ray_gcs_expose_port",
    "enable_registry_stats",
    "payment_network",
    "payment_driver",
    "total_budget",
    "max_glm_per_hour",
    "autostop",
    "network_path",
    "node_config",
];

impl Parameters {
    /// What a cluster with these settings is asked for.
    #[must_use]
    pub fn plan(
        &self,
        ssh_public_key: String,
        reputation: Reputation,
        law: Option<Law>,
    ) -> ClusterPlan {
        ClusterPlan {
            platform: self.payment_network.platform.into(),
            total_budget: self.total_budget,
            max_glm_per_hour: self.max_glm_per_hour,
            autostop: self.autostop,
            law,
            ssh_public_key,
            reputation,
            network: None,
            network_path: self.network_path,
        }
    }

    /// Reads the section; `more` names keys that the caller reads itself.
    pub(super) fn read(
        section: &Section<'_>,
        more: &[&str],
        warnings: &mut Vec<YamlError>,
    ) -> Result<Self, YamlError> {
        let known: Vec<&str> = KEYS.iter().chain(more).copied().collect();
        section.deny_unknown(&known)?;
        section.read("payment_driver", |driver| driver.one_of(&[networks::DRIVER]))?;
        let payment_network = match section.optional("payment_network") {
            Some(field) => payment_network(&field, warnings)?,
            None => networks::DEFAULT,
        };
        let ray_gcs_expose_port = match section.get("ray_gcs_expose_port") {
            Some(field) if field.is_null() => None,
            Some(field) => Some(port(&field)?),
            None => Some(RAY_GCS_EXPOSE_PORT),
        };
        Ok(Self {
            webserver_port: section.read("webserver_port", port)?.unwrap_or(WEBSERVER_PORT),
            webserver_datadir: section.read("webserver_datadir", text)?,
            ray_gcs_expose_port,
            enable_registry_stats: section
                .read("enable_registry_stats", Field::flag)?
                .unwrap_or(true),
            payment_network,
            total_budget: section.read("total_budget", amount)?.unwrap_or(TOTAL_BUDGET),
            max_glm_per_hour: section.read("max_glm_per_hour", amount)?,
            autostop: section.read("autostop", autostop)?,
            network_path: section.read("network_path", network_path)?.flatten(),
        })
    }
}

/// Text of any kind.
pub(super) fn text(field: &Field<'_>) -> Result<String, YamlError> {
    field.text().map(str::to_owned)
}

fn port(field: &Field<'_>) -> Result<u16, YamlError> {
    field.whole(1..=u16::MAX)
}

fn payment_network(
    field: &Field<'_>,
    warnings: &mut Vec<YamlError>,
) -> Result<PaymentNetwork, YamlError> {
    let Some(network) = networks::find(field.text()?) else {
        return Err(field.unknown_word(&networks::names_in_use()));
    };
    match network.replaced_by.and_then(networks::find) {
        Some(replacement) => {
            let (retired, name) = (network.name, replacement.name);
            let what =
                format!("`{retired}` has been shut down, and `{name}` is used; write `{name}`");
            warnings.push(field.error(what));
            Ok(replacement)
        }
        None => Ok(network),
    }
}

fn network_path(field: &Field<'_>) -> Result<Option<NetworkPath>, YamlError> {
    match field.text()? {
        "auto" => Ok(None),
        "bus" => Ok(Some(NetworkPath::Bus)),
        "daemon" => Ok(Some(NetworkPath::Daemon)),
        _ => Err(field.unknown_word(&["auto", "bus", "daemon"])),
    }
}

fn amount(field: &Field<'_>) -> Result<Glm, YamlError> {
    let amount = glm(field)?;
    if amount == Glm::ZERO {
        return Err(field.error("nothing can be rented for 0 GLM; write an amount above 0"));
    }
    Ok(amount)
}

fn autostop(field: &Field<'_>) -> Result<Autostop, YamlError> {
    let section = match &field.node().value {
        Value::Map(_) => field.section()?,
        Value::Null | Value::Scalar { .. } | Value::List(_) => {
            let what = "says not what ends the cluster; write `{idle_minutes: 30}`, or \
                        `{at: \"22:30\"}`";
            return Err(field.error(format!("{} {what}", field.shown())));
        }
    };
    section.deny_unknown(&["idle_minutes", "at"])?;
    let idle = section
        .read("idle_minutes", |minutes| minutes.whole(1..=IDLE_MINUTES_MAX))?
        .map(Span::mins);
    let at = section.read("at", time_of_day)?;
    if idle.is_none() && at.is_none() {
        return Err(field.error("is empty; add `idle_minutes`, or `at`, or leave it out"));
    }
    Ok(Autostop { idle, at })
}

/// A time of day in UTC, such as `22:30`.
fn time_of_day(field: &Field<'_>) -> Result<Span, YamlError> {
    let (text, quoted) = match &field.node().value {
        Value::Scalar { text, quoted } => (text.as_str(), *quoted),
        Value::Null | Value::List(_) | Value::Map(_) => ("", true),
    };
    if !quoted {
        let what =
            "without quotes is a number for Ray; write a time in quotes, such as `\"22:30\"`";
        return Err(field.error(format!("{} {what}", field.shown())));
    }
    let digits = |part: &str| match part.len() {
        2 if part.bytes().all(|byte| byte.is_ascii_digit()) => part.parse::<u64>().ok(),
        _ => None,
    };
    let parts =
        text.split_once(':').and_then(|(hour, minute)| Some((digits(hour)?, digits(minute)?)));
    match parts {
        Some((hour @ 0..=23, minute @ 0..=59)) => Ok(Span::hours(hour).plus(Span::mins(minute))),
        Some(_) | None => {
            let what = "is no time of day; write hours and minutes in UTC, such as `\"22:30\"`";
            Err(field.error(format!("{} {what}", field.shown())))
        }
    }
}
