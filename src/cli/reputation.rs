//! `reputation`: what is known about providers, the blacklist, and scores from the service.

use std::{io, io::IsTerminal, path::PathBuf};

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{
    error::CliError,
    printer::Printer,
    surroundings,
    table::{plain, table},
    webserver::data_of,
    when::duration,
};
use crate::{
    config::networks::NETWORKS,
    core::{
        cluster::Step,
        experience::{Experience, FailureKind, Failures},
    },
    driver::clock::{now, written},
    reputation::{Applied, FOREVER, Fetched, Opened, Record, Service, Store, provider_id},
    units::{Span, Timestamp},
    yagna::ProviderId,
};

const DEFAULT_NETWORK: &str = "polygon";
const HEADINGS: [&str; 10] = [
    "Provider ID",
    "Payment Network",
    "Blacklisted?",
    "Uptime score",
    "Success Rate",
    "GLM/CPU-hour",
    "Own success",
    "Tries",
    "Blocked until",
    "Reason",
];

/// Arguments of `reputation`.
#[derive(Args, Debug)]
pub(super) struct ReputationArgs {
    #[command(subcommand)]
    command: ReputationCommand,
}

#[derive(Debug, Subcommand)]
enum ReputationCommand {
    /// Lists providers with their scores and our own experience, the blocked ones apart
    ///
    /// Uptime: how often the node is present and ready to pick up work. Success rate: how many of its
    /// benchmark tasks it completed. Both are from the reputation service. Own success: how many of our
    /// own tries to bring up a node succeeded.
    List(ListArgs),
    /// Blocks a provider: it is hired no more
    Block(BlockArgs),
    /// Blocks a provider no more
    Unblock(UnblockArgs),
    /// Fetches scores from the reputation service
    Update(Common),
}

#[derive(Args, Debug)]
struct ListArgs {
    /// The providers to list; all of them by default
    #[arg(value_name = "NODE_ID", value_parser = provider_id)]
    providers: Vec<ProviderId>,
    /// List the blocked providers
    #[arg(long, overrides_with = "no_blacklist")]
    blacklist: bool,
    /// List the others (the default)
    #[arg(long, overrides_with = "blacklist")]
    no_blacklist: bool,
    /// Print everything as JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct BlockArgs {
    /// The provider
    #[arg(value_name = "NODE_ID", value_parser = provider_id)]
    provider: ProviderId,
    /// For how long, such as `90m`, `12h`, `7d`, `2w`; for ever by default
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasting: Option<Span>,
    /// Why, for those who wonder later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct UnblockArgs {
    /// The provider
    #[arg(value_name = "NODE_ID", value_parser = provider_id)]
    provider: ProviderId,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    /// The payment network
    #[arg(long, default_value = DEFAULT_NETWORK,
        value_parser = PossibleValuesParser::new(NETWORKS.map(|network| network.name)))]
    network: String,
    /// Ray on Golem's data directory. By default, uses a system data directory
    #[arg(long, value_name = "PATH")]
    datadir: Option<PathBuf>,
}

impl ReputationArgs {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        match self.command {
            ReputationCommand::List(args) => list(&args, printer),
            ReputationCommand::Block(args) => block(&args, printer),
            ReputationCommand::Unblock(args) => unblock(&args, printer),
            ReputationCommand::Update(common) => update(&common, printer),
        }
    }
}

impl Common {
    fn store(&self, printer: &mut Printer) -> Result<Store, CliError> {
        told(Store::open(&data_of(self.datadir.clone())?, now())?, printer)
    }

    fn existing_store(&self, printer: &mut Printer) -> Result<Store, CliError> {
        told(Store::open_existing(&data_of(self.datadir.clone())?, now())?, printer)
    }
}

fn told(opened: Opened, printer: &mut Printer) -> Result<Store, CliError> {
    for notice in &opened.notices {
        printer.warn(&notice.to_string());
    }
    Ok(opened.store)
}

fn list(args: &ListArgs, printer: &mut Printer) -> Result<(), CliError> {
    let ListArgs { providers, blacklist, json, common, .. } = args;
    let at = now();
    let store = common.existing_store(printer)?;
    let mut records = store.records(&common.network, providers)?;
    records.retain(|record| record.is_blacklisted(at) == *blacklist);
    if *json {
        let providers: Vec<Value> = records.iter().map(|record| document(record, at)).collect();
        let document = json!({ "version": 1, "network": common.network, "providers": providers });
        return printer.line(&serde_json::to_string_pretty(&document).unwrap_or_default());
    }
    printer.tell(&format!("Node reputation for network: {}", common.network));
    let rows: Vec<_> = records.iter().map(|record| row(record, &common.network, at)).collect();
    printer.print(&table(&HEADINGS, &rows, io::stdout().is_terminal()))?;
    printer.tell(&format!("{} nodes found.", records.len()));
    Ok(())
}

