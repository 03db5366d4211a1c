//! Frames and protocol headers (AMQP 1.0 part 2, 2.2 and 2.3).

use bytes::{Bytes, BytesMut};

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

/// Reads a protocol header off the front; `Ok(None)`: fewer than eight bytes.
///
/// # Errors
///
/// The eight bytes, when they are none.
pub fn decode_header(input: &mut BytesMut) -> Result<Option<ProtocolHeader>, [u8; 8]> {
    let _ = input;
    todo!()
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
    let _ = (input, limit);
    todo!()
}

/// Writes a frame at the end.
pub fn encode_frame(channel: u16, performative: &Performative, payload: &[u8], out: &mut BytesMut) {
    let _ = (channel, performative, payload, out);
    todo!()
}

/// Writes an empty frame at the end: a sign of life.
pub fn encode_heartbeat(out: &mut BytesMut) {
    let _ = out;
    todo!()
}

/// Writes a frame of the security layer at the end.
pub fn encode_sasl(frame: &SaslFrame, out: &mut BytesMut) {
    let _ = (frame, out);
    todo!()
}
