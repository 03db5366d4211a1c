//! A stream of headers and frames of either peer: no panic, and what is accepted means the same
//! when it is written again.
#![no_main]

use bytes::BytesMut;
use iothub_protocol::amqp::codec::DecodeError;
use iothub_protocol::amqp::frame::{
    Frame, decode_frame, decode_header, encode_frame, encode_heartbeat, encode_sasl,
};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 65_536;

fn encoded(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    match frame {
        Frame::Amqp {
            channel,
            performative: Some(performative),
            payload,
        } => encode_frame(*channel, performative, payload, &mut out),
        Frame::Amqp { .. } => encode_heartbeat(&mut out),
        Frame::Sasl(frame) => encode_sasl(frame, &mut out),
    }
    out
}

fuzz_target!(|data: &[u8]| {
    let mut buffer = BytesMut::from(data);
    // Streams begin with a header or two, and the security layer's frames are between them.
    while buffer.starts_with(b"AMQP") {
        if !matches!(decode_header(&mut buffer), Ok(Some(_))) {
            return;
        }
        while let Ok(Some(frame)) = decode_frame(&mut buffer, LIMIT) {
            // Compared as bytes: a float need not equal itself.
            let once = encoded(&frame);
            match decode_frame(&mut once.clone(), usize::MAX) {
                Ok(Some(again)) => assert_eq!(encoded(&again), once),
                // Its shortest form may be too short for that many values.
                Err(DecodeError::TooMany) => {}
                other => panic!("{frame:?} comes back as {other:?}"),
            }
            if buffer.starts_with(b"AMQP") {
                break;
            }
        }
    }
});
