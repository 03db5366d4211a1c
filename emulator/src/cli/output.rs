//! What a person or a script reads: JSON or a table on standard output, errors on standard error.

use std::io::{ErrorKind, Write};

use clap::ValueEnum;
use serde_json::Value;

/// How to print an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Indented JSON.
    #[default]
    Json,
    /// Columns for a person.
    Table,
}

/// Prints an answer. A reader that has gone away is no error.
pub(super) fn print(value: &Value, format: OutputFormat) -> anyhow::Result<()> {
    let mut text = match format {
        OutputFormat::Json => serde_json::to_string_pretty(value)?,
        OutputFormat::Table => table(value),
    };
    text.push('\n');
    self::text(&text)
}

/// Prints text as it is. A reader that has gone away is no error.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints one of many lines; `false`: the reader has gone away, and no more are wanted.
pub(super) fn write_line(line: &str) -> anyhow::Result<bool> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// Tells a person how it goes: beside the answer, which a script may be reading.
pub(super) fn progress(line: std::fmt::Arguments<'_>) {
    // Without standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints why a command failed, with its causes.
pub(super) fn error(error: &anyhow::Error) {
    // Without standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
}

/// Rows of an array of objects, or the members of one object.
fn table(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "nothing".into(),
        Value::Array(items) => {
            let header = header(items);
            if header.is_empty() {
                return items.iter().map(cell).collect::<Vec<_>>().join("\n");
            }
            let rows = items.iter().map(|item| {
                let cells = header.iter().map(|&name| cell(&item[name]));
                cells.collect::<Vec<_>>()
            });
            let mut lines = vec![header.iter().map(|&name| name.to_owned()).collect()];
            lines.push(header.iter().map(|name| "-".repeat(name.len())).collect());
            lines.extend(rows);
            columns(&lines)
        }
        Value::Object(_) => {
            let mut rows = Vec::new();
            flatten("", value, &mut rows);
            columns(&rows)
        }
        scalar => cell(scalar),
    }
}

/// The members that are in any of the items and hold no more than a cell can.
fn header(items: &[Value]) -> Vec<&str> {
    let mut header = Vec::new();
    for (name, value) in items.iter().filter_map(Value::as_object).flatten() {
        let fits = !value.is_object() && !value.is_array();
        if fits && !header.contains(&name.as_str()) {
            header.push(name.as_str());
        }
    }
    header
}

/// A row for each member, however deep it is.
fn flatten(path: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), value, rows);
            }
        }
        _ => rows.push(vec![path.to_owned(), cell(value)]),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(members) if members.is_empty() => String::new(),
        Value::Array(items) if !items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|c| c.chars().count())
                .max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_array_of_objects_becomes_aligned_columns() {
        let devices = json!([
            {"deviceId": "d1", "status": "enabled", "authentication": {}},
            {"deviceId": "a-longer-name", "status": null, "authentication": {}},
        ]);

        let text = table(&devices);

        let wanted = "deviceId       status\n--------       ------\nd1             enabled\n\
                      a-longer-name";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_column_is_there_for_what_any_row_has() {
        let groups = json!([{"n": 1}, {"site": "A", "n": 2}]);

        assert_eq!(table(&groups), "n  site\n-  ----\n1\n2  A");
    }

    #[test]
    fn an_array_of_anything_else_becomes_lines() {
        assert_eq!(table(&json!(["d1", 2])), "d1\n2");
    }

    #[test]
    fn an_object_becomes_rows_with_its_members_by_their_paths() {
        let twin = json!({"a": 1, "b": {"long": "x", "e": {}}, "c": ["y", "z"], "d": [{"f": 1}]});

        let wanted = "a       1\nb.long  x\nb.e\nc       y, z\nd       [{\"f\":1}]";
        assert_eq!(table(&twin), wanted);
    }
}
