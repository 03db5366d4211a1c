//! Requests to `$management` and their answers (`spec/amqp.md` 6.2).

use super::cbs;
use super::message::AmqpMessage;
use super::value::{Array, Map, Value, lookup};
use crate::Timestamp;

/// What a client wants to know.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRequest {
    /// About what.
    pub subject: Subject,
    /// The entity's name.
    pub entity: String,
    /// The token that comes with the request.
    pub security_token: Option<String>,
    /// The request's message id.
    pub message_id: Value,
    /// Where the client wants the answer.
    pub reply_to: Option<String>,
}

/// About what a client wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The event hub.
    EventHub,
    /// One of its partitions, by its name.
    Partition(String),
}

/// What there is to know of the event hub.
#[derive(Clone, Debug, PartialEq)]
pub struct EventHubProperties {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The names of its partitions.
    pub partition_ids: Vec<String>,
}

/// What there is to know of a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionProperties {
    /// The event hub's name.
    pub name: String,
    /// The partition's.
    pub partition: String,
    /// The oldest event that is kept.
    pub begin_sequence_number: i64,
    /// The newest event; -1: there was none.
    pub last_enqueued_sequence_number: i64,
    /// Its offset; `-1`: there was none.
    pub last_enqueued_offset: String,
    /// Its time; `None`: there was none.
    pub last_enqueued_time: Option<Timestamp>,
    /// Whether no event is kept.
    pub is_empty: bool,
}

const READ: &str = "READ";
const EVENT_HUB: &str = "com.microsoft:eventhub";
const PARTITION: &str = "com.microsoft:partition";

impl ReadRequest {
    /// Reads a request. `Err`: status and what is wrong with it.
    pub fn from_message(message: &AmqpMessage) -> Result<Self, (i32, String)> {
        match cbs::operation(message) {
            Some(operation) if operation.eq_ignore_ascii_case(READ) => {}
            Some(other) => return Err((501, format!("the operation {other:?} is not {READ}"))),
            None => return Err((400, "there is no operation".into())),
        }
        let required = |name: &str| {
            cbs::property(message, name).ok_or((400, format!("there is no {name}, or no text")))
        };
        let subject = match &*required("type")? {
            EVENT_HUB => Subject::EventHub,
            PARTITION => Subject::Partition(required("partition")?),
            other => return Err((400, format!("the type {other:?} is not known"))),
        };
        Ok(Self {
            subject,
            entity: required("name")?,
            security_token: cbs::property(message, "security_token"),
            message_id: cbs::message_id(message),
            reply_to: message.properties.reply_to.clone(),
        })
    }

    /// The request, as a client sends it.
    pub fn to_message(&self) -> AmqpMessage {
        let mut properties = vec![("operation", READ), ("name", &*self.entity)];
        match &self.subject {
            Subject::EventHub => properties.push(("type", EVENT_HUB)),
            Subject::Partition(partition) => {
                properties.extend([("type", PARTITION), ("partition", &**partition)]);
            }
        }
        if let Some(token) = &self.security_token {
            properties.push(("security_token", token));
        }
        cbs::request(&self.message_id, self.reply_to.as_deref(), &properties)
    }
}

impl EventHubProperties {
    /// The answer's body.
    pub fn to_value(&self) -> Value {
        let ids = self.partition_ids.iter().map(|id| Value::from(&**id));
        let count = i32::try_from(self.partition_ids.len()).unwrap_or(i32::MAX);
        map([
            ("name", Value::from(&*self.name)),
            ("type", Value::from(EVENT_HUB)),
            ("created_at", self.created_at.into()),
            ("partition_count", Value::Int(count)),
            ("partition_ids", Array(ids.collect()).into()),
            // Not replicated.
            ("georeplication_factor", Value::Int(1)),
        ])
    }

    /// Reads an answer's body.
    pub fn from_value(value: &Value) -> Option<Self> {
        let map = as_map(value)?;
        let ids = match lookup(map, "partition_ids")? {
            Value::Array(array) => &array.0,
            Value::List(list) => list,
            _ => return None,
        };
        Some(Self {
            name: text(map, "name")?,
            created_at: time(map, "created_at")?,
            partition_ids: ids
                .iter()
                .map(|id| id.as_text().map(str::to_owned))
                .collect::<Option<_>>()?,
        })
    }
}

impl PartitionProperties {
    /// The answer's body. Where there was no event, the time is the year 1 (`spec/amqp.md` 6.2).
    pub fn to_value(&self) -> Value {
        let last = self.last_enqueued_time.unwrap_or(Timestamp::NEVER);
        map([
            ("name", Value::from(&*self.name)),
            ("type", Value::from(PARTITION)),
            ("partition", Value::from(&*self.partition)),
            (
                "begin_sequence_number",
                Value::Long(self.begin_sequence_number),
            ),
            (
                "last_enqueued_sequence_number",
                Value::Long(self.last_enqueued_sequence_number),
            ),
            (
                "last_enqueued_offset",
                Value::from(&*self.last_enqueued_offset),
            ),
            ("last_enqueued_time_utc", last.into()),
            ("is_partition_empty", Value::Bool(self.is_empty)),
        ])
    }

