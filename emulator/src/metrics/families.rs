//! Which metrics there are.

use std::time::Duration;

use iothub_hub::ThrottleMeter;

use crate::activity::{Latencies, Tally};
use crate::stats::Totals;

/// A metric with all its time series.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name; a counter's without `_total`.
    pub name: &'static str,
    /// What its values are measured in, which is how its name ends; empty: they are counts.
    pub unit: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Which labels its series have.
    pub labels: &'static [&'static str],
    /// Its values.
    pub data: Data,
}

/// The values of a metric by what they mean.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// They go up and down.
    Gauge(Vec<Point<f64>>),
    /// They only grow, and begin anew with the process.
    Counter(Vec<Point<u64>>),
    /// How many were how large.
    Histogram(Vec<Distribution>),
}

/// The values of a series' labels, in the order of the family's.
pub type Labels = Vec<&'static str>;

/// A series' value.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<T> {
    /// Which series.
    pub labels: Labels,
    /// Its value.
    pub value: T,
}

/// A series' values by size.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Which series.
    pub labels: Labels,
    /// How many are at most so large, for each bound; those of smaller bounds included.
    pub buckets: Vec<(f64, u64)>,
    /// All of them together.
    pub sum: f64,
    /// How many there are.
    pub count: u64,
}

/// The bounds that are told, in microseconds: three a decade of those that are counted.
const TOLD: [u64; 22] = [
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
];

/// Every metric.
pub fn families(now: &Totals) -> Vec<Family> {
    let mut all = process(now);
    all.extend(contents(now));
    all.extend(operations(now));
    all.extend(throttles(now));
    all.extend(onlookers(now));
    all
}

fn process(now: &Totals) -> Vec<Family> {
    vec![
        Family {
            labels: &["version"],
            ..gauge(
                "iothub_emulator_info",
                "",
                "Always 1; which emulator this is.",
                vec![labelled(vec![env!("CARGO_PKG_VERSION")], 1.0)],
            )
        },
        gauge(
            "iothub_uptime_seconds",
            "seconds",
            "How long the emulator has been running, in the world's time.",
            one(now.uptime.as_secs_f64()),
        ),
        gauge(
            "iothub_memory_resident_bytes",
            "bytes",
            "Memory that the process holds; absent where the system does not tell.",
            now.memory
                .map(|bytes| only(bytes as f64))
                .into_iter()
                .collect(),
        ),
        gauge(
            "iothub_clock_frozen",
            "",
            "1 while the hub's time stands still, otherwise 0.",
            one(f64::from(u8::from(now.frozen))),
        ),
    ]
}

fn contents(now: &Totals) -> Vec<Family> {
    let devices = &now.census.devices;
    vec![
        Family {
            labels: &["status"],
            ..gauge(
                "iothub_devices",
                "",
                "Device identities.",
                vec![
                    labelled(vec!["enabled"], devices.enabled as f64),
                    labelled(vec!["disabled"], devices.disabled as f64),
                ],
            )
        },
        gauge(
            "iothub_modules",
            "",
            "Module identities.",
            one(now.census.modules as f64),
        ),
        Family {
            labels: &["protocol"],
            ..gauge(
                "iothub_connections",
                "",
                "Devices and modules that are connected.",
                now.connections
                    .iter()
                    .map(|(&protocol, &count)| labelled(vec![protocol], count as f64))
                    .collect(),
            )
        },
        gauge(
            "iothub_c2d_waiting",
            "",
            "Cloud-to-device messages that wait to be delivered or settled.",
            one(now.census.c2d_waiting as f64),
        ),
        counter(
            "iothub_events",
            "",
            "Events that the built-in endpoint got: telemetry and what the hub itself tells.",
            vec![only(now.events)],
        ),
        counter(
            "iothub_event_bytes",
            "bytes",
            "Bytes of these events: bodies and properties.",
            vec![only(now.event_bytes)],
        ),
    ]
}

fn operations(now: &Totals) -> Vec<Family> {
    // Operations that nobody has asked for have no series yet.
    let happened = || {
        now.tallies
            .iter()
            .filter(|tally| tally.latencies.count() > 0)
    };
    let results = |tally: &Tally| {
        let name = tally.kind.name();
        [
            labelled(vec![name, "succeeded"], tally.succeeded),
            labelled(vec![name, "refused"], tally.refused),
        ]
    };
    vec![
        Family {
            labels: &["operation", "result"],
            ..counter(
                "iothub_operations",
                "",
                "Operations of the hub; a burst of telemetry is one.",
                happened().flat_map(results).collect(),
            )
        },
        Family {
            labels: &["operation"],
            ..counter(
                "iothub_operation_items",
                "",
                "What operations that succeeded were about: the messages of bursts, otherwise 1 each.",
                happened()
                    .map(|tally| labelled(vec![tally.kind.name()], tally.items))
                    .collect(),
            )
        },
        Family {
            labels: &["operation", "code"],
            ..counter(
                "iothub_refusals",
                "",
                "Operations that were refused, by the error code that was answered.",
                now.refusals
                    .iter()
                    .map(|((kind, code), &count)| labelled(vec![kind.name(), code.name()], count))
                    .collect(),
            )
        },
        Family {
            name: "iothub_operation_duration_seconds",
            unit: "seconds",
            help: "How long operations took, waiting for devices, disks, throttles and faults included.",
            labels: &["operation"],
            data: Data::Histogram(
                happened()
                    .map(|tally| distribution(tally.kind.name(), &tally.latencies))
                    .collect(),
            ),
        },
        counter(
            "iothub_not_emulated",
            "",
            "Requests for what the emulator does not have.",
            vec![only(now.not_emulated)],
        ),
    ]
}

