//! `network-stats`: what the market offers for a cluster, from the real network or a simulated one.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{document::Document, error::CliError, explain, printer::Printer, report, surroundings};
use crate::{
    config::{ClusterFile, ConfigError, NodeKind, NodeType},
    core::{
        market::spec::{Image, Load},
        reputation::Reputation,
        survey::{SurveyPlan, SurveyReport},
    },
    driver::{self, Remark},
    registry::{Registry, RegistryError},
    units::{
        Glm, Span,
        money::{Rounding, parse_scaled},
    },
    yagna::{AppKey, CallError, Client, PlatformId, Request, Yagna},
};

const PROBE_PATIENCE: Span = Span::secs(10);
const REGISTRY_PATIENCE: Span = Span::secs(20);
/// Negotiations side by side, for each subnet.
const PARALLEL: usize = 64;
/// Offers remembered, for each subnet.
const POOL_CAPACITY: usize = 1 << 17;
/// A survey pays nothing; this is enough for providers to take the demand for serious.
const FUNDS_MAX: Glm = Glm::from_whole(1);
const MINUTES_MAX: u64 = 7 * 24 * 60;

/// What to survey, on whichever network.
#[derive(Args, Clone, Debug)]
pub struct SurveyArgs {
    /// The cluster file
    #[arg(value_name = "CLUSTER_CONFIG_FILE")]
    pub cluster: PathBuf,
    /// The node type of the cluster file to look for
    #[arg(default_value = "ray.head.default")]
    pub node_type: String,
    /// How long to gather offers, in minutes; may be a fraction
    #[arg(short, long, value_name = "MINUTES", default_value = "5", value_parser = minutes)]
    pub duration: Span,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Arguments of `ray-on-golem network-stats`.
#[derive(Args, Debug)]
pub(super) struct NetworkStats {
    #[command(flatten)]
    survey: SurveyArgs,
    /// Survey a simulated network, offline and in a blink; the default scenario is a small testnet
    #[arg(long, value_name = "SCENARIO", num_args = 0..=1)]
    sim: Option<Option<PathBuf>>,
    /// The seed of the simulated network
    #[arg(long, value_name = "N", default_value_t = 0, requires = "sim")]
    seed: u64,
    /// Write what is exchanged with the daemon to a new file, for `golem-sim replay`; keys are masked
    #[arg(long, value_name = "FILE", conflicts_with = "sim")]
    record: Option<PathBuf>,
    /// Accepted for compatibility: warnings are always shown
    #[arg(long, hide = true)]
    enable_logging: bool,
    /// Where the blacklist is. By default, uses a system data directory
    #[arg(long, value_name = "PATH")]
    datadir: Option<PathBuf>,
}

/// A survey as the cluster file asks for it, but for the image.
#[derive(Debug)]
pub struct Order {
    args: SurveyArgs,
    file: ClusterFile,
    node_type: NodeType,
}

impl NetworkStats {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        match &self.sim {
            Some(scenario) => self.run_sibling(scenario.as_deref()),
            None => {
                let data = surroundings::data_directory(self.datadir)?;
                let order = Order::read(self.survey, printer)?;
                let reputation = explain::known(&data, &order, printer)?;
                let wish = Wish { reputation, explains: false, record: self.record.as_deref() };
                let report = survey(&order, wish, printer)?;
                order.print_report(&report, false, printer)
            }
        }
    }

    /// The simulator is another program, so that this one carries none.
    fn run_sibling(&self, scenario: Option<&Path>) -> Result<(), CliError> {
        let mut arguments: Vec<OsString> = vec!["stats".into(), self.survey.cluster.clone().into()];
        arguments.push(self.survey.node_type.clone().into());
        arguments.push(format!("--duration={}", in_minutes(self.survey.duration)).into());
        arguments.push(format!("--seed={}", self.seed).into());
        if self.survey.format == Format::Json {
            arguments.push("--format=json".into());
        }
        if let Some(scenario) = scenario {
            arguments.extend(["--scenario".into(), scenario.into()]);
        }
        surroundings::run_simulator(&arguments)
    }
}

