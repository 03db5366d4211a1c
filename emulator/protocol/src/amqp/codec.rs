//! Values as bytes, both ways (AMQP 1.0 part 1, section 1.2).
//!
//! What is read comes from anywhere: sizes and counts are checked against what is there before
//! anything is allocated, nesting is limited, and what is read refers to the bytes received.
//! What is written often goes straight into the buffer, without a [`Value`] in between: the `put`
//! functions and [`Compound`].

mod array;
mod decode;
mod encode;
mod fields;

use bytes::{Buf, Bytes};

pub use encode::{
    Compound, encode, put_binary, put_bool, put_descriptor, put_int, put_long, put_null,
    put_string, put_symbol, put_timestamp, put_ubyte, put_uint, put_ulong, put_ushort, put_uuid,
};

pub(super) use decode::Reader;
pub(super) use encode::{put_described, put_map_or_null, put_optional, put_symbols};
pub(super) use fields::Fields;

use super::value::Value;

/// Nesting of lists, maps, arrays and descriptors that is read.
pub const MAX_DEPTH: usize = 16;

/// Values that a frame or a message may consist of, those within others counted: a value takes
/// more memory than the one byte that may stand for it.
pub const MAX_VALUES: usize = 65_536;

/// Why bytes are no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are fewer bytes than the value says.
    #[error("the value ends early")]
    Truncated,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
    /// More than [`MAX_VALUES`], or more than the bytes can stand for.
    #[error("too many values")]
    TooMany,
    /// A constructor that does not exist.
    #[error("no type has the constructor {0:#04x}")]
    UnknownConstructor(u8),
    /// The frame itself is wrong: its size, its type, or what follows its performative.
    #[error("{0}")]
    Framing(String),
    /// A rule of the standard is broken, or a field is not of its type; says which.
    #[error("{0}")]
    Invalid(String),
}

impl DecodeError {
    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }
}

/// Reads one value off the front.
pub fn decode(input: &mut Bytes) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(input);
    let value = reader.value()?;
    let read = reader.position();
    input.advance(read);
    Ok(value)
}

/// Constructors (AMQP 1.0 part 1, 1.6).
mod constructor {
    pub(super) const DESCRIBED: u8 = 0x00;
    pub(super) const NULL: u8 = 0x40;
    pub(super) const TRUE: u8 = 0x41;
    pub(super) const FALSE: u8 = 0x42;
    pub(super) const UINT_0: u8 = 0x43;
    pub(super) const ULONG_0: u8 = 0x44;
    pub(super) const LIST_0: u8 = 0x45;
    pub(super) const UBYTE: u8 = 0x50;
    pub(super) const BYTE: u8 = 0x51;
    pub(super) const SMALL_UINT: u8 = 0x52;
    pub(super) const SMALL_ULONG: u8 = 0x53;
    pub(super) const SMALL_INT: u8 = 0x54;
    pub(super) const SMALL_LONG: u8 = 0x55;
    pub(super) const BOOL: u8 = 0x56;
    pub(super) const USHORT: u8 = 0x60;
    pub(super) const SHORT: u8 = 0x61;
    pub(super) const UINT: u8 = 0x70;
    pub(super) const INT: u8 = 0x71;
    pub(super) const FLOAT: u8 = 0x72;
    pub(super) const CHAR: u8 = 0x73;
    pub(super) const DECIMAL_32: u8 = 0x74;
    pub(super) const ULONG: u8 = 0x80;
    pub(super) const LONG: u8 = 0x81;
    pub(super) const DOUBLE: u8 = 0x82;
    pub(super) const TIMESTAMP: u8 = 0x83;
    pub(super) const DECIMAL_64: u8 = 0x84;
    pub(super) const DECIMAL_128: u8 = 0x94;
    pub(super) const UUID: u8 = 0x98;
    pub(super) const BINARY_8: u8 = 0xa0;
    pub(super) const STRING_8: u8 = 0xa1;
    pub(super) const SYMBOL_8: u8 = 0xa3;
    pub(super) const BINARY_32: u8 = 0xb0;
    pub(super) const STRING_32: u8 = 0xb1;
    pub(super) const SYMBOL_32: u8 = 0xb3;
    pub(super) const LIST_8: u8 = 0xc0;
    pub(super) const MAP_8: u8 = 0xc1;
    pub(super) const LIST_32: u8 = 0xd0;
    pub(super) const MAP_32: u8 = 0xd1;
    pub(super) const ARRAY_8: u8 = 0xe0;
    pub(super) const ARRAY_32: u8 = 0xf0;
}

#[cfg(test)]
mod tests;