fn throttles(now: &Totals) -> Vec<Family> {
    let (meters, quota) = match &now.meters {
        None => (&[][..], None),
        Some((_, meters, quota)) => (meters.as_slice(), Some(quota)),
    };
    let gauges = |value: fn(&ThrottleMeter) -> f64| {
        let points = meters
            .iter()
            .map(|meter| labelled(vec![meter.throttle.name()], value(meter)));
        points.collect()
    };
    let counters = |value: fn(&ThrottleMeter) -> u64| {
        let points = meters
            .iter()
            .map(|meter| labelled(vec![meter.throttle.name()], value(meter)));
        points.collect()
    };
    let by_throttle = |family| Family {
        labels: &["throttle"],
        ..family
    };
    vec![
        by_throttle(gauge(
            "iothub_throttle_waiting",
            "",
            "Operations that a throttle makes wait; only with a tier.",
            gauges(|meter| meter.waiting as f64),
        )),
        by_throttle(counter(
            "iothub_throttle_delayed",
            "",
            "Operations that a throttle made wait; only with a tier.",
            counters(|meter| meter.delayed),
        )),
        by_throttle(counter(
            "iothub_throttle_refused",
            "",
            "Operations that a throttle refused; only with a tier.",
            counters(|meter| meter.refused),
        )),
        gauge(
            "iothub_quota_used_messages",
            "messages",
            "Messages of the hub's day that are used up; only with a tier.",
            quota
                .map(|quota| only(quota.used as f64))
                .into_iter()
                .collect(),
        ),
        gauge(
            "iothub_quota_limit_messages",
            "messages",
            "Messages that the tier allows a day; only with a tier.",
            quota
                .map(|quota| only(quota.limit as f64))
                .into_iter()
                .collect(),
        ),
    ]
}

fn onlookers(now: &Totals) -> Vec<Family> {
    vec![
        gauge(
            "iothub_faults_armed",
            "",
            "Rules of the fault plan.",
            one(now.faults_armed as f64),
        ),
        gauge(
            "iothub_faults_fired",
            "",
            "Operations that the rules of the fault plan have acted on; clearing the plan forgets them.",
            one(now.faults_fired as f64),
        ),
        gauge(
            "iothub_observers",
            "",
            "Observers that are told what happens: the observer bus, a timeline.",
            one(now.observers as f64),
        ),
        counter(
            "iothub_dropped_observations",
            "",
            "What observers were not told because they were slow.",
            vec![only(now.dropped_observations)],
        ),
        counter(
            "iothub_spans_exported",
            "",
            "Operations that the collector of traces has taken.",
            vec![only(now.spans.exported)],
        ),
        counter(
            "iothub_spans_dropped",
            "",
            "Operations that the collector of traces did not take, or was too slow for.",
            vec![only(now.spans.dropped)],
        ),
        gauge(
            "iothub_stats_watchers",
            "",
            "Dashboards and commands that read these numbers as a stream.",
            one(now.watchers as f64),
        ),
    ]
}

fn gauge(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    points: Vec<Point<f64>>,
) -> Family {
    Family {
        name,
        unit,
        help,
        labels: &[],
        data: Data::Gauge(points),
    }
}

fn counter(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    points: Vec<Point<u64>>,
) -> Family {
    Family {
        name,
        unit,
        help,
        labels: &[],
        data: Data::Counter(points),
    }
}

fn labelled<T>(labels: Labels, value: T) -> Point<T> {
    Point { labels, value }
}

fn only<T>(value: T) -> Point<T> {
    labelled(Vec::new(), value)
}

fn one(value: f64) -> Vec<Point<f64>> {
    vec![only(value)]
}

fn distribution(operation: &'static str, latencies: &Latencies) -> Distribution {
    let seconds = |micros| Duration::from_micros(micros).as_secs_f64();
    Distribution {
        labels: vec![operation],
        buckets: TOLD
            .iter()
            .map(|&bound| (seconds(bound), latencies.up_to(bound)))
            .collect(),
        sum: latencies.sum().as_secs_f64(),
        count: latencies.count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::BOUNDS;

    #[test]
    fn every_bound_that_is_told_is_one_that_is_counted() {
        assert!(TOLD.iter().all(|bound| BOUNDS.contains(bound)));
    }
}
