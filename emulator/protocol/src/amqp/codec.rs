//! Values as bytes, both ways (AMQP 1.0 part 1, section 1.2).
//!
//! What is read comes from anywhere: sizes and counts are checked against what is there before
//! anything is allocated, nesting is limited, and what is read refers to the bytes received.

use bytes::{Bytes, BytesMut};

use super::value::Value;

/// Nesting of lists, maps, arrays and descriptors that is read.
pub const MAX_DEPTH: usize = 16;

/// Why bytes are no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are fewer bytes than the value says.
    #[error("the value ends early")]
    Truncated,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
    /// A constructor that does not exist.
    #[error("no type has the constructor {0:#04x}")]
    UnknownConstructor(u8),
    /// A rule of the standard is broken, or a field is not of its type; says which.
    #[error("{0}")]
    Invalid(String),
}

/// Reads one value off the front.
pub fn decode(input: &mut Bytes) -> Result<Value, DecodeError> {
    let _ = input;
    todo!()
}

/// Writes a value at the end, each in its shortest form but for what peers insist on.
pub fn encode(value: &Value, out: &mut BytesMut) {
    let _ = (value, out);
    todo!()
}
