//! Where a reader of events begins: the selector filter of a link's source (`spec/amqp.md` 6.3).

use super::codec::DecodeError;
use super::value::{Map, Value};
use crate::Timestamp;

/// The key of the selector in a source's filter.
pub const SELECTOR: &str = "apache.org:selector-filter:string";
/// The descriptor that Node and .NET give it.
pub const SELECTOR_CODE: u64 = 0x0000_468C_0000_0004;

/// Where a reader begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventPosition {
    /// With the oldest event that is kept.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// At or after an offset.
    Offset {
        /// The offset.
        offset: u64,
        /// Whether with the event at it.
        inclusive: bool,
    },
    /// At or after a sequence number.
    Sequence {
        /// The number; -1 and below: from the start.
        sequence: i64,
        /// Whether with that event.
        inclusive: bool,
    },
    /// At or after a time of arrival.
    Enqueued {
        /// The time.
        time: Timestamp,
        /// Whether with an event of exactly that time.
        inclusive: bool,
    },
}

impl EventPosition {
    /// Reads the selector's text, in every spelling that clients use.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let _ = text;
        todo!()
    }

    /// Reads a source's filter; without a selector: from the start.
    pub fn from_filter(filter: &Map) -> Result<Self, DecodeError> {
        let _ = filter;
        todo!()
    }

    /// The selector's text, as the newest SDKs write it.
    pub fn to_selector(&self) -> String {
        todo!()
    }

    /// A source's filter with it.
    pub fn to_filter(&self) -> Map {
        let selector = self.to_selector();
        vec![(
            Value::Symbol(SELECTOR.into()),
            Value::Described(Box::new((
                Value::Ulong(SELECTOR_CODE),
                Value::String(selector),
            ))),
        )]
    }
}
