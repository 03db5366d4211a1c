//! What a connection may do when the emulator is lenient, and may not when it is strict
//! (`spec/device.md` 2.4, 2.7, 2.8).

use iothub_emulator::activity::OperationKind;
use iothub_emulator::{Config, Emulator, Setting};
use iothub_hub::Principal;
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, QoS, ServerPacket, SubAckCode, Will,
};
use iothub_protocol::registry::{IdentitySpec, IfMatch};
use iothub_protocol::{ClientId, DeviceId};
use serde_json::json;

use crate::client::{Client, connect, publish, register, subscribe, token};

async fn emulator_with(settings: &[&str]) -> Emulator {
    let mut config = Config::default();
    for setting in settings {
        Setting::set(&mut config, setting).unwrap();
    }
    Emulator::start(config).await.unwrap()
}

async fn lenient() -> Emulator {
    let mut config = Config::default();
    Setting::set_lenient(&mut config);
    Emulator::start(config).await.unwrap()
}

const UNKNOWN_TOPICS: [&str; 3] = [
    "somewhere/else",
    "$iothub/twin/POST/x",
    "devices/d1/messages/unheard-of",
];
const SIX: [(&str, QoS); 6] = [
    ("$iothub/methods/POST/#", QoS::AtMostOnce),
    ("$iothub/twin/res/#", QoS::AtMostOnce),
    ("$iothub/twin/PATCH/properties/desired/#", QoS::AtMostOnce),
    ("devices/d1/messages/devicebound/#", QoS::AtMostOnce),
    ("$iothub/twin/res/#", QoS::AtMostOnce),
    ("$iothub/methods/POST/#", QoS::AtMostOnce),
];

fn foreign_will(connect: Connect) -> Connect {
    Connect {
        will: Some(Will {
            topic: "devices/d2/messages/events/".into(),
            payload: "gone".into(),
            qos: QoS::AtLeastOnce,
            retain: false,
        }),
        ..connect
    }
}

#[tokio::test]
async fn a_lenient_emulator_drops_what_it_does_not_know_and_goes_on() {
    let emulator = lenient().await;
    let mut client = Client::online(&emulator, "d1").await;

    for topic in UNKNOWN_TOPICS {
        client
            .send(&publish(topic, QoS::AtLeastOnce, 9, b"x"))
            .await;
        assert_eq!(
            client.next().await,
            Some(ServerPacket::PubAck(9)),
            "{topic}"
        );
    }
    client
        .send(&subscribe(1, &[("nowhere/#", QoS::AtLeastOnce), SIX[0]]))
        .await;

    let codes = vec![SubAckCode::Failure, SubAckCode::Granted(QoS::AtMostOnce)];
    let packet_id = 1;
    assert_eq!(
        client.next().await,
        Some(ServerPacket::SubAck { packet_id, codes })
    );
    client.send(&subscribe(2, &SIX)).await;
    match client.next().await {
        Some(ServerPacket::SubAck { codes, .. }) => assert_eq!(codes.len(), 6),
        other => panic!("{other:?}"),
    }
    client.expect_alive().await;
    let heads = emulator.handle().event_bounds();
    assert!(heads.iter().all(|(_, next)| *next == 0), "{heads:?}");
}

#[tokio::test]
async fn a_lenient_emulator_still_ends_who_speaks_for_others() {
    let emulator = lenient().await;
    register(&emulator, "d2").await;
    let mut client = Client::online(&emulator, "d1").await;

    client
        .send(&publish(
            "devices/d2/messages/events/",
            QoS::AtLeastOnce,
            1,
            b"x",
        ))
        .await;

    client.expect_close().await;
}

#[tokio::test]
async fn a_lenient_emulator_lets_a_client_in_without_its_foreign_will() {
    let emulator = lenient().await;
    let key = register(&emulator, "d1").await;
    let connect = foreign_will(connect("d1", &token(&emulator, "d1", &key)));

    let (mut client, _) = Client::enter(&emulator, connect).await;

    client.expect_alive().await;
}

#[tokio::test]
async fn a_strict_emulator_closes_for_each_of_them() {
    let emulator = emulator_with(&[]).await;
    let key = register(&emulator, "d1").await;
    let connect = connect("d1", &token(&emulator, "d1", &key));
    let unknown = UNKNOWN_TOPICS.map(|topic| publish(topic, QoS::AtLeastOnce, 1, b"x"));
    let subscribes = [
        subscribe(1, &[("nowhere/#", QoS::AtLeastOnce)]),
        subscribe(1, &SIX),
    ];
    for packet in unknown.iter().chain(&subscribes) {
        let (mut client, _) = Client::enter(&emulator, connect.clone()).await;
        client.send(packet).await;
        client.expect_close().await;
    }

    let mut client = Client::dial(&emulator).await;
    client
        .send(&ClientPacket::Connect(foreign_will(connect)))
        .await;
    let code = ConnAckCode::NotAuthorized;
    let session_present = false;
    assert_eq!(
        client.next().await,
        Some(ServerPacket::ConnAck {
            session_present,
            code
        })
    );
}

#[tokio::test]
async fn each_choice_stands_alone() {
    let emulator = emulator_with(&["unknown_topic=drop", "topic_filters=any"]).await;
    let mut client = Client::online(&emulator, "d1").await;

    client
        .send(&publish("nowhere", QoS::AtMostOnce, 0, b"x"))
        .await;
    client.send(&subscribe(2, &SIX)).await;
    assert!(client.next().await.is_some());
    client
        .send(&subscribe(3, &[("nowhere/#", QoS::AtMostOnce)]))
        .await;

    client.expect_close().await;
}

#[tokio::test]
async fn a_disabled_device_is_refused_with_the_chosen_code() {
    for (setting, wanted) in [
        ("disabled_connack=5", ConnAckCode::NotAuthorized),
        ("disabled_connack=3", ConnAckCode::ServerUnavailable),
    ] {
        let emulator = emulator_with(&[setting]).await;
        let key = register(&emulator, "d1").await;
        let token = token(&emulator, "d1", &key);
        disable(&emulator, "d1", &key.to_base64()).await;

        let mut client = Client::dial(&emulator).await;
        client
            .send(&ClientPacket::Connect(connect("d1", &token)))
            .await;

        match client.next().await {
            Some(ServerPacket::ConnAck { code, .. }) => assert_eq!(code, wanted, "{setting}"),
            other => panic!("{other:?}"),
        }
    }
}

async fn disable(emulator: &Emulator, id: &str, key: &str) {
    let device = DeviceId::parse(id).unwrap();
    let client = ClientId::device(device.clone());
    let keys = json!({"primaryKey": key, "secondaryKey": key});
    let spec =
        json!({"status": "disabled", "authentication": {"type": "sas", "symmetricKey": keys}});
    let spec = IdentitySpec::from_value(&spec).unwrap();
    emulator
        .handle()
        .call(OperationKind::PutDevice.on(&client), |hub, cx| {
            let operator = Principal::operator();
            hub.put_device(cx, &operator, &device, spec, &IfMatch::Any)
        })
        .await
        .unwrap();
}
