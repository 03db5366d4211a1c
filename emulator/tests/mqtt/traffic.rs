//! What a connected client may and may not do, byte by byte (`spec/device.md` 2.8, 4, 6, 7).

use crate::client::{Client, connect, emulator, publish, register, subscribe, token};
use iothub_emulator::Emulator;
use iothub_hub::Event;
use iothub_protocol::mqtt::packet::{
    ClientPacket, Connect, Publish, QoS, ServerPacket, SubAckCode, Unsubscribe, Will,
};

/// Every stored event, oldest first within its partition.
fn events(emulator: &Emulator) -> Vec<Event> {
    let handle = emulator.handle();
    (0..4)
        .flat_map(|partition| handle.read_events(partition, 0, usize::MAX).unwrap())
        .collect()
}

#[tokio::test]
async fn a_puback_means_that_the_event_can_be_read() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    let topic = "devices/d1/messages/events/%24.mid=m1&%24.ct=application%2Fjson&a%20b=c%2Bd%2Fe";

    client
        .send(&publish(topic, QoS::AtLeastOnce, 7, b"{}"))
        .await;

    assert_eq!(client.next().await, Some(ServerPacket::PubAck(7)));
    let events = events(&emulator);
    assert_eq!(events.len(), 1);
    assert_eq!(&events[0].message.body[..], b"{}");
    let application = events[0].message.properties.application();
    assert_eq!(application, [("a b".into(), "c+d/e".into())]);
}

#[tokio::test]
async fn bodies_arrive_in_order_and_are_acknowledged_in_order() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    let mut bytes = bytes::BytesMut::new();
    for id in 1..=200u16 {
        let packet = publish(
            "devices/d1/messages/events/",
            QoS::AtLeastOnce,
            id,
            &id.to_be_bytes(),
        );
        iothub_protocol::mqtt::codec::encode_client(&packet, &mut bytes);
    }

    client.send_bytes(&bytes).await;

    for id in 1..=200 {
        assert_eq!(client.next().await, Some(ServerPacket::PubAck(id)));
    }
    let bodies: Vec<_> = events(&emulator)
        .into_iter()
        .map(|e| e.message.body.to_vec())
        .collect();
    let wanted: Vec<_> = (1..=200u16).map(|id| id.to_be_bytes().to_vec()).collect();
    assert_eq!(bodies, wanted);
}

#[tokio::test]
async fn retain_and_dup_become_properties() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;

    client
        .send(&ClientPacket::Publish(Publish {
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: "devices/d1/messages/events/k=v".into(),
            packet_id: 1,
            payload: "x".into(),
        }))
        .await;

    assert_eq!(client.next().await, Some(ServerPacket::PubAck(1)));
    let application = events(&emulator)[0].message.properties.clone();
    let application = application.application();
    let wanted = [("k", "v"), ("mqtt-retain", "true"), ("mqtt-dup", "true")]
        .map(|(k, v)| (k.into(), v.into()));
    assert_eq!(application, wanted);
}

