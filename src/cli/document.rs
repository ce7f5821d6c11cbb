//! The report of a survey for programs: `fixtures/schema/network-stats.schema.json` documents it.
//!
//! Amounts of GLM are decimal text, exact to the last digit.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    network_stats::Sizes,
    report::{by_count, memory, providers, sizes_of, threads},
};
use crate::core::{
    market::supply::{self, Supply},
    survey::{MarketReport, SurveyReport},
};

/// The report of `network-stats --format json`.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Document {
    /// The version of this form; it changes when a field changes its meaning or goes.
    version: u32,
    /// The name of the cluster file's cluster.
    cluster_name: String,
    /// The node type that was looked for.
    node_type: String,
    /// Whether the network was a simulated one.
    simulated: bool,
    /// How long offers were gathered, in seconds.
    gathered_secs: u64,
    /// Whether it was ended before its time.
    ended_early: bool,
    /// Whether an allocation backed the demand.
    funded: bool,
    /// What was found on each subnet; the first is the one of `subnet_tag`.
    markets: Vec<Market>,
    /// What could not be undone at the end; the daemon ends it by itself.
    left_behind: Vec<String>,
}

/// What was found on one subnet.
#[derive(Debug, JsonSchema, Serialize)]
struct Market {
    subnet_tag: String,
    proposals: Proposals,
    /// Why negotiations failed, most frequent first.
    negotiation_errors: Vec<Reason>,
    /// Why offers could not be used, most frequent first.
    unusable_offers: Vec<Reason>,
    /// What could be hired.
    supply: SupplyDocument,
}

/// How many distinct offers came how far.
#[derive(Debug, JsonSchema, Serialize)]
struct Proposals {
    initial: u64,
    not_blacklisted: u64,
    /// The price limits of the cluster file, in the order in which they apply.
    limits: Vec<LimitDocument>,
    negotiation_initialized: u64,
    negotiated_successfully: u64,
    /// Still in negotiation when the time was up.
    unfinished: u64,
    /// Not asked before the time was up.
    waiting: u64,
    /// Too many to remember.
    overflow: u64,
    /// Events of the daemon that could not be read.
    unreadable_events: u64,
}

/// One price limit.
#[derive(Debug, JsonSchema, Serialize)]
struct LimitDocument {
    /// The key in the cluster file.
    key: String,
    /// The limit, in GLM.
    value: String,
    /// Offers that passed it and all before it.
    passed: u64,
    /// Providers with an offer that it turned away.
    providers_turned_away: usize,
}

/// A reason and how often it was given.
#[derive(Debug, JsonSchema, Serialize)]
struct Reason {
    reason: String,
    count: u64,
}

/// What could be hired, and what it costs.
#[derive(Debug, JsonSchema, Serialize)]
struct SupplyDocument {
    offers: usize,
    providers: usize,
    threads: u64,
    /// In GiB.
    memory_gib: String,
    /// The price of an hour of one busy CPU thread; nothing without offers.
    price_per_cpu_hour: Option<Prices>,
    /// The cheapest clusters of the cluster file's smallest and largest size.
    cheapest_clusters: Vec<Cluster>,
}

/// How prices are spread, in GLM.
#[derive(Debug, JsonSchema, Serialize)]
struct Prices {
    min: String,
    lower_quartile: String,
    median: String,
    upper_quartile: String,
    max: String,
    histogram: Vec<Bar>,
}

/// How many offers cost more than the bar before and at most this.
#[derive(Debug, JsonSchema, Serialize)]
struct Bar {
    up_to: String,
    count: u64,
}

/// The cheapest cluster of one size, each node from another provider.
#[derive(Debug, JsonSchema, Serialize)]
struct Cluster {
    /// Its nodes, the head included.
    nodes: u64,
    /// How many of them could be had.
    found: u64,
    /// What those cost in an hour, without start prices.
    glm_per_hour: String,
    /// What starting them costs once.
    start_glm: String,
}

impl Document {
    pub(super) fn new(
        report: &SurveyReport,
        sizes: &Sizes,
        cluster: &str,
        node_type: &str,
        is_simulated: bool,
    ) -> Self {
        Self {
            version: 1,
            cluster_name: cluster.to_owned(),
            node_type: node_type.to_owned(),
            simulated: is_simulated,
            gathered_secs: report.gathered.as_secs(),
            ended_early: report.ended_early,
            funded: report.funded,
            markets: report.markets.iter().map(|market| Market::new(market, sizes)).collect(),
            left_behind: report.left_behind.iter().map(ToString::to_string).collect(),
        }
    }

    /// The document as indented JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The schema as indented JSON.
    #[must_use]
    pub fn schema() -> String {
        let schema = schemars::schema_for!(Self);
        let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Market {
    fn new(market: &MarketReport, sizes: &Sizes) -> Self {
        let funnel = &market.funnel;
        let counts = funnel.within_limit.iter().zip(&funnel.turned_away);
        let limits = market.limits.as_slice().iter().zip(counts);
        Self {
            subnet_tag: market.subnet_tag.clone(),
            proposals: Proposals {
                initial: funnel.initial,
                not_blacklisted: funnel.not_blacklisted,
                limits: limits
                    .map(|(limit, (passed, providers))| LimitDocument {
                        key: limit.key().to_owned(),
                        value: limit.value().to_string(),
                        passed: *passed,
                        providers_turned_away: providers.len(),
                    })
                    .collect(),
                negotiation_initialized: funnel.negotiated,
                negotiated_successfully: funnel.agreed,
                unfinished: funnel.unfinished,
                waiting: funnel.waiting,
                overflow: funnel.overflow,
                unreadable_events: funnel.unreadable,
            },
            negotiation_errors: reasons(&funnel.failures),
            unusable_offers: reasons(&funnel.unusable),
            supply: SupplyDocument::new(&market.supply, sizes),
        }
    }
}

impl SupplyDocument {
    fn new(nodes: &[Supply], sizes: &Sizes) -> Self {
        let quotes = sizes_of(sizes).into_iter().map(|workers| {
            let quote = supply::quote(nodes, workers + 1, sizes.load);
            Cluster {
                nodes: quote.wanted,
                found: quote.found,
                glm_per_hour: quote.glm_per_hour.to_string(),
                start_glm: quote.start.to_string(),
            }
        });
        Self {
            offers: nodes.len(),
            providers: providers(nodes),
            threads: threads(nodes),
            memory_gib: memory(nodes).to_string(),
            price_per_cpu_hour: supply::spread(nodes).map(|spread| Prices {
                min: spread.min.to_string(),
                lower_quartile: spread.lower_quartile.to_string(),
                median: spread.median.to_string(),
                upper_quartile: spread.upper_quartile.to_string(),
                max: spread.max.to_string(),
                histogram: spread
                    .bars
                    .into_iter()
                    .map(|(end, count)| Bar { up_to: end.to_string(), count })
                    .collect(),
            }),
            cheapest_clusters: quotes.collect(),
        }
    }
}

fn reasons(counts: &std::collections::BTreeMap<String, u64>) -> Vec<Reason> {
    let rows = by_count(counts).into_iter();
    rows.map(|(reason, count)| Reason { reason: reason.to_owned(), count }).collect()
}
