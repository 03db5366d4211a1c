//! Packets in, packets out.

use std::sync::Arc;

use iothub_protocol::Timestamp;
use iothub_protocol::mqtt::codec::decode_server;

use super::*;

fn session(subscribed: &[(Feature, Guarantee)]) -> Session {
    let mut subscriptions = Subscriptions::default();
    for &(feature, guarantee) in subscribed {
        subscriptions.set(feature, Some(guarantee));
    }
    Session::new(ClientId::parse("d1").unwrap(), subscriptions)
}

fn publish(topic: &str, payload: &str) -> Publish {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: topic.to_owned().into(),
        packet_id: 0,
        payload: payload.to_owned().into(),
    }
}

fn sent(out: &mut BytesMut) -> Publish {
    match decode_server(out, 1 << 20).unwrap() {
        Some(ServerPacket::Publish(publish)) => publish,
        other => panic!("expected a PUBLISH, got {other:?}"),
    }
}

#[test]
fn a_method_request_has_a_short_hexadecimal_id_and_qos_0() {
    let mut session = session(&[(Feature::Methods, Guarantee::AtLeastOnce)]);
    let mut out = BytesMut::new();
    let delivery = Delivery::MethodRequest {
        request: 31,
        name: "reboot".into(),
        payload: "{}".into(),
    };

    session.encode_delivery(delivery, &mut out);

    let publish = sent(&mut out);
    assert_eq!(publish.topic(), "$iothub/methods/POST/reboot/?$rid=1f");
    assert_eq!(
        (publish.qos, &publish.payload[..]),
        (QoS::AtMostOnce, &b"{}"[..])
    );
}

#[test]
fn desired_changes_are_sent_at_the_granted_level_with_fresh_packet_ids() {
    let mut session = session(&[(Feature::DesiredChanges, Guarantee::AtLeastOnce)]);
    let mut out = BytesMut::new();

    for version in [2, 3] {
        let delivery = Delivery::DesiredChanged {
            version,
            patch: "{}".into(),
        };
        session.encode_delivery(delivery, &mut out);
    }

    let (first, second) = (sent(&mut out), sent(&mut out));
    assert_eq!(
        first.topic(),
        "$iothub/twin/PATCH/properties/desired/?$version=2"
    );
    assert_eq!((first.qos, first.packet_id), (QoS::AtLeastOnce, 1));
    assert_eq!((second.qos, second.packet_id), (QoS::AtLeastOnce, 2));
}

#[test]
fn packet_ids_wrap_around_to_one() {
    let mut session = session(&[(Feature::TwinResponses, Guarantee::AtLeastOnce)]);
    session.last_packet_id = u16::MAX;
    let mut out = BytesMut::new();

    session.encode_twin_response(204, "1", Some(2), Bytes::new(), &mut out);

    assert_eq!(sent(&mut out).packet_id, 1);
}

#[test]
fn a_packet_id_in_flight_is_passed_over() {
    let mut session = session(&[(Feature::TwinResponses, Guarantee::AtLeastOnce)]);
    let mut out = BytesMut::new();
    let lock = LockToken::from_bytes([7; 16]);
    session.encode_delivery(c2d(5, Some(lock), false), &mut out);
    assert_eq!(sent(&mut out).packet_id, 1);
    session.last_packet_id = u16::MAX;

    session.encode_twin_response(204, "1", Some(2), Bytes::new(), &mut out);
    assert_eq!(sent(&mut out).packet_id, 2);

    assert_eq!(session.handle_puback(2), None);
    assert_eq!(session.handle_puback(1), Some(lock));
    assert_eq!(session.handle_puback(1), None, "once");
}

#[test]
fn a_message_that_comes_again_keeps_its_packet_id_under_its_new_lock() {
    let mut session = session(&[(Feature::C2d, Guarantee::AtLeastOnce)]);
    let mut out = BytesMut::new();
    let (first, second) = (
        LockToken::from_bytes([1; 16]),
        LockToken::from_bytes([2; 16]),
    );
    session.encode_delivery(c2d(5, Some(first), false), &mut out);
    session.encode_delivery(c2d(6, Some(first), false), &mut out);
    session.encode_delivery(c2d(5, Some(second), true), &mut out);

    let sent: Vec<_> = (0..3).map(|_| sent(&mut out)).collect();

    let ids: Vec<_> = sent.iter().map(|it| (it.packet_id, it.dup)).collect();
    assert_eq!(ids, [(1, false), (2, false), (1, true)]);
    assert_eq!(session.handle_puback(1), Some(second));
}

#[test]
fn a_client_that_acknowledges_nothing_costs_a_bounded_amount() {
    let mut session = session(&[(Feature::TwinResponses, Guarantee::AtLeastOnce)]);
    let mut out = BytesMut::new();

    for _ in 0..100_000 {
        session.encode_twin_response(204, "1", None, Bytes::new(), &mut out);
        assert_ne!(sent(&mut out).packet_id, 0);
    }

    assert_eq!(session.in_flight.len(), MOST_IN_FLIGHT);
}

fn c2d(sequence: u64, lock: Option<LockToken>, redelivered: bool) -> Delivery {
    let now = Timestamp::UNIX_EPOCH;
    Delivery::C2d {
        lock,
        redelivered,
        message: Arc::new(C2dMessage {
            client: ClientId::parse("d1").unwrap(),
            sequence,
            enqueued: now,
            expires: now,
            delivery_count: 0,
            generation: "1".into(),
            message: Message::default(),
        }),
    }
}

#[test]
fn method_ids_are_compared_ignoring_case_and_bad_ones_ignored() {
    let session = session(&[]);
    let read = |topic: &str| {
        let publish = publish(topic, "1");
        let request = session.handle_publish(&publish, &mut BytesMut::new());
        match request {
            Ok(Request::MethodResponse { request, .. }) => Some(request),
            Ok(Request::Ignore(_)) => None,
            other => panic!("{topic}: {other:?}"),
        }
    };

    assert_eq!(read("$iothub/methods/res/200/?$rid=1F"), Some(31));
    assert_eq!(read("$iothub/methods/res/200/?$rid=zz"), None);
    assert_eq!(read("$iothub/methods/res/abc/?$rid=1"), None);
}

#[test]
fn stored_messages_do_not_share_the_read_buffer() {
    let session = session(&[]);
    let read_buffer = Bytes::from(vec![b'x'; 64 * 1024]);
    let publish = Publish {
        payload: read_buffer.slice(..10),
        ..publish("devices/d1/messages/events/k=v", "")
    };
    let mut arena = BytesMut::with_capacity(64);

    let Ok(Request::Telemetry(message)) = session.handle_publish(&publish, &mut arena) else {
        panic!("telemetry was not recognized");
    };
    drop(publish);

    assert!(read_buffer.is_unique(), "a stored message would pin 64 KiB");
    assert_eq!(message.body.len(), 10);
}
