//! Literal bytes of MQTT packets: what clients of IoT Hub send, what the hub answers, and what is
//! refused. Texts are those of `spec/device.md` 2 and 4.

use bytes::{Bytes, BytesMut};
use iothub_protocol::mqtt::codec::{
    DecodeError, decode_client, decode_server, encode_client, encode_publish, encode_server,
};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, SubAckCode, Subscribe,
    Unsubscribe, Will,
};

const LIMIT: usize = 300_000;

fn client(bytes: &[u8]) -> Result<Option<ClientPacket>, DecodeError> {
    decode_client(&mut BytesMut::from(bytes), LIMIT)
}

fn server(bytes: &[u8]) -> Result<Option<ServerPacket>, DecodeError> {
    decode_server(&mut BytesMut::from(bytes), LIMIT)
}

/// Both directions of a client's packet.
fn check_client(bytes: &[u8], packet: &ClientPacket) {
    assert_eq!(client(bytes), Ok(Some(packet.clone())));
    let mut out = BytesMut::new();
    encode_client(packet, &mut out);
    assert_eq!(out, bytes);
}

/// Both directions of a server's packet.
fn check_server(bytes: &[u8], packet: &ServerPacket) {
    assert_eq!(server(bytes), Ok(Some(packet.clone())));
    let mut out = BytesMut::new();
    encode_server(packet, &mut out);
    assert_eq!(out, bytes);
}

/// The bytes are refused as malformed, whole.
fn check_refused(case: &str, bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);

    let result = decode_client(&mut buffer, LIMIT);

    assert!(
        matches!(result, Err(DecodeError::Malformed(_))),
        "{case}: {result:?}"
    );
    assert_eq!(buffer, bytes, "{case}: a refused packet is not consumed");
}

/// A CONNECT from its variable header and payload.
fn connect_bytes(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x10, u8::try_from(body.len()).expect("a short body")];
    bytes.extend_from_slice(body);
    bytes
}

fn publish(topic: &'static str, qos: QoS, packet_id: u16, payload: &'static str) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: Bytes::from_static(topic.as_bytes()),
        packet_id,
        payload: Bytes::from_static(payload.as_bytes()),
    }
}

#[test]
fn a_device_connects_with_user_name_and_token() {
    // Flags 0xC0, keep-alive 60: the Python SDK.
    let mut bytes = b"\x10\x5d\0\x04MQTT\x04\xc0\0\x3c\0\x04dev1".to_vec();
    bytes.extend_from_slice(b"\0\x34myhub.azure-devices.net/dev1/?api-version=2019-10-01");
    bytes.extend_from_slice(b"\0\x15SharedAccessSignature");
    check_client(
        &bytes,
        &ClientPacket::Connect(Connect {
            level: 4,
            clean_session: false,
            keep_alive: 60,
            client_id: "dev1".into(),
            username: Some("myhub.azure-devices.net/dev1/?api-version=2019-10-01".into()),
            password: Some(Bytes::from_static(b"SharedAccessSignature")),
            will: None,
        }),
    );
}

#[test]
fn a_connect_may_carry_a_will_and_a_password_of_any_bytes() {
    check_client(
        b"\x10\x1e\0\x04MQTT\x04\xee\0\0\0\x01d\0\x03d/e\0\x02\xff\0\0\x01u\0\x03\0\xfe\xff",
        &ClientPacket::Connect(Connect {
            level: 4,
            clean_session: true,
            keep_alive: 0,
            client_id: "d".into(),
            username: Some("u".into()),
            password: Some(Bytes::from_static(b"\0\xfe\xff")),
            will: Some(Will {
                topic: "d/e".into(),
                payload: Bytes::from_static(b"\xff\0"),
                qos: QoS::AtLeastOnce,
                retain: true,
            }),
        }),
    );
}

#[test]
fn an_x509_device_connects_without_a_password() {
    check_client(
        b"\x10\x10\0\x04MQTT\x04\x80\0\xf0\0\x01d\0\x01u",
        &ClientPacket::Connect(Connect {
            level: 4,
            clean_session: false,
            keep_alive: 240,
            client_id: "d".into(),
            username: Some("u".into()),
            password: None,
            will: None,
        }),
    );
}

