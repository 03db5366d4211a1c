//! What is where, both ways.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::amqp::value::Array;

fn sent(properties: Properties, application: Map) -> AmqpMessage {
    AmqpMessage {
        properties,
        application_properties: application,
        body: Body::Data(vec![Bytes::from_static(b"x")]),
        ..AmqpMessage::default()
    }
}

fn bag(message: &AmqpMessage) -> PropertyBag {
    from_amqp(message).unwrap().properties
}

fn data(sections: &[&'static [u8]]) -> Body {
    Body::Data(sections.iter().map(|it| Bytes::from_static(it)).collect())
}

#[test]
fn standard_properties_are_the_system_properties_of_other_protocols() {
    let message = sent(
        Properties {
            message_id: Some("m1".into()),
            user_id: Some(Bytes::from_static(b"u")),
            to: Some("/devices/d1/messages/devicebound".into()),
            correlation_id: Some("c".into()),
            content_type: Some(Symbol::of("application/json")),
            content_encoding: Some(Symbol::of("utf-8")),
            absolute_expiry_time: Some(1_767_225_600_000),
            ..Properties::default()
        },
        vec![
            ("iothub-ack".into(), "full".into()),
            ("k".into(), "v 1".into()),
        ],
    );

    assert_eq!(
        bag(&message).as_encoded(),
        "%24.mid=m1&%24.exp=2026-01-01T00%3A00%3A00.0000000Z\
         &%24.to=%2Fdevices%2Fd1%2Fmessages%2Fdevicebound&%24.cid=c&%24.uid=u\
         &%24.ct=application%2Fjson&%24.ce=utf-8&iothub-ack=full&k=v%201"
    );
    assert_eq!(
        to_amqp(&from_amqp(&message).unwrap()).properties,
        message.properties
    );
}

#[test]
fn ids_of_any_type_are_known_by_their_text() {
    let id = |id: Value| {
        let message = sent(
            Properties {
                message_id: Some(id),
                ..Properties::default()
            },
            Map::new(),
        );
        let id = bag(&message).system(SystemProperty::MessageId)?.to_string();
        Some(id)
    };
    let uuid: [u8; 16] = std::array::from_fn(|place| place as u8 * 17);

    assert_eq!(
        id(Value::Uuid(uuid)).unwrap(),
        "00112233-4455-6677-8899-aabbccddeeff"
    );
    assert_eq!(id(Value::Ulong(u64::MAX)).unwrap(), u64::MAX.to_string());
    assert_eq!(
        id(Value::Binary(Bytes::from_static(b"\xff"))).unwrap(),
        "/w=="
    );
}

#[test]
fn application_properties_of_any_simple_type_become_text() {
    let map: Map = [
        ("null", Value::Null),
        ("bool", Value::Bool(true)),
        ("ubyte", Value::Ubyte(1)),
        ("int", Value::Int(-2)),
        ("long", Value::Long(i64::MIN)),
        ("float", Value::Float(1.5)),
        ("double", Value::Double(3.0)),
        ("large", Value::Double(1e300)),
        ("char", Value::Char('ä')),
        ("time", Value::Timestamp(1_500)),
        ("symbol", Symbol::of("s").into()),
        ("bytes", Value::Binary(Bytes::from_static(b"text"))),
    ]
    .map(|(name, value)| (name.into(), value))
    .into();

    let bag = bag(&sent(Properties::default(), map));

    for (name, value) in [
        ("null", ""),
        ("bool", "true"),
        ("ubyte", "1"),
        ("int", "-2"),
        ("long", "-9223372036854775808"),
        ("float", "1.5"),
        ("double", "3"),
        ("large", "1e300"),
        ("char", "ä"),
        ("time", "1970-01-01T00:00:01.5000000Z"),
        ("symbol", "s"),
        ("bytes", "text"),
    ] {
        assert_eq!(bag.get(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn what_no_property_can_be_is_refused() {
    let described = Value::Described(Box::new((Value::Null, Value::Null)));
    for value in [
        Value::List(Vec::new()),
        Value::Map(Map::new()),
        Value::Array(Array::default()),
        Value::Decimal64([0; 8]),
        described,
    ] {
        let message = sent(Properties::default(), vec![("k".into(), value)]);
        assert!(from_amqp(&message).is_err(), "{message:?}");
    }
    let message = sent(Properties::default(), vec![(Value::Int(1), "v".into())]);
    assert!(from_amqp(&message).is_err());
}

#[test]
fn properties_with_another_place_are_found_there() {
    let mut message = sent(
        Properties::default(),
        vec![
            (
                "iothub-creation-time-utc".into(),
                "2026-01-01T00:00:00Z".into(),
            ),
            ("iothub-message-schema".into(), "s".into()),
            ("iothub-outputname".into(), "out".into()),
            ("iothub-app-k".into(), "v".into()),
            // Anybody's name among the application properties.
            ("dt-subject".into(), "mine".into()),
        ],
    );
    message.message_annotations = vec![
        (Symbol::of("iothub-interface-id").into(), "urn:i:1".into()),
        (Symbol::of("dt-subject").into(), "thermostat".into()),
        (Symbol::of("x-opt-other").into(), Value::List(Vec::new())),
    ];

    let read = from_amqp(&message).unwrap();

    for (property, value) in [
        (SystemProperty::CreationTime, "2026-01-01T00:00:00Z"),
        (SystemProperty::MessageSchema, "s"),
        (SystemProperty::OutputName, "out"),
        (SystemProperty::InterfaceId, "urn:i:1"),
        (SystemProperty::Component, "thermostat"),
    ] {
        assert_eq!(read.properties.system(property).as_deref(), Some(value));
    }
    assert_eq!(
        read.properties.application(),
        [
            ("iothub-app-k".into(), "v".into()),
            ("dt-subject".into(), "mine".into())
        ]
    );

    let again = to_amqp(&read);
    assert_eq!(
        again.message_annotations,
        message.message_annotations[..2].to_vec()
    );
    assert_eq!(again.properties.creation_time, Some(1_767_225_600_000));
    let names: Vec<_> = again
        .application_properties
        .iter()
        .map(|it| &it.0)
        .collect();
    assert_eq!(
        names,
        [
            &Value::from("iothub-creation-time-utc"),
            &"iothub-message-schema".into(),
            &"iothub-app-k".into(),
            &"dt-subject".into(),
        ]
    );
}

#[test]
fn the_standard_creation_time_is_one_where_no_other_is_given() {
    let message = sent(
        Properties {
            creation_time: Some(0),
            ..Properties::default()
        },
        Map::new(),
    );

    assert_eq!(
        bag(&message).as_encoded(),
        "%24.ctime=1970-01-01T00%3A00%3A00.0000000Z"
    );
}

#[test]
fn application_properties_do_not_pass_for_system_properties() {
    let message = sent(
        Properties::default(),
        vec![
            ("$.cdid".into(), "forged".into()),
            ("$.new".into(), "1".into()),
        ],
    );

    assert_eq!(bag(&message).as_encoded(), "%24.new=1");
}

#[test]
fn a_name_that_a_system_property_has_stands_once() {
    let properties =
        PropertyBag::from_encoded("iothub-creation-time-utc=b&$.ctime=a&k=1&k=2").unwrap();
    let message = Message {
        properties,
        body: Bytes::new(),
    };

    assert_eq!(
        to_amqp(&message).application_properties,
        [
            ("iothub-creation-time-utc".into(), "a".into()),
            ("k".into(), "2".into())
        ]
    );
}

#[test]
fn symbols_are_ascii_and_times_are_times() {
    let properties = PropertyBag::from_encoded("$.ct=%C3%A4/x&$.exp=tomorrow").unwrap();
    let message = Message {
        properties,
        body: Bytes::new(),
    };

    let amqp = to_amqp(&message);

    assert_eq!(amqp.properties.content_type, Some(Symbol::of("?/x")));
    assert_eq!(amqp.properties.absolute_expiry_time, None);
}

#[test]
fn bodies_are_data_or_a_value_that_is_bytes() {
    for (body, bytes) in [
        (data(&[]), &b""[..]),
        (data(&[b"a"]), b"a"),
        (data(&[b"a", b"", b"bc"]), b"abc"),
        (Body::Value("text".into()), b"text"),
        (Body::Value(Value::Binary(Bytes::from_static(b"b"))), b"b"),
        (Body::Value(Value::Null), b""),
    ] {
        let message = AmqpMessage {
            body,
            ..AmqpMessage::default()
        };
        assert_eq!(from_amqp(&message).unwrap().body, bytes);
    }
    for body in [
        Body::Value(Value::Map(Map::new())),
        Body::Sequence(vec![Vec::new()]),
    ] {
        let message = AmqpMessage {
            body,
            ..AmqpMessage::default()
        };
        assert!(from_amqp(&message).is_err());
    }
}

#[test]
fn only_data_sections_are_a_batch() {
    let message = AmqpMessage {
        body: Body::Value("text".into()),
        ..AmqpMessage::default()
    };
    assert!(unpack_batch(&message).is_err());
}

fn encoded(message: &AmqpMessage) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes);
    bytes.freeze()
}

#[test]
fn each_section_of_a_batch_is_a_message() {
    let messages = ["a", "b"].map(|body| {
        to_amqp(&Message {
            properties: PropertyBag::from_encoded(format!("$.mid={body}&k={body}")).unwrap(),
            body: body.into(),
        })
    });
    let batch = AmqpMessage {
        body: Body::Data(messages.iter().map(encoded).collect()),
        ..AmqpMessage::default()
    };

    assert_eq!(unpack_batch(&batch).unwrap(), messages);

    let broken = AmqpMessage {
        body: data(&[b"\0"]),
        ..AmqpMessage::default()
    };
    assert!(unpack_batch(&broken).is_err());
}

#[test]
fn as_many_properties_as_a_message_can_have_are_read() {
    let many: Map = (0..32_000)
        .map(|n| (Value::from(&*n.to_string()), Value::from("")))
        .collect();

    let read = bag(&sent(Properties::default(), many));

    assert_eq!(read.application().len(), 32_000);
}

/// A bag as the hub keeps one: what travels over AMQP, each name once.
fn bags() -> impl Strategy<Value = PropertyBag> {
    let time = (0_i64..4_102_444_800_000).prop_map(iso);
    let application = proptest::collection::btree_map("[a-z]{1,6}", ".{0,8}", 0..4);
    let texts = proptest::collection::vec(proptest::option::of(".{1,8}"), 7);
    let ascii = proptest::collection::vec(proptest::option::of("[ -~]{1,8}"), 2);
    (texts, ascii, proptest::option::of(time), application).prop_map(
        |(texts, ascii, time, application)| {
            use SystemProperty as P;
            let mut bag = PropertyBag::new();
            let of_text = [
                P::MessageId,
                P::CorrelationId,
                P::UserId,
                P::To,
                P::MessageSchema,
                P::InterfaceId,
                P::Component,
            ];
            let of_ascii = [P::ContentType, P::ContentEncoding];
            let texts = of_text.into_iter().zip(texts);
            for (property, value) in texts.chain(of_ascii.into_iter().zip(ascii)) {
                if let Some(value) = value {
                    bag.push_system(property, &value);
                }
            }
            if let Some(time) = time {
                bag.push_system(P::Expiry, &time);
                bag.push_system(P::CreationTime, &time);
            }
            for (name, value) in application {
                bag.push(&name, &value);
            }
            bag
        },
    )
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::Ulong),
        any::<f64>().prop_map(Value::Double),
        any::<i64>().prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        ".{0,8}".prop_map(Value::String),
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Value::Binary(bytes.into())),
        Just(Value::List(Vec::new())),
    ]
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(
        properties in bags(),
        body in proptest::collection::vec(any::<u8>(), 0..32),
    ) {
        let message = Message { properties, body: body.into() };
        let travelled = AmqpMessage::decode(encoded(&to_amqp(&message))).unwrap();
        prop_assert_eq!(from_amqp(&travelled).unwrap(), message);
    }

    #[test]
    fn any_bag_can_be_sent(bag in "([$.a-e%=&]|\\PC){0,60}") {
        let properties = PropertyBag::from_encoded(bag).unwrap();
        let amqp = to_amqp(&Message { properties, body: Bytes::new() });
        prop_assert!(from_amqp(&amqp).is_ok());
    }

    #[test]
    fn any_message_is_read_or_refused(
        id in proptest::option::of(values()),
        times in proptest::option::of(any::<(i64, i64)>()),
        application in proptest::collection::vec((values(), values()), 0..4),
        annotations in proptest::collection::vec(values(), 5),
    ) {
        let names = ["dt-subject", "iothub-interface-id", "iothub-outputname", "Diagnostic-Id", "x"];
        let message = AmqpMessage {
            properties: Properties {
                message_id: id.clone(),
                correlation_id: id,
                absolute_expiry_time: times.map(|it| it.0),
                creation_time: times.map(|it| it.1),
                ..Properties::default()
            },
            application_properties: application,
            message_annotations: names
                .into_iter()
                .map(|name| Value::from(Symbol::of(name)))
                .zip(annotations)
                .collect(),
            ..AmqpMessage::default()
        };
        if let Ok(read) = from_amqp(&message) {
            let again = from_amqp(&to_amqp(&read));
            prop_assert!(again.is_ok());
        }
    }
}
