//! Reading values.

use bytes::Bytes;

use super::constructor as c;
use super::{DecodeError, MAX_DEPTH, MAX_VALUES};
use crate::amqp::value::{Array, Map, Symbol, Value};

/// Reads the values of a frame or message, front to back. After an error it is of no use.
pub(in crate::amqp) struct Reader<'a> {
    input: &'a Bytes,
    at: usize,
    /// Where the innermost list, map or array ends.
    end: usize,
    /// Values that may still be made.
    values_left: usize,
}

/// Where a list, map or array ends, and how many values it has.
pub(super) struct Extent {
    pub(super) end: usize,
    pub(super) count: usize,
    outer_end: usize,
}

impl<'a> Reader<'a> {
    pub(in crate::amqp) fn new(input: &'a Bytes) -> Self {
        Self {
            input,
            at: 0,
            end: input.len(),
            // The elements of an array may take no bytes at all, and share a descriptor of which
            // each has a copy. What is sent in earnest stays far below this; what is not cannot
            // fill the memory by a few bytes.
            values_left: MAX_VALUES.min(input.len().saturating_mul(4).saturating_add(16)),
        }
    }

    /// Bytes read so far.
    pub(in crate::amqp) fn position(&self) -> usize {
        self.at
    }

    /// Whether everything is read.
    pub(in crate::amqp) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// One value of any type.
    pub(in crate::amqp) fn value(&mut self) -> Result<Value, DecodeError> {
        self.nested(0)
    }

    /// The value behind a constructor that is read already.
    pub(in crate::amqp) fn value_of(&mut self, constructor: u8) -> Result<Value, DecodeError> {
        self.charge(1)?;
        self.body(constructor, 0)
    }

    /// The next byte.
    pub(in crate::amqp) fn byte(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.fixed()?;
        Ok(byte)
    }

    fn nested(&mut self, depth: usize) -> Result<Value, DecodeError> {
        self.charge(1)?;
        let constructor = self.byte()?;
        self.body(constructor, depth)
    }

    fn charge(&mut self, values: usize) -> Result<(), DecodeError> {
        self.values_left = self
            .values_left
            .checked_sub(values)
            .ok_or(DecodeError::TooMany)?;
        Ok(())
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.input[self.at..self.end]
            .first_chunk()
            .ok_or(DecodeError::Truncated)?;
        self.at += N;
        Ok(*bytes)
    }

    fn size_8(&mut self) -> Result<usize, DecodeError> {
        Ok(usize::from(self.byte()?))
    }

    fn size_32(&mut self) -> Result<usize, DecodeError> {
        let size = u32::from_be_bytes(self.fixed()?);
        usize::try_from(size).map_err(|_| DecodeError::Truncated)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let input: &'a Bytes = self.input;
        let bytes = input[self.at..self.end]
            .get(..length)
            .ok_or(DecodeError::Truncated)?;
        self.at += length;
        Ok(bytes)
    }

    fn shared(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let from = self.at;
        self.slice(length)?;
        Ok(self.input.slice(from..from + length))
    }