#[tokio::test]
async fn what_breaks_a_rule_ends_the_connection_and_is_not_stored() {
    let emulator = emulator().await;
    register(&emulator, "d2").await;
    let key = register(&emulator, "d1").await;
    let big = vec![b'x'; 256 * 1024 + 1];

    for (what, packet) in [
        (
            "QoS 2",
            publish("devices/d1/messages/events/", QoS::ExactlyOnce, 1, b""),
        ),
        (
            "another device",
            publish("devices/d2/messages/events/", QoS::AtLeastOnce, 1, b""),
        ),
        (
            "its module",
            publish(
                "devices/d1/modules/m/messages/events/",
                QoS::AtLeastOnce,
                1,
                b"",
            ),
        ),
        (
            "an unknown topic",
            publish("hello", QoS::AtLeastOnce, 1, b""),
        ),
        (
            "an unknown hub topic",
            publish("$iothub/nothing/?$rid=1", QoS::AtLeastOnce, 1, b""),
        ),
        (
            "the hub's own topic",
            publish("$iothub/methods/POST/x/?$rid=1", QoS::AtMostOnce, 0, b""),
        ),
        (
            "too large",
            publish("devices/d1/messages/events/", QoS::AtLeastOnce, 1, &big),
        ),
        (
            "unknown filter",
            subscribe(1, &[("hello/#", QoS::AtLeastOnce)]),
        ),
        ("everything", subscribe(1, &[("#", QoS::AtLeastOnce)])),
        (
            "another's C2D",
            subscribe(
                1,
                &[("devices/d2/messages/devicebound/#", QoS::AtLeastOnce)],
            ),
        ),
        ("the QoS 2 handshake", ClientPacket::QoS2Handshake),
    ] {
        let (mut client, _) =
            Client::enter(&emulator, connect("d1", &token(&emulator, "d1", &key))).await;
        client.send(&packet).await;
        let next = client.next().await;
        assert_eq!(next, None, "{what}");
    }
    assert_eq!(events(&emulator), []);
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_is_taken() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    let body = vec![b'x'; 256 * 1024 - 2];

    client
        .send(&publish(
            "devices/d1/messages/events/k=v",
            QoS::AtLeastOnce,
            1,
            &body,
        ))
        .await;

    assert_eq!(client.next().await, Some(ServerPacket::PubAck(1)));
}

#[tokio::test]
async fn subscriptions_are_granted_up_to_qos_1_and_any_unsubscribe_is_acknowledged() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;

    client
        .send(&subscribe(
            9,
            &[
                ("$iothub/methods/POST/#", QoS::AtMostOnce),
                ("$iothub/twin/res/#", QoS::AtLeastOnce),
                ("devices/d1/messages/devicebound/#", QoS::ExactlyOnce),
            ],
        ))
        .await;
    let codes = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtLeastOnce].map(SubAckCode::Granted);
    let suback = ServerPacket::SubAck {
        packet_id: 9,
        codes: codes.to_vec(),
    };
    assert_eq!(client.next().await, Some(suback));

    let filters = vec!["$iothub/methods/POST/#".into(), "never/heard/of".into()];
    client
        .send(&ClientPacket::Unsubscribe(Unsubscribe {
            packet_id: 10,
            filters,
        }))
        .await;
    assert_eq!(client.next().await, Some(ServerPacket::UnsubAck(10)));
}

