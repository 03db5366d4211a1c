//! Cloud-to-device messages, byte by byte (`spec/device.md` 5).

use std::collections::VecDeque;
use std::time::Duration;

use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_hub::Principal;
use iothub_protocol::mqtt::packet::{
    ClientPacket, Connect, Publish, QoS, ServerPacket, SubAckCode,
};
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::{ClientId, Message};

use crate::client::{Client, connect, emulator, frozen_emulator, register, subscribe, token};

const DEVICEBOUND: &str = "devices/d1/messages/devicebound/#";

async fn send(emulator: &Emulator, to: &str, properties: &str, body: &str) {
    let client = ClientId::parse(to).unwrap();
    let message = Message {
        properties: PropertyBag::from_encoded(properties.to_owned()).unwrap(),
        body: body.to_owned().into(),
    };
    let operator = Principal::operator();
    emulator
        .handle()
        .call(OperationKind::SendC2d.on(&client), |hub, cx| {
            hub.send_c2d(cx, &operator, &client, message)
        })
        .await
        .unwrap();
}

/// How many messages wait, and whether all have been settled.
fn waiting(emulator: &Emulator, client: &str) -> usize {
    let client = ClientId::parse(client).unwrap();
    emulator
        .handle()
        .inspect(|hub| hub.waiting_c2d(&client).len())
}

async fn listen(client: &mut Client, filter: &str, qos: QoS) {
    client.send(&subscribe(1, &[(filter, qos)])).await;
    let packet_id = 1;
    let codes = vec![SubAckCode::Granted(qos)];
    assert_eq!(
        client.next().await,
        Some(ServerPacket::SubAck { packet_id, codes })
    );
}

async fn message(client: &mut Client) -> Publish {
    match client.next().await {
        Some(ServerPacket::Publish(publish)) => publish,
        other => panic!("expected a PUBLISH, got {other:?}"),
    }
}

async fn bodies(client: &mut Client, count: usize) -> Vec<(String, u16, bool)> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let publish = message(client).await;
        let body = String::from_utf8(publish.payload.to_vec()).unwrap();
        bodies.push((body, publish.packet_id, publish.dup));
    }
    bodies
}

#[tokio::test]
async fn the_topic_carries_the_properties_and_a_puback_completes_the_message() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;

    let properties = "key1=value 1&$.mid=7d2&$.ct=text/plain; charset=UTF-8&$.ce=utf-8\
                      &iothub-ack=full&$.cid=c&$.uid=u&bbb=&ä=/";
    send(&emulator, "d1", properties, "{\"a\": 1}").await;

    assert_eq!(
        message(&mut client).await,
        Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "devices/d1/messages/devicebound/%24.mid=7d2\
                    &%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound&%24.cid=c&%24.uid=u\
                    &iothub-ack=full&%24.ct=text%2Fplain%3B%20charset%3DUTF-8&%24.ce=utf-8\
                    &key1=value%201&bbb=&%C3%A4=%2F"
                .into(),
            packet_id: 1,
            payload: "{\"a\": 1}".into(),
        }
    );
    client.expect_alive().await;
    assert_eq!(waiting(&emulator, "d1"), 1);
    client.send(&ClientPacket::PubAck(1)).await;
    client.expect_alive().await;
    assert_eq!(waiting(&emulator, "d1"), 0);
}

#[tokio::test]
async fn a_message_without_properties_still_names_its_address() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    listen(&mut client, DEVICEBOUND, QoS::AtMostOnce).await;

    send(&emulator, "d1", "", "").await;

    let publish = message(&mut client).await;
    assert_eq!(
        publish.topic(),
        "devices/d1/messages/devicebound/%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound"
    );
    assert_eq!((publish.qos, publish.packet_id), (QoS::AtMostOnce, 0));
    assert_eq!(waiting(&emulator, "d1"), 0, "complete when it is sent");
}

#[tokio::test]
async fn modules_have_a_topic_of_their_own_under_either_filter() {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    for (module, filter) in [
        ("d1/m1", "devices/d1/modules/m1/messages/devicebound/#"),
        ("d1/m2", "devices/d1/modules/m2/#"),
    ] {
        let mut client = Client::online(&emulator, module).await;
        listen(&mut client, filter, QoS::AtLeastOnce).await;

        send(&emulator, module, "k=v", "x").await;

        let name = module.strip_prefix("d1/").unwrap();
        assert_eq!(
            message(&mut client).await.topic(),
            format!(
                "devices/d1/modules/{name}/messages/devicebound/\
                 %24.to=%2Fdevices%2Fd1%2Fmodules%2F{name}%2Fmessages%2FdeviceBound&k=v"
            )
        );
    }
}

#[tokio::test]
async fn what_waits_is_sent_after_the_subscription_is_acknowledged() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    for body in ["1", "2", "3"] {
        send(&emulator, "d1", "", body).await;
    }
    client.expect_alive().await;

    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;

    let sent = bodies(&mut client, 3).await;
    let wanted = [("1", 1), ("2", 2), ("3", 3)];
    assert_eq!(sent, wanted.map(|(body, id)| (body.to_owned(), id, false)));
    // In any order, and one that means nothing.
    for packet_id in [3, 9, 1, 1] {
        client.send(&ClientPacket::PubAck(packet_id)).await;
    }
    client.expect_alive().await;
    assert_eq!(waiting(&emulator, "d1"), 1);
}

