//! AMQP values as JSON.

use iothub_protocol::Timestamp;
use iothub_protocol::amqp::{AmqpError, DeliveryState, Map, Symbol, Value as Amqp};
use serde_json::{Map as Object, Value, json};

use super::super::render::text;
use super::secret;
use crate::hex::hex;

/// Characters of a text and bytes of a binary that are shown.
const LONGEST: usize = 4096;

/// Members of an object; those that say nothing are left out.
#[derive(Default)]
pub(super) struct Members(Object<String, Value>);

impl Members {
    pub(super) fn of(kind: &str) -> Self {
        let mut members = Self::default();
        members.put("type", kind);
        members
    }

    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        let says_nothing = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        if !says_nothing {
            self.0.insert(name.into(), value);
        }
        self
    }

    pub(super) fn done(&mut self) -> Value {
        Value::Object(std::mem::take(&mut self.0))
    }
}

pub(super) fn value(value: &Amqp) -> Value {
    match value {
        Amqp::Null => Value::Null,
        Amqp::Bool(it) => (*it).into(),
        Amqp::Ubyte(it) => (*it).into(),
        Amqp::Ushort(it) => (*it).into(),
        Amqp::Uint(it) => (*it).into(),
        Amqp::Ulong(it) => (*it).into(),
        Amqp::Byte(it) => (*it).into(),
        Amqp::Short(it) => (*it).into(),
        Amqp::Int(it) => (*it).into(),
        Amqp::Long(it) => (*it).into(),
        Amqp::Float(it) => (*it).into(),
        Amqp::Double(it) => (*it).into(),
        Amqp::Decimal32(bytes) => hex(bytes).into(),
        Amqp::Decimal64(bytes) => hex(bytes).into(),
        Amqp::Decimal128(bytes) => hex(bytes).into(),
        Amqp::Char(it) => it.to_string().into(),
        Amqp::Timestamp(millis) => time(*millis),
        Amqp::Uuid(bytes) => uuid(bytes).into(),
        Amqp::Binary(bytes) => binary(bytes),
        Amqp::String(text) => shortened(text),
        Amqp::Symbol(symbol) => symbol.as_str().into(),
        Amqp::List(items) => items.iter().map(self::value).collect(),
        Amqp::Map(pairs) => map(pairs),
        Amqp::Array(items) => items.0.iter().map(self::value).collect(),
        Amqp::Described(described) => json!({
            "descriptor": self::value(&described.0),
            "value": self::value(&described.1),
        }),
    }
}

/// A map with its keys as text.
pub(super) fn map(pairs: &Map) -> Value {
    let pairs = pairs.iter().map(|(key, it)| {
        let key = match key.as_text() {
            Some(text) => text.to_owned(),
            None => value(key).to_string(),
        };
        (key, value(it))
    });
    Value::Object(pairs.collect())
}

pub(super) fn symbols(symbols: &[Symbol]) -> Value {
    symbols.iter().map(Symbol::as_str).collect()
}

pub(super) fn error(error: &AmqpError) -> Value {
    Members::default()
        .put("condition", error.condition.as_str())
        .put("description", error.description.as_deref())
        .put("info", map(&error.info))
        .done()
}

/// A delivery's state: its name, and more about it.
pub(super) fn state(state: &DeliveryState) -> (&'static str, Value) {
    match state {
        DeliveryState::Received {
            section_number,
            section_offset,
        } => (
            "received",
            json!({"section": section_number, "offset": section_offset}),
        ),
        DeliveryState::Accepted => ("accepted", Value::Null),
        DeliveryState::Rejected(why) => ("rejected", why.as_ref().map_or(Value::Null, self::error)),
        DeliveryState::Released => ("released", Value::Null),
        DeliveryState::Modified {
            delivery_failed,
            undeliverable_here,
            annotations,
        } => (
            "modified",
            json!({
                "deliveryFailed": delivery_failed,
                "undeliverableHere": undeliverable_here,
                "annotations": map(annotations),
            }),
        ),
        DeliveryState::Other(it) => ("another state", value(it)),
    }
}

/// Text where it is text.
pub(super) fn binary(bytes: &[u8]) -> Value {
    let kept = &bytes[..bytes.len().min(LONGEST)];
    match text(kept, kept.len() < bytes.len()) {
        Some(text) => shortened(text),
        None => json!({"hex": hex(kept), "bytes": bytes.len()}),
    }
}

/// Milliseconds since 1970 as text, unless no calendar goes that far.
pub(super) fn time(millis: i64) -> Value {
    let seconds = millis.div_euclid(1000);
    // Years 1 to 9999.
    if !(-62_135_596_800..253_402_300_800).contains(&seconds) {
        return millis.into();
    }
    let whole = Timestamp::from_unix_seconds(seconds).ticks();
    Timestamp::from_ticks(whole + millis.rem_euclid(1000) * 10_000)
        .to_iso()
        .into()
}

fn uuid(bytes: &[u8; 16]) -> String {
    let hex = hex(bytes);
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

fn shortened(text: &str) -> Value {
    let text = secret::shown(text);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
