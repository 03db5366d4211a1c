//! Reading the lists that have a type: performatives, sections of messages, ends of links.

use bytes::Bytes;

use super::constructor as c;
use super::decode::{Extent, Reader};
use super::{DecodeError, Value};
use crate::amqp::value::{Map, Symbol};

/// The fields of a list, front to back. A field that is missing at the end is null, and fields
/// beyond those that are known are passed over (AMQP 1.0 part 1, 1.4).
pub(in crate::amqp) struct Fields {
    /// What the list is, for errors.
    name: &'static str,
    extent: Extent,
    left: usize,
}

impl Fields {
    /// Goes into a list.
    pub(in crate::amqp) fn enter(
        reader: &mut Reader<'_>,
        name: &'static str,
    ) -> Result<Self, DecodeError> {
        let constructor = reader.byte()?;
        if !matches!(constructor, c::LIST_0 | c::LIST_8 | c::LIST_32) {
            return Err(DecodeError::Invalid(format!("{name} is not a list")));
        }
        let extent = reader.enter(constructor)?;
        let left = extent.count;
        Ok(Self { name, extent, left })
    }

    /// Leaves the list.
    pub(in crate::amqp) fn leave(self, reader: &mut Reader<'_>) {
        reader.leave(&self.extent);
    }

    /// That a field which must be there is not.
    pub(in crate::amqp) fn lacks(&self, field: &str) -> DecodeError {
        DecodeError::Invalid(format!("{} lacks {field}", self.name))
    }

    /// Reads the next field by what is made of its constructor; `None`: it is null.
    pub(in crate::amqp) fn next<'a, T>(
        &mut self,
        reader: &mut Reader<'a>,
        read: impl FnOnce(&mut Reader<'a>, u8) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        match reader.byte()? {
            c::NULL => Ok(None),
            constructor => read(reader, constructor)
                .map(Some)
                .map_err(|error| match error {
                    DecodeError::Invalid(what) => {
                        DecodeError::Invalid(format!("{}: {what}", self.name))
                    }
                    error => error,
                }),
        }
    }

    pub(in crate::amqp) fn bool(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<bool>, DecodeError> {
        self.next(reader, Reader::bool_of)
    }

    /// A truth value that is false when absent.
    pub(in crate::amqp) fn flag(&mut self, reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
        Ok(self.bool(reader)?.unwrap_or(false))
    }

    pub(in crate::amqp) fn ubyte(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<u8>, DecodeError> {
        self.next(reader, Reader::ubyte_of)
    }

    pub(in crate::amqp) fn ushort(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<u16>, DecodeError> {
        self.next(reader, Reader::ushort_of)
    }

    pub(in crate::amqp) fn uint(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<u32>, DecodeError> {
        self.next(reader, Reader::uint_of)
    }

    pub(in crate::amqp) fn ulong(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<u64>, DecodeError> {
        self.next(reader, Reader::ulong_of)
    }

    pub(in crate::amqp) fn timestamp(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<i64>, DecodeError> {
        self.next(reader, Reader::timestamp_of)
    }

    pub(in crate::amqp) fn binary(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<Bytes>, DecodeError> {
        self.next(reader, Reader::binary_of)
    }

    pub(in crate::amqp) fn text(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<String>, DecodeError> {
        self.next(reader, |reader, constructor| {
            reader.text_of(constructor).map(str::to_owned)
        })
    }

    pub(in crate::amqp) fn symbol(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<Symbol>, DecodeError> {
        self.next(reader, |reader, constructor| {
            match reader.text_of(constructor)? {
                text if text.is_ascii() => Ok(Symbol::from(text)),
                _ => Err(DecodeError::invalid("a symbol is not ASCII")),
            }
        })
    }

    /// A field that may hold several symbols: one, or an array of them (AMQP 1.0 part 1, 1.4).
    pub(in crate::amqp) fn symbols(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Vec<Symbol>, DecodeError> {
        let elements = match self.next(reader, Reader::value_of)? {
            None => return Ok(Vec::new()),
            Some(Value::Array(array)) => array.0,
            Some(Value::List(list)) => list,
            Some(single) => vec![single],
        };
        elements
            .into_iter()
            .map(|element| match element {
                Value::Symbol(symbol) => Ok(symbol),
                Value::String(text) if text.is_ascii() => Ok(Symbol::from(text)),
                _ => Err(DecodeError::Invalid(format!(
                    "{}: one of several symbols is none",
                    self.name
                ))),
            })
            .collect()
    }

    /// A map that is empty when absent.
    pub(in crate::amqp) fn map(&mut self, reader: &mut Reader<'_>) -> Result<Map, DecodeError> {
        Ok(self.next(reader, Reader::map_of)?.unwrap_or_default())
    }

    pub(in crate::amqp) fn value(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Option<Value>, DecodeError> {
        self.next(reader, Reader::value_of)
    }
}
