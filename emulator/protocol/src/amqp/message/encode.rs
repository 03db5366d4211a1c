//! Writing messages.

use bytes::BytesMut;

use super::{AmqpMessage, Body, Header, Properties};
use crate::amqp::codec::{
    Compound, encode, put_binary, put_bool, put_described, put_descriptor, put_map_or_null,
    put_optional, put_string, put_symbol, put_timestamp, put_ubyte, put_uint,
};
use crate::amqp::performative::descriptor as d;
use crate::amqp::value::{Map, Symbol, Value};

impl AmqpMessage {
    /// Writes it at the end; sections without content are left out, the properties are at full
    /// length.
    pub fn encode(&self, out: &mut BytesMut) {
        if self.header != Header::default() {
            put_header(out, &self.header);
        }
        put_map_section(out, d::DELIVERY_ANNOTATIONS, &self.delivery_annotations);
        put_map_section(out, d::MESSAGE_ANNOTATIONS, &self.message_annotations);
        if self.properties != Properties::default() {
            self.properties.put_section(out);
        }
        put_map_section(out, d::APPLICATION_PROPERTIES, &self.application_properties);
        match &self.body {
            Body::Data(sections) => sections.iter().for_each(|data| put_data_section(out, data)),
            Body::Sequence(sections) => {
                for values in sections {
                    put_descriptor(out, d::SEQUENCE);
                    let list = Compound::list(out);
                    values.iter().for_each(|value| encode(value, out));
                    list.finish(out, values.len() as u32);
                }
            }
            Body::Value(value) => put_described(out, d::VALUE, value),
        }
        put_map_section(out, d::FOOTER, &self.footer);
    }
}

/// Writes a data section at the end.
pub fn put_data_section(out: &mut BytesMut, data: &[u8]) {
    put_descriptor(out, d::DATA);
    put_binary(out, data);
}

fn put_map_section(out: &mut BytesMut, code: u8, map: &Map) {
    if !map.is_empty() {
        put_descriptor(out, code);
        put_map_or_null(out, map);
    }
}

fn put_header(out: &mut BytesMut, header: &Header) {
    put_descriptor(out, d::HEADER);
    let list = Compound::list(out);
    put_optional(out, header.durable, put_bool);
    put_optional(out, header.priority, put_ubyte);
    put_optional(out, header.ttl, put_uint);
    put_optional(out, header.first_acquirer, put_bool);
    put_optional(out, header.delivery_count, put_uint);
    list.finish(out, 5);
}

impl Properties {
    /// Writes the section of the properties at the end, at full length.
    pub fn put_section(&self, out: &mut BytesMut) {
        put_descriptor(out, d::PROPERTIES);
        let list = Compound::list(out);
        put_optional(out, self.message_id.as_ref(), put_value);
        put_optional(out, self.user_id.as_deref(), put_binary);
        put_optional(out, self.to.as_deref(), put_string);
        put_optional(out, self.subject.as_deref(), put_string);
        put_optional(out, self.reply_to.as_deref(), put_string);
        put_optional(out, self.correlation_id.as_ref(), put_value);
        put_optional(out, self.content_type.as_ref(), put_name);
        put_optional(out, self.content_encoding.as_ref(), put_name);
        put_optional(out, self.absolute_expiry_time, put_timestamp);
        put_optional(out, self.creation_time, put_timestamp);
        put_optional(out, self.group_id.as_deref(), put_string);
        put_optional(out, self.group_sequence, put_uint);
        put_optional(out, self.reply_to_group_id.as_deref(), put_string);
        list.finish(out, 13);
    }
}

fn put_value(out: &mut BytesMut, value: &Value) {
    encode(value, out);
}

fn put_name(out: &mut BytesMut, symbol: &Symbol) {
    put_symbol(out, symbol.as_str());
}
