//! The hub's messages as AMQP messages, both ways: which property is where (`spec/amqp.md` 5.1,
//! 6.4, 7.2, 7.3).
//!
//! Where a system property stands is a fact of the property itself ([`SystemProperty::event_place`]);
//! here is only how that place looks in AMQP. Header, and annotations that are about a delivery
//! rather than the message, are the business of who sends it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::codec::DecodeError;
use super::message::{AmqpMessage, Body, Properties};
use super::value::{Map, Symbol, Value};
use crate::property_bag::{EventPlace, PropertyBag, SystemProperty};
use crate::{Message, Timestamp};

/// The output by which a module's message leaves; the hub keeps it to itself (`spec/amqp.md` 7.1).
const OUTPUT_NAME: &str = "iothub-outputname";

/// Reads a message that a client or back end sent: standard properties become system properties,
/// as they are named over the other protocols; annotations that the hub knows become theirs;
/// application properties become text. `header.ttl` without an expiry time is answered by the
/// caller, who knows the time.
///
/// Standard properties that no other protocol has (subject, reply-to, groups) are not kept.
pub fn from_amqp(message: &AmqpMessage) -> Result<Message, DecodeError> {
    let body = body(message)?;
    let mut properties = PropertyBag::new();
    for &property in SystemProperty::ALL {
        if let Some(value) = system(message, property)? {
            properties.push_system(property, &value);
        }
    }
    for (key, value) in &message.application_properties {
        let Some(name) = key.as_text() else {
            return Err(DecodeError::invalid(
                "the name of an application property is not text",
            ));
        };
        // What has the bag's own spelling of a system property could not be told from one.
        if is_system(name) || SystemProperty::from_wire(name).is_some() {
            continue;
        }
        properties.push(name, &text(value)?);
    }
    Ok(Message { properties, body })
}

/// Makes the message that a client, reader or back end is sent: standard and application
/// properties, annotations that the message itself brings, and the body. Annotations about a
/// delivery or an event are added by who sends it.
pub fn to_amqp(message: &Message) -> AmqpMessage {
    let mut amqp = AmqpMessage {
        body: Body::Data(vec![message.body.clone()]),
        ..AmqpMessage::default()
    };
    let bag = &message.properties;
    if bag.is_empty() {
        return amqp;
    }
    let mut system: [Option<Cow<'_, str>>; SystemProperty::ALL.len()] = Default::default();
    for (name, value) in bag.iter() {
        if let Some(property) = SystemProperty::from_wire(&name) {
            system[property as usize] = Some(value);
        }
    }
    for (&property, value) in SystemProperty::ALL.iter().zip(system) {
        let Some(value) = value else {
            continue;
        };
        if property == SystemProperty::CreationTime {
            // Events show it among the standard properties, too (`spec/amqp.md` 6.4).
            amqp.properties.creation_time = millis(&value);
        }
        match property.event_place() {
            EventPlace::Property(_) => set_standard(&mut amqp.properties, property, &value),
            EventPlace::Annotation(name) => {
                amqp.message_annotations
                    .push((Symbol::of(name).into(), Value::from(&*value)));
            }
            EventPlace::ApplicationProperty(name) => {
                amqp.application_properties
                    .push((name.into(), Value::from(&*value)));
            }
            EventPlace::Internal => {}
        }
    }
    let of_the_system = amqp.application_properties.len();
    for (name, value) in bag.application() {
        // A map has a key once: under the same name, what the system means by it counts.
        let taken = amqp.application_properties[..of_the_system]
            .iter()
            .any(|(key, _)| key.as_text() == Some(&name));
        if !taken {
            let pair = (Value::from(&*name), Value::from(&*value));
            amqp.application_properties.push(pair);
        }
    }
    amqp
}

/// The messages of a batch in [`super::message::BATCHED_FORMAT`]: each data section is one.
pub fn unpack_batch(message: &AmqpMessage) -> Result<Vec<AmqpMessage>, DecodeError> {
    let Body::Data(sections) = &message.body else {
        return Err(DecodeError::invalid("the body of a batch is data sections"));
    };
    sections.iter().cloned().map(AmqpMessage::decode).collect()
}

/// A value of a simple type as the text that the other protocols carry; what is not text in any
/// spelling is base64.
///
/// Refuses what application properties may not be (AMQP 1.0 part 3, 3.2.5), and decimals.
pub fn text(value: &Value) -> Result<Cow<'_, str>, DecodeError> {
    let text = match value {
        Value::Null => return Ok(Cow::Borrowed("")),
        Value::String(text) => return Ok(Cow::Borrowed(text)),
        Value::Symbol(symbol) => return Ok(Cow::Borrowed(symbol.as_str())),
        Value::Binary(bytes) => return Ok(binary_text(bytes)),
        Value::Bool(value) => value.to_string(),
        Value::Ubyte(n) => n.to_string(),
        Value::Ushort(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Ulong(n) => n.to_string(),
        Value::Byte(n) => n.to_string(),
        Value::Short(n) => n.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Long(n) => n.to_string(),
        Value::Float(n) => whole(format!("{n:?}")),
        Value::Double(n) => whole(format!("{n:?}")),
        Value::Char(c) => c.to_string(),
        Value::Timestamp(millis) => iso(*millis),
        Value::Uuid(bytes) => uuid_text(bytes),
        Value::Decimal32(_) | Value::Decimal64(_) | Value::Decimal128(_) => {
            return Err(DecodeError::invalid("decimal numbers are not emulated"));
        }
        Value::List(_) | Value::Map(_) | Value::Array(_) | Value::Described(_) => {
            return Err(DecodeError::invalid("a property is of no simple type"));
        }
    };
    Ok(Cow::Owned(text))
}

/// A UUID as it is written.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes that a message carries. A value that is text or bytes stands for them: raw clients
/// send bodies so; what else a value or a sequence would be as bytes, nobody has said.
fn body(message: &AmqpMessage) -> Result<Bytes, DecodeError> {
    match &message.body {
        Body::Data(_) => Ok(message.data().unwrap_or_default()),
        Body::Value(Value::Null) => Ok(Bytes::new()),
        Body::Value(Value::Binary(bytes)) => Ok(bytes.clone()),
        Body::Value(Value::String(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Body::Value(_) => Err(DecodeError::invalid(
            "the body is a value that is neither text nor bytes",
        )),
        Body::Sequence(_) => Err(DecodeError::invalid("the body is a sequence, not data")),
    }
}

/// What a message says about a system property, wherever its place is.
fn system(
    message: &AmqpMessage,
    property: SystemProperty,
) -> Result<Option<Cow<'_, str>>, DecodeError> {
    use SystemProperty as P;
    let standard = &message.properties;
    match property {
        P::MessageId => standard.message_id.as_ref().map(text).transpose(),
        P::CorrelationId => standard.correlation_id.as_ref().map(text).transpose(),
        P::UserId => Ok(standard.user_id.as_ref().map(|id| binary_text(id))),
        P::To => Ok(standard.to.as_deref().map(Cow::Borrowed)),
        P::ContentType => Ok(symbol_text(standard.content_type.as_ref())),
        P::ContentEncoding => Ok(symbol_text(standard.content_encoding.as_ref())),
        P::Expiry => Ok(standard.absolute_expiry_time.map(|at| Cow::Owned(iso(at)))),
        P::CreationTime => {
            let said = place(message, property)?;
            let made = standard.creation_time.map(|at| Cow::Owned(iso(at)));
            Ok(said.or(made))
        }
        P::OutputName => {
            let name = [
                &message.application_properties,
                &message.message_annotations,
            ];
            named(&name, OUTPUT_NAME)
        }
        P::MessageSchema
        | P::InterfaceId
        | P::Component
        | P::DiagnosticId
        | P::DiagnosticContext => place(message, property),
        // Only the hub says who sent a message to an input.
        P::ConnectionDeviceId | P::ConnectionModuleId => Ok(None),
    }
}

/// The value at a property's place. One that belongs among the annotations is not looked for among
/// the application properties, where anybody may use the name.
fn place(
    message: &AmqpMessage,
    property: SystemProperty,
) -> Result<Option<Cow<'_, str>>, DecodeError> {
    match property.event_place() {
        EventPlace::Annotation(name) => named(&[&message.message_annotations], name),
        EventPlace::ApplicationProperty(name) => named(&[&message.application_properties], name),
        EventPlace::Property(_) | EventPlace::Internal => Ok(None),
    }
}

/// The first value under this name that is not null.
fn named<'a>(maps: &[&'a Map], name: &str) -> Result<Option<Cow<'a, str>>, DecodeError> {
    maps.iter()
        .find_map(|map| super::value::lookup(map, name))
        .filter(|value| **value != Value::Null)
        .map(text)
        .transpose()
}

