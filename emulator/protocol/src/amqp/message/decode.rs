//! Reading messages.

use bytes::Bytes;

use super::{AmqpMessage, Body, Header, Properties};
use crate::amqp::codec::{DecodeError, Fields, Reader};
use crate::amqp::performative::descriptor as d;
use crate::amqp::value::{Map, Value};

impl AmqpMessage {
    /// Reads a whole message. Data refers to the payload.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the message refers to the payload and lives on"
    )]
    pub fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        let r = &mut Reader::new(&payload);
        let mut last = 0;
        while !r.is_empty() {
            let section = d::expect(r, "section of a message")?;
            // Each at most once and in this order, but for the body's, of which there may be
            // several of one kind (AMQP 1.0 part 3, 3.2).
            let repeated = section == last && matches!(section, d::DATA | d::SEQUENCE);
            let second_body = is_body(last) && is_body(section);
            if !repeated && (section <= last || second_body) {
                return Err(DecodeError::invalid(
                    "sections of a message are out of order",
                ));
            }
            last = section;
            match section {
                d::HEADER => message.header = header(r)?,
                d::DELIVERY_ANNOTATIONS => message.delivery_annotations = map(r)?,
                d::MESSAGE_ANNOTATIONS => message.message_annotations = map(r)?,
                d::PROPERTIES => message.properties = properties(r)?,
                d::APPLICATION_PROPERTIES => message.application_properties = map(r)?,
                d::DATA => message.add_data(data(r)?),
                d::SEQUENCE => message.add_sequence(sequence(r)?),
                d::VALUE => message.body = Body::Value(r.value()?),
                d::FOOTER => message.footer = map(r)?,
                other => {
                    let what = format!("{other:#04x} is not a section of a message");
                    return Err(DecodeError::Invalid(what));
                }
            }
        }
        Ok(message)
    }

    fn add_data(&mut self, data: Bytes) {
        match &mut self.body {
            Body::Data(sections) => sections.push(data),
            body => *body = Body::Data(vec![data]),
        }
    }

    fn add_sequence(&mut self, values: Vec<Value>) {
        match &mut self.body {
            Body::Sequence(sections) => sections.push(values),
            body => *body = Body::Sequence(vec![values]),
        }
    }
}

fn is_body(section: u8) -> bool {
    matches!(section, d::DATA | d::SEQUENCE | d::VALUE)
}

/// A section that is a map. Null, which some write for an empty one, is one.
fn map(r: &mut Reader<'_>) -> Result<Map, DecodeError> {
    match r.value()? {
        Value::Map(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(DecodeError::invalid("a section of a message is not a map")),
    }
}

fn data(r: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
    let constructor = r.byte()?;
    r.binary_of(constructor)
}

fn sequence(r: &mut Reader<'_>) -> Result<Vec<Value>, DecodeError> {
    match r.value()? {
        Value::List(values) => Ok(values),
        _ => Err(DecodeError::invalid("a sequence section is not a list")),
    }
}

fn header(r: &mut Reader<'_>) -> Result<Header, DecodeError> {
    let mut f = Fields::enter(r, "header")?;
    let header = Header {
        durable: f.bool(r)?,
        priority: f.ubyte(r)?,
        ttl: f.uint(r)?,
        first_acquirer: f.bool(r)?,
        delivery_count: f.uint(r)?,
    };
    f.leave(r);
    Ok(header)
}

fn properties(r: &mut Reader<'_>) -> Result<Properties, DecodeError> {
    let mut f = Fields::enter(r, "properties")?;
    let properties = Properties {
        message_id: id(&mut f, r)?,
        user_id: f.binary(r)?,
        to: f.text(r)?,
        subject: f.text(r)?,
        reply_to: f.text(r)?,
        correlation_id: id(&mut f, r)?,
        content_type: f.symbol(r)?,
        content_encoding: f.symbol(r)?,
        absolute_expiry_time: f.timestamp(r)?,
        creation_time: f.timestamp(r)?,
        group_id: f.text(r)?,
        group_sequence: f.uint(r)?,
        reply_to_group_id: f.text(r)?,
    };
    f.leave(r);
    Ok(properties)
}

/// AMQP 1.0 part 3, 3.2.11 to 3.2.14.
fn id(f: &mut Fields, r: &mut Reader<'_>) -> Result<Option<Value>, DecodeError> {
    match f.value(r)? {
        None => Ok(None),
        Some(id @ (Value::String(_) | Value::Ulong(_) | Value::Uuid(_) | Value::Binary(_))) => {
            Ok(Some(id))
        }
        Some(_) => Err(DecodeError::invalid("properties: an id is of another type")),
    }
}
