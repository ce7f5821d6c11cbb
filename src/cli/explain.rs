//! `explain`: for each offer on the market, why it would be hired, or why not.
//!
//! The offers go through the pipeline of a cluster, as in `network-stats`; what became of each is
//! what the core says, and nothing is judged here.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    error::CliError,
    network_stats::{self, Format, Order, SurveyArgs, Wish, in_minutes},
    printer::Printer,
    reputation::experience,
    surroundings,
    table::{plain, table},
};
use crate::{
    core::{
        market::{
            appraisal::{Appraisal, Fate},
            limits::Limits,
        },
        reputation::{Reputation, Standing},
        survey::{MarketReport, SurveyReport},
    },
    driver::clock::{now, written},
    reputation::{Store, StoreError},
    units::{Span, Timestamp},
    yagna::ProviderId,
};

const HEADINGS: [&str; 13] = [
    "#",
    "PROVIDER",
    "NODE ID",
    "SUBNET",
    "GLM/CPU-H",
    "SCORE",
    "PRICE",
    "REPUTATION",
    "EXPERIENCE",
    "CHANCE",
    "OWN",
    "PROVEN",
    "VERDICT",
];

/// What to explain, on whichever network.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// The cluster file
    #[arg(value_name = "CLUSTER_CONFIG_FILE")]
    cluster: PathBuf,
    /// The node type of the cluster file to look for
    #[arg(default_value = "ray.head.default")]
    node_type: String,
    /// How long to gather offers, in minutes; may be a fraction
    #[arg(short, long, value_name = "MINUTES", default_value = "1",
        value_parser = network_stats::minutes)]
    duration: Span,
    /// The most rows of the table; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 20)]
    rows: usize,
    /// Print all offers as JSON, for programs
    #[arg(long)]
    json: bool,
    /// Where the blacklist, scores, and experience are. By default, uses a system data directory
    #[arg(long, value_name = "PATH")]
    datadir: Option<PathBuf>,
}

/// Arguments of `ray-on-golem explain`.
#[derive(Args, Debug)]
pub(super) struct Explain {
    #[command(flatten)]
    args: ExplainArgs,
    /// Explain a simulated network, offline and in a blink; the default scenario is a small testnet
    #[arg(long, value_name = "SCENARIO", num_args = 0..=1)]
    sim: Option<Option<PathBuf>>,
    /// The seed of the simulated network
    #[arg(long, value_name = "N", default_value_t = 0, requires = "sim")]
    seed: u64,
    /// Write what is exchanged with the daemon to a new file, for `golem-sim replay`; keys are masked
    #[arg(long, value_name = "FILE", conflicts_with = "sim")]
    record: Option<PathBuf>,
}

impl Explain {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        let Some(scenario) = &self.sim else {
            let data = surroundings::data_directory(self.args.datadir.clone())?;
            let order = self.args.order(printer)?;
            let reputation = known(&data, &order, printer)?;
            self.args.begin(printer);
            let wish = Wish {
                reputation: reputation.clone(),
                explains: true,
                record: self.record.as_deref(),
            };
            let report = network_stats::survey(&order, wish, printer)?;
            return self.args.print(&order, &report, &reputation, printer);
        };
        let args = &self.args;
        let mut words: Vec<OsString> = vec!["explain".into(), args.cluster.clone().into()];
        words.push(args.node_type.clone().into());
        words.push(format!("--duration={}", in_minutes(args.duration)).into());
        words.push(format!("--rows={}", args.rows).into());
        words.push(format!("--seed={}", self.seed).into());
        if args.json {
            words.push("--json".into());
        }
        if let Some(data) = &args.datadir {
            words.extend(["--datadir".into(), data.clone().into_os_string()]);
        }
        if let Some(scenario) = scenario {
            words.extend(["--scenario".into(), scenario.clone().into_os_string()]);
        }
        surroundings::run_simulator(&words)
    }
}

