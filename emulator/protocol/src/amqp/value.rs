//! AMQP values (AMQP 1.0 part 1).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::Timestamp;

/// A value of any type.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// Eight bits without sign.
    Ubyte(u8),
    /// Sixteen bits without sign.
    Ushort(u16),
    /// Thirty-two bits without sign.
    Uint(u32),
    /// Sixty-four bits without sign.
    Ulong(u64),
    /// Eight bits.
    Byte(i8),
    /// Sixteen bits.
    Short(i16),
    /// Thirty-two bits.
    Int(i32),
    /// Sixty-four bits.
    Long(i64),
    /// A binary floating-point number.
    Float(f32),
    /// A binary floating-point number.
    Double(f64),
    /// A decimal number, not interpreted.
    Decimal32([u8; 4]),
    /// A decimal number, not interpreted.
    Decimal64([u8; 8]),
    /// A decimal number, not interpreted.
    Decimal128([u8; 16]),
    /// A character.
    Char(char),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// A UUID, its bytes in the order of its text.
    Uuid([u8; 16]),
    /// Bytes.
    Binary(Bytes),
    /// Text.
    String(String),
    /// A name out of a constrained domain; ASCII.
    Symbol(Symbol),
    /// Values of any types.
    List(Vec<Self>),
    /// Keys and values in the order in which they travel.
    Map(Map),
    /// Values of one type.
    Array(Array),
    /// A value with a descriptor.
    Described(Box<(Self, Self)>),
}

/// Keys and values in the order in which they travel.
pub type Map = Vec<(Value, Value)>;

/// Values of one type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array(pub Vec<Value>);

/// A name out of a constrained domain; ASCII.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Cow<'static, str>);

impl Symbol {
    /// A name that is known in advance.
    pub const fn of(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Symbol {
    fn from(name: &str) -> Self {
        Self(Cow::Owned(name.to_owned()))
    }
}

impl From<String> for Symbol {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),* $(,)?) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

from! {
    bool => Bool, u8 => Ubyte, u16 => Ushort, u32 => Uint, u64 => Ulong,
    i8 => Byte, i16 => Short, i32 => Int, i64 => Long, f32 => Float, f64 => Double,
    String => String, Symbol => Symbol, Bytes => Binary, Array => Array,
}

impl From<Timestamp> for Value {
    /// Whole milliseconds: AMQP has no finer ones.
    fn from(time: Timestamp) -> Self {
        Self::Timestamp(time.unix_millis())
    }
}

impl Value {
    /// The text of a string or symbol.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Symbol(symbol) => Some(symbol.as_str()),
            _ => None,
        }
    }

    /// The value of any integer type, where it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Ubyte(n) => Some(n.into()),
            Self::Ushort(n) => Some(n.into()),
            Self::Uint(n) => Some(n.into()),
            Self::Ulong(n) => i64::try_from(n).ok(),
            Self::Byte(n) => Some(n.into()),
            Self::Short(n) => Some(n.into()),
            Self::Int(n) => Some(n.into()),
            Self::Long(n) => Some(n),
            _ => None,
        }
    }
}

/// The value under a key that is a symbol or string of this name.
pub fn lookup<'a>(map: &'a [(Value, Value)], name: &str) -> Option<&'a Value> {
    map.iter()
        .find(|(key, _)| key.as_text() == Some(name))
        .map(|(_, value)| value)
}
