//! What is encoded is decoded, in any pieces; no bytes make a decoder panic; topics, filters and
//! user names come back as they were.

use bytes::{Bytes, BytesMut};
use iothub_protocol::ClientId;
use iothub_protocol::mqtt::codec::{decode_client, decode_server, encode_client, encode_server};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, SubAckCode, Subscribe,
    Unsubscribe, Will,
};
use iothub_protocol::mqtt::topic::{DeviceTopic, Feature, HubTopic};
use iothub_protocol::mqtt::username::UserName;
use iothub_protocol::property_bag::PropertyBag;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const LIMIT: usize = 300_000;
const ID: &str = "[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,20}";

/// Text as MQTT allows it: no U+0000.
fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,40}"
}

fn topic() -> impl Strategy<Value = String> {
    "[^\0]{1,200}"
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ]
}

fn packet_id() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

prop_compose! {
    fn publish()(
        dup: bool, qos in qos(), retain: bool, topic in topic(), id in packet_id(),
        payload in payload(),
    ) -> Publish {
        let acknowledged = qos != QoS::AtMostOnce;
        Publish {
            dup: dup && acknowledged,
            qos,
            retain,
            topic: topic.into(),
            packet_id: if acknowledged { id } else { 0 },
            payload,
        }
    }
}

prop_compose! {
    fn will()(topic in topic(), payload in payload(), qos in qos(), retain: bool) -> Will {
        Will { topic, payload, qos, retain }
    }
}

prop_compose! {
    fn connect()(
        clean_session: bool, keep_alive: u16, client_id in text(),
        credentials in option::of((text(), option::of(payload()))), will in option::of(will()),
    ) -> Connect {
        let (username, password) = match credentials {
            Some((username, password)) => (Some(username), password),
            None => (None, None),
        };
        Connect { level: 4, clean_session, keep_alive, client_id, username, password, will }
    }
}

fn client_packet() -> impl Strategy<Value = ClientPacket> {
    prop_oneof![
        connect().prop_map(ClientPacket::Connect),
        publish().prop_map(ClientPacket::Publish),
        packet_id().prop_map(ClientPacket::PubAck),
        (packet_id(), vec((topic(), qos()), 1..5))
            .prop_map(|(packet_id, filters)| Subscribe { packet_id, filters })
            .prop_map(ClientPacket::Subscribe),
        (packet_id(), vec(topic(), 1..5))
            .prop_map(|(packet_id, filters)| Unsubscribe { packet_id, filters })
            .prop_map(ClientPacket::Unsubscribe),
        Just(ClientPacket::PingReq),
        Just(ClientPacket::Disconnect),
        Just(ClientPacket::QoS2Handshake),
    ]
}

fn server_packet() -> impl Strategy<Value = ServerPacket> {
    let suback_code = prop_oneof![
        qos().prop_map(SubAckCode::Granted),
        Just(SubAckCode::Failure)
    ];
    prop_oneof![
        (0..=5u8, any::<bool>()).prop_map(|(code, session_present)| ServerPacket::ConnAck {
            session_present: session_present && code == 0,
            code: ConnAckCode::from_bits(code).expect("0 to 5 are codes"),
        }),
        publish().prop_map(ServerPacket::Publish),
        packet_id().prop_map(ServerPacket::PubAck),
        (packet_id(), vec(suback_code, 1..6))
            .prop_map(|(packet_id, codes)| ServerPacket::SubAck { packet_id, codes }),
        packet_id().prop_map(ServerPacket::UnsubAck),
        Just(ServerPacket::PingResp),
    ]
}

fn client_id() -> impl Strategy<Value = ClientId> {
    (ID, option::of(ID)).prop_map(|(device, module)| {
        let text = module.map_or(device.clone(), |module| format!("{device}/{module}"));
        ClientId::parse(&text).expect("within the grammar")
    })
}

fn bag() -> impl Strategy<Value = PropertyBag> {
    vec((any::<String>(), any::<String>()), 0..5).prop_map(|pairs| pairs.into_iter().collect())
}

fn request_id() -> impl Strategy<Value = String> {
    "[^\0&]{1,40}"
}

fn hub_topic() -> impl Strategy<Value = HubTopic> {
    let module = (ID, ID)
        .prop_map(|(d, m)| ClientId::parse(&format!("{d}/{m}")).expect("within the grammar"));
    prop_oneof![
        ("[!-~]{1,100}", "[0-9a-f]{1,8}")
            .prop_map(|(name, rid)| HubTopic::MethodRequest { name, rid }),
        (100..600u16, request_id(), option::of(any::<u64>())).prop_map(|(status, rid, version)| {
            HubTopic::TwinResponse {
                status,
                rid,
                version,
            }
        }),
        any::<u64>().prop_map(|version| HubTopic::DesiredChanged { version }),
        (client_id(), bag()).prop_map(|(client, bag)| HubTopic::C2d { client, bag }),
        (module, "[a-zA-Z0-9_.-]{1,20}", bag()).prop_map(|(client, input, bag)| HubTopic::Input {
            client,
            input,
            bag
        }),
    ]
}

