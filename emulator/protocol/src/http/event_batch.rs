//! Several messages in one body (`spec/device.md` 9.2, "Batch").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::push_batch_property;
use crate::message::{MAX_TELEMETRY_SIZE, Message};
use crate::property_bag::PropertyBag;
use crate::{Error, ErrorCode, json as members};

/// The media type that makes a body a batch.
pub const BATCH_CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.json";
/// Messages of one batch (`spec/device.md` 4.4).
pub const MAX_BATCH_MESSAGES: usize = 500;

/// Whether a `Content-Type` says that the body is a batch; parameters do not matter.
pub fn is_batch(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(BATCH_CONTENT_TYPE)
}

/// Parses `[{"body":…,"base64Encoded":…,"properties":{…}}]`, all or nothing.
///
/// Refused: what is not JSON (400006), other kinds of JSON, bad base64 and bad properties (400004),
/// and more than 256 KiB or [`MAX_BATCH_MESSAGES`] (413001).
pub fn parse_batch(body: &[u8]) -> Result<Vec<Message>, Error> {
    if body.len() > MAX_TELEMETRY_SIZE {
        let detail = format!("a batch has at most {MAX_TELEMETRY_SIZE} bytes");
        return Err(Error::new(ErrorCode::MessageTooLarge, detail));
    }
    let value = members::parse(body)?;
    let Value::Array(elements) = &value else {
        return Err(Error::argument_invalid("a batch is a list of messages"));
    };
    if elements.is_empty() {
        return Err(Error::argument_invalid("a batch has at least one message"));
    }
    if elements.len() > MAX_BATCH_MESSAGES {
        let detail = format!("a batch has at most {MAX_BATCH_MESSAGES} messages");
        return Err(Error::new(ErrorCode::MessageTooLarge, detail));
    }
    elements.iter().map(message).collect()
}

fn message(element: &Value) -> Result<Message, Error> {
    let Value::Object(element) = element else {
        return Err(Error::argument_invalid("a message of a batch is an object"));
    };
    let mut properties = PropertyBag::new();
    for (name, value) in members::object(element, "properties")?
        .into_iter()
        .flatten()
    {
        match value {
            Value::Null => {}
            Value::String(text) => push_batch_property(&mut properties, name, text)?,
            Value::Bool(_) | Value::Number(_) => {
                push_batch_property(&mut properties, name, &value.to_string())?;
            }
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::argument_invalid(format!(
                    "property {name} is no text"
                )));
            }
        }
    }
    Ok(Message {
        properties,
        body: payload(element)?,
    })
}

/// Text only when the message says so: Node and C leave the flag out and send base64
/// (`spec/device.md` 9.2).
fn payload(element: &Map<String, Value>) -> Result<Bytes, Error> {
    let text = members::string(element, "body")?.unwrap_or_default();
    let is_text = members::field(element, "base64Encoded") == Some(&Value::Bool(false));
    if is_text {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    STANDARD
        .decode(text)
        .map(Bytes::from)
        .map_err(|_| Error::argument_invalid("body is not base64"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::property_bag::SystemProperty;

    #[test]
    fn batches_of_every_sdk_are_read() {
        let body = br#"[
            {"body":"aGk=","properties":{"iothub-app-k":"v"}},
            {"body":"hi","base64Encoded":false,"properties":{"messageId":"m"}},
            {"Body":"aGk=","base64Encoded":true,"properties":null},
            {"body":""}]"#;

        let messages = parse_batch(body).unwrap();

        let bodies: Vec<_> = messages.iter().map(|message| &message.body[..]).collect();
        assert_eq!(bodies, [&b"hi"[..], b"hi", b"hi", b""]);
        assert_eq!(messages[0].properties.get("k").unwrap(), "v");
        let id = messages[1].properties.system(SystemProperty::MessageId);
        assert_eq!(id.unwrap(), "m");
    }

    #[test]
    fn other_bodies_are_refused_as_a_whole() {
        let refusal = |body: &str| parse_batch(body.as_bytes()).unwrap_err().code;

        assert_eq!(refusal("["), ErrorCode::IotHubFormatError);
        for body in [
            "[]",
            "{}",
            r#"["text"]"#,
            r#"[{"body":"aGk="},{"body":"?"}]"#,
            r#"[{"body":7}]"#,
            r#"[{"body":"","properties":{"iothub-app-a b":"c"}}]"#,
            r#"[{"body":"","properties":{"iothub-app-a":{}}}]"#,
        ] {
            assert_eq!(refusal(body), ErrorCode::ArgumentInvalid, "{body}");
        }
        let many = format!("[{}{{}}]", "{},".repeat(MAX_BATCH_MESSAGES));
        assert_eq!(refusal(&many), ErrorCode::MessageTooLarge);
        let large = " ".repeat(MAX_TELEMETRY_SIZE + 1);
        assert_eq!(refusal(&large), ErrorCode::MessageTooLarge);
    }

    #[test]
    fn the_content_type_may_have_parameters() {
        assert!(is_batch("application/vnd.microsoft.iothub.json"));
        assert!(is_batch(
            "Application/vnd.microsoft.IoTHub.json; charset=utf-8"
        ));
        assert!(!is_batch("application/json"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            body in proptest::collection::vec(any::<u8>(), 0..60),
            text in ".{0,30}",
        ) {
            let _ = parse_batch(&body);
            let element = serde_json::json!([{"body": text, "properties": {text: body}}]);
            let _ = parse_batch(element.to_string().as_bytes());
        }
    }
}
