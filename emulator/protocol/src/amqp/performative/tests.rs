use bytes::{Bytes, BytesMut};

use super::*;
use crate::amqp::codec::DecodeError;
use crate::amqp::error::condition;
use crate::amqp::value::Value;

fn decoded(bytes: &'static [u8]) -> Result<Performative, DecodeError> {
    Performative::decode(&mut Bytes::from_static(bytes))
}

fn round_trip(performative: &Performative) {
    let mut out = BytesMut::new();
    performative.encode(&mut out);
    let mut input = out.freeze();
    assert_eq!(Performative::decode(&mut input).as_ref(), Ok(performative));
    assert!(input.is_empty());
}

fn attach() -> Attach {
    Attach {
        name: "link".into(),
        handle: 2,
        role: Role::Receiver,
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: ReceiverSettleMode::Second,
        source: Some(Source {
            address: Some("hub/ConsumerGroups/$Default/Partitions/0".into()),
            expiry_policy: Some(Symbol::of("session-end")),
            filter: vec![(
                Value::Symbol("f".into()),
                Value::Described(Box::new((Value::Ulong(1), Value::from("text")))),
            )],
            default_outcome: Some(Box::new(DeliveryState::Released)),
            outcomes: vec![Symbol::of("amqp:accepted:list"), Symbol::of("x")],
            ..Source::default()
        }),
        target: Some(Target {
            address: Some("here".into()),
            timeout: 7,
            capabilities: vec![Symbol::of("c")],
            ..Target::default()
        }),
        unsettled: vec![],
        incomplete_unsettled: true,
        initial_delivery_count: Some(0),
        max_message_size: Some(1 << 20),
        offered_capabilities: vec![Symbol::of("o")],
        desired_capabilities: vec![Symbol::of("d"), Symbol::of("e")],
        properties: vec![(Value::Symbol("k".into()), Value::Long(9))],
    }
}

#[test]
fn every_performative_comes_back() {
    let error = AmqpError::new(condition::NOT_FOUND, "nobody").with_info(Symbol::of("port"), 5671);
    for performative in [
        Performative::Open(Open {
            container_id: "c".into(),
            hostname: Some("localhost".into()),
            max_frame_size: 65_536,
            channel_max: 255,
            idle_time_out: Some(240_000),
            offered_capabilities: vec![Symbol::of("a")],
            properties: vec![(Value::Symbol("p".into()), Value::from("v"))],
            ..Open::default()
        }),
        Performative::Begin(Begin {
            remote_channel: Some(3),
            next_outgoing_id: 1,
            incoming_window: 5000,
            outgoing_window: 5000,
            handle_max: 255,
            ..Begin::default()
        }),
        Performative::Attach(Box::new(attach())),
        Performative::Attach(Box::new(Attach {
            source: None,
            target: Some(Target {
                coordinator: true,
                ..Target::default()
            }),
            ..attach()
        })),
        Performative::Flow(Flow {
            next_incoming_id: Some(1),
            handle: Some(0),
            link_credit: Some(1000),
            drain: true,
            ..Flow::default()
        }),
        Performative::Transfer(Transfer {
            delivery_id: Some(4),
            delivery_tag: Some(Bytes::from_static(&[7; 16])),
            message_format: Some(0x8001_3700),
            settled: Some(false),
            more: true,
            rcv_settle_mode: Some(ReceiverSettleMode::First),
            state: Some(DeliveryState::Received {
                section_number: 1,
                section_offset: 300,
            }),
            batchable: true,
            ..Transfer::default()
        }),
        Performative::Disposition(Disposition {
            role: Role::Receiver,
            first: 1,
            last: Some(9),
            settled: true,
            state: Some(DeliveryState::Rejected(Some(error.clone()))),
            batchable: false,
        }),
        Performative::Detach(Detach {
            handle: 1,
            closed: true,
            error: Some(error.clone()),
        }),
        Performative::End(End::default()),
        Performative::Close(Close { error: Some(error) }),
    ] {
        round_trip(&performative);
    }
}

#[test]
fn every_state_comes_back() {
    for state in [
        DeliveryState::Accepted,
        DeliveryState::Released,
        DeliveryState::Rejected(None),
        DeliveryState::Modified {
            delivery_failed: true,
            undeliverable_here: false,
            annotations: vec![(Value::Symbol("a".into()), Value::Null)],
        },
        DeliveryState::Other(Value::Described(Box::new((
            Value::Ulong(0x34),
            Value::List(vec![Value::Binary(Bytes::from_static(b"t"))]),
        )))),
        DeliveryState::Other(Value::Described(Box::new((
            Value::Symbol(Symbol::of("vendor:state")),
            Value::Map(vec![]),
        )))),
    ] {
        round_trip(&Performative::Disposition(Disposition {
            role: Role::Sender,
            first: 0,
            last: None,
            settled: false,
            state: Some(state),
            batchable: true,
        }));
    }
}

#[test]
fn a_short_list_has_the_standards_defaults() {
    let open = decoded(b"\0\x53\x10\xc0\x04\x01\xa1\x01c").unwrap();

    assert_eq!(
        open,
        Performative::Open(Open {
            container_id: "c".into(),
            max_frame_size: u32::MAX,
            channel_max: u16::MAX,
            ..Open::default()
        })
    );
    assert_eq!(
        decoded(b"\0\x53\x18\x45"),
        Ok(Performative::Close(Close::default()))
    );
}

#[test]
fn a_performative_may_be_named_in_words() {
    assert_eq!(
        decoded(b"\0\xa3\x0famqp:close:list\x45"),
        Ok(Performative::Close(Close::default()))
    );
}

#[test]
fn fields_beyond_those_that_are_known_are_passed_over() {
    let mut input = Bytes::from_static(b"\0\x53\x17\xc0\x04\x03\x40\x41\x42rest");

    assert_eq!(
        Performative::decode(&mut input),
        Ok(Performative::End(End::default()))
    );
    assert_eq!(input, b"rest"[..]);
}

#[test]
fn several_symbols_come_one_by_one_or_in_an_array() {
    let one = decoded(b"\0\x53\x10\xc0\x0d\x08\xa1\x01c\x40\x40\x40\x40\x40\x40\xa3\x01x");
    let many = decoded(
        b"\0\x53\x10\xc0\x11\x08\xa1\x01c\x40\x40\x40\x40\x40\x40\xe0\x05\x02\xa3\x01x\x00",
    );

    let Ok(Performative::Open(one)) = one else {
        panic!("{one:?}")
    };
    let Ok(Performative::Open(many)) = many else {
        panic!("{many:?}")
    };
    assert_eq!(one.offered_capabilities, [Symbol::of("x")]);
    assert_eq!(many.offered_capabilities, [Symbol::of("x"), Symbol::of("")]);
}

#[test]
fn what_is_no_performative_is_refused() {
    for bytes in [
        &b"\0\x53\x19\xc0\x01\x00"[..],
        b"\0\xa3\x01x\x45",
        b"\0\x53\x10\x45",
        b"\0\x53\x10\xc1\x01\x00",
        b"\0\x53\x10\xc0\x02\x01\x43",
        b"\0\x53\x15\xc0\x02\x01\x41",
        b"\0\x53\x18\xc0\x05\x01\0\x53\x1d\x45",
        b"\0\x53\x15\xc0\x06\x05\x41\x43\x40\x40\x43",
        b"\x45",
    ] {
        assert!(
            matches!(decoded(bytes), Err(DecodeError::Invalid(_))),
            "{bytes:02x?}: {:?}",
            decoded(bytes)
        );
    }
}
