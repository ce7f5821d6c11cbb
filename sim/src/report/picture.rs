//! The report as a picture: four charts over the values of the knob, for light and for dark pages. Values
//! that are numbers are joined by lines, policies stand as bars.

use std::fmt::Write as _;

use ray_on_golem::units::{Glm, Span};

use super::{Report, Row, Time, bars, knob::POLICY, scale::Scale};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 680;
const TOP: u32 = 56;
/// One chart with all that belongs to it.
const CHART: (u32, u32) = (480, 300);
/// The plot in its chart.
const LEFT: u32 = 72;
const ABOVE: u32 = 48;
pub(super) const PLOT: (u32, u32) = (376, 188);
/// The sample of a line in the legend, and about what a small letter takes.
const SAMPLE: u32 = 22;
const LETTER: u32 = 6;
/// More values than this have no room for a name each.
const NAMES_MAX: usize = 12;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#24292f}\
.head{font-size:17px;font-weight:600}.name{font-weight:600}.small{font-size:11px;fill:#57606a}\
.page{fill:#fff}path{fill:none;stroke:currentColor;stroke-width:2}circle{fill:currentColor}\
.grid{color:#d8dee4;stroke-width:1}.axis{color:#57606a;stroke-width:1}.late{stroke-dasharray:5 4}\
.bar{stroke-width:12}\
.a{color:#0072b2}.b{color:#d55e00}.c{color:#009e73}.d{color:#a45ca0}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.page{fill:#0d1117}\
.grid{color:#2b3138}.axis{color:#9198a1}\
.a{color:#56b4e9}.b{color:#f0883e}.c{color:#3fb98c}.d{color:#cc79a7}}";

/// Classes of the style: a colour each.
const COLOURS: [&str; 4] = ["a", "b", "c", "d"];
const NEUTRAL: &str = "axis";

/// One chart.
pub(super) struct Chart {
    title: &'static str,
    pub(super) lines: Vec<Line>,
    /// What lines of this colour are, where there are several; broken lines last.
    legend: Vec<(String, &'static str, bool)>,
    /// How a value is written.
    pub(super) write: fn(u128) -> String,
}

/// What one line of a chart goes through, from the first value of the knob to the last.
pub(super) struct Line {
    /// What it is, where a chart has several.
    name: Option<String>,
    pub(super) colour: &'static str,
    pub(super) is_late: bool,
    pub(super) points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    At(u128),
    /// It never came to that.
    Never,
    /// There is nothing to tell.
    Nothing,
}

pub(super) fn svg(report: &Report) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n"
    );
    let seeds = if report.seeds == 1 { "1 seed" } else { &format!("{} seeds", report.seeds) };
    let title = match &report.knob {
        None => format!("{}: {seeds}", report.title()),
        Some(knob) => format!("{} over {knob}: {seeds} for each value", report.title()),
    };
    put(&mut text, (24, 34), "head", "start", &title);
    for (chart, place) in charts(report).iter().zip([(0, 0), (1, 0), (0, 1), (1, 1)]) {
        let origin = (place.0 * CHART.0, TOP + place.1 * CHART.1);
        chart.draw(&mut text, origin, report);
    }
    text.push_str("</svg>\n");
    text
}

fn charts(report: &Report) -> [Chart; 4] {
    let line = |value: fn(&Row) -> Option<u128>| {
        let points = report.rows.iter().map(|row| value(row).map_or(Point::Nothing, Point::At));
        vec![Line { name: None, colour: COLOURS[0], is_late: false, points: points.collect() }]
    };
    [
        Chart {
            title: if has_bars(report) {
                "time until so many nodes are up: p50, and above it p95"
            } else {
                "time until so many nodes are up"
            },
            lines: times(report),
            legend: legend(report),
            write: |micros| Span::micros(u64::try_from(micros).unwrap_or(u64::MAX)).to_string(),
        },
        Chart {
            title: "GLM per CPU-hour of ready nodes",
            lines: line(|row| row.per_cpu_hour().map(Glm::as_atto)),
            legend: Vec::new(),
            write: glm,
        },
        Chart {
            title: "GLM wasted in one run",
            lines: line(|row| Some(row.wasted_per_run().as_atto())),
            legend: Vec::new(),
            write: glm,
        },
        Chart {
            title: "agreements for each node that was up",
            lines: line(|row| row.agreements_per_node().map(u128::from)),
            legend: Vec::new(),
            // Thousandths are written as GLM are, but for their number of decimals.
            write: |thousandths| glm(thousandths.saturating_mul(1_000_000_000_000_000)),
        },
    ]
}

/// Policies are no numbers that lines could join.
fn has_bars(report: &Report) -> bool {
    report.knob.as_deref() == Some(POLICY)
}

fn legend(report: &Report) -> Vec<(String, &'static str, bool)> {
    let levels = report.levels.iter().zip(COLOURS);
    let levels = levels.map(|(level, colour)| (in_nodes(*level), colour, false));
    let kinds: &[_] = if has_bars(report) { &[] } else { &[("p50", false), ("p95", true)] };
    levels
        .chain(kinds.iter().map(|(name, is_late)| ((*name).to_owned(), NEUTRAL, *is_late)))
        .collect()
}

fn in_nodes(level: u32) -> String {
    if level == 1 { "1 node".to_owned() } else { format!("{level} nodes") }
}

/// Two lines for each number of nodes: the median, and the time of the slow.
fn times(report: &Report) -> Vec<Line> {
    let mut lines = Vec::new();
    for ((place, level), colour) in report.levels.iter().enumerate().zip(COLOURS) {
        let line = |name: &str, is_late: bool, of: fn(&Time) -> Option<Span>| {
            let points = report.rows.iter().map(|row| match row.times.get(place) {
                Some(Some(time)) => {
                    of(time).map_or(Point::Never, |span| Point::At(span.as_micros().into()))
                }
                Some(None) | None => Point::Nothing,
            });
            let name = Some(format!("{}, {name}", in_nodes(*level)));
            Line { name, colour, is_late, points: points.collect() }
        };
        lines.push(line("p50", false, |time| time.p50));
        lines.push(line("p95", true, |time| time.p95));
    }
    lines
}

impl Chart {
    fn draw(&self, text: &mut String, (x, y): (u32, u32), report: &Report) {
        let (left, top, bottom) = (x + LEFT, y + ABOVE, y + ABOVE + PLOT.1);
        put(text, (left, y + 14), "name", "start", self.title);
        let max = self.lines.iter().flat_map(|line| &line.points).map(|point| match point {
            Point::At(value) => *value,
            Point::Never | Point::Nothing => 0,
        });
        let scale = Scale::up_to(max.max().unwrap_or(0));
        for mark in scale.marks() {
            let at = bottom - scale.place(mark, PLOT.1);
            let class = if mark == 0 { "axis" } else { "grid" };
            let right = left + PLOT.0;
            push(text, &format!("<path class=\"{class}\" d=\"M{left} {at}H{right}\"/>"));
            put(text, (left - 8, at + 4), "small", "end", &(self.write)(mark));
        }
        self.name_values(text, (left, bottom), report);
        if has_bars(report) {
            bars::draw(self, text, (left, top), scale, report);
        } else {
            for line in &self.lines {
                line.draw(text, (left, top), scale, self.write, report);
            }
        }
        self.explain(text, (left, y + 32));
    }

    /// Samples of the lines, and what they are.
    fn explain(&self, text: &mut String, (left, y): (u32, u32)) {
        let mut x = left;
        for (name, colour, is_late) in &self.legend {
            let (class, end) = (class(colour, *is_late), x + SAMPLE);
            push(text, &format!("<path class=\"{class}\" d=\"M{x} {y}H{end}\"/>"));
            put(text, (end + 5, y + 4), "small", "start", name);
            x = end + 20 + u32::try_from(name.len()).unwrap_or(0) * LETTER;
        }
        let mut points = self.lines.iter().flat_map(|line| &line.points);
        if points.any(|point| *point == Point::Never) {
            push(text, &format!("<path class=\"{NEUTRAL}\" d=\"{}\"/>", cross(x + 4, y)));
            put(text, (x + 13, y + 4), "small", "start", "never");
        }
    }

    /// The values of the knob below the plot, and its name.
    fn name_values(&self, text: &mut String, (left, bottom): (u32, u32), report: &Report) {
        let Some(knob) = &report.knob else { return };
        let every = report.rows.len().div_ceil(NAMES_MAX).max(1);
        for (nth, row) in report.rows.iter().enumerate().step_by(every) {
            let at = (left + column(nth, report.rows.len()), bottom + 18);
            put(text, at, "small", "middle", row.value.as_deref().unwrap_or_default());
        }
        put(text, (left + PLOT.0 / 2, bottom + 38), "small", "middle", knob);
    }
}

impl Line {
    fn draw(
        &self,
        text: &mut String,
        (left, top): (u32, u32),
        scale: Scale,
        write: fn(u128) -> String,
        report: &Report,
    ) {
        let (mut path, mut is_drawn) = (String::new(), false);
        let mut marks = String::new();
        for (nth, (point, row)) in self.points.iter().zip(&report.rows).enumerate() {
            let x = left + column(nth, report.rows.len());
            match point {
                Point::At(value) => {
                    let y = top + PLOT.1 - scale.place(*value, PLOT.1);
                    // Writing to a string cannot fail.
                    let _ = write!(path, "{}{x} {y}", if is_drawn { 'L' } else { 'M' });
                    let told = self.tell(row, &write(*value));
                    push(
                        &mut marks,
                        &format!(
                            "<circle class=\"{}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"><title>{told}</title>\
                         </circle>",
                            self.colour
                        ),
                    );
                }
                Point::Never => {
                    let told = self.tell(row, "never");
                    let path = cross(x, top);
                    push(
                        &mut marks,
                        &format!(
                            "<path class=\"{}\" d=\"{path}\"><title>{told}</title></path>",
                            self.colour
                        ),
                    );
                }
                Point::Nothing => {}
            }
            is_drawn = matches!(point, Point::At(_));
        }
        if path.contains('L') {
            let class = class(self.colour, self.is_late);
            push(text, &format!("<path class=\"{class}\" d=\"{path}\"/>"));
        }
        text.push_str(&marks);
    }

    pub(super) fn tell(&self, row: &Row, value: &str) -> String {
        let name = self.name.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        let at = row.value.as_ref().map_or_else(String::new, |value| format!(" at {value}"));
        escape(&format!("{name}{value}{at}"))
    }
}

fn class(colour: &str, is_late: bool) -> String {
    format!("{colour}{}", if is_late { " late" } else { "" })
}

pub(super) fn cross(x: u32, y: u32) -> String {
    let (left, right, top, bottom) = (x - 4, x + 4, y - 4, y + 4);
    format!("M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}")
}

/// Where the nth of so many values stands.
pub(super) fn column(nth: usize, count: usize) -> u32 {
    let (nth, count) = (u32::try_from(nth).unwrap_or(0), u32::try_from(count).unwrap_or(1));
    PLOT.0 * (2 * nth + 1) / (2 * count.max(1))
}

fn glm(atto: u128) -> String {
    Glm::from_atto(atto).to_string()
}

fn put(text: &mut String, (x, y): (u32, u32), class: &str, anchor: &str, what: &str) {
    let what = escape(what);
    push(
        text,
        &format!(
            "<text x=\"{x}\" y=\"{y}\" class=\"{class}\" text-anchor=\"{anchor}\">{what}</text>"
        ),
    );
}

pub(super) fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