#[test]
fn telemetry_is_published_at_both_levels() {
    check_client(
        b"\x32\x31\0\x2bdevices/dev1/messages/events/%24.mid=m1&a=b\0\x01{}",
        &ClientPacket::Publish(publish(
            "devices/dev1/messages/events/%24.mid=m1&a=b",
            QoS::AtLeastOnce,
            1,
            "{}",
        )),
    );
}

#[test]
fn small_packets_have_their_bytes() {
    check_client(b"\xc0\0", &ClientPacket::PingReq);
    check_client(b"\xe0\0", &ClientPacket::Disconnect);
    check_client(b"\x40\x02\x01\x02", &ClientPacket::PubAck(0x0102));
    check_client(
        b"\x82\x0e\0\x07\0\x03a/#\x01\0\x03b/+\0",
        &ClientPacket::Subscribe(Subscribe {
            packet_id: 7,
            filters: vec![
                ("a/#".into(), QoS::AtLeastOnce),
                ("b/+".into(), QoS::AtMostOnce),
            ],
        }),
    );
    check_client(
        b"\xa2\x07\0\x08\0\x03a/#",
        &ClientPacket::Unsubscribe(Unsubscribe {
            packet_id: 8,
            filters: vec!["a/#".into()],
        }),
    );
    for bytes in [b"\x50\x02\0\x01", b"\x62\x02\0\x01", b"\x70\x02\0\x01"] {
        assert_eq!(client(bytes), Ok(Some(ClientPacket::QoS2Handshake)));
    }
}

#[test]
fn answers_of_the_server_have_their_bytes() {
    let accepted = ServerPacket::ConnAck {
        session_present: true,
        code: ConnAckCode::Accepted,
    };
    let refused = ServerPacket::ConnAck {
        session_present: false,
        code: ConnAckCode::NotAuthorized,
    };
    check_server(b"\x20\x02\x01\0", &accepted);
    check_server(b"\x20\x02\0\x05", &refused);
    check_server(b"\x40\x02\0\x09", &ServerPacket::PubAck(9));
    check_server(b"\xb0\x02\0\x09", &ServerPacket::UnsubAck(9));
    check_server(b"\xd0\0", &ServerPacket::PingResp);
    check_server(
        b"\x90\x05\0\x09\0\x01\x80",
        &ServerPacket::SubAck {
            packet_id: 9,
            codes: vec![
                SubAckCode::Granted(QoS::AtMostOnce),
                SubAckCode::Granted(QoS::AtLeastOnce),
                SubAckCode::Failure,
            ],
        },
    );
    check_server(
        b"\x30\x23\0\x21$iothub/methods/POST/Stop/?$rid=1",
        &ServerPacket::Publish(publish(
            "$iothub/methods/POST/Stop/?$rid=1",
            QoS::AtMostOnce,
            0,
            "",
        )),
    );
}

#[test]
fn other_protocol_versions_are_named() {
    for (bytes, name, level) in [
        (
            connect_bytes(b"\0\x06MQIsdp\x03\x02\0\x3c\0\x01d"),
            "MQIsdp",
            3,
        ),
        // MQTT 5: a property length follows the keep-alive; it is not looked at.
        (
            connect_bytes(b"\0\x04MQTT\x05\x02\0\x3c\0\0\x01d"),
            "MQTT",
            5,
        ),
        (
            connect_bytes(b"\0\x04MQTT\x84\x02\0\x3c\0\x01d"),
            "MQTT",
            0x84,
        ),
        (connect_bytes(b"\0\x04mqtt\x04\x02\0\x3c\0\x01d"), "mqtt", 4),
        (
            connect_bytes(b"\0\x06MQIsdp\x04\x02\0\x3c\0\x01d"),
            "MQIsdp",
            4,
        ),
    ] {
        let expected = DecodeError::UnsupportedProtocol {
            name: name.into(),
            level,
        };
        assert_eq!(client(&bytes), Err(expected));
    }
}

