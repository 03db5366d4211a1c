//! Bytes to packets and back, as strict as MQTT 3.1.1 asks a server to be.
//!
//! [`decode_client`] and [`decode_server`] take one packet off the front of a buffer; the encoders
//! append one. What is refused is refused before a byte is consumed, and whoever reads a
//! [`DecodeError`] ends the connection ([MQTT-4.8.0-1]). Topics and payloads of PUBLISH packets are
//! slices of the buffer; all other fields are copies, because they are small and may live long.
//!
//! Wildcards are not looked at, neither in filters nor in topics: ids of devices may contain `#`
//! and `+` (`spec/device.md` 2.2, T38), so [`topic`](super::topic) decides.

mod decode;
mod encode;
mod reader;

use std::fmt;

pub use decode::{decode_client, decode_server};
pub use encode::{TooLong, encode_client, encode_publish, encode_server};

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A CONNECT of another protocol or version; kept so that the caller can answer it
    /// (`spec/device.md` 2.1).
    UnsupportedProtocol {
        /// `MQTT`, `MQIsdp`, or whatever was sent.
        name: String,
        /// The level byte.
        level: u8,
    },
    /// The remaining length is over the limit.
    TooLarge {
        /// The remaining length.
        size: usize,
        /// The limit given to the decoder.
        limit: usize,
    },
    /// Against the grammar; the text says where.
    Malformed(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedProtocol { name, level } => {
                write!(f, "protocol {name:?} level {level} is not MQTT 3.1.1")
            }
            Self::TooLarge { size, limit } => {
                write!(f, "packet of {size} bytes is over the limit of {limit}")
            }
            Self::Malformed(what) => write!(f, "malformed packet: {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Packet types, the upper half of the first byte.
mod kind {
    pub(super) const CONNECT: u8 = 1;
    pub(super) const CONNACK: u8 = 2;
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const PUBACK: u8 = 4;
    pub(super) const PUBREC: u8 = 5;
    pub(super) const PUBREL: u8 = 6;
    pub(super) const PUBCOMP: u8 = 7;
    pub(super) const SUBSCRIBE: u8 = 8;
    pub(super) const SUBACK: u8 = 9;
    pub(super) const UNSUBSCRIBE: u8 = 10;
    pub(super) const UNSUBACK: u8 = 11;
    pub(super) const PINGREQ: u8 = 12;
    pub(super) const PINGRESP: u8 = 13;
    pub(super) const DISCONNECT: u8 = 14;
}
