//! Reports of policies as a page, in Markdown: what was measured, all of it in short, and a section for
//! each market.

use super::{
    Report, Row, Time,
    table::{glm, seconds, thousandths},
};

/// The number of nodes whose time stands for all.
const SHORT_LEVEL: u32 = 10;

const HEAD: &str = "\
# Policies, measured

Which providers are hired, and in which order, decides how soon a cluster is ready and what it costs. Here \
a head and workers are wanted at once, ten nodes or fifty, for the half hour that the default cluster file expects, on \
several simulated markets. All policies meet the same providers, and the same seeds. `make policy` writes this page; everything is virtual time, so that the numbers are the \
same on every machine, and `tests/policy.rs` holds the page to them.

| policy | is |
| --- | --- |
| `original` | the Python original's, re-implemented for this comparison: `sim/src/original` says from what, where it \
differs in the original's favour, and how near it comes to the unmodified original on the same network |
| `plain` | ours, one provider asked at a time for a node |
| `hedged-2`, `hedged-3` | ours, two or three asked at once: the first approval wins, the rest is taken back before it \
costs anything |
| `oracle` | ours, by somebody who knows beforehand which providers would not give a lasting node for an honest bill |

| column | is |
| --- | --- |
| 1, 10, 50 nodes | seconds from the first request until so many nodes were ready at once; p50 is the median of the \
seeds, p95 the time that all but one in twenty kept (of less than twenty seeds the slowest); `never` means not before the cluster ended. A node is ready while its \
requestor takes it for up and its activity works: a loss counts from when it happens, not from when it is noticed |
| GLM per CPU-hour | all that was accepted on bills, for failures too, over the time that nodes were ready, times their \
CPU threads |
| GLM wasted | of that, what went to agreements whose node was never up, in one run |
| agreements per node | agreements that were sent to providers, for each node that was ever ready |

Read each row against the one of `original`, and against the one of `oracle`, which is about what choice can \
gain at most. The first ten of fifty are the luckiest; how soon all of ten are ready says more about failures. In pictures a bar is p50 and its whisker ends at p95; a cross is `never`. A policy that is ready late can look cheap: \
it paid for fewer nodes, and only for those that it found.
";

/// The page of several reports, whose pictures are in this directory. Those of one plan follow each other.
pub(super) fn page(reports: &[Report], pictures: &str) -> String {
    let mut lines = vec![HEAD.to_owned(), "## In short".to_owned(), String::new()];
    let mut sizes: Vec<u32> = reports.iter().map(Report::wanted).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let of_size = reports.iter().filter(|report| report.wanted() == size);
        lines.extend(summary(size, &of_size.collect::<Vec<_>>()));
    }
    let mut last = None;
    for report in reports {
        if last.replace(&report.name) != Some(&report.name) {
            lines.extend([format!("## {}", report.name), String::new()]);
            lines.extend(report.about.iter().flat_map(|about| [about.clone(), String::new()]));
        }
        lines.extend(section(report, pictures));
    }
    lines.join("\n")
}

/// All in short for clusters of one size: how soon ten nodes are ready, or all of them, and the price.
fn summary(size: u32, reports: &[&Report]) -> Vec<String> {
    let level = size.min(SHORT_LEVEL);
    let values = |report: &&Report| -> Vec<String> {
        report.rows.iter().map(|row| row.value.clone().unwrap_or_default()).collect()
    };
    let policies = reports.first().map(values).unwrap_or_default();
    let columns = policies.len();
    let head: Vec<String> = ["market".to_owned()].into_iter().chain(policies).collect();
    let mut lines = vec![
        format!("A cluster of {size}: seconds to {level} ready nodes (p50), and GLM per CPU-hour."),
        String::new(),
        line(&head),
        format!("| --- |{}", " ---: |".repeat(columns)),
    ];
    for report in reports {
        let cell = |row: &Row| {
            let value = row.value.as_deref().unwrap_or_default();
            let time = report.time(value, level).and_then(|time| time.p50);
            let price = row.per_cpu_hour().map_or_else(|| "-".to_owned(), glm);
            format!("{}, {price}", seconds(time))
        };
        let name = format!("[{0}](#{0})", report.name);
        let cells: Vec<String> = [name].into_iter().chain(report.rows.iter().map(cell)).collect();
        lines.push(line(&cells));
    }
    lines.push(String::new());
    lines
}

fn section(report: &Report, pictures: &str) -> Vec<String> {
    let mut lines = vec![format!("### {}: a cluster of {}", report.name, report.wanted())];
    lines.push(String::new());
    let knob = report.knob.clone().unwrap_or_default();
    let levels = report.levels.iter().flat_map(|level| {
        let nodes = if *level == 1 { "1 node".to_owned() } else { format!("{level} nodes") };
        [format!("{nodes}, p50"), "p95".to_owned()]
    });
    let others = ["GLM per CPU-hour", "GLM wasted", "agreements per node"].map(str::to_owned);
    let head: Vec<String> = [knob].into_iter().chain(levels).chain(others).collect();
    lines.push(line(&head));
    lines.push(format!("| --- |{}", " ---: |".repeat(head.len() - 1)));
    lines.extend(report.rows.iter().map(|row| line(&cells(row))));
    let picture = report.picture_name();
    let picture = format!("![{}, {} nodes]({pictures}/{picture})", report.name, report.wanted());
    lines.extend([String::new(), picture, String::new()]);
    lines
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![row.value.clone().unwrap_or_default()];
    for time in &row.times {
        cells.extend(match time {
            None => ["-".to_owned(), "-".to_owned()],
            Some(Time { p50, p95 }) => [*p50, *p95].map(seconds),
        });
    }
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    cells.push(or_none(row.per_cpu_hour().map(glm)));
    cells.push(glm(row.wasted_per_run()));
    cells.push(or_none(row.agreements_per_node().map(thousandths)));
    cells
}

fn line(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}
