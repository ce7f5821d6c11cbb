//! How answers are printed: as JSON, or as lines for people.

use ray_on_golem::cli::{error::CliError, printer::Printer};
use serde_json::Value;

/// Prints an answer; nothing is printed for none.
pub(super) fn print(told: &Value, is_json: bool, printer: &mut Printer) -> Result<(), CliError> {
    if told.is_null() {
        return Ok(());
    }
    if is_json {
        return printer.line(&format!("{told:#}"));
    }
    let mut lines = String::new();
    write(told, 0, &mut lines);
    printer.print(&lines)
}

/// Writes keys and values, what belongs together further to the right.
fn write(told: &Value, depth: usize, lines: &mut String) {
    let indent = "  ".repeat(depth);
    match told {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::Object(_) | Value::Array(_) => {
                        lines.push_str(&format!("{indent}{key}:\n"));
                        write(value, depth + 1, lines);
                    }
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                        lines.push_str(&format!("{indent}{key}: {}\n", plain(value)));
                    }
                }
            }
        }
        Value::Array(rows) => {
            for row in rows {
                write(row, depth, lines);
                lines.push('\n');
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            lines.push_str(&format!("{indent}{}\n", plain(told)));
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::write;

    #[test]
    fn people_get_lines() {
        let mut lines = String::new();

        write(&json!({ "a": "x", "b": { "c": 1 } }), 0, &mut lines);

        assert_eq!(lines, "a: x\nb:\n  c: 1\n");
    }
}
