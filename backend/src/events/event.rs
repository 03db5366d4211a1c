//! One event, as its reader gets it (`spec/amqp.md` 6.4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::message::{AmqpMessage, Body, Properties};
use iothub_protocol::amqp::value::{self, Value as Amqp};
use serde_json::{Map, Value};

use crate::Error;
use crate::amqp::unreadable;

/// One stored device-to-cloud message (`spec/device.md` 4.5).
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The partition that holds it.
    pub partition: u32,
    /// Its number within the partition.
    pub sequence_number: u64,
    /// Its place within the partition.
    pub offset: String,
    /// When the hub stored it.
    pub enqueued_time: Timestamp,
    /// What the hub says about it, such as `iothub-connection-device-id`; times are milliseconds
    /// since 1970.
    pub annotations: Map<String, Value>,
    /// Standard properties, such as `message-id` and `content-type`.
    pub properties: Map<String, Value>,
    /// What the sender added.
    pub application_properties: Map<String, Value>,
    /// The payload as it was sent.
    pub body: Bytes,
}

impl Event {
    /// The device that sent it, or whose module did.
    pub fn device_id(&self) -> &str {
        self.annotation("iothub-connection-device-id")
            .unwrap_or_default()
    }

    /// The module that sent it, if one did.
    pub fn module_id(&self) -> Option<&str> {
        self.annotation("iothub-connection-module-id")
    }

    /// What it is: `Telemetry`, `twinChangeEvents`, …
    pub fn message_source(&self) -> Option<&str> {
        self.annotation("iothub-message-source")
    }

    /// The payload as JSON, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// An annotation that is text.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).and_then(Value::as_str)
    }

    /// Reads what a partition's link delivered.
    pub(super) fn read(partition: u32, payload: Bytes) -> Result<Self, Error> {
        let message = AmqpMessage::decode(payload).map_err(unreadable)?;
        let annotation = |name| value::lookup(&message.message_annotations, name);
        let sequence_number = annotation("x-opt-sequence-number")
            .and_then(Amqp::as_i64)
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| unreadable("an event without a sequence number"))?;
        let Some(&Amqp::Timestamp(enqueued)) = annotation("x-opt-enqueued-time") else {
            return Err(unreadable("an event without the time of its arrival"));
        };
        let offset = annotation("x-opt-offset").and_then(Amqp::as_text);
        Ok(Self {
            partition,
            sequence_number,
            offset: offset.unwrap_or_default().to_owned(),
            enqueued_time: Timestamp::from_unix_millis(enqueued),
            annotations: map(&message.message_annotations),
            properties: properties(&message.properties),
            application_properties: map(&message.application_properties),
            body: match message.body {
                // Nearly every event: one section, which is not copied.
                Body::Data(mut sections) if sections.len() == 1 => {
                    sections.pop().unwrap_or_default()
                }
                Body::Data(sections) => sections.concat().into(),
                Body::Value(Amqp::Binary(bytes)) => bytes,
                Body::Value(Amqp::String(text)) => text.into(),
                Body::Value(value) => json(&value).to_string().into(),
                Body::Sequence(lists) => {
                    let lists = lists.iter().map(|list| list.iter().map(json).collect());
                    Value::Array(lists.collect()).to_string().into()
                }
            },
        })
    }
}

/// The standard properties that are there, by their names in the standard.
fn properties(properties: &Properties) -> Map<String, Value> {
    let text = |text: &Option<String>| text.clone().map(Value::from);
    let symbol =
        |symbol: &Option<value::Symbol>| symbol.as_ref().map(|symbol| symbol.as_str().into());
    let millis = |millis: Option<i64>| millis.map(Value::from);
    let user_id = properties.user_id.as_ref();
    [
        ("message-id", properties.message_id.as_ref().map(json)),
        ("user-id", user_id.map(|id| binary(id))),
        ("to", text(&properties.to)),
        ("subject", text(&properties.subject)),
        ("reply-to", text(&properties.reply_to)),
        (
            "correlation-id",
            properties.correlation_id.as_ref().map(json),
        ),
        ("content-type", symbol(&properties.content_type)),
        ("content-encoding", symbol(&properties.content_encoding)),
        (
            "absolute-expiry-time",
            millis(properties.absolute_expiry_time),
        ),
        ("creation-time", millis(properties.creation_time)),
        ("group-id", text(&properties.group_id)),
        ("group-sequence", properties.group_sequence.map(Value::from)),
        ("reply-to-group-id", text(&properties.reply_to_group_id)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

fn map(map: &[(Amqp, Amqp)]) -> Map<String, Value> {
    let name = |key: &Amqp| match key.as_text() {
        Some(text) => text.to_owned(),
        None => json(key).to_string(),
    };
    map.iter()
        .map(|(key, value)| (name(key), json(value)))
        .collect()
}

/// An AMQP value as JSON: what has no counterpart becomes text.
fn json(value: &Amqp) -> Value {
    match value {
        Amqp::Null => Value::Null,
        Amqp::Bool(flag) => (*flag).into(),
        Amqp::Ulong(number) => (*number).into(),
        Amqp::Ubyte(_)
        | Amqp::Ushort(_)
        | Amqp::Uint(_)
        | Amqp::Byte(_)
        | Amqp::Short(_)
        | Amqp::Int(_)
        | Amqp::Long(_) => value.as_i64().into(),
        Amqp::Float(number) => f64::from(*number).into(),
        Amqp::Double(number) => (*number).into(),
        Amqp::Timestamp(millis) => (*millis).into(),
        Amqp::Char(char) => char.to_string().into(),
        Amqp::Uuid(bytes) => uuid(bytes).into(),
        Amqp::Binary(bytes) => binary(bytes),
        Amqp::Decimal32(bytes) => STANDARD.encode(bytes).into(),
        Amqp::Decimal64(bytes) => STANDARD.encode(bytes).into(),
        Amqp::Decimal128(bytes) => STANDARD.encode(bytes).into(),
        Amqp::String(text) => text.as_str().into(),
        Amqp::Symbol(symbol) => symbol.as_str().into(),
        Amqp::List(items) => items.iter().map(json).collect(),
        Amqp::Array(items) => items.0.iter().map(json).collect(),
        Amqp::Map(members) => map(members).into(),
        Amqp::Described(described) => json(&described.1),
    }
}

/// Bytes as text where they are text.
fn binary(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => STANDARD.encode(bytes).into(),
    }
}

fn uuid(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}
