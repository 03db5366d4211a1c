//! Writing values.

use bytes::{BufMut, BytesMut};

use super::array::{self, put_array};
use super::constructor as c;
use crate::amqp::value::{Array, Map, Symbol, Value};

/// Writes a value at the end, each in its shortest form. An [`Array`] whose elements are not of one
/// type, which no bytes can stand for, is written as a list.
pub fn encode(value: &Value, out: &mut BytesMut) {
    match value {
        Value::Null => put_null(out),
        Value::Bool(truth) => put_bool(out, *truth),
        Value::Ubyte(n) => put_ubyte(out, *n),
        Value::Ushort(n) => put_ushort(out, *n),
        Value::Uint(n) => put_uint(out, *n),
        Value::Ulong(n) => put_ulong(out, *n),
        Value::Int(n) => put_int(out, *n),
        Value::Long(n) => put_long(out, *n),
        Value::Timestamp(millis) => put_timestamp(out, *millis),
        Value::Uuid(uuid) => put_uuid(out, uuid),
        Value::Binary(bytes) => put_binary(out, bytes),
        Value::String(text) => put_string(out, text),
        Value::Symbol(symbol) => put_symbol(out, symbol.as_str()),
        Value::List(values) => put_list(out, values),
        Value::Map(map) => put_map(out, map),
        Value::Array(Array(elements)) => put_array(out, elements),
        Value::Described(described) => {
            out.put_u8(c::DESCRIBED);
            encode(&described.0, out);
            encode(&described.1, out);
        }
        Value::Byte(_)
        | Value::Short(_)
        | Value::Float(_)
        | Value::Double(_)
        | Value::Decimal32(_)
        | Value::Decimal64(_)
        | Value::Decimal128(_)
        | Value::Char(_) => {
            array::put_fixed(out, value);
        }
    }
}

/// Writes null.
pub fn put_null(out: &mut BytesMut) {
    out.put_u8(c::NULL);
}

/// Writes a truth value.
pub fn put_bool(out: &mut BytesMut, truth: bool) {
    out.put_u8(if truth { c::TRUE } else { c::FALSE });
}

/// Writes a ubyte.
pub fn put_ubyte(out: &mut BytesMut, n: u8) {
    out.put_slice(&[c::UBYTE, n]);
}

/// Writes a ushort.
pub fn put_ushort(out: &mut BytesMut, n: u16) {
    out.put_u8(c::USHORT);
    out.put_u16(n);
}

/// Writes a uint.
pub fn put_uint(out: &mut BytesMut, n: u32) {
    match u8::try_from(n) {
        Ok(0) => out.put_u8(c::UINT_0),
        Ok(small) => out.put_slice(&[c::SMALL_UINT, small]),
        Err(_) => {
            out.put_u8(c::UINT);
            out.put_u32(n);
        }
    }
}

/// Writes a ulong.
pub fn put_ulong(out: &mut BytesMut, n: u64) {
    match u8::try_from(n) {
        Ok(0) => out.put_u8(c::ULONG_0),
        Ok(small) => out.put_slice(&[c::SMALL_ULONG, small]),
        Err(_) => {
            out.put_u8(c::ULONG);
            out.put_u64(n);
        }
    }
}

/// Writes an int.
pub fn put_int(out: &mut BytesMut, n: i32) {
    if let Ok(small) = i8::try_from(n) {
        out.put_u8(c::SMALL_INT);
        out.put_i8(small);
    } else {
        out.put_u8(c::INT);
        out.put_i32(n);
    }
}

/// Writes a long.
pub fn put_long(out: &mut BytesMut, n: i64) {
    if let Ok(small) = i8::try_from(n) {
        out.put_u8(c::SMALL_LONG);
        out.put_i8(small);
    } else {
        out.put_u8(c::LONG);
        out.put_i64(n);
    }
}

/// Writes a time: milliseconds since 1970.
pub fn put_timestamp(out: &mut BytesMut, millis: i64) {
    out.put_u8(c::TIMESTAMP);
    out.put_i64(millis);
}

/// Writes a UUID, its bytes in the order of its text.
pub fn put_uuid(out: &mut BytesMut, uuid: &[u8; 16]) {
    out.put_u8(c::UUID);
    out.put_slice(uuid);
}

/// Writes bytes.
pub fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    put_variable(out, c::BINARY_8, bytes);
}

/// Writes text.
pub fn put_string(out: &mut BytesMut, text: &str) {
    put_variable(out, c::STRING_8, text.as_bytes());
}

/// Writes a symbol.
pub fn put_symbol(out: &mut BytesMut, name: &str) {
    put_variable(out, c::SYMBOL_8, name.as_bytes());
}

