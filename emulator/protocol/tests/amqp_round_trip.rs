//! What is encoded is decoded, in any pieces; no bytes make a decoder panic or take more memory
//! than a few times their own; addresses and selectors come back as they were.

mod amqp;

use bytes::{Bytes, BytesMut};
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::cbs::{PutToken, status_of};
use iothub_protocol::amqp::codec::{DecodeError, MAX_VALUES, decode, encode};
use iothub_protocol::amqp::frame::{
    Frame, decode_frame, decode_header, encode_frame, encode_heartbeat, encode_sasl,
};
use iothub_protocol::amqp::management::ReadRequest;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::Performative;
use iothub_protocol::amqp::selector::EventPosition;
use iothub_protocol::amqp::value::{Array, Value};
use proptest::collection::vec;
use proptest::prelude::*;

use amqp::{message, performative, sasl_frame, value};

const LIMIT: usize = 1 << 20;

/// Values, those within others counted.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::List(values) | Value::Array(Array(values)) => values.iter().map(count).sum(),
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| count(key) + count(value))
            .sum(),
        Value::Described(described) => count(&described.0) + count(&described.1),
        _ => 0,
    }
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let frame = prop_oneof![
        4 => (any::<u16>(), performative(), vec(any::<u8>(), 0..100)).prop_map(
            |(channel, performative, payload)| {
                let payload = match performative {
                    Performative::Transfer(_) => Bytes::from(payload),
                    _ => Bytes::new(),
                };
                Frame::Amqp { channel, performative: Some(performative), payload }
            }
        ),
        1 => Just(Frame::Amqp { channel: 0, performative: None, payload: Bytes::new() }),
        1 => sasl_frame().prop_map(Frame::Sasl),
    ];
    vec(frame, 1..5)
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        match frame {
            Frame::Amqp {
                channel,
                performative: Some(performative),
                payload,
            } => encode_frame(*channel, performative, payload, &mut out),
            Frame::Amqp { .. } => encode_heartbeat(&mut out),
            Frame::Sasl(frame) => encode_sasl(frame, &mut out),
        }
    }
    out
}

fn decoded(input: &mut BytesMut) -> Result<Vec<Frame>, DecodeError> {
    let mut frames = Vec::new();
    while let Some(frame) = decode_frame(input, LIMIT)? {
        frames.push(frame);
    }
    Ok(frames)
}

/// Bytes that begin as something that is read, and go wrong somewhere.
fn mutated(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (
        bytes,
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    )
        .prop_map(|(mut bytes, changes)| {
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes
        })
}

fn bytes_of_values() -> impl Strategy<Value = Vec<u8>> {
    let valid = value().prop_map(|value| {
        let mut out = BytesMut::new();
        encode(&value, &mut out);
        out.to_vec()
    });
    prop_oneof![vec(any::<u8>(), 0..200), mutated(valid)]
}

fn bytes_of_frames() -> impl Strategy<Value = Vec<u8>> {
    let valid = frames().prop_map(|frames| encoded(&frames).to_vec());
    prop_oneof![vec(any::<u8>(), 0..200), mutated(valid)]
}

fn bytes_of_messages() -> impl Strategy<Value = Vec<u8>> {
    let valid = message().prop_map(|message| {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        out.to_vec()
    });
    prop_oneof![vec(any::<u8>(), 0..200), mutated(valid)]
}

/// Parts of addresses, in the spellings that are known and in others.
fn address() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        prop::sample::select(
            &[
                "messages",
                "Messages",
                "events",
                "devicebound",
                "deviceBound",
                "servicebound",
                "feedback",
                "filenotifications",
                "devices",
                "modules",
                "methods",
                "twin",
                "$cbs",
                "$management",
                "ConsumerGroups",
                "consumergroups",
                "Partitions",
                "$Default",
                "d1",
                "%24edgeAgent",
                "a%2Fb",
                "a%41",
                "%",
                "%ff",
                "",
            ][..]
        )
        .prop_map(str::to_owned),
        "[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,12}",
        ".{0,6}",
    ];
    let start = prop::sample::select(&["", "/", "//", "amqps://h/", "sb://h:5671/", "x://"][..]);
    (start, vec(part, 0..7)).prop_map(|(start, parts)| format!("{start}{}", parts.join("/")))
}

