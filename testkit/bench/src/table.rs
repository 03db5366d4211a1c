//! Markdown.

/// A table with a heading of its own.
pub(crate) struct Table {
    text: String,
}

impl Table {
    pub(crate) fn new(heading: &str, columns: &[&str]) -> Self {
        let mut table = Self {
            text: format!("\n### {heading}\n\n"),
        };
        table.row(
            &columns
                .iter()
                .map(|&column| column.to_owned())
                .collect::<Vec<_>>(),
        );
        table.text += &format!("|{}\n", " --- |".repeat(columns.len()));
        table
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        self.text += &format!("| {} |\n", cells.join(" | "));
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A figure, or a dash where there is none.
pub(crate) fn cell(value: Option<f64>, unit: &str) -> String {
    let (value, unit) = match (value, unit) {
        (None, _) => return "–".into(),
        (Some(micros), "µs") if micros >= 1000.0 => (micros / 1000.0, "ms"),
        (Some(value), unit) => (value, unit),
    };
    let text = match value.abs() {
        size if size >= 10_000.0 => format!("{:.0}k", value / 1000.0),
        size if size >= 1000.0 => format!("{:.1}k", value / 1000.0),
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if unit.is_empty() {
        text
    } else {
        format!("{text} {unit}")
    }
}

/// How many times the other one a figure is.
pub(crate) fn ratio(value: Option<f64>, other: Option<f64>) -> String {
    match (value, other) {
        (Some(value), Some(other)) if other > 0.0 => format!("{:.2} ×", value / other),
        _ => "–".into(),
    }
}
