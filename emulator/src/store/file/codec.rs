//! The primitives of what is in a frame: numbers, text, options, JSON values.
//!
//! Integers that are mostly small take seven bits a byte; the rest is as long as it is. JSON is
//! not kept as text, since a number must come back with every bit.

use bytes::Bytes;
use iothub_protocol::Timestamp;
use serde_json::{Map, Number, Value};

/// A frame that is whole and does not make sense; says what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

pub(super) type Decoded<T> = Result<T, Malformed>;

/// Deeper than any twin may be; keeps a malformed frame from using up the stack.
pub(super) const MAX_DEPTH: usize = 128;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const UNSIGNED: u8 = 3;
const SIGNED: u8 = 4;
const FLOAT: u8 = 5;
const STRING: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

/// Appends to a payload.
pub(super) trait Encode {
    fn byte(&mut self, value: u8);
    fn bytes(&mut self, value: &[u8]);
    fn raw(&mut self, value: &[u8]);

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn time(&mut self, value: Timestamp) {
        self.raw(&value.ticks().to_le_bytes());
    }

    fn flag(&mut self, value: bool) {
        self.byte(u8::from(value));
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn map(&mut self, map: &Map<String, Value>) {
        self.number(map.len() as u64);
        for (name, value) in map {
            self.text(name);
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.byte(NULL),
            Value::Bool(false) => self.byte(FALSE),
            Value::Bool(true) => self.byte(TRUE),
            Value::Number(number) => self.json_number(number),
            Value::String(text) => {
                self.byte(STRING);
                self.text(text);
            }
            Value::Array(elements) => {
                self.byte(ARRAY);
                self.number(elements.len() as u64);
                for element in elements {
                    self.value(element);
                }
            }
            Value::Object(members) => {
                self.byte(OBJECT);
                self.map(members);
            }
        }
    }

    fn json_number(&mut self, number: &Number) {
        if let Some(value) = number.as_u64() {
            self.byte(UNSIGNED);
            self.number(value);
        } else if let Some(value) = number.as_i64() {
            self.byte(SIGNED);
            self.raw(&value.to_le_bytes());
        } else {
            self.byte(FLOAT);
            // Every number that is no integer is a double in serde_json's default form.
            self.raw(&number.as_f64().unwrap_or_default().to_bits().to_le_bytes());
        }
    }
}

impl Encode for Vec<u8> {
    fn byte(&mut self, value: u8) {
        self.push(value);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.raw(value);
    }

    fn raw(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }
}

/// Reads a payload from its start.
pub(super) struct Decoder {
    bytes: Bytes,
    at: usize,
}

impl Decoder {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn byte(&mut self) -> Decoded<u8> {
        let byte = *self.bytes.get(self.at).ok_or(Malformed("more bytes"))?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn raw(&mut self, length: usize) -> Decoded<&[u8]> {
        let start = self.at;
        let end = start.checked_add(length).ok_or(Malformed("a length"))?;
        let bytes = self.bytes.get(start..end).ok_or(Malformed("more bytes"))?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        self.raw(N)?.try_into().map_err(|_| Malformed("more bytes"))
    }

    /// Shares the payload's memory.
    pub(super) fn bytes(&mut self) -> Decoded<Bytes> {
        let length = self.length()?;
        let start = self.at;
        self.raw(length)?;
        Ok(self.bytes.slice(start..self.at))
    }

    pub(super) fn number(&mut self) -> Decoded<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number of 64 bits"))
    }

    /// A length of something that takes at least a byte for each.
    pub(super) fn length(&mut self) -> Decoded<usize> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed("a length"))?;
        if length > self.bytes.len() - self.at {
            return Err(Malformed("more bytes"));
        }
        Ok(length)
    }

    pub(super) fn text(&mut self) -> Decoded<&str> {
        let length = self.length()?;
        std::str::from_utf8(self.raw(length)?).map_err(|_| Malformed("UTF-8"))
    }

    pub(super) fn string(&mut self) -> Decoded<String> {
        self.text().map(str::to_owned)
    }

    pub(super) fn time(&mut self) -> Decoded<Timestamp> {
        Ok(Timestamp::from_ticks(i64::from_le_bytes(self.array()?)))
    }

    pub(super) fn flag(&mut self) -> Decoded<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag")),
        }
    }

    pub(super) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Decoded<T>,
    ) -> Decoded<Option<T>> {
        if self.flag()? {
            take(self).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn list<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Decoded<T>,
    ) -> Decoded<Vec<T>> {
        let length = self.length()?;
        (0..length).map(|_| take(self)).collect()
    }

    pub(super) fn map(&mut self) -> Decoded<Map<String, Value>> {
        self.members(MAX_DEPTH)
    }

    /// A JSON value of any kind.
    pub(super) fn json(&mut self) -> Decoded<Value> {
        self.value(MAX_DEPTH)
    }

    fn members(&mut self, depth: usize) -> Decoded<Map<String, Value>> {
        let length = self.length()?;
        let mut map = Map::new();
        for _ in 0..length {
            let name = self.string()?;
            map.insert(name, self.value(depth)?);
        }
        Ok(map)
    }

    fn value(&mut self, depth: usize) -> Decoded<Value> {
        let depth = depth.checked_sub(1).ok_or(Malformed("a value less deep"))?;
        Ok(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            UNSIGNED => self.number()?.into(),
            SIGNED => i64::from_le_bytes(self.array()?).into(),
            FLOAT => {
                let value = f64::from_bits(u64::from_le_bytes(self.array()?));
                Number::from_f64(value)
                    .map(Value::Number)
                    .ok_or(Malformed("a finite number"))?
            }
            STRING => Value::String(self.string()?),
            ARRAY => Value::Array(self.list(|decoder| decoder.value(depth))?),
            OBJECT => Value::Object(self.members(depth)?),
            _ => return Err(Malformed("a kind of JSON value")),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_back_with_every_bit() {
        let object = json!({
            "z": null, "a": [true, false, [], {}], "text": "ä\u{1F600}\0",
            "numbers": [0, 127, 128, u64::MAX, i64::MIN, -1, 0.1, 1e300, 5e-324, 0.1 + 0.2],
        });
        let map = object.as_object().unwrap();
        let mut out = Vec::new();
        out.map(map);

        let decoded = Decoder::new(out.into()).map().unwrap();

        assert_eq!(&decoded, map);
        assert!(
            decoded.keys().eq(map.keys()),
            "the order of members is kept"
        );
    }

    #[test]
    fn too_deep_a_value_is_refused() {
        let mut out = [ARRAY, 1].repeat(10_000);
        out.push(NULL);

        assert_eq!(
            Decoder::new(out.into()).value(MAX_DEPTH),
            Err(Malformed("a value less deep"))
        );
    }

    #[test]
    fn a_length_beyond_the_payload_is_refused_before_anything_is_allocated() {
        let mut out = Vec::new();
        out.number(u64::MAX / 2);

        assert_eq!(Decoder::new(out.into()).map(), Err(Malformed("more bytes")));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value: u64) {
            let mut out = Vec::new();
            out.number(value);

            prop_assert_eq!(Decoder::new(out.into()).number(), Ok(value));
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Decoder::new(bytes.clone().into()).map();
            let _ = Decoder::new(bytes.into()).value(MAX_DEPTH);
        }
    }
}