#[test]
fn malformed_connects_are_refused() {
    for (case, body) in [
        ("empty", b"".as_slice()),
        ("no level", b"\0\x04MQTT"),
        ("no flags", b"\0\x04MQTT\x04"),
        ("no keep-alive", b"\0\x04MQTT\x04\x02\0"),
        ("no client id", b"\0\x04MQTT\x04\x02\0\0"),
        ("reserved flag", b"\0\x04MQTT\x04\x03\0\0\0\x01d"),
        ("will qos without will", b"\0\x04MQTT\x04\x0a\0\0\0\x01d"),
        ("will retain without will", b"\0\x04MQTT\x04\x22\0\0\0\x01d"),
        ("will qos 3", b"\0\x04MQTT\x04\x1e\0\0\0\x01d\0\x01t\0\0"),
        ("will without topic", b"\0\x04MQTT\x04\x06\0\0\0\x01d"),
        (
            "will with empty topic",
            b"\0\x04MQTT\x04\x06\0\0\0\x01d\0\0\0\0",
        ),
        (
            "password without user name",
            b"\0\x04MQTT\x04\x42\0\0\0\x01d\0\x01p",
        ),
        ("user name missing", b"\0\x04MQTT\x04\x82\0\0\0\x01d"),
        ("password missing", b"\0\x04MQTT\x04\xc2\0\0\0\x01d\0\x01u"),
        (
            "user name not announced",
            b"\0\x04MQTT\x04\x02\0\0\0\x01d\0\x01u",
        ),
        ("client id with NUL", b"\0\x04MQTT\x04\x02\0\0\0\x01\0"),
        ("client id not UTF-8", b"\0\x04MQTT\x04\x02\0\0\0\x01\xff"),
        (
            "client id with a surrogate",
            b"\0\x04MQTT\x04\x02\0\0\0\x03\xed\xa0\x80",
        ),
        (
            "user name with NUL",
            b"\0\x04MQTT\x04\x82\0\0\0\x01d\0\x02u\0",
        ),
        ("client id over the end", b"\0\x04MQTT\x04\x02\0\0\0\x09d"),
    ] {
        check_refused(case, &connect_bytes(body));
    }
}

#[test]
fn malformed_packets_are_refused() {
    for (case, bytes) in [
        ("type 0", b"\0\0".as_slice()),
        ("type 15", b"\xf0\0"),
        ("CONNACK from a client", b"\x20\x02\0\0"),
        ("SUBACK from a client", b"\x90\x03\0\x01\0"),
        ("CONNECT flags", b"\x11\0"),
        ("PUBACK flags", b"\x42\x02\0\x01"),
        ("PUBREL flags", b"\x60\x02\0\x01"),
        ("SUBSCRIBE flags", b"\x80\x06\0\x01\0\x01a\0"),
        ("UNSUBSCRIBE flags", b"\xa0\x05\0\x01\0\x01a"),
        ("PINGREQ flags", b"\xc1\0"),
        ("DISCONNECT flags", b"\xe8\0"),
        ("PINGREQ with a body", b"\xc0\x01\0"),
        ("DISCONNECT with a body", b"\xe0\x01\0"),
        ("PUBACK 0", b"\x40\x02\0\0"),
        ("PUBACK too long", b"\x40\x03\0\x01\0"),
        ("PUBACK too short", b"\x40\x01\0"),
        ("PUBREC 0", b"\x50\x02\0\0"),
        ("PUBLISH QoS 3", b"\x36\x05\0\x01a\0\x01"),
        ("PUBLISH DUP at QoS 0", b"\x38\x03\0\x01a"),
        ("PUBLISH id 0", b"\x32\x05\0\x01a\0\0"),
        ("PUBLISH without id", b"\x32\x03\0\x01a"),
        ("PUBLISH empty topic", b"\x30\x02\0\0"),
        ("PUBLISH no topic", b"\x30\0"),
        ("PUBLISH topic with NUL", b"\x30\x04\0\x02a\0"),
        ("PUBLISH topic not UTF-8", b"\x30\x03\0\x01\x80"),
        ("PUBLISH topic over the end", b"\x30\x03\0\x02a"),
        ("SUBSCRIBE id 0", b"\x82\x06\0\0\0\x01a\0"),
        ("SUBSCRIBE without filters", b"\x82\x02\0\x01"),
        ("SUBSCRIBE empty filter", b"\x82\x05\0\x01\0\0\0"),
        ("SUBSCRIBE QoS 3", b"\x82\x06\0\x01\0\x01a\x03"),
        ("SUBSCRIBE reserved bits", b"\x82\x06\0\x01\0\x01a\x80"),
        ("SUBSCRIBE without QoS", b"\x82\x05\0\x01\0\x01a"),
        ("UNSUBSCRIBE id 0", b"\xa2\x05\0\0\0\x01a"),
        ("UNSUBSCRIBE without filters", b"\xa2\x02\0\x01"),
        ("UNSUBSCRIBE empty filter", b"\xa2\x04\0\x01\0\0"),
        (
            "remaining length of five bytes",
            b"\x30\x80\x80\x80\x80\x01",
        ),
    ] {
        check_refused(case, bytes);
    }
}