fn block(args: &BlockArgs, printer: &mut Printer) -> Result<(), CliError> {
    let BlockArgs { provider, lasting, reason, common } = args;
    let until = lasting.map_or(FOREVER, |lasting| now().plus(lasting));
    let mut store = common.store(printer)?;
    store.block(provider, &common.network, until, reason.as_deref())?;
    match lasting {
        None => printer.line(&format!("Node {provider} blocked on {}.", common.network)),
        Some(_) => {
            let until = written(until);
            printer.line(&format!("Node {provider} blocked on {} until {until}.", common.network))
        }
    }
}

fn unblock(args: &UnblockArgs, printer: &mut Printer) -> Result<(), CliError> {
    let UnblockArgs { provider, common } = args;
    let network = &common.network;
    match common.existing_store(printer)?.unblock(provider, network)? {
        true => printer.line(&format!("Node {provider} unblocked on {network}.")),
        false => printer.line(&format!("No reputation record found for {provider} on {network}")),
    }
}

fn update(common: &Common, printer: &mut Printer) -> Result<(), CliError> {
    let network = &common.network;
    let mut store = common.store(printer)?;
    let service = Service::new(surroundings::reputation()?).map_err(|error| {
        let hint = "install the system's certificates".to_owned();
        CliError::Environment { what: error.to_string(), hint }
    })?;
    let bar = bar();
    let url = service.url(network);
    let known = store.validators(network, url.as_str())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fetched = runtime.block_on(service.fetch(network, &known));
    let fetched = fetched.map_err(|error| CliError::Environment {
        what: error.to_string(),
        hint: "the scores that are known stay; check the connection, or set `GOLEM_REPUTATION_URL`"
            .to_owned(),
    })?;
    let text = match fetched {
        Fetched::Unchanged => {
            "Reputation DB is up to date: nothing has changed since the last update.".to_owned()
        }
        Fetched::Scores(scores, validators) => {
            bar.set_length(scores.total());
            let mut progress = |done| bar.set_position(done);
            let url = url.as_str();
            let applied = store.apply(network, url, &scores, &validators, now(), &mut progress)?;
            let Applied { total, added, updated, ignored } = applied;
            format!(
                "Reputation DB updated. Total scores={total} (added={added}, updated={updated}, \
                 ignored={ignored})."
            )
        }
    };
    bar.finish_and_clear();
    printer.line(&text)
}

/// Seen on a terminal only.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("Updating scores [{wide_bar}] {pos}/{len}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn row(record: &Record, network: &str, at: Timestamp) -> Vec<String> {
    let is_blacklisted = record.is_blacklisted(at);
    let experience = record.experience.as_ref();
    let price = experience.and_then(|it| it.per_cpu_hour).map(|price| price.rounded_up(4));
    let (succeeded, tries) = experience.map_or((0, 0), Experience::attempts);
    let until = record.blacklisted_until.filter(|_| is_blacklisted);
    let reason = record.reason.as_deref().filter(|_| is_blacklisted);
    vec![
        record.provider.to_string(),
        network.to_owned(),
        if is_blacklisted { "True" } else { "False" }.to_owned(),
        record.uptime.map(short).unwrap_or_default(),
        record.success_rate.map(short).unwrap_or_default(),
        price.map(|price| price.to_string()).unwrap_or_default(),
        if tries > 0 { short(succeeded as f64 / tries as f64) } else { String::new() },
        tries.to_string(),
        until.map(told_instant).unwrap_or_default(),
        reason.map(plain).unwrap_or_default(),
    ]
}

fn document(record: &Record, at: Timestamp) -> Value {
    let is_blacklisted = record.is_blacklisted(at);
    json!({
        "provider_id": record.provider,
        "name": record.name,
        "uptime": record.uptime,
        "success_rate": record.success_rate,
        "blacklisted": is_blacklisted,
        "blacklisted_until": record.blacklisted_until.filter(|_| is_blacklisted).map(told_instant),
        "reason": record.reason.as_ref().filter(|_| is_blacklisted),
        "experience": record.experience.as_ref().map(experience),
    })
}

/// Our own experience, for programs.
pub(super) fn experience(it: &Experience) -> Value {
    let (succeeded, tries) = it.attempts();
    let failure = |((step, kind), failures): (&(Step, FailureKind), &Failures)| {
        json!({
            "step": step.name(),
            "kind": kind.name(),
            "count": failures.count,
            "latest": written(failures.latest),
        })
    };
    json!({
        "offers": it.offers,
        "agreements_asked": it.asked,
        "agreements_approved": it.approved,
        "started": it.started,
        "came_up": it.came_up,
        "ended": it.ended,
        "ran_secs": it.ran.as_secs(),
        "glm_per_cpu_hour": it.per_cpu_hour,
        "tries": tries,
        "succeeded": succeeded,
        "failures": it.failures.iter().map(failure).collect::<Vec<_>>(),
    })
}

fn told_instant(at: Timestamp) -> String {
    if at < FOREVER { written(at) } else { "forever".to_owned() }
}

/// Three significant digits.
fn short(share: f64) -> String {
    let rounded = format!("{share:.2e}").parse().unwrap_or(share);
    format!("{rounded:?}")
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn shares_have_three_significant_digits() {
        let shares = [0.0, 1.0, 0.5, 0.987_654, 0.012_345].map(short);

        assert_eq!(shares, ["0.0", "1.0", "0.5", "0.988", "0.0123"]);
    }
}
