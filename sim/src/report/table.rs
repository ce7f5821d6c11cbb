//! The report for people: one line for each value of the knob.

use std::fmt::Write as _;

use ray_on_golem::units::{Glm, Span};

use super::{Report, Row, Time};

pub(super) fn text(report: &Report) -> String {
    let seeds =
        if report.seeds == 1 { "1 seed".to_owned() } else { format!("{} seeds", report.seeds) };
    let each = report.knob.as_ref().map_or_else(String::new, |knob| format!(" for each {knob}"));
    let mut text = format!("{}: {seeds}{each}, from {}\n\n", report.title(), report.first_seed);
    let mut lines = head(report);
    lines.extend(report.rows.iter().map(row));
    align(&mut text, &lines);
    text.push_str(
        "\nseconds from the first request until so many nodes are up at once; GLM wasted in one run, \
         on agreements whose node was never up; agreements sent to providers for each node that was \
         up\n",
    );
    text
}

/// Two lines of headings: a group of columns, and what is in each.
fn head(report: &Report) -> Vec<Vec<String>> {
    let (mut groups, mut names) = (vec![String::new()], Vec::new());
    names.push(report.knob.clone().unwrap_or_default());
    for level in &report.levels {
        let nodes = if *level == 1 { "1 node".to_owned() } else { format!("{level} nodes") };
        groups.extend([nodes, String::new()]);
        names.extend(["p50", "p95"].map(str::to_owned));
    }
    groups.extend(["GLM per", "GLM per", "GLM", "agreements"].map(str::to_owned));
    names.extend(["node-hour", "CPU-hour", "wasted", "per node"].map(str::to_owned));
    vec![groups, names]
}

fn row(row: &Row) -> Vec<String> {
    let mut cells = vec![row.value.clone().unwrap_or_default()];
    for time in &row.times {
        cells.extend(match time {
            None => ["-".to_owned(), "-".to_owned()],
            Some(Time { p50, p95 }) => [*p50, *p95].map(seconds),
        });
    }
    cells.push(row.per_node_hour().map_or_else(|| "-".to_owned(), glm));
    cells.push(row.per_cpu_hour().map_or_else(|| "-".to_owned(), glm));
    cells.push(glm(row.wasted_per_run()));
    cells.push(row.agreements_per_node().map_or_else(|| "-".to_owned(), thousandths));
    cells
}

/// To the right, so that the digits of numbers stand below each other.
fn align(text: &mut String, lines: &[Vec<String>]) {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|it| it.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let gap = if row.is_empty() { "" } else { "  " };
            // Writing to a string cannot fail.
            let _ = write!(row, "{gap}{cell:>width$}");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
}

/// Seconds with one decimal, rounded up: a node is not up before it is.
pub(super) fn seconds(span: Option<Span>) -> String {
    span.map_or_else(
        || "never".to_owned(),
        |span| {
            let tenths = span.as_micros().div_ceil(100_000);
            format!("{}.{}", tenths / 10, tenths % 10)
        },
    )
}

/// Four decimals, rounded up.
pub(super) fn glm(amount: Glm) -> String {
    let tenthousandths = amount.as_atto().div_ceil(100_000_000_000_000);
    format!("{}.{:04}", tenthousandths / 10_000, tenthousandths % 10_000)
}

pub(super) fn thousandths(value: u64) -> String {
    format!("{}.{:03}", value / 1_000, value % 1_000)
}
