//! Spans and metrics in the JSON form of OTLP 1.x.

use iothub_protocol::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::OtlpSettings;
use crate::activity::Span;
use crate::hex::hex;
use crate::metrics::{Data, Family};

/// The kind of a span that answers a request.
const SERVER: u8 = 2;
/// The status of a span that ended in an error.
const ERROR: u8 = 2;
/// A sum since the process began.
const CUMULATIVE: u8 = 2;

/// A request that hands over spans.
pub(super) fn traces(settings: &OtlpSettings, spans: &[Span]) -> Value {
    let spans: Vec<_> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": resource(settings),
        "scopeSpans": [{"scope": scope(), "spans": spans}],
    }]})
}

/// A request that hands over metrics, which count since `began`.
pub(super) fn metrics(
    settings: &OtlpSettings,
    families: &[Family],
    began: Timestamp,
    now: Timestamp,
) -> Value {
    let metrics: Vec<_> = families
        .iter()
        .filter_map(|family| metric(family, began, now))
        .collect();
    json!({"resourceMetrics": [{
        "resource": resource(settings),
        "scopeMetrics": [{"scope": scope(), "metrics": metrics}],
    }]})
}

fn resource(settings: &OtlpSettings) -> Value {
    let mut attributes = vec![
        text("service.name", &settings.service_name),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("process.pid", &std::process::id().to_string()),
    ];
    attributes.extend(
        settings
            .attributes
            .iter()
            .filter(|(name, _)| name != "service.name")
            .map(|(name, value)| text(name, value)),
    );
    json!({"attributes": attributes})
}

fn scope() -> Value {
    json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")})
}

fn span(span: &Span) -> Value {
    let fresh = Uuid::new_v4();
    let trace = span
        .parent
        .map_or(fresh.into_bytes(), |parent| parent.trace);
    // The other half of another one: the two are not each other's.
    let id = &Uuid::new_v4().into_bytes()[..8];
    let mut attributes = vec![
        text("iothub.operation", span.kind.name()),
        text("iothub.time", &span.at.to_iso()),
        integer("iothub.items", span.items),
    ];
    if let Some(client) = &span.client {
        attributes.push(text("iothub.device.id", client.device.as_str()));
        if let Some(module) = &client.module {
            attributes.push(text("iothub.module.id", module.as_str()));
        }
    }
    let ended = nanoseconds(span.ended);
    let started = ended.saturating_sub(span.elapsed.as_nanos());
    let mut document = json!({
        "traceId": hex(&trace),
        "spanId": hex(id),
        "name": span.kind.name(),
        "kind": SERVER,
        "startTimeUnixNano": started.to_string(),
        "endTimeUnixNano": ended.to_string(),
    });
    if let Some(parent) = span.parent {
        document["parentSpanId"] = hex(&parent.span).into();
    }
    if let Some((code, detail)) = &span.refusal {
        attributes.push(text("error.type", code.name()));
        document["status"] = json!({"code": ERROR, "message": detail});
    }
    document["attributes"] = attributes.into();
    document
}

/// A metric; `None` while it has no values.
fn metric(family: &Family, began: Timestamp, now: Timestamp) -> Option<Value> {
    let now = nanoseconds(now).to_string();
    let began = nanoseconds(began).to_string();
    let point = |values: &[&'static str]| {
        let labels = family.labels.iter().zip(values);
        let attributes: Vec<_> = labels.map(|(name, value)| text(name, value)).collect();
        json!({"attributes": attributes, "timeUnixNano": now})
    };
    let (data, empty) = match &family.data {
        Data::Gauge(points) => {
            let all: Vec<_> = points
                .iter()
                .map(|it| {
                    let mut point = point(&it.labels);
                    point["asDouble"] = it.value.into();
                    point
                })
                .collect();
            (json!({"gauge": {"dataPoints": all}}), points.is_empty())
        }
        Data::Counter(points) => {
            let all: Vec<_> = points
                .iter()
                .map(|it| {
                    let mut point = point(&it.labels);
                    point["startTimeUnixNano"] = began.as_str().into();
                    point["asInt"] = it.value.to_string().into();
                    point
                })
                .collect();
            let sum = json!({
                "aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": all,
            });
            (json!({"sum": sum}), points.is_empty())
        }
        Data::Histogram(distributions) => {
            let all: Vec<_> = distributions
                .iter()
                .map(|it| {
                    let mut point = point(&it.labels);
                    let mut below = 0;
                    let mut counts = Vec::with_capacity(it.buckets.len() + 1);
                    for up_to in it.buckets.iter().map(|(_, count)| *count).chain([it.count]) {
                        counts.push(up_to.saturating_sub(below).to_string());
                        below = up_to;
                    }
                    let bounds: Vec<_> = it.buckets.iter().map(|(bound, _)| *bound).collect();
                    point["startTimeUnixNano"] = began.as_str().into();
                    point["count"] = it.count.to_string().into();
                    point["sum"] = it.sum.into();
                    point["bucketCounts"] = counts.into();
                    point["explicitBounds"] = bounds.into();
                    point
                })
                .collect();
            let histogram = json!({"aggregationTemporality": CUMULATIVE, "dataPoints": all});
            (json!({"histogram": histogram}), distributions.is_empty())
        }
    };
    if empty {
        return None;
    }
    let mut document = json!({"name": family.name, "description": family.help});
    let unit = unit(family.unit);
    if !unit.is_empty() {
        document["unit"] = unit.into();
    }
    if let (Some(document), Value::Object(data)) = (document.as_object_mut(), data) {
        document.extend(data);
    }
    Some(document)
}

/// Units as OpenTelemetry writes them.
fn unit(name: &str) -> &str {
    match name {
        "seconds" => "s",
        "bytes" => "By",
        "messages" => "{message}",
        other => other,
    }
}

fn text(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

fn integer(name: &str, value: u64) -> Value {
    json!({"key": name, "value": {"intValue": value.to_string()}})
}

fn nanoseconds(time: Timestamp) -> u128 {
    time.since(Timestamp::UNIX_EPOCH).as_nanos()
}
