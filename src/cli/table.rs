//! Tables: aligned columns with headings on a terminal, bare lines with tabs elsewhere.

use std::fmt::Write;

/// A table of these rows; each has as many cells as there are headings.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>], is_terminal: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    if !is_terminal {
        return rows.iter().map(|row| row.join("\t") + "\n").collect();
    }
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&headings).chain(rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.trim_end().to_owned() + "\n"
    };
    std::iter::once("\n".to_owned()).chain(all.into_iter().map(line)).collect()
}

/// What somebody else wrote, for a cell: a name may have tabs and lines in it.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
