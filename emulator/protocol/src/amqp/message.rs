//! AMQP messages: the sections, in and out (AMQP 1.0 part 3, 3.2).

mod decode;
mod encode;

use bytes::Bytes;

pub use encode::put_data_section;

use super::value::{Map, Symbol, Value};

/// The format of a message that is a batch of messages (`spec/amqp.md` 7.2).
pub const BATCHED_FORMAT: u32 = 0x8001_3700;

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AmqpMessage {
    /// How it is to be transported.
    pub header: Header,
    /// For the next hop.
    pub delivery_annotations: Map,
    /// For the infrastructure.
    pub message_annotations: Map,
    /// The standard properties.
    pub properties: Properties,
    /// The application's.
    pub application_properties: Map,
    /// What it carries.
    pub body: Body,
    /// What was computed over it.
    pub footer: Map,
}

/// How a message is to be transported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// Whether it is to survive.
    pub durable: Option<bool>,
    /// Relative importance; 4 is usual.
    pub priority: Option<u8>,
    /// Milliseconds that it is worth something.
    pub ttl: Option<u32>,
    /// Whether nobody had it before.
    pub first_acquirer: Option<bool>,
    /// Attempts that failed.
    pub delivery_count: Option<u32>,
}

/// The standard properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// Names the message: string, ulong, uuid or binary.
    pub message_id: Option<Value>,
    /// The user.
    pub user_id: Option<Bytes>,
    /// The node.
    pub to: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// Names the message that this one answers; the same types as the message id.
    pub correlation_id: Option<Value>,
    /// The body's media type.
    pub content_type: Option<Symbol>,
    /// The body's encoding.
    pub content_encoding: Option<Symbol>,
    /// Milliseconds since 1970 when it loses its value.
    pub absolute_expiry_time: Option<i64>,
    /// Milliseconds since 1970 when it was made.
    pub creation_time: Option<i64>,
    /// The group it belongs to.
    pub group_id: Option<String>,
    /// Its place there.
    pub group_sequence: Option<u32>,
    /// The group of answers.
    pub reply_to_group_id: Option<String>,
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Data sections.
    Data(Vec<Bytes>),
    /// Sequence sections.
    Sequence(Vec<Vec<Value>>),
    /// A value.
    Value(Value),
}

impl Default for Body {
    fn default() -> Self {
        Self::Data(Vec::new())
    }
}

impl AmqpMessage {
    /// The bytes of all data sections, one after the other; `None`: the body is something else.
    pub fn data(&self) -> Option<Bytes> {
        match &self.body {
            Body::Data(sections) => Some(match &sections[..] {
                [] => Bytes::new(),
                [only] => only.clone(),
                several => several.concat().into(),
            }),
            Body::Sequence(_) | Body::Value(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
