//! What a run has found, for a person or for a program.

use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Number, Value};

use crate::histogram::Histogram;

/// Named figures in the order in which they are told.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    /// The member of the JSON document; says the unit.
    name: &'static str,
    /// For a person.
    label: &'static str,
    value: f64,
    unit: &'static str,
}

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a figure.
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        label: &'static str,
        value: f64,
        unit: &'static str,
    ) {
        self.rows.push(Row {
            name,
            label,
            value,
            unit,
        });
    }

    /// Adds a figure that may not be known.
    pub(crate) fn add_known(
        &mut self,
        name: &'static str,
        label: &'static str,
        value: Option<f64>,
        unit: &'static str,
    ) {
        if let Some(value) = value {
            self.add(name, label, value, unit);
        }
    }

    /// Adds median and 99th percentile.
    pub(crate) fn add_latency(&mut self, latency: &Histogram) {
        let micros = |quantile| {
            latency
                .quantile(quantile)
                .map(|it: Duration| it.as_secs_f64() * 1e6)
        };
        self.add_known("p50_us", "latency, median", micros(0.5), "µs");
        self.add_known("p99_us", "latency, 99th percentile", micros(0.99), "µs");
    }

    /// Writes to standard output.
    pub(crate) fn print(&self, as_json: bool) -> std::io::Result<()> {
        let text = if as_json {
            self.to_json().to_string() + "\n"
        } else {
            self.to_table()
        };
        std::io::stdout().write_all(text.as_bytes())
    }

    fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("title".into(), self.title.clone().into());
        for row in &self.rows {
            members.insert(row.name.into(), number(row.value));
        }
        members.into()
    }

    fn to_table(&self) -> String {
        let width = self
            .rows
            .iter()
            .map(|row| row.label.chars().count())
            .max()
            .unwrap_or(0);
        let mut table = format!("{}\n", self.title);
        for row in &self.rows {
            let value = grouped(row.value);
            table += &format!("  {:width$}  {value:>14} {}\n", row.label, row.unit);
        }
        table
    }
}

/// A count without a fraction, anything else rounded to three places.
fn number(value: f64) -> Value {
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
        (rounded as i64).into()
    } else {
        Number::from_f64(rounded).map_or(Value::Null, Value::Number)
    }
}

/// With a comma between thousands, and two places where they matter.
fn grouped(value: f64) -> String {
    let text = if value.fract() == 0.0 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = whole
        .strip_prefix('-')
        .map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if !fraction.is_empty() {
        grouped.push('.');
        grouped += fraction;
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (value, text) in [
            (0.0, "0"),
            (0.456, "0.46"),
            (999.5, "999.50"),
            (1000.4, "1,000"),
            (-1234567.0, "-1,234,567"),
        ] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn counts_have_no_fraction_in_json() {
        let mut report = Report::new("t");
        report.add("count", "count", 3.0, "");
        report.add("rate", "rate", 1.23456, "/s");

        assert_eq!(
            report.to_json().to_string(),
            r#"{"title":"t","count":3,"rate":1.235}"#
        );
    }
}