impl ExplainArgs {
    /// Reads the cluster file.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn order(&self, printer: &mut Printer) -> Result<Order, CliError> {
        let args = SurveyArgs {
            cluster: self.cluster.clone(),
            node_type: self.node_type.clone(),
            duration: self.duration,
            format: Format::Json,
        };
        Order::read(args, printer)
    }

    /// What is known about the providers of a simulated network: nothing, unless a data directory is
    /// named, so that a scenario and a seed tell the same everywhere.
    ///
    /// # Errors
    ///
    /// If the store cannot be used.
    pub fn known_of_simulated(
        &self,
        order: &Order,
        printer: &mut Printer,
    ) -> Result<Reputation, CliError> {
        match &self.datadir {
            Some(data) => known(&data.join("sim"), order, printer),
            None => Ok(Reputation::default()),
        }
    }

    /// Says that it begins.
    pub fn begin(&self, printer: &mut Printer) {
        printer.tell(&format!("Gathering offers for {} minutes...", in_minutes(self.duration)));
    }

    /// Prints the explanation.
    ///
    /// # Errors
    ///
    /// If nothing can be printed.
    pub fn print(
        &self,
        order: &Order,
        report: &SurveyReport,
        reputation: &Reputation,
        printer: &mut Printer,
    ) -> Result<(), CliError> {
        let offers = ranked(report, reputation);
        if self.json {
            let document = json!({
                "version": 1,
                "node_type": order.node_type().name,
                "payment_network": order.network(),
                "offers": offers.iter().map(Explained::document).collect::<Vec<_>>(),
            });
            return printer.line(&serde_json::to_string_pretty(&document).unwrap_or_default());
        }
        let shown = if self.rows == 0 { offers.len() } else { self.rows.min(offers.len()) };
        let rows: Vec<_> = offers.iter().take(shown).map(Explained::row).collect();
        printer.print(&table(&HEADINGS, &rows, io::stdout().is_terminal()))?;
        match (offers.len(), offers.len().saturating_sub(shown)) {
            (0, _) => printer.tell("No offers."),
            (all, 0) => printer.tell(&format!("{all} offers.")),
            (all, _) => printer.tell(&format!("{shown} of {all} offers; `--rows 0` shows all.")),
        }
        Ok(())
    }
}

/// What is known about providers on the payment network of a cluster file.
pub(super) fn known(
    data: &Path,
    order: &Order,
    printer: &mut Printer,
) -> Result<Reputation, CliError> {
    match Store::open_existing(data, now()) {
        Ok(opened) => {
            opened.notices.iter().for_each(|notice| printer.warn(&notice.to_string()));
            Ok(opened.store.reputation(order.network())?)
        }
        Err(StoreError::Missing { .. }) => Ok(Reputation::default()),
        Err(error) => Err(error.into()),
    }
}

/// One offer, with all that decides about it.
struct Explained<'a> {
    market: &'a MarketReport,
    appraisal: &'a Appraisal,
    standing: Option<&'a Standing>,
    /// When its provider would be hired: the best one first.
    choice: Option<usize>,
    /// Whether another offer of its provider is better.
    is_second: bool,
}

