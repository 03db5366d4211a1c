//! What bytes say, however they are cut, and whatever they are.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iothub_protocol::amqp::frame::{ProtocolHeader, encode_frame, encode_heartbeat, encode_sasl};
use iothub_protocol::amqp::message::{AmqpMessage, Body};
use iothub_protocol::amqp::performative::{
    Attach, Disposition, Performative, ReceiverSettleMode, Role, SenderSettleMode, Target, Transfer,
};
use iothub_protocol::amqp::sasl::SaslFrame;
use iothub_protocol::amqp::{DeliveryState, Symbol};
use iothub_protocol::mqtt::codec::{encode_client, encode_server};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, Subscribe,
};
use proptest::prelude::*;

use super::super::wire::Connection;
use super::*;
use crate::transport::TransportKind;

const TOKEN: &str = "SharedAccessSignature sr=hub%2Fdevices%2Fd1&sig=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8%3D&se=1767225600";

fn connection(protocol: Protocol) -> Arc<Connection> {
    let peer = (Ipv4Addr::LOCALHOST, 50_000).into();
    Arc::new(Connection::new(1, protocol, peer, TransportKind::Tcp))
}

fn exchange(
    connection: &Arc<Connection>,
    direction: Direction,
    offset: usize,
    bytes: &[u8],
) -> Exchange {
    Exchange {
        connection: connection.clone(),
        direction,
        offset: offset as u64,
        bytes: bytes.into(),
        cut: 0,
    }
}

/// What comes of bytes that arrive in pieces of these lengths, over and over.
fn read(protocol: Protocol, direction: Direction, bytes: &[u8], pieces: &[usize]) -> Vec<Packet> {
    let connection = connection(protocol);
    let mut conversations = Conversations::default();
    let (mut packets, mut at) = (Vec::new(), 0);
    for length in pieces.iter().cycle() {
        let end = bytes.len().min(at + (*length).max(1));
        let exchange = exchange(&connection, direction, at, &bytes[at..end]);
        packets.extend(conversations.read(&exchange).0);
        at = end;
        if at == bytes.len() {
            return packets;
        }
    }
    packets
}

fn summaries(packets: &[Packet]) -> Vec<&str> {
    packets
        .iter()
        .map(|packet| packet.summary.as_str())
        .collect()
}

fn mqtt_session() -> BytesMut {
    let mut bytes = BytesMut::new();
    let connect = Connect {
        level: 4,
        clean_session: true,
        keep_alive: 60,
        client_id: "d1".into(),
        username: Some("hub/d1/?api-version=2021-04-12".into()),
        password: Some(Bytes::from_static(TOKEN.as_bytes())),
        will: None,
    };
    let publish = |topic: &'static str, payload: &'static [u8]| {
        ClientPacket::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: Bytes::from_static(topic.as_bytes()),
            packet_id: 7,
            payload: Bytes::from_static(payload),
        })
    };
    let subscribe = Subscribe {
        packet_id: 1,
        filters: vec![("$iothub/methods/POST/#".into(), QoS::AtMostOnce)],
    };
    for packet in [
        ClientPacket::Connect(connect),
        ClientPacket::Subscribe(subscribe),
        publish("devices/d1/messages/events/a=%20b", br#"{"t":1}"#),
        publish("$iothub/methods/res/200/?$rid=3", b"{}"),
        publish("$iothub/twin/PATCH/properties/reported/?$rid=4", b"{}"),
        ClientPacket::PingReq,
        ClientPacket::Disconnect,
    ] {
        encode_client(&packet, &mut bytes);
    }
    bytes
}