/// The constructor of the long form is that of the short one plus 16.
fn put_variable(out: &mut BytesMut, short: u8, bytes: &[u8]) {
    if let Ok(length) = u8::try_from(bytes.len()) {
        out.put_slice(&[short, length]);
    } else {
        out.put_u8(short + 0x10);
        out.put_u32(bytes.len() as u32);
    }
    out.put_slice(bytes);
}

/// Writes the descriptor of a type of the standard; its value follows. As a small ulong, since a
/// client takes the third byte for the type (`spec/amqp.md` 2.3).
pub fn put_descriptor(out: &mut BytesMut, code: u8) {
    out.put_slice(&[c::DESCRIBED, c::SMALL_ULONG, code]);
}

/// A list or map that is being written: begun, its values put, and finished with their count.
///
/// ```
/// use bytes::BytesMut;
/// use iothub_protocol::amqp::codec::{Compound, put_long, put_symbol};
///
/// let mut out = BytesMut::new();
/// let map = Compound::map(&mut out);
/// put_symbol(&mut out, "n");
/// put_long(&mut out, 7);
/// map.finish(&mut out, 2);
/// assert_eq!(out, b"\xc1\x06\x02\xa3\x01n\x55\x07"[..]);
/// ```
#[must_use = "sizes are written by `finish`"]
#[derive(Debug)]
pub struct Compound {
    /// Where its constructor is.
    start: usize,
    wide: bool,
}

impl Compound {
    /// Begins a list.
    pub fn list(out: &mut BytesMut) -> Self {
        Self::begin(out, c::LIST_8)
    }

    /// Begins a map; a key and its value count as two.
    pub fn map(out: &mut BytesMut) -> Self {
        Self::begin(out, c::MAP_8)
    }

    /// Begins a map that will most likely be longer than 255 bytes: it then needs not be moved
    /// when it is finished.
    pub fn long_map(out: &mut BytesMut) -> Self {
        Self::begin_wide(out, c::MAP_32)
    }

    pub(super) fn begin(out: &mut BytesMut, constructor: u8) -> Self {
        let start = out.len();
        out.put_slice(&[constructor, 0, 0]);
        Self { start, wide: false }
    }

    fn begin_wide(out: &mut BytesMut, constructor: u8) -> Self {
        let start = out.len();
        out.put_slice(&[constructor, 0, 0, 0, 0, 0, 0, 0, 0]);
        Self { start, wide: true }
    }

    /// Ends it: writes its size and the count of the values put since it began.
    pub fn finish(self, out: &mut BytesMut, count: u32) {
        let (start, wide) = (self.start, self.wide);
        if !wide {
            let size = out.len() - (start + 2);
            if let (Ok(size), Ok(count)) = (u8::try_from(size), u8::try_from(count)) {
                out[start + 1] = size;
                out[start + 2] = count;
                return;
            }
            // The long form's header has six bytes more, and its constructor is 16 higher.
            out.put_bytes(0, 6);
            let moved = start + 3..out.len() - 6;
            out.copy_within(moved, start + 9);
            out[start] += 0x10;
        }
        let size = (out.len() - (start + 5)) as u32;
        out[start + 1..start + 5].copy_from_slice(&size.to_be_bytes());
        out[start + 5..start + 9].copy_from_slice(&count.to_be_bytes());
    }
}

pub(super) fn put_list(out: &mut BytesMut, values: &[Value]) {
    if values.is_empty() {
        return out.put_u8(c::LIST_0);
    }
    let list = Compound::list(out);
    for value in values {
        encode(value, out);
    }
    list.finish(out, values.len() as u32);
}

fn put_map(out: &mut BytesMut, map: &Map) {
    let compound = Compound::map(out);
    put_pairs(out, map);
    compound.finish(out, 2 * map.len() as u32);
}

pub(super) fn put_pairs(out: &mut BytesMut, map: &Map) {
    for (key, value) in map {
        encode(key, out);
        encode(value, out);
    }
}

/// Writes a map; null when it is empty.
pub(in crate::amqp) fn put_map_or_null(out: &mut BytesMut, map: &Map) {
    if map.is_empty() {
        put_null(out);
    } else {
        put_map(out, map);
    }
}

/// Writes a described value of the standard.
pub(in crate::amqp) fn put_described(out: &mut BytesMut, code: u8, value: &Value) {
    put_descriptor(out, code);
    encode(value, out);
}

/// Writes what is there, or null.
pub(in crate::amqp) fn put_optional<T>(
    out: &mut BytesMut,
    value: Option<T>,
    put: impl FnOnce(&mut BytesMut, T),
) {
    match value {
        Some(value) => put(out, value),
        None => put_null(out),
    }
}

/// Writes a field of several symbols: null when there is none, else an array, even of one.
pub(in crate::amqp) fn put_symbols(out: &mut BytesMut, symbols: &[Symbol]) {
    if symbols.is_empty() {
        return put_null(out);
    }
    let elements: Vec<Value> = symbols.iter().cloned().map(Value::Symbol).collect();
    put_array(out, &elements);
}
