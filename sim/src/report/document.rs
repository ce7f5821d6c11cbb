//! The report for programs. Amounts of GLM are decimal text, exact to the last digit; times are whole
//! microseconds of virtual time.

use serde::Serialize;

use super::{Report, Row};

#[derive(Serialize)]
struct Document<'a> {
    /// The version of this form; it changes when a field changes its meaning or goes.
    version: u32,
    plan: &'a str,
    /// What was changed in the plan.
    variant: Option<&'a str>,
    knob: Option<&'a str>,
    first_seed: u64,
    seeds: u64,
    rows: Vec<RowDocument<'a>>,
    failures: Vec<FailureDocument<'a>>,
}

/// Sums over all seeds, but for the times.
#[derive(Serialize)]
struct RowDocument<'a> {
    value: Option<&'a str>,
    nodes_wanted: u32,
    /// How long it took until so many nodes were up at once; null where they never were.
    ready: Vec<ReadyDocument>,
    node_micros: u64,
    /// The same for each CPU thread.
    cpu_micros: u64,
    nodes: u64,
    agreements: u64,
    spent_glm: String,
    wasted_glm: String,
    /// Rounded up to the last digit.
    glm_per_node_hour: Option<String>,
    glm_per_cpu_hour: Option<String>,
}

#[derive(Serialize)]
struct ReadyDocument {
    nodes: u32,
    p50_micros: Option<u64>,
    p95_micros: Option<u64>,
}

#[derive(Serialize)]
struct FailureDocument<'a> {
    invariant: &'a str,
    what: &'a str,
    value: Option<&'a str>,
    seed: u64,
}

pub(super) fn json(report: &Report) -> String {
    let failures = report.failures.iter().map(|failure| FailureDocument {
        invariant: failure.invariant,
        what: &failure.what,
        value: failure.value.as_deref(),
        seed: failure.seed,
    });
    let document = Document {
        version: 1,
        plan: &report.name,
        variant: report.variant.as_deref(),
        knob: report.knob.as_deref(),
        first_seed: report.first_seed,
        seeds: report.seeds,
        rows: report.rows.iter().map(|row| self::row(row, &report.levels)).collect(),
        failures: failures.collect(),
    };
    let text = serde_json::to_string_pretty(&document);
    format!("{}\n", text.expect("a report has text keys and numbers only"))
}

fn row<'a>(row: &'a Row, levels: &[u32]) -> RowDocument<'a> {
    let ready = levels.iter().zip(&row.times).filter_map(|(nodes, time)| {
        let time = (*time)?;
        Some(ReadyDocument {
            nodes: *nodes,
            p50_micros: time.p50.map(|span| span.as_micros()),
            p95_micros: time.p95.map(|span| span.as_micros()),
        })
    });
    RowDocument {
        value: row.value.as_deref(),
        nodes_wanted: row.sum.wanted,
        ready: ready.collect(),
        node_micros: row.sum.node_time.as_micros(),
        cpu_micros: row.sum.cpu_time.as_micros(),
        nodes: row.sum.nodes,
        agreements: row.sum.agreements,
        spent_glm: row.sum.spent.to_string(),
        wasted_glm: row.sum.wasted.to_string(),
        glm_per_node_hour: row.per_node_hour().map(|glm| glm.to_string()),
        glm_per_cpu_hour: row.per_cpu_hour().map(|glm| glm.to_string()),
    }
}
