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

const PREFIX: &str = "amqp.annotation.";

impl EventPosition {
    /// Reads the selector's text, in every spelling that clients use: quoted and not, and two names
    /// for the time.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let refuse = || DecodeError::Invalid(format!("the selector {text:?} is not understood"));
        let (name, value) = text.split_once('>').ok_or_else(refuse)?;
        let name = name.trim().to_ascii_lowercase();
        let (inclusive, value) = match value.strip_prefix('=') {
            Some(value) => (true, value.trim()),
            None => (false, value.trim()),
        };
        let value = match value.strip_prefix('\'') {
            Some(quoted) => quoted.strip_suffix('\'').ok_or_else(refuse)?,
            None => value,
        };
        let number = || value.parse::<i64>().map_err(|_| refuse());
        match name.strip_prefix(PREFIX).ok_or_else(refuse)? {
            "x-opt-offset" => match value {
                "-1" => Ok(Self::Earliest),
                "@latest" => Ok(Self::Latest),
                _ => Ok(Self::Offset {
                    offset: value.parse().map_err(|_| refuse())?,
                    inclusive,
                }),
            },
            "x-opt-sequence-number" => Ok(Self::Sequence {
                sequence: number()?,
                inclusive,
            }),
            "x-opt-enqueued-time" | "x-opt-enqueuedtimeutc" => Ok(Self::Enqueued {
                time: Timestamp::from_unix_millis(number()?),
                inclusive,
            }),
            _ => Err(refuse()),
        }
    }

    /// Reads a source's filter; without a selector: from the start. Filters of other kinds are
    /// passed over.
    pub fn from_filter(filter: &Map) -> Result<Self, DecodeError> {
        let selector = filter.iter().find_map(|(key, value)| match value {
            Value::Described(described) if is_selector(&described.0) => Some(&described.1),
            Value::Described(described) if is_selector(key) => Some(&described.1),
            plain if is_selector(key) => Some(plain),
            _ => None,
        });
        match selector {
            None | Some(Value::Null) => Ok(Self::Earliest),
            Some(Value::Binary(bytes)) => {
                let text = std::str::from_utf8(bytes)
                    .map_err(|_| DecodeError::invalid("the selector is not text"))?;
                Self::parse(text)
            }
            Some(value) => Self::parse(
                value
                    .as_text()
                    .ok_or_else(|| DecodeError::invalid("the selector is not text"))?,
            ),
        }
    }

    /// The selector's text, as the newest SDKs write it.
    pub fn to_selector(&self) -> String {
        let (name, inclusive, value) = match self {
            Self::Earliest => ("offset", false, "-1".to_owned()),
            Self::Latest => ("offset", false, "@latest".to_owned()),
            Self::Offset { offset, inclusive } => ("offset", *inclusive, offset.to_string()),
            Self::Sequence {
                sequence,
                inclusive,
            } => ("sequence-number", *inclusive, sequence.to_string()),
            Self::Enqueued { time, inclusive } => {
                ("enqueued-time", *inclusive, time.unix_millis().to_string())
            }
        };
        let comparison = if inclusive { ">=" } else { ">" };
        format!("{PREFIX}x-opt-{name} {comparison} '{value}'")
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

fn is_selector(name: &Value) -> bool {
    name.as_text() == Some(SELECTOR) || *name == Value::Ulong(SELECTOR_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::value::Symbol;

    fn parse(text: &str) -> EventPosition {
        EventPosition::parse(text).unwrap()
    }

    fn enqueued(millis: i64, inclusive: bool) -> EventPosition {
        EventPosition::Enqueued {
            time: Timestamp::from_unix_millis(millis),
            inclusive,
        }
    }

    #[test]
    fn every_spelling_of_the_clients_is_read() {
        for (text, position) in [
            (
                "amqp.annotation.x-opt-offset > '-1'",
                EventPosition::Earliest,
            ),
            (
                "amqp.annotation.x-opt-offset >= '-1'",
                EventPosition::Earliest,
            ),
            (
                "amqp.annotation.x-opt-offset > '@latest'",
                EventPosition::Latest,
            ),
            (
                "amqp.annotation.x-opt-offset > '1024'",
                EventPosition::Offset {
                    offset: 1024,
                    inclusive: false,
                },
            ),
            (
                "amqp.annotation.x-opt-offset >= '18446744073709551615'",
                EventPosition::Offset {
                    offset: u64::MAX,
                    inclusive: true,
                },
            ),
            (
                "amqp.annotation.x-opt-sequence-number >= '7'",
                EventPosition::Sequence {
                    sequence: 7,
                    inclusive: true,
                },
            ),
            (
                "amqp.annotation.x-opt-sequence-number > '-1'",
                EventPosition::Sequence {
                    sequence: -1,
                    inclusive: false,
                },
            ),
            (
                "amqp.annotation.x-opt-enqueued-time > '1767225600000'",
                enqueued(1_767_225_600_000, false),
            ),
            (
                "amqp.annotation.x-opt-enqueuedtimeutc >= '1767225600000'",
                enqueued(1_767_225_600_000, true),
            ),
        ] {
            assert_eq!(parse(text), position, "{text}");
            assert_eq!(parse(&text.replace(' ', "")), position, "{text}");
        }
    }

    // `spec/amqp.md` 8, item 9.
    #[test]
    fn the_command_lines_unquoted_filter_with_another_name_is_read() {
        assert_eq!(
            parse("amqp.annotation.x-opt-enqueuedtimeutc > 1767225600000"),
            enqueued(1_767_225_600_000, false)
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            ">",
            "amqp.annotation.x-opt-offset",
            "amqp.annotation.x-opt-offset = '1'",
            "amqp.annotation.x-opt-offset < '1'",
            "amqp.annotation.x-opt-offset > '-2'",
            "amqp.annotation.x-opt-offset > ''",
            "amqp.annotation.x-opt-offset > '1",
            "amqp.annotation.x-opt-offset > 1'",
            "amqp.annotation.x-opt-sequence-number > '@latest'",
            "amqp.annotation.x-opt-other > '1'",
            "x-opt-offset > '1'",
            "amqp.annotation.x-opt-offset > '1' AND 1=1",
        ] {
            assert!(EventPosition::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn positions_come_back_from_their_selectors() {
        for position in [
            EventPosition::Earliest,
            EventPosition::Latest,
            EventPosition::Offset {
                offset: 5,
                inclusive: true,
            },
            EventPosition::Sequence {
                sequence: 5,
                inclusive: false,
            },
            enqueued(-5, true),
        ] {
            assert_eq!(
                EventPosition::from_filter(&position.to_filter()),
                Ok(position)
            );
        }
    }

    #[test]
    fn a_filter_is_found_under_its_key_or_by_its_descriptor() {
        let text = Value::from("amqp.annotation.x-opt-offset > '@latest'");
        let described = |by: Value| Value::Described(Box::new((by, text.clone())));
        let name = || Value::Symbol(Symbol::of(SELECTOR));

        for (key, value) in [
            (name(), described(name())),
            (name(), described(Value::Ulong(SELECTOR_CODE))),
            (Value::from(SELECTOR), text.clone()),
            (
                Value::from("jms-selector"),
                described(Value::Ulong(SELECTOR_CODE)),
            ),
        ] {
            let filter = vec![(Value::from("other"), Value::Null), (key, value)];
            assert_eq!(
                EventPosition::from_filter(&filter),
                Ok(EventPosition::Latest)
            );
        }
    }

    #[test]
    fn without_a_selector_a_reader_begins_with_the_oldest_event() {
        let other = vec![(Value::from("other"), Value::from("x"))];

        assert_eq!(
            EventPosition::from_filter(&vec![]),
            Ok(EventPosition::Earliest)
        );
        assert_eq!(
            EventPosition::from_filter(&other),
            Ok(EventPosition::Earliest)
        );
        let number = vec![(Value::from(SELECTOR), Value::Uint(1))];
        assert!(EventPosition::from_filter(&number).is_err());
    }
}
