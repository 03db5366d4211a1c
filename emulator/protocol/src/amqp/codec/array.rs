//! Writing arrays: one constructor for all elements.

use bytes::{BufMut, BytesMut};

use super::constructor as c;
use super::encode::{Compound, encode, put_list, put_pairs};
use crate::amqp::value::{Array, Value};

/// Writes a value of a type that has one form only.
pub(super) fn put_fixed(out: &mut BytesMut, value: &Value) {
    out.put_u8(constructor(value, false));
    put_element(out, value, false);
}

/// Writes an array; a list, when its elements are not of one type.
pub(super) fn put_array(out: &mut BytesMut, elements: &[Value]) {
    if !is_uniform(&elements.iter().collect::<Vec<_>>()) {
        return put_list(out, elements);
    }
    let array = Compound::begin(out, c::ARRAY_8);
    put_elements(out, &elements.iter().collect::<Vec<_>>());
    array.finish(out, elements.len() as u32);
}

/// Whether values can share one constructor, and what is in them likewise.
fn is_uniform(elements: &[&Value]) -> bool {
    let Some(first) = elements.first() else {
        return true;
    };
    let same_type =
        |element: &&Value| std::mem::discriminant(*element) == std::mem::discriminant(*first);
    if !elements.iter().all(same_type) {
        return false;
    }
    match first {
        Value::Array(_) => elements.iter().all(|element| match element {
            Value::Array(Array(inner)) => is_uniform(&inner.iter().collect::<Vec<_>>()),
            _ => false,
        }),
        Value::Described(described) => {
            matches!(described.0, Value::Ulong(_) | Value::Symbol(_))
                && elements.iter().all(
                    |element| matches!(element, Value::Described(other) if other.0 == described.0),
                )
                && is_uniform(&undescribed(elements))
        }
        _ => true,
    }
}

fn undescribed<'a>(elements: &[&'a Value]) -> Vec<&'a Value> {
    elements
        .iter()
        .map(|element| match element {
            Value::Described(described) => &described.1,
            other => *other,
        })
        .collect()
}

/// The constructor that uniform elements share, and then they, each without one.
fn put_elements(out: &mut BytesMut, elements: &[&Value]) {
    let Some(first) = elements.first() else {
        // An array has a constructor even when it has no elements; nobody asks which.
        return out.put_u8(c::SYMBOL_8);
    };
    if let Value::Described(described) = first {
        out.put_u8(c::DESCRIBED);
        encode(&described.0, out);
        return put_elements(out, &undescribed(elements));
    }
    let wide = elements.iter().any(|element| match element {
        Value::Binary(bytes) => bytes.len() > 255,
        Value::String(text) => text.len() > 255,
        Value::Symbol(symbol) => symbol.as_str().len() > 255,
        _ => false,
    });
    out.put_u8(constructor(first, wide));
    for element in elements {
        put_element(out, element, wide);
    }
}

/// The constructor of a type in an array: of fixed width, and wide for what nests.
fn constructor(value: &Value, wide: bool) -> u8 {
    match value {
        Value::Null => c::NULL,
        Value::Bool(_) => c::BOOL,
        Value::Ubyte(_) => c::UBYTE,
        Value::Ushort(_) => c::USHORT,
        Value::Uint(_) => c::UINT,
        Value::Ulong(_) => c::ULONG,
        Value::Byte(_) => c::BYTE,
        Value::Short(_) => c::SHORT,
        Value::Int(_) => c::INT,
        Value::Long(_) => c::LONG,
        Value::Float(_) => c::FLOAT,
        Value::Double(_) => c::DOUBLE,
        Value::Decimal32(_) => c::DECIMAL_32,
        Value::Decimal64(_) => c::DECIMAL_64,
        Value::Decimal128(_) => c::DECIMAL_128,
        Value::Char(_) => c::CHAR,
        Value::Timestamp(_) => c::TIMESTAMP,
        Value::Uuid(_) => c::UUID,
        Value::Binary(_) if wide => c::BINARY_32,
        Value::Binary(_) => c::BINARY_8,
        Value::String(_) if wide => c::STRING_32,
        Value::String(_) => c::STRING_8,
        Value::Symbol(_) if wide => c::SYMBOL_32,
        Value::Symbol(_) => c::SYMBOL_8,
        Value::List(_) => c::LIST_32,
        Value::Map(_) => c::MAP_32,
        Value::Array(_) => c::ARRAY_32,
        Value::Described(_) => c::DESCRIBED,
    }
}

/// A value in the form that [`constructor`] names, without it.
fn put_element(out: &mut BytesMut, value: &Value, wide: bool) {
    match value {
        Value::Null => {}
        Value::Bool(truth) => out.put_u8((*truth).into()),
        Value::Ubyte(n) => out.put_u8(*n),
        Value::Ushort(n) => out.put_u16(*n),
        Value::Uint(n) => out.put_u32(*n),
        Value::Ulong(n) => out.put_u64(*n),
        Value::Byte(n) => out.put_i8(*n),
        Value::Short(n) => out.put_i16(*n),
        Value::Int(n) => out.put_i32(*n),
        Value::Long(n) | Value::Timestamp(n) => out.put_i64(*n),
        Value::Float(n) => out.put_f32(*n),
        Value::Double(n) => out.put_f64(*n),
        Value::Decimal32(bytes) => out.put_slice(bytes),
        Value::Decimal64(bytes) => out.put_slice(bytes),
        Value::Decimal128(bytes) | Value::Uuid(bytes) => out.put_slice(bytes),
        Value::Char(character) => out.put_u32((*character).into()),
        Value::Binary(bytes) => put_counted(out, bytes, wide),
        Value::String(text) => put_counted(out, text.as_bytes(), wide),
        Value::Symbol(symbol) => put_counted(out, symbol.as_str().as_bytes(), wide),
        Value::List(values) => nest(out, values.len(), |out| {
            values.iter().for_each(|value| encode(value, out));
        }),
        Value::Map(map) => nest(out, 2 * map.len(), |out| put_pairs(out, map)),
        Value::Array(Array(elements)) => nest(out, elements.len(), |out| {
            put_elements(out, &elements.iter().collect::<Vec<_>>());
        }),
        Value::Described(described) => put_element(out, &described.1, wide),
    }
}

fn put_counted(out: &mut BytesMut, bytes: &[u8], wide: bool) {
    if wide {
        out.put_u32(bytes.len() as u32);
    } else {
        // `put_elements` has looked at every length.
        out.put_u8(bytes.len() as u8);
    }
    out.put_slice(bytes);
}

/// A list, map or array in its long form without constructor.
fn nest(out: &mut BytesMut, count: usize, put: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, 8);
    put(out);
    let size = (out.len() - (start + 4)) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&(count as u32).to_be_bytes());
}