#[tokio::test]
async fn a_remembered_subscription_delivers_right_after_connack() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let password = token(&emulator, "d1", &key);
    let (mut client, _) = Client::enter(&emulator, connect("d1", &password)).await;
    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;
    send(&emulator, "d1", "", "held").await;
    bodies(&mut client, 1).await;
    client.send(&ClientPacket::Disconnect).await;
    client.expect_close().await;
    send(&emulator, "d1", "", "while away").await;

    let (mut client, session_present) = Client::enter(&emulator, connect("d1", &password)).await;

    assert!(session_present);
    let sent = bodies(&mut client, 2).await;
    let wanted = [("held", 1, true), ("while away", 2, false)];
    assert_eq!(
        sent,
        wanted.map(|(body, id, dup)| (body.to_owned(), id, dup))
    );
    client.send(&ClientPacket::PubAck(1)).await;
    client.send(&ClientPacket::PubAck(2)).await;
    // Subscribing again, as SDKs do, sends nothing twice.
    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;
    client.expect_alive().await;
    assert_eq!(waiting(&emulator, "d1"), 0);
}

#[tokio::test]
async fn a_clean_session_gets_what_waits_when_it_subscribes() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let clean = || Connect {
        clean_session: true,
        ..connect("d1", &token(&emulator, "d1", &key))
    };
    let (mut client, _) = Client::enter(&emulator, clean()).await;
    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;
    client.reset();
    send(&emulator, "d1", "", "1").await;

    let (mut client, session_present) = Client::enter(&emulator, clean()).await;

    assert!(!session_present);
    client.expect_alive().await;
    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;
    assert_eq!(message(&mut client).await.payload, "1");
}

#[tokio::test]
async fn a_new_connection_takes_over_what_the_old_one_held() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let password = token(&emulator, "d1", &key);
    let (mut old, _) = Client::enter(&emulator, connect("d1", &password)).await;
    listen(&mut old, DEVICEBOUND, QoS::AtLeastOnce).await;
    send(&emulator, "d1", "", "1").await;
    bodies(&mut old, 1).await;

    let (mut new, _) = Client::enter(&emulator, connect("d1", &password)).await;

    old.expect_close().await;
    assert_eq!(bodies(&mut new, 1).await, [("1".to_owned(), 1, true)]);
    new.send(&ClientPacket::PubAck(1)).await;
    new.expect_alive().await;
    assert_eq!(waiting(&emulator, "d1"), 0);
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_after_a_minute_under_the_same_packet_id() {
    let emulator = frozen_emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;
    send(&emulator, "d1", "", "1").await;
    send(&emulator, "d1", "", "2").await;
    bodies(&mut client, 2).await;
    client.send(&ClientPacket::PubAck(2)).await;
    client.expect_alive().await;

    emulator.handle().advance(Duration::from_secs(60)).await;

    assert_eq!(bodies(&mut client, 1).await, [("1".to_owned(), 1, true)]);
    client.send(&ClientPacket::PubAck(1)).await;
    client.expect_alive().await;
    assert_eq!(waiting(&emulator, "d1"), 0);
}

#[tokio::test]
async fn a_late_acknowledgement_is_ignored() {
    let emulator = frozen_emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;
    send(&emulator, "d1", "", "1").await;
    bodies(&mut client, 1).await;
    let unsubscribe = ClientPacket::Unsubscribe(iothub_protocol::mqtt::packet::Unsubscribe {
        packet_id: 2,
        filters: vec![DEVICEBOUND.into()],
    });
    client.send(&unsubscribe).await;
    assert_eq!(client.next().await, Some(ServerPacket::UnsubAck(2)));
    emulator.handle().advance(Duration::from_secs(60)).await;

    client.send(&ClientPacket::PubAck(1)).await;

    client.expect_alive().await;
    assert_eq!(waiting(&emulator, "d1"), 1);
}

#[tokio::test]
async fn a_slow_device_is_sent_no_more_than_its_window() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;
    for n in 0..50 {
        send(&emulator, "d1", "", &n.to_string()).await;
    }

    assert_eq!(bodies(&mut client, 16).await.len(), 16);
    client.expect_alive().await;
    client.send(&ClientPacket::PubAck(7)).await;
    assert_eq!(message(&mut client).await.payload, "16");
    client.expect_alive().await;

    // Everything arrives in the end, in order.
    let mut held: VecDeque<u16> = (1..=17).filter(|&id| id != 7).collect();
    let mut next = 17;
    while let Some(packet_id) = held.pop_front() {
        client.send(&ClientPacket::PubAck(packet_id)).await;
        if next < 50 {
            let publish = message(&mut client).await;
            assert_eq!(publish.payload, next.to_string());
            held.push_back(publish.packet_id);
            next += 1;
        }
    }
    client.expect_alive().await;
    assert_eq!(waiting(&emulator, "d1"), 0);
}

#[tokio::test]
async fn an_acknowledgement_before_a_goodbye_counts() {
    let emulator = emulator().await;
    let mut client = Client::online(&emulator, "d1").await;
    listen(&mut client, DEVICEBOUND, QoS::AtLeastOnce).await;
    send(&emulator, "d1", "", "1").await;
    bodies(&mut client, 1).await;

    // One write: PUBACK 1, DISCONNECT.
    client.send_bytes(&[0x40, 2, 0, 1, 0xe0, 0]).await;

    client.expect_close().await;
    assert_eq!(waiting(&emulator, "d1"), 0);
}
