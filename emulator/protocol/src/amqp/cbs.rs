//! Requests to `$cbs` and their answers (`spec/amqp.md` 3).

use super::message::AmqpMessage;
use super::value::Value;

/// A token that a client puts.
#[derive(Clone, Debug, PartialEq)]
pub struct PutToken {
    /// What kind of token it is, such as `servicebus.windows.net:sastoken`.
    pub kind: String,
    /// What it is for, in one of many forms: a hint.
    pub audience: String,
    /// The token.
    pub token: String,
    /// The request's message id; the answer has it as its correlation id, with the same type.
    pub message_id: Value,
    /// Where the client wants the answer.
    pub reply_to: Option<String>,
}

/// Kinds of token that are shared access signatures.
pub const SAS_KINDS: [&str; 2] = [
    "servicebus.windows.net:sastoken",
    "azure-devices.net:sastoken",
];

impl PutToken {
    /// Reads a request; `Err` tells what it lacks.
    pub fn from_message(message: &AmqpMessage) -> Result<Self, String> {
        let _ = message;
        todo!()
    }

    /// The request, as a client sends it.
    pub fn to_message(&self) -> AmqpMessage {
        todo!()
    }
}

/// The answer to a request with this message id: used by `$cbs` and `$management` alike.
pub fn response(
    correlation_id: &Value,
    status: i32,
    description: &str,
    body: Value,
) -> AmqpMessage {
    let _ = (correlation_id, status, description, body);
    todo!()
}

/// The status and description of an answer; `None`: it is no answer.
pub fn status_of(message: &AmqpMessage) -> Option<(i32, String)> {
    let _ = message;
    todo!()
}
