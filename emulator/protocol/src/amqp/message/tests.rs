use bytes::{Bytes, BytesMut};

use super::*;
use crate::amqp::codec::DecodeError;

fn encoded(message: &AmqpMessage) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

fn decoded(bytes: &'static [u8]) -> Result<AmqpMessage, DecodeError> {
    AmqpMessage::decode(Bytes::from_static(bytes))
}

#[test]
fn a_message_with_every_section_comes_back() {
    let map = |key: &str| vec![(Value::Symbol(key.into()), Value::Long(1))];
    let message = AmqpMessage {
        header: Header {
            durable: Some(true),
            priority: Some(4),
            ttl: Some(1000),
            first_acquirer: Some(false),
            delivery_count: Some(300),
        },
        delivery_annotations: map("d"),
        message_annotations: map("m"),
        properties: Properties {
            message_id: Some(Value::Uuid([7; 16])),
            user_id: Some(Bytes::from_static(b"user")),
            to: Some("/devices/d1/messages/devicebound".into()),
            subject: Some("subject".into()),
            reply_to: Some("cbs".into()),
            correlation_id: Some(Value::Ulong(1)),
            content_type: Some(Symbol::of("application/json")),
            content_encoding: Some(Symbol::of("utf-8")),
            absolute_expiry_time: Some(1),
            creation_time: Some(2),
            group_id: Some("g".into()),
            group_sequence: Some(3),
            reply_to_group_id: Some("r".into()),
        },
        application_properties: vec![(Value::from("p"), Value::from("v"))],
        body: Body::Data(vec![Bytes::from_static(b"one"), Bytes::from(vec![0; 300])]),
        footer: map("f"),
    };

    assert_eq!(AmqpMessage::decode(encoded(&message)), Ok(message));
}

#[test]
fn sections_without_content_are_left_out() {
    let message = AmqpMessage {
        body: Body::Data(vec![Bytes::from_static(b"hi")]),
        ..AmqpMessage::default()
    };

    assert_eq!(encoded(&message), b"\0\x53\x75\xa0\x02hi"[..]);
    assert!(encoded(&AmqpMessage::default()).is_empty());
}

#[test]
fn properties_are_at_full_length() {
    let message = AmqpMessage {
        properties: Properties {
            message_id: Some(Value::from("a")),
            ..Properties::default()
        },
        ..AmqpMessage::default()
    };

    assert_eq!(
        encoded(&message),
        b"\0\x53\x73\xc0\x10\x0d\xa1\x01a\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40"[..]
    );
}

#[test]
fn bodies_of_every_kind_come_back() {
    for body in [
        Body::Value(Value::Null),
        Body::Value(Value::from("text")),
        Body::Sequence(vec![vec![Value::Uint(1)], vec![]]),
        Body::Data(vec![Bytes::new()]),
    ] {
        let message = AmqpMessage {
            body,
            ..AmqpMessage::default()
        };
        assert_eq!(AmqpMessage::decode(encoded(&message)), Ok(message));
    }
}

#[test]
fn data_is_the_bytes_of_all_data_sections() {
    let of = |sections: &[&'static [u8]]| {
        let sections = sections.iter().map(|s| Bytes::from_static(s)).collect();
        AmqpMessage {
            body: Body::Data(sections),
            ..AmqpMessage::default()
        }
        .data()
    };

    assert_eq!(of(&[]), Some(Bytes::new()));
    assert_eq!(of(&[b"one"]), Some(Bytes::from_static(b"one")));
    assert_eq!(of(&[b"one", b"two"]), Some(Bytes::from_static(b"onetwo")));
    let value = AmqpMessage {
        body: Body::Value(Value::Null),
        ..AmqpMessage::default()
    };
    assert_eq!(value.data(), None);
}

#[test]
fn sections_may_be_named_in_words_and_null_is_an_empty_map() {
    let message = decoded(b"\0\xa3\x10amqp:data:binary\xa0\x01x\0\x53\x78\x40").unwrap();

    assert_eq!(message.body, Body::Data(vec![Bytes::from_static(b"x")]));
}

#[test]
fn what_is_no_message_is_refused() {
    for bytes in [
        &b"x"[..],
        b"\0\x53\x79\x40",
        b"\0\x53\x75\xa0\x00\0\x53\x77\x40",
        b"\0\x53\x77\x40\0\x53\x77\x40",
        b"\0\x53\x75\xa0\x00\0\x53\x74\xc1\x01\x00",
        b"\0\x53\x74\xa1\x00",
        b"\0\x53\x73\xc0\x02\x01\x41",
    ] {
        assert!(
            matches!(decoded(bytes), Err(DecodeError::Invalid(_))),
            "{bytes:02x?}"
        );
    }
}
