//! Frames and protocol headers (AMQP 1.0 part 2, 2.2 and 2.3).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::codec::DecodeError;
use super::performative::Performative;
use super::sasl::SaslFrame;

/// Bytes of a frame that every peer takes.
pub const MIN_MAX_FRAME_SIZE: u32 = 512;

/// The eight bytes that begin a layer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolHeader {
    /// `AMQP 0 1 0 0`.
    Amqp,
    /// `AMQP 2 1 0 0`: TLS within the protocol, which nobody here uses.
    Tls,
    /// `AMQP 3 1 0 0`.
    Sasl,
}

/// A frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Of a session, or of the connection on channel 0.
    Amqp {
        /// The sender's channel.
        channel: u16,
        /// `None`: empty, only a sign of life.
        performative: Option<Performative>,
        /// What follows a transfer.
        payload: Bytes,
    },
    /// Of the security layer.
    Sasl(SaslFrame),
}

/// Bytes of a frame's header.
const HEADER: usize = 8;
const TYPE_AMQP: u8 = 0;
const TYPE_SASL: u8 = 1;

/// Reads a protocol header off the front; `Ok(None)`: fewer than eight bytes.
///
/// # Errors
///
/// The eight bytes, when they are none.
pub fn decode_header(input: &mut BytesMut) -> Result<Option<ProtocolHeader>, [u8; 8]> {
    let Some(bytes) = input.first_chunk::<8>().copied() else {
        return Ok(None);
    };
    input.advance(bytes.len());
    [
        ProtocolHeader::Amqp,
        ProtocolHeader::Tls,
        ProtocolHeader::Sasl,
    ]
    .into_iter()
    .find(|header| header.to_bytes() == bytes)
    .map(Some)
    .ok_or(bytes)
}

impl ProtocolHeader {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        match self {
            Self::Amqp => *b"AMQP\x00\x01\x00\x00",
            Self::Tls => *b"AMQP\x02\x01\x00\x00",
            Self::Sasl => *b"AMQP\x03\x01\x00\x00",
        }
    }
}

/// Reads a frame off the front; `Ok(None)`: not all of it is there. A frame over `limit` bytes is
/// refused as soon as its size is known.
pub fn decode_frame(input: &mut BytesMut, limit: usize) -> Result<Option<Frame>, DecodeError> {
    let Some(size) = input.first_chunk::<4>() else {
        return Ok(None);
    };
    let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
    if size < HEADER {
        return Err(framing("a frame is shorter than its header"));
    }
    if size > limit {
        return Err(DecodeError::Framing(format!(
            "a frame of {size} bytes is longer than {limit}"
        )));
    }
    if input.len() < size {
        return Ok(None);
    }
    let mut frame = input.split_to(size).freeze();
    let (kind, channel) = (frame[5], u16::from_be_bytes([frame[6], frame[7]]));
    // In words of four bytes; what an extended header holds is nobody's concern (2.3.1).
    let data = usize::from(frame[4]) * 4;
    if data < HEADER || data > size {
        return Err(framing("a frame's data offset is outside of it"));
    }
    frame.advance(data);
    match kind {
        TYPE_AMQP => amqp(channel, frame).map(Some),
        TYPE_SASL => Ok(Some(Frame::Sasl(SaslFrame::decode(&frame)?))),
        _ => Err(framing("a frame's type is unknown")),
    }
}

fn amqp(channel: u16, mut body: Bytes) -> Result<Frame, DecodeError> {
    if body.is_empty() {
        return Ok(Frame::Amqp {
            channel,
            performative: None,
            payload: body,
        });
    }
    let performative = Performative::decode(&mut body)?;
    if !body.is_empty() && !matches!(performative, Performative::Transfer(_)) {
        return Err(framing("bytes follow a performative that carries none"));
    }
    Ok(Frame::Amqp {
        channel,
        performative: Some(performative),
        payload: body,
    })
}

fn framing(what: &str) -> DecodeError {
    DecodeError::Framing(what.into())
}

/// Writes a frame at the end.
pub fn encode_frame(channel: u16, performative: &Performative, payload: &[u8], out: &mut BytesMut) {
    put_frame(out, TYPE_AMQP, channel, |out| {
        performative.encode(out);
        out.put_slice(payload);
    });
}

/// Writes an empty frame at the end: a sign of life.
pub fn encode_heartbeat(out: &mut BytesMut) {
    put_frame(out, TYPE_AMQP, 0, |_| {});
}

/// Writes a frame of the security layer at the end.
pub fn encode_sasl(frame: &SaslFrame, out: &mut BytesMut) {
    put_frame(out, TYPE_SASL, 0, |out| frame.put(out));
}

