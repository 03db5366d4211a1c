//! Figures of several rounds.

use std::collections::BTreeMap;

use serde_json::Value;

/// The figures of one measurement, by name, one value a round.
#[derive(Debug, Default)]
pub(crate) struct Sample(BTreeMap<String, Vec<f64>>);

impl Sample {
    /// Adds what one run of the fleet has printed.
    pub(crate) fn add(&mut self, report: &Value) {
        for (name, value) in report.as_object().into_iter().flatten() {
            if let Some(number) = value.as_f64() {
                self.0.entry(name.clone()).or_default().push(number);
            }
        }
    }

    /// The median of a figure.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        let mut values = self.0.get(name)?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// The largest value of a figure: for losses, of which none is the only good number.
    pub(crate) fn max(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.iter().copied().max_by(f64::total_cmp)
    }
}