    fn str(&mut self, length: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.slice(length)?)
            .map_err(|_| DecodeError::invalid("a string is not UTF-8"))
    }

    fn ascii(&mut self, length: usize) -> Result<&'a str, DecodeError> {
        match self.str(length) {
            Ok(text) if text.is_ascii() => Ok(text),
            Err(DecodeError::Truncated) => Err(DecodeError::Truncated),
            _ => Err(DecodeError::invalid("a symbol is not ASCII")),
        }
    }

    pub(in crate::amqp) fn bool_of(&mut self, constructor: u8) -> Result<bool, DecodeError> {
        match constructor {
            c::TRUE => Ok(true),
            c::FALSE => Ok(false),
            c::BOOL => match self.byte()? {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(DecodeError::invalid("a boolean is neither 0 nor 1")),
            },
            _ => Err(other_type("a boolean", constructor)),
        }
    }

    pub(in crate::amqp) fn uint_of(&mut self, constructor: u8) -> Result<u32, DecodeError> {
        match constructor {
            c::UINT_0 => Ok(0),
            c::SMALL_UINT => Ok(self.byte()?.into()),
            c::UINT => Ok(u32::from_be_bytes(self.fixed()?)),
            _ => Err(other_type("a uint", constructor)),
        }
    }

    pub(in crate::amqp) fn ulong_of(&mut self, constructor: u8) -> Result<u64, DecodeError> {
        match constructor {
            c::ULONG_0 => Ok(0),
            c::SMALL_ULONG => Ok(self.byte()?.into()),
            c::ULONG => Ok(u64::from_be_bytes(self.fixed()?)),
            _ => Err(other_type("a ulong", constructor)),
        }
    }

    pub(in crate::amqp) fn ubyte_of(&mut self, constructor: u8) -> Result<u8, DecodeError> {
        match constructor {
            c::UBYTE => self.byte(),
            _ => Err(other_type("a ubyte", constructor)),
        }
    }

    pub(in crate::amqp) fn ushort_of(&mut self, constructor: u8) -> Result<u16, DecodeError> {
        match constructor {
            c::USHORT => Ok(u16::from_be_bytes(self.fixed()?)),
            _ => Err(other_type("a ushort", constructor)),
        }
    }

    pub(in crate::amqp) fn timestamp_of(&mut self, constructor: u8) -> Result<i64, DecodeError> {
        match constructor {
            c::TIMESTAMP => Ok(i64::from_be_bytes(self.fixed()?)),
            _ => Err(other_type("a timestamp", constructor)),
        }
    }

    pub(in crate::amqp) fn binary_of(&mut self, constructor: u8) -> Result<Bytes, DecodeError> {
        let length = match constructor {
            c::BINARY_8 => self.size_8()?,
            c::BINARY_32 => self.size_32()?,
            _ => return Err(other_type("binary", constructor)),
        };
        self.shared(length)
    }

    /// A string, or a symbol where a string is expected and the other way round: peers mix them up,
    /// and it does no harm.
    pub(in crate::amqp) fn text_of(&mut self, constructor: u8) -> Result<&'a str, DecodeError> {
        match constructor {
            c::STRING_8 | c::STRING_32 => {
                let length = self.length_of(constructor)?;
                self.str(length)
            }
            c::SYMBOL_8 | c::SYMBOL_32 => {
                let length = self.length_of(constructor)?;
                self.ascii(length)
            }
            _ => Err(other_type("text", constructor)),
        }
    }

    fn length_of(&mut self, constructor: u8) -> Result<usize, DecodeError> {
        // The high half byte says how wide the length is (AMQP 1.0 part 1, 1.2.2).
        if constructor & 0xf0 == 0xa0 {
            self.size_8()
        } else {
            self.size_32()
        }
    }

    pub(in crate::amqp) fn map_of(&mut self, constructor: u8) -> Result<Map, DecodeError> {
        self.map(constructor, 0)
    }

    /// Goes into a list, map or array: until [`Reader::leave`], nothing beyond its end is read.
    pub(super) fn enter(&mut self, constructor: u8) -> Result<Extent, DecodeError> {
        let (size, count, width) = match constructor {
            c::LIST_8 | c::MAP_8 | c::ARRAY_8 => (self.size_8()?, self.size_8()?, 1),
            c::LIST_32 | c::MAP_32 | c::ARRAY_32 => (self.size_32()?, self.size_32()?, 4),
            c::LIST_0 => (0, 0, 0),
            _ => return Err(other_type("a list", constructor)),
        };
        // The size counts what is behind it, the count among it.
        let size = size
            .checked_sub(width)
            .ok_or_else(|| DecodeError::invalid("a size does not hold its count"))?;
        if size > self.end - self.at {
            return Err(DecodeError::Truncated);
        }
        let extent = Extent {
            end: self.at + size,
            count,
            outer_end: self.end,
        };
        self.end = extent.end;
        Ok(extent)
    }

    /// Leaves what was entered, whether or not all of it was read.
    pub(super) fn leave(&mut self, extent: &Extent) {
        self.at = extent.end;
        self.end = extent.outer_end;
    }

    /// Leaves what was entered and must be read by now.
    fn complete(&mut self, extent: &Extent) -> Result<(), DecodeError> {
        if self.at != extent.end {
            return Err(DecodeError::invalid(
                "a size does not match the values in it",
            ));
        }
        self.leave(extent);
        Ok(())
    }

    fn body(&mut self, constructor: u8, depth: usize) -> Result<Value, DecodeError> {
        Ok(match constructor {
            c::DESCRIBED => {
                let depth = deeper(depth)?;
                let descriptor = self.nested(depth)?;
                Value::Described(Box::new((descriptor, self.nested(depth)?)))
            }
            c::NULL => Value::Null,
            c::TRUE | c::FALSE | c::BOOL => Value::Bool(self.bool_of(constructor)?),
            c::UBYTE => Value::Ubyte(self.byte()?),
            c::USHORT => Value::Ushort(self.ushort_of(constructor)?),
            c::UINT_0 | c::SMALL_UINT | c::UINT => Value::Uint(self.uint_of(constructor)?),
            c::ULONG_0 | c::SMALL_ULONG | c::ULONG => Value::Ulong(self.ulong_of(constructor)?),
            c::BYTE => Value::Byte(i8::from_be_bytes(self.fixed()?)),
            c::SHORT => Value::Short(i16::from_be_bytes(self.fixed()?)),
            c::SMALL_INT => Value::Int(i8::from_be_bytes(self.fixed()?).into()),
            c::INT => Value::Int(i32::from_be_bytes(self.fixed()?)),
            c::SMALL_LONG => Value::Long(i8::from_be_bytes(self.fixed()?).into()),
            c::LONG => Value::Long(i64::from_be_bytes(self.fixed()?)),
            c::FLOAT => Value::Float(f32::from_be_bytes(self.fixed()?)),
            c::DOUBLE => Value::Double(f64::from_be_bytes(self.fixed()?)),
            c::DECIMAL_32 => Value::Decimal32(self.fixed()?),
            c::DECIMAL_64 => Value::Decimal64(self.fixed()?),
            c::DECIMAL_128 => Value::Decimal128(self.fixed()?),
            c::CHAR => char::from_u32(u32::from_be_bytes(self.fixed()?))
                .map(Value::Char)
                .ok_or_else(|| DecodeError::invalid("a character does not exist"))?,
            c::TIMESTAMP => Value::Timestamp(self.timestamp_of(constructor)?),
            c::UUID => Value::Uuid(self.fixed()?),
            c::BINARY_8 | c::BINARY_32 => Value::Binary(self.binary_of(constructor)?),
            c::STRING_8 | c::STRING_32 => Value::String(self.text_of(constructor)?.to_owned()),
            c::SYMBOL_8 | c::SYMBOL_32 => Value::Symbol(Symbol::from(self.text_of(constructor)?)),
            c::LIST_0 | c::LIST_8 | c::LIST_32 => Value::List(self.list(constructor, depth)?),
            c::MAP_8 | c::MAP_32 => Value::Map(self.map(constructor, depth)?),
            c::ARRAY_8 | c::ARRAY_32 => Value::Array(self.array(constructor, depth)?),
            unknown => return Err(DecodeError::UnknownConstructor(unknown)),
        })
    }

    fn list(&mut self, constructor: u8, depth: usize) -> Result<Vec<Value>, DecodeError> {
        let depth = deeper(depth)?;
        let extent = self.enter(constructor)?;
        let mut values = Vec::with_capacity(self.capacity(extent.count)?);
        for _ in 0..extent.count {
            values.push(self.nested(depth)?);
        }
        self.complete(&extent)?;
        Ok(values)
    }

    /// A value behind its constructor takes at least a byte. Room for the first few is made at
    /// once; lists that nest would otherwise each claim the whole input.
    fn capacity(&self, count: usize) -> Result<usize, DecodeError> {
        if count > self.end - self.at {
            return Err(DecodeError::Truncated);
        }
        Ok(count.min(16))
    }

    fn map(&mut self, constructor: u8, depth: usize) -> Result<Map, DecodeError> {
        if !matches!(constructor, c::MAP_8 | c::MAP_32) {
            return Err(other_type("a map", constructor));
        }
        let depth = deeper(depth)?;
        let extent = self.enter(constructor)?;
        if extent.count % 2 != 0 {
            return Err(DecodeError::invalid("a key of a map has no value"));
        }
        let mut pairs = Map::with_capacity(self.capacity(extent.count)? / 2);
        for _ in 0..extent.count / 2 {
            let key = self.nested(depth)?;
            pairs.push((key, self.nested(depth)?));
        }
        self.complete(&extent)?;
        Ok(pairs)
    }

    fn array(&mut self, constructor: u8, depth: usize) -> Result<Array, DecodeError> {
        let depth = deeper(depth)?;
        let extent = self.enter(constructor)?;
        let elements = self.elements(extent.count, depth)?;
        self.complete(&extent)?;
        Ok(Array(elements))
    }

    /// Elements behind the one constructor that they share.
    fn elements(&mut self, count: usize, depth: usize) -> Result<Vec<Value>, DecodeError> {
        let constructor = self.byte()?;
        if constructor == c::DESCRIBED {
            let depth = deeper(depth)?;
            let descriptor = self.nested(depth)?;
            // Every element gets a copy, so only what the standard does not reserve, and its
            // length counts.
            let cost = match &descriptor {
                Value::Ulong(_) => 1,
                Value::Symbol(symbol) => 1 + symbol.as_str().len() / 16,
                _ => {
                    return Err(DecodeError::invalid(
                        "a descriptor is no ulong and no symbol",
                    ));
                }
            };
            self.charge(count.saturating_mul(cost))?;
            let elements = self.elements(count, depth)?;
            return Ok(elements
                .into_iter()
                .map(|element| Value::Described(Box::new((descriptor.clone(), element))))
                .collect());
        }
        self.charge(count)?;
        let mut elements = Vec::with_capacity(count.min(16));
        for _ in 0..count {
            elements.push(self.body(constructor, depth)?);
        }
        Ok(elements)
    }
}

fn deeper(depth: usize) -> Result<usize, DecodeError> {
    if depth < MAX_DEPTH {
        Ok(depth + 1)
    } else {
        Err(DecodeError::TooDeep)
    }
}

fn other_type(expected: &str, constructor: u8) -> DecodeError {
    DecodeError::Invalid(format!("{constructor:#04x} is not {expected}"))
}
