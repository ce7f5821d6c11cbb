//! The report of a survey for people: the documented lines first, then what to decide with.

use std::fmt::Write as _;

use super::network_stats::Sizes;
use crate::{
    core::{
        market::{
            spec::Gib,
            supply::{self, Quote, Spread, Supply},
        },
        survey::{MarketReport, SurveyReport},
    },
    units::{Glm, Span},
};

const BAR_WIDTH: u64 = 30;

/// The whole report.
#[must_use]
pub fn text(report: &SurveyReport, sizes: &Sizes) -> String {
    let mut out = Text::default();
    out.line("Gathering stats data done");
    if report.ended_early {
        out.line(format!("Ended early, after {}", in_words(report.gathered)));
    }
    let mut markets = report.markets.iter();
    if let Some(market) = markets.next() {
        out.proposals(market);
        out.failures(market);
        out.left_open(market);
        out.supply(market, sizes);
        out.costs_of_limits(market);
    } else {
        out.line("");
        out.line("No offers: the daemon took no demand in that time");
    }
    for market in markets {
        let funnel = &market.funnel;
        out.line("");
        out.line(format!(
            "Priority subnet `{}`: {} offers, {} negotiated successfully",
            market.subnet_tag, funnel.initial, funnel.agreed
        ));
    }
    out.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, text: impl AsRef<str>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{}", text.as_ref());
    }

    fn proposals(&mut self, market: &MarketReport) {
        let funnel = &market.funnel;
        self.line("\nProposals count:");
        self.line(format!("Initial: {}", funnel.initial));
        self.line(format!("Not blacklisted: {}", funnel.not_blacklisted));
        for (limit, count) in market.limits.as_slice().iter().zip(&funnel.within_limit) {
            self.line(format!("Passed {limit}: {count}"));
        }
        self.line(format!("Negotiation initialized: {}", funnel.negotiated));
        self.line(format!("Negotiated successfully: {}", funnel.agreed));
    }

    fn failures(&mut self, market: &MarketReport) {
        self.counts("Negotiation errors:", &market.funnel.failures);
        if !market.funnel.unusable.is_empty() {
            self.counts("Offers that cannot be used:", &market.funnel.unusable);
        }
    }

    fn counts(&mut self, title: &str, counts: &std::collections::BTreeMap<String, u64>) {
        self.line(format!("\n{title}"));
        if counts.is_empty() {
            self.line("none");
        }
        for (reason, count) in by_count(counts) {
            self.line(format!("{reason}: {count}"));
        }
    }

    fn left_open(&mut self, market: &MarketReport) {
        let funnel = &market.funnel;
        let notes = [
            (funnel.unfinished, "negotiations were still open when the time was up"),
            (funnel.waiting, "offers were not asked before the time was up"),
            (funnel.overflow, "offers were too many to remember"),
            (funnel.unreadable, "events of the daemon could not be read"),
        ];
        let notes: Vec<_> = notes.into_iter().filter(|(count, _)| *count > 0).collect();
        if !notes.is_empty() {
            self.line("");
        }
        for (count, what) in notes {
            self.line(format!("{count} {what}"));
        }
    }

    fn supply(&mut self, market: &MarketReport, sizes: &Sizes) {
        let nodes = &market.supply;
        let Some(spread) = supply::spread(nodes) else {
            self.line("\nNegotiated supply: none");
            return;
        };
        self.line("\nNegotiated supply:");
        self.line(format!(
            "{} offers of {} providers, {} threads and {} GiB of memory in total",
            nodes.len(),
            providers(nodes),
            threads(nodes),
            memory(nodes).as_millionths() / 1_000_000,
        ));
        self.spread(&spread);
        self.line("\nCheapest cluster, one node of each provider, without start prices:");
        let load = u64::from(sizes.load.as_millionths()) / 10_000;
        for workers in sizes_of(sizes) {
            let quote = supply::quote(nodes, workers + 1, sizes.load);
            let plural = if workers == 1 { "" } else { "s" };
            self.line(format!("1 head and {workers} worker{plural}: {}", quoted(&quote, load)));
        }
    }

    fn spread(&mut self, spread: &Spread) {
        self.line("\nPrice of a CPU-hour in GLM:");
        for (name, price) in [
            ("min", spread.min),
            ("25 %", spread.lower_quartile),
            ("median", spread.median),
            ("75 %", spread.upper_quartile),
            ("max", spread.max),
        ] {
            self.line(format!("{name:>8}  {}", short(price)));
        }
        let most = spread.bars.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        for (end, count) in &spread.bars {
            let width = usize::try_from((count * BAR_WIDTH).div_ceil(most)).unwrap_or(0);
            let bar = if width == 0 { String::new() } else { "█".repeat(width) + " " };
            self.line(format!("{:>8}  {bar}{count}", format!("≤ {}", short(*end))));
        }
    }

    fn costs_of_limits(&mut self, market: &MarketReport) {
        let limits = market.limits.as_slice();
        if limits.is_empty() {
            return;
        }
        self.line("\nWhat the limits cost:");
        for (limit, providers) in limits.iter().zip(&market.funnel.turned_away) {
            let (key, value) = (limit.key(), limit.value());
            let plural = if providers.len() == 1 { "" } else { "s" };
            let count = providers.len();
            self.line(format!("`{key}` = {value} turned away {count} provider{plural}"));
        }
    }
}

/// Reasons with the highest count first, then in the order of their text.
#[must_use]
pub fn by_count(counts: &std::collections::BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut rows: Vec<(&str, u64)> =
        counts.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    rows.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(right.0)));
    rows
}

/// How many providers there are.
#[must_use]
pub fn providers(nodes: &[Supply]) -> usize {
    nodes.iter().map(|node| &node.provider).collect::<std::collections::BTreeSet<_>>().len()
}

/// How many threads they have.
#[must_use]
pub fn threads(nodes: &[Supply]) -> u64 {
    nodes.iter().map(|node| u64::from(node.threads)).sum()
}

/// How much memory they have.
#[must_use]
pub fn memory(nodes: &[Supply]) -> Gib {
    Gib::from_millionths(nodes.iter().map(|node| node.mem.as_millionths()).sum())
}

/// The numbers of workers to quote for: the least and the most, once if they are equal.
#[must_use]
pub fn sizes_of(sizes: &Sizes) -> Vec<u64> {
    let mut workers = vec![sizes.workers_min, sizes.workers_max];
    workers.dedup();
    workers
}

fn quoted(quote: &Quote, load: u64) -> String {
    let mut text = format!("{} GLM per hour at {load} % load", short(quote.glm_per_hour));
    if quote.start > Glm::ZERO {
        text.push_str(&format!(", {} GLM to start", short(quote.start)));
    }
    if quote.found < quote.wanted {
        text.push_str(&format!(", but only {} of {} nodes", quote.found, quote.wanted));
    }
    text
}

/// Money for a terminal: four decimals, rounded up.
fn short(amount: Glm) -> String {
    let text = amount.rounded_up(4).to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}.{fraction:0<4}")
}

fn in_words(span: Span) -> String {
    let secs = span.as_secs();
    if secs < 60 { format!("{secs} s") } else { format!("{} min {} s", secs / 60, secs % 60) }
}