impl Order {
    /// Reads the cluster file.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn read(args: SurveyArgs, printer: &mut Printer) -> Result<Self, CliError> {
        let name = args.cluster.display().to_string();
        let bytes = std::fs::read(&args.cluster)
            .map_err(|error| ConfigError::unreadable(&name, error.kind()))?;
        let file = ClusterFile::parse(&name, &bytes)?;
        for warning in &file.warnings {
            printer.warn(warning);
        }
        let node_type = file.node_type(&args.node_type)?.clone();
        Ok(Self { args, file, node_type })
    }

    /// The node type that is looked for.
    #[must_use]
    pub fn node_type(&self) -> &NodeType {
        &self.node_type
    }

    /// The payment network of the cluster.
    #[must_use]
    pub fn network(&self) -> &'static str {
        self.file.parameters.payment_network.name
    }

    /// What the machine is asked for; whoever wants to know what became of each offer sets `explains`.
    #[must_use]
    pub fn plan(&self, image: Image, reputation: Reputation, explains: bool) -> SurveyPlan {
        SurveyPlan {
            spec: self.node_type.spec.clone(),
            image,
            platform: PlatformId::from(self.file.parameters.payment_network.platform),
            funds: self.file.parameters.total_budget.min(FUNDS_MAX),
            duration: self.args.duration,
            reputation,
            parallel: PARALLEL,
            pool_capacity: POOL_CAPACITY,
            explains,
        }
    }

    /// Says that it begins.
    ///
    /// # Errors
    ///
    /// If nothing can be printed.
    pub fn print_start(&self, printer: &mut Printer) -> Result<(), CliError> {
        match self.args.format {
            Format::Text => {
                let minutes = in_minutes(self.args.duration);
                let unit = if minutes == "1" { "minute" } else { "minutes" };
                printer.print(&format!("Gathering stats data for {minutes} {unit}...\n"))
            }
            Format::Json => Ok(()),
        }
    }

    /// Prints the report.
    ///
    /// # Errors
    ///
    /// If nothing can be printed.
    pub fn print_report(
        &self,
        report: &SurveyReport,
        is_simulated: bool,
        printer: &mut Printer,
    ) -> Result<(), CliError> {
        let sizes = self.sizes();
        match self.args.format {
            Format::Text => printer.print(&report::text(report, &sizes)),
            Format::Json => {
                let (cluster, node_type) = (&self.file.cluster_name, &self.node_type.name);
                let document = Document::new(report, &sizes, cluster, node_type, is_simulated);
                printer.print(&document.to_json())
            }
        }
    }

    /// The cluster's smallest and largest size, its head included.
    fn sizes(&self) -> Sizes {
        let workers = self.file.node_types.iter().filter(|it| it.kind == NodeKind::Worker);
        let (min, max) = workers.fold((0_u64, 0_u64), |(min, max), it| {
            (min + u64::from(it.min_workers), max + u64::from(it.max_workers))
        });
        let limit = u64::from(self.file.max_workers);
        let usage = self.node_type.spec.limits.per_cpu_expected_usage;
        Sizes {
            workers_min: min.min(limit),
            workers_max: max.min(limit),
            load: usage.map_or(Load::FULL, |usage| usage.cpu_load),
        }
    }
}

/// How large the cluster gets, and how busy its nodes are expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Workers at the least.
    pub workers_min: u64,
    /// Workers at the most.
    pub workers_max: u64,
    /// How busy their CPUs are.
    pub load: Load,
}

/// What a survey of the daemon's network is to know, to tell, and to leave behind.
pub(super) struct Wish<'a> {
    /// What is known of providers.
    pub(super) reputation: Reputation,
    /// Whether to tell what became of each offer.
    pub(super) explains: bool,
    /// Where to write down what was exchanged with the daemon.
    pub(super) record: Option<&'a Path>,
}

/// Surveys the network of the daemon.
pub(super) fn survey(
    order: &Order,
    Wish { reputation, explains, record }: Wish<'_>,
    printer: &mut Printer,
) -> Result<Box<SurveyReport>, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, key) = connect().await?;
        let image = look_up_image(order).await?;
        let mut interrupts = driver::interrupts()?;
        let recorder = surroundings::recorder(record, &key)?;
        if !explains {
            order.print_start(printer)?;
        }
        let mut speak = |remark: Remark<'_>| match remark {
            Remark::Notice(notice) => printer.warn(&notice.to_string()),
            Remark::Interrupted => printer.tell("Received CTRL-C, exiting..."),
            Remark::NotRecorded(error) => printer.warn(&error.to_string()),
        };
        let plan = order.plan(image, reputation, explains);
        Ok(driver::survey(&client, plan, &mut interrupts, recorder, &mut speak).await?)
    })
}

/// Finds the daemon and the key to it.
async fn connect() -> Result<(Client, AppKey), CliError> {
    let endpoints = surroundings::endpoints()?;
    let client = |key: AppKey| {
        Client::new(endpoints.clone(), key).map_err(|error| environment(&error, "report this"))
    };
    // Any answer shows that the daemon runs, whatever it thinks of the key.
    let stranger = AppKey::new("unknown").map_err(|error| environment(&error, "report this"))?;
    let probe = client(stranger)?.call(Request::WhoAmI, PROBE_PATIENCE).await;
    if let Err(error @ (CallError::NotSent { .. } | CallError::Unknown(_))) = probe {
        return Err(CliError::Environment {
            what: format!("no yagna daemon answers at {}: {error}", endpoints.base),
            hint: "start it with `yagna service run`, or set `YAGNA_API_URL`".to_owned(),
        });
    }
    let key = surroundings::key_source().find().await;
    let key = key.map_err(|error| environment(&error, "set `YAGNA_APPKEY`"))?;
    Ok((client(key.clone())?, key))
}

async fn look_up_image(order: &Order) -> Result<Image, CliError> {
    let base = surroundings::registry()?;
    let registry = Registry::new(base, order.file.parameters.enable_registry_stats)
        .map_err(|error| environment(&error, "install the system's certificates"))?;
    let image = registry.look_up(&order.node_type.spec.image, REGISTRY_PATIENCE).await;
    image.map_err(|error: RegistryError| CliError::Image(error))
}

fn environment(error: &dyn std::error::Error, hint: &str) -> CliError {
    CliError::Environment { what: error.to_string(), hint: hint.to_owned() }
}

pub(super) fn minutes(text: &str) -> Result<Span, String> {
    let millionths =
        parse_scaled(text, 6, Rounding::Down).ok().and_then(|it| u64::try_from(it).ok());
    millionths
        .map(|millionths| Span::micros(millionths.saturating_mul(60)))
        .filter(|span| *span > Span::ZERO && *span <= Span::mins(MINUTES_MAX))
        .ok_or_else(|| format!("write a number of minutes above 0 and up to {MINUTES_MAX}"))
}

/// Minutes as they were typed: `5`, `0.2`.
pub(super) fn in_minutes(span: Span) -> String {
    Glm::from_atto(u128::from(span.as_micros() / 60) * 1_000_000_000_000).to_string()
}
