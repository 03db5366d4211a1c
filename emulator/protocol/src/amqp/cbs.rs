//! Requests to `$cbs` and their answers (`spec/amqp.md` 3).

use super::message::{AmqpMessage, Body, Properties};
use super::value::{Map, Symbol, Value, lookup};

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

/// The application property that says what is asked for, here and of `$management`.
const OPERATION: &str = "operation";
const PUT_TOKEN: &str = "put-token";
const STATUS_CODE: &str = "status-code";
const STATUS_DESCRIPTION: &str = "status-description";
const ERROR_CONDITION: &str = "error-condition";

impl PutToken {
    /// Reads a request; `Err` tells what it lacks.
    pub fn from_message(message: &AmqpMessage) -> Result<Self, String> {
        match operation(message) {
            Some(PUT_TOKEN) => {}
            Some(other) => return Err(format!("the operation {other:?} is not {PUT_TOKEN}")),
            None => return Err(format!("there is no {OPERATION}")),
        }
        let required = |name: &str| {
            property(message, name).ok_or_else(|| format!("there is no {name}, or it is not text"))
        };
        Ok(Self {
            kind: required("type")?,
            audience: required("name")?,
            token: token(&message.body).ok_or("the body is not a token")?,
            message_id: message_id(message),
            reply_to: message.properties.reply_to.clone(),
        })
    }

    /// The request, as a client sends it.
    pub fn to_message(&self) -> AmqpMessage {
        AmqpMessage {
            body: Body::Value(Value::from(&*self.token)),
            ..request(
                &self.message_id,
                self.reply_to.as_deref(),
                &[
                    (OPERATION, PUT_TOKEN),
                    ("type", &self.kind),
                    ("name", &self.audience),
                ],
            )
        }
    }
}

/// The token in a body: text, or its bytes.
fn token(body: &Body) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    match body {
        Body::Value(Value::Binary(bytes)) => text(bytes),
        Body::Value(value) => value.as_text().map(str::to_owned),
        Body::Data(sections) => match &sections[..] {
            [only] => text(only),
            _ => None,
        },
        Body::Sequence(_) => None,
    }
}

/// A request with these application properties and a body without meaning.
pub(super) fn request(
    message_id: &Value,
    reply_to: Option<&str>,
    properties: &[(&str, &str)],
) -> AmqpMessage {
    AmqpMessage {
        properties: Properties {
            message_id: some(message_id),
            reply_to: reply_to.map(str::to_owned),
            ..Properties::default()
        },
        application_properties: properties
            .iter()
            .map(|(name, value)| (Value::from(*name), Value::from(*value)))
            .collect(),
        body: Body::Value(Value::Null),
        ..AmqpMessage::default()
    }
}

/// What a request asks for.
pub(super) fn operation(message: &AmqpMessage) -> Option<&str> {
    lookup(&message.application_properties, OPERATION)?.as_text()
}

