//! Bars for what is no number: one for each policy, with a whisker up to the time of the slow.

use super::{
    Report,
    picture::{Chart, Line, PLOT, Point, column, cross, push},
    scale::Scale,
};

/// From one bar of a group to the next.
const STEP: u32 = 17;
/// The end of a whisker to either side.
const CAP: u32 = 4;

pub(super) fn draw(
    chart: &Chart,
    text: &mut String,
    (left, top): (u32, u32),
    scale: Scale,
    report: &Report,
) {
    let mut colours: Vec<&str> = chart.lines.iter().map(|line| line.colour).collect();
    colours.dedup();
    let width = STEP * u32::try_from(colours.len().saturating_sub(1)).unwrap_or(0);
    for (place, colour) in (0..).zip(&colours) {
        let of_colour = |line: &&Line| line.colour == *colour;
        let line = |is_late| {
            let lines = chart.lines.iter().filter(of_colour);
            lines.into_iter().find(|line: &&Line| line.is_late == is_late)
        };
        for (nth, row) in report.rows.iter().enumerate() {
            let x = left + column(nth, report.rows.len()) + STEP * place - width / 2;
            let at = |line: Option<&Line>| line.and_then(|line| line.points.get(nth).copied());
            let y = |value: u128| top + PLOT.1 - scale.place(value, PLOT.1);
            let told = |line: Option<&Line>, value: &str| {
                line.map_or_else(String::new, |line| line.tell(row, value))
            };
            let base = match at(line(false)) {
                Some(Point::At(value)) => {
                    let (bottom, told) = (top + PLOT.1, told(line(false), &(chart.write)(value)));
                    let path = format!("M{x} {bottom}V{}", y(value));
                    shape(text, &format!("{colour} bar"), &path, &told);
                    y(value)
                }
                Some(Point::Never) => {
                    shape(text, colour, &cross(x, top), &told(line(false), "never"));
                    continue;
                }
                Some(Point::Nothing) | None => continue,
            };
            match at(line(true)) {
                Some(Point::At(value)) => {
                    let told = told(line(true), &(chart.write)(value));
                    let (start, width) = (x - CAP, 2 * CAP);
                    let path = format!("M{x} {base}V{0}M{start} {0}h{width}", y(value));
                    shape(text, colour, &path, &told);
                }
                Some(Point::Never) => {
                    let path = format!("M{x} {base}V{top}{}", cross(x, top));
                    shape(text, colour, &path, &told(line(true), "never"));
                }
                Some(Point::Nothing) | None => {}
            }
        }
    }
}

fn shape(text: &mut String, class: &str, path: &str, told: &str) {
    push(text, &format!("<path class=\"{class}\" d=\"{path}\"><title>{told}</title></path>"));
}
