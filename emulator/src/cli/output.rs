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
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
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
            let Some(Value::Object(first)) = items.first() else {
                return items.iter().map(cell).collect::<Vec<_>>().join("\n");
            };
            let header: Vec<String> = first
                .iter()
                .filter(|(_, value)| !value.is_object() && !value.is_array())
                .map(|(name, _)| name.clone())
                .collect();
            let rows = items.iter().map(|item| {
                header
                    .iter()
                    .map(|name| cell(&item[name.as_str()]))
                    .collect::<Vec<_>>()
            });
            let mut lines = vec![header.clone()];
            lines.push(header.iter().map(|name| "-".repeat(name.len())).collect());
            lines.extend(rows);
            columns(&lines)
        }
        Value::Object(members) => {
            let rows: Vec<_> = members
                .iter()
                .map(|(name, value)| vec![name.clone(), cell(value)])
                .collect();
            columns(&rows)
        }
        scalar => cell(scalar),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
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
    fn an_object_becomes_rows() {
        assert_eq!(table(&json!({"a": 1, "long": "x"})), "a     1\nlong  x");
    }
}