#[tokio::test]
async fn twin_replies_have_the_exact_shape_that_sdks_parse() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    client
        .send(&subscribe(1, &[("$iothub/twin/res/#", QoS::AtMostOnce)]))
        .await;
    client.next().await;

    client
        .send(&publish(
            "$iothub/twin/GET/?$rid=Ab-1",
            QoS::AtLeastOnce,
            2,
            b" ",
        ))
        .await;
    assert_eq!(client.next().await, Some(ServerPacket::PubAck(2)));
    let (topic, body) = published(client.next().await);
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=Ab-1");
    assert_eq!(
        body,
        r#"{"desired":{"$version":1},"reported":{"$version":1}}"#
    );

    let reported = "$iothub/twin/PATCH/properties/reported/?$rid=2";
    client
        .send(&publish(reported, QoS::AtMostOnce, 0, br#"{"fw":"1.0"}"#))
        .await;
    let (topic, body) = published(client.next().await);
    assert_eq!(topic, "$iothub/twin/res/204/?$rid=2&$version=2");
    assert_eq!(body, "");

    let stale = "$iothub/twin/PATCH/properties/reported/?$rid=3&$version=1";
    client
        .send(&publish(stale, QoS::AtMostOnce, 0, br#"{"fw":"2.0"}"#))
        .await;
    let (topic, body) = published(client.next().await);
    assert_eq!(topic, "$iothub/twin/res/412/?$rid=3");
    assert!(body.contains(r#""errorCode":412001"#), "{body}");

    for bad in [
        "{\"$version\":1}",
        "[]",
        "{",
        "{\"a.b\":1}",
        "{\"a\":[null]}",
    ] {
        client
            .send(&publish(reported, QoS::AtMostOnce, 0, bad.as_bytes()))
            .await;
        let (topic, body) = published(client.next().await);
        assert_eq!(topic, "$iothub/twin/res/400/?$rid=2", "{bad}");
        assert!(body.contains(r#""errorCode":40000"#), "{bad}: {body}");
    }
}

#[tokio::test]
async fn a_twin_reply_nobody_listens_for_is_dropped() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;

    client
        .send(&publish(
            "$iothub/twin/GET/?$rid=1",
            QoS::AtLeastOnce,
            2,
            b"",
        ))
        .await;

    assert_eq!(client.next().await, Some(ServerPacket::PubAck(2)));
    client.expect_alive().await;
}

#[tokio::test]
async fn without_an_api_version_twin_operations_answer_400() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let connect = Connect {
        username: Some("localhost/d1".into()),
        ..connect("d1", &token(&emulator, "d1", &key))
    };
    let (mut client, _) = Client::enter(&emulator, connect).await;
    client
        .send(&subscribe(1, &[("$iothub/twin/res/#", QoS::AtMostOnce)]))
        .await;
    client.next().await;

    client
        .send(&publish(
            "$iothub/twin/GET/?$rid=1",
            QoS::AtMostOnce,
            0,
            b"",
        ))
        .await;

    assert_eq!(
        published(client.next().await).0,
        "$iothub/twin/res/400/?$rid=1"
    );
}

#[tokio::test]
async fn a_lost_connection_publishes_its_will_and_a_goodbye_does_not() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let with_will = |payload: &str| Connect {
        will: Some(Will {
            topic: "devices/d1/messages/events/k=v".into(),
            payload: payload.to_owned().into(),
            qos: QoS::AtLeastOnce,
            retain: false,
        }),
        ..connect("d1", &token(&emulator, "d1", &key))
    };

    let (mut polite, _) = Client::enter(&emulator, with_will("polite")).await;
    polite.send(&ClientPacket::Disconnect).await;
    polite.expect_close().await;
    let (rude, _) = Client::enter(&emulator, with_will("rude")).await;
    let mut appended = emulator.handle().appended();
    rude.reset();
    appended.changed().await.unwrap();

    let events = events(&emulator);
    let bodies: Vec<_> = events.iter().map(|event| &event.message.body[..]).collect();
    assert_eq!(bodies, [b"rude"]);
    let application = events[0].message.properties.application();
    assert!(application.contains(&("iothub-MessageType".into(), "Will".into())));
}

#[tokio::test]
async fn a_malformed_packet_ends_its_own_connection_only_and_loses_nothing() {
    let emulator = emulator().await;
    let mut neighbour = Client::online(&emulator, "d2").await;
    let mut client = Client::online(&emulator, "d1").await;
    let mut bytes = bytes::BytesMut::new();
    let good = publish("devices/d1/messages/events/", QoS::AtLeastOnce, 1, b"good");
    iothub_protocol::mqtt::codec::encode_client(&good, &mut bytes);
    bytes.extend_from_slice(b"\xf0\x00");

    client.send_bytes(&bytes).await;

    assert_eq!(client.next().await, Some(ServerPacket::PubAck(1)));
    client.expect_close().await;
    assert_eq!(events(&emulator).len(), 1);
    neighbour.expect_alive().await;
}

fn published(packet: Option<ServerPacket>) -> (String, String) {
    match packet {
        Some(ServerPacket::Publish(publish)) => (
            publish.topic().to_owned(),
            String::from_utf8(publish.payload.to_vec()).unwrap(),
        ),
        other => panic!("expected a PUBLISH, got {other:?}"),
    }
}
