//! The document that dashboards read: totals, and what happened since the sample before.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Totals;
use crate::activity::{Latencies, OperationKind, Ranked, microseconds};

/// Everything that calls a method of a device.
const METHODS: [OperationKind; 2] = [OperationKind::InvokeMethod, OperationKind::InvokeCommand];
/// Everything that reads or writes a twin.
const TWINS: [OperationKind; 7] = [
    OperationKind::GetOwnTwin,
    OperationKind::PatchReported,
    OperationKind::GetTwin,
    OperationKind::PatchTwin,
    OperationKind::ReplaceTwin,
    OperationKind::GetDigitalTwin,
    OperationKind::PatchDigitalTwin,
];

/// What happened between two looks.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Counts the samples of one interval; a gap is what a slow reader has missed.
    pub number: u64,
    /// The document without the ranking.
    document: String,
    ranked: Option<Ranked>,
    /// Over how many seconds the ranking's counts were made.
    seconds: f64,
}

impl Sample {
    /// From the look before and this one. Without one before, nothing has happened yet.
    pub(super) fn between(
        number: u64,
        before: Option<&Totals>,
        now: &Totals,
        ranked: Option<Ranked>,
    ) -> Self {
        let elapsed = before.map_or(Duration::ZERO, |before| {
            let ago = before.taken.elapsed();
            ago.saturating_sub(now.taken.elapsed())
        });
        let mut document = snapshot(now);
        document.insert(
            "interval_ms".into(),
            u64::try_from(elapsed.as_millis())
                .unwrap_or(u64::MAX)
                .into(),
        );
        document.insert("rates".into(), rates(before, now, elapsed));
        document.insert("latency".into(), latency(before, now));
        Self {
            number,
            document: Value::Object(document).to_string(),
            ranked,
            seconds: elapsed.as_secs_f64(),
        }
    }

    /// The document, with so many of the busiest and slowest if there is a ranking.
    pub fn to_json(&self, rank: usize) -> String {
        let Some(ranked) = self.ranked.as_ref().filter(|_| rank > 0) else {
            return self.document.clone();
        };
        let busiest: Vec<_> = ranked
            .busiest
            .iter()
            .take(rank)
            .map(|busy| {
                let client = busy.client.to_string();
                json!({"client": client, "rate": per_second(busy.items, self.seconds)})
            })
            .collect();
        let slowest: Vec<_> = ranked
            .slowest
            .iter()
            .take(rank)
            .map(|slow| {
                json!({
                    "operation": slow.kind.name(),
                    "client": slow.client.as_ref().map(ToString::to_string),
                    "ms": microseconds(slow.elapsed) as f64 / 1000.0,
                    "at": slow.at.to_iso(),
                    "refusal": slow.refusal.map(|code| code.name()),
                })
            })
            .collect();
        let open = self.document.strip_suffix('}').unwrap_or(&self.document);
        let (busiest, slowest) = (Value::from(busiest), Value::from(slowest));
        format!("{open},\"busiest\":{busiest},\"slowest\":{slowest}}}")
    }
}

/// What there is and what happened so far: the answer to a single question.
pub(crate) fn snapshot(now: &Totals) -> Map<String, Value> {
    let total: usize = now.connections.values().sum();
    let mut connections = Map::from_iter([("total".to_owned(), Value::from(total))]);
    for (&protocol, &count) in &now.connections {
        connections.insert(protocol.into(), count.into());
    }
    let operations: Map<_, _> = now
        .tallies
        .iter()
        .filter(|tally| tally.latencies.count() > 0)
        .map(|tally| {
            let counts = json!({
                "succeeded": tally.succeeded, "refused": tally.refused, "items": tally.items,
            });
            (tally.kind.name().to_owned(), counts)
        })
        .collect();
    let document = json!({
        "at": now.at.to_iso(),
        "frozen": now.frozen,
        "uptime_seconds": now.uptime.as_secs(),
        "connections": connections,
        "devices": now.census.devices.total,
        "modules": now.census.modules,
        "c2d_waiting": now.census.c2d_waiting,
        "totals": totals(now),
        "operations": operations,
        "throttles": throttles(now),
        "quota": now.meters.as_ref().map(|(_, _, quota)| {
            json!({"limit": quota.limit, "used": quota.used})
        }),
        "observers": now.observers,
        "dropped_observations": now.dropped_observations,
        "watchers": now.watchers,
        "memory_bytes": now.memory,
    });
    match document {
        Value::Object(document) => document,
        _ => Map::new(),
    }
}

/// How long operations took so far, those that there were.
pub(crate) fn latency_so_far(now: &Totals) -> Value {
    latency(None, now)
}

fn totals(now: &Totals) -> Value {
    let mut totals: Map<_, _> = counted(now)
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect();
    totals.insert("events".into(), now.events.into());
    totals.insert("not_emulated".into(), now.not_emulated.into());
    totals.into()
}

/// What rates are told of.
fn counted(of: &Totals) -> [(&'static str, u64); 7] {
    [
        ("telemetry", of.items(&[OperationKind::SendTelemetry])),
        ("telemetry_bytes", of.event_bytes),
        ("methods", of.asked(&METHODS)),
        ("twins", of.asked(&TWINS)),
        ("c2d", of.items(&[OperationKind::SendC2d])),
        ("requests", of.requests()),
        ("refused", of.refused()),
    ]
}

fn rates(before: Option<&Totals>, now: &Totals, elapsed: Duration) -> Value {
    let current = counted(now);
    let earlier = before.map_or(current, counted);
    let rates = current
        .iter()
        .zip(earlier)
        .map(|(&(name, now), (_, before))| {
            // Less than before: the hub was reset in between.
            let rate = per_second(now.saturating_sub(before), elapsed.as_secs_f64());
            (name.to_owned(), Value::from(rate))
        });
    rates.collect::<Map<_, _>>().into()
}

/// To a tenth: more digits tell nothing.
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        (count as f64 / seconds * 10.0).round() / 10.0
    } else {
        0.0
    }
}

fn latency(before: Option<&Totals>, now: &Totals) -> Value {
    let none = Latencies::NONE;
    let told = now.tallies.iter().enumerate().filter_map(|(index, tally)| {
        let earlier = before.map_or(&none, |before| &before.tallies[index].latencies);
        let latencies = tally.latencies.since(earlier);
        let percentile = |percent| latencies.percentile(percent).map(microseconds);
        let told = json!({
            "p50_us": percentile(50.0)?,
            "p99_us": percentile(99.0)?,
            "count": latencies.count(),
        });
        Some((tally.kind.name().to_owned(), told))
    });
    told.collect::<Map<_, _>>().into()
}

fn throttles(now: &Totals) -> Value {
    let meters = now.meters.iter().flat_map(|(_, throttles, _)| throttles);
    let told = meters.map(|meter| {
        json!({
            "name": meter.throttle.name(),
            "per_minute": meter.per_minute,
            "available": meter.available,
            "waiting": meter.waiting,
            "delayed": meter.delayed,
            "refused": meter.refused,
        })
    });
    told.collect::<Vec<_>>().into()
}
