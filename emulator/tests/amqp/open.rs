//! The beginning and the end of a connection (`spec/amqp.md` 2).

use std::time::Duration;

use bytes::BytesMut;
use iothub_emulator::certificates::{KeyType, Validity, self_signed};
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::connection::ClientSasl;
use iothub_protocol::amqp::frame::encode_frame;
use iothub_protocol::amqp::performative::{Open, Performative};
use iothub_protocol::amqp::sasl::SaslCode;
use iothub_protocol::amqp::{ConnectionConfig, Event};
use iothub_protocol::sas::sign;

use crate::client::{Client, NotOpen, condition_of, config, mechanism, plain};
use crate::hub::{
    HOST, device_token, emulator, events_token, frozen_emulator, in_an_hour, policy_key,
    policy_token, register, resource,
};
use crate::wire::Wire;

const AMQP: &[u8; 8] = b"AMQP\x00\x01\x00\x00";
const SASL: &[u8; 8] = b"AMQP\x03\x01\x00\x00";

/// Exactly so many bytes, or what there was at the end.
async fn bytes(wire: &mut Wire, count: usize) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    while buffer.len() < count && wire.read(&mut buffer).await > 0 {}
    buffer.truncate(count);
    buffer.to_vec()
}

#[tokio::test]
async fn a_connection_opens_without_a_security_layer_and_with_each_mechanism() {
    let emulator = emulator().await;
    for sasl in [
        ClientSasl::None,
        mechanism("ANONYMOUS", None),
        mechanism("ANONYMOUS", Some(b"\0iothubowner")),
        mechanism("MSSBCBS", None),
        plain(
            "service@sas.root.localhost",
            &policy_token(&emulator, "service"),
        ),
    ] {
        let wire = Wire::tcp(&emulator).await;

        let opened = Client::open(&emulator, wire, sasl.clone()).await;

        let (mut client, open) = opened.unwrap_or_else(|error| panic!("{sasl:?}: {error:?}"));
        assert_eq!(open.max_frame_size, 65536);
        assert_eq!(open.idle_time_out, Some(240_000));
        assert!(open.channel_max >= 255);
        client.expect_alive().await;
    }
}

#[tokio::test]
async fn mechanisms_are_offered_behind_the_same_header() {
    let emulator = emulator().await;
    let mut wire = Wire::tcp(&emulator).await;

    wire.write(SASL).await.unwrap();

    let mut answer = BytesMut::new();
    while !answer.ends_with(b"EXTERNAL") {
        assert_ne!(wire.read(&mut answer).await, 0, "{answer:?}");
    }
    assert_eq!(&answer[..8], SASL);
    let text = String::from_utf8_lossy(&answer[8..]).into_owned();
    for name in ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"] {
        assert!(text.contains(name), "{name} is not in {text:?}");
    }
}

#[tokio::test]
async fn another_header_is_answered_with_one_that_is_spoken_and_the_end() {
    let emulator = emulator().await;
    for header in [
        b"AMQP\x02\x01\x00\x00",
        b"AMQP\x00\x00\x09\x01",
        b"GET / HT",
        b"\x10\x0e\x00\x04MQTT",
    ] {
        let mut wire = Wire::tcp(&emulator).await;

        wire.write(header).await.unwrap();

        assert_eq!(bytes(&mut wire, 100).await, SASL, "{header:?}");
    }
}

#[tokio::test]
async fn a_header_in_pieces_is_read() {
    let emulator = emulator().await;
    let mut wire = Wire::tcp(&emulator).await;

    for byte in AMQP {
        wire.write(&[*byte]).await.unwrap();
    }

    assert_eq!(bytes(&mut wire, 8).await, AMQP);
}

#[tokio::test]
async fn logins_are_taken_by_name_and_token_or_by_a_policys_key() {
    let emulator = emulator().await;
    let device = register(&emulator, "d1").await;
    let module = register(&emulator, "d1/m1").await;
    let later = in_an_hour(&emulator);
    let key = policy_key("service").to_base64();
    let service = policy_token(&emulator, "service");
    let own = device_token(&emulator, "d1", &device);
    let for_device = sign(
        &resource("d1"),
        later,
        Some("device"),
        &policy_key("device"),
    );
    for (user, password) in [
        ("service@sas.root.localhost", &service),
        ("service@sas.root.somewhere-else", &service),
        ("d1@sas.localhost", &own),
        ("d1@sas.localhost", &for_device),
        (
            "d1/m1@sas.localhost",
            &device_token(&emulator, "d1/m1", &module),
        ),
        ("service", &key),
    ] {
        let wire = Wire::tcp(&emulator).await;

        let opened = Client::open(&emulator, wire, plain(user, password)).await;

        assert!(opened.is_ok(), "{user}: {:?}", opened.err());
    }
    let expired = sign(
        HOST,
        later - Duration::from_secs(2 * 3600),
        Some("service"),
        &policy_key("service"),
    );
    let events = events_token(&emulator, "service");
    for (what, user, password) in [
        ("another policy", "iothubowner@sas.root.localhost", &service),
        ("an expired token", "service@sas.root.localhost", &expired),
        ("a device's token", "service@sas.root.localhost", &own),
        ("a policy's token", "d2@sas.localhost", &service),
        ("an unknown device", "d2@sas.localhost", &own),
        (
            "a device's token for its module",
            "d1/m1@sas.localhost",
            &own,
        ),
        (
            "a policy without the permission",
            "d1@sas.localhost",
            &service,
        ),
        ("another policy's key", "device", &key),
        ("no token", "service@sas.root.localhost", &String::new()),
        ("no such device", "d 1@sas.localhost", &events),
    ] {
        let wire = Wire::tcp(&emulator).await;

        let opened = Client::open(&emulator, wire, plain(user, password)).await;

        let refused = opened.err();
        assert_eq!(refused, Some(NotOpen::Sasl(SaslCode::Auth)), "{what}");
    }
}

