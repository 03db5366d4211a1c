//! Bytes as the standard prints them and as clients insist on (`spec/amqp.md` 2.3 and 8).

mod amqp;

use bytes::{Bytes, BytesMut};
use iothub_protocol::amqp::codec::{decode, encode};
use iothub_protocol::amqp::error::{AmqpError, condition};
use iothub_protocol::amqp::frame::{encode_frame, encode_sasl};
use iothub_protocol::amqp::performative::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Performative, ReceiverSettleMode,
    Role, SenderSettleMode, Source, Target, Transfer,
};
use iothub_protocol::amqp::sasl::{SaslCode, SaslFrame};
use iothub_protocol::amqp::state::DeliveryState;
use iothub_protocol::amqp::value::{Array, Symbol, Value};
use proptest::prelude::*;

fn frame(performative: &Performative, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    encode_frame(1, performative, payload, &mut out);
    out.freeze()
}

/// Fields of the list behind a performative's descriptor, as a client counts them that knows
/// neither empty lists nor missing fields.
fn positional_fields(performative: &Performative) -> u32 {
    let mut out = BytesMut::new();
    performative.encode(&mut out);
    assert_eq!(out[..2], *b"\0\x53", "{performative:?}");
    match out[3] {
        0xc0 => out[5].into(),
        0xd0 => u32::from_be_bytes([out[8], out[9], out[10], out[11]]),
        other => panic!("{performative:?} begins with {other:#04x}"),
    }
}

/// `spec/amqp.md` 2.3.
fn expected_fields(performative: &Performative) -> u32 {
    match performative {
        Performative::Open(_) => 10,
        Performative::Begin(_) => 8,
        Performative::Attach(_) => 14,
        Performative::Flow(_) | Performative::Transfer(_) => 11,
        Performative::Disposition(_) => 6,
        Performative::Detach(_) => 3,
        Performative::End(_) | Performative::Close(_) => 1,
    }
}

fn empty_attach() -> Attach {
    Attach {
        name: String::new(),
        handle: 0,
        role: Role::Sender,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: None,
        target: None,
        unsettled: vec![],
        incomplete_unsettled: false,
        initial_delivery_count: None,
        max_message_size: None,
        offered_capabilities: vec![],
        desired_capabilities: vec![],
        properties: vec![],
    }
}

// Part 1, figure 1.3: a described value.
#[test]
fn the_standards_url_is_read_and_written() {
    let bytes = b"\0\xa1\x03URL\xa1\x1ehttp://example.org/hello-world";
    let value = Value::Described(Box::new((
        Value::from("URL"),
        Value::from("http://example.org/hello-world"),
    )));

    check(&value, bytes);
}

// Part 1, figure 1.5: a composite value with an array in it.
#[test]
fn the_standards_book_is_read_and_written() {
    let bytes = b"\0\xa3\x11example:book:list\xc0\x40\x03\xa1\x15AMQP for & by Dummies\
        \xe0\x25\x02\xa1\x0eRob J. Godfrey\x13Rafael H. Schloming\x40";
    let authors = ["Rob J. Godfrey", "Rafael H. Schloming"];
    let value = Value::Described(Box::new((
        Value::Symbol(Symbol::of("example:book:list")),
        Value::List(vec![
            Value::from("AMQP for & by Dummies"),
            Value::Array(Array(authors.into_iter().map(Value::from).collect())),
            Value::Null,
        ]),
    )));

    check(&value, bytes);
}

fn check(value: &Value, bytes: &'static [u8]) {
    let mut out = BytesMut::new();
    encode(value, &mut out);
    assert_eq!(out[..], *bytes);
    assert_eq!(decode(&mut Bytes::from_static(bytes)).as_ref(), Ok(value));
}

#[test]
fn the_security_layers_frames_are_these_bytes() {
    let mut out = BytesMut::new();
    let mechanisms = ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"].map(Symbol::of);
    encode_sasl(&SaslFrame::Mechanisms(mechanisms.into()), &mut out);
    assert_eq!(
        out[..],
        *b"\0\0\0\x33\x02\x01\0\0\0\x53\x40\xc0\x26\x01\xe0\x23\x04\xa3\
            \x07MSSBCBS\x05PLAIN\x09ANONYMOUS\x08EXTERNAL"
    );

    out.clear();
    let outcome = SaslFrame::Outcome {
        code: SaslCode::Ok,
        additional_data: None,
    };
    encode_sasl(&outcome, &mut out);
    assert_eq!(
        out[..],
        *b"\0\0\0\x11\x02\x01\0\0\0\x53\x44\xc0\x04\x02\x50\x00\x40"
    );
}

