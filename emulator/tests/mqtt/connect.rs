//! CONNECT and its answers, byte by byte (`spec/device.md` 2).

use std::time::Duration;

use crate::client::{
    Client, connect, emulator, frozen_emulator, noon, register, resource, subscribe, token,
};
use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_hub::Principal;
use iothub_protocol::ClientId;
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, QoS, ServerPacket, SubAckCode, Will,
};
use iothub_protocol::sas::{SymmetricKey, sign};

/// What a CONNECT is answered with.
async fn answer(emulator: &Emulator, connect: Connect) -> ConnAckCode {
    let mut client = Client::dial(emulator).await;
    client.send(&ClientPacket::Connect(connect)).await;
    let Some(ServerPacket::ConnAck {
        session_present,
        code,
    }) = client.next().await
    else {
        panic!("no CONNACK");
    };
    if code != ConnAckCode::Accepted {
        assert!(!session_present, "a refusal has no session");
        client.expect_close().await;
    }
    code
}

#[tokio::test]
async fn a_good_token_is_let_in_and_every_wrong_one_is_not_authorized() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let other_key = register(&emulator, "d2").await;
    register(&emulator, "d1/m1").await;
    let good = token(&emulator, "d1", &key);
    let expired = sign(
        &resource("d1"),
        noon() - Duration::from_secs(1_000_000_000),
        None,
        &key,
    );
    let far = noon() + Duration::from_secs(1_000_000_000);

    assert_eq!(
        answer(&emulator, connect("d1", &good)).await,
        ConnAckCode::Accepted
    );
    for (what, client, password) in [
        ("expired", "d1", expired),
        (
            "another device's key",
            "d1",
            sign(&resource("d1"), far, None, &other_key),
        ),
        (
            "another device's token",
            "d1",
            sign(&resource("d2"), far, None, &other_key),
        ),
        (
            "a token with a changed signature",
            "d1",
            good.replace("sig=", "sig=A"),
        ),
        (
            "another host",
            "d1",
            sign("otherhub/devices/d1", far, None, &key),
        ),
        (
            "an unknown device",
            "d3",
            sign(&resource("d3"), far, None, &key),
        ),
        (
            "an unknown module",
            "d1/m2",
            sign(&resource("d1/m2"), far, None, &key),
        ),
        (
            "a device's key for its module",
            "d1/m1",
            sign(&resource("d1/m1"), far, None, &key),
        ),
        (
            "an unknown policy",
            "d1",
            sign(&resource("d1"), far, Some("nobody"), &key),
        ),
        ("no token", "d1", "password".into()),
        ("an empty password", "d1", String::new()),
    ] {
        let code = answer(&emulator, connect(client, &password)).await;
        assert_eq!(code, ConnAckCode::NotAuthorized, "{what}");
    }
}

#[tokio::test]
async fn user_name_and_client_id_have_to_agree() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let good = token(&emulator, "d1", &key);
    let with = |username: Option<&str>, client_id: &str| Connect {
        username: username.map(str::to_owned),
        client_id: client_id.into(),
        password: username.map(|_| good.clone().into()),
        ..connect("d1", &good)
    };

    for (username, client_id, wanted) in [
        (
            Some("LOCALHOST/d1/?api-version=2021-04-12"),
            "d1",
            ConnAckCode::Accepted,
        ),
        (
            Some("localhost/d1/api-version=2016-11-14"),
            "d1",
            ConnAckCode::Accepted,
        ),
        (Some("localhost/d1"), "d1", ConnAckCode::Accepted),
        (
            Some("localhost/d1/?api-version=2021-04-12"),
            "d2",
            ConnAckCode::NotAuthorized,
        ),
        (
            Some("localhost/D1/?api-version=2021-04-12"),
            "d1",
            ConnAckCode::NotAuthorized,
        ),
        (
            Some("otherhub/d1/?api-version=2021-04-12"),
            "d1",
            ConnAckCode::NotAuthorized,
        ),
        (Some("localhost"), "d1", ConnAckCode::NotAuthorized),
        (Some(""), "d1", ConnAckCode::NotAuthorized),
        (None, "d1", ConnAckCode::NotAuthorized),
    ] {
        let code = answer(&emulator, with(username, client_id)).await;
        assert_eq!(code, wanted, "{username:?} {client_id}");
    }
}

#[tokio::test]
async fn policies_let_devices_in_only_with_device_connect() {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    let policies = iothub_emulator::Config::default().all_policies();
    let far = noon() + Duration::from_secs(1_000_000_000);

    for (policy, sr, wanted) in [
        ("device", "localhost/devices/d1", ConnAckCode::Accepted),
        ("device", "localhost/devices", ConnAckCode::Accepted),
        ("iothubowner", "localhost", ConnAckCode::Accepted),
        ("service", "localhost", ConnAckCode::NotAuthorized),
        ("registryReadWrite", "localhost", ConnAckCode::NotAuthorized),
        ("device", "localhost/devices/d2", ConnAckCode::NotAuthorized),
    ] {
        let key: &SymmetricKey = &policies.iter().find(|p| p.name == policy).unwrap().primary;
        let token = sign(sr, far, Some(policy), key);
        assert_eq!(
            answer(&emulator, connect("d1", &token)).await,
            wanted,
            "{policy} {sr}"
        );
    }
}