fn position() -> impl Strategy<Value = EventPosition> {
    prop_oneof![
        Just(EventPosition::Earliest),
        Just(EventPosition::Latest),
        (any::<u64>(), any::<bool>())
            .prop_map(|(offset, inclusive)| EventPosition::Offset { offset, inclusive }),
        (any::<i64>(), any::<bool>()).prop_map(|(sequence, inclusive)| EventPosition::Sequence {
            sequence,
            inclusive
        }),
        (-(1_i64 << 49)..1 << 49, any::<bool>()).prop_map(|(millis, inclusive)| {
            let time = Timestamp::from_unix_millis(millis);
            EventPosition::Enqueued { time, inclusive }
        }),
    ]
}

proptest! {
    #[test]
    fn values_come_back(value in value()) {
        let mut out = BytesMut::new();
        encode(&value, &mut out);
        let mut input = out.freeze();

        prop_assert_eq!(decode(&mut input), Ok(value));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn no_bytes_make_more_values_than_they_can_stand_for(bytes in bytes_of_values()) {
        let mut input = Bytes::from(bytes);
        let length = input.len();
        if let Ok(value) = decode(&mut input) {
            prop_assert!(count(&value) <= MAX_VALUES.min(16 + 4 * length));
        }
    }

    #[test]
    fn addresses_come_back(text in address()) {
        let address = Address::parse(&text);

        prop_assert_eq!(Address::parse(&address.to_string()), address);
    }

    #[test]
    fn an_address_is_the_same_with_and_without_authority(text in "[^/].{0,40}") {
        let address = Address::parse(&text);
        prop_assume!(!matches!(address, Address::Unknown(_)));

        let whole = format!("amqps://localhost:5671/{text}");
        prop_assert_eq!(Address::parse(&whole), address.clone());
        let rooted = format!("/{text}");
        prop_assert_eq!(Address::parse(&rooted), address);
    }

    #[test]
    fn positions_come_back(position in position()) {
        prop_assert_eq!(EventPosition::parse(&position.to_selector()), Ok(position.clone()));
        prop_assert_eq!(EventPosition::from_filter(&position.to_filter()), Ok(position));
    }

    #[test]
    fn no_text_makes_the_selector_panic(
        text in prop_oneof![".{0,80}", "amqp\\.annotation\\.x-opt-[a-z-]{0,16} *>=? *'?[-@a-z0-9]{0,24}'?"],
    ) {
        let _ = EventPosition::parse(&text);
    }
}

proptest! {
    // Frames and messages are large; the fuzz targets make many more of them.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_come_back_in_any_pieces(frames in frames(), pieces in vec(1_usize..40, 1..20)) {
        let bytes = encoded(&frames);
        let mut rest = &bytes[..];
        let mut input = BytesMut::new();
        let mut seen = Vec::new();
        for piece in pieces.into_iter().cycle() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            input.extend_from_slice(now);
            seen.extend(decoded(&mut input).unwrap());
            rest = later;
            if rest.is_empty() {
                break;
            }
        }

        prop_assert_eq!(seen, frames);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn messages_come_back(message in message()) {
        let mut out = BytesMut::new();
        message.encode(&mut out);

        prop_assert_eq!(AmqpMessage::decode(out.freeze()), Ok(message));
    }

    #[test]
    fn no_bytes_make_the_frame_decoder_panic(bytes in bytes_of_frames()) {
        let _ = decode_header(&mut BytesMut::from(&bytes[..]));
        let _ = decoded(&mut BytesMut::from(&bytes[..]));
        let _ = Performative::decode(&mut Bytes::from(bytes));
    }

    #[test]
    fn no_bytes_make_the_message_decoder_panic(bytes in bytes_of_messages()) {
        if let Ok(message) = AmqpMessage::decode(Bytes::from(bytes)) {
            let _ = message.data();
            let _ = PutToken::from_message(&message);
            let _ = ReadRequest::from_message(&message);
            let _ = status_of(&message);
        }
    }
}
