//! The hub's messages as AMQP messages, both ways: which property is where (`spec/amqp.md` 5.1,
//! 6.4, 7.2, 7.3).

use super::codec::DecodeError;
use super::message::AmqpMessage;
use crate::Message;

/// Reads a message that a client or back end sent: standard properties become system properties,
/// as they are named over the other protocols; annotations that the hub knows become theirs;
/// application properties become text. `header.ttl` without an expiry time is answered by the
/// caller, who knows the time.
pub fn from_amqp(message: &AmqpMessage) -> Result<Message, DecodeError> {
    let _ = message;
    todo!()
}

/// Makes the message that a client, reader or back end is sent: standard and application
/// properties, and the body. Annotations are added by who sends it.
pub fn to_amqp(message: &Message) -> AmqpMessage {
    let _ = message;
    todo!()
}

/// The messages of a batch in [`super::message::BATCHED_FORMAT`]: each data section is one.
pub fn unpack_batch(message: &AmqpMessage) -> Result<Vec<AmqpMessage>, DecodeError> {
    let _ = message;
    todo!()
}