#[test]
fn a_connections_beginning_is_these_bytes() {
    let open = Performative::Open(Open {
        container_id: "hub".into(),
        max_frame_size: 65_536,
        channel_max: 255,
        idle_time_out: Some(240_000),
        ..Open::default()
    });
    assert_eq!(
        frame(&open, b"")[..],
        *b"\0\0\0\x28\x02\0\0\x01\0\x53\x10\xc0\x1b\x0a\xa1\x03hub\x40\x70\0\x01\0\0\x60\0\xff\
            \x70\0\x03\xa9\x80\x40\x40\x40\x40\xc1\x01\0"
    );
    let begin = Performative::Begin(Begin {
        remote_channel: Some(1),
        next_outgoing_id: 0,
        incoming_window: 5000,
        outgoing_window: 5000,
        handle_max: 255,
        ..Begin::default()
    });
    assert_eq!(
        frame(&begin, b"")[..],
        *b"\0\0\0\x21\x02\0\0\x01\0\x53\x11\xc0\x14\x08\x60\0\x01\x43\x70\0\0\x13\x88\
            \x70\0\0\x13\x88\x52\xff\x40\x40\x40"
    );
}

#[test]
fn a_link_and_its_refusal_are_these_bytes() {
    let attach = Performative::Attach(Box::new(Attach {
        name: "l".into(),
        handle: 3,
        role: Role::Receiver,
        source: Some(Source {
            address: Some("a".into()),
            ..Source::default()
        }),
        target: Some(Target {
            address: Some("$cbs".into()),
            ..Target::default()
        }),
        max_message_size: Some(1 << 20),
        ..empty_attach()
    }));
    assert_eq!(
        frame(&attach, b"")[..],
        *b"\0\0\0\x4c\x02\0\0\x01\0\x53\x12\xc0\x3f\x0e\xa1\x01l\x52\x03\x41\x50\x02\x50\0\
            \0\x53\x28\xc0\x0e\x0b\xa1\x01a\x43\x40\x43\x42\x40\x40\x40\x40\x40\x40\
            \0\x53\x29\xc0\x0d\x07\xa1\x04$cbs\x43\x40\x43\x42\x40\x40\
            \x40\x42\x40\x80\0\0\0\0\0\x10\0\0\x40\x40\x40"
    );
    let detach = Performative::Detach(Detach {
        handle: 3,
        closed: true,
        error: Some(AmqpError::new(condition::NOT_FOUND, "no")),
    });
    assert_eq!(
        frame(&detach, b"")[..],
        *b"\0\0\0\x2c\x02\0\0\x01\0\x53\x16\xc0\x1f\x03\x52\x03\x41\
            \0\x53\x1d\xc0\x16\x03\xa3\x0eamqp:not-found\xa1\x02no\x40"
    );
}

#[test]
fn a_delivery_and_its_end_are_these_bytes() {
    let transfer = Performative::Transfer(Transfer {
        handle: 0,
        delivery_id: Some(7),
        delivery_tag: Some(Bytes::from_static(b"0123456789abcdef")),
        message_format: Some(0),
        settled: Some(false),
        ..Transfer::default()
    });
    assert_eq!(
        frame(&transfer, b"\0\x53\x75\xa0\x02hi")[..],
        *b"\0\0\0\x32\x02\0\0\x01\0\x53\x14\xc0\x1e\x0b\x43\x52\x07\xa0\x10\
            0123456789abcdef\x43\x42\x42\x40\x40\x42\x42\x42\0\x53\x75\xa0\x02hi"
    );
    let disposition = Performative::Disposition(Disposition {
        role: Role::Receiver,
        first: 7,
        last: Some(9),
        settled: true,
        state: Some(DeliveryState::Accepted),
        batchable: false,
    });
    assert_eq!(
        frame(&disposition, b"")[..],
        *b"\0\0\0\x19\x02\0\0\x01\0\x53\x15\xc0\x0c\x06\x41\x52\x07\x52\x09\x41\0\x53\x24\x45\x42"
    );
}

// `spec/amqp.md` 8, item 2.
#[test]
fn performatives_with_nothing_in_them_are_at_full_length() {
    for performative in [
        Performative::Open(Open::default()),
        Performative::Begin(Begin::default()),
        Performative::Attach(Box::new(empty_attach())),
        Performative::Flow(Flow::default()),
        Performative::Transfer(Transfer::default()),
        Performative::Disposition(Disposition {
            role: Role::Sender,
            first: 0,
            last: None,
            settled: false,
            state: None,
            batchable: false,
        }),
        Performative::Detach(Detach::default()),
        Performative::End(End::default()),
        Performative::Close(Close::default()),
    ] {
        assert_eq!(
            positional_fields(&performative),
            expected_fields(&performative)
        );
    }
}

proptest! {
    // `spec/amqp.md` 8, item 2.
    #[test]
    fn performatives_are_at_full_length(performative in amqp::performative()) {
        prop_assert_eq!(positional_fields(&performative), expected_fields(&performative));
    }
}