    /// Reads an answer's body.
    pub fn from_value(value: &Value) -> Option<Self> {
        let map = as_map(value)?;
        Some(Self {
            name: text(map, "name")?,
            partition: text(map, "partition")?,
            begin_sequence_number: lookup(map, "begin_sequence_number")?.as_i64()?,
            last_enqueued_sequence_number: lookup(map, "last_enqueued_sequence_number")?
                .as_i64()?,
            last_enqueued_offset: text(map, "last_enqueued_offset")?,
            last_enqueued_time: Some(time(map, "last_enqueued_time_utc")?)
                .filter(|time| *time != Timestamp::NEVER),
            is_empty: matches!(lookup(map, "is_partition_empty")?, Value::Bool(true)),
        })
    }
}

/// The keys are strings (`spec/amqp.md` 6.2).
fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Map(
        pairs
            .into_iter()
            .map(|(key, value)| (Value::from(key), value))
            .collect(),
    )
}

fn as_map(value: &Value) -> Option<&Map> {
    match value {
        Value::Map(map) => Some(map),
        _ => None,
    }
}

fn text(map: &Map, key: &str) -> Option<String> {
    lookup(map, key)?.as_text().map(str::to_owned)
}

fn time(map: &Map, key: &str) -> Option<Timestamp> {
    match lookup(map, key)? {
        Value::Timestamp(millis) => Some(Timestamp::from_unix_millis(*millis)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subject: Subject) -> ReadRequest {
        ReadRequest {
            subject,
            entity: "hub".into(),
            security_token: Some("SharedAccessSignature sr=x".into()),
            message_id: Value::Ulong(1),
            reply_to: Some("mgmt".into()),
        }
    }

    #[test]
    fn requests_come_back() {
        for request in [
            request(Subject::EventHub),
            request(Subject::Partition("3".into())),
            ReadRequest {
                security_token: None,
                message_id: Value::Null,
                reply_to: None,
                ..request(Subject::EventHub)
            },
        ] {
            assert_eq!(
                ReadRequest::from_message(&request.to_message()),
                Ok(request)
            );
        }
    }

    #[test]
    fn a_request_that_is_none_gets_a_status() {
        let status = |change: &dyn Fn(&mut Map)| {
            let mut message = request(Subject::Partition("0".into())).to_message();
            change(&mut message.application_properties);
            ReadRequest::from_message(&message).unwrap_err().0
        };
        let set = |name: &'static str, value: &'static str| {
            move |map: &mut Map| {
                map.retain(|(key, _)| key.as_text() != Some(name));
                map.push((Value::from(name), Value::from(value)));
            }
        };
        let remove = |name: &'static str| {
            move |map: &mut Map| map.retain(|(key, _)| key.as_text() != Some(name))
        };

        assert_eq!(status(&set("operation", "DELETE")), 501);
        assert_eq!(status(&set("type", "com.microsoft:queue")), 400);
        for name in ["operation", "type", "name", "partition"] {
            assert_eq!(status(&remove(name)), 400, "{name}");
        }
    }

    #[test]
    fn what_is_told_of_the_event_hub_has_exactly_these_types() {
        let properties = EventHubProperties {
            name: "hub".into(),
            created_at: Timestamp::from_unix_millis(1_767_225_600_000),
            partition_ids: vec!["0".into(), "1".into()],
        };

        let value = properties.to_value();

        assert_eq!(
            value,
            map([
                ("name", Value::String("hub".into())),
                ("type", Value::String("com.microsoft:eventhub".into())),
                ("created_at", Value::Timestamp(1_767_225_600_000)),
                ("partition_count", Value::Int(2)),
                (
                    "partition_ids",
                    Value::Array(Array(vec![Value::from("0"), Value::from("1")]))
                ),
                ("georeplication_factor", Value::Int(1)),
            ])
        );
        assert_eq!(EventHubProperties::from_value(&value), Some(properties));
    }

    // `spec/amqp.md` 8, item 10.
    #[test]
    fn what_is_told_of_a_partition_has_exactly_these_types() {
        let properties = PartitionProperties {
            name: "hub".into(),
            partition: "1".into(),
            begin_sequence_number: 5,
            last_enqueued_sequence_number: 9,
            last_enqueued_offset: "4096".into(),
            last_enqueued_time: Some(Timestamp::from_unix_millis(1_767_225_600_000)),
            is_empty: false,
        };

        let value = properties.to_value();

        assert_eq!(
            value,
            map([
                ("name", Value::String("hub".into())),
                ("type", Value::String("com.microsoft:partition".into())),
                ("partition", Value::String("1".into())),
                ("begin_sequence_number", Value::Long(5)),
                ("last_enqueued_sequence_number", Value::Long(9)),
                ("last_enqueued_offset", Value::String("4096".into())),
                (
                    "last_enqueued_time_utc",
                    Value::Timestamp(1_767_225_600_000)
                ),
                ("is_partition_empty", Value::Bool(false)),
            ])
        );
        assert_eq!(PartitionProperties::from_value(&value), Some(properties));
    }

    #[test]
    fn the_last_event_of_an_empty_partition_was_in_the_year_1() {
        let properties = PartitionProperties {
            name: "hub".into(),
            partition: "0".into(),
            begin_sequence_number: 0,
            last_enqueued_sequence_number: -1,
            last_enqueued_offset: "-1".into(),
            last_enqueued_time: None,
            is_empty: true,
        };

        let value = properties.to_value();

        let map = as_map(&value).unwrap();
        assert_eq!(
            lookup(map, "last_enqueued_time_utc"),
            Some(&Value::Timestamp(-62_135_596_800_000))
        );
        assert_eq!(PartitionProperties::from_value(&value), Some(properties));
    }
}