/// The offers that could be hired, in the order in which they would be, then the others, the best
/// first. Recommended providers are asked first; a private network takes one node of each provider.
fn ranked<'a>(report: &'a SurveyReport, reputation: &'a Reputation) -> Vec<Explained<'a>> {
    let (first, others) = match report.markets.split_first() {
        Some((public, recommended)) => (recommended, std::slice::from_ref(public)),
        None => (&[][..], &[][..]),
    };
    let mut offers: Vec<(usize, Explained<'a>)> = Vec::new();
    for (nth, market) in first.iter().chain(others).enumerate() {
        offers.extend(market.appraisals.iter().map(|appraisal| {
            let standing = reputation.0.get(&appraisal.provider);
            (nth, Explained { market, appraisal, standing, choice: None, is_second: false })
        }));
    }
    offers.sort_by_key(|(market, offer)| {
        let is_agreed = offer.appraisal.fate == Fate::Agreed;
        let place = if is_agreed { *market } else { usize::MAX };
        (place, std::cmp::Reverse(offer.appraisal.score.map(|parts| parts.total)))
    });
    let mut choices: BTreeMap<&ProviderId, usize> = BTreeMap::new();
    let mut ranked: Vec<Explained<'a>> = offers.into_iter().map(|(_, offer)| offer).collect();
    for offer in ranked.iter_mut().filter(|offer| offer.appraisal.fate == Fate::Agreed) {
        let next = choices.len().saturating_add(1);
        let choice = *choices.entry(&offer.appraisal.provider).or_insert(next);
        offer.is_second = choice != next;
        offer.choice = Some(choice);
    }
    ranked
}

impl Explained<'_> {
    fn verdict(&self) -> String {
        let limits: &Limits = &self.market.limits;
        match (&self.appraisal.fate, self.choice) {
            (Fate::Agreed, Some(choice)) if self.is_second => {
                format!("its provider is choice {choice} already")
            }
            (Fate::Agreed, Some(choice)) => format!("choice {choice}"),
            (Fate::Agreed, None) => "could be hired".to_owned(),
            (Fate::Blacklisted, _) => {
                let until = self.standing.and_then(|standing| standing.blacklisted_until);
                match until {
                    Some(until) if until < Timestamp::NEVER => {
                        format!("blacklisted until {}", written(until))
                    }
                    Some(_) | None => "blacklisted".to_owned(),
                }
            }
            (Fate::Barred, _) => "kept out by the lists of the cluster file".to_owned(),
            (Fate::Unusable(why), _) => format!("cannot be used: {why}"),
            (Fate::TooDear(limit), _) => match limits.as_slice().get(*limit) {
                Some(limit) => format!("exceeds `{}` = {}", limit.key(), limit.value()),
                None => "too dear".to_owned(),
            },
            (Fate::NoRoom, _) => "many others are better".to_owned(),
            (Fate::Waiting, _) => "there was no time to negotiate".to_owned(),
            (Fate::Negotiating, _) => "the provider has not answered yet".to_owned(),
            (Fate::Failed(why), _) => format!("negotiation failed: {why}"),
        }
    }

    fn row(&self) -> Vec<String> {
        let offer = self.appraisal.offer.as_ref();
        let price = offer.and_then(|offer| offer.price.per_cpu_hour(offer.threads));
        let parts = self.appraisal.score;
        let part = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), thousandths);
        let own = self.standing.and_then(|standing| standing.experience.as_ref());
        let own = own.map(|own| own.attempts()).filter(|(_, tries)| *tries > 0);
        vec![
            self.choice
                .filter(|_| !self.is_second)
                .map_or_else(|| "-".to_owned(), |choice| choice.to_string()),
            offer.map_or_else(|| "-".to_owned(), |offer| plain(&offer.name)),
            self.appraisal.provider.to_string(),
            plain(&self.market.subnet_tag),
            price.map_or_else(|| "-".to_owned(), |price| price.rounded_up(4).to_string()),
            part(parts.map(|parts| parts.total.as_millionths())),
            part(parts.map(|parts| parts.price)),
            part(parts.and_then(|parts| parts.reputation)),
            part(parts.map(|parts| parts.experience)),
            part(parts.map(|parts| parts.chance)),
            own.map_or_else(|| "-".to_owned(), |(good, tries)| format!("{good}/{tries}")),
            if self.appraisal.is_proven { "yes" } else { "no" }.to_owned(),
            plain(&self.verdict()),
        ]
    }

    fn document(&self) -> Value {
        let offer = self.appraisal.offer.as_ref();
        let share = |millionths: u32| f64::from(millionths) / 1e6;
        let own = self.standing.and_then(|standing| standing.experience.as_ref());
        json!({
            "choice": self.choice.filter(|_| !self.is_second),
            "provider_id": self.appraisal.provider,
            "provider_name": offer.map(|offer| &offer.name),
            "subnet": self.market.subnet_tag,
            "threads": offer.map(|offer| offer.threads),
            "glm_per_cpu_hour": offer.and_then(|offer| offer.price.per_cpu_hour(offer.threads)),
            "glm_start": offer.map(|offer| offer.price.start),
            "score": self.appraisal.score.map(|parts| json!({
                "total": share(parts.total.as_millionths()),
                "price": share(parts.price),
                "reputation": parts.reputation.map(share),
                "experience": share(parts.experience),
                "chance": share(parts.chance),
            })),
            "experience": own.map(|own| experience(own)),
            "is_proven": self.appraisal.is_proven,
            "verdict": self.verdict(),
        })
    }
}

/// Millionths with three decimals.
fn thousandths(millionths: u32) -> String {
    format!("{}.{:03}", millionths / 1_000_000, millionths % 1_000_000 / 1_000)
}