#[test]
fn malformed_answers_are_refused() {
    for bytes in [
        b"\x10\0".as_slice(),
        b"\x21\x02\0\0",
        b"\x20\x02\x02\0",
        b"\x20\x02\0\x06",
        b"\x20\x02\x01\x05",
        b"\x20\x01\0",
        b"\x50\x02\0\x01",
        b"\x90\x02\0\x01",
        b"\x90\x03\0\x01\x03",
        b"\x90\x03\0\0\0",
        b"\xb0\x02\0\0",
        b"\xd0\x01\0",
    ] {
        assert!(
            matches!(server(bytes), Err(DecodeError::Malformed(_))),
            "{bytes:x?}"
        );
    }
}

#[test]
fn the_first_byte_is_enough_to_refuse() {
    check_refused("SUBSCRIBE flags", b"\x80");
    check_refused("PUBLISH QoS 3", b"\x36");
    check_refused("type 15", b"\xf0");
}

#[test]
fn a_packet_over_the_limit_is_refused_at_its_header() {
    let mut buffer = BytesMut::from(b"\x30\x81\x80\x01".as_slice());

    let result = decode_client(&mut buffer, 16_384);

    assert_eq!(
        result,
        Err(DecodeError::TooLarge {
            size: 16_385,
            limit: 16_384
        })
    );
    assert_eq!(decode_client(&mut buffer, 16_385), Ok(None));
}

#[test]
fn wildcards_in_topics_are_left_to_the_topic_layer() {
    // Device ids may contain them (`spec/device.md` T38).
    let packet = client(b"\x30\x08\0\x05a+b/#!").unwrap().unwrap();

    let ClientPacket::Publish(publish) = packet else {
        panic!("{packet:?}")
    };
    assert_eq!(publish.topic(), "a+b/#");
}

#[test]
fn remaining_lengths_take_one_to_three_bytes() {
    for (size, header) in [
        (124, &b"\x30\x7f"[..]),
        (125, b"\x30\x80\x01"),
        (16_381, b"\x30\x80\x80\x01"),
    ] {
        let mut out = BytesMut::new();
        encode_publish(
            &mut out,
            false,
            QoS::AtMostOnce,
            false,
            "t",
            0,
            &vec![7; size],
        )
        .unwrap();

        assert!(out.starts_with(header), "{size}");
        let packet = decode_client(&mut out, LIMIT).unwrap().unwrap();
        let ClientPacket::Publish(publish) = packet else {
            panic!("{packet:?}")
        };
        assert_eq!(publish.payload.len(), size);
    }
}

#[test]
fn a_topic_that_its_length_field_cannot_say_is_not_encoded() {
    let topic = "t".repeat(65_536);
    let mut out = BytesMut::new();

    assert!(encode_publish(&mut out, false, QoS::AtMostOnce, false, &topic, 0, b"").is_err());
    encode_client(
        &ClientPacket::Unsubscribe(Unsubscribe {
            packet_id: 1,
            filters: vec![topic],
        }),
        &mut out,
    );

    assert_eq!(out, b"".as_slice());
}

#[test]
fn topic_and_payload_are_slices_of_the_buffer() {
    let mut buffer = BytesMut::from(b"\x30\x05\0\x01abc".as_slice());
    let start = buffer.as_ptr() as usize;

    let Ok(Some(ClientPacket::Publish(publish))) = decode_client(&mut buffer, LIMIT) else {
        panic!("not decoded");
    };

    assert_eq!(publish.topic.as_ptr() as usize - start, 4);
    assert_eq!(publish.payload.as_ptr() as usize - start, 5);
}
