//! Bad input ends its own connection, and nothing else.

use bytes::BytesMut;
use iothub_protocol::mqtt::codec::encode_client;
use iothub_protocol::mqtt::packet::{ClientPacket, ConnAckCode, Publish, QoS, ServerPacket};
use iothub_testkit::TestHub;

use crate::support::{assert_reachable, http_raw, listening};

const PUBLISH_QOS_1: u8 = 0x32;

#[tokio::test]
async fn malformed_packets_end_their_connection_alone() {
    let hub = TestHub::start().await;
    let mut bystander = listening(&hub, "bystander").await;

    for bytes in [
        // Types that do not exist or that a client does not send.
        &[0x00, 0x00][..],
        &[0xf0, 0x00],
        &[0x20, 0x02, 0x00, 0x00],
        &[0x90, 0x03, 0x00, 0x01, 0x00],
        &[0xd0, 0x00],
        // Wrong flags.
        &[0xc1, 0x00],
        &[0xe1, 0x00],
        &[0x80, 0x06, 0x00, 0x01, 0x00, 0x01, b'x', 0x00],
        // A length of five bytes.
        &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
        // Larger than any message, said so before it is sent.
        &[0x30, 0xff, 0xff, 0xff, 0x7f],
        // A topic longer than its packet, an empty one, one that is no text, one with U+0000.
        &[0x30, 0x03, 0x00, 0xff, b'x'],
        &[0x30, 0x02, 0x00, 0x00],
        &[0x30, 0x04, 0x00, 0x02, 0xc3, 0x28],
        &[0x30, 0x03, 0x00, 0x01, 0x00],
        // Packet id 0; QoS 3; QoS 2; a second CONNECT; bytes after the end.
        &[PUBLISH_QOS_1, 0x05, 0x00, 0x01, b'x', 0x00, 0x00],
        &[0x36, 0x05, 0x00, 0x01, b'x', 0x00, 0x01],
        &[0x34, 0x05, 0x00, 0x01, b'x', 0x00, 0x01],
        &[
            0x10, 0x0c, 0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, 0x02, 0x00, 0x3c, 0x00, 0x00,
        ],
        &[0xc0, 0x01, 0x00],
        // A SUBSCRIBE and an UNSUBSCRIBE of nothing.
        &[0x82, 0x02, 0x00, 0x01],
        &[0xa2, 0x02, 0x00, 0x01],
        // The QoS 2 handshake.
        &[0x62, 0x02, 0x00, 0x01],
    ] {
        let mut device = hub.scripted_device("d1").await;
        device.send_bytes(bytes).await;
        device.expect_closed().await;
        bystander.expect_nothing().await;
    }
    assert_reachable(&hub, &mut bystander).await;
}

#[tokio::test]
async fn first_packet_has_to_be_a_connect() {
    let hub = TestHub::start().await;
    let mut bystander = listening(&hub, "bystander").await;

    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        // A TLS hello on the plain port.
        &[0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0x00, 0x00, 0x01, 0x03],
        &[0xc0, 0x00],
        &[0x30, 0x05, 0x00, 0x01, b'x', b'1', b'2'],
        &[0x10, 0xff, 0xff, 0xff, 0x7f],
        &[0x10, 0x00],
        &[0x10, 0x04, 0x00, 0x04, b'M', b'Q'],
        &[0xff; 64],
        &[0x00; 64],
    ] {
        let mut peer = hub.dial().await;
        peer.send_bytes(bytes).await;
        peer.expect_closed().await;
    }
    assert_reachable(&hub, &mut bystander).await;
}

#[tokio::test]
async fn other_versions_of_mqtt_are_told_so() {
    let hub = TestHub::start().await;
    let mut connect = hub.connect_packet("d1").await;
    connect.level = 3;
    let (_, code) = hub.dial().await.try_connect(connect).await;
    assert_eq!(code, ConnAckCode::UnacceptableProtocolVersion);
}

#[tokio::test]
async fn truncated_packet_harms_nobody() {
    let hub = TestHub::start().await;
    let mut bystander = listening(&hub, "bystander").await;
    let connect = hub.connect_packet("d1").await;
    let mut bytes = BytesMut::new();
    encode_client(&ClientPacket::Connect(connect), &mut bytes);

    for end in [1, 2, 3, 10, 20, bytes.len() - 1] {
        let mut peer = hub.dial().await;
        peer.send_bytes(&bytes[..end]).await;
        drop(peer);
    }
    // Cut within a PUBLISH: what was whole before it counts, the rest does not.
    let mut device = hub.scripted_device("d1").await;
    let publish = publish("devices/d1/messages/events/", "whole");
    let mut bytes = BytesMut::new();
    encode_client(&ClientPacket::Publish(publish), &mut bytes);
    device.send_bytes(&bytes).await;
    device.send_bytes(&bytes[..bytes.len() - 2]).await;
    drop(device);
    hub.wait_until_disconnected("d1").await;

    assert_eq!(hub.telemetry_from("d1").so_far().len(), 1);
    assert_reachable(&hub, &mut bystander).await;
}

#[tokio::test]
async fn packets_arrive_whole_however_they_are_cut() {
    let hub = TestHub::start().await;
    let mut bytes = BytesMut::new();
    encode_client(
        &ClientPacket::Connect(hub.connect_packet("d1").await),
        &mut bytes,
    );
    for n in 0..3 {
        let publish = publish("devices/d1/messages/events/", &n.to_string());
        encode_client(&ClientPacket::Publish(publish), &mut bytes);
    }

    let mut device = hub.dial().await;
    for byte in &bytes {
        device.send_bytes(&[*byte]).await;
    }

    let code = ConnAckCode::Accepted;
    assert_eq!(
        device.receive().await,
        ServerPacket::ConnAck {
            session_present: false,
            code
        }
    );
    device.expect_nothing().await;
    let bodies: Vec<_> = hub
        .telemetry_from("d1")
        .so_far()
        .iter()
        .map(|event| event.body().to_vec())
        .collect();
    assert_eq!(bodies, [b"0", b"1", b"2"]);
}

#[tokio::test]
async fn message_over_the_limit_is_refused_and_one_at_the_limit_taken() {
    const LIMIT: usize = 256 * 1024;
    let hub = TestHub::start().await;
    let mut bystander = listening(&hub, "bystander").await;
    let mut device = hub.scripted_device("d1").await;

    device.send_telemetry("d1", "", vec![b'x'; LIMIT]).await;
    device
        .publish("devices/d1/messages/events/", vec![b'x'; LIMIT + 1])
        .await;

    device.expect_closed().await;
    assert_eq!(hub.telemetry_from("d1").so_far().len(), 1);
    assert_reachable(&hub, &mut bystander).await;
}

#[tokio::test]
async fn rubbish_on_the_http_port_is_answered_or_closed() {
    let hub = TestHub::start().await;
    let mut bystander = listening(&hub, "bystander").await;

    for request in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /twins/bystander/methods HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET /devices?api-version=%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /devices/%2e%2e%2f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        let answer = http_raw(&hub, request).await;
        let head = String::from_utf8_lossy(&answer).into_owned();
        assert!(head.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
    }
    assert_reachable(&hub, &mut bystander).await;
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