/// Whether an application property of this name is a system property.
fn is_system(name: &str) -> bool {
    // Nearly every name is an application's: one comparison settles it.
    name.starts_with("iothub-")
        && (name == OUTPUT_NAME
            || SystemProperty::ALL.iter().any(
                |it| matches!(it.event_place(), EventPlace::ApplicationProperty(n) if n == name),
            ))
}

/// Sets the standard property that a system property is; one that is a time is left out when its
/// text is none.
fn set_standard(standard: &mut Properties, property: SystemProperty, value: &str) {
    use SystemProperty as P;
    match property {
        P::MessageId => standard.message_id = Some(value.into()),
        P::CorrelationId => standard.correlation_id = Some(value.into()),
        P::UserId => standard.user_id = Some(Bytes::copy_from_slice(value.as_bytes())),
        P::To => standard.to = Some(value.to_owned()),
        P::ContentType => standard.content_type = Some(symbol(value)),
        P::ContentEncoding => standard.content_encoding = Some(symbol(value)),
        P::Expiry => standard.absolute_expiry_time = millis(value),
        P::OutputName
        | P::CreationTime
        | P::MessageSchema
        | P::InterfaceId
        | P::Component
        | P::DiagnosticId
        | P::DiagnosticContext
        | P::ConnectionDeviceId
        | P::ConnectionModuleId => {}
    }
}

fn symbol_text(symbol: Option<&Symbol>) -> Option<Cow<'_, str>> {
    symbol.map(|symbol| Cow::Borrowed(symbol.as_str()))
}

/// Text as a symbol, which is ASCII: what is not becomes a question mark, as .NET writes it.
fn symbol(text: &str) -> Symbol {
    if text.is_ascii() {
        return Symbol::from(text);
    }
    let ascii = |c: char| if c.is_ascii() { c } else { '?' };
    Symbol::from(text.chars().map(ascii).collect::<String>())
}

/// Bytes that are text as it, others in base64.
fn binary_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(STANDARD.encode(bytes)),
    }
}

/// A number that is whole without its fraction.
fn whole(number: String) -> String {
    match number.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => number,
    }
}

fn iso(millis: i64) -> String {
    Timestamp::from_unix_millis(millis).to_iso()
}

fn millis(iso: &str) -> Option<i64> {
    Timestamp::parse_iso(iso).map(Timestamp::unix_millis)
}

#[cfg(test)]
mod tests;
