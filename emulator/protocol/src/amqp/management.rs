//! Requests to `$management` and their answers (`spec/amqp.md` 6.2).

use super::message::AmqpMessage;
use super::value::Value;
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

impl ReadRequest {
    /// Reads a request. `Err`: status and what is wrong with it.
    pub fn from_message(message: &AmqpMessage) -> Result<Self, (i32, String)> {
        let _ = message;
        todo!()
    }

    /// The request, as a client sends it.
    pub fn to_message(&self) -> AmqpMessage {
        todo!()
    }
}

impl EventHubProperties {
    /// The answer's body.
    pub fn to_value(&self) -> Value {
        todo!()
    }

    /// Reads an answer's body.
    pub fn from_value(value: &Value) -> Option<Self> {
        let _ = value;
        todo!()
    }
}

impl PartitionProperties {
    /// The answer's body.
    pub fn to_value(&self) -> Value {
        todo!()
    }

    /// Reads an answer's body.
    pub fn from_value(value: &Value) -> Option<Self> {
        let _ = value;
        todo!()
    }
}