proptest! {
    #[test]
    fn packets_of_a_client_round_trip(packets in vec(client_packet(), 1..5)) {
        let mut buffer = BytesMut::new();
        packets.iter().for_each(|packet| encode_client(packet, &mut buffer));

        for packet in packets {
            prop_assert_eq!(decode_client(&mut buffer, LIMIT), Ok(Some(packet)));
        }
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn packets_of_a_server_round_trip(packets in vec(server_packet(), 1..5)) {
        let mut buffer = BytesMut::new();
        packets.iter().for_each(|packet| encode_server(packet, &mut buffer));

        for packet in packets {
            prop_assert_eq!(decode_server(&mut buffer, LIMIT), Ok(Some(packet)));
        }
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn a_beginning_of_a_packet_asks_for_more(packet in client_packet(), cut: prop::sample::Index) {
        let mut whole = BytesMut::new();
        encode_client(&packet, &mut whole);
        let cut = cut.index(whole.len());
        let mut buffer = BytesMut::from(&whole[..cut]);

        prop_assert_eq!(decode_client(&mut buffer, LIMIT), Ok(None));
        prop_assert_eq!(&buffer[..], &whole[..cut]);
        buffer.extend_from_slice(&whole[cut..]);
        prop_assert_eq!(decode_client(&mut buffer, LIMIT), Ok(Some(packet)));
    }

    #[test]
    fn bytes_never_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = decode_client(&mut BytesMut::from(&bytes[..]), LIMIT);
        let _ = decode_server(&mut BytesMut::from(&bytes[..]), LIMIT);
    }

    #[test]
    fn a_changed_byte_never_makes_a_decoder_panic(
        packet in client_packet(), place: prop::sample::Index, byte: u8,
    ) {
        let mut bytes = BytesMut::new();
        encode_client(&packet, &mut bytes);
        let place = place.index(bytes.len());
        bytes[place] = byte;

        // What is still accepted encodes to what was read.
        let mut rest = bytes.clone();
        if let Ok(Some(packet)) = decode_client(&mut rest, LIMIT)
            && packet != ClientPacket::QoS2Handshake
        {
            let mut again = BytesMut::new();
            encode_client(&packet, &mut again);
            prop_assert_eq!(decode_client(&mut again, LIMIT), Ok(Some(packet)));
        }
    }

    #[test]
    fn topics_of_a_device_round_trip(
        client in client_id(), bag in "[^\0]{0,100}", rid in request_id(), status: i32,
        version in option::of(any::<u64>()),
    ) {
        for topic in [
            DeviceTopic::Telemetry { bag: &bag },
            DeviceTopic::MethodResponse { status, rid: &rid },
            DeviceTopic::TwinGet { rid: &rid },
            DeviceTopic::TwinPatchReported { rid: &rid, version },
        ] {
            let text = topic.to_topic(&client);
            prop_assert_eq!(DeviceTopic::parse(&text, &client), Ok(topic));
        }
    }

    #[test]
    fn telemetry_is_never_taken_for_that_of_another(one in client_id(), other in client_id()) {
        prop_assume!(one != other);
        let topic = DeviceTopic::Telemetry { bag: "" }.to_topic(&one);

        prop_assert!(DeviceTopic::parse(&topic, &other).is_err());
    }

    #[test]
    fn topics_of_the_hub_round_trip(topic in hub_topic()) {
        prop_assert_eq!(HubTopic::parse(&topic.to_string()), Some(topic));
    }

    #[test]
    fn filters_belong_to_one_identity(one in client_id(), other in client_id()) {
        prop_assume!(one != other);
        for feature in [Feature::C2d, Feature::Inputs, Feature::C2dAndInputs] {
            let filter = feature.to_filter(&one);
            let expected = (one.module.is_some() || feature == Feature::C2d).then_some(feature);
            prop_assert_eq!(Feature::parse_filter(&filter, &one), expected);
            prop_assert_eq!(Feature::parse_filter(&filter, &other), None);
        }
    }

    #[test]
    fn text_never_makes_a_topic_parser_panic(
        text in "(\\$iothub|devices)?/?(d1|methods|twin)?/?(messages|res|PATCH)?/?.{0,40}",
        client in client_id(),
    ) {
        let _ = DeviceTopic::parse(&text, &client);
        let _ = HubTopic::parse(&text);
        let _ = Feature::parse_filter(&text, &client);
        let _ = UserName::parse(&text);
    }

    #[test]
    fn user_names_round_trip(
        client in client_id(), api_version in option::of(any::<String>()),
        client_type in option::of(any::<String>()), model_id in option::of(any::<String>()),
    ) {
        let name =
            UserName { api_version, client_type, model_id, ..UserName::new("localhost", client) };

        prop_assert_eq!(UserName::parse(&name.to_string()), Ok(name));
    }
}