fn amqp_session() -> BytesMut {
    let mut bytes = BytesMut::from(&ProtocolHeader::Sasl.to_bytes()[..]);
    let init = SaslFrame::Init {
        mechanism: Symbol::of("PLAIN"),
        initial_response: Some(format!("\0d1@sas.hub\0{TOKEN}").into_bytes().into()),
        hostname: None,
    };
    encode_sasl(&init, &mut bytes);
    bytes.extend_from_slice(&ProtocolHeader::Amqp.to_bytes());
    let attach = Attach {
        name: "link".into(),
        handle: 2,
        role: Role::Sender,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: None,
        target: Some(Target {
            address: Some("/devices/d1/messages/events".into()),
            ..Target::default()
        }),
        unsettled: Vec::new(),
        incomplete_unsettled: false,
        initial_delivery_count: Some(0),
        max_message_size: None,
        offered_capabilities: Vec::new(),
        desired_capabilities: Vec::new(),
        properties: Vec::new(),
    };
    encode_frame(0, &Performative::Attach(Box::new(attach)), &[], &mut bytes);
    let message = AmqpMessage {
        application_properties: vec![("a".into(), "b".into())],
        body: Body::Data(vec![Bytes::from_static(b"hello")]),
        ..AmqpMessage::default()
    };
    let mut payload = BytesMut::new();
    message.encode(&mut payload);
    let (first, second) = payload.split_at(5);
    let transfer = |more| {
        Performative::Transfer(Transfer {
            handle: 2,
            delivery_id: Some(0),
            more,
            ..Transfer::default()
        })
    };
    encode_frame(0, &transfer(true), first, &mut bytes);
    encode_frame(0, &transfer(false), second, &mut bytes);
    let disposition = Disposition {
        role: Role::Receiver,
        first: 0,
        last: Some(3),
        settled: true,
        state: Some(DeliveryState::Accepted),
        batchable: false,
    };
    encode_frame(0, &Performative::Disposition(disposition), &[], &mut bytes);
    encode_heartbeat(&mut bytes);
    bytes
}

#[test]
fn mqtt_is_told_in_the_hubs_words() {
    let bytes = mqtt_session();
    let packets = read(Protocol::Mqtt, Direction::In, &bytes, &[bytes.len()]);

    assert_eq!(
        summaries(&packets),
        [
            "CONNECT d1 · keep-alive 60 s · SAS token until 2026-01-01T00:00:00Z",
            "SUBSCRIBE $iothub/methods/POST/#",
            "PUBLISH telemetry · QoS 1 · 7 B · devices/d1/messages/events/a=%20b",
            "PUBLISH answer 200 to method call 3 · QoS 1 · 2 B · $iothub/methods/res/200/?$rid=3",
            "PUBLISH reported properties patched, request 4 · QoS 1 · 2 B · \
             $iothub/twin/PATCH/properties/reported/?$rid=4",
            "PINGREQ",
            "DISCONNECT",
        ]
    );
    let connect = &packets[0].detail;
    assert_eq!(connect["password"]["resource"], "hub/devices/d1");
    assert!(!connect.to_string().contains("AAECAwQFBgcI"), "{connect}");
    assert_eq!(packets[0].speaker, ClientId::parse("d1").ok());
    assert_eq!(packets[1].detail["filters"][0]["meaning"], "method calls");
    assert_eq!(packets[2].detail["properties"]["a"], " b");
    assert_eq!(packets[2].detail["payload"]["t"], 1);
}

#[test]
fn who_sends_is_known_from_the_topic_when_the_connection_is_older_than_the_look_at_it() {
    for (topic, client) in [
        ("devices/d1/messages/events/%24.ct=application%2Fjson", "d1"),
        ("devices/d%201/messages/events/", "d%201"),
        ("devices/d1/modules/m1/messages/events/a=%20b", "d1/m1"),
    ] {
        let mut bytes = BytesMut::new();
        let publish = ClientPacket::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: Bytes::from_static(topic.as_bytes()),
            packet_id: 0,
            payload: Bytes::new(),
        });
        encode_client(&publish, &mut bytes);

        let packets = read(Protocol::Mqtt, Direction::In, &bytes, &[bytes.len()]);

        assert_eq!(packets[0].detail["meaning"], "telemetry", "{topic}");
        assert_eq!(packets[0].speaker, ClientId::parse(client).ok(), "{topic}");
    }
}