#[tokio::test]
async fn other_protocol_levels_are_refused_in_their_own_words() {
    let emulator = emulator().await;

    let mut level3 = Client::dial(&emulator).await;
    level3
        .send_bytes(b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x02d1")
        .await;
    assert_eq!(level3.bytes(8).await, [0x20, 0x02, 0x00, 0x01]);

    let mut level5 = Client::dial(&emulator).await;
    level5
        .send_bytes(b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02d1")
        .await;
    assert_eq!(level5.bytes(8).await, [0x20, 0x03, 0x00, 0x84, 0x00]);
}

#[tokio::test]
async fn what_is_no_connect_is_closed_without_an_answer() {
    let emulator = emulator().await;

    for bytes in [
        &b"\xc0\x00"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\xff\x01",
        b"\x10\xff\xff\xff\x7f",
        b"\x30\x03\x00\x01a",
        b"\x00\x00",
    ] {
        let mut client = Client::dial(&emulator).await;
        client.send_bytes(bytes).await;
        client.expect_close().await;
    }
}

#[tokio::test]
async fn packets_sent_before_the_connack_are_served_after_it() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let mut client = Client::dial(&emulator).await;
    let mut bytes = bytes::BytesMut::new();
    let connect = ClientPacket::Connect(connect("d1", &token(&emulator, "d1", &key)));
    for packet in [
        &connect,
        &subscribe(1, &[("$iothub/methods/POST/#", QoS::AtLeastOnce)]),
        &ClientPacket::PingReq,
    ] {
        iothub_protocol::mqtt::codec::encode_client(packet, &mut bytes);
    }

    client.send_bytes(&bytes).await;

    let code = ConnAckCode::Accepted;
    let codes = vec![SubAckCode::Granted(QoS::AtLeastOnce)];
    assert_eq!(
        client.next().await,
        Some(ServerPacket::ConnAck {
            session_present: false,
            code
        })
    );
    assert_eq!(
        client.next().await,
        Some(ServerPacket::SubAck {
            packet_id: 1,
            codes
        })
    );
    assert_eq!(client.next().await, Some(ServerPacket::PingResp));
}

#[tokio::test]
async fn a_persistent_session_is_present_until_a_clean_one_deletes_it() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let persistent = || connect("d1", &token(&emulator, "d1", &key));
    let clean = || Connect {
        clean_session: true,
        ..persistent()
    };

    assert!(!Client::enter(&emulator, persistent()).await.1);
    assert!(Client::enter(&emulator, persistent()).await.1);
    assert!(!Client::enter(&emulator, clean()).await.1);
    assert!(!Client::enter(&emulator, persistent()).await.1);
}

#[tokio::test]
async fn the_newer_connection_of_a_client_wins() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let (mut old, _) = Client::enter(&emulator, connect("d1", &token(&emulator, "d1", &key))).await;

    let (mut new, _) = Client::enter(&emulator, connect("d1", &token(&emulator, "d1", &key))).await;

    old.expect_close().await;
    new.expect_alive().await;
}

#[tokio::test]
async fn a_second_connect_ends_the_connection() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let again = connect("d1", &token(&emulator, "d1", &key));
    let (mut client, _) = Client::enter(&emulator, again.clone()).await;

    client.send(&ClientPacket::Connect(again)).await;

    client.expect_close().await;
}

#[tokio::test]
async fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    let emulator = frozen_emulator().await;
    let mut client = Client::online(&emulator, "d1").await;

    emulator.handle().advance(Duration::from_secs(89)).await;
    client.expect_alive().await;
    emulator.handle().advance(Duration::from_secs(91)).await;

    client.expect_close().await;
}

#[tokio::test]
async fn without_a_connect_a_connection_ends_after_thirty_seconds() {
    let emulator = frozen_emulator().await;
    let mut silent = Client::dial(&emulator).await;
    // Whoever is answered has been accepted, and the silent one was accepted before.
    Client::online(&emulator, "d1").await.expect_alive().await;

    emulator.handle().advance(Duration::from_secs(31)).await;

    silent.expect_close().await;
}

#[tokio::test]
async fn a_live_connection_outlives_its_token_by_ten_minutes() {
    let emulator = frozen_emulator().await;
    let key = register(&emulator, "d1").await;
    let token = sign(
        &resource("d1"),
        noon() + Duration::from_secs(60),
        None,
        &key,
    );
    let connect = Connect {
        keep_alive: 0,
        ..connect("d1", &token)
    };
    let (mut client, _) = Client::enter(&emulator, connect).await;

    emulator.handle().advance(Duration::from_secs(659)).await;
    client.expect_alive().await;
    emulator.handle().advance(Duration::from_secs(2)).await;

    client.expect_close().await;
}

#[tokio::test]
async fn a_token_that_is_made_to_expire_ends_the_connection() {
    let emulator = frozen_emulator().await;
    let mut expiring = Client::online(&emulator, "d1").await;
    let mut other = Client::online(&emulator, "d2").await;

    let expired = emulator
        .handle()
        .call(OperationKind::Control.hub_wide(), |hub, cx| {
            let client = ClientId::parse("d1").unwrap();
            hub.expire_token(cx, &Principal::operator(), &client)
        });
    expired.await.unwrap();

    expiring.expect_close().await;
    other.expect_alive().await;
}

#[tokio::test]
async fn a_will_has_to_be_the_clients_own_telemetry() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let with_will = |topic: &str| Connect {
        will: Some(Will {
            topic: topic.into(),
            payload: "gone".into(),
            qos: QoS::AtLeastOnce,
            retain: false,
        }),
        ..connect("d1", &token(&emulator, "d1", &key))
    };

    let good = answer(&emulator, with_will("devices/d1/messages/events/a=b")).await;
    let foreign = answer(&emulator, with_will("devices/d2/messages/events/")).await;

    assert_eq!(good, ConnAckCode::Accepted);
    assert_eq!(foreign, ConnAckCode::NotAuthorized);
}