#[tokio::test]
async fn a_broken_login_and_an_unknown_mechanism_are_refused() {
    let emulator = emulator().await;
    for sasl in [
        mechanism("PLAIN", None),
        mechanism("PLAIN", Some(b"")),
        mechanism("PLAIN", Some(b"\0service")),
        mechanism("PLAIN", Some(b"\0\xff\0\xff")),
        // There is no certificate in the clear.
        mechanism("EXTERNAL", None),
    ] {
        let wire = Wire::tcp(&emulator).await;

        let opened = Client::open(&emulator, wire, sasl.clone()).await;

        assert_eq!(
            opened.err(),
            Some(NotOpen::Sasl(SaslCode::Auth)),
            "{sasl:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_is_taken_in_tls() {
    let emulator = emulator().await;
    let validity = Validity {
        not_before: Timestamp::from_unix_seconds(1_600_000_000),
        not_after: Timestamp::from_unix_seconds(2_500_000_000),
    };
    let issued = self_signed("d1", KeyType::P256, validity).unwrap();
    let external = || mechanism("EXTERNAL", None);

    let wire = Wire::tls_as(&emulator, &issued.chain_pem, &issued.key_pem).await;
    let with = Client::open(&emulator, wire, external()).await;
    let wire = Wire::tls(&emulator).await;
    let without = Client::open(&emulator, wire, external()).await;

    assert!(with.is_ok(), "{:?}", with.err());
    assert_eq!(without.err(), Some(NotOpen::Sasl(SaslCode::Auth)));
}

#[tokio::test]
async fn it_is_spoken_over_tls_and_over_websocket() {
    let emulator = emulator().await;
    let wires = [
        Wire::tls(&emulator).await,
        Wire::websocket(&emulator, "/$iothub/websocket?iothub-no-client-cert=true").await,
        Wire::websocket(&emulator, "/$servicebus/websocket").await,
    ];
    for wire in wires {
        let opened = Client::open(&emulator, wire, mechanism("MSSBCBS", None)).await;
        let mut client = opened.unwrap().0;

        let answer = client
            .put_token(HOST, &policy_token(&emulator, "service"))
            .await;

        assert_eq!(answer, (200, "OK".to_owned()));
    }
}

#[tokio::test]
async fn who_does_not_open_in_time_is_closed_and_who_proves_nothing_too() {
    let emulator = frozen_emulator().await;
    let mut silent = Wire::tcp(&emulator).await;
    let mut half = Wire::tcp(&emulator).await;
    half.write(SASL).await.unwrap();
    bytes(&mut half, 20).await;
    let mut open = Client::connect(&emulator).await;
    open.attach_sender("$cbs").await.unwrap();
    let mut proven = Client::service(&emulator, "service").await;

    emulator.handle().advance(Duration::from_secs(31)).await;
    assert_eq!(bytes(&mut silent, 1).await, b"");
    while half.read(&mut BytesMut::new()).await > 0 {}
    open.expect_alive().await;
    emulator.handle().advance(Duration::from_secs(31)).await;

    let error = open.expect_close().await.unwrap();
    assert_eq!(condition_of(&error), "amqp:connection:forced");
    proven.expect_alive().await;
}

#[tokio::test]
async fn a_certificate_that_nobody_is_known_by_proves_nothing() {
    let emulator = emulator().await;
    let validity = Validity {
        not_before: Timestamp::from_unix_seconds(1_600_000_000),
        not_after: Timestamp::from_unix_seconds(2_500_000_000),
    };
    let issued = self_signed("d1", KeyType::P256, validity).unwrap();
    let wire = Wire::tls_as(&emulator, &issued.chain_pem, &issued.key_pem).await;
    let opened = Client::open(&emulator, wire, mechanism("EXTERNAL", None)).await;
    let mut client = opened.unwrap().0;
    client.attach_sender("$management").await.unwrap();

    emulator.handle().advance(Duration::from_secs(61)).await;

    let error = client.expect_close().await.unwrap();
    assert_eq!(condition_of(&error), "amqp:connection:forced");
}

#[tokio::test]
async fn who_is_nobody_again_has_to_prove_something_in_time() {
    let emulator = frozen_emulator().await;
    let mut client = Client::service(&emulator, "service").await;
    for _ in 0..13 {
        emulator.handle().advance(Duration::from_secs(300)).await;
        client.expect_alive().await;
    }

    // The token's hour is over, and what clocks may differ by.
    emulator.handle().advance(Duration::from_secs(61)).await;

    let error = client.expect_close().await.unwrap();
    assert_eq!(condition_of(&error), "amqp:connection:forced");
}

#[tokio::test]
async fn a_silent_peer_is_given_up_after_twice_what_it_was_told() {
    let emulator = frozen_emulator().await;
    let mut client = Client::service(&emulator, "service").await;

    emulator.handle().advance(Duration::from_secs(470)).await;
    client.expect_alive().await;
    emulator.handle().advance(Duration::from_secs(479)).await;
    client.expect_alive().await;
    emulator.handle().advance(Duration::from_secs(481)).await;

    let error = client.expect_close().await.unwrap();
    assert_eq!(condition_of(&error), "amqp:connection:forced");
}

#[tokio::test]
async fn a_peer_that_wants_a_sign_of_life_gets_one_in_half_the_time() {
    let emulator = frozen_emulator().await;
    let mut wire = Wire::tcp(&emulator).await;
    let open = Open {
        container_id: "test".into(),
        max_frame_size: 65536,
        channel_max: 10,
        idle_time_out: Some(60_000),
        ..Open::default()
    };
    let mut out = BytesMut::from(&AMQP[..]);
    encode_frame(0, &Performative::Open(open), &[], &mut out);
    wire.write(&out).await.unwrap();
    let mut buffer = BytesMut::new();
    while buffer.len() < 8 + 20 {
        assert_ne!(wire.read(&mut buffer).await, 0, "{buffer:?}");
    }
    let size = u32::from_be_bytes(buffer[8..12].try_into().unwrap()) as usize;
    while buffer.len() < 8 + size {
        wire.read(&mut buffer).await;
    }

    emulator.handle().advance(Duration::from_secs(30)).await;

    assert_eq!(bytes(&mut wire, 8).await, b"\0\0\0\x08\x02\0\0\0");
}

#[tokio::test]
async fn a_close_is_answered_and_the_stream_ends() {
    let emulator = emulator().await;
    let mut client = Client::service(&emulator, "service").await;

    client.machine.close(None);

    assert_eq!(client.expect_close().await, None);
}

#[tokio::test]
async fn frames_of_a_session_that_has_ended_are_ignored() {
    let emulator = emulator().await;
    let mut client = Client::service(&emulator, "service").await;
    let session = client.machine.begin();
    client.round_trip().await;
    client.machine.end(session, None);
    client.write().await;

    // A detach and a flow on the channel that was just ended, which was the second.
    client
        .write_raw(b"\x00\x00\x00\x10\x02\x00\x00\x01\x00\x53\x16\xc0\x03\x02\x43\x41")
        .await;
    client.round_trip().await;

    client.expect_alive().await;
}

#[tokio::test]
async fn a_stop_closes_connections_with_a_word() {
    let emulator = emulator().await;
    let mut client = Client::service(&emulator, "service").await;

    let stopping = tokio::spawn(emulator.shutdown());

    let error = client.expect_close().await.unwrap();
    assert_eq!(condition_of(&error), "amqp:connection:forced");
    drop(client);
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_frame_larger_than_was_told_ends_the_connection() {
    let emulator = emulator().await;
    let mut client = Client::service(&emulator, "service").await;

    client.write_raw(b"\x00\x01\x00\x01\x02\x00\x00\x00").await;

    let error = client.expect_close().await.unwrap();
    assert_eq!(condition_of(&error), "amqp:connection:framing-error");
}

#[tokio::test]
async fn many_sessions_and_links_have_their_limits() {
    let emulator = emulator().await;
    let wire = Wire::tcp(&emulator).await;
    let numbers = ConnectionConfig {
        max_sessions: u16::MAX,
        max_links: 20_000,
        ..config()
    };
    let opened = Client::open_with(&emulator, wire, ClientSasl::None, numbers).await;
    let mut client = opened.unwrap().0;

    for _ in 0..200 {
        client.machine.begin();
    }
    client.round_trip().await;

    let mut begun = 0;
    while client
        .take(|event| matches!(event, Event::SessionBegun(_)).then_some(()))
        .is_some()
    {
        begun += 1;
    }
    assert!(begun >= 200, "{begun}");
}