#[test]
fn what_the_hub_sends_over_mqtt_is_told_too() {
    let mut bytes = BytesMut::new();
    let answer = ServerPacket::ConnAck {
        session_present: false,
        code: ConnAckCode::NotAuthorized,
    };
    encode_server(&answer, &mut bytes);
    let call = ServerPacket::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: Bytes::from_static(b"$iothub/methods/POST/reboot/?$rid=1"),
        packet_id: 0,
        payload: Bytes::new(),
    });
    encode_server(&call, &mut bytes);

    let packets = read(Protocol::Mqtt, Direction::Out, &bytes, &[3]);

    assert_eq!(
        summaries(&packets),
        [
            "CONNACK 5 not authorized",
            "PUBLISH method call reboot, request 1 · QoS 0 · 0 B · $iothub/methods/POST/reboot/?$rid=1",
        ]
    );
}

#[test]
fn amqp_links_are_known_by_their_addresses_and_deliveries_put_together() {
    let bytes = amqp_session();
    let packets = read(Protocol::Amqp, Direction::In, &bytes, &[bytes.len()]);

    assert_eq!(
        summaries(&packets),
        [
            "header AMQP 1.0 SASL",
            "SASL init PLAIN as d1@sas.hub",
            "header AMQP 1.0",
            "attach sender · /devices/d1/messages/events",
            "transfer /devices/d1/messages/events · a part, 5 B",
            &format!(
                "transfer /devices/d1/messages/events · {} B",
                packets[5].summary.split(' ').rev().nth(1).unwrap()
            ),
            "disposition 0–3 accepted · settled",
            "empty frame: a sign of life",
        ]
    );
    assert_eq!(
        packets[1].detail["password"]["expires"],
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(packets[5].detail["message"]["body"], "hello");
    assert_eq!(
        packets[5].detail["message"]["applicationProperties"]["a"],
        "b"
    );
    assert_eq!(packets[5].speaker, ClientId::parse("d1").ok());
}

#[test]
fn http_messages_name_their_device_and_hide_their_token() {
    let request = format!(
        "POST /twins/d%231/methods?api-version=2021-04-12 HTTP/1.1\r\nhost: hub\r\n\
         authorization: {TOKEN}\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let connection = connection(Protocol::Http);
    let mut conversations = Conversations::default();

    let asked = exchange(&connection, Direction::In, 0, request.as_bytes());
    let (asked, named) = conversations.read(&asked);
    assert_eq!(named, [ClientId::parse("d#1").unwrap()]);
    let answered = exchange(&connection, Direction::Out, 0, answer.as_bytes());
    let answered = conversations.read(&answered).0;

    let line = "POST /twins/d%231/methods?api-version=2021-04-12";
    assert_eq!(asked[0].summary, format!("{line} · 2 B"));
    assert_eq!(
        asked[0].detail["headers"]["authorization"]["resource"],
        "hub/devices/d1"
    );
    assert_eq!(answered[0].summary, format!("404 Not Found to {line}"));
    assert_eq!(answered[0].speaker, asked[0].speaker);
}

#[test]
fn keys_in_bodies_and_cookies_are_not_shown() {
    let request = "PUT /devices/d1 HTTP/1.1\r\ncookie: iothub_emulator=0123456789\r\n\r\n\
                   {\"authentication\":{\"symmetricKey\":{\"primaryKey\":\"0123456789\"}}}";
    let packets = read(
        Protocol::Http,
        Direction::In,
        request.as_bytes(),
        &[request.len()],
    );

    let detail = &packets[0].detail;
    assert_eq!(
        detail["body"]["authentication"]["symmetricKey"]["primaryKey"],
        "012345…"
    );
    assert!(!detail.to_string().contains("0123456"), "{detail}");
}

#[test]
fn after_a_gap_reading_begins_anew() {
    let mut ping = BytesMut::new();
    encode_client(&ClientPacket::PingReq, &mut ping);
    let connection = connection(Protocol::Mqtt);
    let mut conversations = Conversations::default();
    // The beginning of a long packet, and what is behind it.
    conversations.read(&exchange(&connection, Direction::In, 0, &[0x30, 0x7f, 0]));

    let behind = exchange(&connection, Direction::In, 129, &ping);
    let packets = conversations.read(&behind).0;

    assert_eq!(summaries(&packets), ["PINGREQ"]);
}

#[test]
fn what_is_waited_for_is_bounded_over_all_connections() {
    let mut conversations = Conversations::default();
    let peer = (Ipv4Addr::LOCALHOST, 50_000).into();
    // The beginning of a packet of 900,000 bytes.
    let mut begun = vec![0x30, 0xa0, 0xf7, 0x36];
    begun.resize(800_000, 0);

    for id in 0..100 {
        let connection = Connection::new(id, Protocol::Mqtt, peer, TransportKind::Tcp);
        let begun = exchange(&Arc::new(connection), Direction::In, 0, &begun);
        assert_eq!(conversations.read(&begun).0, []);
    }

    let kept = conversations.by_connection.values();
    assert_eq!(
        kept.map(Conversation::kept).sum::<usize>(),
        conversations.kept
    );
    assert!(conversations.kept <= MOST_KEPT + begun.len());
}

#[test]
fn noise_is_shown_as_it_is() {
    let packets = read(
        Protocol::Mqtt,
        Direction::In,
        b"\xff\xff\xff\xff\xff\xff",
        &[6],
    );
    assert_eq!(packets[0].detail, Value::Null);
    assert_eq!(packets[0].bytes.len(), 6);

    let packets = read(Protocol::Amqp, Direction::In, b"GET / HTTP/1.1", &[14]);
    assert!(packets[0].summary.contains("cannot be read"), "{packets:?}");
}

proptest! {
    #[test]
    fn however_it_is_cut_the_same_is_read(pieces in prop::collection::vec(1_usize..40, 1..20)) {
        for (protocol, bytes) in [
            (Protocol::Mqtt, mqtt_session()),
            (Protocol::Amqp, amqp_session()),
        ] {
            let whole = read(protocol, Direction::In, &bytes, &[bytes.len()]);
            let cut = read(protocol, Direction::In, &bytes, &pieces);
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn no_bytes_are_lost_and_none_make_it_panic(
        protocol in prop_oneof![Just(Protocol::Mqtt), Just(Protocol::Amqp), Just(Protocol::Http)],
        chunks in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..200), any::<u8>()),
            0..20,
        ),
    ) {
        let connection = connection(protocol);
        let mut conversations = Conversations::default();
        let mut offsets = [0_usize; 2];
        for (is_in, bytes, gap) in chunks {
            let direction = if is_in { Direction::In } else { Direction::Out };
            let offset = &mut offsets[direction as usize];
            // Now and then something is missing.
            *offset += usize::from(gap.saturating_sub(240));
            let packets = conversations.read(&exchange(&connection, direction, *offset, &bytes)).0;
            *offset += bytes.len();
            for packet in packets {
                prop_assert!(!packet.summary.is_empty() || protocol == Protocol::Http);
                prop_assert!(packet.summary.len() < 2000, "{}", packet.summary);
            }
        }
    }

    #[test]
    fn a_session_with_bytes_changed_does_not_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        pieces in prop::collection::vec(1_usize..100, 1..5),
    ) {
        for (protocol, mut bytes) in [
            (Protocol::Mqtt, mqtt_session()),
            (Protocol::Amqp, amqp_session()),
        ] {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            for direction in [Direction::In, Direction::Out] {
                read(protocol, direction, &bytes, &pieces);
            }
        }
    }
}