/// An application property that is text, or the bytes of one: Python has both.
pub(super) fn property(message: &AmqpMessage, name: &str) -> Option<String> {
    match lookup(&message.application_properties, name)? {
        Value::Binary(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        value => value.as_text().map(str::to_owned),
    }
}

/// A request's message id; null when there is none.
pub(super) fn message_id(message: &AmqpMessage) -> Value {
    message.properties.message_id.clone().unwrap_or_default()
}

fn some(id: &Value) -> Option<Value> {
    (*id != Value::Null).then(|| id.clone())
}

/// The answer to a request with this message id: used by `$cbs` and `$management` alike.
pub fn response(
    correlation_id: &Value,
    status: i32,
    description: &str,
    body: Value,
) -> AmqpMessage {
    AmqpMessage {
        properties: Properties {
            correlation_id: some(correlation_id),
            ..Properties::default()
        },
        application_properties: status_properties(status, description),
        body: Body::Value(body),
        ..AmqpMessage::default()
    }
}

/// The answer to a request that is refused; it names the condition, too (`spec/amqp.md` 6.2).
pub fn error_response(
    correlation_id: &Value,
    status: i32,
    condition: Symbol,
    description: &str,
) -> AmqpMessage {
    let mut answer = response(correlation_id, status, description, Value::Null);
    answer
        .application_properties
        .push((Value::from(ERROR_CONDITION), Value::Symbol(condition)));
    answer
}

fn status_properties(status: i32, description: &str) -> Map {
    vec![
        (Value::from(STATUS_CODE), Value::Int(status)),
        (Value::from(STATUS_DESCRIPTION), Value::from(description)),
    ]
}

/// The status and description of an answer; `None`: it is no answer.
pub fn status_of(message: &AmqpMessage) -> Option<(i32, String)> {
    let status = lookup(&message.application_properties, STATUS_CODE)?.as_i64()?;
    let description = property(message, STATUS_DESCRIPTION).unwrap_or_default();
    Some((i32::try_from(status).ok()?, description))
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::amqp::error::condition;

    fn put_token() -> PutToken {
        PutToken {
            kind: SAS_KINDS[0].into(),
            audience: "sb://localhost/hub".into(),
            token: "SharedAccessSignature sr=x".into(),
            message_id: Value::from("id"),
            reply_to: Some("cbs".into()),
        }
    }

    fn sent(message: &AmqpMessage) -> AmqpMessage {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        AmqpMessage::decode(out.freeze()).unwrap()
    }

    #[test]
    fn requests_come_back() {
        let without = PutToken {
            message_id: Value::Null,
            reply_to: None,
            ..put_token()
        };
        for request in [put_token(), without] {
            assert_eq!(
                PutToken::from_message(&sent(&request.to_message())),
                Ok(request)
            );
        }
    }

    #[test]
    fn a_token_may_be_bytes() {
        for body in [
            Body::Value(Value::Binary(Bytes::from_static(b"t"))),
            Body::Data(vec![Bytes::from_static(b"t")]),
        ] {
            let message = AmqpMessage {
                body,
                ..put_token().to_message()
            };
            assert_eq!(PutToken::from_message(&message).unwrap().token, "t");
        }
    }

    #[test]
    fn a_request_that_lacks_something_is_refused_with_what_it_is() {
        let with = |name: &str, value: Value| {
            let mut message = put_token().to_message();
            message
                .application_properties
                .retain(|(key, _)| key.as_text() != Some(name));
            message
                .application_properties
                .push((Value::from(name), value));
            PutToken::from_message(&message).unwrap_err()
        };

        assert_eq!(with("operation", Value::Null), "there is no operation");
        assert_eq!(
            with("operation", Value::from("delete-token")),
            "the operation \"delete-token\" is not put-token"
        );
        assert_eq!(
            with("type", Value::Uint(1)),
            "there is no type, or it is not text"
        );
        assert_eq!(
            with("name", Value::Null),
            "there is no name, or it is not text"
        );
        let message = AmqpMessage {
            body: Body::Value(Value::Null),
            ..put_token().to_message()
        };
        assert_eq!(
            PutToken::from_message(&message).unwrap_err(),
            "the body is not a token"
        );
    }

    // `spec/amqp.md` 8, item 5.
    #[test]
    fn the_answers_correlation_id_has_the_type_of_the_requests_message_id() {
        for id in [
            Value::Ulong(7),
            Value::Uuid([9; 16]),
            Value::from("7"),
            Value::Binary(Bytes::from_static(b"7")),
        ] {
            let request = PutToken {
                message_id: id.clone(),
                ..put_token()
            };
            let request = PutToken::from_message(&sent(&request.to_message())).unwrap();

            let answer = sent(&response(&request.message_id, 200, "OK", Value::Null));

            assert_eq!(answer.properties.correlation_id, Some(id));
            assert_eq!(status_of(&answer), Some((200, "OK".into())));
            assert_eq!(
                lookup(&answer.application_properties, STATUS_CODE),
                Some(&Value::Int(200))
            );
            assert_eq!(answer.body, Body::Value(Value::Null));
        }
    }

    #[test]
    fn a_refusal_names_its_condition() {
        let answer = error_response(&Value::Null, 404, condition::NOT_FOUND, "no such entity");

        assert_eq!(status_of(&answer), Some((404, "no such entity".into())));
        assert_eq!(
            lookup(&answer.application_properties, ERROR_CONDITION),
            Some(&Value::Symbol(condition::NOT_FOUND))
        );
        assert_eq!(status_of(&AmqpMessage::default()), None);
    }
}
