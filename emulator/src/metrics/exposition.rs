//! Metrics as text: Prometheus' format 0.0.4, and OpenMetrics 1.0 for those who ask for it.

use std::fmt::Write;

use super::{Data, Distribution, Family};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one that an `Accept` header asks for.
    pub fn accepted<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let open = accept.flat_map(|value| value.split(',')).any(|kind| {
            kind.trim_start()
                .starts_with("application/openmetrics-text")
        });
        if open {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// These metrics as text.
pub fn exposition(families: &[Family], format: Format) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in families {
        describe(&mut out, family, format);
        match &family.data {
            Data::Gauge(points) => {
                for point in points {
                    let labels = labels(family, &point.labels, None);
                    line(&mut out, family.name, "", &labels, &number(point.value));
                }
            }
            Data::Counter(points) => {
                for point in points {
                    let labels = labels(family, &point.labels, None);
                    line(
                        &mut out,
                        family.name,
                        "_total",
                        &labels,
                        &point.value.to_string(),
                    );
                }
            }
            Data::Histogram(all) => {
                for distribution in all {
                    histogram(&mut out, family, distribution);
                }
            }
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn describe(out: &mut String, family: &Family, format: Format) {
    let Family {
        name, unit, help, ..
    } = family;
    let kind = match family.data {
        Data::Gauge(_) => "gauge",
        Data::Counter(_) => "counter",
        Data::Histogram(_) => "histogram",
    };
    // OpenMetrics names a counter's family without what its series end with.
    let suffix = match (&family.data, format) {
        (Data::Counter(_), Format::Prometheus) => "_total",
        _ => "",
    };
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name}{suffix} {help}");
    let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
    if format == Format::OpenMetrics && !unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
}

fn histogram(out: &mut String, family: &Family, distribution: &Distribution) {
    let Distribution {
        buckets,
        sum,
        count,
        ..
    } = distribution;
    let mut bucket = |bound: &str, count: u64| {
        let labels = labels(family, &distribution.labels, Some(bound));
        line(out, family.name, "_bucket", &labels, &count.to_string());
    };
    for &(bound, count) in buckets {
        bucket(&number(bound), count);
    }
    bucket("+Inf", *count);
    let labels = labels(family, &distribution.labels, None);
    line(out, family.name, "_sum", &labels, &number(*sum));
    line(out, family.name, "_count", &labels, &count.to_string());
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &str, value: &str) {
    let _ = writeln!(out, "{name}{suffix}{labels} {value}");
}

/// Label names and values in braces, or nothing when there are none.
fn labels(family: &Family, values: &[&str], bound: Option<&str>) -> String {
    let pairs: Vec<_> = family
        .labels
        .iter()
        .copied()
        .zip(values.iter().copied())
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", pairs.join(","))
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A number with a decimal point, as OpenMetrics wants bounds.
fn number(value: f64) -> String {
    let text = value.to_string();
    if text.contains('.') {
        text
    } else {
        format!("{text}.0")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Point;
    use super::*;

    fn family(data: Data) -> Family {
        Family {
            name: "iothub_tried_seconds",
            unit: "seconds",
            help: "A \\ and\na line.",
            labels: &["kind"],
            data,
        }
    }

    #[test]
    fn a_label_and_a_help_text_are_escaped() {
        let value = Point {
            labels: vec!["a\"b\\c\nd"],
            value: 7,
        };
        let text = exposition(&[family(Data::Counter(vec![value]))], Format::Prometheus);

        assert_eq!(
            text,
            "# HELP iothub_tried_seconds_total A \\\\ and\\na line.\n\
             # TYPE iothub_tried_seconds_total counter\n\
             iothub_tried_seconds_total{kind=\"a\\\"b\\\\c\\nd\"} 7\n"
        );
    }

    #[test]
    fn openmetrics_names_units_and_ends() {
        let value = Point {
            labels: vec!["a"],
            value: 7,
        };
        let text = exposition(&[family(Data::Counter(vec![value]))], Format::OpenMetrics);

        assert_eq!(
            text,
            "# HELP iothub_tried_seconds A \\\\ and\\na line.\n\
             # TYPE iothub_tried_seconds counter\n\
             # UNIT iothub_tried_seconds seconds\n\
             iothub_tried_seconds_total{kind=\"a\"} 7\n# EOF\n"
        );
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_everything() {
        let distribution = Distribution {
            labels: vec!["a"],
            buckets: vec![(0.00001, 1), (1.0, 3)],
            sum: 4.5,
            count: 4,
        };
        let text = exposition(
            &[family(Data::Histogram(vec![distribution]))],
            Format::Prometheus,
        );

        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "iothub_tried_seconds_bucket{kind=\"a\",le=\"0.00001\"} 1",
                "iothub_tried_seconds_bucket{kind=\"a\",le=\"1.0\"} 3",
                "iothub_tried_seconds_bucket{kind=\"a\",le=\"+Inf\"} 4",
                "iothub_tried_seconds_sum{kind=\"a\"} 4.5",
                "iothub_tried_seconds_count{kind=\"a\"} 4",
            ]
        );
    }
}