fn put_frame(out: &mut BytesMut, kind: u8, channel: u16, put: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    let [high, low] = channel.to_be_bytes();
    out.put_slice(&[0, 0, 0, 0, 2, kind, high, low]);
    put(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::performative::{Begin, Close, Flow, Transfer};
    use crate::amqp::value::Symbol;

    fn encoded(performative: &Performative, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        encode_frame(3, performative, payload, &mut out);
        out
    }

    fn refused(bytes: &[u8]) -> DecodeError {
        decode_frame(&mut BytesMut::from(bytes), 512).unwrap_err()
    }

    #[test]
    fn headers_are_recognised_when_they_are_whole() {
        let mut input = BytesMut::from(&b"AMQP\x03\x01\0\0AMQP\0\x01\0"[..]);

        assert_eq!(decode_header(&mut input), Ok(Some(ProtocolHeader::Sasl)));
        assert_eq!(decode_header(&mut input), Ok(None));
        input.put_u8(0);
        assert_eq!(decode_header(&mut input), Ok(Some(ProtocolHeader::Amqp)));
        input.put_slice(b"GET / HTTP/1.1");
        assert_eq!(decode_header(&mut input), Err(*b"GET / HT"));
    }

    #[test]
    fn frames_come_back_with_what_follows_them() {
        let transfer = Performative::Transfer(Transfer {
            handle: 1,
            delivery_tag: Some(Bytes::from_static(b"tag")),
            ..Transfer::default()
        });
        let mut input = encoded(&transfer, b"payload");
        input.extend(encoded(&Performative::Close(Close::default()), b""));

        let first = decode_frame(&mut input, 512).unwrap().unwrap();
        let second = decode_frame(&mut input, 512).unwrap().unwrap();

        assert_eq!(
            first,
            Frame::Amqp {
                channel: 3,
                performative: Some(transfer),
                payload: Bytes::from_static(b"payload"),
            }
        );
        assert_eq!(
            second,
            Frame::Amqp {
                channel: 3,
                performative: Some(Performative::Close(Close::default())),
                payload: Bytes::new(),
            }
        );
        assert_eq!(decode_frame(&mut input, 512), Ok(None));
    }

    #[test]
    fn a_part_of_a_frame_is_no_frame_yet() {
        let whole = encoded(&Performative::Flow(Flow::default()), b"");

        for length in 0..whole.len() {
            let mut input = BytesMut::from(&whole[..length]);
            assert_eq!(decode_frame(&mut input, 512), Ok(None), "{length}");
            assert_eq!(input.len(), length);
        }
    }

    #[test]
    fn an_empty_frame_is_a_sign_of_life() {
        let mut out = BytesMut::new();
        encode_heartbeat(&mut out);

        assert_eq!(out, b"\0\0\0\x08\x02\0\0\0"[..]);
        assert_eq!(
            decode_frame(&mut out, 512),
            Ok(Some(Frame::Amqp {
                channel: 0,
                performative: None,
                payload: Bytes::new(),
            }))
        );
    }

    #[test]
    fn an_extended_header_is_passed_over() {
        let plain = encoded(&Performative::Begin(Begin::default()), b"");
        let mut extended = BytesMut::new();
        extended.put_u32(plain.len() as u32 + 4);
        extended.put_slice(b"\x03\0\0\x03junk");
        extended.put_slice(&plain[8..]);

        assert_eq!(
            decode_frame(&mut extended, 512),
            decode_frame(&mut plain.clone(), 512)
        );
    }

    #[test]
    fn frames_that_are_none_are_refused() {
        for bytes in [
            &b"\0\0\0\x07"[..],
            b"\0\0\x02\x01",
            b"\xff\xff\xff\xff",
            b"\0\0\0\x08\x01\0\0\0",
            b"\0\0\0\x08\x03\0\0\0",
            b"\0\0\0\x08\x02\x02\0\0",
            b"\0\0\0\x10\x02\0\0\0\0\x53\x18\xc0\x02\x01\x40\x40",
        ] {
            assert!(
                matches!(refused(bytes), DecodeError::Framing(_)),
                "{bytes:02x?}"
            );
        }
    }

    #[test]
    fn frames_of_the_security_layer_come_back() {
        for frame in [
            SaslFrame::Mechanisms(vec![Symbol::of("MSSBCBS"), Symbol::of("PLAIN")]),
            SaslFrame::Init {
                mechanism: Symbol::of("PLAIN"),
                initial_response: Some(Bytes::from_static(b"\0user\0password")),
                hostname: None,
            },
            SaslFrame::Challenge(Bytes::from_static(b"c")),
            SaslFrame::Response(Bytes::from_static(b"r")),
            SaslFrame::Outcome {
                code: crate::amqp::sasl::SaslCode::Auth,
                additional_data: None,
            },
        ] {
            let mut out = BytesMut::new();
            encode_sasl(&frame, &mut out);
            assert_eq!(decode_frame(&mut out, 512), Ok(Some(Frame::Sasl(frame))),);
            assert!(out.is_empty());
        }
    }
}
