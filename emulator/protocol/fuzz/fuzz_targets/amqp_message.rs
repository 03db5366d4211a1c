//! A message, as any of the nodes reads it: no panic, and what is accepted means the same when it
//! is written again.
#![no_main]

use bytes::{Bytes, BytesMut};
use iothub_protocol::amqp::cbs::{self, PutToken};
use iothub_protocol::amqp::codec::DecodeError;
use iothub_protocol::amqp::management::{EventHubProperties, PartitionProperties, ReadRequest};
use iothub_protocol::amqp::mapping::{from_amqp, unpack_batch};
use iothub_protocol::amqp::message::{AmqpMessage, Body};
use libfuzzer_sys::fuzz_target;

fn encoded(message: &AmqpMessage) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

fuzz_target!(|data: &[u8]| {
    let Ok(message) = AmqpMessage::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    // Compared as bytes: a float need not equal itself.
    let once = encoded(&message);
    match AmqpMessage::decode(once.clone()) {
        Ok(again) => assert_eq!(encoded(&again), once),
        // Its shortest form may be too short for that many values.
        Err(DecodeError::TooMany) => {}
        Err(error) => panic!("{message:?} comes back as {error}"),
    }

    let _ = message.data();
    let _ = from_amqp(&message);
    let _ = unpack_batch(&message);
    let _ = cbs::status_of(&message);
    if let Ok(request) = PutToken::from_message(&message) {
        assert_eq!(PutToken::from_message(&request.to_message()), Ok(request));
    }
    if let Ok(request) = ReadRequest::from_message(&message) {
        assert_eq!(
            ReadRequest::from_message(&request.to_message()),
            Ok(request)
        );
    }
    if let Body::Value(value) = &message.body {
        let _ = EventHubProperties::from_value(value);
        let _ = PartitionProperties::from_value(value);
    }
});
